/* SPDX-License-Identifier: Apache-2.0 */
/* The pump of the hand-over: what both sides have in common. The moves are worked out in decide.c
 * and made in source.c and destination.c; the model of it all is docs/model/handover.pml. */
#include <stdio.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

#define REPEAT_FIRST_MS 200U
#define REPEAT_LAST_MS  3200U

bool migration_is_fast(const Migration *m) {
        return m->options.handover == MIGRATION_HANDOVER_FAST;
}

bool migration_decided(const Migration *m) {
        return m->outcome != MIGRATION_OUTCOME_NONE;
}

bool migration_domain_gone(const Migration *m) {
        return m->domain.state == MIGRATION_AT_NONE || m->domain.state == MIGRATION_AT_DEAD ||
               m->domain.state == MIGRATION_AT_MIGRATED;
}

static const char *const outcome_names[_MIGRATION_OUTCOME_MAX] = {
        [MIGRATION_OUTCOME_NONE] = "",
        [MIGRATION_OUTCOME_MOVED] = "moved",
        [MIGRATION_OUTCOME_KEPT] = "kept",
        [MIGRATION_OUTCOME_LOST] = "lost",
};

const char *migration_outcome_name(MigrationOutcome o) {
        return (unsigned)o < _MIGRATION_OUTCOME_MAX ? outcome_names[o] : NULL;
}

int migration_write(Migration *m, JournalKind k, const void *payload, size_t n) {
        Error e = ERROR_INIT;
        JournalRecord r;
        int code;

        migration_identity(m, &r);
        r.kind = k;
        r.payload = payload;
        r.payload_len = n;
        code = m->ops->journal(m->u, &r, &e);
        if (code < 0) {
                log_err("migration %s: journal, %s: %s", m->session, journal_kind_name(k),
                        error_text(&e, code));
                return code;
        }
        m->journal = k;
        m->last = r;
        m->last.payload = NULL;
        m->last.payload_len = 0;
        if (k == JOURNAL_OWNED)
                m->epoch = r.epoch;
        m->said = false;
        m->repeat_ms = 0;
        migration_again(m);
        return 0;
}

/* Only what a new message or a new look could change is worth a timer. */
void migration_repeat(Migration *m) {
        if (m->repeat_armed)
                return;
        m->repeat_ms =
                m->repeat_ms ? MIN_OF(m->repeat_ms * 2, (uint64_t)REPEAT_LAST_MS) : REPEAT_FIRST_MS;
        m->repeat_armed = true;
        m->ops->timer(m->u, MIGRATION_TIMER_REPEAT, m->repeat_ms);
}

/* What happened to the pod, for the error that people read. */
static void explain(Migration *m, MigrationOutcome outcome) {
        static const char *const what[_MIGRATION_OUTCOME_MAX] = {
                [MIGRATION_OUTCOME_NONE] = "",
                [MIGRATION_OUTCOME_MOVED] = "; the pod runs at the destination",
                [MIGRATION_OUTCOME_KEPT] = "; the pod runs on at the source",
                [MIGRATION_OUTCOME_LOST] = "; the pod is lost: no host has it",
        };
        char text[sizeof(m->error.text)];
        const char *where = what[outcome], *undone = "";

        if (m->error.code == 0 || outcome == MIGRATION_OUTCOME_MOVED)
                return;
        if (outcome == MIGRATION_OUTCOME_LOST && m->died)
                where = "; the pod had ended at the source, where its disks are";
        if (outcome == MIGRATION_OUTCOME_KEPT && m->role == MIGRATION_SOURCE)
                undone = m->progress.blackout_start_ns
                                 ? " (rolled back: transfer, pause, guest link)"
                         : m->begun ? " (rolled back: transfer, freeze)"
                                    : " (rolled back: freeze)";
        if (outcome == MIGRATION_OUTCOME_KEPT && m->role == MIGRATION_DESTINATION &&
            m->peer != MIGRATION_PEER_KEPT)
                where = "; this host does not have the pod";
        if (outcome == MIGRATION_OUTCOME_KEPT && m->role == MIGRATION_DESTINATION)
                undone = " (dropped here: the copy, its disks at Cleanup)";
        memcpy(text, m->error.text, sizeof(text));
        (void)error_setf(&m->error, m->error.code, "%.380s%s%s", text, where, undone);
}

