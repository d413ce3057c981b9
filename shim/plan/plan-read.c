/* SPDX-License-Identifier: Apache-2.0 */
/* Plan files. A table for each kind of object says which keys it may have; each key has a function
 * that takes its value. The path of what is being read is kept for errors. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controllers/ids.h"
#include "hostdev/image/files.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"
#include "shim/plan/plan-internal.h"

#define NAME_LENGTH_MAX 200U
#define PATH_LENGTH_MAX 4096U

int plan_refuse(const Reader *r, const char *fmt, ...) {
        char text[400];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return error_setf(r->error, -EINVAL, "%s%s%s", r->path, *r->path ? ": " : "", text);
}

size_t plan_enter(Reader *r, const char *key) {
        size_t n = strlen(r->path);

        (void)snprintf(r->path + n, sizeof(r->path) - n, "%s%.60s", n > 0 && *key != '[' ? "." : "",
                       key);
        return n;
}

size_t plan_enter_index(Reader *r, size_t i) {
        char key[24];

        (void)snprintf(key, sizeof(key), "[%zu]", i);
        return plan_enter(r, key);
}

void plan_leave(Reader *r, size_t n) {
        r->path[n] = '\0';
}

static const char *type_name(enum json_type t) {
        return t == json_type_string    ? "a text"
               : t == json_type_int     ? "a whole number"
               : t == json_type_boolean ? "true or false"
               : t == json_type_array   ? "a list"
                                        : "an object";
}

static int take_key(Reader *r, const Key *k, json_object *value, void *into) {
        size_t at = plan_enter(r, k->name);
        int e;

        if (k->type != json_type_null && !json_object_is_type(value, k->type))
                return plan_refuse(r, "%s is expected", type_name(k->type));
        e = k->take(r, value, into);
        if (e == 0)
                plan_leave(r, at);
        return e;
}

int plan_read_object(Reader *r, json_object *o, const Key *keys, size_t n, void *into) {
        if (!json_object_is_type(o, json_type_object))
                return plan_refuse(r, "an object is expected");
        json_object_object_foreach(o, key, ignored) {
                bool known = false;

                (void)ignored;
                for (size_t i = 0; i < n; i++)
                        known |= strcmp(key, keys[i].name) == 0;
                if (!known)
                        return plan_refuse(r, "there is no \"%.60s\"", key);
        }
        for (size_t i = 0; i < n; i++) { /* in the table's order: later keys may need earlier */
                json_object *value = NULL;
                int e;

                if (!json_object_object_get_ex(o, keys[i].name, &value)) {
                        if (keys[i].required)
                                return plan_refuse(r, "\"%s\" is missing", keys[i].name);
                        continue;
                }
                e = take_key(r, &keys[i], value, into);
                if (e < 0)
                        return e;
        }
        return 0;
}

/* -- values -- */

