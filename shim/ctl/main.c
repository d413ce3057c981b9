/* SPDX-License-Identifier: Apache-2.0 */
/* podferry: the command line. Finds the command in the table and hands the rest of the line over.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"

const Command *const commands[] = {
        &command_run,         &command_ps,          &command_exec,          &command_attach,
        &command_logs,        &command_kill,        &command_stop,          &command_start,
        &command_rm,          &command_migrate,     &command_migration,     &command_check,
        &command_inspect,     &command_decode,      &command_receive,       &command_volume,
        &command_net,         &command_relay,       &command_adopt,         &command_doctor,
        &command_hooks,       &command_plan_check,  &command_plan_run,      &command_plan_status,
        &command_plan_cancel, &command_plan_resume, &command_plan_rollback, &command_plan_archive,
        &command_drain,       &command_version,     &command_completion,    NULL,
};

static const char overview[] =
        "Usage: podferry COMMAND [OPTION...]\n"
        "\n"
        "Runs pods, each in a small virtual machine of its own, and moves them to other\n"
        "hosts while they run.\n"
        "\n"
        "Commands:\n";

static const char more[] =
        "\n"
        "podferry COMMAND --help explains a command. A first pod, and how it moves:\n"
        "\n"
        "  podferry run --name web --rootfs ./rootfs --detach -- /bin/httpd -f\n"
        "  podferry logs --follow web\n"
        "  podferry migrate web --to ssh://root@otherhost\n"
        "\n"
        "Exit status: the container's for run, exec and attach; 125 when podferry itself\n"
        "failed, 126 and 127 when the command could not be run or found.\n";

void ctl_say(const char *fmt, ...) {
        va_list ap;

        (void)fflush(stdout);
        (void)fputs("podferry: ", stderr);
        va_start(ap, fmt);
        (void)vfprintf(stderr, fmt, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
}

int ctl_fail(int code, const Error *e, const char *fmt, ...) {
        char what[256] = "";
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        ctl_say("%s%s%s", what, *what ? ": " : "", error_text(e, code));
        return CTL_FAILED;
}

int ctl_usage(const Command *c, const Error *e) {
        ctl_say("%s: %s; podferry %s --help explains it", c->name, e->text, c->name);
        return CTL_FAILED;
}

int ctl_usagef(const Command *c, const char *fmt, ...) {
        Error e = ERROR_INIT;
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(e.text, sizeof(e.text), fmt, ap);
        va_end(ap);
        return ctl_usage(c, &e);
}

bool ctl_simple(const Command *c, int argc, char **argv, int min, int max, bool *ret_json,
                char ***ret_operands, int *ret_n, int *ret_status) {
        Error e = ERROR_INIT;
        OptionParser p;
        int id;

        option_parser_init(&p, c, argc, argv);
        while ((id = option_next(&p, &e)) > 0) {
                if (id == OPTION_HELP) {
                        option_print_help(c);
                        *ret_status = CTL_OK;
                        return false;
                }
                *ret_json = true;
        }
        *ret_status = CTL_FAILED;
        if (id < 0) {
                (void)ctl_usage(c, &e);
                return false;
        }
        *ret_operands = option_operands(&p, ret_n);
        if (*ret_n < min)
                (void)ctl_usagef(c, "%s is missing", c->operands);
        else if (*ret_n > max)
                (void)ctl_usagef(c, "unexpected \"%.60s\"", (*ret_operands)[max]);
        else
                return true;
        return false;
}

static void print_overview(void) {
        (void)fputs(overview, stdout);
        for (size_t i = 0; commands[i]; i++)
                (void)printf("  %-16s %s\n", commands[i]->name, commands[i]->summary);
        (void)fputs(more, stdout);
}

/* How many words of the line a command's name is; 0: it is another one. */
static int match(const char *name, int argc, char **argv) {
        int n = 0;

        for (;;) {
                size_t k = strcspn(name, " ");

                if (n >= argc || strlen(argv[n]) != k || strncmp(name, argv[n], k) != 0)
                        return 0;
                n++;
                if (!name[k])
                        return n;
                name += k + 1;
        }
}

/* "podferry envelope --help": the commands that begin so. */
static bool print_family(const char *word) {
        size_t k = strlen(word);
        bool found = false;

        for (size_t i = 0; commands[i]; i++) {
                if (strncmp(commands[i]->name, word, k) != 0 || commands[i]->name[k] != ' ')
                        continue;
                (void)printf("%spodferry %s %s: %s\n", found ? "" : "Usage: ", commands[i]->name,
                             commands[i]->operands, commands[i]->summary);
                found = true;
        }
        return found;
}

static int dispatch(Ctl *ctl, int argc, char **argv) {
        Error e = ERROR_INIT;
        int r;

        for (size_t i = 0; commands[i]; i++) {
                int n = match(commands[i]->name, argc, argv);

                if (n == 0)
                        continue;
                r = config_load(&ctl->config, NULL, &e);
                if (r < 0)
                        return ctl_fail(r, &e, "configuration");
                return commands[i]->run(ctl, commands[i], argc - n, argv + n);
        }
        if (print_family(argv[0]))
                return argc > 1 && strcmp(argv[1], "--help") == 0 ? CTL_OK : CTL_FAILED;
        ctl_say("there is no command \"%.60s\"; podferry --help lists them", argv[0]);
        return CTL_FAILED;
}

/* A standard stream that the caller closed: else the next socket would be it, and results would go
 * to a shim. Reading then ends at once, writing fails. */
static void fill_standard_streams(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        (void)open("/dev/null", O_RDONLY);
}

int main(int argc, char **argv) {
        Ctl ctl = { .program = argv[0] };
        int status;

        fill_standard_streams();
        (void)signal(SIGPIPE, SIG_IGN);
        log_set_max_level(LOG_WARNING);
        if (argc == 3 && strcmp(argv[1], "help") == 0)
                status = dispatch(&ctl, 2, (char *[]){ argv[2], (char[]){ "--help" }, NULL });
        else if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                 strcmp(argv[1], "help") == 0) {
                print_overview();
                status = argc < 2 ? CTL_FAILED : CTL_OK;
        } else if (strcmp(argv[1], "--version") == 0)
                status = dispatch(&ctl, 1, (char *[]){ (char[]){ "version" }, NULL });
        else
                status = dispatch(&ctl, argc - 1, argv + 1);
        config_done(&ctl.config);
        errno = 0;
        if ((fflush(stdout) != 0 || ferror(stdout)) && status == CTL_OK) {
                ctl_say("cannot write the output: %s", errno ? strerror(errno) : "it failed");
                status = CTL_FAILED;
        }
        return status;
}
