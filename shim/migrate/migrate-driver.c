/* SPDX-License-Identifier: Apache-2.0 */
/* Who drives a session may be killed at any moment. A session is bound to its driver in one of two
 * ways: at the source by the connection that asked for it (option "bound" of PrepareAndExport), at
 * the destination by a pipe that `podferry receive` holds from before the shim is there until it
 * ends, so that there is no moment at which its death goes unnoticed. When the driver is gone, the
 * shim ends the session by itself: it is cancelled, or let go where it cannot be any more, and what
 * was decided is made so. A destination to which nothing came goes away with all that it made; one
 * that owns the pod keeps it.
 *
 * Every step follows from a change of the session. Only a step that is refused because another call
 * is still at work is tried again after a while: such a call ends by itself and says so to nobody
 * but its caller, who is gone. */
#include <sys/epoll.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

#define AGAIN_USEC (250U * 1000U)

static void release(Migrate *m) {
        m->driver_pipe = sd_event_source_disable_unref(m->driver_pipe);
        m->driver_step = sd_event_source_disable_unref(m->driver_step);
        m->driver = sd_bus_unref(m->driver);
        m->driver_gone = m->driver_bound = m->driver_cancelled = false;
}

static void step_in(Migrate *m, uint64_t usec) {
        if (!m->driver_step)
                return;
        (void)sd_event_source_set_time_relative(m->driver_step, usec);
        (void)sd_event_source_set_enabled(m->driver_step, SD_EVENT_ONESHOT);
}

static void ended(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;

        if (r < 0)
                log_warning("migration: its end: %s", error_text(err, r));
        step_in(m, r < 0 ? AGAIN_USEC : 0);
}

/* Before anything is decided. What can no longer be cancelled goes on, and changes. */
int migrate_cancel(Migrate *m, const char *session, Error *reterr) {
        int r = migration_cancel(m->migration, session, reterr);

        if (r == -EBUSY)
                atomic_store(&m->storage_stop, true);
        return r;
}

static void cancel_alone(Migrate *m) {
        Error err = ERROR_INIT;
        int r;

        if (m->driver_cancelled)
                return;
        r = migrate_cancel(m, migration_session(m->migration), &err);
        if (r == -EBUSY)
                step_in(m, AGAIN_USEC);
        else
                m->driver_cancelled = true;
        if (r < 0)
                log_info("migration: %s", error_text(&err, r));
}

static void finalize_alone(Migrate *m) {
        Migration *g = m->migration;
        bool source = migration_role(g) == MIGRATION_SOURCE;
        MigrationOutcome outcome = migration_outcome(g);
        bool runs_here = outcome == MIGRATION_OUTCOME_MOVED  ? !source
                         : outcome == MIGRATION_OUTCOME_LOST ? false
                                                             : source;
        int r = migration_finalize(g, migration_session(g), runs_here, ended, m, NULL);

        if (r <= 0)
                step_in(m, r == 0 ? 0 : AGAIN_USEC);
}

static void idle_alone(Migrate *m) {
        Error err = ERROR_INIT;
        int r;

        if (m->shim->vm || !m->shim->receive) {
                release(m);
                return;
        }
        log_info("migration: nothing came to this host");
        r = shim_shutdown(m->shim, ended, m, &err);
        if (r < 0)
                log_warning("migration: %s", error_text(&err, r));
        release(m);
}

