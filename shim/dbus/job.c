/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/dbus/job.h"

#include <time.h>

#include <systemd/sd-event.h>

#include "lib/log.h"
#include "shim/api-error.h"

struct BusJob {
        unsigned refs;
        sd_bus_message *message; /* NULL once answered, or when nobody waits any more */
        sd_event_source *deadline;
        BusJobReply reply;
        char *text;
        BusJobCancel cancel;
        void *cancel_object;
        BusJob *next;
};

static BusJob *jobs; /* of the loop thread, all connections */
static unsigned n_jobs;

static void job_close(BusJob *j) {
        j->message = sd_bus_message_unref(j->message);
        j->deadline = sd_event_source_disable_unref(j->deadline);
}

BusJob *bus_job_unref(BusJob *j) {
        if (!j || --j->refs > 0)
                return NULL;
        for (BusJob **at = &jobs; *at; at = &(*at)->next)
                if (*at == j) {
                        *at = j->next;
                        n_jobs--;
                        break;
                }
        job_close(j);
        free(j->text);
        free(j);
        return NULL;
}

static void answer_error(BusJob *j, int r, const Error *err) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;

        (void)api_error_set(&e, r, err);
        r = sd_bus_reply_method_error(j->message, &e);
        if (r < 0)
                log_debug("an answer could not be sent: %s", strerrordesc_np(-r));
        job_close(j);
}

static void answer(BusJob *j, const void *result) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(j->message, &reply);
        if (r >= 0 && j->reply)
                r = j->reply(reply, result, j->text);
        if (r < 0) {
                Error e = ERROR_INIT;

                (void)error_setf(&e, r, "the reply could not be made: %s", strerrordesc_np(-r));
                answer_error(j, -EIO, &e);
                return;
        }
        r = sd_bus_send(NULL, reply, NULL);
        if (r < 0)
                log_debug("an answer could not be sent: %s", strerrordesc_np(-r));
        job_close(j);
}

void bus_job_done(void *job, int r, const void *result, const Error *err) {
        BusJob *j = job;

        j->cancel = NULL;
        if (j->message) {
                if (r < 0)
                        answer_error(j, r, err);
                else
                        answer(j, result);
        }
        (void)bus_job_unref(j);
}

/* Nobody waits for it any more. */
static void abandon(BusJob *j) {
        BusJobCancel cancel = j->cancel;

        if (!cancel)
                return;
        j->cancel = NULL;
        cancel(j->cancel_object, j);
        (void)bus_job_unref(j); /* the operation's */
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        BusJob *j = userdata;
        Error e = ERROR_INIT;

        (void)error_setf(&e, -ETIMEDOUT, "no answer within the time allowed; it may still happen");
        answer_error(j, -ETIMEDOUT, &e);
        abandon(j);
        return 0;
}

int bus_job_new(sd_bus_message *m, uint64_t timeout_ms, BusJobReply reply, BusJob **ret,
                sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *j = NULL;
        int r;

        if (n_jobs >= JOBS_MAX)
                return api_error_setf(reterr, -ENOSPC, "%u calls are waiting already", n_jobs);
        j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        *j = (BusJob){ .refs = 1, .message = sd_bus_message_ref(m), .reply = reply, .next = jobs };
        jobs = j;
        n_jobs++;
        if (timeout_ms > 0) {
                sd_event *event = sd_bus_get_event(sd_bus_message_get_bus(m));

                r = sd_event_add_time_relative(event, &j->deadline, CLOCK_MONOTONIC,
                                               timeout_ms * 1000, 0, on_deadline, j);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(j);
        return 0;
}

int bus_job_settle(BusJob *j, int r, const void *result, const Error *e, sd_bus_error *reterr) {
        if (r < 0)
                return api_error_set(reterr, r, e);
        j->refs++; /* the operation's, which bus_job_done() drops */
        if (r == 0)
                bus_job_done(j, 0, result, NULL);
        return 1;
}

void bus_jobs_forget(const sd_bus *bus) {
        for (BusJob *j = jobs, *next; j; j = next) {
                next = j->next;
                if (!j->message || sd_bus_message_get_bus(j->message) != bus)
                        continue;
                job_close(j);
                abandon(j); /* frees this one and no other */
        }
}

void bus_job_keep_text(BusJob *j, char *text) {
        free(j->text);
        j->text = text;
}

void bus_job_on_cancel(BusJob *j, BusJobCancel cancel, void *object) {
        j->cancel = cancel;
        j->cancel_object = object;
}

unsigned bus_jobs_count(void) {
        return n_jobs;
}
