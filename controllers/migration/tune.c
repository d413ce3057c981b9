/* SPDX-License-Identifier: Apache-2.0 */
/* The convergence of a transfer, at the source: the ramp of the allowed blackout, the time limit
 * and what follows it, the stall, the cutover, and what people say while it is under way. What is
 * decided here is carried out by ops->tune; when, is in converge.c. */
#include <stdio.h>
#include <stdlib.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

#define NS_PER_MS       1000000U
#define LIMIT_MAX_MS    (30ULL * 24 * 3600 * 1000)
#define CUTOVER_LOOK_MS 60000U /* clocks are set: how far ahead one is trusted */

static bool is_transferring(const Migration *m) {
        return m->role == MIGRATION_SOURCE && migration_state(m) == MIGRATION_TRANSFERRING;
}

const MigrationOptions *migration_live_options(const Migration *m) {
        return &m->live;
}

uint64_t migration_downtime_allowed(const Migration *m) {
        return m->downtime_ms;
}

bool migration_is_held(const Migration *m) {
        return m->held;
}

/* -- what libvirt is told -- */

typedef struct Tune {
        Migration *m;
        OpDone done;
        void *job;
} Tune;

static void tuned(void *userdata, int r, const void *result, const Error *err) {
        Tune *t = userdata;
        Migration *m = t->m;
        OpDone done = t->done;
        void *job = t->job;

        free(t);
        m->tunes--;
        if (done)
                done(job, r, NULL, err);
        migration_pump(m); /* the fence waits for it */
        migration_call_check(m);
}

static int tell_libvirt(Migration *m, MigrationCall what, uint64_t value, OpDone done, void *job,
                        Error *reterr) {
        Tune *t;
        int r;

        if (!m->ops->tune)
                return error_setf(reterr, -EOPNOTSUPP, "%s is not supported yet",
                                  migration_call_name(what));
        t = malloc(sizeof(*t));
        if (!t)
                return error_oom(reterr);
        *t = (Tune){ m, done, job };
        m->tunes++;
        r = m->ops->tune(m->u, what, value, tuned, t, reterr);
        if (r <= 0) {
                m->tunes--;
                free(t);
        }
        return r;
}

/* Of what we do by ourselves, nobody waits for the answer. */
static void noted(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        if (r < 0)
                log_warning("migration %s: %s", m->session, error_text(err, r));
}

static void allow_downtime(Migration *m, uint64_t ms) {
        Error e = ERROR_INIT;
        int r;

        m->downtime_ms = ms;
        m->stepped_ns = m->ops->now_ns(m->u);
        if (ms == 0)
                return; /* what the hypervisor's own is, it does not say */
        r = tell_libvirt(m, MIGRATION_CALL_SET_MAX_DOWNTIME, ms, noted, m, &e);
        if (r < 0)
                noted(m, r, NULL, &e);
        migration_changed(m);
}

/* -- the time limit -- */

static void arm_limit(Migration *m) {
        uint64_t limit, gone;

        if (m->limit_final || m->held || m->forced)
                return;
        limit = migration_time_limit(&m->live, m->guest_mib, m->progress.now.disks.total);
        m->limit_final = m->progress.now.memory.total > 0; /* now the disks are known, too */
        gone = (m->ops->now_ns(m->u) - m->limit_from_ns) / NS_PER_MS;
        m->ops->timer(m->u, MIGRATION_TIMER_LIMIT,
                      limit == 0     ? 0
                      : limit > gone ? limit - gone
                                     : 1);
}

/* What has waited for the cutover. */
static void let_go(Migration *m) {
        if (!m->held)
                return;
        m->held = false;
        m->ops->timer(m->u, MIGRATION_TIMER_CUTOVER, 0);
        if (m->up)
                m->ops->timer(m->u, MIGRATION_TIMER_PROGRESS, m->options.progress_timeout_ms);
        if (m->ops->let_go)
                m->ops->let_go(m->u);
}

typedef struct Force {
        Migration *m;
        uint64_t downtime_ms; /* before */
        OpDone done;
        void *job;
} Force;

static void latch(Migration *m, uint64_t deadline_ms) {
        m->forced = true;
        let_go(m);
        m->ops->timer(m->u, MIGRATION_TIMER_LIMIT, deadline_ms);
}

