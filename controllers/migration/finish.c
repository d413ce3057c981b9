/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a session: Finalize and Cleanup; and its middle again, for a shim that was killed. */
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "controllers/migration/internal.h"
#include "lib/log.h"

/* What Finalize has to be, by side and outcome; -1: neither, not decided. */
static int right_action(const Migration *m) {
        bool source = m->role == MIGRATION_SOURCE;

        switch (m->outcome) {
        case MIGRATION_OUTCOME_MOVED:
                return !source;
        case MIGRATION_OUTCOME_KEPT:
                return source;
        case MIGRATION_OUTCOME_LOST:
                return 0;
        case MIGRATION_OUTCOME_NONE:
        case _MIGRATION_OUTCOME_MAX:
                break;
        }
        return -1;
}

static int contradicts(const Migration *m, bool resume, Error *reterr) {
        static const char *const why[_MIGRATION_OUTCOME_MAX] = {
                [MIGRATION_OUTCOME_NONE] = "nothing is decided yet",
                [MIGRATION_OUTCOME_MOVED] = "the pod has moved to the destination",
                [MIGRATION_OUTCOME_KEPT] = "the pod stayed at the source",
                [MIGRATION_OUTCOME_LOST] = "the pod is lost",
        };

        return error_setf(reterr, -EBADFD, "Finalize(%s) at the %s: %s (migration is %s)",
                          resume ? "resume" : "stop", migration_role_name(m->role), why[m->outcome],
                          fsm_name(&m->fsm));
}

static void finalized(Migration *m, bool resume) {
        m->finalized_resume = resume;
        migration_phase_end(m, MIGRATION_SUCCEEDED, NULL);
        migration_move(m, MIGRATION_FINALIZED);
}

/* handover=runtime: the runtime's word is what both sides wait for. */
static int finalize_undecided(Migration *m, bool resume, Error *reterr) {
        bool source = m->role == MIGRATION_SOURCE;

        if (m->options.handover != MIGRATION_HANDOVER_RUNTIME)
                return contradicts(m, resume, reterr);
        if (source && resume && migration_domain_gone(m))
                return error_setf(reterr, -EBADFD,
                                  "Finalize(resume) at the source: libvirt has put the guest away "
                                  "already, only the destination has it");
        if (source == resume) { /* back: the source goes on, the destination stops */
                Error e = ERROR_INIT;

                (void)error_setf(&e, -ECANCELED, "Finalize was called to roll back");
                migration_blame(m, "finalize", -ECANCELED, &e);
                m->cancelled = true;
                m->wants_out = true;
        } else if (source) {
                m->finalize_stop = true;
        } else {
                m->finalize_go = true;
        }
        m->said = false;
        return 1;
}

/* Finalize waits until what it asked for is so, or its contrary; Cleanup until nothing is in
 * flight. With handover=runtime the source's stop is done once it can never run again: the
 * destination waits for a Finalize of its own, which a runtime that makes one call after the other
 * could not send before. */
static void cleanup_go_on(Migration *m);

static bool is_stopped(const Migration *m) {
        return m->finalize_stop && m->outcome == MIGRATION_OUTCOME_MOVED;
}

void migration_call_check(Migration *m) {
        Error e = ERROR_INIT;
        bool resume = m->call_resume;

        if (!m->call_busy) {
                if (m->settled && is_stopped(m) && migration_state(m) == MIGRATION_TRANSFERRED)
                        finalized(m, false); /* answered before */
                return;
        }
        if (m->call == MIGRATION_CALL_CLEANUP) {
                cleanup_go_on(m);
                return;
        }
        if (m->call != MIGRATION_CALL_FINALIZE_STOP && m->call != MIGRATION_CALL_FINALIZE_RESUME)
                return;
        if (!m->settled) {
                if (is_stopped(m) && !resume)
                        migration_call_end(m, 0, NULL);
                return;
        }
        if (right_action(m) == (int)resume) {
                finalized(m, resume);
                migration_call_end(m, 0, NULL);
        } else {
                (void)contradicts(m, resume, &e);
                migration_call_end(m, e.code, &e);
        }
}

int migration_finalize(Migration *m, const char *session, bool resume, OpDone done, void *job,
                       Error *reterr) {
        MigrationCall c = resume ? MIGRATION_CALL_FINALIZE_RESUME : MIGRATION_CALL_FINALIZE_STOP;
        int r;

        r = migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, c, reterr);
        if (r < 0)
                return r;
        if (m->call_busy)
                return error_setf(reterr, -EBUSY, "%s: %s is still at work", migration_call_name(c),
                                  migration_call_name(m->call));
        if (migration_state(m) == MIGRATION_FINALIZED)
                return m->finalized_resume == resume ? 0 : contradicts(m, resume, reterr);
        if (m->settled) {
                if (right_action(m) != (int)resume)
                        return contradicts(m, resume, reterr);
                finalized(m, resume);
                return 0;
        }
        if (is_stopped(m) && !resume)
                return 0;
        if (m->outcome != MIGRATION_OUTCOME_NONE)
                return right_action(m) == (int)resume
                               ? error_setf(reterr, -EBUSY, "%s: the hand-over is under way",
                                            migration_call_name(c))
                               : contradicts(m, resume, reterr);
        r = finalize_undecided(m, resume, reterr);
        if (r < 0)
                return r;
        m->call_resume = resume;
        migration_call_begin(m, c, done, job);
        migration_pump(m);
        return migration_call_leave(m, reterr);
}

