/* SPDX-License-Identifier: Apache-2.0 */
/* The transfer until the blackout: its start, its limits, and the wish to get out of it. */
#include <stdio.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

/* For a new transport while the guest stands still. A driver that lives makes one at once. */
#define BLACKOUT_GRACE_MS 3000U

void migration_give_up(Migration *m, const char *step, const char *why) {
        Error e = ERROR_INIT;

        (void)error_setf(&e, -ETIMEDOUT, "%s", why);
        migration_blame(m, step, -ETIMEDOUT, &e);
        migration_out(m);
}

/* The source's guest stands still, and nothing is decided: the other side may be no more. */
static bool waits_in_blackout(const Migration *m) {
        return migration_state(m) == MIGRATION_SWITCHOVER && m->role == MIGRATION_SOURCE &&
               m->journal == JOURNAL_PREPARED && !m->adopted_shim && !m->postcopy;
}

/* The destination of a post-copy has all of the pod: a source that has ended its half, too, may
 * have said so too late. */
static bool waits_for_source(const Migration *m) {
        return m->role == MIGRATION_DESTINATION && m->whole && m->streams && !m->settled;
}

static void wait_for_transport(Migration *m) {
        uint64_t ms = m->options.transport_timeout_ms;

        if (waits_in_blackout(m))
                ms = MIN_OF(ms, (uint64_t)BLACKOUT_GRACE_MS);
        else if (migration_state(m) != MIGRATION_TRANSFERRING && !migration_carries_postcopy(m) &&
                 !waits_for_source(m))
                return;
        m->ops->timer(m->u, MIGRATION_TIMER_TRANSPORT, ms);
}

/* There is no way back, so nothing is given up. */
static void postcopy_waits(Migration *m) {
        char text[MIGRATION_DETAILS_MAX];

        (void)snprintf(text, sizeof(text),
                       "post-copy: no transport for %llu s. The pod stands at the destination as "
                       "soon as it needs a page that has not come. Both sides wait; podferry adopt "
                       "%.76s --to HOST goes on with it",
                       (unsigned long long)(m->options.transport_timeout_ms / 1000U), m->pod);
        migration_tell(m, m->progress.phase, MIGRATION_WARNING, text);
}

void migration_on_timer(Migration *m, MigrationTimer t) {
        MigrationState s = migration_state(m);

        switch (t) {
        case MIGRATION_TIMER_LIMIT:
                migration_limit_reached(m);
                break;
        case MIGRATION_TIMER_TRANSPORT:
                if (!m->up && (s == MIGRATION_TRANSPORT_WAITING || s == MIGRATION_TRANSFERRING ||
                               waits_in_blackout(m)))
                        migration_give_up(m, "connect", "no transport came in time");
                else if (!m->up && migration_carries_postcopy(m))
                        postcopy_waits(m);
                else if (!m->up && waits_for_source(m))
                        migration_on_streams(m, false); /* nobody needs them any more */
                break;
        case MIGRATION_TIMER_PROGRESS:
                if (s == MIGRATION_TRANSFERRING)
                        migration_give_up(m, "memory", "no byte was moved for too long");
                break;
        case MIGRATION_TIMER_HANDOVER:
                if (m->begun && m->role == MIGRATION_SOURCE && m->journal == JOURNAL_PREPARED)
                        migration_give_up(
                                m, "handoff",
                                m->peer == MIGRATION_PEER_READY ? "Finalize did not come in time"
                                : m->has_handoff ? "the destination did not get ready in time"
                                                 : "what the pod has said did not reach the "
                                                   "destination in time");
                break;
        case MIGRATION_TIMER_REPEAT:
                m->repeat_armed = false;
                m->said = false;
                m->asked = false;
                m->tried = false;
                m->abort_asked = m->aborting;
                /* Of a call that an earlier shim made, nobody tells when it is over. */
                if (m->adopted_shim && m->domain.job_active && !m->settled)
                        m->domain.state = MIGRATION_AT_UNKNOWN;
                migration_pump(m);
                break;
        case MIGRATION_TIMER_CUTOVER:
                migration_cutover_reached(m);
                break;
        case MIGRATION_TIMER_ABORT:
                if (!m->migrating)
                        break;
                m->deaf = true;
                migration_tell(m, m->progress.phase, MIGRATION_WARNING,
                               "abort failed: libvirt has not ended its job in time; it is asked "
                               "again, and nothing is decided before it has");
                migration_changed(m);
                break;
        case _MIGRATION_TIMER_MAX:
                break;
        }
}

