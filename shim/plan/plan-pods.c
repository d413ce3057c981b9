/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of a plan file: what each says itself, or the plan's "defaults" for it, and whether all
 * of it fits the hosts. */
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"
#include "shim/plan/plan-internal.h"

#define TEXT_MAX  4096U
#define DISKS_MAX 32U

static const PlanWay ways[] = {
        { "live", "migrate", NULL, false },
        { "cold", "migrate", "cold", true },
        { "warm", "migrate", "warm", true },
};

static int find_host(Reader *r, json_object *v, unsigned *ret) {
        const char *name = json_object_get_string(v);

        if (!json_object_is_type(v, json_type_string))
                return plan_refuse(r, "the name of a host is expected");
        for (size_t i = 0; i < r->plan->n_hosts; i++)
                if (strcmp(r->plan->hosts[i].name, name) == 0) {
                        *ret = (unsigned)i;
                        return 0;
                }
        return plan_refuse(r, "there is no host \"%.100s\"", name);
}

static int take_pod(Reader *r, json_object *v, void *into) {
        PlanPod *p = into;
        Error why = ERROR_INIT;
        int e = plan_take_text(r, v, ID_MAX, &p->pod);

        if (e == 0 && id_check("pod name", p->pod, &why) < 0)
                return plan_refuse(r, "%s", why.text);
        return e;
}

static int take_type(Reader *r, json_object *v, void *into) {
        const char *name = json_object_get_string(v);

        for (size_t i = 0; i < ELEMENTSOF(ways); i++)
                if (strcmp(ways[i].name, name) == 0) {
                        ((PlanPod *)into)->way = &ways[i];
                        return 0;
                }
        return plan_refuse(r, "no pod moves \"%.40s\"; \"live\", \"cold\" or \"warm\" is expected",
                           name);
}

static int take_from(Reader *r, json_object *v, void *into) {
        return find_host(r, v, &((PlanPod *)into)->from);
}

static int take_one_to(Reader *r, json_object *v, PlanPod *p) {
        unsigned host;
        int e = find_host(r, v, &host);

        if (e < 0)
                return e;
        for (unsigned i = 0; i < p->n_to; i++)
                if (p->to[i] == host)
                        return plan_refuse(r, "\"%s\" is there twice", r->plan->hosts[host].name);
        if (!r->plan->hosts[host].at)
                return plan_refuse(r, "host \"%s\" has no \"at\": the other hosts cannot reach it",
                                   r->plan->hosts[host].name);
        p->to[p->n_to++] = host;
        return 0;
}

static int take_to(Reader *r, json_object *v, void *into) {
        PlanPod *p = into;
        size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 1;

        p->n_to = 0;
        if (json_object_is_type(v, json_type_string))
                return take_one_to(r, v, p);
        if (!json_object_is_type(v, json_type_array) || n < 1 || n > PLAN_TO_MAX)
                return plan_refuse(r, "a host, or a list of 1 to %u, is expected", PLAN_TO_MAX);
        for (size_t i = 0; i < n; i++) {
                size_t at = plan_enter_index(r, i);
                int e = take_one_to(r, json_object_array_get_idx(v, i), p);

                if (e < 0)
                        return e;
                plan_leave(r, at);
        }
        return 0;
}

static int take_priority(Reader *r, json_object *v, void *into) {
        int64_t n;
        int e = plan_take_number(r, v, -1000, 1000, &n);

        if (e == 0)
                ((PlanPod *)into)->priority = (int)n;
        return e;
}

static int take_retries(Reader *r, json_object *v, void *into) {
        int64_t n;
        int e = plan_take_number(r, v, 0, PLAN_RETRIES_MAX, &n);

        if (e == 0)
                ((PlanPod *)into)->retries = (unsigned)n;
        return e;
}

static int take_network(Reader *r, json_object *v, void *into) {
        return plan_take_text(r, v, TEXT_MAX, &((PlanPod *)into)->network);
}

