/* SPDX-License-Identifier: Apache-2.0 */
/* podferry drain: a plan of every pod of a host, made and run. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/ids.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/cmd-plan.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/json.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"

enum { JSON = 1, TO, NAME, AT, OUT, IN, ALL, RETRIES, BACKOFF, STOP, PROGRAM, EXCEPT, SET };

static const Option options[] = {
        CTL_OPTION_JSON,
        { TO, 0, "to", "HOST",
          "where its pods may go, as podferry migrate has it; again\n"
          "for more: the next one is tried when one refuses" },
        { NAME, 0, "name", "NAME", "name of the plan (drain; drain-HOST where etcd keeps it)" },
        { AT, 0, "at", "HOST", "how the others reach this host, for rollback" },
        { EXCEPT, 0, "except", "POD", "which stays; again for more" },
        { OUT, 0, "out", "N", "moves away from here at once, whoever began them (1)" },
        { IN, 0, "in", "N", "moves to each host at once (2)" },
        { ALL, 0, "all", "N", "moves at once (5)" },
        { RETRIES, 0, "retries", "N", "further tries of a move that failed (3)" },
        { BACKOFF, 0, "backoff", "TIME", "before the first of them; then twice as long (20s)" },
        { STOP, 0, "stop-on-error", NULL, "start nothing more once a pod has failed" },
        { PROGRAM, 0, "podferry", "PATH", "this program over there (podferry)" },
        { SET, 0, "set", "OPTION=VALUE", "one of podferry migrate's; again for more" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_drain = {
        .name = "drain",
        .operands = "",
        .summary = "Move every pod of this host to others",
        .text = "Makes a plan of the pods that are here now, keeps it, and runs it like podferry\n"
                "plan run; podferry plan status, cancel, resume and rollback have it by its name.\n"
                "Killed or interrupted, the same command goes on with it.\n"
                "\n"
                "  podferry drain --to ssh://root@h2 --to ssh://root@h3\n"
                "  podferry drain --to ssh://root@h2 --out 2 --set max-downtime=200ms",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "",
        .run = self_run,
};

typedef struct Line {
        bool json;
        const char *name, *at, *program;
        char **to, **except;
        json_object *limits, *plan, *set;
} Line;

static void line_done(Line *l) {
        (void)words_free(l->to);
        (void)words_free(l->except);
        (void)json_object_put(l->limits);
        (void)json_object_put(l->plan);
        (void)json_object_put(l->set);
}

static int add_number(json_object *o, const char *key, const char *value, uint64_t min,
                      Error *reterr) {
        uint64_t n;
        int r = value_number(value, min, PLAN_LIMIT_MAX, &n, reterr);

        if (r < 0)
                return error_prefix(reterr, r, "--%s", key);
        return json_add(o, key, json_object_new_uint64(n)) < 0 ? error_oom(reterr) : 0;
}

static int take_set(Line *l, const char *value, Error *reterr) {
        _cleanup_free_ char *key = strndup(value, strcspn(value, "="));
        const char *is = strchr(value, '=');

        if (!key)
                return error_oom(reterr);
        if (!*key)
                return error_setf(reterr, -EINVAL, "--set \"%.60s\": OPTION=VALUE is expected",
                                  value);
        return json_add(l->set, key,
                        is ? json_object_new_string(is + 1) : json_object_new_boolean(true)) < 0
                       ? error_oom(reterr)
                       : 0;
}

static int add_text(json_object *o, const char *key, const char *text, Error *reterr) {
        return json_add_string(o, key, text) < 0 ? error_oom(reterr) : 0;
}

static int take_option(Line *l, int id, const char *value, Error *reterr) {
        switch (id) {
        case JSON:
                l->json = true;
                return 0;
        case TO:
                return words_add(&l->to, value) < 0 ? error_oom(reterr) : 0;
        case EXCEPT:
                return words_add(&l->except, value) < 0 ? error_oom(reterr) : 0;
        case NAME:
                l->name = value;
                return 0;
        case AT:
                l->at = value;
                return 0;
        case PROGRAM:
                l->program = value;
                return 0;
        case OUT:
                return add_number(l->limits, "out", value, 1, reterr);
        case IN:
                return add_number(l->limits, "in", value, 1, reterr);
        case ALL:
                return add_number(l->limits, "all", value, 1, reterr);
        case RETRIES:
                return add_number(l->plan, "retries", value, 0, reterr);
        case BACKOFF:
                return add_text(l->plan, "backoff", value, reterr);
        case STOP:
                return json_add(l->plan, "stop_on_error", json_object_new_boolean(true)) < 0
                               ? error_oom(reterr)
                               : 0;
        default:
                return take_set(l, value, reterr);
        }
}

/* -- the plan -- */

