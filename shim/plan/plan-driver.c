/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of a run: events in, actions out, and the journal in front of each. */
#include "shim/plan/plan-driver.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"

#define PATIENCE 90U /* looks, 10 s apart in the end: longer than most moves take */

/* -- the engine's moves -- */

/* Once what became of the pod is written. */
static void release(PlanDriver *d, PlanJob *j) {
        Error e = ERROR_INIT;
        int r = 0;

        if (d->failed < 0 && plan_store_is_shared(d->store))
                return;
        if (!d->lost)
                r = plan_job_release(j, &e);
        j->release_later = d->lost || r < 0;
        if (r == -EAGAIN)
                plan_driver_lost(d, &e);
        else if (r < 0)
                plan_driver_fail(d, r, &e);
}

static void on_change(void *userdata, PlanEntry *e, int from) {
        PlanDriver *d = userdata;
        size_t i = (size_t)(e - d->run->engine.entries);
        PlanJob *j = &d->jobs[i];
        bool final = plan_entry_is_final(e);

        if (final || (j->recorded && !e->doubt && from == PLAN_CHECKING)) {
                (void)plan_driver_record(d, plan_run_outcome(d->run, i));
                j->recorded = false;
        }
        if (final)
                release(d, j);
        plan_show_state(d->show, i, from);
}

void plan_driver_tell(PlanDriver *d, unsigned entry, const PlanEvent *ev) {
        /* An answer that nobody waits for any more changes nothing. */
        (void)plan_engine_event(&d->run->engine, entry, ev, clock_ms());
}

static void stop(PlanDriver *d, PlanJob *j) {
        plan_child_stop(&j->child);
        if (!j->start_later)
                return;
        j->start_later = false;
        plan_driver_tell(d, j->entry,
                         &(PlanEvent){ .kind = PLAN_EVENT_ENDED, .why = PLAN_CLASS_CANCELLED });
}

static void act(PlanDriver *d, const PlanAction *a) {
        PlanJob *j = &d->jobs[a->entry];

        switch (a->kind) {
        case PLAN_CHECK:
                plan_job_check(d, j);
                break;
        case PLAN_MOVE:
                plan_job_move(d, j, a->host);
                break;
        case PLAN_STOP:
                stop(d, j);
                break;
        case PLAN_SETTLE:
                plan_job_settle(d, j, a->host);
                break;
        default:
                break;
        }
}

/* Waiting too long is told once, and is no failure. */
static uint64_t warn(PlanDriver *d, uint64_t now) {
        const unsigned waiting = 1U << PLAN_QUEUED | 1U << PLAN_HELD | 1U << PLAN_WAITING;
        uint64_t next = UINT64_MAX, after = d->run->plan.warn_after_ms;
        const char *limit;

        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                PlanEntry *e = &d->run->engine.entries[i];

                if (e->warned || !(waiting & (1U << e->fsm.state)))
                        continue;
                if (e->since_ms + after > now) {
                        next = MIN_OF(next, e->since_ms + after);
                        continue;
                }
                e->warned = true;
                (void)plan_engine_position(&d->run->engine, i, &limit);
                plan_show_note(d->show, e->pod->pod, "waits for more than %llu s (%s%s%s)",
                               (unsigned long long)(after / 1000), fsm_name(&e->fsm),
                               e->fsm.state == PLAN_QUEUED && *limit ? ", limit: " : "",
                               e->fsm.state == PLAN_QUEUED ? limit : "");
        }
        return next;
}

static int on_wake(sd_event_source *s, uint64_t usec, void *userdata) {
        (void)s, (void)usec;
        plan_driver_pump(userdata);
        return 0;
}

static void set_wake(PlanDriver *d, uint64_t at_ms) {
        int r;

        if (at_ms == UINT64_MAX) {
                (void)sd_event_source_set_enabled(d->wake, SD_EVENT_OFF);
                return;
        }
        r = sd_event_source_set_time(d->wake, at_ms * 1000U);
        if (r >= 0)
                r = sd_event_source_set_enabled(d->wake, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)sd_event_exit(d->event, r);
}

