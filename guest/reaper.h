/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "guest/loop.h"

/* Every process that dies in the guest and has no parent left is PID 1's to reap. Those that
 * somebody cares for have a Child here; the others vanish.
 *
 * A container's init and exec'd processes become our children when the crun that made them exits,
 * and we learn their pids only then. They may be dead already, and reaped: so while somebody is
 * `expecting`, exits of unknown pids are remembered for the one who asks by reaper_adopt(). */
typedef void (*ChildExited)(void *userdata, int wait_status, uint64_t at_ns);

typedef struct Child {
        pid_t pid; /* 0: not alive, or not ours any more */
        ChildExited exited;
        void *userdata;
        struct Child *next;
} Child;

enum {
        REAPER_BUCKETS = 256,
        REAPER_UNKNOWN_MAX = 1024,
};

typedef struct ReaperUnknown {
        pid_t pid;
        int wait_status;
        uint64_t at_ns;
} ReaperUnknown;

typedef struct Reaper {
        int fd; /* signalfd of SIGCHLD */
        Watch watch;
        Child *children[REAPER_BUCKETS];
        unsigned expecting;
        ReaperUnknown unknown[REAPER_UNKNOWN_MAX];
        unsigned n_unknown, next_unknown;
} Reaper;

/* Blocks SIGCHLD in this thread (and in those it makes). */
int reaper_init(Reaper *r, Loop *l, Error *reterr);

/* Tells `c` when its process ends. */
void reaper_add(Reaper *r, Child *c, pid_t pid);
void reaper_remove(Reaper *r, Child *c);

/* Bracket of an operation that brings a pid which is not our child yet. */
void reaper_expect(Reaper *r);
void reaper_expect_end(Reaper *r);
/* As reaper_add(), for a pid that came during such an operation. True if the process had ended
 * already: then `c` is not added and the two results are set. */
bool reaper_adopt(Reaper *r, Child *c, pid_t pid, int *ret_status, uint64_t *ret_at_ns);

/* What a shell would call it: 0..255, or 128 + signal. */
unsigned exit_code(int wait_status);
uint64_t now_realtime_ns(void);