void migration_settle(Migration *m, MigrationOutcome outcome) {
        MigrationState next = MIGRATION_TRANSFERRED;
        bool failed = outcome != MIGRATION_OUTCOME_MOVED;

        if (m->settled)
                return;
        m->settled = true;
        m->outcome = outcome;
        if (!failed && !m->torn)
                m->error = ERROR_INIT; /* it was not the last word */
        migration_converge_end(m);
        m->ops->timer(m->u, MIGRATION_TIMER_ABORT, 0);
        m->ops->timer(m->u, MIGRATION_TIMER_HANDOVER, 0);
        m->ops->timer(m->u, MIGRATION_TIMER_TRANSPORT, 0);
        if (failed)
                next = m->cancelled && outcome != MIGRATION_OUTCOME_LOST ? MIGRATION_CANCELLED
                                                                         : MIGRATION_FAILED;
        explain(m, outcome);
        if (m->progress.started_ns)
                m->progress.elapsed_ns = m->ops->now_ns(m->u) - m->progress.started_ns;
        if (!failed)
                m->progress.percent = 100;
        migration_phase_end(m,
                            m->torn        ? MIGRATION_FAILED_HERE
                            : !failed      ? MIGRATION_SUCCEEDED
                            : m->cancelled ? MIGRATION_CANCELLED_BY_CALL
                                           : MIGRATION_FAILED_HERE,
                            failed || m->torn ? m->error.text : NULL);
        migration_move(m, next);
        migration_changed(m);
        migration_call_check(m);
}

void migration_alarm(Migration *m) {
        char text[160];

        if (m->alarmed)
                return;
        m->alarmed = true;
        (void)snprintf(text, sizeof(text),
                       "what cannot be: journal %s, domain %s; nothing is touched",
                       journal_kind_name(m->journal), migration_domain_state_name(m->domain.state));
        log_err("migration %s: %s", m->session, text);
        migration_tell(m, m->progress.phase, MIGRATION_WARNING, text);
}

/* -- operations: one at a time -- */

static void op_failed(Migration *m, MigrationOp op, int r, const Error *err) {
        static const char *const what[] = {
                [OP_NONE] = "",
                [OP_DOMAIN] = "asking libvirt for the domain",
                [OP_FENCE] = "fence",
                [OP_SUSPEND_DOMAIN] = "pausing the guest for a moment",
                [OP_RESUME_DOMAIN] = "resuming the guest",
                [OP_DESTROY_DOMAIN] = "destroying the copy",
                [OP_RESUME_TREE] = "resume",
                [OP_RECEIVE] = "receive",
        };

        log_warning("migration %s: %s: %s", m->session, what[op], error_text(err, r));
        if (op == OP_DOMAIN)
                return;
        if (op == OP_RECEIVE) {
                migration_blame(m, what[op], r, err);
                m->wants_out = true;
                m->cannot |= m->domain.state == MIGRATION_AT_NONE;
        } else if (op == OP_FENCE && r == -EALREADY) {
                m->domain.state = MIGRATION_AT_RUNNING;
                migration_blame(m, "handoff", r, &(Error){ .text = "the guest runs again here" });
                migration_again(m);
                return;
        } else {
                migration_tell(m, m->progress.phase, MIGRATION_WARNING, error_text(err, r));
                if (op == OP_SUSPEND_DOMAIN || op == OP_RESUME_DOMAIN || op == OP_DESTROY_DOMAIN)
                        m->domain.state = MIGRATION_AT_UNKNOWN;
                m->tried = true;
                m->asked = false;
        }
}

/* Destination of a post-copy: as far as this look goes, the rest does not come. A QEMU that stands
 * because it needs a page itself tells libvirt nothing of the end of its stream: then it is the
 * silence that tells, once the source has ended. */
static bool looks_torn(const Migration *m) {
        if (m->domain.memory == MIGRATION_MEMORY_SILENT)
                return !m->streams || (m->up && m->peer == MIGRATION_PEER_RELEASED);
        return m->domain.memory == MIGRATION_MEMORY_TORN;
}

