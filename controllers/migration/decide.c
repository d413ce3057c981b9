/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions of a migration, as pure functions: the matrix of the two domains' states for somebody
 * who sees both, and the next move of each side of the hand-over (docs/model/handover.pml) for the
 * side that sees its journal, its own domain and what its peer says. */
#include "controllers/migration/decide.h"

#include "lib/cleanup.h"

static const char *const domain_names[_MIGRATION_AT_MAX] = {
        [MIGRATION_AT_UNKNOWN] = "unknown",   [MIGRATION_AT_NONE] = "none",
        [MIGRATION_AT_INCOMING] = "incoming", [MIGRATION_AT_PAUSED] = "paused",
        [MIGRATION_AT_RUNNING] = "running",   [MIGRATION_AT_POSTCOPY] = "post-copy",
        [MIGRATION_AT_DEAD] = "dead",         [MIGRATION_AT_POSTCOPY_BROKEN] = "post-copy-broken",
        [MIGRATION_AT_MIGRATED] = "migrated",
};

static const char *const verdict_names[_MIGRATION_VERDICT_MAX] = {
        [MIGRATION_VERDICT_BLIND] = "blind",
        [MIGRATION_VERDICT_NOT_MOVED] = "not-moved",
        [MIGRATION_VERDICT_COPYING] = "copying",
        [MIGRATION_VERDICT_ABANDONED] = "abandoned",
        [MIGRATION_VERDICT_SWITCHING] = "switching",
        [MIGRATION_VERDICT_MOVED] = "moved",
        [MIGRATION_VERDICT_POSTCOPY] = "post-copy",
        [MIGRATION_VERDICT_POSTCOPY_BROKEN] = "post-copy-broken",
        [MIGRATION_VERDICT_GUEST_DIED] = "guest-died",
        [MIGRATION_VERDICT_SPLIT_BRAIN] = "split-brain",
        [MIGRATION_VERDICT_LOST] = "lost",
};

static const char *const action_names[_MIGRATION_ACTION_MAX] = {
        [MIGRATION_ACTION_WAIT] = "wait",
        [MIGRATION_ACTION_NOTHING] = "nothing",
        [MIGRATION_ACTION_CLEAN_DESTINATION] = "clean-destination",
        [MIGRATION_ACTION_RESUME_SOURCE] = "resume-source",
        [MIGRATION_ACTION_RESUME_DESTINATION] = "resume-destination",
        [MIGRATION_ACTION_FINISH_SOURCE] = "finish-source",
        [MIGRATION_ACTION_HAND_OVER] = "hand-over",
        [MIGRATION_ACTION_STOP_POD] = "stop-pod",
        [MIGRATION_ACTION_SUSPEND_NON_OWNER] = "suspend-non-owner",
        [MIGRATION_ACTION_OFFER_RECOVERY] = "offer-recovery",
        [MIGRATION_ACTION_REPORT_LOST] = "report-lost",
};

static const char *const move_names[_MIGRATION_MOVE_MAX] = {
        [MIGRATION_MOVE_WAIT] = "wait",       [MIGRATION_MOVE_ROLL_BACK] = "roll-back",
        [MIGRATION_MOVE_KEEP] = "keep",       [MIGRATION_MOVE_HAND_OFF] = "hand-off",
        [MIGRATION_MOVE_FENCE] = "fence",     [MIGRATION_MOVE_RELEASE] = "release",
        [MIGRATION_MOVE_LOSE] = "lose",       [MIGRATION_MOVE_FINISH] = "finish",
        [MIGRATION_MOVE_READY] = "ready",     [MIGRATION_MOVE_OWN] = "own",
        [MIGRATION_MOVE_RESUME] = "resume",   [MIGRATION_MOVE_REFUSE] = "refuse",
        [MIGRATION_MOVE_DISCARD] = "discard", [MIGRATION_MOVE_ALARM] = "alarm",
};

#define NAME_OF(table, i) ((size_t)(i) < ELEMENTSOF(table) ? (table)[i] : NULL)

const char *migration_domain_state_name(MigrationDomainState s) {
        return NAME_OF(domain_names, s);
}

const char *migration_verdict_name(MigrationVerdict v) {
        return NAME_OF(verdict_names, v);
}

const char *migration_action_name(MigrationAction a) {
        return NAME_OF(action_names, a);
}

const char *migration_move_name(MigrationMove m) {
        return NAME_OF(move_names, m);
}