static void settle_alone(Migrate *m) {
        Migration *g = m->migration;

        switch (migration_state(g)) {
        case MIGRATION_IDLE:
                idle_alone(m);
                break;
        case MIGRATION_TRANSFERRED:
        case MIGRATION_CANCELLED:
        case MIGRATION_FAILED:
                finalize_alone(m);
                break;
        case MIGRATION_FINALIZED:
                if (migrate_cleanup(m, migration_session(g), ended, m, NULL) < 0)
                        step_in(m, AGAIN_USEC);
                break;
        case MIGRATION_SOURCE_PREPARED:
        case MIGRATION_SOURCE_EXPORTED:
        case MIGRATION_DESTINATION_IMPORTED:
        case MIGRATION_DESTINATION_PREPARED:
        case MIGRATION_TRANSPORT_WAITING:
        case MIGRATION_TRANSPORT_READY:
        case MIGRATION_TRANSFERRING:
        case MIGRATION_SWITCHOVER:
                cancel_alone(m);
                break;
        case MIGRATION_POSTCOPY_BROKEN: /* for people to decide */
        case MIGRATION_CANCELLING:
        case _MIGRATION_STATE_MAX:
        case _MIGRATION_STATE_INVALID:
                break;
        }
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata) {
        Migrate *m = userdata;

        if (m->driver_gone)
                settle_alone(m);
        else if (migration_state(m->migration) == MIGRATION_IDLE && (m->driver || m->shim->vm))
                release(m); /* the session is over as it should be */
        return 0;
}

static void gone(Migrate *m) {
        if (m->driver_gone)
                return;
        m->driver_gone = true;
        if (migration_is_active(m->migration))
                log_warning("migration %s: whoever drove it is gone%s",
                            migration_session(m->migration),
                            migration_carries_postcopy(m->migration)
                                    ? "; it is post-copy: podferry adopt --to goes on with it"
                                    : "");
        step_in(m, 0);
}

static int bind_driver(Migrate *m, Error *reterr) {
        release(m);
        if (sd_event_add_time_relative(m->shim->event, &m->driver_step, CLOCK_MONOTONIC, 0, 0,
                                       on_step, m) < 0 ||
            sd_event_source_set_enabled(m->driver_step, SD_EVENT_OFF) < 0)
                return error_oom(reterr);
        m->driver_bound = true;
        return 0;
}

void migrate_end_alone(Migrate *m) {
        const unsigned over = 1U << MIGRATION_TRANSFERRED | 1U << MIGRATION_CANCELLED |
                              1U << MIGRATION_FAILED | 1U << MIGRATION_FINALIZED;

        if (m->driver_bound || !(over & (1U << migration_state(m->migration))))
                return;
        if (bind_driver(m, NULL) < 0) {
                log_err("migration: no timer: its end has to be called for");
                return;
        }
        m->driver_cancelled = true; /* what was decided is only carried out */
        gone(m);
}

int migrate_bind_driver(Migrate *m, sd_bus *bus, Error *reterr) {
        int r = bind_driver(m, reterr);

        if (r < 0)
                return r;
        m->driver = sd_bus_ref(bus);
        if (sd_bus_is_open(bus) <= 0) /* while the call was at work */
                gone(m);
        return 0;
}

static int on_pipe(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Migrate *m = userdata;
        uint8_t nothing[64];

        if (revents & EPOLLIN && read(fd, nothing, sizeof(nothing)) > 0)
                return 0; /* nothing is said on it */
        m->driver_pipe = sd_event_source_disable_unref(m->driver_pipe);
        gone(m);
        return 0;
}

int migrate_bind_pipe(Migrate *m, int fd, Error *reterr) {
        int r = bind_driver(m, reterr);

        if (r < 0)
                return r;
        r = sd_event_add_io(m->shim->event, &m->driver_pipe, fd, EPOLLIN, on_pipe, m);
        if (r < 0)
                return error_setf(reterr, r, "stdin cannot be watched: %s", strerrordesc_np(-r));
        return 0;
}

void migrate_bus_gone(Migrate *m, const sd_bus *bus) {
        if (m->driver == bus)
                gone(m);
        migrate_check_bus_gone(m, bus);
}

void migrate_driver_changed(Migrate *m) {
        if (m->driver_bound)
                step_in(m, 0);
}

const char *migrate_driver_name(const Migrate *m) {
        return m->adopted        ? "none"
               : m->driver_gone  ? "gone"
               : m->driver_bound ? "bound"
                                 : "unbound";
}

void migrate_forget_driver(Migrate *m) {
        release(m);
}
