/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration tells: phases, progress, the history of notifications, the first error. */
#include <stdio.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"

static const char *const role_names[_MIGRATION_ROLE_MAX] = {
        [MIGRATION_SOURCE] = "source",
        [MIGRATION_DESTINATION] = "destination",
};

static const char *const phase_names[_MIGRATION_PHASE_MAX] = {
        [MIGRATION_PHASE_PREFLIGHT] = "preflight",   [MIGRATION_PHASE_EXPORT] = "export",
        [MIGRATION_PHASE_IMPORT] = "import",         [MIGRATION_PHASE_PATCH] = "patch",
        [MIGRATION_PHASE_PREPARE] = "prepare",       [MIGRATION_PHASE_CONNECT] = "connect",
        [MIGRATION_PHASE_STORAGE] = "storage",       [MIGRATION_PHASE_MEMORY] = "memory",
        [MIGRATION_PHASE_SWITCHOVER] = "switchover", [MIGRATION_PHASE_HANDOFF] = "handoff",
        [MIGRATION_PHASE_RESUME] = "resume",         [MIGRATION_PHASE_FINALIZE] = "finalize",
        [MIGRATION_PHASE_CLEANUP] = "cleanup",
};

static const char *const result_names[_MIGRATION_RESULT_MAX] = {
        [MIGRATION_STARTED] = "started",
        [MIGRATION_PROGRESS] = "progress",
        [MIGRATION_SUCCEEDED] = "succeeded",
        [MIGRATION_FAILED_HERE] = "failed",
        [MIGRATION_FAILED_PEER] = "failed-at-peer",
        [MIGRATION_CANCELLED_BY_CALL] = "cancelled",
        [MIGRATION_WARNING] = "warning",
};

#define P(p) (1U << MIGRATION_PHASE_##p)
/* The phases that a side goes through, for "step i of n". */
static const uint32_t phases_of[_MIGRATION_ROLE_MAX] = {
        [MIGRATION_SOURCE] = P(PREFLIGHT) | P(EXPORT) | P(CONNECT) | P(STORAGE) | P(MEMORY) |
                             P(SWITCHOVER) | P(HANDOFF) | P(FINALIZE) | P(CLEANUP),
        [MIGRATION_DESTINATION] = P(PREFLIGHT) | P(IMPORT) | P(PATCH) | P(PREPARE) | P(CONNECT) |
                                  P(MEMORY) | P(SWITCHOVER) | P(HANDOFF) | P(RESUME) | P(FINALIZE) |
                                  P(CLEANUP),
};

#define NAME_OF(table, i) ((size_t)(i) < ELEMENTSOF(table) ? (table)[i] : NULL)

const char *migration_role_name(MigrationRole r) {
        return NAME_OF(role_names, r);
}

const char *migration_phase_name(MigrationPhase p) {
        return NAME_OF(phase_names, p);
}

const char *migration_result_name(MigrationResult r) {
        return NAME_OF(result_names, r);
}

const MigrationNotification *migration_history_add(MigrationHistory *h,
                                                   const MigrationNotification *n) {
        MigrationNotification *last, *at;

        last = h->len ? &h->ring[(h->start + h->len - 1) % MIGRATION_HISTORY] : NULL;
        if (last && n->result == MIGRATION_PROGRESS && last->result == MIGRATION_PROGRESS) {
                at = last;
        } else if (h->len == MIGRATION_HISTORY) {
                at = &h->ring[h->start];
                h->dropped_id = at->id;
                h->start = (h->start + 1) % MIGRATION_HISTORY;
        } else {
                at = &h->ring[(h->start + h->len++) % MIGRATION_HISTORY];
        }
        *at = *n;
        at->id = ++h->last_id;
        return at;
}

int migration_history_since(const MigrationHistory *h, uint64_t after, bool *ret_gap,
                            MigrationNotificationVisitor visit, void *userdata) {
        if (ret_gap)
                *ret_gap = after < h->dropped_id;
        for (uint32_t i = 0; i < h->len; i++) {
                const MigrationNotification *n = &h->ring[(h->start + i) % MIGRATION_HISTORY];
                int r;

                if (n->id <= after)
                        continue;
                r = visit(userdata, n);
                if (r != 0)
                        return r;
        }
        return 0;
}