/* The matrix. Rows: the source's domain; columns: the destination's. Two of its cells depend on
 * whether libvirt's job is still active; they are marked by a verdict of COPYING. */
#define AT(s) [MIGRATION_AT_##s]
#define V(v, a)                                                                                    \
        { MIGRATION_VERDICT_##v, MIGRATION_ACTION_##a }
#define BLIND  V(BLIND, WAIT)
#define BROKEN V(POSTCOPY_BROKEN, OFFER_RECOVERY)

/* clang-format off */
static const MigrationDecision matrix[_MIGRATION_AT_MAX][_MIGRATION_AT_MAX] = {
        AT(UNKNOWN) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = BLIND, AT(INCOMING) = BLIND, AT(PAUSED) = BLIND,
                AT(RUNNING) = BLIND, AT(POSTCOPY) = BLIND, AT(POSTCOPY_BROKEN) = BLIND,
                AT(MIGRATED) = BLIND, AT(DEAD) = BLIND,
        },
        AT(NONE) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(LOST, REPORT_LOST),
                AT(INCOMING) = V(LOST, CLEAN_DESTINATION), AT(PAUSED) = V(SWITCHING, HAND_OVER),
                AT(RUNNING) = V(MOVED, NOTHING), AT(POSTCOPY) = BROKEN, AT(POSTCOPY_BROKEN) = BROKEN,
                AT(MIGRATED) = V(LOST, REPORT_LOST), AT(DEAD) = V(GUEST_DIED, CLEAN_DESTINATION),
        },
        AT(INCOMING) = { /* a source is never incoming: this is a destination of another session */
                AT(UNKNOWN) = BLIND, AT(NONE) = BLIND, AT(INCOMING) = BLIND, AT(PAUSED) = BLIND,
                AT(RUNNING) = BLIND, AT(POSTCOPY) = BLIND, AT(POSTCOPY_BROKEN) = BLIND,
                AT(MIGRATED) = BLIND, AT(DEAD) = BLIND,
        },
        AT(PAUSED) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(NOT_MOVED, RESUME_SOURCE),
                AT(INCOMING) = V(SWITCHING, WAIT), AT(PAUSED) = V(SWITCHING, HAND_OVER),
                AT(RUNNING) = V(MOVED, FINISH_SOURCE), AT(POSTCOPY) = BROKEN,
                AT(POSTCOPY_BROKEN) = BROKEN, AT(MIGRATED) = V(NOT_MOVED, RESUME_SOURCE),
                AT(DEAD) = V(NOT_MOVED, RESUME_SOURCE),
        },
        AT(RUNNING) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(NOT_MOVED, CLEAN_DESTINATION),
                AT(INCOMING) = V(COPYING, WAIT), AT(PAUSED) = V(COPYING, WAIT),
                AT(RUNNING) = V(SPLIT_BRAIN, SUSPEND_NON_OWNER),
                AT(POSTCOPY) = V(SPLIT_BRAIN, SUSPEND_NON_OWNER),
                AT(POSTCOPY_BROKEN) = V(SPLIT_BRAIN, SUSPEND_NON_OWNER),
                AT(MIGRATED) = V(NOT_MOVED, CLEAN_DESTINATION),
                AT(DEAD) = V(NOT_MOVED, CLEAN_DESTINATION),
        },
        AT(POSTCOPY) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(LOST, REPORT_LOST), AT(INCOMING) = V(POSTCOPY, WAIT),
                AT(PAUSED) = V(POSTCOPY, WAIT), AT(RUNNING) = V(POSTCOPY, WAIT),
                AT(POSTCOPY) = V(POSTCOPY, WAIT), AT(POSTCOPY_BROKEN) = BROKEN,
                AT(MIGRATED) = V(LOST, REPORT_LOST), AT(DEAD) = V(LOST, REPORT_LOST),
        },
        AT(POSTCOPY_BROKEN) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(LOST, REPORT_LOST), AT(INCOMING) = BROKEN,
                AT(PAUSED) = BROKEN, AT(RUNNING) = BROKEN, AT(POSTCOPY) = BROKEN,
                AT(POSTCOPY_BROKEN) = BROKEN, AT(MIGRATED) = V(LOST, REPORT_LOST),
                AT(DEAD) = V(LOST, REPORT_LOST),
        },
        AT(MIGRATED) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(LOST, REPORT_LOST),
                AT(INCOMING) = V(LOST, CLEAN_DESTINATION), AT(PAUSED) = V(SWITCHING, HAND_OVER),
                AT(RUNNING) = V(MOVED, FINISH_SOURCE), AT(POSTCOPY) = BROKEN,
                AT(POSTCOPY_BROKEN) = BROKEN, AT(MIGRATED) = V(LOST, REPORT_LOST),
                AT(DEAD) = V(GUEST_DIED, FINISH_SOURCE),
        },
        AT(DEAD) = {
                AT(UNKNOWN) = BLIND, AT(NONE) = V(GUEST_DIED, STOP_POD),
                AT(INCOMING) = V(GUEST_DIED, STOP_POD), AT(PAUSED) = V(GUEST_DIED, STOP_POD),
                AT(RUNNING) = V(MOVED, FINISH_SOURCE), AT(POSTCOPY) = BROKEN,
                AT(POSTCOPY_BROKEN) = BROKEN, AT(MIGRATED) = V(GUEST_DIED, STOP_POD),
                AT(DEAD) = V(GUEST_DIED, STOP_POD),
        },
};
/* clang-format on */

