/* SPDX-License-Identifier: Apache-2.0 */
/* From a journal's records to what is known of a run, and the records themselves. */
#include "shim/plan/plan-run.h"

#include <stdio.h>
#include <string.h>

#include "shim/ctl/json.h"

void plan_run_done(PlanRun *r) {
        plan_engine_done(&r->engine);
        plan_done(&r->plan);
        free(r->figures);
        free(r->carried);
        free(r->begun_at);
        *r = (PlanRun){};
}

void plan_run_count(const PlanRun *r, PlanCounts *ret) {
        *ret = (PlanCounts){ .all = (unsigned)r->engine.n_entries };
        for (size_t i = 0; i < r->engine.n_entries; i++) {
                ret->n[r->engine.entries[i].fsm.state]++;
                ret->final += plan_entry_is_final(&r->engine.entries[i]);
        }
}

/* -- reading -- */

static int find_host(const Plan *p, const char *name, unsigned *ret) {
        for (size_t i = 0; i < p->n_hosts; i++)
                if (strcmp(p->hosts[i].name, name) == 0) {
                        *ret = (unsigned)i;
                        return 0;
                }
        return -EBADMSG;
}

static PlanEntry *find_entry(const PlanRun *r, const char *pod, size_t *ret_index) {
        for (size_t i = 0; i < r->engine.n_entries; i++)
                if (strcmp(r->engine.entries[i].pod->pod, pod) == 0) {
                        *ret_index = i;
                        return &r->engine.entries[i];
                }
        return NULL;
}

static void set_state(PlanEntry *e, int state) {
        e->fsm.state = state; /* what a journal says, not a move */
        e->todo = state == PLAN_CHECKING ? PLAN_CHECK : -1;
}

/* What earlier runs moved. */
static int take_done(PlanRun *r, json_object *done, Error *reterr) {
        json_object *o;

        for (JSON_EACH(i, done, o)) {
                size_t at;
                PlanEntry *e = find_entry(r, json_get_text(o, "pod"), &at);

                if (!e || find_host(&r->plan, json_get_text(o, "host"), &e->host) < 0)
                        return error_setf(reterr, -EBADMSG, "done: no such pod or host");
                e->begun = true;
                set_state(e, PLAN_MOVED);
                r->carried[at] = true;
        }
        return 0;
}

/* A rollback has those entries alone that go back, each to where it came from. */
static int take_moves(PlanRun *r, json_object *moves, Error *reterr) {
        size_t n = 0;
        json_object *o;

        for (JSON_EACH(i, moves, o)) {
                size_t at;
                PlanEntry *e = find_entry(r, json_get_text(o, "pod"), &at), entry;

                if (!e || at < n || find_host(&r->plan, json_get_text(o, "from"), &e->from) < 0 ||
                    find_host(&r->plan, json_get_text(o, "to"), &e->to[0]) < 0)
                        return error_setf(reterr, -EBADMSG, "moves: no such pod or host");
                e->n_to = 1;
                e->host = e->from;
                entry = *e; /* to the front */
                r->engine.entries[at] = r->engine.entries[n];
                r->engine.entries[n++] = entry;
        }
        r->engine.n_entries = n;
        return n > 0 ? 0 : error_setf(reterr, -EBADMSG, "moves: nothing");
}

static int take_begin(PlanRun *r, json_object *o, Error *reterr) {
        int e;

        if (r->number > 0)
                return error_setf(reterr, -EBADMSG, "begins twice");
        e = plan_from_json("plan", json_get(o, "plan"), &r->plan, reterr);
        if (e == 0)
                e = plan_engine_init(&r->engine, &r->plan, reterr);
        if (e < 0)
                return e;
        r->figures = calloc(r->plan.n_pods, sizeof(*r->figures));
        r->carried = calloc(r->plan.n_pods, sizeof(*r->carried));
        r->begun_at = calloc(r->plan.n_pods, sizeof(*r->begun_at));
        if (!r->figures || !r->carried || !r->begun_at)
                return error_oom(reterr);
        if (json_get_number(o, "run") < 1 || json_get_number(o, "run") > 999999)
                return error_setf(reterr, -EBADMSG, "run: no number");
        r->number = (unsigned)json_get_number(o, "run");
        r->rollback = strcmp(json_get_text(o, "kind"), "rollback") == 0;
        r->began_at = json_get_number(o, "at");
        (void)snprintf(r->node, sizeof(r->node), "%s", json_get_text(o, "node"));
        return r->rollback ? take_moves(r, json_get_array(o, "moves"), reterr)
                           : take_done(r, json_get_array(o, "done"), reterr);
}

