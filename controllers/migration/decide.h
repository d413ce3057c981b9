/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "lib/journal.h"

/* What to do after any error, restart or lost contact: pure functions of what is known, never of
 * the error that led there. Tables, tested cell by cell. */
typedef enum MigrationDomainState {
        MIGRATION_AT_UNKNOWN,  /* libvirt cannot be asked, or the monitor is dead */
        MIGRATION_AT_NONE,     /* no domain, or not active */
        MIGRATION_AT_INCOMING, /* destination: not complete yet */
        MIGRATION_AT_PAUSED,   /* complete; in a migration, or by hand */
        MIGRATION_AT_RUNNING,
        MIGRATION_AT_POSTCOPY, /* either half of a post-copy that goes on */
        MIGRATION_AT_POSTCOPY_BROKEN,
        MIGRATION_AT_MIGRATED, /* source: shut off because it has moved */
        MIGRATION_AT_DEAD,     /* shut off or crashed, not by a migration */
        _MIGRATION_AT_MAX,
} MigrationDomainState;

/* Of a guest that came by post-copy, as libvirt says. */
typedef enum MigrationMemory {
        MIGRATION_MEMORY_ALL,
        MIGRATION_MEMORY_COMING,
        MIGRATION_MEMORY_SILENT, /* the same, but for long no byte of it has come */
        MIGRATION_MEMORY_TORN, /* the rest comes no more, unless QEMU is helped to another stream */
} MigrationMemory;

typedef struct MigrationDomain {
        MigrationDomainState state;
        bool job_active; /* libvirt is still at it */
        /* Source, handover=fast: its QEMU stands as a whole, and cannot go on by anything that
         * libvirt does; since then libvirt may have let the destination run. */
        bool held;
        bool by_user;           /* paused, and not for the migration: not ours to resume */
        MigrationMemory memory; /* destination */
} MigrationDomain;

typedef enum MigrationVerdict {
        MIGRATION_VERDICT_BLIND, /* not enough is known: nothing that could make a second writer */
        MIGRATION_VERDICT_NOT_MOVED, /* never started, or rolled back */
        MIGRATION_VERDICT_COPYING,   /* goes on */
        MIGRATION_VERDICT_ABANDONED, /* an empty or half copy that nobody feeds */
        MIGRATION_VERDICT_SWITCHING, /* at the switchover, not resolved */
        MIGRATION_VERDICT_MOVED,
        MIGRATION_VERDICT_POSTCOPY,
        MIGRATION_VERDICT_POSTCOPY_BROKEN,
        MIGRATION_VERDICT_GUEST_DIED, /* the guest itself stopped or crashed */
        MIGRATION_VERDICT_SPLIT_BRAIN,
        MIGRATION_VERDICT_LOST, /* neither has it */
        _MIGRATION_VERDICT_MAX,
} MigrationVerdict;

typedef enum MigrationAction {
        MIGRATION_ACTION_WAIT, /* and look again */
        MIGRATION_ACTION_NOTHING,
        MIGRATION_ACTION_CLEAN_DESTINATION,
        MIGRATION_ACTION_RESUME_SOURCE, /* after the destination's copy was destroyed */
        MIGRATION_ACTION_RESUME_DESTINATION,
        MIGRATION_ACTION_FINISH_SOURCE, /* its cleanup; it never runs again */
        MIGRATION_ACTION_HAND_OVER,     /* by the two journals: migration_recover_...() */
        MIGRATION_ACTION_STOP_POD,
        MIGRATION_ACTION_SUSPEND_NON_OWNER, /* and raise the alarm */
        MIGRATION_ACTION_OFFER_RECOVERY,
        MIGRATION_ACTION_REPORT_LOST,
        _MIGRATION_ACTION_MAX,
} MigrationAction;

typedef struct MigrationDecision {
        MigrationVerdict verdict;
        MigrationAction action;
} MigrationDecision;

