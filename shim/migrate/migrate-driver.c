/* SPDX-License-Identifier: Apache-2.0 */
/* Who drives a session may be killed. One that said that the session is bound to its connection
 * (option "bound" of PrepareAndExport) and is gone leaves the source's end of it to the shim: it is
 * cancelled, or is let go where it cannot be any more, and what was decided is made so. At the
 * destination `podferry receive`, which ends with its stdin, does the same. */
#include <systemd/sd-bus.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

#define LOOK_USEC (250U * 1000U)

static void end_driver(Migrate *m) {
        m->driver_timer = sd_event_source_disable_unref(m->driver_timer);
        m->driver = sd_bus_unref(m->driver);
        m->driver_gone = false;
}

static void ended(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_warning("migration: its end: %s", error_text(err, r));
}

/* Each call is refused while another one is at work: the next look tries again. */
static void settle_alone(Migrate *m) {
        Migration *g = m->migration;
        const char *session = migration_session(g);
        bool source = migration_role(g) == MIGRATION_SOURCE;
        bool stays =
                migration_outcome(g) == (source ? MIGRATION_OUTCOME_KEPT : MIGRATION_OUTCOME_MOVED);

        switch (migration_state(g)) {
        case MIGRATION_TRANSFERRED:
        case MIGRATION_CANCELLED:
        case MIGRATION_FAILED:
                (void)migration_finalize(g, session, stays, ended, NULL, NULL);
                break;
        case MIGRATION_FINALIZED:
                (void)migrate_cleanup(m, session, ended, NULL, NULL);
                break;
        case MIGRATION_IDLE:
        case MIGRATION_SOURCE_PREPARED:
        case MIGRATION_SOURCE_EXPORTED:
        case MIGRATION_DESTINATION_IMPORTED:
        case MIGRATION_DESTINATION_PREPARED:
        case MIGRATION_TRANSPORT_WAITING:
        case MIGRATION_TRANSPORT_READY:
        case MIGRATION_TRANSFERRING:
        case MIGRATION_SWITCHOVER:
        case MIGRATION_CANCELLING:
        case _MIGRATION_STATE_MAX:
        case _MIGRATION_STATE_INVALID:
                break;
        }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        Migrate *m = userdata;
        Error err = ERROR_INIT;
        int r;

        if (migration_state(m->migration) == MIGRATION_IDLE) {
                end_driver(m);
                return 0;
        }
        if (!m->driver_gone && sd_bus_is_open(m->driver) <= 0) {
                m->driver_gone = true;
                log_warning("migration %s: whoever drove it is gone",
                            migration_session(m->migration));
                r = migration_cancel(m->migration, migration_session(m->migration), &err);
                if (r < 0)
                        log_info("migration: %s", error_text(&err, r));
        } else if (m->driver_gone) {
                settle_alone(m);
        }
        if (m->driver_timer) {
                (void)sd_event_source_set_time(m->driver_timer, usec + LOOK_USEC);
                (void)sd_event_source_set_enabled(m->driver_timer, SD_EVENT_ONESHOT);
        }
        return 0;
}

void migrate_end_alone(Migrate *m) {
        const unsigned over = 1U << MIGRATION_TRANSFERRED | 1U << MIGRATION_CANCELLED |
                              1U << MIGRATION_FAILED | 1U << MIGRATION_FINALIZED;

        if (m->driver_timer || !(over & (1U << migration_state(m->migration))))
                return;
        m->driver_gone = true;
        if (sd_event_add_time_relative(m->shim->event, &m->driver_timer, CLOCK_MONOTONIC, 0, 0,
                                       on_look, m) < 0)
                log_err("migration: no timer: its end has to be called for");
}

int migrate_bind_driver(Migrate *m, sd_bus *bus, Error *reterr) {
        end_driver(m);
        if (sd_event_add_time_relative(m->shim->event, &m->driver_timer, CLOCK_MONOTONIC, LOOK_USEC,
                                       0, on_look, m) < 0)
                return error_oom(reterr);
        m->driver = sd_bus_ref(bus);
        return 0;
}

void migrate_forget_driver(Migrate *m) {
        end_driver(m);
}