static int take_disks(Reader *r, json_object *v, void *into) {
        PlanPod *p = into;
        size_t n = json_object_array_length(v);

        (void)words_free(TAKE(p->disks));
        if (n > DISKS_MAX)
                return plan_refuse(r, "%zu disks, at most %u", n, DISKS_MAX);
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;
                size_t at = plan_enter_index(r, i);
                int e = plan_take_text(r, json_object_array_get_idx(v, i), TEXT_MAX, &path);

                if (e < 0)
                        return e;
                if (path[0] != '/' || strchr(path, '='))
                        return plan_refuse(r, "an absolute path without = is expected");
                if (words_add(&p->disks, path) < 0)
                        return error_oom(r->error);
                plan_leave(r, at);
        }
        return 0;
}

/* What migrate has options for, but not what the plan itself says. */
static const Option *find_option(const char *name) {
        static const char *const own[] = { "to",   "name",     "progress",   "podferry", "net",
                                           "disk", "identity", "ssh-option", "type" };

        for (size_t i = 0; i < ELEMENTSOF(own); i++)
                if (strcmp(own[i], name) == 0)
                        return NULL;
        for (size_t i = 0; i < command_migrate.n_options; i++)
                if (strcmp(command_migrate.options[i].name, name) == 0)
                        return &command_migrate.options[i];
        return NULL;
}

static int add_option(Reader *r, const char *key, json_object *v, char ***words) {
        const Option *o = find_option(key);
        const char *text = json_object_get_string(v);
        char word[64];

        if (!o)
                return plan_refuse(r, "migrate has no such option that a plan may set");
        if (!o->arg && !json_object_is_type(v, json_type_boolean))
                return plan_refuse(r, "true or false is expected");
        if (!o->arg && !json_object_get_boolean(v))
                return 0;
        if (o->arg && !json_object_is_type(v, json_type_string) &&
            !json_object_is_type(v, json_type_int))
                return plan_refuse(r, "%s, as a text or a number, is expected", o->arg);
        if (o->arg && (!*text || strlen(text) > TEXT_MAX))
                return plan_refuse(r, "a text of 1 to %u bytes is expected", TEXT_MAX);
        (void)snprintf(word, sizeof(word), "--%.60s", key);
        if (words_add(words, word) < 0 || (o->arg && words_add(words, text) < 0))
                return error_oom(r->error);
        return 0;
}

static int take_options(Reader *r, json_object *v, void *into) {
        PlanPod *p = into;

        (void)words_free(TAKE(p->options));
        json_object_object_foreach(v, key, value) {
                size_t at = plan_enter(r, key);
                int e = add_option(r, key, value, &p->options);

                if (e < 0)
                        return e;
                plan_leave(r, at);
        }
        return 0;
}

/* What "defaults" may hold; a pod has its name before these. */
static const Key pod_keys[] = {
        { "pod", json_type_string, take_pod, true },
        { "type", json_type_string, take_type, false },
        { "from", json_type_string, take_from, false },
        { "to", json_type_null, take_to, false },
        { "priority", json_type_int, take_priority, false },
        { "retries", json_type_int, take_retries, false },
        { "network", json_type_string, take_network, false },
        { "disks", json_type_array, take_disks, false },
        { "options", json_type_object, take_options, false },
};

int plan_read_defaults(Reader *r, const Plan *p, json_object *v, PlanPod *ret) {
        r->plan = p;
        return plan_read_object(r, v, pod_keys + 1, ELEMENTSOF(pod_keys) - 1, ret);
}