static void unlatch(Migration *m) {
        m->forced = false;
        m->limit_final = false;
        arm_limit(m);
}

static int force_by(Migration *m, MigrationCall what, uint64_t value, OpDone then, OpDone done,
                    void *job, Error *reterr) {
        Force *f = malloc(sizeof(*f));
        int r;

        if (!f)
                return error_oom(reterr);
        *f = (Force){ m, m->downtime_ms, done, job };
        r = tell_libvirt(m, what, value, then, f, reterr);
        if (r <= 0)
                free(f);
        return r;
}

static void paused(void *userdata, int r, const void *result, const Error *err) {
        Force f = *(Force *)userdata;

        free(userdata);
        if (r < 0)
                f.m->downtime_ms = f.downtime_ms;
        if (r < 0 && is_transferring(f.m))
                unlatch(f.m);
        if (f.done)
                f.done(f.job, r, NULL, err);
}

/* Lifting the limit of the blackout makes QEMU itself stop the guest and send the rest: the
 * blackout is the one of every migration, seen and fenced in the same way, and a guest that was not
 * paused by us is not resumed by us. */
static int force_by_pause(Migration *m, OpDone done, void *job, Error *reterr) {
        int r = force_by(m, MIGRATION_CALL_SET_MAX_DOWNTIME, MIGRATION_DOWNTIME_ANY, paused, done,
                         job, reterr);

        if (r < 0)
                return r;
        m->downtime_ms = MIGRATION_DOWNTIME_ANY;
        latch(m, m->live.pause_timeout_ms);
        return r;
}

static bool may_postcopy(const Migration *m) {
        return m->live.postcopy && m->progress.now.memory.total > 0;
}

static void postcopy_began(void *userdata, int r, const void *result, const Error *err) {
        Force f = *(Force *)userdata;
        Error e = ERROR_INIT;

        free(userdata);
        /* If the answer was lost, it may have begun. */
        if (r < 0 && r != -ECONNRESET && r != -ETIMEDOUT && is_transferring(f.m)) {
                f.m->postcopy = false;
                migration_tell(f.m, f.m->progress.phase, MIGRATION_WARNING, error_text(err, r));
                r = force_by_pause(f.m, f.done, f.job, &e);
                if (r > 0)
                        return;
                if (r < 0)
                        unlatch(f.m);
                err = &e;
        }
        if (f.done)
                f.done(f.job, r, NULL, err);
}

static int force_by_postcopy(Migration *m, OpDone done, void *job, Error *reterr) {
        int r;

        m->postcopy = true; /* before anything can come of it */
        r = force_by(m, MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0, postcopy_began, done, job, reterr);
        if (r >= 0)
                latch(m, 0); /* it ends by itself, and cannot go back */
        else
                m->postcopy = false;
        return r;
}

static int refuse_held(MigrationCall what, Error *reterr) {
        return error_setf(
                reterr, -EBADFD,
                "%s: the pod is held, and would stand for all of its memory: Cutover first",
                migration_call_name(what));
}

static int force(Migration *m, OpDone done, void *job, Error *reterr) {
        bool postcopy = may_postcopy(m);
        int r = -EOPNOTSUPP;

        if (m->forced)
                return 0;
        if (m->held && !postcopy)
                return refuse_held(MIGRATION_CALL_FORCE_COMPLETE, reterr);
        if (postcopy)
                r = force_by_postcopy(m, done, job, reterr);
        if (r < 0)
                r = force_by_pause(m, done, job, reterr);
        if (r >= 0)
                migration_tell(m, m->progress.phase, MIGRATION_WARNING,
                               postcopy ? "forcing completion: post-copy"
                                        : "forcing completion: the pod stands while what is left "
                                          "goes over");
        return r;
}

static void forced_by_us(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        if (r < 0 && !migration_decided(m))
                migration_give_up(m, "forced completion", error_text(err, r));
}

/* step, why: if it is not to be forced, or cannot be. */
static void act(Migration *m, bool by_force, const char *step, const char *why) {
        Error e = ERROR_INIT;

        if (by_force && !m->forced) {
                if (force(m, forced_by_us, m, &e) >= 0)
                        return;
                log_warning("migration %s: forcing completion: %s", m->session, e.text);
        }
        migration_give_up(m, step, why);
}