/* One that nobody could say anything about keeps the run open, for resume. */
static void end(PlanDriver *d) {
        PlanCounts c;

        plan_run_count(d->run, &c);
        if (d->ended || !d->journal || c.final < c.all || c.n[PLAN_UNKNOWN] > 0)
                return;
        d->ended = plan_driver_record(d, plan_run_event("end", NULL)) >= 0;
}

void plan_driver_pump(PlanDriver *d) {
        PlanEngine *g = &d->run->engine;
        uint64_t now = clock_ms();
        PlanAction a;

        if (d->lost || (!d->ready && !g->paused && !plan_engine_is_over(g)))
                return;
        do { /* a look that cannot be started is an answer, too */
                while (!d->lost && plan_engine_next(g, clock_ms(), &a))
                        act(d, &a);
                plan_looks_start(d);
        } while (!d->lost && plan_engine_has_action(g));
        if (d->lost)
                return;
        if (!plan_engine_is_over(g)) {
                set_wake(d, MIN_OF(plan_engine_wake(g), warn(d, now)));
                return;
        }
        end(d);
        if (!d->lost)
                (void)sd_event_exit(d->event, 0);
}

/* -- what comes from outside -- */

static void cancel(PlanDriver *d, const char *pod) {
        bool any = false;

        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                if (*pod && strcmp(d->run->engine.entries[i].pod->pod, pod) != 0)
                        continue;
                any = true;
                plan_driver_tell(d, i, &(PlanEvent){ .kind = PLAN_EVENT_CANCEL });
        }
        if (!any)
                plan_show_note(d->show, pod, "is to be cancelled, but is not in this plan");
}

void plan_driver_take_cancels(PlanDriver *d) {
        char pod[96];
        Error e = ERROR_INIT;
        int r;

        while ((r = plan_store_take_cancel(d->store, pod, sizeof(pod), &e)) > 0) {
                json_object *o = plan_run_event("cancel", NULL);

                if (o && json_add_string(o, "pod", pod) < 0)
                        (void)json_object_put(TAKE(o));
                plan_show_note(d->show, *pod ? pod : NULL, "somebody asked to cancel %s",
                               *pod ? "it" : "everything");
                (void)plan_driver_record(d, o);
                cancel(d, pod);
        }
        if (r == -EAGAIN)
                plan_driver_lost(d, &e);
        else if (r < 0)
                plan_driver_fail(d, r, &e);
}

/* -- what the store tells -- */

static void freed(void *userdata, PlanLock *l) {
        const PlanEvent ev = { .kind = PLAN_EVENT_FREED };
        PlanDriver *d = userdata;

        if (l)
                plan_driver_tell(d, container_of(l, PlanJob, lock)->entry, &ev);
        for (unsigned i = 0; !l && i < d->run->engine.n_entries; i++)
                plan_driver_tell(d, i, &ev);
}

static void asked(void *userdata) {
        PlanDriver *d = userdata;

        if (d->journal && !d->lost)
                plan_driver_take_cancels(d);
}

static void gone(void *userdata, int r, const Error *e) {
        plan_driver_fail(userdata, r, e);
}

static void pump(void *userdata) {
        plan_driver_pump(userdata);
}

static const PlanStoreEvents store_events = {
        .freed = freed, .asked = asked, .gone = gone, .pump = pump
};

/* -- what else comes from outside -- */

/* Once: nothing new. Twice: what runs is cancelled. Nothing is lost either way. */
static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        PlanDriver *d = userdata;
        Error e = ERROR_INIT;

        (void)s, (void)si;
        plan_engine_pause(&d->run->engine);
        if (d->signals++ == 0)
                plan_show_note(d->show, NULL,
                               "interrupted: no new moves; those that run, end (once more: they "
                               "are cancelled)");
        else {
                for (unsigned i = 0; i < d->run->engine.n_entries; i++)
                        plan_child_stop(&d->jobs[i].child);
                if (d->lost)
                        plan_driver_fail(d, error_setf(&e, -ECANCELED, "interrupted"), &e);
        }
        plan_driver_pump(d);
        return 0;
}

static int on_start(sd_event_source *s, uint64_t usec, void *userdata) {
        PlanDriver *d = userdata;

        (void)s, (void)usec;
        d->ready = true;
        plan_driver_pump(d);
        return 0;
}

/* -- set up -- */