void migration_tell(Migration *m, MigrationPhase p, MigrationResult result, const char *details) {
        MigrationNotification n = {
                .at_ns = m->ops->clock_ns(m->u),
                .origin = m->role,
                .phase = p,
                .result = result,
                .percent = m->progress.percent,
        };

        memcpy(n.session, m->session, sizeof(n.session));
        if (details)
                (void)snprintf(n.details, sizeof(n.details), "%s", details);
        m->ops->notify(m->u, migration_history_add(&m->history, &n));
}

static void count_steps(Migration *m) {
        uint32_t phases = phases_of[m->role], before;

        before = phases & ((2U << m->progress.phase) - 1);
        m->progress.step = (uint32_t)__builtin_popcount(before);
        m->progress.n_steps = (uint32_t)__builtin_popcount(phases);
}

void migration_phase_end(Migration *m, MigrationResult result, const char *details) {
        MigrationPhase p = m->progress.phase;

        if (m->progress.phase_started_ns[p] == 0 || m->progress.phase_ended_ns[p] != 0)
                return;
        m->progress.phase_ended_ns[p] = m->ops->now_ns(m->u);
        migration_tell(m, p, result, details);
}

void migration_phase_begin(Migration *m, MigrationPhase p) {
        uint64_t now = m->ops->now_ns(m->u);

        if (m->progress.phase == p && m->progress.phase_started_ns[p] != 0 &&
            m->progress.phase_ended_ns[p] == 0)
                return;
        migration_phase_end(m, MIGRATION_SUCCEEDED, NULL);
        m->progress.phase = p;
        if (m->progress.started_ns == 0)
                m->progress.started_ns = now;
        m->progress.phase_started_ns[p] = now;
        m->progress.phase_ended_ns[p] = 0;
        count_steps(m);
        migration_tell(m, p, MIGRATION_STARTED, NULL);
}

void migration_changed(Migration *m) {
        m->ops->changed(m->u);
}

void migration_blame(Migration *m, const char *step, int r, const Error *err) {
        if (m->error.code != 0) {
                log_warning("migration %s: and then %s: %s", m->session, step, error_text(err, r));
                return;
        }
        (void)error_setf(&m->error, r, "%s: %s", step, error_text(err, r));
}

void migration_progress(const Migration *m, MigrationProgress *ret) {
        *ret = m->progress;
        ret->disks = m->disks;
        if (ret->started_ns != 0 && ret->elapsed_ns == 0)
                ret->elapsed_ns = m->ops->now_ns(m->u) - ret->started_ns;
}

static double done_of(const MigrationBytes *b) {
        return b->total == 0 || b->remaining > b->total
                       ? 0.0
                       : (double)(b->total - b->remaining) / (double)b->total;
}

/* Disks and memory, which come after each other, are a half each: a sparse disk's size says nothing
 * about the time that it takes. */
static uint32_t percent_of(const MigrationStatistics *s) {
        double memory = done_of(&s->memory);

        return (uint32_t)(100.0 *
                          (s->disks.total > 0 ? (memory + done_of(&s->disks)) / 2.0 : memory));
}

