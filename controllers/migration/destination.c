/* SPDX-License-Identifier: Apache-2.0 */
/* The moves of the destination. Each does one thing and asks for another turn, or waits for an
 * operation, a message or the timer. */
#include <stdio.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

static void say_once(Migration *m, MigrationWord w) {
        if (m->said || !m->up)
                return;
        m->said = true;
        migration_say(m, w);
        migration_repeat(m);
}

/* The link takes the handoff; may be repeated. */
static bool adopt(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        if (m->adopted)
                return true;
        migration_phase_begin(m, MIGRATION_PHASE_HANDOFF);
        r = m->ops->adopt(m->u, m->handoff.data, m->handoff.len, &e);
        if (r < 0) {
                migration_blame(m, "handoff", r, &e);
                m->cannot = true;
                migration_again(m);
                return false;
        }
        m->adopted = true;
        return true;
}

static void wait_for(Migration *m) {
        if (m->domain.state == MIGRATION_AT_UNKNOWN)
                migration_repeat(m);
        else if (m->wants_out)
                say_once(m, WORD_FAILED); /* a wish: the source decides */
        else if (m->has_handoff || (!m->adopted_shim && m->domain.state != MIGRATION_AT_PAUSED))
                return;
        else if (m->adopted_shim || m->repeat_ms > 0)
                say_once(m, WORD_QUERY);
        else
                migration_repeat(m); /* the handoff comes by itself, in good time */
}

/* Whoever starts a new shim after a crash finds all of the pod, or a source that still has it. */
static bool is_kept(const Migration *m) {
        return !m->ops->kept || m->ops->kept(m->u);
}

static void ready(Migration *m) {
        if (!adopt(m) || !is_kept(m))
                return;
        if (m->journal != JOURNAL_READY) {
                int r = migration_write(m, JOURNAL_READY, m->handoff.data, m->handoff.len);

                /* A wish to stop, not a refusal: this may be the only copy, and the disk may get
                 * room again. */
                if (r < 0) {
                        migration_blame(m, "journal", r, NULL);
                        m->wants_out = true;
                        say_once(m, WORD_FAILED);
                        migration_repeat(m);
                }
                return;
        }
        if (m->options.handover == MIGRATION_HANDOVER_RUNTIME &&
            migration_state(m) == MIGRATION_SWITCHOVER) {
                migration_phase_begin(m, MIGRATION_PHASE_FINALIZE);
                migration_move(m, MIGRATION_TRANSFERRED);
        }
        /* A wish to stop comes first; but if the source has no guest any more, READY is what
         * counts. */
        if (m->wants_out && !m->said && m->up)
                migration_say(m, WORD_FAILED);
        say_once(m, WORD_READY);
}

static void own(Migration *m) {
        if (m->options.handover == MIGRATION_HANDOVER_RUNTIME && !m->finalize_go &&
            !m->adopted_shim)
                return;
        if (m->journal == JOURNAL_NONE) { /* handover=fast: libvirt has decided */
                if (!is_kept(m))
                        return;
                if (migration_write(m, JOURNAL_READY, m->handoff.data, m->handoff.len) < 0)
                        migration_repeat(m);
                return;
        }
        if (migration_write(m, JOURNAL_OWNED, NULL, 0) < 0) {
                migration_repeat(m);
                return;
        }
        m->outcome = MIGRATION_OUTCOME_MOVED;
}

static void resume(Migration *m) {
        m->outcome = MIGRATION_OUTCOME_MOVED;
        migration_phase_begin(m, MIGRATION_PHASE_RESUME);
        migration_op_start(m, OP_RESUME_DOMAIN);
}

/* In post-copy memory of it may still be on its way, in connections that end with the session: then
 * it is not over. Nor while libvirt here has its answer to give, which the source waits for, unless
 * the source says that it has ended its half. */
static bool is_through(const Migration *m) {
        return !m->options.postcopy || !m->streams || m->peer == MIGRATION_PEER_RELEASED;
}

/* In post-copy its streams end with the last of its memory, or because the source's QEMU does, or
 * its own. libvirt takes a moment to hear of it, and is asked until it has. */
#define TORN_LOOKS 5U

