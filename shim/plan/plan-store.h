/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-event.h>

#include "hostdev/image/files.h"
#include "shim/config-plans.h"
#include "shim/plan/plan-run.h"

/* Where runs of a plan, and the locks of its pods, are kept. Two implementations of one contract:
 * files on this machine, and etcd, which several machines share (docs/plans.md).
 *
 * A run has one driver; whoever opens its journal is it, until plan_journal_free(). -EAGAIN, of
 * etcd alone: it was not reached or gave no answer; nothing is known of what became of the call,
 * and the same call again is right in either case. Loop thread only. */

/* -- journals -- */

/* One writer. A record is durable before append returns. */
typedef struct PlanJournal PlanJournal;
typedef struct PlanJournalOps {
        /* `line` has its newline; n is its number. As plan_journal_append(). */
        int (*append)(PlanJournal *j, uint64_t n, const Buf *line, Error *reterr);
        PlanJournal *(*free)(PlanJournal *j);
} PlanJournalOps;

struct PlanJournal {
        const PlanJournalOps *ops;
        uint64_t next; /* number of the next record */
};

/* Adds "n" and "at" to the record (one that has them from a try that failed keeps its "at") and
 * takes it, also when it fails. NULL is -ENOMEM. -EBUSY: the run is another driver's now, for good.
 */
int plan_journal_append(PlanJournal *j, json_object *record, Error *reterr);
PlanJournal *plan_journal_free(PlanJournal *j); /* the run has no driver then */
DEFINE_CLEANUP(PlanJournal *, plan_journal_free);

/* -- locks -- */

typedef struct PlanStore PlanStore;

/* A pod's. Embedded; PLAN_LOCK_INIT is "not held". */
typedef struct PlanLock {
        char pod[80];
        FileLock file; /* of this machine: its descriptor is the stdin of the pod's move */
        int try_fd, watch;
        bool again;       /* told that it is free before it is */
        bool shared;      /* the shared store has it in our plan's name */
        bool waits;       /* in the store's list */
        char holder[200]; /* who has it, as far as that is known; for people */
        struct PlanLock *next;
} PlanLock;
#define PLAN_LOCK_INIT                                                                             \
        (PlanLock) {                                                                               \
                .file = FILE_LOCK_INIT, .try_fd = -EBADF, .watch = -1                              \
        }

/* What a store tells, in the event loop. They change nothing in the store; pump() comes after one
 * or several of the others, and may. */
typedef struct PlanStoreEvents {
        void (*freed)(void *userdata, PlanLock *l);          /* one that waits; NULL: perhaps any */
        void (*asked)(void *userdata);                       /* perhaps somebody asked to cancel */
        void (*gone)(void *userdata, int r, const Error *e); /* the run is another driver's */
        void (*pump)(void *userdata);
} PlanStoreEvents;

/* -- the store of one plan -- */

typedef struct PlanStoreOps {
        const char *name;
        void (*done)(PlanStore *s);
        int (*list)(PlanStore *s, unsigned **ret, size_t *ret_n, Error *reterr);
        int (*read)(PlanStore *s, unsigned number, PlanRun *ret, Error *reterr);
        int (*open_run)(PlanStore *s, unsigned number, json_object *begin, PlanRun *ret,
                        PlanJournal **ret_journal, Error *reterr);
        int (*ask_cancel)(PlanStore *s, const char *pod, Error *reterr);
        int (*take_cancel)(PlanStore *s, char ret[], size_t size, Error *reterr);
        int (*archive)(PlanStore *s, char **ret_path, Error *reterr);
        /* After the lock of this machine was taken: 0, 1, or an error, as plan_store_lock(). */
        int (*lock)(PlanStore *s, PlanLock *l, Error *reterr);
        int (*unlock)(PlanStore *s, PlanLock *l, Error *reterr);
        int (*watch)(PlanStore *s, Error *reterr);
        void (*unwatch)(PlanStore *s);
} PlanStoreOps;

