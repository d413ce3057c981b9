/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/plan/plan-driver.h"

/* Could the plan be carried out now? Asks every host for its pods, and looks at the locks; changes
 * nothing. Prints a line for each pod. 0: yes; 1: no; negative errno: it could not be found out. */
int plan_check(const Ctl *ctl, const Plan *plan, PlanStore *store, bool json, Error *reterr);