/* -- getting out -- */

/* Before anything moved: nothing to decide with anybody. */
static void out_early(Migration *m) {
        if (m->role == MIGRATION_SOURCE && m->frozen) {
                m->ops->thaw(m->u);
                m->frozen = false;
        }
        if (m->role == MIGRATION_DESTINATION && m->tree) {
                Error e = ERROR_INIT;
                int r = m->ops->abort_tree(m->u, m->error.code ? m->error.text : "cancelled", &e);

                if (r < 0)
                        log_warning("migration %s: dropping the pod: %s", m->session,
                                    error_text(&e, r));
                m->tree = false;
        }
        migration_settle(m, MIGRATION_OUTCOME_KEPT);
}

void migration_out(Migration *m) {
        m->wants_out = true;
        /* Nothing has arrived here: then nothing can be the only copy. */
        if (m->role == MIGRATION_DESTINATION && m->domain.state == MIGRATION_AT_NONE)
                m->cannot = true;
        if (!m->begun)
                out_early(m);
        else
                migration_pump(m);
}

int migration_cancel(Migration *m, const char *session, Error *reterr) {
        bool idle = migration_state(m) == MIGRATION_IDLE;
        bool early = !m->begun;
        int r;

        r = idle ? 0 : migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, MIGRATION_CALL_CANCEL, reterr);
        if (r <= 0)
                return r;
        if (m->call_busy && m->call != MIGRATION_CALL_FINALIZE_STOP &&
            m->call != MIGRATION_CALL_FINALIZE_RESUME)
                return error_setf(reterr, -EBUSY, "Cancel: %s is still at work",
                                  migration_call_name(m->call));
        if (m->outcome == MIGRATION_OUTCOME_MOVED || m->journal == JOURNAL_FENCING)
                return error_setf(reterr, -EBADFD,
                                  "Cancel: too late, the pod is going on at the destination");
        if (m->outcome == MIGRATION_OUTCOME_LOST)
                return error_setf(reterr, -EBADFD, "Cancel: the pod is lost");
        if (m->postcopy)
                return error_setf(reterr, -EBADFD,
                                  "Cancel: too late, it is post-copy: the pod runs at the "
                                  "destination and part of its memory is still here");
        if (!m->cancelled) {
                Error e = ERROR_INIT;

                m->cancelled = true;
                (void)error_setf(&e, -ECANCELED, "cancelled by a call");
                migration_blame(m, migration_phase_name(m->progress.phase), -ECANCELED, &e);
        }
        if (!early)
                migration_move(m, MIGRATION_CANCELLING);
        migration_out(m);
        return 0;
}

/* -- start -- */

static void migrated(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        m->migrating = false;
        m->domain.job_active = false;
        m->deaf = false;
        m->ops->timer(m->u, MIGRATION_TIMER_ABORT, 0);
        migration_converge_end(m);
        if (m->journal == JOURNAL_PREPARED) {
                if (r < 0) {
                        if (!m->cancelled)
                                migration_blame(m, migration_phase_name(m->progress.phase), r, err);
                        m->wants_out = true;
                }
                m->domain.state = MIGRATION_AT_UNKNOWN; /* what the error says proves nothing */
        } else if (m->journal == JOURNAL_FENCING && m->domain.state == MIGRATION_AT_RUNNING) {
                m->domain.state = MIGRATION_AT_UNKNOWN;
        }
        m->asked = false;
        migration_pump(m);
        migration_call_check(m); /* Cleanup waits for libvirt's call to be over */
}

