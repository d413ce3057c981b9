/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "lib/error.h"
#include "lib/task.h"

/* One method call that is answered later.
 *
 * Holds the message until it is answered, which happens exactly once: by the operation, by the
 * deadline, or not at all because the client went away. The operation itself is never abandoned by
 * that: it ends in its own time and then finds nobody to tell. Reference counted: the handler has
 * one reference, an operation in flight another. */
typedef struct BusJob BusJob;

#define JOBS_MAX 4096U

/* Appends the method's results to the reply. `result` is what the operation handed to its
 * completion, `text` what bus_job_keep_text() was given. NULL for a method that returns nothing. */
typedef int (*BusJobReply)(sd_bus_message *reply, const void *result, const char *text);
/* Takes an operation back when its client is gone: after this its completion does not come. */
typedef void (*BusJobCancel)(void *object, void *job);

/* timeout_ms 0: no deadline. -ENOSPC: too many calls are waiting already. */
int bus_job_new(sd_bus_message *m, uint64_t timeout_ms, BusJobReply reply, BusJob **ret,
                sd_bus_error *reterr);
BusJob *bus_job_unref(BusJob *j);
DEFINE_CLEANUP(BusJob *, bus_job_unref);

void bus_job_keep_text(BusJob *j, char *text); /* takes it */
/* For operations that may last for ever. Set after the operation was accepted. */
void bus_job_on_cancel(BusJob *j, BusJobCancel cancel, void *object);

/* The completion to hand to the operation, with the job as its userdata. */
void bus_job_done(void *job, int r, const void *result, const Error *err);
/* What a handler returns after it called the operation, which returned r: refused (< 0, e), done
 * at once (0, with its result), or under way (1). */
int bus_job_settle(BusJob *j, int r, const void *result, const Error *e, sd_bus_error *reterr);

/* Forgets the clients of a connection that has ended. */
void bus_jobs_forget(const sd_bus *bus);
unsigned bus_jobs_count(void);