/* -- cleanup -- */

static void cleaned(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        m->cleaning = false;
        if (r < 0) {
                migration_phase_end(m, MIGRATION_FAILED_HERE, error_text(err, r));
        } else {
                migration_phase_end(m, MIGRATION_SUCCEEDED, NULL);
                migration_move(m, MIGRATION_IDLE);
                migration_forget(m);
        }
        migration_call_end(m, r, err);
}

static void cleanup_go_on(Migration *m) {
        Error e = ERROR_INIT;
        int r;

        if (m->op != OP_NONE || m->migrating || m->aborting || m->cleaning || m->tunes > 0)
                return; /* comes again when that is over */
        m->cleaning = true;
        r = m->ops->cleanup(m->u, m->role, m->outcome, &m->options, cleaned, m, &e);
        if (r <= 0)
                cleaned(m, r, NULL, &e);
}

int migration_cleanup(Migration *m, const char *session, OpDone done, void *job, Error *reterr) {
        int r;

        r = migration_state(m) == MIGRATION_IDLE ? 0 : migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, MIGRATION_CALL_CLEANUP, reterr);
        if (r <= 0)
                return r;
        if (m->call_busy)
                return error_setf(reterr, -EBUSY, "Cleanup: %s is still at work",
                                  migration_call_name(m->call));
        if (!m->settled)
                return error_setf(reterr, -EBUSY,
                                  "Cleanup: the other side has not said which way it went");
        migration_phase_begin(m, MIGRATION_PHASE_CLEANUP);
        migration_call_begin(m, MIGRATION_CALL_CLEANUP, done, job);
        cleanup_go_on(m);
        return migration_call_leave(m, reterr);
}

/* -- a shim that starts again -- */

int migration_adopt(Migration *m, const JournalRecord *last, bool postcopy, const void *handoff,
                    size_t n, Error *reterr) {
        bool source = last->kind == JOURNAL_PREPARED || last->kind == JOURNAL_FENCING ||
                      last->kind == JOURNAL_RELEASED || last->kind == JOURNAL_DONE;
        bool destination = last->kind == JOURNAL_NONE || last->kind == JOURNAL_READY ||
                           last->kind == JOURNAL_REFUSED || last->kind == JOURNAL_OWNED;
        int r;

        if (migration_state(m) != MIGRATION_IDLE)
                return fsm_refuse(&m->fsm, "adopt", reterr);
        if (!source && !destination)
                return error_setf(reterr, -EINVAL,
                                  "the journal's last record is %s: its session is over",
                                  journal_kind_name(last->kind));
        r = id_check("session", last->session, reterr);
        if (r == 0)
                r = id_check("pod", last->pod, reterr);
        if (r == 0 && last->epoch < (source ? 1U : 2U))
                r = error_setf(reterr, -EINVAL, "epoch %llu", (unsigned long long)last->epoch);
        if (r == 0 && last->mode >= _MIGRATION_HANDOVER_MAX)
                r = error_setf(reterr, -EINVAL, "hand-over of kind %u", last->mode);
        if (r == 0 && last->kind == JOURNAL_READY && n == 0 &&
            last->mode != MIGRATION_HANDOVER_FAST)
                r = error_setf(reterr, -EINVAL, "the READY record has no handoff");
        if (r == 0 && buf_append(&m->handoff, handoff, n) < 0)
                r = error_oom(reterr);
        if (r < 0)
                return r;
        m->options.handover = (MigrationHandover)last->mode;
        m->options.postcopy = postcopy;
        m->has_handoff = destination && n > 0;
        m->role = source ? MIGRATION_SOURCE : MIGRATION_DESTINATION;
        memcpy(m->session, last->session, sizeof(m->session));
        memcpy(m->source_pod, last->pod, sizeof(m->source_pod));
        memcpy(m->peer_name, last->peer, sizeof(m->peer_name));
        m->source_epoch = last->epoch - (source ? 0 : 1);
        m->journal = last->kind;
        m->frozen = source;
        m->tree = destination;
        m->prepared = destination;
        m->adopted_shim = true;
        m->begun = true;
        if (last->kind == JOURNAL_RELEASED || last->kind == JOURNAL_DONE ||
            last->kind == JOURNAL_OWNED)
                m->outcome = MIGRATION_OUTCOME_MOVED;
        migration_move(m, MIGRATION_SWITCHOVER);
        migration_phase_begin(m, MIGRATION_PHASE_HANDOFF);
        migration_pump(m);
        return 0;
}
