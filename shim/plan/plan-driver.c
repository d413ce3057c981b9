/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of a run: events in, actions out, and the journal in front of each. */
#include "shim/plan/plan-driver.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <time.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"

/* After this nothing new is started: what cannot be recorded must not be done. */
static void fail(PlanDriver *d, int r, const Error *e) {
        if (d->failed < 0)
                return;
        d->failed = r;
        d->error = *e;
        plan_engine_pause(&d->run->engine);
        plan_show_note(d->show, NULL, "%s: no new moves; those that run, end", error_text(e, r));
}

int plan_driver_record(PlanDriver *d, json_object *record) {
        Error e = ERROR_INIT;
        int r;

        if (!d->journal) {
                (void)json_object_put(record);
                return 0;
        }
        r = plan_journal_append(d->journal, record, &e);
        if (r < 0)
                fail(d, r, &e);
        return r;
}

#define AGAIN_MS 200U

/* -- the engine's moves -- */

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
                plan_job_release(j);
        plan_show_state(d->show, i, from);
}

void plan_driver_tell(PlanDriver *d, unsigned entry, const PlanEvent *ev) {
        /* An answer that nobody waits for any more changes nothing. */
        (void)plan_engine_event(&d->run->engine, entry, ev, clock_ms());
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
                plan_child_stop(&j->child);
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

/* One more try of each lock that was told to be free and was not yet. */
static uint64_t try_again(PlanDriver *d, uint64_t now) {
        uint64_t next = UINT64_MAX;

        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                PlanJob *j = &d->jobs[i];

                if (j->again_ms > now)
                        next = MIN_OF(next, j->again_ms);
                else if (j->again_ms > 0) {
                        j->again_ms = 0;
                        plan_driver_tell(d, i, &(PlanEvent){ .kind = PLAN_EVENT_FREED });
                }
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

void plan_driver_pump(PlanDriver *d) {
        PlanEngine *g = &d->run->engine;
        uint64_t now = clock_ms(), again;
        PlanAction a;

        if (!d->ready && !g->paused && !plan_engine_is_over(g))
                return;
        again = try_again(d, now);
        do { /* a look that cannot be started is an answer, too */
                while (plan_engine_next(g, clock_ms(), &a))
                        act(d, &a);
                plan_looks_start(d);
        } while (plan_engine_has_action(g));
        if (plan_engine_is_over(g))
                (void)sd_event_exit(d->event, 0);
        else
                set_wake(d, MIN_OF(again, MIN_OF(plan_engine_wake(g), warn(d, now))));
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

static void take_cancels(PlanDriver *d) {
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
        if (r < 0)
                fail(d, r, &e);
}

static void freed(PlanDriver *d, const struct inotify_event *ev) {
        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                PlanJob *j = &d->jobs[i];

                if (j->watch != ev->wd || !(ev->mask & IN_CLOSE))
                        continue;
                /* The kernel tells of a close just before it lets the lock go. */
                j->again_ms = clock_ms() + AGAIN_MS;
                plan_driver_tell(d, i, &(PlanEvent){ .kind = PLAN_EVENT_FREED });
        }
}

static int on_inotify(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        char bytes[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
        PlanDriver *d = userdata;
        ssize_t n;

        (void)s, (void)events;
        n = read(fd, bytes, sizeof(bytes));
        for (char *p = bytes; n > 0 && p < bytes + n;) {
                struct inotify_event *ev = (struct inotify_event *)(void *)p;

                if (ev->mask & IN_Q_OVERFLOW)
                        for (unsigned i = 0; i < d->run->engine.n_entries; i++)
                                plan_driver_tell(d, i, &(PlanEvent){ .kind = PLAN_EVENT_FREED });
                else
                        freed(d, ev);
                p += sizeof(*ev) + ev->len;
        }
        if (d->journal)
                take_cancels(d);
        plan_driver_pump(d);
        return 0;
}

/* Once: nothing new. Twice: what runs is cancelled. Nothing is lost either way. */
static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        PlanDriver *d = userdata;

        (void)s, (void)si;
        plan_engine_pause(&d->run->engine);
        if (d->signals++ == 0)
                plan_show_note(d->show, NULL,
                               "interrupted: no new moves; those that run, end (once more: they "
                               "are cancelled)");
        else
                for (unsigned i = 0; i < d->run->engine.n_entries; i++)
                        plan_child_stop(&d->jobs[i].child);
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

static int watch_all(PlanDriver *d) {
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
        d->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (d->inotify_fd < 0 ||
            inotify_add_watch(d->inotify_fd, d->store->path, IN_MOVED_TO | IN_ONLYDIR) < 0)
                return -errno;
        if ((r = sd_event_add_io(d->event, &d->inotify, d->inotify_fd, EPOLLIN, on_inotify, d)) < 0)
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
                d->jobs[i] = (PlanJob){ .driver = d,
                                        .entry = i,
                                        .lock = FILE_LOCK_INIT,
                                        .try_fd = -EBADF,
                                        .watch = -1,
                                        .recorded = e->doubt };
        }
        r = plan_looks_init(d, reterr);
        if (r < 0)
                return r;
        r = watch_all(d);
        if (r < 0)
                return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        g->observer = on_change;
        g->userdata = d;
        d->show->run = d->run;
        d->show->live = live_of;
        d->show->userdata = d;
        return 0;
}

static void take_down(PlanDriver *d) {
        sd_event_source *sources[] = { d->wake, d->start, d->inotify };

        for (unsigned i = 0; d->jobs && i < d->run->engine.n_entries; i++) {
                plan_child_done(&d->jobs[i].child);
                (void)json_object_put(d->jobs[i].result);
                plan_job_release(&d->jobs[i]);
        }
        if (d->looks)
                plan_looks_done(d);
        for (size_t i = 0; i < ELEMENTSOF(sources); i++)
                (void)sd_event_source_unref(sources[i]);
        d->event = sd_event_unref(d->event);
        (void)close_fd(d->inotify_fd);
        free(d->jobs);
        d->run->engine.observer = NULL;
        d->show->live = NULL;
}

/* One that nobody could say anything about keeps the run open, for resume. */
static void end(PlanDriver *d) {
        PlanCounts c;

        plan_run_count(d->run, &c);
        if (c.final < c.all || c.n[PLAN_UNKNOWN] > 0)
                return;
        d->run->finished = plan_driver_record(d, plan_run_event("end", NULL)) == 0;
}

int plan_drive(const Ctl *ctl, const PlanStore *store, PlanRun *run, PlanJournal *journal,
               PlanShow *show, Error *reterr) {
        PlanDriver d = { .ctl = ctl,
                         .store = store,
                         .run = run,
                         .journal = journal,
                         .show = show,
                         .inotify_fd = -EBADF };
        int r = set_up(&d, reterr);

        if (r == 0) {
                if (journal)
                        take_cancels(&d);
                plan_driver_pump(&d);
                r = sd_event_loop(d.event);
                if (r < 0)
                        (void)error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
                if (journal)
                        end(&d);
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
