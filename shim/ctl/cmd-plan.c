/* SPDX-License-Identifier: Apache-2.0 */
/* podferry plan: many migrations from one file. What a run does is in shim/plan. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controllers/ids.h"
#include "shim/ctl/cmd-plan.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/json.h"

static const Option json_options[] = { CTL_OPTION_JSON };
enum { STATUS_JSON = 1, HISTORY };
static const Option status_options[] = {
        CTL_OPTION_JSON,
        { HISTORY, 0, "history", NULL, "the runs that are kept, with their figures" },
};

static int check_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int run_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int status_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int cancel_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int resume_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int rollback_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int archive_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_plan_check = {
        .name = "plan check",
        .operands = "PLAN",
        .summary = "Read a plan, and say what is wrong with it",
        .text = "Reads the file, asks every host which of the pods are there, and moves nothing.\n"
                "Exit status 125 if the plan could not be carried out as it is.",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "files",
        .run = check_run,
};

const Command command_plan_run = {
        .name = "plan run",
        .operands = "PLAN",
        .summary = "Move the pods of a plan",
        .text = "PLAN is a file that says which pods go from where to where, how many at once, and\n"
                "what then happens with those that fail: docs/plans.md has the format by example.\n"
                "One that was run before goes by its name, too.\n"
                "\n"
                "Each move is a podferry migrate of its own. What it does is journalled first, so\n"
                "this command may be killed at any moment; moves that run go on, and podferry\n"
                "plan resume finds out what became of them. Ctrl-C starts nothing new and waits\n"
                "for those; a second one cancels them.\n"
                "\n"
                "Journals and locks are files of this machine, or in etcd if config.json says\n"
                "\"plans\": {\"store\": \"etcd\", ...}: then no two machines move one pod.\n"
                "\n"
                "Run again, it moves what is not moved yet. Exit status 0 if every pod of the\n"
                "plan has moved, 130 if it was interrupted.\n"
                "\n"
                "  podferry plan run rack7.json\n"
                "  podferry plan status rack7.json",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "files",
        .run = run_run,
};

const Command command_plan_status = {
        .name = "plan status",
        .operands = "PLAN",
        .summary = "Show what became of the pods of a plan",
        .text = "Of the run that is under way, or the last one; from its journal, so it works\n"
                "whether anybody drives it or not.",
        .options = status_options,
        .n_options = ELEMENTSOF(status_options),
        .completes = "files",
        .run = status_run,
};

const Command command_plan_cancel = {
        .name = "plan cancel",
        .operands = "PLAN [POD]",
        .summary = "Stop a run, or only its move of one pod",
        .text = "Pods that wait are left where they are; a move that runs is rolled back, unless\n"
                "the pod has been handed over already. Returns at once: podferry plan status\n"
                "shows when it is done. A run that nobody drives does it when it is resumed.\n"
                "Where plans are kept in etcd, from any machine.",
        .completes = "files",
        .run = cancel_run,
};

const Command command_plan_resume = {
        .name = "plan resume",
        .operands = "PLAN",
        .summary = "Go on with a run whose driver was killed or interrupted",
        .text = "Asks the hosts where each pod is whose move had begun, waits for a move that is\n"
                "still at work, has podferry adopt decide what is undecided, and goes on. The\n"
                "plan is the one that the run began with; a file only says its name. Where plans\n"
                "are kept in etcd, on any machine, once the driver's lease has ended.",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "files",
        .run = resume_run,
};

const Command command_plan_rollback = {
        .name = "plan rollback",
        .operands = "PLAN",
        .summary = "Move back what a plan has moved",
        .text = "Each pod to the host that it came from, the last one first, with the limits of\n"
                "the plan. The hosts that it came from need an \"at\" in the plan.",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "files",
        .run = rollback_run,
};

const Command command_plan_archive = {
        .name = "plan archive",
        .operands = "PLAN",
        .summary = "Put a plan and its history away",
        .text = "Its journals go to the archive, in files here; the plan can be run as a new one\n"
                "then.",
        .completes = "files",
        .run = archive_run,
};

/* -- shared with drain -- */

