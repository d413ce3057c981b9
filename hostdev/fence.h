/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "lib/task.h"

/* Making certain that a QEMU never runs again.
 *
 * A fence holds a pidfd of one QEMU, opened while the process was proven to be the domain's. A
 * pidfd names a process, not a number, so whatever happens to the number later, no other process
 * can be hit. Loop thread only. */
typedef struct Fence Fence;

typedef void (*FenceExited)(void *userdata);

/* Opens the process and checks that it is the QEMU of the domain with this UUID; -ENOENT: the
 * process is gone or is another one. `exited` (may be NULL) is called once, from the loop, when the
 * process ends for whatever reason. */
int fence_open(sd_event *loop, pid_t pid, const char *uuid, FenceExited exited, void *userdata,
               Fence **ret, Error *reterr);
/* Not while a kill is in flight. A QEMU that fence_stop() stopped, or was about to, goes on, unless
 * fence_keep() was called. */
Fence *fence_free(Fence *f);
DEFINE_CLEANUP(Fence *, fence_free);

/* The guest has just stopped: remembers how long each vCPU thread has run. A later mark replaces
 * it.
 */
int fence_mark(Fence *f, Error *reterr);

/* Stops the process and sees that no vCPU has run since the mark (without a mark that is not
 * asked). 0, or 1 and later `done`: every thread stands, until fence_kill() or fence_continue().
 * -EALREADY: the guest has run, and the process goes on. -EIO: not proven within 5 s; it goes on
 * too. */
int fence_stop(Fence *f, OpDone done, void *userdata, Error *reterr);
void fence_continue(Fence *f);
/* True if every thread of it stands, whoever stopped it. Does not signal anything. */
int fence_stands(const Fence *f);
/* Stopped, it stays so until fence_continue(), also when the fence is freed or this process ends.
 */
void fence_keep(Fence *f);
/* A process that was killed may have stopped it as by fence_stop(): it goes on by the same ways. */
void fence_inherit_stop(Fence *f);

/* Kills it. 0: no thread of it can run guest or QEMU code any more; 1: `done` will come when that
 * is so (result NULL); idempotent, but one call in flight at a time (-EBUSY). -EIO: not proven
 * within the deadline (5 s; a task stuck in the kernel counts as dead only if its SIGKILL is
 * pending): it may be called again. */
int fence_kill(Fence *f, OpDone done, void *userdata, Error *reterr);

/* True if no thread of it can run again. Does not signal anything. */
bool fence_is_dead(const Fence *f);