static void begin_source(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        r = migration_write(m, JOURNAL_PREPARED, NULL, 0);
        if (r < 0) {
                (void)error_setf(&e, r, "the journal could not be written");
                migration_blame(m, "journal", r, &e);
                migration_out(m);
                return;
        }
        m->begun = true;
        m->domain = (MigrationDomain){ MIGRATION_AT_RUNNING, false, false };
        migration_move(m, MIGRATION_TRANSFERRING);
        migration_converge_begin(m);
        r = m->ops->transfer_begins(m->u, m->role, &e);
        if (r == 0) {
                m->migrating = true;
                m->domain.job_active = true;
                r = m->ops->migrate(m->u, &m->options, migrated, m, &e);
        }
        if (r <= 0)
                migrated(m, r, NULL, &e);
}

static void begin_destination(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        r = m->ops->transfer_begins(m->u, m->role, &e);
        if (r < 0) {
                migration_blame(m, "transfer", r, &e);
                migration_out(m);
                return;
        }
        m->begun = true;
        m->domain = (MigrationDomain){ MIGRATION_AT_NONE, false, false };
        migration_move(m, MIGRATION_TRANSFERRING);
        migration_op_start(m, OP_RECEIVE);
}

void migration_transfer_begin(Migration *m) {
        m->ops->timer(m->u, MIGRATION_TIMER_TRANSPORT, 0);
        migration_move(m, MIGRATION_TRANSPORT_WAITING); /* from which both ways are open */
        if (m->role == MIGRATION_SOURCE)
                begin_source(m);
        else
                begin_destination(m);
}

int migration_transfer(Migration *m, const char *session, const MigrationOptions *o,
                       Error *reterr) {
        int r;

        r = migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, MIGRATION_CALL_TRANSFER, reterr);
        if (r < 0)
                return r;
        if (r == 0)
                return memcmp(o, &m->options, sizeof(*o)) == 0
                               ? 0
                               : error_setf(reterr, -EINVAL,
                                            "Transfer: was called with other options before");
        if (m->call_busy)
                return error_setf(reterr, -EBUSY, "Transfer: %s is still at work",
                                  migration_call_name(m->call));
        r = migration_options_check(o, reterr);
        if (r < 0)
                return r;
        m->options = *o;
        m->live = *o;
        migration_phase_begin(m, MIGRATION_PHASE_CONNECT);
        if (m->up) {
                migration_transfer_begin(m);
                return 0;
        }
        migration_move(m, MIGRATION_TRANSPORT_WAITING);
        m->ops->timer(m->u, MIGRATION_TIMER_TRANSPORT, m->options.transport_timeout_ms);
        return 0;
}

void migration_on_transport(Migration *m, bool up, const Error *why) {
        MigrationState s = migration_state(m);

        if (m->up == up || !m->socket)
                return;
        m->up = up;
        if (!up) {
                char text[160];

                (void)snprintf(text, sizeof(text), "transport lost: %.120s",
                               error_text(why, why ? why->code : -ENOTCONN));
                migration_tell(m, m->progress.phase, MIGRATION_WARNING, text);
                wait_for_transport(m);
                m->ops->timer(m->u, MIGRATION_TIMER_PROGRESS, 0); /* it is known why */
                return;
        }
        m->ops->timer(m->u, MIGRATION_TIMER_TRANSPORT, 0);
        if (s == MIGRATION_TRANSPORT_WAITING) {
                migration_transfer_begin(m);
                return;
        }
        m->said = false;
        m->repeat_ms = 0;
        migration_pump(m);
}

void migration_on_streams(Migration *m, bool open) {
        if (m->streams == open)
                return;
        m->streams = open;
        if (!open && m->role == MIGRATION_SOURCE && m->begun &&
            m->domain.state == MIGRATION_AT_POSTCOPY_BROKEN) {
                /* QEMU may be through, and libvirt, which had given it up, is about to hear so. */
                m->domain.state = MIGRATION_AT_UNKNOWN;
                m->asked = true;
                migration_repeat(m);
        } else if (!m->settled) {
                migration_pump(m);
        }
}

/* -- what the host tells -- */

