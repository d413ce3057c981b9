/* SPDX-License-Identifier: Apache-2.0 */
/* A run that never begins a move: its first checks are all there is. */
#include "shim/plan/plan-check.h"

#include <stdio.h>

#include "shim/ctl/json.h"

static const char *verdict_of(const PlanEntry *e) {
        int state = e->fsm.state;

        return state == PLAN_QUEUED  ? "ready"
               : state == PLAN_MOVED ? "moved"
               : state == PLAN_HELD  ? "held"
                                     : "blocked";
}

static bool is_fine(const PlanEntry *e) {
        return e->fsm.state == PLAN_QUEUED || e->fsm.state == PLAN_MOVED;
}

static void print_entry(const PlanRun *r, const PlanEntry *e, bool json) {
        const char *what = e->fsm.state == PLAN_HELD ? "another plan has it" : e->reason;
        const PlanHost *from = &r->plan.hosts[e->from], *to = &r->plan.hosts[e->to[0]];
        _cleanup_json_ json_object *o = NULL;

        if (!json) {
                (void)printf("%-20s %-8s %-16s %-16s %s\n", e->pod->pod, verdict_of(e), from->name,
                             to->name, what);
                return;
        }
        o = json_object_new_object();
        if (o && json_add_string(o, "pod", e->pod->pod) == 0 &&
            json_add_string(o, "verdict", verdict_of(e)) == 0 &&
            json_add_string(o, "from", from->name) == 0 &&
            json_add_string(o, "to", to->name) == 0 && json_add_string(o, "reason", what) == 0)
                json_print(o, false);
}

int plan_check(const Ctl *ctl, const Plan *plan, PlanStore *store, bool json, Error *reterr) {
        _cleanup_plan_run_ PlanRun last = {}, run = {};
        _cleanup_json_ json_object *begin = NULL;
        PlanShow show;
        bool fine = true;
        unsigned left;
        int r;

        r = plan_store_last(store, &last, reterr);
        if (r < 0)
                return r;
        begin = plan_run_begin(plan, &last, false, &left);
        if (!begin)
                return error_oom(reterr);
        r = plan_run_take(&run, begin, reterr);
        if (r < 0)
                return r;
        plan_show_init(&show, json);
        show.quiet = true;
        run.plan.stop_on_error = false; /* all reasons at once */
        plan_engine_pause(&run.engine);
        r = plan_drive(ctl, store, &run, NULL, &show, reterr);
        if (r < 0)
                return r;
        if (!json)
                (void)printf("%-20s %-8s %-16s %-16s %s\n", "POD", "VERDICT", "FROM", "TO", "WHY");
        for (size_t i = 0; i < run.engine.n_entries; i++) {
                fine &= is_fine(&run.engine.entries[i]);
                print_entry(&run, &run.engine.entries[i], json);
        }
        return fine ? 0 : 1;
}
