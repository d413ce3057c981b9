/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/config.h"
#include "shim/ctl/options.h"

/* The command line's shared state, and how it speaks.
 *
 * Results go to stdout, everything else to stderr: "podferry: what: why; what to do". Exit status:
 * 0, or the container's; CTL_FAILED when podferry itself failed, CTL_CANNOT_RUN and CTL_NOT_FOUND
 * when the command in the container could not be started, CTL_INTERRUPTED after Ctrl-C. */
enum {
        CTL_OK = 0,
        CTL_BLOCKED = 1, /* check: the pod cannot move there */
        CTL_NO_POD = 66, /* receive --adopt: there is no such pod; EX_NOINPUT */
        CTL_EXISTS = 73, /* receive: there is a pod of that name; EX_CANTCREAT */
        CTL_FAILED = 125,
        CTL_CANNOT_RUN = 126,
        CTL_NOT_FOUND = 127,
        CTL_INTERRUPTED = 130,
};

struct Ctl {
        Config config;
        const char *program; /* argv[0] */
};

extern const Command *const commands[]; /* NULL at the end */

/* "podferry: <text>" with a code of failure; returns CTL_FAILED. */
int ctl_fail(int code, const Error *e, const char *fmt, ...) _printf_(3, 4);
/* A command line that makes no sense: says so and where the help page is; CTL_FAILED. */
int ctl_usage(const Command *c, const Error *e);
int ctl_usagef(const Command *c, const char *fmt, ...) _printf_(2, 3);
void ctl_say(const char *fmt, ...) _printf_(1, 2); /* a line on stderr */

/* What a failure to start a command in a container means as an exit status. */
int ctl_run_status(int code, const Error *e);

/* For commands without options of their own but --json: reads the line, checks the number of
 * operands. True: go on; false: *ret_status is the exit status. */
bool ctl_simple(const Command *c, int argc, char **argv, int min, int max, bool *ret_json,
                char ***ret_operands, int *ret_n, int *ret_status);
#define CTL_OPTION_JSON                                                                            \
        { 1, 0, "json", NULL, "print JSON for programs" }