/* The guest stands still for the switchover. */
void migration_blackout(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        if (m->progress.blackout_start_ns != 0)
                return;
        m->progress.blackout_start_ns = m->ops->now_ns(m->u);
        r = m->ops->transfer_ends(m->u, m->role, &e);
        if (r < 0)
                log_warning("migration %s: %s", m->session, error_text(&e, r));
        if (migration_state(m) == MIGRATION_TRANSFERRING)
                migration_move(m, MIGRATION_SWITCHOVER);
        migration_phase_begin(m, MIGRATION_PHASE_SWITCHOVER);
        /* Once it is forced, what is left goes over now, and that has a limit of its own. */
        if (m->role == MIGRATION_SOURCE && !m->adopted_shim && !m->forced)
                m->ops->timer(m->u, MIGRATION_TIMER_HANDOVER, m->options.handover_timeout_ms);
        if (!m->up)
                wait_for_transport(m);
}

static void source_event(Migration *m, MigrationDomainEvent e) {
        if (e == MIGRATION_DOMAIN_BLACKOUT || e == MIGRATION_DOMAIN_HELD) {
                /* libvirt tells that it stands before it tells that this is post-copy. */
                m->domain.state =
                        m->postcopy && m->migrating ? MIGRATION_AT_POSTCOPY : MIGRATION_AT_PAUSED;
                m->domain.held |= e == MIGRATION_DOMAIN_HELD;
                migration_blackout(m);
        } else if (e == MIGRATION_DOMAIN_POSTCOPY) {
                m->postcopy = true;
                m->domain.state = MIGRATION_AT_POSTCOPY;
                migration_blackout(m);
        } else if (e == MIGRATION_DOMAIN_RUNNING) {
                m->domain.state = MIGRATION_AT_RUNNING;
                m->ran_on = m->journal == JOURNAL_FENCING;
        } else if (e == MIGRATION_DOMAIN_GONE || e == MIGRATION_DOMAIN_DIED) {
                m->domain.state =
                        e == MIGRATION_DOMAIN_GONE ? MIGRATION_AT_NONE : MIGRATION_AT_DEAD;
                m->died |= e == MIGRATION_DOMAIN_DIED && m->journal == JOURNAL_PREPARED;
        }
}

static void destination_event(Migration *m, MigrationDomainEvent e, const char *reason) {
        switch (e) {
        case MIGRATION_DOMAIN_INCOMING:
                m->domain.state = MIGRATION_AT_INCOMING;
                m->seen = true;
                break;
        case MIGRATION_DOMAIN_BLACKOUT:
        case MIGRATION_DOMAIN_HELD:
        case MIGRATION_DOMAIN_COMPLETE:
                m->domain.state = MIGRATION_AT_PAUSED;
                migration_blackout(m);
                break;
        case MIGRATION_DOMAIN_POSTCOPY:
        case MIGRATION_DOMAIN_RUNNING:
                m->domain.state = MIGRATION_AT_RUNNING;
                m->whole = e == MIGRATION_DOMAIN_RUNNING;
                if (migration_is_fast(m))
                        migration_blackout(m);
                break;
        case MIGRATION_DOMAIN_GONE:
        case MIGRATION_DOMAIN_DIED:
                if (m->domain.state != MIGRATION_AT_NONE && !migration_decided(m)) {
                        Error err = ERROR_INIT;

                        (void)error_setf(&err, -EIO, "the incoming guest is gone: %.200s",
                                         reason ?: "no reason given");
                        migration_blame(m, migration_phase_name(m->progress.phase), -EIO, &err);
                        m->cannot = true;
                }
                m->domain.state = MIGRATION_AT_NONE;
                break;
        }
}

void migration_on_domain(Migration *m, MigrationDomainEvent e, const char *reason) {
        if (!m->begun || (m->settled && m->journal != JOURNAL_REFUSED))
                return;
        if (m->role == MIGRATION_SOURCE)
                source_event(m, e);
        else
                destination_event(m, e, reason);
        migration_pump(m);
}

void migration_on_host_failed(Migration *m, const char *step, int r, const Error *err) {
        if (!m->begun || migration_decided(m))
                return;
        migration_blame(m, step, r, err);
        m->wants_out = true;
        migration_pump(m);
}

void migration_look_again(Migration *m) {
        migration_pump(m);
}

void migration_on_host_back(Migration *m) {
        if (!m->begun || migration_decided(m))
                return;
        m->domain.state = MIGRATION_AT_UNKNOWN;
        m->asked = false;
        migration_pump(m);
}
