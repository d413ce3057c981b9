/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

/* The command line of one command: a table says what there is, and makes the parser, the help page
 * and the shell's completion.
 *
 * "--name VALUE", "--name=VALUE", "-x VALUE", "-xVALUE", "-xyz", and "--" before operands. */
typedef struct Option {
        int id;           /* above 0; what option_next() returns */
        char letter;      /* 0: none */
        const char *name; /* without the dashes */
        const char *arg;  /* "FILE", NULL: it is a switch */
        const char *help; /* "\n" begins a further line */
} Option;

typedef struct Ctl Ctl;
typedef struct Command {
        const char *name;     /* "envelope decode": words */
        const char *operands; /* "POD [CONTAINER]", "" */
        const char *summary;  /* one line, no full stop */
        const char *text;     /* what a newcomer must know; NULL: the summary says it */
        const Option *options;
        size_t n_options;
        bool operands_end_options; /* what follows the last own operand is another's command line */
        const char *completes;     /* operands: "pods", "files", "" */
        int (*run)(Ctl *ctl, const struct Command *self, int argc, char **argv); /* exit status */
} Command;

typedef struct OptionParser {
        const Command *command;
        int argc;
        char **argv; /* reordered: operands come first after the end */
        int at;
        const char *cluster; /* rest of "-xyz" */
        int n_operands;
        bool ended;
        const char *value;    /* of the last option; NULL for a switch */
        const Option *option; /* the last one */
} OptionParser;

#define OPTION_HELP 10000

void option_parser_init(OptionParser *p, const Command *c, int argc, char **argv);
/* The id of the next option, with its value in p->value; 0 at the end; OPTION_HELP for --help and
 * -h of every command; -EINVAL. */
int option_next(OptionParser *p, Error *reterr);
/* What taking its value came to: an error then begins with the option's name. */
int option_took(const OptionParser *p, int code, Error *reterr);
/* After the end: the operands, argv[0..n-1]. */
char **option_operands(const OptionParser *p, int *ret_n);

/* The help page. Lines are at most 80 columns as long as the table's texts are. */
void option_print_help(const Command *c);
