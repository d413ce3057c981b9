/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "lib/error.h"

/* Asynchronous calls, and operations made of several of them.
 *
 * The convention of every asynchronous call in the tree:
 *
 *      int verb(..., OpDone done, void *userdata, Error *reterr);
 *
 *   0    it is done; `done` will not be called (a result goes to an out parameter, if there is one)
 *   1    accepted; `done` will be called exactly once, later, from the loop, never from inside the
 * call < 0  refused; nothing changed; `done` will not be called; *reterr says why
 *
 * `result` points to what the call's comment says, and is borrowed until `done` returns. On failure
 * r < 0, err has the text, and result is NULL. */
typedef void (*OpDone)(void *userdata, int r, const void *result, const Error *err);

/* A Task runs steps one after another, each of which follows the convention above with task_done
 * and the task as its completion. If step k fails, the undo functions of steps k-1 .. 0 run in that
 * order (each may be asynchronous; their failures are logged and do not stop the others), and then
 * the task completes with the first error. A step that fails has undone itself. */
typedef struct Task Task;

typedef struct TaskStep {
        const char *name; /* for errors: "<name>: <text>" */
        int (*run)(void *object, Task *t, Error *reterr);
        int (*undo)(void *object, Task *t, Error *reterr); /* may be NULL */
} TaskStep;

/* Starts the steps on `object`. Returns 0 if all completed at once, 1 if `done` will come, < 0 if
 * it failed at once (all undone synchronously, with *reterr). With 1, *ret_task (may be NULL) is
 * borrowed until done is called. `steps` must stay valid. done's result is NULL. */
int task_start(const TaskStep *steps, size_t n_steps, void *object, OpDone done, void *userdata,
               Task **ret_task, Error *reterr);

/* The completion to hand to an asynchronous call made by a step, with the Task as its userdata. */
void task_done(void *task, int r, const void *result, const Error *err);

/* Asks the task to stop before its next step: it then undoes and completes with -ECANCELED. The
 * step in flight is waited for. */
void task_cancel(Task *t);

const char *task_step_name(const Task *t); /* the step in flight */
