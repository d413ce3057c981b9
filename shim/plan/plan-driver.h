/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/ctl.h"
#include "shim/plan/plan-child.h"
#include "shim/plan/plan-show.h"
#include "shim/plan/plan-store.h"

/* Drives a run to its end: the engine decides, this starts `podferry migrate`, `adopt` and `ps`,
 * journals, and watches. Each move is a command of its own that keeps its own promises: the driver
 * may be killed at any moment, its moves go on, and another driver finds out from the journal and
 * the hosts.
 *
 * A pod's lock is the stdin of its move, so it is held until that has ended, whoever started it. */
typedef struct PlanJob {
        struct PlanDriver *driver;
        unsigned entry;
        PlanLock lock;
        char told[200]; /* of whom it waits for */
        PlanChild child;
        unsigned on; /* the host whose command the child is */
        /* Until the store answers: start it, once its record is written; check; let the lock go. */
        bool start_later, check_later, release_later;
        bool settling; /* the child is adopt */
        bool recorded; /* the journal has a move whose end it does not have */
        json_object *result;
        uint64_t started_ms;
        bool checking;
        uint64_t need[1 + PLAN_TO_MAX]; /* the look of each host that is waited for; 0: it is in */
        PlanFact facts[1 + PLAN_TO_MAX];
        PlanLive live;
} PlanJob;

/* One host: `podferry ps` there answers for all pods at once. */
typedef struct PlanLook {
        struct PlanDriver *driver;
        unsigned host;
        Remote remote;
        PlanChild child;
        uint64_t started; /* looks so far */
        PlanFact *facts;
} PlanLook;

typedef struct PlanDriver {
        const Ctl *ctl;
        PlanStore *store;
        PlanRun *run;
        PlanJournal *journal;
        PlanShow *show;
        sd_event *event;
        PlanJob *jobs;
        PlanLook *looks;
        sd_event_source *wake, *start, *retry;
        bool ready; /* its time to start has come */
        bool ended; /* its last record was written, or waits to be */
        unsigned signals;
        int failed; /* the journal's error: nothing new is started */
        Error error;
        bool lost; /* the store does not answer */
        uint64_t lost_since_ms;
        unsigned lost_tries;
        json_object *unwritten; /* records, in their order */
} PlanDriver;

/* Until the run is over or interrupted. journal NULL: nothing is recorded, for an engine that is
 * paused and so moves nothing. -ECANCELED: interrupted; other codes: the journal failed.
 * In both cases resume goes on with it. */
int plan_drive(const Ctl *ctl, PlanStore *store, PlanRun *run, PlanJournal *journal, PlanShow *show,
               Error *reterr);

/* -- plan-jobs.c: what actions do -- */
void plan_job_check(PlanDriver *d, PlanJob *j);
void plan_job_move(PlanDriver *d, PlanJob *j, unsigned host);
void plan_job_settle(PlanDriver *d, PlanJob *j, unsigned host);
void plan_job_start(PlanDriver *d, PlanJob *j); /* its record is written */
/* Lets the lock go, unless a move may still run. -EAGAIN: it is still held. */
int plan_job_release(PlanJob *j, Error *reterr);

/* -- plan-looks.c: asking hosts -- */
int plan_looks_init(PlanDriver *d, Error *reterr);
void plan_looks_done(PlanDriver *d);
void plan_looks_want(PlanDriver *d, PlanJob *j);
void plan_looks_start(PlanDriver *d); /* those that somebody waits for */

/* -- plan-driver.c -- */
void plan_driver_tell(PlanDriver *d, unsigned entry, const PlanEvent *ev);
void plan_driver_pump(PlanDriver *d);
void plan_driver_take_cancels(PlanDriver *d);

/* -- plan-lost.c: the journal, and a store that does not answer -- */
int plan_lost_init(PlanDriver *d);
void plan_lost_done(PlanDriver *d);
/* 0: it is written; 1: it will be, or the run fails; < 0: it was not, and the run has failed. Takes
 * the record. */
int plan_driver_record(PlanDriver *d, json_object *record);
void plan_driver_lost(PlanDriver *d, const Error *e);
/* After this nothing new is started: what cannot be recorded must not be done. */
void plan_driver_fail(PlanDriver *d, int r, const Error *e);