MigrationDecision migration_decide(const MigrationDomain *source,
                                   const MigrationDomain *destination) {
        MigrationDecision d = matrix[source->state][destination->state];

        if (d.verdict == MIGRATION_VERDICT_COPYING && !source->job_active)
                d = (MigrationDecision)V(ABANDONED, CLEAN_DESTINATION);
        /* libvirt must settle before anybody acts on a copy that it still works on. */
        if (source->job_active && d.verdict != MIGRATION_VERDICT_SPLIT_BRAIN &&
            d.verdict != MIGRATION_VERDICT_BLIND && d.action != MIGRATION_ACTION_NOTHING)
                d.action = MIGRATION_ACTION_WAIT;
        return d;
}

static bool is_gone(MigrationDomainState s) {
        return s == MIGRATION_AT_NONE || s == MIGRATION_AT_MIGRATED || s == MIGRATION_AT_DEAD;
}

static bool has_refused(MigrationPeerSays p) {
        return p == MIGRATION_PEER_REFUSED || p == MIGRATION_PEER_GONE;
}

/* Before the point of no return. `go` is the word of the peer that allows to pass it. */
static MigrationMove source_prepared(const MigrationDomain *domain, MigrationPeerSays peer,
                                     MigrationPeerSays go, bool wants_out) {
        bool out = wants_out || has_refused(peer);

        switch (domain->state) {
        case MIGRATION_AT_RUNNING:
                if (!domain->job_active)
                        return MIGRATION_MOVE_KEEP;
                return out ? MIGRATION_MOVE_ROLL_BACK : MIGRATION_MOVE_WAIT;
        case MIGRATION_AT_PAUSED:
                if (peer == go && !out)
                        return MIGRATION_MOVE_FENCE;
                if (out)
                        return domain->job_active ? MIGRATION_MOVE_ROLL_BACK : MIGRATION_MOVE_KEEP;
                return MIGRATION_MOVE_HAND_OFF;
        case MIGRATION_AT_NONE:
        case MIGRATION_AT_MIGRATED:
        case MIGRATION_AT_DEAD:
                /* libvirt has put it away, or it died: which, only the peer can tell, by having a
                 * whole copy or none. Whatever events said or did not say is no ground to lose it.
                 */
                if (peer == go)
                        return MIGRATION_MOVE_FENCE;
                return has_refused(peer) ? MIGRATION_MOVE_LOSE : MIGRATION_MOVE_HAND_OFF;
        case MIGRATION_AT_INCOMING:
                return MIGRATION_MOVE_ALARM;
        case MIGRATION_AT_UNKNOWN:
        case MIGRATION_AT_POSTCOPY:
        case MIGRATION_AT_POSTCOPY_BROKEN:
        case _MIGRATION_AT_MAX:
                break;
        }
        return MIGRATION_MOVE_WAIT;
}

