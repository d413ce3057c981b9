/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/image/files.h"
#include "shim/ctl/ctl.h"
#include "shim/plan/plan-child.h"
#include "shim/plan/plan-run.h"
#include "shim/plan/plan-show.h"

/* Drives a run to its end: the engine decides, this starts `podferry migrate`, `adopt` and `ps`,
 * journals, and watches. Each move is a command of its own that keeps its own promises: the driver
 * may be killed at any moment, its moves go on, and another driver finds out from the journal and
 * the hosts.
 *
 * A pod's lock is the stdin of its move, so it is held until that has ended, whoever started it. */
typedef struct PlanJob {
        struct PlanDriver *driver;
        unsigned entry;
        FileLock lock;
        int try_fd, watch; /* of a lock that another plan has; watch: inotify's, -1: none */
        uint64_t again_ms; /* when to try it once more; 0: not */
        PlanChild child;
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
        const PlanStore *store;
        PlanRun *run;
        PlanJournal *journal;
        PlanShow *show;
        sd_event *event;
        PlanJob *jobs;
        PlanLook *looks;
        sd_event_source *wake, *start, *inotify, *cancels;
        int inotify_fd;
        bool ready; /* its time to start has come */
        unsigned signals;
        int failed; /* the journal's error: nothing new is started */
        Error error;
} PlanDriver;

/* Until the run is over or interrupted. journal NULL: nothing is recorded, for an engine that is
 * paused and so moves nothing. -ECANCELED: interrupted; other codes: the journal failed.
 * In both cases resume goes on with it. */
int plan_drive(const Ctl *ctl, const PlanStore *store, PlanRun *run, PlanJournal *journal,
               PlanShow *show, Error *reterr);

/* -- plan-jobs.c: what actions do -- */
void plan_job_check(PlanDriver *d, PlanJob *j);
void plan_job_move(PlanDriver *d, PlanJob *j, unsigned host);
void plan_job_settle(PlanDriver *d, PlanJob *j, unsigned host);
void plan_job_release(PlanJob *j);

/* -- plan-looks.c: asking hosts -- */
int plan_looks_init(PlanDriver *d, Error *reterr);
void plan_looks_done(PlanDriver *d);
void plan_looks_want(PlanDriver *d, PlanJob *j);
void plan_looks_start(PlanDriver *d); /* those that somebody waits for */

/* -- plan-driver.c -- */
void plan_driver_tell(PlanDriver *d, unsigned entry, const PlanEvent *ev);
void plan_driver_pump(PlanDriver *d);
int plan_driver_record(PlanDriver *d, json_object *record);
