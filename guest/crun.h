/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "guest/reaper.h"

/* Runs crun, one process per verb, never waited for in place.
 *
 * The end of crun counts, not that of its output: a container inherits the files of the crun that
 * makes it. What crun says of a failure comes back as the text of the error. */
typedef void (*CrunDone)(void *userdata, int code, const Error *err);

typedef struct CrunRunner {
        Reaper *reaper;
        unsigned serial; /* names the log files */
} CrunRunner;

#define CRUN_PATH "/bin/crun"

void crun_init(CrunRunner *c, Reaper *r);
/* args: the verb and what follows, NULL at the end, at most CRUN_ARGS_MAX. fds as for spawn();
 * NULL: none. With brings_pid, pids that are learnt in `done` may be adopted there. 0: `done`
 * comes.
 */
int crun_run(CrunRunner *c, const char *const args[], const int *fds, bool brings_pid,
             CrunDone done, void *userdata, Error *reterr);

enum { CRUN_ARGS_MAX = 16 };