static MigrationMove source_move(JournalKind journal, const MigrationDomain *domain,
                                 MigrationPeerSays peer, MigrationPeerSays go, bool wants_out) {
        switch (journal) {
        case JOURNAL_PREPARED:
                return source_prepared(domain, peer, go, wants_out);
        case JOURNAL_FENCING:
                if (domain->state != MIGRATION_AT_RUNNING)
                        return MIGRATION_MOVE_FENCE;
                return domain->job_active ? MIGRATION_MOVE_WAIT : MIGRATION_MOVE_KEEP;
        case JOURNAL_RELEASED:
                if (domain->state == MIGRATION_AT_RUNNING)
                        return MIGRATION_MOVE_ALARM;
                if (peer == MIGRATION_PEER_RUNNING)
                        return MIGRATION_MOVE_FINISH;
                return has_refused(peer) ? MIGRATION_MOVE_LOSE : MIGRATION_MOVE_RELEASE;
        case JOURNAL_KEPT:
                return peer == MIGRATION_PEER_GONE ? MIGRATION_MOVE_FINISH : MIGRATION_MOVE_KEEP;
        case JOURNAL_LOST:
                return MIGRATION_MOVE_LOSE;
        case JOURNAL_DONE:
                return MIGRATION_MOVE_FINISH;
        case JOURNAL_NONE:
                return MIGRATION_MOVE_WAIT;
        case JOURNAL_READY:
        case JOURNAL_REFUSED:
        case JOURNAL_OWNED:
        case JOURNAL_RUNNING:
        case _JOURNAL_KIND_MAX:
                break;
        }
        return MIGRATION_MOVE_ALARM; /* the records of a destination */
}

MigrationMove migration_source_move(JournalKind journal, const MigrationDomain *domain,
                                    MigrationPeerSays peer, bool wants_out) {
        return source_move(journal, domain, peer, MIGRATION_PEER_READY, wants_out);
}

MigrationMove migration_fast_source_move(JournalKind journal, const MigrationDomain *domain,
                                         MigrationPeerSays peer, bool wants_out) {
        bool paused = domain->state == MIGRATION_AT_PAUSED;

        if (journal != JOURNAL_PREPARED)
                return source_move(journal, domain, peer, MIGRATION_PEER_RUNNING, wants_out);
        if (peer == MIGRATION_PEER_RUNNING && domain->state == MIGRATION_AT_RUNNING)
                return MIGRATION_MOVE_ALARM; /* both do */
        if (peer == MIGRATION_PEER_RUNNING && paused)
                return MIGRATION_MOVE_FENCE;
        if (domain->held && paused)
                return peer == MIGRATION_PEER_GONE ? MIGRATION_MOVE_ROLL_BACK
                                                   : MIGRATION_MOVE_HAND_OFF;
        return source_prepared(domain, peer, MIGRATION_PEER_RUNNING, wants_out);
}

MigrationMove migration_postcopy_source_move(JournalKind journal, const MigrationDomain *domain,
                                             MigrationPeerSays peer, bool wants_out) {
        MigrationMove m = migration_fast_source_move(journal, domain, peer, wants_out);

        if (journal != JOURNAL_PREPARED)
                return m;
        /* The guest is over there, and its memory here. Neither may be given up. */
        if (domain->state == MIGRATION_AT_POSTCOPY)
                return peer == MIGRATION_PEER_RUNNING ? MIGRATION_MOVE_WAIT
                                                      : MIGRATION_MOVE_HAND_OFF;
        /* libvirt may have let the destination run: only the peer knows. */
        if (m == MIGRATION_MOVE_KEEP && domain->state == MIGRATION_AT_PAUSED && !has_refused(peer))
                return MIGRATION_MOVE_HAND_OFF;
        return m;
}

static MigrationMove destination_waiting(const MigrationDomain *domain, MigrationPeerSays peer,
                                         bool handoff, bool cannot) {
        if (peer == MIGRATION_PEER_KEPT)
                return MIGRATION_MOVE_DISCARD;
        switch (domain->state) {
        case MIGRATION_AT_PAUSED:
                if (cannot)
                        return MIGRATION_MOVE_REFUSE;
                return handoff ? MIGRATION_MOVE_READY : MIGRATION_MOVE_WAIT;
        case MIGRATION_AT_NONE:
        case MIGRATION_AT_INCOMING:
                return cannot ? MIGRATION_MOVE_REFUSE : MIGRATION_MOVE_WAIT;
        case MIGRATION_AT_DEAD:
        case MIGRATION_AT_MIGRATED:
                return MIGRATION_MOVE_REFUSE;
        case MIGRATION_AT_RUNNING:
        case MIGRATION_AT_POSTCOPY:
        case MIGRATION_AT_POSTCOPY_BROKEN:
                return MIGRATION_MOVE_ALARM;
        case MIGRATION_AT_UNKNOWN:
        case _MIGRATION_AT_MAX:
                break;
        }
        return MIGRATION_MOVE_WAIT;
}

