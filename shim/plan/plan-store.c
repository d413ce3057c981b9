/* SPDX-License-Identifier: Apache-2.0 */
/* What both stores of plans have in common. */
#include "shim/plan/plan-store.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <systemd/sd-id128.h>
#include <time.h>

#include "shim/ctl/json.h"

/* -- journals -- */

static int stamp(PlanJournal *j, json_object *record) {
        struct timespec t = {};

        if (json_add(record, "n", json_object_new_uint64(j->next)) < 0)
                return -ENOMEM;
        if (json_get(record, "at")) /* once more, byte for byte */
                return 0;
        (void)clock_gettime(CLOCK_REALTIME, &t);
        return json_add(record, "at",
                        json_object_new_int64(t.tv_sec * 1000LL + t.tv_nsec / 1000000));
}

int plan_journal_append(PlanJournal *j, json_object *record, Error *reterr) {
        _cleanup_json_ json_object *o = record;
        _cleanup_buf_ Buf b = {};
        int r;

        if (!o || stamp(j, o) < 0 || plan_record_encode(o, &b) < 0)
                return error_oom(reterr);
        r = j->ops->append(j, j->next, &b, reterr);
        if (r == 0)
                j->next++;
        return r;
}

PlanJournal *plan_journal_free(PlanJournal *j) {
        return j ? j->ops->free(j) : NULL;
}

/* -- stores -- */

int plan_store_open(const char *state_dir, const PlansConfig *config, const char *name,
                    PlanStore *ret, Error *reterr) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        char plans[4096];
        int r;

        if ((size_t)snprintf(plans, sizeof(plans), "%s/plans", state_dir) >= sizeof(plans))
                return error_setf(reterr, -ENAMETOOLONG, "%s: the path is too long", state_dir);
        s.ops = &plan_store_files;
        s.name = strdup(name);
        if (!s.name)
                return error_oom(reterr);
        r = files_open_directory(plans, &s.plans_fd, reterr);
        if (r == 0)
                r = files_sub_directory(s.plans_fd, ".locks", 0700, &s.locks_fd, reterr);
        if (r == 0 && !config)
                r = files_sub_directory(s.plans_fd, name, 0700, &s.dir_fd, reterr);
        if (r < 0)
                return r;
        if (asprintf(&s.path, "%s/%s", plans, name) < 0) {
                s.path = NULL;
                return error_oom(reterr);
        }
        if (config && (r = plan_store_etcd_open(&s, config, reterr)) < 0)
                return r;
        *ret = s;
        s = PLAN_STORE_INIT;
        return 0;
}

void plan_store_done(PlanStore *s) {
        if (s->impl)
                s->ops->done(s);
        s->plans_fd = close_fd(s->plans_fd);
        s->locks_fd = close_fd(s->locks_fd);
        s->dir_fd = close_fd(s->dir_fd);
        free(s->path);
        free(s->name);
        s->path = s->name = NULL;
        s->impl = NULL;
}

bool plan_store_is_shared(const PlanStore *s) {
        return s->ops != &plan_store_files;
}

const char *plan_store_node(void) {
        static char node[sizeof(((PlanRun *)NULL)->node)];
        struct utsname name;
        char id[SD_ID128_STRING_MAX] = "";
        sd_id128_t machine;

        if (node[0])
                return node;
        if (sd_id128_get_machine(&machine) >= 0) /* containers share names, and copies share ids */
                (void)sd_id128_to_string(machine, id);
        if (uname(&name) < 0)
                name.nodename[0] = '\0';
        (void)snprintf(node, sizeof(node), "%.64s %s", name.nodename, id);
        return node;
}

int plan_store_list(PlanStore *s, unsigned **ret, size_t *ret_n, Error *reterr) {
        return s->ops->list(s, ret, ret_n, reterr);
}

int plan_store_read(PlanStore *s, unsigned number, PlanRun *ret, Error *reterr) {
        int r = s->ops->read(s, number, ret, reterr);

        if (r < 0)
                plan_run_done(ret);
        return r;
}

int plan_store_last(PlanStore *s, PlanRun *ret, Error *reterr) {
        _cleanup_free_ unsigned *list = NULL;
        size_t n;
        int r = plan_store_list(s, &list, &n, reterr);

        /* A run whose first record was torn off has done nothing: the one before it is the last. */
        while (r == 0 && n > 0) {
                r = plan_store_read(s, list[--n], ret, reterr);
                if (r < 0 || ret->number > 0 || ret->busy)
                        return r;
                plan_run_done(ret);
        }
        return r;
}

int plan_store_open_run(PlanStore *s, unsigned number, json_object *begin, PlanRun *ret,
                        PlanJournal **ret_journal, Error *reterr) {
        int r = s->ops->open_run(s, number, begin, ret, ret_journal, reterr);

        /* What the plan calls "here" is the machine that it was begun on. */
        ret->foreign = r == 0 && ret->node[0] && strcmp(ret->node, plan_store_node()) != 0;
        return r;
}

int plan_store_ask_cancel(PlanStore *s, const char *pod, Error *reterr) {
        return s->ops->ask_cancel(s, pod, reterr);
}

int plan_store_take_cancel(PlanStore *s, char ret[], size_t size, Error *reterr) {
        return s->ops->take_cancel(s, ret, size, reterr);
}

int plan_store_archive(PlanStore *s, char **ret_path, Error *reterr) {
        return s->ops->archive(s, ret_path, reterr);
}

int plan_store_keep_file(PlanStore *s, const char *text, Error *reterr) {
        int r = 0;

        if (s->dir_fd < 0)
                r = files_sub_directory(s->plans_fd, s->name, 0700, &s->dir_fd, reterr);
        return r < 0 ? r : files_write(s->dir_fd, "plan.json", text, strlen(text), reterr);
}

int plan_store_watch(PlanStore *s, sd_event *event, const PlanStoreEvents *events, void *userdata,
                     Error *reterr) {
        int r;

        s->event = event;
        s->events = events;
        s->userdata = userdata;
        r = plan_local_watch(s, !plan_store_is_shared(s), reterr);
        if (r == 0)
                r = s->ops->watch(s, reterr);
        if (r < 0)
                plan_store_unwatch(s);
        return r;
}

void plan_store_unwatch(PlanStore *s) {
        if (!s->events)
                return;
        s->ops->unwatch(s);
        plan_local_unwatch(s);
        s->events = NULL;
        s->event = NULL;
}

/* -- locks: that of this machine first -- */

int plan_store_lock(PlanStore *s, PlanLock *l, const char *pod, Error *reterr) {
        int r = 0;

        (void)snprintf(l->pod, sizeof(l->pod), "%s", pod);
        l->holder[0] = '\0';
        if (l->file.fd < 0)
                r = plan_local_lock(s, l, reterr);
        if (r == 0 && !l->shared)
                r = s->ops->lock(s, l, reterr);
        return r;
}

int plan_store_unlock(PlanStore *s, PlanLock *l, bool keep, Error *reterr) {
        int r = 0;

        if (l->shared && !keep)
                r = s->ops->unlock(s, l, reterr);
        if (r < 0)
                return r;
        l->shared = false;
        plan_local_unlock(s, l);
        return 0;
}
