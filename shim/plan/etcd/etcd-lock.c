/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of pods between machines, and what comes in while a run is driven. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd-store.h"

/* -- taking -- */

static void lock_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], const char *pod) {
        etcd_store_key(e, ret, "locks/%s", pod);
}

static void make_lock(EtcdStore *e, EtcdTxn *t, const void *pod) {
        char key[ETCD_KEY_MAX];

        lock_key(e, key, pod);
        etcd_if_absent(t, key);
        etcd_put(t, key, e->mark, strlen(e->mark), 0);
        etcd_else_get(t, key);
}

static void make_unlock(EtcdStore *e, EtcdTxn *t, const void *pod) {
        char key[ETCD_KEY_MAX];

        lock_key(e, key, pod);
        etcd_if_value(t, key, e->mark);
        etcd_delete(t, key);
}

/* Which plan has it, and who drives that. */
static void describe(EtcdStore *e, const EtcdValue *v, PlanLock *l) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_value_ EtcdValue owner = {};
        char key[ETCD_KEY_MAX], who[160] = "";
        const char *plan;

        (void)json_read((const char *)v->data.data, v->data.len, &o, NULL);
        plan = json_get_text(o, "plan");
        if (*plan && !strchr(plan, '/') && strlen(plan) < 100) {
                etcd_store_key(e, key, "plans/%s/owner", plan);
                if (etcd_get(e->etcd, key, &owner, NULL) == 0)
                        etcd_owner_describe(&owner, who, sizeof(who));
        }
        (void)snprintf(l->holder, sizeof(l->holder), "plan %.90s (%.90s)", *plan ? plan : "?",
                       *who ? who : "which nobody drives now");
        text_clean(l->holder);
}

int etcd_lock(PlanStore *s, PlanLock *l, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        char key[ETCD_KEY_MAX];
        EtcdValue v[2] = {};
        int r;

        lock_key(e, key, l->pod);
        if (e->owner[0]) {
                r = etcd_commit_owned(e, make_lock, l->pod, v, 2, reterr);
                l->shared = r == 1 || (r == 0 && etcd_value_is(&v[1], e->mark));
        } else /* for plan check: only whether it could be had */
                r = etcd_get(e->etcd, key, &v[1], reterr);
        if (r >= 0)
                r = v[1].there && !etcd_value_is(&v[1], e->mark);
        if (r == 1)
                describe(e, &v[1], l);
        /* Whoever has it may come to this machine, and would wait for us. */
        if (r != 0)
                plan_local_unlock(s, l);
        if (r == 1)
                plan_lock_wait(s, l);
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                etcd_value_done(&v[i]);
        return r;
}

int etcd_unlock(PlanStore *s, PlanLock *l, Error *reterr) {
        EtcdValue owner = {};
        int r = etcd_commit_owned(etcd_store(s), make_unlock, l->pod, &owner, 1, reterr);

        etcd_value_done(&owner);
        return r < 0 ? r : 0; /* one that is not ours is not there for us */
}

/* -- what a driver left that was killed after its last record of a pod -- */

typedef struct Sweep {
        EtcdStore *store;
        const PlanRun *run;
        json_object *pods;
} Sweep;

static bool is_through(const PlanRun *run, const char *pod) {
        for (size_t i = 0; i < run->engine.n_entries; i++) {
                const PlanEntry *e = &run->engine.entries[i];

                if (strcmp(e->pod->pod, pod) == 0)
                        return plan_entry_is_final(e) && e->fsm.state != PLAN_UNKNOWN;
        }
        return true; /* of a run before, and that is finished */
}

static int visit_lock(void *userdata, const char *pod, const Buf *value, Error *reterr) {
        Sweep *s = userdata;

        if (value->len != strlen(s->store->mark) ||
            memcmp(value->data, s->store->mark, value->len) != 0 || !is_through(s->run, pod))
                return 0;
        return json_append(s->pods, json_object_new_string(pod)) < 0 ? error_oom(reterr) : 0;
}

