/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/converge.h"
#include "controllers/migration/migration.h"

/* Shared by the files of this folder only.
 *
 * The hand-over is a pump: after every input, migration_pump() works out the next move from what is
 * known (decide.c) and makes it, until there is nothing to do but wait. One operation of the world
 * at a time is in flight (`op`), beside libvirt's migration itself (`migrating`). */
typedef enum MigrationVerdictOfCall {
        CALL_REFUSE,
        CALL_NOOP,
        CALL_DO,
} MigrationVerdictOfCall;

typedef struct MigrationCell {
        uint8_t source, destination; /* MigrationVerdictOfCall */
} MigrationCell;

extern const MigrationCell migration_calls[_MIGRATION_STATE_MAX][_MIGRATION_CALL_MAX];

typedef enum MigrationOp {
        OP_NONE,
        OP_DOMAIN,
        OP_FENCE,
        OP_SUSPEND_DOMAIN,
        OP_RESUME_DOMAIN,
        OP_DESTROY_DOMAIN,
        OP_RESUME_TREE,
        OP_RECEIVE,
} MigrationOp;

typedef enum MigrationWord {
        WORD_HANDOFF,
        WORD_READY,
        WORD_RELEASED,
        WORD_KEPT,
        WORD_REFUSED,
        WORD_RUNNING,
        WORD_QUERY,
        WORD_FAILED,
        _WORD_MAX,
} MigrationWord;

struct Migration {
        const MigrationOps *ops;
        void *u;
        char pod[JOURNAL_NAME_MAX];
        Fsm fsm;
        uint64_t epoch; /* this host's, by its journal */

        /* the session; zero when idle */
        MigrationRole role;
        char session[JOURNAL_NAME_MAX];
        char source_pod[JOURNAL_NAME_MAX];
        char peer_name[JOURNAL_NAME_MAX];
        uint64_t source_epoch; /* e; the destination's is one more */
        MigrationOptions options;
        Buf exported; /* source: given out; destination: taken in */
        MigrationOutcome outcome;
        Error error;
        bool finalized_resume; /* what Finalize was */
        bool adopted_shim;     /* this shim started again in the middle */

        /* a call that waits for the world */
        bool call_busy;
        bool call_resume; /* Finalize: its action */
        MigrationCall call;
        bool call_inside; /* still inside the call: its end is its return value */
        int call_result;
        Error call_error;
        bool cleaning; /* ops->cleanup is in flight */
        OpDone call_done;
        void *call_job;

        /* transport */
        bool socket, up;
        bool streams; /* migration_on_streams() */

        /* hand-over */
        bool begun;     /* the transfer started: domain and journal matter now */
        bool migrating; /* source: libvirt's call is in flight */
        bool frozen;    /* source: the tree is */
        bool tree;      /* destination: there is one */
        bool prepared;  /* destination: prepare() made things */
        JournalKind journal;
        MigrationDomain domain;
        MigrationPeerSays peer;
        Buf handoff;
        bool has_handoff, adopted; /* destination: it is here; and the link has taken it */
        bool wants_out, abort_asked, cancelled, cannot;
        bool seen;  /* destination: libvirt has begun to receive */
        bool whole; /* destination: it runs, and all of its memory is here */
        bool torn;  /* destination: it has begun to run by post-copy, and that was the end of it */
        unsigned torn_looks; /* how often libvirt has said so in a row */
        bool ran_on;         /* source: it ran again after FENCING */
        bool died;           /* source: the guest ended by itself, before anything was decided */
        bool fenced;
        bool taken_back;                 /* source: QEMU was told to take its disks back */
        bool told_moved;                 /* ops->moved() was called */
        bool resumed;                    /* resume_tree() was done on this side */
        bool finalize_stop, finalize_go; /* handover=runtime: the word of the runtime is in */
        bool overdue;                    /* source: READY did not come in time */
        bool asked;                      /* the domain was asked since the last timer */
        bool said;                       /* this journal's word was sent since the last timer */
        MigrationOp op;
        bool pumping, pump_again;
        bool aborting; /* source: migrate_abort is in flight */
        uint32_t number,
                numbers[_WORD_MAX]; /* of the last message; of each word, kept in repeats */
        uint64_t repeat_ms;
        bool repeat_armed;  /* never pushed back by what comes in meanwhile */
        JournalRecord last; /* of the journal, without payload */
        bool alarmed, settled;
        bool tried; /* an operation failed since the last timer */

