/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/rpc.h"
#include "guest/worker.h"

/* Powering off: containers are killed, what is mounted is written and unmounted, the host is
 * answered, and then the machine ends. A step that hangs is left behind after a while: the host
 * waits for this, and can always pull the plug. */
typedef enum PowerStep {
        POWER_ON,
        POWER_KILLING,    /* waiting for the processes' ends */
        POWER_UNMOUNTING, /* the worker is at it */
        POWER_ANSWERING,  /* the reply is on its way */
} PowerStep;

typedef struct Power {
        Agent *agent;
        PowerStep step;
        Call *call;
        int timer;
        Watch watch;
        WorkerJob unmount;
} Power;

int power_init(Power *p, Agent *a, Error *reterr);
/* Nothing is made any more once it has begun: 0 or -EBADFD. */
int power_check(const Power *p, Error *reterr);
/* Goes on if it can: after an exit, and after each event. */
void power_continue(Power *p);
/* The end, at once; what can be said goes to the kernel's log. */
_Noreturn void power_halt(const char *why);
