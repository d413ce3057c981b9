/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/cold-link.h"
#include "shim/ctl/cold-plan.h"
#include "shim/offline.h"

/* A cold move as its driver sees it: what is on the source's disk decides (shim/offline.h,
 * docs/offline.md), and this is how far the present attempt has come.
 *
 *      migrate-cold.c        the table of steps
 *      migrate-cold-here.c   steps at the source: what there is, stop, give, remove
 *      migrate-cold-there.c  steps at the destination: offer, files, commit, start
 *      cold-join.c           its turn, where other copies go to the same host
 *      migrate-cold-end.c    the end, and what is said of it
 *      migrate-cold-check.c  podferry check: the same steps, as far as they only look */
typedef struct Warm Warm;

struct Cold {
        char *state; /* <state_dir>/pods/<pod> */
        OfflineLock lock;
        OfflineRecord record; /* as it is on disk */
        ColdPlan plan;
        ColdLink link;
        char host[64];   /* how the other host calls itself */
        char there[16];  /* the other host's record, when it was asked */
        bool shim_there; /* and whether it has a shim for the pod */
        bool join_there; /* it knows generations of copies */
        char **missing;  /* layers */
        bool resumed;    /* an attempt before this one has given the pod away */
        bool runs;       /* resumed, and it was started over there since */
        bool start;      /* it ran, and is to run over there */
        MigrationStorage storage;
        uint64_t bandwidth; /* bytes a second; 0: no limit */
        bool keep_scratch, remove_volumes;
        bool planned;   /* its definition could be read: the plan is there */
        bool offered;   /* something may be left over there */
        bool discarded; /* nothing is */
        bool stopped;   /* by us */
        bool restarted; /* and started again, here */
        bool gone;      /* while it was copied ahead; not by us */
        bool moved;     /* for good: only the rest here is to be removed */
        Error why_not;  /* it could not be started again, or taken back */
        uint64_t stopped_ms, still_ms;
        uint64_t total, processed, since_ms, shown_ms; /* of this step */
        Warm *warm;                                    /* of a warm move: migrate-warm.h */
};

extern const Itinerary itinerary_cold;

/* Does the pod here not run, so that it moves cold? */
bool cold_pod_rests(const Mover *m);
/* May it move live? -EBUSY: it is copied ahead just now, by a driver that must not be overtaken. */
int cold_admit_live(const Mover *m, Error *reterr);
Cold *cold_free(Cold *c);
/* The record on disk, and in c->record. */
int cold_record(Mover *m, OfflineState state, Error *reterr);
/* Does it run, and is it to run over there? */
int cold_look_at_shim(Mover *m, Error *reterr);
/* What was offered is what is there now. -EBUSY. */
int cold_check_unchanged(const Mover *m, Error *reterr);
/* So many bytes of disks more, of c->total. */
void cold_on_moved(void *userdata, uint64_t n);
/* An attempt at a cold move was cut off, and the pod was started here since: what it has left over
 * there goes, before the pod moves another way. Nothing to do is success. */
int cold_drop_offer(Mover *m, Error *reterr);
/* Connects, and asks where the other host's record stands. */
int cold_connect(Mover *m, Error *reterr);

/* A step has found what ends the move: r as it is. In a check it is noted under this code (a row of
 * cold-check.h), and 0 lets the step look on. */
int cold_heed(Mover *m, const char *code, int r, Error *reterr);
/* What the other host says that it waits for, for people. */
void cold_describe_wait(const Mover *m, json_object *wait, char *ret, size_t size);
/* Asks the other host what an offer would be refused for; it makes nothing. */
int cold_ask_check(Mover *m, Error *reterr);

/* Of which move a step is one: one that begins, or one that has given the pod away before; of a pod
 * that runs; of one that is to run over there; of one that has a turn among others. */
bool cold_is_new(const Mover *m);
bool cold_is_given(const Mover *m);
bool cold_runs(const Mover *m);
bool cold_starts(const Mover *m);
bool cold_joins(const Mover *m);

/* -- steps, and their way back -- */
typedef int ColdStep(Mover *m, Error *reterr);
ColdStep cold_look, cold_stop, cold_start_again, cold_leave, cold_give, cold_remove;
ColdStep cold_resume, cold_join, cold_offer, cold_withdraw, cold_layers, cold_files, cold_take_back;
ColdStep cold_commit, cold_start_there;
int cold_end(Mover *m, int r, Error *err);
