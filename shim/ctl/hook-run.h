/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/hooks.h"

/* One run of one hook: without a shell, in a session of its own, with this environment and nothing
 * else, and with what it says read to its end and mostly thrown away. What it leaves in its process
 * group is killed with its end, whichever that is. */
#define HOOK_OUTPUT_MAX 4096U /* the last of it is kept */
#define HOOK_GRACE_MS   2000U /* from SIGTERM to SIGKILL */

typedef enum HookEnd {
        HOOK_DONE,    /* exit status 0 */
        HOOK_FAILED,  /* another one, or a signal */
        HOOK_LATE,    /* ended at its deadline */
        HOOK_STOPPED, /* ended by ours */
        HOOK_NOT_RUN, /* it could not be */
        _HOOK_END_MAX,
} HookEnd;

const char *hook_end_name(HookEnd end);

typedef struct HookOutcome {
        HookEnd end;
        bool by_signal;
        int status; /* exit status, or the signal */
        uint64_t ms;
        char output[HOOK_OUTPUT_MAX + 1]; /* as it came, but for NUL bytes */
        size_t n_output;
        uint64_t dropped; /* bytes before that */
} HookOutcome;

#define HOOK_STOPS 2

/* Blocks until it has ended. Ends it when one of `stops` has something to read or hangs up (-1:
 * none). 0, or: -EIO it failed, -ETIMEDOUT, -ECANCELED stopped, others: not run; with a text. */
int hook_run(const Hook *h, char *const env[], const int stops[HOOK_STOPS], HookOutcome *ret,
             Error *reterr);