int plan_report(const PlanRun *run, int r, const Error *e) {
        PlanCounts c;

        plan_run_count(run, &c);
        if (r == -ECANCELED) {
                ctl_say("plan %s: interrupted; podferry plan resume %s goes on with it",
                        run->plan.name, run->plan.name);
                return CTL_INTERRUPTED;
        }
        if (r < 0)
                return ctl_fail(r, e, "plan %s", run->plan.name);
        if (!run->finished)
                ctl_say("plan %s: nobody could say where %u of its pods are; podferry plan resume "
                        "asks again",
                        run->plan.name, c.n[PLAN_UNKNOWN]);
        return c.n[PLAN_MOVED] == c.all ? CTL_OK : CTL_FAILED;
}

/* It has a driver. */
static int refuse_busy(const Ctl *ctl, const char *what, const char *plan, const PlanRun *r) {
        if (!r->driver[0] || !ctl->config.plans)
                return ctl_fail(-EBUSY, NULL, "%s: plan %s: another podferry runs it", what, plan);
        return ctl_fail(-EBUSY, NULL,
                        "%s: plan %s: %s runs it; if that is dead, the plan is free within %u s",
                        what, plan, r->driver, ctl->config.plans->ttl_s);
}

/* begin: the first record of a new run, which is taken; NULL: an old one goes on. */
static int drive(Ctl *ctl, PlanStore *store, unsigned number, json_object *begin, bool json) {
        _cleanup_(plan_journal_freep) PlanJournal *journal = NULL;
        _cleanup_plan_run_ PlanRun run = {};
        Error e = ERROR_INIT;
        PlanShow show;
        char stale[96];
        int r = 0;

        while (begin && r >= 0 && (r = plan_store_take_cancel(store, stale, sizeof(stale), &e)) > 0)
                ; /* meant for a run that is over */
        if (r < 0)
                (void)json_object_put(begin);
        else
                r = plan_store_open_run(store, number, begin, &run, &journal, &e);
        if (r < 0)
                return ctl_fail(r, &e, "plan");
        plan_show_init(&show, json);
        r = plan_drive(ctl, store, &run, journal, &show, &e);
        plan_show_end(&show);
        return plan_report(&run, r, &e);
}

int plan_start(Ctl *ctl, PlanStore *store, const Plan *plan, bool json) {
        _cleanup_plan_run_ PlanRun last = {};
        json_object *begin;
        Error e = ERROR_INIT;
        unsigned left;
        int r = plan_store_last(store, &last, &e);

        if (r < 0)
                return ctl_fail(r, &e, "plan");
        if (last.busy)
                return refuse_busy(ctl, "plan run", plan->name, &last);
        if (last.number > 0 && !last.finished) {
                ctl_say("plan %s: going on with %s %u, as it began", plan->name,
                        last.rollback ? "rollback" : "run", last.number);
                return drive(ctl, store, last.number, NULL, json);
        }
        begin = plan_run_begin(plan, &last, false, &left);
        if (!begin)
                return ctl_fail(-ENOMEM, NULL, "plan");
        if (left > 0)
                return drive(ctl, store, last.number + 1, begin, json);
        (void)json_object_put(begin);
        ctl_say("plan %s: all its pods have been moved", plan->name);
        return CTL_OK;
}

/* -- which plan -- */

/* As its last run began. -ENOENT: none of that name was run. */
static int load_by_name(const Ctl *ctl, const char *name, Plan *ret, Error *reterr) {
        _cleanup_(plan_store_done) PlanStore store = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun last = {};
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/plans/%s", ctl->config.state_dir, name) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        if (!ctl->config.plans && access(path, F_OK) < 0)
                return -ENOENT; /* opening its store would make one */
        r = plan_store_open(ctl->config.state_dir, ctl->config.plans, name, &store, reterr);
        if (r == 0)
                r = plan_store_last(&store, &last, reterr);
        if (r < 0 || last.number == 0)
                return r < 0 ? r : -ENOENT;
        return plan_from_json(name, last.plan.json, ret, reterr);
}

/* A file, or the name of a plan that was run. */
static int load(const Ctl *ctl, const char *operand, Plan *ret, Error *reterr) {
        Error e = ERROR_INIT;
        int r = plan_load(operand, ret, &e), k;

        if (r == -ENOENT && id_check("plan", operand, NULL) == 0) {
                k = load_by_name(ctl, operand, ret, reterr);
                if (k != -ENOENT)
                        return k;
                return error_setf(reterr, r, "%s: no such file, and no plan of that name was run",
                                  operand);
        }
        if (reterr)
                *reterr = e;
        return r;
}

