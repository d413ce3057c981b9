/* SPDX-License-Identifier: Apache-2.0 */
/* A store that does not answer: nothing new is started, moves that run go on, and what they come to
 * is kept here until it can be written. Given up after a while; resume goes on then. */
#include <stdio.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/plan/plan-driver.h"

#define RETRY_MS     500U
#define RETRY_MAX_MS 10000U

/* What waits for the store gets an answer, so that the run can end. */
static void answer_all(PlanDriver *d) {
        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                PlanJob *j = &d->jobs[i];

                if (j->start_later)
                        plan_driver_tell(d, i,
                                         &(PlanEvent){ .kind = PLAN_EVENT_ENDED,
                                                       .why = PLAN_CLASS_INTERNAL,
                                                       .reason = d->error.text });
                if (j->check_later)
                        plan_job_check(d, j);
                j->start_later = j->check_later = j->release_later = false;
        }
}

void plan_driver_fail(PlanDriver *d, int r, const Error *e) {
        if (d->failed < 0)
                return;
        d->failed = r;
        d->error = *e;
        if (!d->error.text[0])
                (void)error_setf(&d->error, r, "%s", error_text(e, r));
        d->lost = false;
        plan_engine_pause(&d->run->engine);
        plan_show_note(d->show, NULL, "%s: no new moves; those that run, end", d->error.text);
        answer_all(d);
}

int plan_driver_record(PlanDriver *d, json_object *record) {
        _cleanup_json_ json_object *o = record;
        Error e = ERROR_INIT;
        int r;

        if (!d->journal)
                return 0;
        if (d->failed < 0 && plan_store_is_shared(d->store))
                return d->failed;
        if (!d->lost) {
                r = plan_journal_append(d->journal, json_object_get(o), &e);
                if (r == 0)
                        return 0;
                if (r != -EAGAIN) {
                        plan_driver_fail(d, r, &e);
                        return r;
                }
                plan_driver_lost(d, &e);
        }
        if (json_append(d->unwritten, TAKE(o)) < 0) {
                plan_driver_fail(d, error_oom(&e), &e);
                return -ENOMEM;
        }
        return 1;
}

static int write_all(PlanDriver *d, Error *reterr) {
        int r = 0;

        while (r == 0 && json_object_array_length(d->unwritten) > 0) {
                json_object *first = json_object_array_get_idx(d->unwritten, 0);

                r = plan_journal_append(d->journal, json_object_get(first), reterr);
                if (r == 0)
                        (void)json_object_array_del_idx(d->unwritten, 0, 1);
        }
        for (unsigned i = 0; r == 0 && i < d->run->engine.n_entries; i++)
                if (d->jobs[i].release_later) {
                        r = plan_job_release(&d->jobs[i], reterr);
                        d->jobs[i].release_later = r < 0;
                }
        return r;
}

/* Where nothing was to be written, whether it answers is yet to be seen. */
static int probe(PlanDriver *d, Error *reterr) {
        _cleanup_free_ unsigned *list = NULL;
        size_t n;

        return plan_store_list(d->store, &list, &n, reterr);
}

/* In the order in which it came: what was asked for, and then what the engine wants. */
static void go_on(PlanDriver *d) {
        d->lost = false;
        plan_show_note(d->show, NULL, "the store of the plan answers again");
        plan_driver_take_cancels(d);
        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                PlanJob *j = &d->jobs[i];

                if (j->check_later && !d->lost) {
                        j->check_later = false;
                        plan_job_check(d, j);
                }
                if (j->start_later)
                        plan_job_start(d, j);
        }
}

static void try_later(PlanDriver *d) {
        uint64_t ms = RETRY_MS;
        int r;

        for (unsigned i = 0; i < d->lost_tries && ms < RETRY_MAX_MS; i++)
                ms *= 2;
        d->lost_tries++;
        r = sd_event_source_set_time(d->retry, clock_us() + MIN_OF(ms, RETRY_MAX_MS) * 1000U);
        if (r >= 0)
                r = sd_event_source_set_enabled(d->retry, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)sd_event_exit(d->event, r);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
        PlanDriver *d = userdata;
        size_t left = json_object_array_length(d->unwritten);
        Error e = ERROR_INIT, end = ERROR_INIT;
        int r;

        (void)s, (void)usec;
        if (!d->lost)
                return 0;
        r = write_all(d, &e);
        if (r == -EAGAIN && json_object_array_length(d->unwritten) < left)
                d->lost_since_ms = clock_ms();
        if (r == 0)
                r = probe(d, &e);
        if (r == 0)
                go_on(d);
        else if (r != -EAGAIN)
                plan_driver_fail(d, r, &e);
        else if (clock_ms() - d->lost_since_ms < d->store->wait_s * UINT64_C(1000)) {
                try_later(d);
                return 0;
        } else
                plan_driver_fail(d,
                                 error_setf(&end, -ETIMEDOUT,
                                            "no answer for %u s (%.300s); podferry plan resume "
                                            "goes on once there is one",
                                            d->store->wait_s, e.text),
                                 &end);
        plan_driver_pump(d);
        return 0;
}

void plan_driver_lost(PlanDriver *d, const Error *e) {
        if (d->lost || d->failed < 0)
                return;
        d->lost = true;
        d->lost_since_ms = clock_ms();
        d->lost_tries = 0;
        plan_show_note(d->show, NULL,
                       "%s: nothing new is started until it answers, for %u s at most; moves that "
                       "run go on",
                       e->text, d->store->wait_s);
        try_later(d);
}

int plan_lost_init(PlanDriver *d) {
        int r;

        d->unwritten = json_object_new_array();
        if (!d->unwritten)
                return -ENOMEM;
        r = sd_event_add_time(d->event, &d->retry, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_retry, d);
        return r < 0 ? r : sd_event_source_set_enabled(d->retry, SD_EVENT_OFF);
}

void plan_lost_done(PlanDriver *d) {
        d->retry = sd_event_source_disable_unref(d->retry);
        (void)json_object_put(d->unwritten);
}
