/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/options.h"

#include <stdio.h>
#include <string.h>

/* Where the help text of an option begins. */
#define HELP_COLUMN 28

void option_parser_init(OptionParser *p, const Command *c, int argc, char **argv) {
        *p = (OptionParser){ .command = c, .argc = argc, .argv = argv };
}

static const Option *find_name(const Command *c, const char *name, size_t n) {
        for (size_t i = 0; i < c->n_options; i++)
                if (strlen(c->options[i].name) == n && strncmp(c->options[i].name, name, n) == 0)
                        return &c->options[i];
        return NULL;
}

static const Option *find_letter(const Command *c, char letter) {
        for (size_t i = 0; i < c->n_options; i++)
                if (c->options[i].letter == letter)
                        return &c->options[i];
        return NULL;
}

static int take_value(OptionParser *p, const char *shown, Error *reterr) {
        if (p->at >= p->argc)
                return error_setf(reterr, -EINVAL, "%s needs a value", shown);
        p->value = p->argv[p->at++];
        return 0;
}

static int next_long(OptionParser *p, const char *word, Error *reterr) {
        const char *equals = strchr(word, '=');
        size_t n = equals ? (size_t)(equals - word) : strlen(word);
        const Option *o = find_name(p->command, word + 2, n - 2);

        if (!o && !equals && strcmp(word, "--help") == 0)
                return OPTION_HELP;
        if (!o)
                return error_setf(reterr, -EINVAL, "there is no option %.*s", (int)n, word);
        if (!o->arg && equals)
                return error_setf(reterr, -EINVAL, "%.*s takes no value", (int)n, word);
        p->option = o;
        p->value = o->arg && equals ? equals + 1 : NULL;
        if (o->arg && !equals && take_value(p, word, reterr) < 0)
                return -EINVAL;
        return o->id;
}

static int next_letter(OptionParser *p, Error *reterr) {
        char letter = *p->cluster++;
        const Option *o = find_letter(p->command, letter);
        char shown[3] = { '-', letter, '\0' };

        p->value = NULL;
        if (!o && letter == 'h')
                return OPTION_HELP;
        if (!o)
                return error_setf(reterr, -EINVAL, "there is no option %s", shown);
        p->option = o;
        if (o->arg && *p->cluster)
                p->value = p->cluster;
        else if (o->arg && take_value(p, shown, reterr) < 0)
                return -EINVAL;
        if (o->arg || !*p->cluster)
                p->cluster = NULL;
        return o->id;
}

int option_next(OptionParser *p, Error *reterr) {
        if (p->cluster)
                return next_letter(p, reterr);
        while (p->at < p->argc && !p->ended) {
                char *word = p->argv[p->at];

                if (strcmp(word, "--") == 0) {
                        p->at++;
                        p->ended = true;
                } else if (word[0] == '-' && word[1] == '-') {
                        p->at++;
                        return next_long(p, word, reterr);
                } else if (word[0] == '-' && word[1]) {
                        p->at++;
                        p->cluster = word + 1;
                        return next_letter(p, reterr);
                } else if (p->command->operands_end_options)
                        p->ended = true;
                else
                        p->argv[p->n_operands++] = p->argv[p->at++];
        }
        while (p->at < p->argc)
                p->argv[p->n_operands++] = p->argv[p->at++];
        return 0;
}

int option_took(const OptionParser *p, int code, Error *reterr) {
        return code < 0 && p->option ? error_prefix(reterr, code, "--%s", p->option->name) : code;
}

char **option_operands(const OptionParser *p, int *ret_n) {
        *ret_n = p->n_operands;
        p->argv[p->n_operands] = NULL; /* in the place of an option, or of the end */
        return p->argv;
}

static void print_option(const Option *o) {
        int n;

        if (o->letter)
                n = printf("  -%c, --%s", o->letter, o->name);
        else
                n = printf("      --%s", o->name);
        if (o->arg)
                n += printf(" %s", o->arg);
        if (n >= HELP_COLUMN) {
                (void)putchar('\n');
                n = 0;
        }
        (void)printf("%*s", HELP_COLUMN - n, "");
        for (const char *s = o->help; *s; s++) {
                (void)putchar(*s);
                if (*s == '\n')
                        (void)printf("%*s", HELP_COLUMN, "");
        }
        (void)putchar('\n');
}

void option_print_help(const Command *c) {
        (void)printf("Usage: podferry %s%s%s%s\n\n", c->name,
                     c->n_options > 0 ? " [OPTION...]" : "", *c->operands ? " " : "", c->operands);
        (void)printf("%s.\n", c->summary);
        if (c->text)
                (void)printf("\n%s\n", c->text);
        (void)printf("\nOptions:\n");
        for (size_t i = 0; i < c->n_options; i++)
                print_option(&c->options[i]);
        print_option(&(Option){ .letter = 'h', .name = "help", .help = "show this page" });
}