int etcd_sweep(EtcdStore *e, const PlanRun *run, Error *reterr) {
        _cleanup_json_ json_object *pods = json_object_new_array();
        Sweep s = { .store = e, .run = run, .pods = pods };
        char key[ETCD_KEY_MAX];
        json_object *pod;
        int r;

        if (!pods)
                return error_oom(reterr);
        etcd_store_key(e, key, "locks/");
        r = etcd_each(e->etcd, key, false, visit_lock, &s, reterr);
        for (JSON_EACH(i, pods, pod)) {
                EtcdValue owner = {};

                if (r >= 0)
                        r = etcd_commit_owned(e, make_unlock, json_object_get_string(pod), &owner,
                                              1, reterr);
                etcd_value_done(&owner);
        }
        return r < 0 ? r : 0;
}

/* -- being told -- */

/* Not from within the stream: who is told asks etcd in turn. */
static int on_tell(sd_event_source *source, void *userdata) {
        EtcdStore *e = userdata;
        PlanStore *s = e->store;
        bool all = e->missed;

        (void)source;
        e->missed = false;
        if (all)
                s->events->freed(s->userdata, NULL);
        for (PlanLock *l = s->waiting; l && !all; l = l->next)
                if (l->again && l->try_fd < 0) {
                        l->again = false;
                        s->events->freed(s->userdata, l);
                }
        s->events->asked(s->userdata);
        s->events->pump(s->userdata);
        return 0;
}

static void on_news(void *userdata, const char *key) {
        EtcdStore *e = userdata;
        char locks[ETCD_KEY_MAX];
        size_t n;

        etcd_store_key(e, locks, "locks/");
        n = strlen(locks);
        e->missed |= !key;
        if (key && strncmp(key, locks, n) == 0)
                for (PlanLock *l = e->store->waiting; l; l = l->next)
                        l->again |= l->try_fd < 0 && strcmp(l->pod, key + n) == 0;
        if (sd_event_source_set_enabled(e->tell, SD_EVENT_ONESHOT) < 0)
                (void)sd_event_exit(e->store->event, -EIO);
}

static int keep_later(EtcdStore *e) {
        int r = sd_event_source_set_time(e->keep,
                                         clock_us() + e->config->ttl_s * UINT64_C(1000000) / 3);

        return r < 0 ? r : sd_event_source_set_enabled(e->keep, SD_EVENT_ONESHOT);
}

/* An etcd that is not reached is noticed by whoever writes next. */
static int on_keep(sd_event_source *source, uint64_t usec, void *userdata) {
        EtcdStore *e = userdata;
        PlanStore *s = e->store;
        Error why = ERROR_INIT;
        int r;

        (void)source, (void)usec;
        r = etcd_keep_alive(e->etcd, e->lease, &why);
        if (r == -ENOENT)
                r = etcd_own(e, true, &why);
        if (r == -EBUSY) {
                s->events->gone(s->userdata, r, &why);
                s->events->pump(s->userdata);
                return 0;
        }
        return keep_later(e);
}

int etcd_store_watch(PlanStore *s, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        char locks[ETCD_KEY_MAX], cancel[ETCD_KEY_MAX];
        int r;

        r = sd_event_add_defer(s->event, &e->tell, on_tell, e);
        if (r >= 0)
                r = sd_event_source_set_enabled(e->tell, SD_EVENT_OFF);
        if (r >= 0 && e->owner[0])
                r = sd_event_add_time(s->event, &e->keep, CLOCK_MONOTONIC, UINT64_MAX, 100000,
                                      on_keep, e);
        if (r >= 0 && e->owner[0])
                r = keep_later(e);
        if (r < 0)
                return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        if (!e->owner[0]) /* it never waits */
                return 0;
        etcd_store_key(e, locks, "locks/");
        etcd_store_key(e, cancel, "cancel/%s/", s->name);
        return etcd_watch_new(e->etcd, s->event, locks, cancel, on_news, e, &e->watch, reterr);
}

void etcd_store_unwatch(PlanStore *s) {
        EtcdStore *e = etcd_store(s);

        e->watch = etcd_watch_free(e->watch);
        e->keep = sd_event_source_disable_unref(e->keep);
        e->tell = sd_event_source_disable_unref(e->tell);
}
