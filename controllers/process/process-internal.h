/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/process/process.h"

/* Inside controllers/process only. */

typedef struct ProcessWaiter {
        OpDone done;
        void *job;
} ProcessWaiter;

struct Process {
        Controller controller;
        Fsm fsm;
        ProcessState before; /* frozen: where thaw and resume lead */

        const char *container_id, *guest_id; /* the container's */
        char *exec_id;
        char *process_json; /* an exec that was not started yet, else NULL */
        bool terminal, stdin_open;
        uint32_t rows, columns;
        ProcessChannels channels;
        uint32_t pid;

        uint64_t wait_call;    /* 0: none was made */
        bool waiting;          /* its completion will come here */
        bool wait_lost;        /* it failed while the process was frozen or starting */
        bool io_is_open;       /* on this host */
        bool unknown_to_guest; /* the VM is gone or elsewhere: no guest calls any more */
        bool has_exit;         /* exit is valid ... */
        bool exit_pending;     /* ... but nobody was told yet */
        ProcessExit exit;

        const ProcessOps *ops;
        void *userdata;
        const PodEvents *events;
        ProcessExited exited;
        void *owner;

        ProcessWaiter *waiters;
        size_t n_waiters;
        unsigned calls; /* in flight, the wait apart */
        OpDone done;    /* of the start or delete in flight */
        void *job;
};

int process_alloc(Controller *parent, const ProcessKey *key, const ProcessSpec *spec,
                  ProcessState state, Process **ret, Error *reterr);

ProcessKey process_key(const Process *p);
int process_need_ops(const Process *p, const char *call, Error *reterr);
void process_end(Process *p, uint32_t code, bool moved); /* p may be gone after it */
