/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>

#include "controllers/migration/migration.h"

/* Two hosts and what lies between them, for Migration objects: journals that survive, a libvirt
 * that does as it likes (docs/model/handover.pml has the same one), a link that loses, repeats and
 * reorders, shims that crash. Records what happens; `broken` holds the first thing that must never
 * be. A test drives it step by step, or lets a seed do so. */
typedef struct FakeWorld FakeWorld;
typedef struct FakeSide FakeSide;

typedef enum FakeLibvirt {
        FAKE_IDLE,
        FAKE_COPY,
        FAKE_SWITCH,
        FAKE_FINISHED,
        FAKE_OK,
        FAKE_FAILED,
} FakeLibvirt;

typedef enum FakeMode {
        FAKE_NOW,
        FAKE_LATER, /* completes by fake_complete() */
        FAKE_REFUSE,
        FAKE_FAIL_LATER,
} FakeMode;

typedef enum FakeVerb {
        FAKE_FREEZE,
        FAKE_SAVE,
        FAKE_IMPORT,
        FAKE_PATCH,
        FAKE_RESUME_TREE,
        FAKE_MOVED,
        FAKE_ABORT_TREE,
        FAKE_FACTS,
        FAKE_PREPARE,
        FAKE_CLEANUP,
        FAKE_MIGRATE,
        FAKE_MIGRATE_ABORT,
        FAKE_RECEIVE,
        FAKE_DOMAIN,
        FAKE_FENCE,
        FAKE_SUSPEND_DOMAIN,
        FAKE_RESUME_DOMAIN,
        FAKE_DESTROY_DOMAIN,
        FAKE_TUNE,
        FAKE_CHECKPOINT,
        FAKE_ADOPT,
        FAKE_JOURNAL,
        FAKE_TRANSFER_BEGINS,
        _FAKE_VERB_MAX,
} FakeVerb;

const char *fake_verb_name(FakeVerb v);

#define FAKE_JOBS    8U
#define FAKE_RECORDS 64U
#define FAKE_WORDS   8U

typedef struct FakeJob {
        FakeVerb verb;
        OpDone done;
        void *job;
        int result;
} FakeJob;

typedef struct FakeWord {
        uint8_t *data;
        size_t len;
} FakeWord;

struct FakeSide {
        FakeWorld *w;
        MigrationRole role;
        Migration *m;
        FakeMode mode[_FAKE_VERB_MAX];
        unsigned fail[_FAKE_VERB_MAX]; /* so many times, then as `mode` says */
        unsigned calls[_FAKE_VERB_MAX];
        FakeJob jobs[FAKE_JOBS];
        unsigned n_jobs;
        uint64_t timer[_MIGRATION_TIMER_MAX];
        FakeWord in[FAKE_WORDS]; /* words on their way to this side */
        unsigned n_in;
        JournalRecord journal[FAKE_RECORDS];
        unsigned n_journal;
        uint8_t *handoff; /* of its READY */
        size_t handoff_len;
        bool frozen, tree, link_frozen, running_tree, moved, made_disks;
        unsigned unpatched;
        unsigned notified, changes;
        MigrationCall tuned; /* the last tune, and its value */
        uint64_t tuned_value;
        unsigned let_go;
        char warned[MIGRATION_DETAILS_MAX]; /* the last warning */
        bool events_lost;                   /* libvirt's events do not reach this side */
        bool unkept; /* ops.kept is false, ops.checkpoint -EAGAIN: see fake_keep() */
};

struct FakeWorld {
        FakeSide side[2]; /* by MigrationRole */
        MigrationDomainState s, d;
        MigrationMemory memory; /* of d */
        FakeLibvirt lv;
        bool abort_wanted, moved_on;
        bool stood;       /* the guest, for libvirt's migration */
        bool heeds_abort; /* also after the destination is complete */
        bool reason;      /* D's copy died, or D declared that it cannot go on: a loss is allowed */
        uint64_t now_ns;
        char broken[600];
        FILE *trace;
};

void fake_world_init(FakeWorld *w);
void fake_world_done(FakeWorld *w);
extern const MigrationOps fake_migration_ops;

/* Calls 1 to 5 of the success sequence; false and w->broken if one fails. */
bool fake_until_transport(FakeWorld *w, const MigrationOptions *o);
/* and Transfer on both sides. */
bool fake_until_transferring(FakeWorld *w, const MigrationOptions *o);

/* One step of libvirt: what = 0 goes on, 1 fails (and resumes the source), 2 fails and leaves it
 * paused. False: nothing to do. */
bool fake_libvirt(FakeWorld *w, int what);
void fake_copy_dies(FakeWorld *w);           /* the destination's guest */
bool fake_complete(FakeSide *s, unsigned i); /* a job that was to come later */
bool fake_deliver(FakeSide *s, unsigned i);  /* a word to s, in any order */
void fake_lose(FakeSide *s, unsigned i);
void fake_repeat(FakeSide *s, unsigned i);
bool fake_timer(FakeSide *s, MigrationTimer t); /* fires it, if it is armed */
void fake_crash(FakeSide *s);                   /* and starts again from its journal */
void fake_link(FakeWorld *w, bool up);
void fake_keep(FakeSide *s); /* what belongs to the pod is on disk now */
/* Does whatever can be done, jobs and words first, timers when nothing else is left, until both
 * sides are settled or `steps` are over. */
bool fake_run(FakeWorld *w, unsigned steps);
bool fake_settled(const FakeWorld *w);
void fake_check(FakeWorld *w); /* what always holds */