        /* progress */
        MigrationHistory history;
        MigrationProgress progress;
        MigrationDisk *disks;
        uint64_t last_bytes;
        bool measured;      /* there were statistics */
        uint64_t guest_mib; /* of the guest's memory */
        bool limit_final;   /* the disks are in the limit */

        /* convergence: tune.c */
        MigrationOptions live;  /* options, and what was said since */
        uint64_t downtime_ms;   /* allowed now */
        uint64_t stepped_ns;    /* since when */
        uint64_t limit_from_ns; /* from when the time limit counts */
        bool held;              /* until Cutover */
        bool forced;            /* completion is: once */
        bool postcopy; /* libvirt was asked to begin it: a guest that stands may have gone */
        bool sample;   /* the next statistics are of the beginning of an iteration */
        MigrationStall stall;
        unsigned tunes; /* calls to libvirt that are under way */
        bool watched;   /* an abort is: by a timer */
        bool deaf;      /* an abort had no effect in time */
};

/* table.c */
int migration_ask(const Migration *m, MigrationCall c, Error *reterr); /* CALL_DO: 1, NOOP: 0 */

/* migration.c */
/* Frees it with operations in flight: as a process that is killed leaves it. For tests. */
Migration *migration_abandon(Migration *m);
int migration_same_session(const Migration *m, const char *session, Error *reterr);
void migration_move(Migration *m, MigrationState next);
void migration_call_begin(Migration *m, MigrationCall c, OpDone done, void *job);
void migration_call_end(Migration *m, int r, const Error *err);
int migration_call_leave(Migration *m, Error *reterr); /* ends the inside: 1, or its result */
void migration_forget(Migration *m);                   /* the session */

/* report.c */
void migration_phase_begin(Migration *m, MigrationPhase p);
void migration_phase_end(Migration *m, MigrationResult r, const char *details);
void migration_tell(Migration *m, MigrationPhase p, MigrationResult r, const char *details);
void migration_changed(Migration *m);
/* Keeps the first error of the session: "<step>: <text>". */
void migration_blame(Migration *m, const char *step, int r, const Error *err);

/* transfer.c */
void migration_transfer_begin(Migration *m);
void migration_give_up(Migration *m, const char *step, const char *why);
void migration_out(Migration *m); /* wants out: rolls back if it still can */
void migration_blackout(Migration *m);

/* tune.c */
void migration_converge_begin(Migration *m);  /* the transfer does */
void migration_converge_sample(Migration *m); /* new statistics */
void migration_converge_end(Migration *m);    /* stops every timer of it */
void migration_limit_reached(Migration *m);
void migration_cutover_reached(Migration *m);

/* handover.c */
void migration_pump(Migration *m);
void migration_again(Migration *m); /* something changed inside a step */
int migration_write(Migration *m, JournalKind k, const void *payload, size_t n);
void migration_op_start(Migration *m, MigrationOp op); /* OP_RECEIVE and the rest */
void migration_repeat(Migration *m);                   /* arms the timer that says it again */
void migration_settle(Migration *m, MigrationOutcome outcome);
bool migration_decided(const Migration *m);
bool migration_is_fast(const Migration *m);
bool migration_domain_gone(const Migration *m);
void migration_alarm(Migration *m);

/* source.c, destination.c */
void migration_source_step(Migration *m, MigrationMove move);
void migration_destination_step(Migration *m, MigrationMove move);

/* finish.c */
void migration_call_check(Migration *m); /* does a waiting Finalize or Cleanup have its answer? */

/* peer.c */
void migration_say(Migration *m, MigrationWord w);

/* migration-save.c */
typedef struct MigrationExport {
        char session[JOURNAL_NAME_MAX], pod[JOURNAL_NAME_MAX];
        uint64_t epoch;
        MigrationFacts facts;
        MigrationTree tree;
} MigrationExport;
void migration_export_done(MigrationExport *e);
int migration_export_seal(const MigrationExport *e, Buf *ret, Error *reterr);
int migration_export_open(const void *p, size_t n, MigrationExport *ret, Error *reterr);