static int take_candidate(const PlanRun *r, PlanEntry *e, json_object *o, Error *reterr) {
        unsigned host;

        if (find_host(&r->plan, json_get_text(o, "to"), &host) == 0)
                for (unsigned i = 0; i < e->n_to; i++)
                        if (e->to[i] == host) {
                                e->candidate = i;
                                return 0;
                        }
        return error_setf(reterr, -EBADMSG, "%s does not go to \"%.60s\"", e->pod->pod,
                          json_get_text(o, "to"));
}

static void take_why(PlanEntry *e, json_object *o) {
        int why = plan_class_from_name(json_get_text(o, "class"));

        e->why = why < 0 ? PLAN_CLASS_NONE : (PlanClass)why;
        (void)snprintf(e->reason, sizeof(e->reason), "%s", json_get_text(o, "reason"));
}

static void take_figures(PlanFigures *f, json_object *o) {
        if (!o)
                return;
        *f = (PlanFigures){ .known = true,
                            .ms = (uint64_t)json_get_number(o, "ms"),
                            .blackout_ns = (uint64_t)json_get_number(o, "blackout_ns"),
                            .memory_bytes = (uint64_t)json_get_number(o, "memory_bytes"),
                            .disk_bytes = (uint64_t)json_get_number(o, "disk_bytes") };
}

static int take_outcome(PlanRun *r, PlanEntry *e, size_t at, const char *event, json_object *o,
                        Error *reterr) {
        int state = fsm_state_from_name(&plan_entry_fsm, event);

        if (strcmp(event, "stayed") == 0) {
                take_why(e, o);
                e->doubt = false;
                e->tries = (unsigned)MIN_OF(json_get_number(o, "tries"), (int64_t)UINT16_MAX);
                set_state(e, PLAN_CHECKING);
                return take_candidate(r, e, o, reterr);
        }
        if (state < 0 || !(plan_entry_fsm.rows[state].flags & FSM_FINAL) ||
            find_host(&r->plan, json_get_text(o, "host"), &e->host) < 0)
                return error_setf(reterr, -EBADMSG, "\"%.40s\" makes no sense", event);
        take_why(e, o);
        take_figures(&r->figures[at], json_get(o, "figures"));
        e->doubt = state == PLAN_UNKNOWN;
        set_state(e, state);
        return 0;
}

static void take_cancel(PlanRun *r, const char *pod) {
        for (size_t i = 0; i < r->engine.n_entries; i++)
                if (!*pod || strcmp(r->engine.entries[i].pod->pod, pod) == 0)
                        r->engine.entries[i].wish = PLAN_WISH_CANCEL;
}

int plan_run_take(void *userdata, json_object *o, Error *reterr) {
        const char *event = json_get_text(o, "event"), *pod = json_get_text(o, "pod");
        PlanRun *r = userdata;
        PlanEntry *e;
        size_t at;

        if (strcmp(event, "begin") == 0)
                return take_begin(r, o, reterr);
        if (r->number == 0)
                return error_setf(reterr, -EBADMSG, "does not begin with \"begin\"");
        if (strcmp(event, "end") == 0) {
                r->finished = true;
                r->ended_at = json_get_number(o, "at");
                return 0;
        }
        if (strcmp(event, "cancel") == 0) {
                take_cancel(r, pod);
                return 0;
        }
        e = find_entry(r, pod, &at);
        if (!e)
                return error_setf(reterr, -EBADMSG, "there is no pod \"%.80s\"", pod);
        if (strcmp(event, "move") == 0 || strcmp(event, "settle") == 0) {
                e->doubt = e->begun = true;
                r->begun_at[at] = json_get_number(o, "at");
                set_state(e, PLAN_CHECKING);
                return take_candidate(r, e, o, reterr);
        }
        return take_outcome(r, e, at, event, o, reterr);
}

/* -- writing -- */

static bool add_text(json_object *o, const char *key, const char *text) {
        return json_add_string(o, key, text) == 0;
}

json_object *plan_run_event(const char *event, const PlanEntry *e) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || !add_text(o, "event", event) || (e && !add_text(o, "pod", e->pod->pod)))
                return NULL;
        return TAKE(o);
}