struct PlanStore {
        const PlanStoreOps *ops;
        char *name;                     /* of the plan */
        int plans_fd, locks_fd, dir_fd; /* dir_fd: of the plan; etcd: only for its file */
        char *path;                     /* of that directory */
        void *impl;                     /* EtcdStore */
        uint32_t wait_s;                /* how long a driver waits for it */
        const PlanStoreEvents *events;  /* NULL: nobody watches */
        void *userdata;
        sd_event *event; /* borrowed */
        sd_event_source *inotify, *again;
        int inotify_fd;
        PlanLock *waiting;
};
#define PLAN_STORE_INIT                                                                            \
        (PlanStore) {                                                                              \
                .plans_fd = -EBADF, .locks_fd = -EBADF, .dir_fd = -EBADF, .inotify_fd = -EBADF     \
        }

/* config NULL: files below state_dir/plans. The latter is needed in any case: for the locks of this
 * machine, and archives. Nothing is asked of etcd yet. */
int plan_store_open(const char *state_dir, const PlansConfig *config, const char *name,
                    PlanStore *ret, Error *reterr);
void plan_store_done(PlanStore *s);
/* Other machines see it. */
bool plan_store_is_shared(const PlanStore *s);
/* This machine, as runs of a shared store name it: its host name, a blank, and its id. */
const char *plan_store_node(void);

/* The last run, read without locking it; number 0: there is none yet. */
int plan_store_last(PlanStore *s, PlanRun *ret, Error *reterr);
int plan_store_read(PlanStore *s, unsigned number, PlanRun *ret, Error *reterr);
/* Numbers of the runs that are kept, ascending; the caller frees *ret. */
int plan_store_list(PlanStore *s, unsigned **ret, size_t *ret_n, Error *reterr);
/* Opens the journal of a run for writing; of a new one with its first record, which it takes. Old
 * runs beyond PLAN_RUNS_MAX are removed then. -EBUSY: it has a driver. The journal goes before the
 * store. */
int plan_store_open_run(PlanStore *s, unsigned number, json_object *begin, PlanRun *ret,
                        PlanJournal **ret_journal, Error *reterr);
int plan_store_ask_cancel(PlanStore *s, const char *pod, Error *reterr); /* NULL: all */
/* Takes one request away: 1 with the pod ("": all) in ret, 0: there is none. */
int plan_store_take_cancel(PlanStore *s, char ret[], size_t size, Error *reterr);
/* Puts all runs away, in files of this machine; the caller frees *ret_path. */
int plan_store_archive(PlanStore *s, char **ret_path, Error *reterr);
/* Keeps the plan's own file in s->path/plan.json. */
int plan_store_keep_file(PlanStore *s, const char *text, Error *reterr);

/* From now on waiting is told of. The events are borrowed until plan_store_unwatch(). */
int plan_store_watch(PlanStore *s, sd_event *event, const PlanStoreEvents *events, void *userdata,
                     Error *reterr);
void plan_store_unwatch(PlanStore *s);

/* 0: held. 1: another plan has it: freed() tells when to try again (only while it is watched).
 * Without an open journal the shared lock is looked at, not taken. Held already: 0. */
int plan_store_lock(PlanStore *s, PlanLock *l, const char *pod, Error *reterr);
/* Also one that only waits. keep: a move of the pod may still run, so the shared lock stays in the
 * plan's name, and its next driver takes it over. On -EAGAIN it is still held. */
int plan_store_unlock(PlanStore *s, PlanLock *l, bool keep, Error *reterr);

/* -- plan-locks.c: the part of it on this machine, which both implementations have -- */
int plan_local_lock(PlanStore *s, PlanLock *l, Error *reterr);
void plan_local_unlock(PlanStore *s, PlanLock *l);
int plan_local_watch(PlanStore *s, bool directory, Error *reterr);
void plan_local_unwatch(PlanStore *s);
/* Waits for whoever has it elsewhere. */
void plan_lock_wait(PlanStore *s, PlanLock *l);

/* -- plan-store-files.c, etcd-store.c -- */
extern const PlanStoreOps plan_store_files;
int plan_store_etcd_open(PlanStore *s, const PlansConfig *config, Error *reterr);