void migration_limit_reached(Migration *m) {
        bool undecided = m->role == MIGRATION_SOURCE && m->journal == JOURNAL_PREPARED &&
                         m->peer == MIGRATION_PEER_SILENT;

        if (m->forced && undecided)
                migration_give_up(m, "forced completion",
                                  "what was left did not go over within pause_timeout");
        else if (!m->forced && is_transferring(m))
                act(m, m->live.timeout_action == MIGRATION_TIMEOUT_FORCE_COMPLETE, "time limit",
                    "the transfer did not complete in time");
}

/* -- the cutover -- */

/* Until the time that was said; in steps, since the clock may be set meanwhile. */
static bool await_cutover(Migration *m) {
        uint64_t now = m->ops->clock_ns(m->u) / 1000000000U;

        if (m->live.cutover_at <= now)
                return false;
        m->ops->timer(m->u, MIGRATION_TIMER_CUTOVER,
                      MIN_OF((m->live.cutover_at - now) * 1000U, (uint64_t)CUTOVER_LOOK_MS));
        return true;
}

static void cut_over(Migration *m) {
        let_go(m);
        m->limit_from_ns = m->ops->now_ns(m->u);
        m->limit_final = false;
        arm_limit(m);
        allow_downtime(m, migration_downtime_first(&m->live, false));
        migration_tell(m, m->progress.phase, MIGRATION_PROGRESS, "cutover");
}

void migration_cutover_reached(Migration *m) {
        if (is_transferring(m) && m->held && !await_cutover(m))
                cut_over(m);
}

/* -- as it goes -- */

void migration_converge_begin(Migration *m) {
        m->limit_from_ns = m->ops->now_ns(m->u);
        m->stepped_ns = m->limit_from_ns;
        m->held = m->live.cutover_at > 0 ? await_cutover(m)
                                         : m->live.cutover == MIGRATION_CUTOVER_HOLD;
        m->downtime_ms = migration_downtime_first(&m->live, m->held);
        if (m->held)
                migration_tell(m, m->progress.phase, MIGRATION_WARNING, "held until the cutover");
        arm_limit(m);
}

void migration_converge_end(Migration *m) {
        static const MigrationTimer timers[] = { MIGRATION_TIMER_LIMIT, MIGRATION_TIMER_PROGRESS,
                                                 MIGRATION_TIMER_CUTOVER };

        for (size_t i = 0; i < ELEMENTSOF(timers); i++)
                m->ops->timer(m->u, timers[i], 0);
}

void migration_on_iteration(Migration *m, uint32_t n) {
        uint64_t next, since;

        if (!is_transferring(m) || m->wants_out)
                return;
        m->sample = true;
        if (m->held || m->forced)
                return;
        since = (m->ops->now_ns(m->u) - m->stepped_ns) / NS_PER_MS;
        next = migration_downtime_next(&m->live, m->downtime_ms, n, since);
        if (next != m->downtime_ms)
                allow_downtime(m, next);
}

static void warn_stalled(Migration *m, uint64_t left) {
        const MigrationStatistics *s = &m->progress.now;
        uint64_t rate = s->memory_bps + s->disk_bps;
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "stalled: what is left (%llu MiB) does not get less; it would take a "
                       "blackout of %llu ms at the present speed, %llu ms are allowed",
                       (unsigned long long)(left >> 20),
                       (unsigned long long)(rate ? left * 1000U / rate : 0),
                       (unsigned long long)m->downtime_ms);
        migration_tell(m, m->progress.phase, MIGRATION_WARNING, text);
}

void migration_converge_sample(Migration *m) {
        const MigrationStatistics *s = &m->progress.now;
        uint64_t left = s->memory.remaining + s->disks.remaining;
        MigrationStallVerdict v;

        if (m->role != MIGRATION_SOURCE)
                return;
        arm_limit(m);
        if (!m->sample || m->held || m->forced || m->wants_out)
                return;
        m->sample = false;
        v = migration_stall_sample(&m->stall, m->live.stall_window_ms,
                                   m->ops->now_ns(m->u) / NS_PER_MS, left);
        if (v == MIGRATION_STALL_BEGINS)
                warn_stalled(m, left);
        else if (v == MIGRATION_STALL_ACT_NOW && m->live.stall_action != MIGRATION_STALL_ADVISE)
                act(m, m->live.stall_action == MIGRATION_STALL_FORCE_COMPLETE, "memory",
                    "stalled: what is left does not get less");
}