static bool add_figures(json_object *o, const PlanFigures *f) {
        json_object *figures;

        if (!f->known)
                return true;
        figures = json_object_new_object();
        return figures && json_add(o, "figures", figures) == 0 &&
               json_add(figures, "ms", json_object_new_uint64(f->ms)) == 0 &&
               json_add(figures, "blackout_ns", json_object_new_uint64(f->blackout_ns)) == 0 &&
               json_add(figures, "memory_bytes", json_object_new_uint64(f->memory_bytes)) == 0 &&
               json_add(figures, "disk_bytes", json_object_new_uint64(f->disk_bytes)) == 0;
}

json_object *plan_run_outcome(const PlanRun *r, size_t entry) {
        const PlanEntry *e = &r->engine.entries[entry];
        const Plan *p = r->engine.plan;
        bool final = plan_entry_is_final(e);
        _cleanup_json_ json_object *o = plan_run_event(final ? fsm_name(&e->fsm) : "stayed", e);

        if (!o || !add_text(o, final ? "host" : "to",
                            p->hosts[final ? e->host : e->to[e->candidate]].name))
                return NULL;
        if (!final && json_add(o, "tries", json_object_new_uint64(e->tries)) < 0)
                return NULL;
        if (e->why != PLAN_CLASS_NONE &&
            (!add_text(o, "class", plan_class_name(e->why)) || !add_text(o, "reason", e->reason)))
                return NULL;
        return add_figures(o, &r->figures[entry]) ? TAKE(o) : NULL;
}

/* Of an entry that the plan moved, where from and where it is. */
static json_object *placed(const PlanRun *r, const PlanEntry *e, const char *here,
                           const char *there) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || !add_text(o, "pod", e->pod->pod) ||
            !add_text(o, here, r->plan.hosts[e->host].name) ||
            (there && !add_text(o, there, r->plan.hosts[e->pod->from].name)))
                return NULL;
        return TAKE(o);
}

/* Moved by the plan, and not back. A rollback's entries count while they have not gone back, and
 * those that it left out were nowhere else. */
static bool is_away(const PlanRun *r, const PlanEntry *e) {
        return e->begun || r->rollback
                       ? (r->rollback ? e->fsm.state != PLAN_MOVED : e->fsm.state == PLAN_MOVED)
                       : false;
}

static const PlanPod *find_pod(const Plan *p, const char *name) {
        for (size_t i = 0; i < p->n_pods; i++)
                if (strcmp(p->pods[i].pod, name) == 0)
                        return &p->pods[i];
        return NULL;
}

/* What counts as done in the plan as it is now. */
static bool is_done(const Plan *plan, const PlanRun *before, const PlanEntry *e) {
        const PlanPod *pod = find_pod(plan, e->pod->pod);
        const char *host = before->plan.hosts[e->host].name;

        if (!pod || strcmp(plan->hosts[pod->from].name, before->plan.hosts[e->pod->from].name) != 0)
                return false;
        for (unsigned i = 0; i < pod->n_to; i++)
                if (strcmp(plan->hosts[pod->to[i]].name, host) == 0)
                        return true;
        return false;
}

json_object *plan_run_begin(const Plan *plan, const PlanRun *before, bool rollback,
                            unsigned *ret_left) {
        _cleanup_json_ json_object *o = plan_run_event("begin", NULL), *list = NULL;
        size_t n = before->engine.n_entries;
        unsigned listed = 0;

        list = json_object_new_array();
        if (!o || !list || json_add(o, "run", json_object_new_uint64(before->number + 1)) < 0 ||
            !add_text(o, "kind", rollback ? "rollback" : "run") ||
            json_add(o, "plan", json_object_get(plan->json)) < 0)
                return NULL;
        if (rollback && before->node[0] && !add_text(o, "node", before->node)) /* its "here" */
                return NULL;
        for (size_t i = 0; i < n; i++) { /* a rollback takes the last first */
                const PlanEntry *e = &before->engine.entries[rollback ? n - 1 - i : i];

                if (!is_away(before, e) || (!rollback && !is_done(plan, before, e)))
                        continue;
                listed++;
                if (json_append(list, placed(before, e, rollback ? "from" : "host",
                                             rollback ? "to" : NULL)) < 0)
                        return NULL;
        }
        *ret_left = rollback ? listed : (unsigned)plan->n_pods - listed;
        if (json_add(o, rollback ? "moves" : "done", TAKE(list)) < 0)
                return NULL;
        return TAKE(o);
}