static int watch_start(PlanDriver *d) {
        uint64_t at = d->run->plan.start_at;

        /* Only the beginning is bound to the clock on the wall; it may be set while we wait. */
        if (at == 0 || !d->journal || d->run->rollback || (uint64_t)time(NULL) >= at) {
                d->ready = true;
                return 0;
        }
        plan_show_note(d->show, NULL, "begins in %llu s",
                       (unsigned long long)(at - (uint64_t)time(NULL)));
        return sd_event_add_time(d->event, &d->start, CLOCK_REALTIME, at * 1000000U, 0, on_start,
                                 d);
}

static int watch_all(PlanDriver *d, Error *reterr) {
        const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t set;
        int r;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void)sigaddset(&set, signals[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_new(&d->event);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(d->event, NULL, signals[i], on_signal, d);
        if (r < 0)
                return r;
        if ((r = plan_lost_init(d)) < 0 ||
            (r = plan_store_watch(d->store, d->event, &store_events, d, reterr)) < 0)
                return r;
        r = sd_event_add_time(d->event, &d->wake, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_wake, d);
        return r < 0 ? r : watch_start(d);
}

static const PlanLive *live_of(void *userdata, size_t entry) {
        const PlanDriver *d = userdata;

        return &d->jobs[entry].live;
}

static int set_up(PlanDriver *d, Error *reterr) {
        PlanEngine *g = &d->run->engine;
        int r;

        d->jobs = calloc(g->n_entries, sizeof(*d->jobs));
        if (!d->jobs)
                return error_oom(reterr);
        for (unsigned i = 0; i < g->n_entries; i++) {
                PlanEntry *e = &g->entries[i];

                if (e->fsm.state == PLAN_UNKNOWN) { /* perhaps somebody can say now */
                        e->fsm.state = PLAN_CHECKING;
                        e->todo = PLAN_CHECK;
                }
                e->since_ms = clock_ms();
                d->jobs[i] = (PlanJob){
                        .driver = d, .entry = i, .lock = PLAN_LOCK_INIT, .recorded = e->doubt
                };
                /* What drives its move may be on another machine, and alive. */
                if (e->doubt && plan_store_is_shared(d->store))
                        e->patience = PATIENCE;
        }
        r = plan_looks_init(d, reterr);
        if (r < 0)
                return r;
        r = watch_all(d, reterr);
        if (r < 0)
                return reterr->text[0]
                               ? r
                               : error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        g->observer = on_change;
        g->userdata = d;
        d->show->run = d->run;
        d->show->live = live_of;
        d->show->userdata = d;
        return 0;
}

/* What the store does not know of yet keeps its lock there. */
static void release_all(PlanDriver *d) {
        bool keep = d->failed < 0;

        for (unsigned i = 0; d->jobs && i < d->run->engine.n_entries; i++) {
                PlanJob *j = &d->jobs[i];

                plan_child_done(&j->child);
                (void)json_object_put(j->result);
                keep |= !keep && plan_job_release(j, NULL) < 0;
                if (keep)
                        (void)plan_store_unlock(d->store, &j->lock, true, NULL);
        }
}

static void take_down(PlanDriver *d) {
        release_all(d);
        if (d->looks)
                plan_looks_done(d);
        plan_store_unwatch(d->store);
        plan_lost_done(d);
        (void)sd_event_source_unref(d->wake);
        (void)sd_event_source_unref(d->start);
        d->event = sd_event_unref(d->event);
        free(d->jobs);
        d->run->engine.observer = NULL;
        d->show->live = NULL;
}

int plan_drive(const Ctl *ctl, PlanStore *store, PlanRun *run, PlanJournal *journal, PlanShow *show,
               Error *reterr) {
        PlanDriver d = { .ctl = ctl, .store = store, .run = run, .journal = journal, .show = show };
        int r = set_up(&d, reterr);

        if (r == 0) {
                if (journal)
                        plan_driver_take_cancels(&d);
                plan_driver_pump(&d);
                r = sd_event_loop(d.event);
                if (r < 0)
                        (void)error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
                run->finished |= d.ended && d.failed == 0;
        }
        if (r >= 0 && d.failed < 0) {
                *reterr = d.error;
                r = d.failed;
        }
        if (r >= 0 && d.signals > 0 && !run->finished)
                r = error_setf(reterr, -ECANCELED, "interrupted");
        take_down(&d);
        return r;
}