static void op_succeeded(Migration *m, MigrationOp op, const void *result) {
        bool job = m->migrating;

        switch (op) {
        case OP_DOMAIN:
                if (!result)
                        break;
                m->domain = *(const MigrationDomain *)result;
                if (m->role == MIGRATION_DESTINATION && m->journal == JOURNAL_RUNNING &&
                    m->domain.state == MIGRATION_AT_RUNNING)
                        m->whole |= m->domain.memory == MIGRATION_MEMORY_ALL;
                m->torn_looks = looks_torn(m) ? m->torn_looks + 1 : 0;
                m->domain.job_active |= job;
                if (m->role == MIGRATION_SOURCE && m->postcopy && job &&
                    m->domain.state == MIGRATION_AT_PAUSED)
                        m->domain.state = MIGRATION_AT_POSTCOPY;
                /* A shim that starts again in the middle gives up what it can still call its own.
                 */
                if (m->adopted_shim && m->journal == JOURNAL_PREPARED &&
                    !migration_domain_gone(m) && m->domain.state != MIGRATION_AT_UNKNOWN)
                        m->wants_out = true;
                /* And what was being received, and is not there, will not come any more. */
                if (m->role == MIGRATION_DESTINATION && m->journal == JOURNAL_NONE &&
                    (m->adopted_shim || m->seen) && migration_domain_gone(m))
                        m->cannot = true;
                break;
        case OP_FENCE:
                m->fenced = true;
                if (m->ran_on) /* killed all the same: the copy is what is left */
                        migration_tell(m, m->progress.phase, MIGRATION_WARNING,
                                       "the guest ran again for a moment before it was fenced; "
                                       "what it did in it is not at the destination");
                m->domain.state = MIGRATION_AT_NONE;
                break;
        case OP_SUSPEND_DOMAIN:
                m->domain.state = MIGRATION_AT_PAUSED;
                break;
        case OP_RESUME_DOMAIN:
                m->domain.state = MIGRATION_AT_RUNNING;
                m->progress.blackout_end_ns = m->ops->now_ns(m->u);
                break;
        case OP_DESTROY_DOMAIN:
                m->domain.state = MIGRATION_AT_NONE;
                break;
        case OP_RESUME_TREE:
                m->resumed = true;
                break;
        case OP_NONE:
        case OP_RECEIVE:
                break;
        }
}

static void op_done(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;
        MigrationOp op = m->op;

        m->op = OP_NONE;
        if (r < 0) {
                op_failed(m, op, r, err);
                if (!(op == OP_FENCE && r == -EALREADY))
                        migration_repeat(m);
                if (op == OP_RECEIVE)
                        migration_again(m);
        } else {
                op_succeeded(m, op, result);
                migration_again(m);
        }
        migration_pump(m);
        migration_call_check(m);
}

void migration_op_start(Migration *m, MigrationOp op) {
        Error e = ERROR_INIT;
        int r = -EINVAL;

        if (m->tried && op != OP_DOMAIN)
                return; /* failed a moment ago: after the timer */
        m->op = op;
        switch (op) {
        case OP_DOMAIN:
                r = m->ops->domain(m->u, op_done, m, &e);
                break;
        case OP_FENCE:
                r = m->ops->fence(m->u, op_done, m, &e);
                break;
        case OP_SUSPEND_DOMAIN:
                r = m->ops->suspend_domain(m->u, op_done, m, &e);
                break;
        case OP_RESUME_DOMAIN:
                r = m->ops->resume_domain(m->u, op_done, m, &e);
                break;
        case OP_DESTROY_DOMAIN:
                r = m->ops->destroy_domain(m->u, op_done, m, &e);
                break;
        case OP_RESUME_TREE:
                r = m->ops->resume_tree(m->u, m->role, op_done, m, &e);
                break;
        case OP_RECEIVE:
                r = m->ops->receive(m->u, &m->options, op_done, m, &e);
                break;
        case OP_NONE:
                break;
        }
        if (r <= 0)
                op_done(m, r, NULL, &e);
}

/* -- the pump -- */

static MigrationMove next_move(const Migration *m) {
        bool fast = migration_is_fast(m);

        if (m->role == MIGRATION_SOURCE)
                return (m->options.postcopy ? migration_postcopy_source_move
                        : fast              ? migration_fast_source_move
                               : migration_source_move)(m->journal, &m->domain, m->peer,
                                                        m->wants_out);
        return (fast ? migration_fast_destination_move : migration_destination_move)(
                m->journal, &m->domain, m->peer, m->has_handoff, m->cannot);
}

void migration_again(Migration *m) {
        m->pump_again = true;
}

void migration_pump(Migration *m) {
        if (m->pumping) {
                m->pump_again = true;
                return;
        }
        m->pumping = true;
        do {
                m->pump_again = false;
                if (!m->begun || m->op != OP_NONE)
                        break;
                if (m->domain.state == MIGRATION_AT_UNKNOWN && !m->asked) {
                        m->asked = true;
                        migration_op_start(m, OP_DOMAIN);
                        if (m->op != OP_NONE)
                                break;
                        m->pump_again |= m->domain.state != MIGRATION_AT_UNKNOWN;
                        if (m->domain.state != MIGRATION_AT_UNKNOWN)
                                continue;
                }
                if (m->role == MIGRATION_SOURCE)
                        migration_source_step(m, next_move(m));
                else
                        migration_destination_step(m, next_move(m));
        } while (m->pump_again);
        m->pumping = false;
}
