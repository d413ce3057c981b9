/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/check.h"
#include "guest/reaper.h"
#include "guest/rpc.h"
#include "guest/process-io.h"
#include "lib/fsm.h"

/* A process that the host knows: the init of a container, or one that was exec'd into it. Owned by
 * its Container, kept until the host deletes it. */
typedef struct Container Container;

typedef enum ProcessPhase {
        PROCESS_CREATING, /* crun is at it */
        PROCESS_CREATED,  /* init only: waits for its start */
        PROCESS_RUNNING,
        PROCESS_EXITED,  /* its output is still on the way to the host */
        PROCESS_STOPPED, /* waits are answered */
        _PROCESS_PHASE_MAX,
} ProcessPhase;

extern const FsmTable process_fsm;

typedef struct Process {
        Container *container;
        char id[CHECK_ID_MAX + 1]; /* "" for init */
        Fsm fsm;
        pid_t pid;
        Child child;
        Stdio io;
        unsigned code;
        uint64_t exited_at_ns;
        Call **waits;
        size_t n_waits;
        Call *create; /* the call that makes it, to be answered */
        Call *delete; /* the call that waits for its end to forget it */
        struct Process *next;
} Process;

enum { PROCESS_WAITS_MAX = 64 };

int process_new(Container *c, const char *id, Process **ret, Error *reterr);
Process *process_free(Process *p); /* waits are answered as they stand */
DEFINE_CLEANUP(Process *, process_free);

bool process_has_ended(const Process *p);

/* Crun has made it: takes its pty, learns its pid from `pid_file`, and goes to `phase`. */
int process_born(Process *p, const char *pid_file, ProcessPhase phase, Error *reterr);
int process_kill(Process *p, unsigned sig, Error *reterr);
/* Takes the call: 1, or < 0. */
int process_wait(Process *p, Call *call, Error *reterr);
/* Answers the waits if all output has gone; true if it did. */
bool process_settle(Process *p);
void process_describe(const Process *p, ProcessState *ret, StdioSpec *ret_stdio,
                      ExitReply *ret_exit);
