/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Running podferry on another host: ssh://[user@]host[:port], or exec:COMMAND, a command that runs
 * its further arguments there. Only a command line is needed over there: no port, no daemon. */
typedef struct Remote {
        char *name;      /* for people: "host", "COMMAND" */
        char **prefix;   /* what comes before the arguments */
        char *program;   /* podferry over there */
        bool shell;      /* the other end is a shell's: quote */
        bool apart;      /* keyboard signals do not reach it */
        char *directory; /* private, for the shared connection of ssh; NULL: none */
} Remote;

/* `program` NULL: "podferry" from the PATH there, or for exec: this very program. `ssh_args`:
 * further words for ssh's command line, NULL: none; -EINVAL with exec:. */
int remote_parse(const char *text, const char *program, char **ssh_args, Remote *ret,
                 Error *reterr);
/* No other host: this very program, here. */
int remote_here(Remote *ret, Error *reterr);
/* For what begins while a terminal is another's: no password is asked for, and no key reaches it.
 */
int remote_ask_nothing(Remote *r, Error *reterr);
void remote_done(Remote *r); /* ends a shared connection */

/* One command there. */
typedef struct RemoteRun {
        pid_t pid;     /* 0: none */
        int stderr_fd; /* -EBADF: none */
} RemoteRun;

#define REMOTE_RUN_INIT                                                                            \
        (RemoteRun) {                                                                              \
                .stderr_fd = -EBADF                                                                \
        }

/* `podferry ARGS...` there with stdin `in` and stdout `out` (borrowed). Ctrl-C does not reach it.
 */
int remote_start(const Remote *r, const char *const args[], int in, int out, RemoteRun *ret,
                 Error *reterr);
/* The same, with one stream for both; *ret_fd is our end of it, which does not block. */
int remote_start_stream(const Remote *r, const char *const args[], RemoteRun *ret, int *ret_fd,
                        Error *reterr);
/* True once it has ended. */
bool remote_has_ended(RemoteRun *run);
/* Waits for its end, at most so long. True: it has ended. */
bool remote_wait(RemoteRun *run, unsigned timeout_ms);
/* Waits at most so long, then kills it; adds what it said last to *reterr if it failed. 0 if it
 * exited with 0. */
int remote_finish(RemoteRun *run, unsigned timeout_ms, Error *reterr);