void migration_on_statistics(Migration *m, const MigrationStatistics *s, const MigrationDisk *disks,
                             uint32_t n_disks) {
        MigrationState state = migration_state(m);
        uint64_t moved = s->memory.processed + s->disks.processed;
        uint32_t percent = percent_of(s);

        if (!m->begun || migration_decided(m))
                return;
        n_disks = MIN_OF(n_disks, MIGRATION_DISKS_MAX);
        if (n_disks > m->progress.n_disks) {
                MigrationDisk *more = realloc(m->disks, n_disks * sizeof(*more));

                if (!more)
                        return; /* figures only */
                m->disks = more;
        }
        if (n_disks)
                memcpy(m->disks, disks, n_disks * sizeof(*disks));
        m->progress.n_disks = n_disks;
        m->progress.now = *s;
        m->progress.percent = MAX_OF(m->progress.percent, percent);
        if ((moved != m->last_bytes || !m->measured) && m->options.progress_timeout_ms && !m->held)
                m->ops->timer(m->u, MIGRATION_TIMER_PROGRESS, m->options.progress_timeout_ms);
        m->last_bytes = moved;
        m->measured = true;
        /* At first nothing is counted yet, and memory begins when the disks are over there. */
        if (state == MIGRATION_TRANSFERRING && s->memory.total > 0)
                migration_phase_begin(m, MIGRATION_PHASE_MEMORY);
        else if (state == MIGRATION_TRANSFERRING && s->disks.total > 0 &&
                 !m->progress.phase_started_ns[MIGRATION_PHASE_MEMORY])
                migration_phase_begin(m, MIGRATION_PHASE_STORAGE);
        migration_converge_sample(m);
        migration_tell(m, m->progress.phase, MIGRATION_PROGRESS, NULL);
        migration_changed(m);
}

static json_object *bytes_json(const MigrationBytes *b) {
        json_object *o = json_object_new_object();

        if (!o)
                return NULL;
        json_object_object_add(o, "total", json_object_new_uint64(b->total));
        json_object_object_add(o, "processed", json_object_new_uint64(b->processed));
        json_object_object_add(o, "remaining", json_object_new_uint64(b->remaining));
        return o;
}

int migration_dump(const Migration *m, json_object **ret, Error *reterr) {
        json_object *o = json_object_new_object();

        if (!o)
                return error_oom(reterr);
        json_object_object_add(o, "kind", json_object_new_string("migration"));
        json_object_object_add(o, "state", json_object_new_string(fsm_name(&m->fsm)));
        json_object_object_add(o, "epoch", json_object_new_uint64(m->epoch));
        json_object_object_add(o, "session", json_object_new_string(m->session));
        json_object_object_add(o, "last_record",
                               json_object_new_string(journal_kind_name(m->last.kind)));
        if (migration_state(m) == MIGRATION_IDLE) {
                *ret = o;
                return 0;
        }
        json_object_object_add(o, "side", json_object_new_string(migration_role_name(m->role)));
        json_object_object_add(o, "outcome",
                               json_object_new_string(migration_outcome_name(m->outcome)));
        json_object_object_add(o, "error", json_object_new_string(m->error.text));
        json_object_object_add(o, "phase",
                               json_object_new_string(migration_phase_name(m->progress.phase)));
        json_object_object_add(o, "percent", json_object_new_uint64(m->progress.percent));
        json_object_object_add(o, "memory", bytes_json(&m->progress.now.memory));
        json_object_object_add(o, "disks", bytes_json(&m->progress.now.disks));
        json_object_object_add(o, "journal", json_object_new_string(journal_kind_name(m->journal)));
        json_object_object_add(
                o, "domain", json_object_new_string(migration_domain_state_name(m->domain.state)));
        json_object_object_add(o, "transport", json_object_new_boolean(m->up));
        json_object_object_add(o, "post_copy",
                               json_object_new_boolean(migration_carries_postcopy(m)));
        json_object_object_add(
                o, "whole", json_object_new_boolean(m->whole && m->options.postcopy && m->streams));
        json_object_object_add(o, "handoff_bytes", json_object_new_uint64(m->handoff.len));
        json_object_object_add(o, "wants_out", json_object_new_boolean(m->wants_out));
        json_object_object_add(o, "downtime_ms", json_object_new_uint64(m->downtime_ms));
        json_object_object_add(o, "throttle", json_object_new_uint64(m->progress.now.throttle));
        json_object_object_add(o, "held", json_object_new_boolean(m->held));
        json_object_object_add(o, "forced", json_object_new_boolean(m->forced));
        json_object_object_add(o, "stalled", json_object_new_boolean(m->stall.stalled));
        json_object_object_add(o, "abort_failed", json_object_new_boolean(m->deaf));
        *ret = o;
        return 0;
}