/* Each destination that it may go to must have a place for what it brings. */
static int check_maps(Reader *r, const PlanPod *p) {
        for (unsigned i = 0; i < p->n_to; i++) {
                const PlanHost *h = &r->plan->hosts[p->to[i]];

                if (p->network && !plan_map_network(h, p->network))
                        return plan_refuse(r,
                                           "network \"%.60s\": hosts.%s.networks does not have it",
                                           p->network, h->name);
                for (size_t k = 0; p->disks && p->disks[k]; k++) {
                        _cleanup_free_ char *there = NULL;

                        if (plan_map_disk(h, p->disks[k], &there) < 0)
                                return error_oom(r->error);
                        if (!there)
                                return plan_refuse(r,
                                                   "disk %.200s: no path of hosts.%s.disks begins "
                                                   "it",
                                                   p->disks[k], h->name);
                }
        }
        return 0;
}

static int check_pod(Reader *r, const Plan *plan, const PlanPod *p) {
        if (p->from == UINT32_MAX)
                return plan_refuse(r, "\"from\" is missing, and the defaults have none");
        if (p->n_to == 0)
                return plan_refuse(r, "\"to\" is missing, and the defaults have none");
        for (unsigned i = 0; i < p->n_to; i++)
                if (p->to[i] == p->from)
                        return plan_refuse(r, "it is to go from \"%s\" to where it is",
                                           plan->hosts[p->from].name);
        for (size_t i = 0; &plan->pods[i] < p; i++)
                if (strcmp(plan->pods[i].pod, p->pod) == 0)
                        return plan_refuse(r, "pod \"%s\" is pods[%zu], too", p->pod, i);
        return check_maps(r, p);
}

static int read_pod(Reader *r, Plan *plan, json_object *v, PlanPod *p) {
        int e = 0;

        *p = (PlanPod){ .from = UINT32_MAX, .retries = r->retries, .way = &ways[0] };
        if (r->defaults) {
                size_t at = strlen(r->path);

                e = plan_read_defaults(r, plan, r->defaults, p);
                plan_leave(r, at);
        }
        if (e == 0)
                e = plan_read_object(r, v, pod_keys, ELEMENTSOF(pod_keys), p);
        return e < 0 ? e : check_pod(r, plan, p);
}

int plan_read_pods(Reader *r, json_object *v, void *into) {
        size_t n = json_object_array_length(v);
        Plan *plan = into;

        r->plan = plan;
        if (n < 1 || n > PLAN_PODS_MAX)
                return plan_refuse(r, "%zu pods; 1 to %u are expected", n, PLAN_PODS_MAX);
        plan->pods = calloc(n, sizeof(*plan->pods));
        if (!plan->pods)
                return error_oom(r->error);
        for (size_t i = 0; i < n; i++) {
                size_t at = plan_enter_index(r, i);
                int e;

                plan->n_pods++;
                e = read_pod(r, plan, json_object_array_get_idx(v, i), &plan->pods[i]);
                if (e < 0)
                        return e;
                plan_leave(r, at);
        }
        return 0;
}

void plan_pod_done(PlanPod *p) {
        free(p->pod);
        free(p->network);
        (void)words_free(p->disks);
        (void)words_free(p->options);
        *p = (PlanPod){};
}

/* -- maps -- */

const char *plan_map_network(const PlanHost *h, const char *name) {
        if (strncmp(name, "ns:/", 4) == 0)
                return name;
        for (size_t i = 0; i < h->n_networks; i++)
                if (strcmp(h->networks[i].name, name) == 0)
                        return h->networks[i].there;
        return NULL;
}

int plan_map_disk(const PlanHost *h, const char *path, char **ret) {
        const PlanMap *best = NULL;
        size_t length = 0;

        *ret = NULL;
        for (size_t i = 0; i < h->n_disks; i++) {
                const char *name = h->disks[i].name;
                size_t n = strlen(name);

                /* whole names only: /srv is not the beginning of /srv2/a */
                if (strncmp(path, name, n) == 0 && n > length &&
                    (path[n] == '\0' || path[n] == '/' || name[n - 1] == '/'))
                        best = &h->disks[i], length = n;
        }
        if (!best)
                return 0;
        if (asprintf(ret, "%s%s", best->there, path + length) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}
