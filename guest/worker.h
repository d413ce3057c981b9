/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>

#include "guest/loop.h"

/* One thread for what blocks on disks: scanning, mounting, unmounting, loading modules. Jobs run
 * one after the other, in the order in which they came. */
typedef struct WorkerJob WorkerJob;

/* Embedded in its owner, who keeps it until `done`. */
struct WorkerJob {
        int (*run)(WorkerJob *job, Error *reterr); /* on the worker's thread: touches job only */
        void (*done)(WorkerJob *job);              /* on the loop's */
        int code;                                  /* what run returned */
        Error err;
        WorkerJob *next;
};

typedef struct WorkerQueue {
        WorkerJob *first, **last;
} WorkerQueue;

typedef struct Worker {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t more;
        WorkerQueue waiting, finished; /* under the lock */
        int event;                     /* there is something in `finished` */
        Watch watch;
} Worker;

int worker_init(Worker *w, Loop *l, Error *reterr);
void worker_submit(Worker *w, WorkerJob *job);