const char *migration_domain_state_name(MigrationDomainState s);
const char *migration_verdict_name(MigrationVerdict v);
const char *migration_action_name(MigrationAction a);

/* Somebody who can ask both hosts (the CLI, an operator): the matrix of both domains' states. */
MigrationDecision migration_decide(const MigrationDomain *source,
                                   const MigrationDomain *destination);

/* What the peer was last heard to say, as far as it matters. */
typedef enum MigrationPeerSays {
        MIGRATION_PEER_SILENT,
        MIGRATION_PEER_READY,
        MIGRATION_PEER_REFUSED, /* cannot go on, still holds its copy */
        MIGRATION_PEER_GONE,    /* refused, and nothing is left there */
        MIGRATION_PEER_RUNNING,
        MIGRATION_PEER_RELEASED,
        MIGRATION_PEER_KEPT,
        _MIGRATION_PEER_MAX,
} MigrationPeerSays;

typedef enum MigrationMove {
        MIGRATION_MOVE_WAIT,      /* ask libvirt or the peer again */
        MIGRATION_MOVE_ROLL_BACK, /* S: end libvirt's job, then keep */
        MIGRATION_MOVE_KEEP,      /* S: resume if paused, journal KEPT, say so */
        MIGRATION_MOVE_HAND_OFF,  /* S: (re)send the handoff */
        MIGRATION_MOVE_FENCE,     /* S: journal FENCING (unless it is), fence */
        MIGRATION_MOVE_RELEASE,   /* S: journal RELEASED (unless it is), say so */
        MIGRATION_MOVE_LOSE,      /* S: journal LOST, report */
        MIGRATION_MOVE_FINISH,    /* S: DONE; D: RUNNING, both said and journalled */
        MIGRATION_MOVE_READY,     /* D: (journal and) say READY */
        MIGRATION_MOVE_OWN,       /* D: journal OWNED, resume */
        MIGRATION_MOVE_RESUME,    /* D: OWNED is journalled: resume */
        MIGRATION_MOVE_REFUSE,    /* D: journal REFUSED (unless it is), say so */
        MIGRATION_MOVE_DISCARD,   /* D: REFUSED, destroy the copy, say GONE */
        MIGRATION_MOVE_ALARM,     /* what cannot be: touch nothing, report */
        _MIGRATION_MOVE_MAX,
} MigrationMove;

const char *migration_move_name(MigrationMove m);

/* One side of the hand-over: what to do next, from its journal, its own domain and its peer. Also
 * the whole of what a shim does that starts again. */
MigrationMove migration_source_move(JournalKind journal, const MigrationDomain *domain,
                                    MigrationPeerSays peer, bool wants_out);
/* handoff: it was received (always so after READY). cannot: this side can never go on. */
MigrationMove migration_destination_move(JournalKind journal, const MigrationDomain *domain,
                                         MigrationPeerSays peer, bool handoff, bool cannot);

/* The same with handover=fast: libvirt lets the destination run by itself, and RUNNING takes the
 * place of READY. A source that is held waits for RUNNING or GONE, whatever else it knows; before
 * that nothing can run at the destination. */
MigrationMove migration_fast_source_move(JournalKind journal, const MigrationDomain *domain,
                                         MigrationPeerSays peer, bool wants_out);
/* The same where post-copy is allowed, and nothing holds the source: libvirt may let the
 * destination run at any time. */
MigrationMove migration_postcopy_source_move(JournalKind journal, const MigrationDomain *domain,
                                             MigrationPeerSays peer, bool wants_out);
MigrationMove migration_fast_destination_move(JournalKind journal, const MigrationDomain *domain,
                                              MigrationPeerSays peer, bool handoff, bool cannot);

/* May a pod that does not run be started anew on this host, whose journal ends with this record?
 * Not in the middle of a hand-over, and not after it: the other host may have the pod, which nobody
 * asks. */
bool migration_may_start(JournalKind last, bool fast);
