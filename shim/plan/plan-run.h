/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/plan/plan-engine.h"
#include "shim/plan/plan-journal.h"

/* One run of a plan, as its journal tells it. Kept in files (plan-store.h has the other way):
 *
 *      <state_dir>/plans/NAME/run-000001   a journal each, the last PLAN_RUNS_MAX
 *      <state_dir>/plans/NAME/cancel[.POD] asks the run that is under way to let a pod, or all, be
 *      <state_dir>/plans/.locks/POD        held by the one plan that has the pod
 *      <state_dir>/plans/.archive/NAME.N   a plan that was put away
 *
 * Events of a journal: begin (the whole plan; what was moved before), move (before podferry migrate
 * is started), settle (before podferry adopt), stayed, moved, failed, cancelled, skipped, unknown
 * (what was then found out), cancel (somebody asked), end. */
#define PLAN_RUNS_MAX 20U /* of which history tells */

typedef struct PlanFigures {
        bool known;
        uint64_t ms, blackout_ns, memory_bytes, disk_bytes;
} PlanFigures;

typedef struct PlanRun {
        unsigned number;           /* from 1; 0: there is none */
        bool rollback;             /* undoes what runs before it moved */
        bool finished, busy, torn; /* busy: a driver has it */
        Plan plan;
        PlanEngine engine;          /* for each entry what the journal says of it */
        PlanFigures *figures;       /* one for each entry, as all of these */
        bool *carried;              /* moved by an earlier run */
        int64_t *begun_at;          /* of the last move */
        int64_t began_at, ended_at; /* ms since 1970 */
        char node[104];             /* the machine that the plan calls "here"; "": this one */
        bool foreign;               /* which is not this one */
        char driver[160];           /* of one that is busy: who, for people; "": not known */
} PlanRun;
void plan_run_done(PlanRun *r);
#define _cleanup_plan_run_ _cleanup_(plan_run_done)

/* plan_journal_read() and _open() visit with this, and a PlanRun that is empty. */
int plan_run_take(void *userdata, json_object *record, Error *reterr);
/* The first record of a run of `plan` (of its JSON), after `before` (number 0: none): what that
 * one had moved counts as moved. rollback: one that undoes `before`. *ret_left is how many entries
 * have something to do. NULL: out of memory. */
json_object *plan_run_begin(const Plan *plan, const PlanRun *before, bool rollback,
                            unsigned *ret_left);
json_object *plan_run_event(const char *event, const PlanEntry *e);
/* What the entry's state is called in a journal: "stayed" for those that go on; and why. */
json_object *plan_run_outcome(const PlanRun *r, size_t entry);

typedef struct PlanCounts {
        unsigned n[_PLAN_ENTRY_STATE_MAX], final, all;
} PlanCounts;
void plan_run_count(const PlanRun *r, PlanCounts *ret);
