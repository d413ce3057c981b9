/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/plan/plan-check.h"
#include "shim/plan/plan-driver.h"

/* What `plan run` and `drain` have in common: goes on with the run that is not finished, or begins
 * one, and drives it. Tells the user; exit status. */
int plan_start(Ctl *ctl, PlanStore *store, const Plan *plan, bool json);
/* What the end of a run means for the exit status; says what is left to do. */
int plan_report(const PlanRun *run, int r, const Error *e);