/* -- what people say meanwhile -- */

static int refuse_forced(const Migration *m, MigrationCall what, Error *reterr) {
        return error_setf(reterr, -EBADFD, "%s: completion is being forced already",
                          migration_call_name(what));
}

static void say_live(Migration *m, const char *name, uint64_t value) {
        char text[24];

        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
        (void)migration_options_set(&m->live, name, text, NULL);
}

static int set_downtime(Migration *m, uint64_t ms, OpDone done, void *job, Error *reterr) {
        int r;

        if (ms == 0 || ms > MIGRATION_DOWNTIME_ANY)
                return error_setf(reterr, -EINVAL, "SetMaxDowntime: %llu ms is not from 1 to %u",
                                  (unsigned long long)ms, MIGRATION_DOWNTIME_ANY);
        if (m->forced)
                return refuse_forced(m, MIGRATION_CALL_SET_MAX_DOWNTIME, reterr);
        if (m->held) { /* it counts from the cutover on */
                say_live(m, "max_downtime", ms);
                return 0;
        }
        r = tell_libvirt(m, MIGRATION_CALL_SET_MAX_DOWNTIME, ms, done, job, reterr);
        if (r < 0)
                return r;
        say_live(m, "max_downtime", ms);
        m->downtime_ms = ms; /* who says so now means now: no ramp */
        return r;
}

static int set_bandwidth(Migration *m, uint64_t mib, OpDone done, void *job, Error *reterr) {
        int r = tell_libvirt(m, MIGRATION_CALL_SET_BANDWIDTH, mib, done, job, reterr);

        if (r >= 0)
                say_live(m, "bandwidth", mib << 20);
        return r;
}

static int set_timeout(Migration *m, uint64_t ms, Error *reterr) {
        if (m->forced)
                return refuse_forced(m, MIGRATION_CALL_SET_TIMEOUT, reterr);
        if (ms > LIMIT_MAX_MS)
                return error_setf(reterr, -EINVAL, "SetTimeout: %llu ms is above %llu",
                                  (unsigned long long)ms, LIMIT_MAX_MS);
        say_live(m, "completion_timeout", ms);
        if (ms == 0)
                say_live(m, "timeout_per_gib", 0);
        m->limit_final = false;
        arm_limit(m);
        return 0;
}

int migration_tune(Migration *m, const char *session, MigrationCall what, uint64_t value,
                   OpDone done, void *job, Error *reterr) {
        int r;

        r = migration_same_session(m, session, reterr);
        if (r < 0)
                return r;
        if (what < MIGRATION_CALL_FORCE_COMPLETE || what > MIGRATION_CALL_CUTOVER)
                return error_setf(reterr, -EINVAL, "not a call for a running transfer");
        r = migration_ask(m, what, reterr);
        if (r < 0)
                return r;
        if (m->wants_out)
                return error_setf(reterr, -EBADFD, "%s: the transfer is being given up",
                                  migration_call_name(what));
        switch ((int)what) {
        case MIGRATION_CALL_FORCE_COMPLETE:
                return force(m, done, job, reterr);
        case MIGRATION_CALL_PAUSE:
                if (m->held)
                        return refuse_held(what, reterr);
                return m->forced ? 0 : force_by_pause(m, done, job, reterr);
        case MIGRATION_CALL_SET_BANDWIDTH:
                return set_bandwidth(m, value, done, job, reterr);
        case MIGRATION_CALL_SET_MAX_DOWNTIME:
                return set_downtime(m, value, done, job, reterr);
        case MIGRATION_CALL_SWITCH_TO_POSTCOPY:
                if (!m->live.postcopy)
                        return error_setf(reterr, -EBADFD,
                                          "SwitchToPostCopy: option post_copy is not set");
                return m->forced ? 0 : force_by_postcopy(m, done, job, reterr);
        case MIGRATION_CALL_SET_TIMEOUT:
                return set_timeout(m, value, reterr);
        default: /* Cutover */
                if (m->held)
                        cut_over(m);
                return 0;
        }
}