static json_object *make_host(const Line *l, const char *at, bool here) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || (at && json_add_string(o, "at", at) < 0) ||
            (here && json_add(o, "here", json_object_new_boolean(true)) < 0) ||
            (!here && l->program && json_add_string(o, "podferry", l->program) < 0))
                return NULL;
        return TAKE(o);
}

static int add_hosts(const Line *l, Error *reterr) {
        _cleanup_json_ json_object *hosts = json_object_new_object();
        _cleanup_json_ json_object *to = json_object_new_array(), *defaults = NULL;

        defaults = json_object_new_object();
        if (!hosts || !to || !defaults || json_add(hosts, "here", make_host(l, l->at, true)) < 0 ||
            json_add_string(defaults, "from", "here") < 0)
                return error_oom(reterr);
        for (size_t i = 0; l->to[i]; i++)
                if (json_add(hosts, l->to[i], make_host(l, l->to[i], false)) < 0 ||
                    json_append(to, json_object_new_string(l->to[i])) < 0)
                        return error_oom(reterr);
        if (json_add(defaults, "to", TAKE(to)) < 0 ||
            json_add(defaults, "options", json_object_get(l->set)) < 0 ||
            json_add(l->plan, "hosts", TAKE(hosts)) < 0 ||
            json_add(l->plan, "limits", json_object_get(l->limits)) < 0 ||
            json_add(l->plan, "defaults", TAKE(defaults)) < 0)
                return error_oom(reterr);
        return 0;
}

static bool is_listed(char **list, const char *word) {
        for (size_t i = 0; list && list[i]; i++)
                if (strcmp(list[i], word) == 0)
                        return true;
        return false;
}

/* It is another host's to move, then. */
static bool only_arrives(json_object *dump) {
        return !json_get(dump, "tree") ||
               strcmp(json_get_text(json_get(dump, "migration"), "side"), "destination") == 0;
}

static int add_pods(const Ctl *ctl, const Line *l, unsigned *ret_n, Error *reterr) {
        _cleanup_json_ json_object *list = json_object_new_array();
        _cleanup_(words_freep) char **pods = NULL;
        int r = pods_list(ctl, &pods, reterr);

        if (r < 0 || !list)
                return r < 0 ? r : error_oom(reterr);
        *ret_n = 0;
        for (size_t i = 0; pods[i]; i++) {
                _cleanup_json_ json_object *pod = json_object_new_object(), *dump = NULL;

                if (is_listed(l->except, pods[i]))
                        continue;
                r = pod_dump_of(ctl->config.run_dir, pods[i], &dump, NULL);
                if (r == -ENOENT || (r == 0 && only_arrives(dump)))
                        continue;
                if (!pod || json_add_string(pod, "pod", pods[i]) < 0 ||
                    json_append(list, TAKE(pod)) < 0)
                        return error_oom(reterr);
                (*ret_n)++;
        }
        return json_add(l->plan, "pods", TAKE(list)) < 0 ? error_oom(reterr) : 0;
}