int plan_take_text(Reader *r, json_object *v, size_t max, char **ret) {
        const char *text = json_object_get_string(v);
        char *copy;

        if (!json_object_is_type(v, json_type_string))
                return plan_refuse(r, "a text is expected");
        if (!*text || strlen(text) > max || strlen(text) != (size_t)json_object_get_string_len(v))
                return plan_refuse(r, "a text of 1 to %zu bytes is expected", max);
        for (const char *p = text; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return plan_refuse(r, "control characters in it");
        copy = strdup(text);
        if (!copy)
                return error_oom(r->error);
        free(*ret);
        *ret = copy;
        return 0;
}

int plan_take_number(Reader *r, json_object *v, int64_t min, int64_t max, int64_t *ret) {
        int64_t n = json_object_get_int64(v);

        if (!json_object_is_type(v, json_type_int) || n < min || n > max)
                return plan_refuse(r, "a whole number from %lld to %lld is expected",
                                   (long long)min, (long long)max);
        *ret = n;
        return 0;
}

static int take_limit(Reader *r, json_object *v, unsigned *ret) {
        int64_t n;
        int e = plan_take_number(r, v, 1, PLAN_LIMIT_MAX, &n);

        if (e == 0)
                *ret = (unsigned)n;
        return e;
}

static int take_duration(Reader *r, json_object *v, uint64_t *ret) {
        Error why = ERROR_INIT;

        if (value_duration(json_object_get_string(v), ret, &why) < 0)
                return plan_refuse(r, "%s", why.text);
        return 0;
}

/* -- hosts -- */

static int take_at(Reader *r, json_object *v, void *into) {
        PlanHost *h = into;
        int e = plan_take_text(r, v, PATH_LENGTH_MAX, &h->at);

        if (e < 0)
                return e;
        if ((strncmp(h->at, "ssh://", 6) == 0 && h->at[6]) ||
            (strncmp(h->at, "exec:", 5) == 0 && h->at[5]))
                return 0;
        return plan_refuse(r, "\"%.100s\" is no host: ssh://[USER@]HOST[:PORT] or exec:COMMAND",
                           h->at);
}

static int take_here(Reader *r, json_object *v, void *into) {
        (void)r;
        ((PlanHost *)into)->here = json_object_get_boolean(v);
        return 0;
}

static int take_program(Reader *r, json_object *v, void *into) {
        return plan_take_text(r, v, PATH_LENGTH_MAX, &((PlanHost *)into)->program);
}

static int take_out(Reader *r, json_object *v, void *into) {
        return take_limit(r, v, &((PlanHost *)into)->out);
}

static int take_in(Reader *r, json_object *v, void *into) {
        return take_limit(r, v, &((PlanHost *)into)->in);
}

static int take_map(Reader *r, json_object *v, PlanMap **ret, size_t *ret_n,
                    bool (*fits)(const PlanMap *m), const char *expected) {
        size_t n = (size_t)json_object_object_length(v);

        if (n > PLAN_MAPS_MAX)
                return plan_refuse(r, "%zu entries, at most %u", n, PLAN_MAPS_MAX);
        *ret = calloc(n + 1, sizeof(**ret));
        if (!*ret)
                return error_oom(r->error);
        json_object_object_foreach(v, key, value) {
                PlanMap *m = &(*ret)[*ret_n];
                size_t at = plan_enter(r, key);
                int e;

                (*ret_n)++;
                m->name = strdup(key);
                if (!m->name)
                        return error_oom(r->error);
                e = plan_take_text(r, value, PATH_LENGTH_MAX, &m->there);
                if (e < 0)
                        return e;
                if (!fits(m))
                        return plan_refuse(r, "%s is expected", expected);
                plan_leave(r, at);
        }
        return 0;
}

static bool is_network(const PlanMap *m) {
        return *m->name && strncmp(m->there, "ns:/", 4) == 0;
}

static bool ends_with_slash(const char *path) {
        return *path && path[strlen(path) - 1] == '/';
}

static bool is_disk(const PlanMap *m) {
        return m->name[0] == '/' && m->there[0] == '/' && !strchr(m->name, '=') &&
               ends_with_slash(m->name) == ends_with_slash(m->there);
}

static int take_networks(Reader *r, json_object *v, void *into) {
        PlanHost *h = into;

        return take_map(r, v, &h->networks, &h->n_networks, is_network, "NAME: \"ns:PATH\"");
}

static int take_disks(Reader *r, json_object *v, void *into) {
        PlanHost *h = into;

        return take_map(r, v, &h->disks, &h->n_disks, is_disk,
                        "two absolute paths, both with / at their ends or neither,");
}

static const Key host_keys[] = {
        { "at", json_type_string, take_at, false },
        { "here", json_type_boolean, take_here, false },
        { "podferry", json_type_string, take_program, false },
        { "out", json_type_int, take_out, false },
        { "in", json_type_int, take_in, false },
        { "networks", json_type_object, take_networks, false },
        { "disks", json_type_object, take_disks, false },
};

static int take_host(Reader *r, const char *name, json_object *v, PlanHost *h) {
        int e;

        h->out = r->out, h->in = r->in;
        h->name = strdup(name);
        if (!h->name)
                return error_oom(r->error);
        if (!*name || strlen(name) > NAME_LENGTH_MAX)
                return plan_refuse(r, "a name of 1 to %u bytes is expected", NAME_LENGTH_MAX);
        e = json_object_is_type(v, json_type_string)
                    ? take_at(r, v, h)
                    : plan_read_object(r, v, host_keys, ELEMENTSOF(host_keys), h);
        if (e == 0 && !h->here && !h->at)
                return plan_refuse(r, "\"at\" is missing, or \"here\": true");
        return e;
}

static int take_hosts(Reader *r, json_object *v, void *into) {
        size_t n = (size_t)json_object_object_length(v);
        Plan *p = into;
        bool here = false;

        if (n < 2 || n > PLAN_HOSTS_MAX)
                return plan_refuse(r, "%zu hosts; 2 to %u are expected", n, PLAN_HOSTS_MAX);
        p->hosts = calloc(n, sizeof(*p->hosts));
        if (!p->hosts)
                return error_oom(r->error);
        json_object_object_foreach(v, key, value) {
                PlanHost *h = &p->hosts[p->n_hosts++];
                size_t at = plan_enter(r, key);
                int e = take_host(r, key, value, h);

                if (e < 0)
                        return e;
                if (h->here && here)
                        return plan_refuse(r, "two hosts are \"here\"");
                here |= h->here;
                plan_leave(r, at);
        }
        return 0;
}

/* -- the plan -- */

static int take_name(Reader *r, json_object *v, void *into) {
        Plan *p = into;
        Error why = ERROR_INIT;
        int e = plan_take_text(r, v, ID_MAX, &p->name);

        if (e == 0 && id_check("name", p->name, &why) < 0)
                return plan_refuse(r, "%s", why.text);
        return e;
}

static int take_limit_out(Reader *r, json_object *v, void *into) {
        (void)into;
        return take_limit(r, v, &r->out);
}

static int take_limit_in(Reader *r, json_object *v, void *into) {
        (void)into;
        return take_limit(r, v, &r->in);
}

static int take_limit_all(Reader *r, json_object *v, void *into) {
        return take_limit(r, v, &((Plan *)into)->all);
}

static const Key limit_keys[] = {
        { "out", json_type_int, take_limit_out, false },
        { "in", json_type_int, take_limit_in, false },
        { "all", json_type_int, take_limit_all, false },
};

static int take_limits(Reader *r, json_object *v, void *into) {
        return plan_read_object(r, v, limit_keys, ELEMENTSOF(limit_keys), into);
}

static int take_retries(Reader *r, json_object *v, void *into) {
        int64_t n;
        int e = plan_take_number(r, v, 0, PLAN_RETRIES_MAX, &n);

        (void)into;
        if (e == 0)
                r->retries = (unsigned)n;
        return e;
}

static int take_backoff(Reader *r, json_object *v, void *into) {
        return take_duration(r, v, &((Plan *)into)->backoff_ms);
}

static int take_warn_after(Reader *r, json_object *v, void *into) {
        return take_duration(r, v, &((Plan *)into)->warn_after_ms);
}

static int take_stop_on_error(Reader *r, json_object *v, void *into) {
        (void)r;
        ((Plan *)into)->stop_on_error = json_object_get_boolean(v);
        return 0;
}

/* UTC, so that it means the same on every host. */
static int take_start_at(Reader *r, json_object *v, void *into) {
        struct tm t = {};
        const char *end = strptime(json_object_get_string(v), "%Y-%m-%dT%H:%M:%SZ", &t);
        time_t at = end && !*end ? timegm(&t) : -1;

        if (at <= 0)
                return plan_refuse(r, "a time like 2026-12-01T02:00:00Z is expected");
        ((Plan *)into)->start_at = (uint64_t)at;
        return 0;
}

static int take_defaults(Reader *r, json_object *v, void *into) {
        PlanPod pod = {};
        int e = plan_read_defaults(r, into, v, &pod); /* what is wrong in them is told as theirs */

        plan_pod_done(&pod);
        r->defaults = v;
        return e;
}

static const Key plan_keys[] = {
        { "name", json_type_string, take_name, true },
        { "limits", json_type_object, take_limits, false },
        { "retries", json_type_int, take_retries, false },
        { "backoff", json_type_string, take_backoff, false },
        { "warn_after", json_type_string, take_warn_after, false },
        { "stop_on_error", json_type_boolean, take_stop_on_error, false },
        { "start_at", json_type_string, take_start_at, false },
        { "hosts", json_type_object, take_hosts, true },
        { "defaults", json_type_object, take_defaults, false },
        { "pods", json_type_array, plan_read_pods, true },
};

int plan_from_json(const char *name, json_object *o, Plan *ret, Error *reterr) {
        /* Limits: Nova's default is one move away from a host, KubeVirt's five in all. */
        _cleanup_plan_ Plan p = { .all = 5, .backoff_ms = 20000, .warn_after_ms = 600000 };
        Reader r = { .error = reterr, .out = 1, .in = 2, .retries = 3 };
        int e = plan_read_object(&r, o, plan_keys, ELEMENTSOF(plan_keys), &p);

        if (e < 0)
                return error_prefix(reterr, e, "%s", name);
        p.json = json_object_get(o);
        *ret = p;
        p = (Plan){};
        return 0;
}

int plan_parse(const char *name, const char *text, size_t n, Plan *ret, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        int e = json_read(text, n, &o, reterr);

        return e < 0 ? error_prefix(reterr, e, "%s", name) : plan_from_json(name, o, ret, reterr);
}

int plan_load(const char *path, Plan *ret, Error *reterr) {
        _cleanup_buf_ Buf text = {};
        int e = files_read(AT_FDCWD, path, PLAN_SIZE_MAX, &text, reterr);

        return e < 0 ? e : plan_parse(path, (const char *)text.data, text.len, ret, reterr);
}

static void maps_done(PlanMap *m, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(m[i].name);
                free(m[i].there);
        }
        free(m);
}

void plan_done(Plan *p) {
        for (size_t i = 0; i < p->n_hosts; i++) {
                PlanHost *h = &p->hosts[i];

                free(h->name);
                free(h->at);
                free(h->program);
                maps_done(h->networks, h->n_networks);
                maps_done(h->disks, h->n_disks);
        }
        for (size_t i = 0; i < p->n_pods; i++)
                plan_pod_done(&p->pods[i]);
        free(p->hosts);
        free(p->pods);
        free(p->name);
        (void)json_object_put(p->json);
        *p = (Plan){};
}