/* -- commands -- */

typedef struct Line {
        bool json;
        char *pod; /* second operand */
        Plan plan;
        PlanStore store;
        PlanRun last;
} Line;

static void line_done(Line *l) {
        plan_run_done(&l->last);
        plan_store_done(&l->store);
        plan_done(&l->plan);
}

/* The file, its store, and its last run, if it has one. True: go on. */
static bool begin(Ctl *ctl, const Command *self, int argc, char **argv, int max, Line *l,
                  int *ret_status) {
        Error e = ERROR_INIT;
        char **operands;
        int n, r;

        l->store = PLAN_STORE_INIT;
        if (!ctl_simple(self, argc, argv, 1, max, &l->json, &operands, &n, ret_status))
                return false;
        l->pod = n > 1 ? operands[1] : NULL;
        r = load(ctl, operands[0], &l->plan, &e);
        if (r == 0)
                r = plan_store_open(ctl->config.state_dir, ctl->config.plans, l->plan.name,
                                    &l->store, &e);
        if (r == 0)
                r = plan_store_last(&l->store, &l->last, &e);
        if (r < 0)
                *ret_status = ctl_fail(r, &e, "%s", self->name);
        return r == 0;
}

static bool has_run(const Line *l, const Command *self, int *ret_status) {
        if (l->last.number > 0)
                return true;
        *ret_status =
                ctl_fail(-ENOENT, NULL, "%s: plan %s was never run", self->name, l->plan.name);
        return false;
}

/* For what begins something: no run is under way. */
static bool is_free(const Ctl *ctl, const Line *l, const Command *self, bool finished,
                    int *ret_status) {
        if (l->last.busy)
                *ret_status = refuse_busy(ctl, self->name, l->plan.name, &l->last);
        else if (finished && !l->last.finished)
                *ret_status = ctl_fail(-EBUSY, NULL,
                                       "%s: run %u of plan %s is not finished: podferry plan "
                                       "resume goes on with it, after podferry plan cancel it "
                                       "only ends what is under way",
                                       self->name, l->last.number, l->plan.name);
        else
                return true;
        return false;
}

static int run_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = {};
        int status;

        if (!begin(ctl, self, argc, argv, 1, &l, &status))
                return status;
        return plan_start(ctl, &l.store, &l.plan, l.json);
}

static int resume_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = {};
        int status;

        if (!begin(ctl, self, argc, argv, 1, &l, &status) || !has_run(&l, self, &status) ||
            !is_free(ctl, &l, self, false, &status))
                return status;
        if (l.last.finished)
                return ctl_fail(-EBADFD, NULL, "%s: run %u of plan %s is finished", self->name,
                                l.last.number, l.plan.name);
        return drive(ctl, &l.store, l.last.number, NULL, l.json);
}

/* What goes back must be reached from where it is. */
static int check_way_back(const PlanRun *last, Error *reterr) {
        for (size_t i = 0; i < last->engine.n_entries; i++) {
                const PlanHost *h = &last->plan.hosts[last->engine.entries[i].pod->from];

                if (last->engine.entries[i].begun && !h->at)
                        return error_setf(reterr, -EINVAL,
                                          "hosts.%s has no \"at\": the other hosts cannot reach "
                                          "it; with one in its file, run the plan again before",
                                          h->name);
        }
        return 0;
}

static int rollback_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = {};
        json_object *first;
        Error e = ERROR_INIT;
        unsigned left;
        int status;

        if (!begin(ctl, self, argc, argv, 1, &l, &status) || !has_run(&l, self, &status) ||
            !is_free(ctl, &l, self, !l.last.rollback, &status))
                return status;
        if (!l.last.finished) /* the rollback itself */
                return drive(ctl, &l.store, l.last.number, NULL, l.json);
        if (check_way_back(&l.last, &e) < 0)
                return ctl_fail(-EINVAL, &e, "%s", self->name);
        first = plan_run_begin(&l.last.plan, &l.last, true, &left);
        if (!first)
                return ctl_fail(-ENOMEM, NULL, "%s", self->name);
        if (left > 0)
                return drive(ctl, &l.store, l.last.number + 1, first, l.json);
        (void)json_object_put(first);
        ctl_say("plan %s: nothing is to be moved back", l.plan.name);
        return CTL_OK;
}