/* So that the plan has a file like any other. */
static int keep_file(PlanStore *store, json_object *plan, Error *reterr) {
        const char *text = json_object_to_json_string_ext(
                plan,
                JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return error_oom(reterr);
        return plan_store_keep_file(store, text, reterr);
}

/* Where several machines see it, each has a drain of its own. */
static const char *name_of(const Ctl *ctl, const Line *l, char buf[static 96]) {
        const char *node = plan_store_node();

        (void)snprintf(buf, 96, ctl->config.plans ? "drain-%.*s" : "drain", (int)strcspn(node, " "),
                       node);
        return l->name ?: buf;
}

static int make_plan(const Ctl *ctl, const Line *l, Plan *ret, unsigned *ret_n, Error *reterr) {
        char name[96];
        int r = add_text(l->plan, "name", name_of(ctl, l, name), reterr);

        if (r == 0)
                r = add_hosts(l, reterr);
        if (r == 0)
                r = add_pods(ctl, l, ret_n, reterr);
        return r < 0 || *ret_n == 0 ? r : plan_from_json("drain", l->plan, ret, reterr);
}

/* One that was cut off goes on as it began, so it must be the one that is meant. */
static int check_same(const Line *l, const PlanRun *last, Error *reterr) {
        const Plan *p = &last->plan;
        _cleanup_buf_ Buf to = {};
        size_t n = 0, known = 0;

        for (size_t i = 0; i < p->n_hosts; i++)
                if (!p->hosts[i].here) {
                        (void)buf_printf(&to, "%s%s", n++ > 0 ? ", " : "", p->hosts[i].name);
                        known += is_listed(l->to, p->hosts[i].name);
                }
        if (known == n && words_count(l->to) == n)
                return 0;
        return error_setf(reterr, -EBUSY,
                          "the last one was cut off, and goes to %.200s: podferry plan resume %s "
                          "goes on with it, after podferry plan cancel %s it only ends what is "
                          "under way",
                          to.len ? (const char *)to.data : "nowhere", p->name, p->name);
}

/* One that was cut off goes on as it began, whatever pods are here now. */
static int drain(Ctl *ctl, const Line *l) {
        _cleanup_(plan_store_done) PlanStore store = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun last = {};
        _cleanup_plan_ Plan plan = {};
        Error e = ERROR_INIT;
        unsigned n = 0;
        char name[96];
        int r;

        r = id_check("--name", name_of(ctl, l, name), &e);
        if (r == 0)
                r = plan_store_open(ctl->config.state_dir, ctl->config.plans, name_of(ctl, l, name),
                                    &store, &e);
        if (r == 0)
                r = plan_store_last(&store, &last, &e);
        if (r == 0 && last.node[0] && strcmp(last.node, plan_store_node()) != 0)
                r = error_setf(&e, -EEXIST, "plan %s is one of another machine (%.*s): --name",
                               store.name, (int)strcspn(last.node, " "), last.node);
        if (r == 0 && last.number > 0 && !last.finished && !last.busy)
                r = check_same(l, &last, &e);
        if (r == 0 && last.number > 0 && !last.finished)
                return plan_start(ctl, &store, &last.plan, l->json);
        if (r == 0)
                r = make_plan(ctl, l, &plan, &n, &e);
        if (r == 0 && n == 0) {
                ctl_say("drain: no pod is on this host");
                return CTL_OK;
        }
        if (r == 0)
                r = keep_file(&store, l->plan, &e);
        if (r < 0)
                return ctl_fail(r, &e, "drain");
        ctl_say("drain: the plan is %s (%s/plan.json)", store.name, store.path);
        return plan_start(ctl, &store, &plan, l->json);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(line_done) Line l = { .limits = json_object_new_object(),
                                        .plan = json_object_new_object(),
                                        .set = json_object_new_object() };
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;
        int id, n, r = 0;

        if (!l.limits || !l.plan || !l.set)
                return ctl_fail(-ENOMEM, NULL, "drain");
        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                r = id < 0 ? id : take_option(&l, id, p.value, &e);
        }
        operands = option_operands(&p, &n);
        if (r == 0 && n > 0)
                r = error_setf(&e, -EINVAL, "unexpected \"%.60s\"", operands[0]);
        if (r == 0 && !l.to)
                r = error_setf(&e, -EINVAL, "--to is missing");
        for (size_t i = 1; r == 0 && l.to[i]; i++)
                for (size_t k = 0; r == 0 && k < i; k++)
                        if (strcmp(l.to[i], l.to[k]) == 0)
                                r = error_setf(&e, -EINVAL, "--to %.200s is there twice", l.to[i]);
        return r < 0 ? ctl_usage(self, &e) : drain(ctl, &l);
}
