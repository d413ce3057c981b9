/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of a migration: one shot each, on the shim's loop. */
#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

static int fire(Migrate *m, MigrationTimer t) {
        migration_on_timer(m->migration, t);
        return 0;
}

static int on_limit(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_LIMIT);
}

static int on_transport(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_TRANSPORT);
}

static int on_progress(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_PROGRESS);
}

static int on_repeat(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_REPEAT);
}

static int on_handover(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_HANDOVER);
}

static int on_cutover(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_CUTOVER);
}

static int on_abort(sd_event_source *source, uint64_t usec, void *userdata) {
        return fire(userdata, MIGRATION_TIMER_ABORT);
}

void migrate_op_timer(void *u, MigrationTimer t, uint64_t ms) {
        static const sd_event_time_handler_t handlers[_MIGRATION_TIMER_MAX] = {
                [MIGRATION_TIMER_LIMIT] = on_limit,
                [MIGRATION_TIMER_TRANSPORT] = on_transport,
                [MIGRATION_TIMER_PROGRESS] = on_progress,
                [MIGRATION_TIMER_REPEAT] = on_repeat,
                [MIGRATION_TIMER_HANDOVER] = on_handover,
                [MIGRATION_TIMER_CUTOVER] = on_cutover,
                [MIGRATION_TIMER_ABORT] = on_abort,
        };
        Migrate *m = u;

        m->timers[t] = sd_event_source_disable_unref(m->timers[t]);
        if (ms > 0 && sd_event_add_time_relative(m->shim->event, &m->timers[t], CLOCK_MONOTONIC,
                                                 ms * 1000U, 0, handlers[t], m) < 0)
                log_err("migration: no timer could be set");
}