static MigrationMove destination_ready(const MigrationDomain *domain, MigrationPeerSays peer,
                                       bool cannot) {
        if (peer == MIGRATION_PEER_KEPT)
                return MIGRATION_MOVE_DISCARD;
        if (domain->state == MIGRATION_AT_UNKNOWN)
                return MIGRATION_MOVE_WAIT;
        if (is_gone(domain->state))
                return MIGRATION_MOVE_REFUSE;
        if (domain->state != MIGRATION_AT_PAUSED)
                return MIGRATION_MOVE_ALARM;
        if (cannot)
                return MIGRATION_MOVE_REFUSE;
        return peer == MIGRATION_PEER_RELEASED ? MIGRATION_MOVE_OWN : MIGRATION_MOVE_READY;
}

MigrationMove migration_destination_move(JournalKind journal, const MigrationDomain *domain,
                                         MigrationPeerSays peer, bool handoff, bool cannot) {
        switch (journal) {
        case JOURNAL_NONE:
                return destination_waiting(domain, peer, handoff, cannot);
        case JOURNAL_READY:
                return destination_ready(domain, peer, cannot);
        case JOURNAL_OWNED:
                if (domain->state == MIGRATION_AT_PAUSED)
                        return MIGRATION_MOVE_RESUME;
                if (domain->state == MIGRATION_AT_RUNNING)
                        return MIGRATION_MOVE_FINISH;
                if (is_gone(domain->state))
                        return MIGRATION_MOVE_REFUSE;
                return domain->state == MIGRATION_AT_UNKNOWN ? MIGRATION_MOVE_WAIT
                                                             : MIGRATION_MOVE_ALARM;
        case JOURNAL_RUNNING:
                return MIGRATION_MOVE_FINISH;
        case JOURNAL_REFUSED:
                if (is_gone(domain->state) || peer == MIGRATION_PEER_KEPT ||
                    peer == MIGRATION_PEER_RELEASED)
                        return MIGRATION_MOVE_DISCARD;
                return MIGRATION_MOVE_REFUSE;
        case JOURNAL_LOST:
                return MIGRATION_MOVE_WAIT;
        case JOURNAL_PREPARED:
        case JOURNAL_FENCING:
        case JOURNAL_RELEASED:
        case JOURNAL_KEPT:
        case JOURNAL_DONE:
        case _JOURNAL_KIND_MAX:
                break;
        }
        return MIGRATION_MOVE_ALARM; /* the records of a source */
}

MigrationMove migration_fast_destination_move(JournalKind journal, const MigrationDomain *domain,
                                              MigrationPeerSays peer, bool handoff, bool cannot) {
        if ((journal == JOURNAL_NONE || journal == JOURNAL_READY) &&
            domain->state == MIGRATION_AT_RUNNING)
                return peer == MIGRATION_PEER_KEPT ? MIGRATION_MOVE_ALARM : MIGRATION_MOVE_OWN;
        /* Refused is not enough: libvirt might let it run yet. The source has its own copy, held,
         * as long as it did not hear RUNNING. */
        if ((journal == JOURNAL_REFUSED ||
             ((journal == JOURNAL_NONE || journal == JOURNAL_READY) && cannot)) &&
            (domain->state == MIGRATION_AT_PAUSED || domain->state == MIGRATION_AT_INCOMING ||
             (journal == JOURNAL_REFUSED && domain->state == MIGRATION_AT_RUNNING)))
                return MIGRATION_MOVE_DISCARD;
        if (journal == JOURNAL_NONE && domain->state == MIGRATION_AT_PAUSED &&
            peer != MIGRATION_PEER_KEPT)
                return MIGRATION_MOVE_WAIT; /* libvirt resumes it */
        return migration_destination_move(journal, domain, peer, handoff, cannot);
}

bool migration_may_start(JournalKind last, bool fast) {
        switch (last) {
        case JOURNAL_NONE:
        case JOURNAL_KEPT:
        case JOURNAL_OWNED:
        case JOURNAL_RUNNING:
        case JOURNAL_LOST: /* no host has it: its disks are what there is */
                return true;
        case JOURNAL_PREPARED: /* with fast, libvirt may have let the other one run since */
                return !fast;
        case JOURNAL_FENCING:
        case JOURNAL_RELEASED:
        case JOURNAL_DONE:
        case JOURNAL_READY:
        case JOURNAL_REFUSED:
        case _JOURNAL_KIND_MAX:
                break;
        }
        return false;
}
