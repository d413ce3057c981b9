/* SPDX-License-Identifier: Apache-2.0 */
/* The moves of the source. Each does one thing and asks for another turn, or waits for an
 * operation, a message or the timer. */
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

static void aborted(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        m->aborting = false;
        if (r < 0)
                log_warning("migration %s: abort: %s", m->session, error_text(err, r));
        migration_call_check(m);
}

/* libvirt's call will return, one way or the other; then it is decided. */
static void roll_back(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        migration_repeat(m);
        if (m->abort_asked || m->aborting)
                return;
        m->abort_asked = true;
        m->aborting = true;
        if (m->domain.held) { /* it is libvirt's again, which knows more of it than we do now */
                m->domain.held = false;
                if (!m->migrating)
                        m->domain.state = MIGRATION_AT_UNKNOWN;
        }
        if (!m->watched) {
                m->watched = true;
                m->ops->timer(m->u, MIGRATION_TIMER_ABORT, m->options.abort_timeout_ms);
        }
        r = m->ops->migrate_abort(m->u, aborted, m, &e);
        if (r <= 0)
                aborted(m, r, NULL, &e);
}

static void say_once(Migration *m, MigrationWord w) {
        if (m->said || !m->up)
                return;
        m->said = true;
        migration_say(m, w);
        migration_repeat(m);
}

/* A QEMU whose migration was cancelled when it was all but complete (7.2 for one) may have let the
 * guest go on without its disks: the first write, or the next migration, ends it. `cont` has it
 * take them back, and libvirt says that to a guest that stands. Before KEPT, so that a shim that
 * starts again in between resumes it; and not at FENCING, where one that stands is fenced. */
static bool take_disks_back(Migration *m) {
        bool stood = m->progress.blackout_start_ns > 0 || m->adopted_shim;

        if (m->journal != JOURNAL_PREPARED || m->taken_back || !stood ||
            m->domain.state != MIGRATION_AT_RUNNING)
                return false;
        m->wants_out = true;
        m->taken_back = true; /* also if it fails: it runs, which is what counts */
        migration_op_start(m, OP_SUSPEND_DOMAIN);
        return true;
}

static void keep(Migration *m) {
        if (take_disks_back(m))
                return;
        if (m->domain.state == MIGRATION_AT_PAUSED && !m->domain.by_user) {
                m->taken_back = true;
                migration_op_start(m, OP_RESUME_DOMAIN);
                return;
        }
        if (m->journal != JOURNAL_KEPT && migration_write(m, JOURNAL_KEPT, NULL, 0) < 0) {
                migration_repeat(m); /* it runs; that D may let go must be on disk first */
                return;
        }
        if (!m->resumed) {
                m->ops->uncheckpoint(m->u);
                m->has_handoff = false;
                migration_op_start(m, OP_RESUME_TREE);
                return;
        }
        migration_settle(m, MIGRATION_OUTCOME_KEPT);
        if (m->peer != MIGRATION_PEER_GONE)
                say_once(m, WORD_KEPT);
}

/* The checkpoint is taken once; without one there is nothing to hand over. */
static bool take_checkpoint(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        if (m->has_handoff)
                return true;
        migration_blackout(m);
        migration_phase_begin(m, MIGRATION_PHASE_HANDOFF);
        m->handoff.len = 0;
        r = m->ops->checkpoint(m->u, &m->handoff, &e);
        if (r == -EAGAIN)
                return false;
        if (r < 0) {
                migration_blame(m, "handoff", r, &e);
                if (!m->wants_out && !migration_domain_gone(m)) {
                        m->wants_out = true;
                        migration_again(m);
                } else {
                        migration_repeat(m);
                }
                return false;
        }
        m->has_handoff = true;
        return true;
}

/* handover=runtime: may it pass the point of no return? */
static bool runtime_agrees(Migration *m) {
        if (m->options.handover != MIGRATION_HANDOVER_RUNTIME || m->finalize_stop ||
            m->adopted_shim)
                return true;
        if (migration_state(m) == MIGRATION_SWITCHOVER) {
                migration_phase_begin(m, MIGRATION_PHASE_FINALIZE);
                m->ops->timer(m->u, MIGRATION_TIMER_HANDOVER, m->options.finalize_timeout_ms);
                migration_move(m, MIGRATION_TRANSFERRED);
        }
        return false;
}