static int cancel_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = {};
        const PlanEntry *found = NULL;
        Error e = ERROR_INIT;
        int status, r;

        if (!begin(ctl, self, argc, argv, 2, &l, &status) || !has_run(&l, self, &status))
                return status;
        if (l.last.finished)
                return ctl_fail(-EBADFD, NULL, "%s: run %u of plan %s is finished", self->name,
                                l.last.number, l.plan.name);
        for (size_t i = 0; l.pod && i < l.last.engine.n_entries; i++)
                if (strcmp(l.last.engine.entries[i].pod->pod, l.pod) == 0)
                        found = &l.last.engine.entries[i];
        if (l.pod && !found)
                return ctl_fail(-ENOENT, NULL, "%s: there is no pod \"%.80s\" in plan %s",
                                self->name, l.pod, l.plan.name);
        if (found && plan_entry_is_final(found))
                return ctl_fail(-EBADFD, NULL, "%s: %s is %s already", self->name, l.pod,
                                fsm_name(&found->fsm));
        r = plan_store_ask_cancel(&l.store, l.pod, &e);
        if (r < 0)
                return ctl_fail(r, &e, "%s", self->name);
        if (!l.last.busy)
                ctl_say("nobody drives this run: podferry plan resume carries it out");
        return CTL_OK;
}

static int archive_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(line_done) Line l = {};
        Error e = ERROR_INIT;
        int status, r;

        if (!begin(ctl, self, argc, argv, 1, &l, &status) || !has_run(&l, self, &status) ||
            !is_free(ctl, &l, self, true, &status))
                return status;
        r = plan_store_archive(&l.store, &path, &e);
        if (r < 0)
                return ctl_fail(r, &e, "%s", self->name);
        (void)puts(path);
        return CTL_OK;
}

/* -- status -- */

static int show_history(PlanStore *store, bool json, Error *reterr) {
        _cleanup_free_ unsigned *list = NULL;
        size_t n;
        int r = plan_store_list(store, &list, &n, reterr);

        if (r == 0 && !json)
                (void)printf(" RUN  KIND      BEGAN                   TOOK  LONGEST BLACKOUT    "
                             "   MOVED  PODS\n");
        for (size_t i = 0; r == 0 && i < n; i++) {
                _cleanup_plan_run_ PlanRun run = {};

                r = plan_store_read(store, list[i], &run, reterr);
                if (r == 0 && run.number > 0)
                        plan_show_history(&run, json);
        }
        return r;
}

static int status_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = { .store = PLAN_STORE_INIT };
        bool json = false, history = false;
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;
        int id, n, r;

        option_parser_init(&p, self, argc, argv);
        while ((id = option_next(&p, &e)) > 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                json |= id == STATUS_JSON;
                history |= id == HISTORY;
        }
        operands = option_operands(&p, &n);
        if (id < 0)
                return ctl_usage(self, &e);
        if (n != 1)
                return ctl_usagef(self, n < 1 ? "PLAN is missing" : "one PLAN at a time");
        r = load(ctl, operands[0], &l.plan, &e);
        if (r == 0)
                r = plan_store_open(ctl->config.state_dir, ctl->config.plans, l.plan.name, &l.store,
                                    &e);
        if (r == 0 && history)
                r = show_history(&l.store, json, &e);
        else if (r == 0)
                r = plan_store_last(&l.store, &l.last, &e);
        if (r < 0)
                return ctl_fail(r, &e, "%s", self->name);
        if (history)
                return CTL_OK;
        if (l.last.number == 0)
                ctl_say("plan %s was never run", l.plan.name);
        else if (!json)
                plan_show_table(&l.last);
        else {
                _cleanup_json_ json_object *o = plan_show_json(&l.last);

                if (!o)
                        return ctl_fail(-ENOMEM, NULL, "%s", self->name);
                json_print(o, false);
        }
        return CTL_OK;
}

/* -- check -- */

static int check_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = {};
        Error e = ERROR_INIT;
        int status, r;

        if (!begin(ctl, self, argc, argv, 1, &l, &status))
                return status;
        if (l.last.busy)
                return refuse_busy(ctl, self->name, l.plan.name, &l.last);
        r = plan_check(ctl, &l.plan, &l.store, l.json, &e);
        return r < 0 ? ctl_fail(r, &e, "%s", self->name) : r == 0 ? CTL_OK : CTL_FAILED;
}