static bool has_ended(Migration *m) {
        Error e = ERROR_INIT;

        if (!m->options.postcopy || m->whole)
                return true;
        if (migration_domain_gone(m))
                (void)error_setf(&e, -EIO,
                                 "the guest has ended here, and part of its memory never came");
        else if (m->torn_looks >= TORN_LOOKS)
                (void)error_setf(
                        &e, -EIO,
                        "post-copy is broken: the source, or the link to it, has ended with "
                        "part of the guest's memory. The pod stands as soon as it needs "
                        "that; podferry doctor says what is left");
        if (e.code < 0) {
                m->torn = true;
                migration_blame(m, "memory", e.code, &e);
                return true;
        }
        m->domain.state = MIGRATION_AT_UNKNOWN; /* asked by the timer */
        migration_repeat(m);
        return false;
}

/* It runs here. Streams first, they wait; then the journal, and the word to the source. */
static void finish(Migration *m) {
        bool first = m->journal != JOURNAL_RUNNING;

        m->outcome = MIGRATION_OUTCOME_MOVED;
        if (m->progress.blackout_end_ns == 0)
                m->progress.blackout_end_ns = m->ops->now_ns(m->u);
        if (!m->resumed && m->has_handoff && adopt(m)) {
                migration_phase_begin(m, MIGRATION_PHASE_RESUME);
                migration_op_start(m, OP_RESUME_TREE);
        }
        if (first && migration_write(m, JOURNAL_RUNNING, NULL, 0) < 0) {
                migration_repeat(m);
                return;
        }
        if (!m->said && m->up) {
                m->said = true;
                migration_say(m, WORD_RUNNING);
                if (!m->has_handoff)
                        migration_say(m, WORD_QUERY);
        }
        if (!m->has_handoff)
                migration_repeat(m);
        if (m->resumed && is_through(m) && has_ended(m))
                migration_settle(m, MIGRATION_OUTCOME_MOVED);
}

static void refuse(Migration *m) {
        if (m->journal != JOURNAL_REFUSED && migration_write(m, JOURNAL_REFUSED, NULL, 0) < 0) {
                say_once(m, WORD_FAILED); /* not on disk: only a wish */
                migration_repeat(m);
                return;
        }
        if (m->error.code == 0)
                migration_blame(m, "handoff", -EIO,
                                &(Error){ .text = "the guest's copy is gone here" });
        say_once(m, WORD_REFUSED);
}

/* The source has kept it, or nothing is left here anyway. */
static void discard(Migration *m) {
        if (m->journal != JOURNAL_REFUSED && migration_write(m, JOURNAL_REFUSED, NULL, 0) < 0 &&
            m->peer != MIGRATION_PEER_KEPT) {
                migration_repeat(m);
                return;
        }
        if (!migration_domain_gone(m)) {
                migration_op_start(m, OP_DESTROY_DOMAIN);
                return;
        }
        if (m->tree) {
                Error e = ERROR_INIT;
                int r = m->ops->abort_tree(
                        m->u, m->error.code ? m->error.text : "kept at the source", &e);

                if (r < 0)
                        log_warning("migration %s: dropping the pod: %s", m->session,
                                    error_text(&e, r));
                m->tree = false;
        }
        if (m->error.code == 0)
                migration_blame(m, migration_phase_name(m->progress.phase), -ECANCELED,
                                &(Error){ .text = "the source kept the pod" });
        migration_settle(m, m->peer == MIGRATION_PEER_RELEASED ? MIGRATION_OUTCOME_LOST
                                                               : MIGRATION_OUTCOME_KEPT);
        if (m->peer != MIGRATION_PEER_KEPT) {
                say_once(m, WORD_REFUSED);
        } else if (!m->said && m->up) { /* it asks again if this is lost */
                m->said = true;
                migration_say(m, WORD_REFUSED);
        }
}

void migration_destination_step(Migration *m, MigrationMove move) {
        switch (move) {
        case MIGRATION_MOVE_WAIT:
                wait_for(m);
                break;
        case MIGRATION_MOVE_READY:
                ready(m);
                break;
        case MIGRATION_MOVE_OWN:
                own(m);
                break;
        case MIGRATION_MOVE_RESUME:
                resume(m);
                break;
        case MIGRATION_MOVE_FINISH:
                finish(m);
                break;
        case MIGRATION_MOVE_REFUSE:
                refuse(m);
                break;
        case MIGRATION_MOVE_DISCARD:
                discard(m);
                break;
        case MIGRATION_MOVE_ROLL_BACK:
        case MIGRATION_MOVE_KEEP:
        case MIGRATION_MOVE_HAND_OFF:
        case MIGRATION_MOVE_FENCE:
        case MIGRATION_MOVE_RELEASE:
        case MIGRATION_MOVE_LOSE:
        case MIGRATION_MOVE_ALARM:
        case _MIGRATION_MOVE_MAX:
                migration_alarm(m);
                break;
        }
}