static void fence(Migration *m) {
        if (m->journal == JOURNAL_PREPARED) {
                int r;

                if (migration_state(m) == MIGRATION_TRANSFERRING) /* its end was not told */
                        migration_blackout(m);
                if (!runtime_agrees(m))
                        return;
                m->ops->timer(m->u, MIGRATION_TIMER_HANDOVER, 0);
                r = migration_write(m, JOURNAL_FENCING, NULL, 0);
                if (r < 0 && !migration_domain_gone(m)) {
                        migration_blame(m, "journal", r, NULL);
                        m->wants_out = true;
                        migration_again(m);
                } else if (r < 0) {
                        migration_repeat(m);
                }
                return;
        }
        if (!m->fenced && m->tunes > 0)
                return; /* libvirt is still to be told something, which it passes on to QEMU */
        if (!m->fenced)
                migration_op_start(m, OP_FENCE);
        else if (migration_write(m, JOURNAL_RELEASED, NULL, 0) < 0)
                migration_repeat(m); /* held on both sides until the disk takes it */
}

static void tell_moved(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        m->outcome = MIGRATION_OUTCOME_MOVED;
        if (m->told_moved)
                return;
        m->told_moved = true;
        r = m->ops->moved(m->u, &e);
        if (r < 0)
                log_warning("migration %s: %s", m->session, error_text(&e, r));
        migration_call_check(m); /* a Finalize that waited for this */
}

static void release(Migration *m) {
        tell_moved(m);
        say_once(m, WORD_RELEASED);
}

static void lose(Migration *m) {
        if (m->journal != JOURNAL_LOST &&
            migration_write(m, JOURNAL_LOST, m->error.text, strnlen(m->error.text, 256)) < 0) {
                migration_repeat(m);
                return;
        }
        if (m->error.code == 0)
                migration_blame(m, "handoff", -EIO,
                                &(Error){ .text = "the guest ended in the middle of the move" });
        migration_settle(m, MIGRATION_OUTCOME_LOST);
        if (m->peer != MIGRATION_PEER_GONE)
                say_once(m, WORD_KEPT); /* the peer may let go of what it holds */
}

static void finish(Migration *m) {
        if (m->journal == JOURNAL_KEPT) {
                if (!m->settled)
                        keep(m);
                return;
        }
        tell_moved(m); /* an adopted shim may hear RUNNING before it has said a word */
        if (m->journal != JOURNAL_DONE && migration_write(m, JOURNAL_DONE, NULL, 0) < 0) {
                migration_repeat(m);
                return;
        }
        /* The destination of a post-copy waits for the end of the connections, which may come too
         * late: this session, and with it the transport, may end at once. */
        if (m->options.postcopy && m->up && !m->settled)
                migration_say(m, WORD_RELEASED);
        migration_settle(m, MIGRATION_OUTCOME_MOVED);
}

/* Neither half is a pod: what is not yet over there is here. Nothing is given up. */
static void postcopy_broken(Migration *m) {
        if (migration_state(m) != MIGRATION_SWITCHOVER || migration_carries_postcopy(m))
                return; /* for libvirt only: QEMU goes on with the next transport */
        migration_move(m, MIGRATION_POSTCOPY_BROKEN);
        migration_tell(m, m->progress.phase, MIGRATION_WARNING,
                       "post-copy is broken: the pod stands at the destination, and part of its "
                       "memory is here; both are kept. Mend the link and have libvirt resume it "
                       "(VIR_MIGRATE_POSTCOPY_RESUME); or give the pod up: podferry rm --force on "
                       "both hosts");
}

void migration_source_step(Migration *m, MigrationMove move) {
        switch (move) {
        case MIGRATION_MOVE_WAIT:
                /* Of a job that an earlier shim began, nobody tells when it is over. */
                if (m->domain.state == MIGRATION_AT_UNKNOWN ||
                    (m->adopted_shim && m->domain.job_active))
                        migration_repeat(m);
                if (m->domain.state == MIGRATION_AT_POSTCOPY_BROKEN)
                        postcopy_broken(m);
                break;
        case MIGRATION_MOVE_ROLL_BACK:
                roll_back(m);
                break;
        case MIGRATION_MOVE_KEEP:
                keep(m);
                break;
        case MIGRATION_MOVE_HAND_OFF:
                if (take_checkpoint(m))
                        say_once(m, WORD_HANDOFF);
                break;
        case MIGRATION_MOVE_FENCE:
                fence(m);
                break;
        case MIGRATION_MOVE_RELEASE:
                release(m);
                break;
        case MIGRATION_MOVE_LOSE:
                lose(m);
                break;
        case MIGRATION_MOVE_FINISH:
                finish(m);
                break;
        case MIGRATION_MOVE_READY:
        case MIGRATION_MOVE_OWN:
        case MIGRATION_MOVE_RESUME:
        case MIGRATION_MOVE_REFUSE:
        case MIGRATION_MOVE_DISCARD:
        case MIGRATION_MOVE_ALARM:
        case _MIGRATION_MOVE_MAX:
                migration_alarm(m);
                break;
        }
}
