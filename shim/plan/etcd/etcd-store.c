/* SPDX-License-Identifier: Apache-2.0 */
/* A plan's runs in etcd. */
#include "shim/plan/etcd/etcd-store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "shim/ctl/json.h"

#define RUNS_MAX 100000U

/* -- keys -- */

void etcd_store_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], const char *fmt, ...) {
        int n = snprintf(ret, ETCD_KEY_MAX, "%s/", e->config->prefix);
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(ret + n, ETCD_KEY_MAX - (size_t)n, fmt, ap); /* all names have limits */
        va_end(ap);
}

void etcd_store_plan_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], const char *what) {
        etcd_store_key(e, ret, "plans/%s/%s", e->store->name, what);
}

void etcd_store_record_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], unsigned run,
                           uint64_t n) {
        etcd_store_key(e, ret, "plans/%s/run/%06u/%08" PRIu64, e->store->name, run, n);
}

/* -- runs -- */

typedef struct List {
        unsigned *numbers;
        size_t n;
} List;

static int take_number(void *userdata, const char *name, const Buf *value, Error *reterr) {
        List *l = userdata;
        unsigned number, *more;
        int used = 0;

        (void)value;
        if (sscanf(name, "%6u%n", &number, &used) != 1 || name[used] || number == 0 ||
            l->n >= RUNS_MAX)
                return error_setf(reterr, -EBADMSG, "\"%.20s\" is the number of no run", name);
        more = reallocarray(l->numbers, l->n + 1, sizeof(*l->numbers));
        if (!more)
                return error_oom(reterr);
        l->numbers = more;
        l->numbers[l->n++] = number;
        return 0;
}

static int list_runs(PlanStore *s, unsigned **ret, size_t *ret_n, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        char key[ETCD_KEY_MAX];
        List l = {};
        int r;

        etcd_store_plan_key(e, key, "index/");
        r = etcd_each(e->etcd, key, true, take_number, &l, reterr);
        if (r < 0) {
                free(l.numbers);
                return r;
        }
        *ret = l.numbers;
        *ret_n = l.n;
        return 0;
}

/* *ret_next: how many records there are. */
static int read_records(EtcdStore *e, unsigned number, PlanRun *ret, uint64_t *ret_next,
                        Error *reterr) {
        _cleanup_buf_ Buf b = {};
        char name[32];
        size_t end;
        bool torn;
        int r;

        r = etcd_journal_read(e, number, &b, reterr);
        if (r < 0)
                return r;
        (void)snprintf(name, sizeof(name), "run %u", number);
        r = plan_record_walk(name, &b, plan_run_take, ret, &end, &torn, ret_next, reterr);
        if (r == 0 && torn) /* nothing tears here */
                r = error_setf(reterr, -EBADMSG, "%s: record %" PRIu64 " is damaged", name,
                               *ret_next);
        return r < 0 ? error_prefix(reterr, r, "etcd %s: plan %s", etcd_endpoint(e->etcd),
                                    e->store->name)
                     : 0;
}

static int read_run(PlanStore *s, unsigned number, PlanRun *ret, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        _cleanup_value_ EtcdValue owner = {};
        char key[ETCD_KEY_MAX];
        uint64_t next;
        int r;

        etcd_store_plan_key(e, key, "owner");
        r = etcd_get(e->etcd, key, &owner, reterr);
        if (r == 0)
                r = read_records(e, number, ret, &next, reterr);
        if (r < 0)
                return r;
        ret->busy = owner.there && !ret->finished;
        if (ret->busy)
                etcd_owner_describe(&owner, ret->driver, sizeof(ret->driver));
        return 0;
}

static void make_prune(EtcdStore *e, EtcdTxn *t, const void *number) {
        char key[ETCD_KEY_MAX], what[32];

        (void)snprintf(what, sizeof(what), "index/%06u", *(const unsigned *)number);
        etcd_store_plan_key(e, key, what);
        etcd_delete(t, key);
        (void)snprintf(what, sizeof(what), "run/%06u/", *(const unsigned *)number);
        etcd_store_plan_key(e, key, what);
        etcd_delete_below(t, key);
}

/* What fails here is pruned by a later run. */
static void prune(PlanStore *s) {
        _cleanup_free_ unsigned *list = NULL;
        size_t n = 0;
        int r = list_runs(s, &list, &n, NULL);

        for (size_t i = 0; r >= 0 && i + PLAN_RUNS_MAX < n; i++) {
                EtcdValue owner = {};

                r = etcd_commit_owned(etcd_store(s), make_prune, &list[i], &owner, 1, NULL);
                etcd_value_done(&owner);
        }
}

static int begin_run(EtcdStore *e, json_object *begin, PlanRun *ret, PlanJournal *j,
                     Error *reterr) {
        _cleanup_json_ json_object *o = begin;
        int r;

        if (ret->number > 0) /* somebody else was faster */
                return error_setf(reterr, -EBUSY, "plan %s: another run has begun", e->store->name);
        if (!json_get(o, "node") && json_add_string(o, "node", plan_store_node()) < 0)
                return error_oom(reterr);
        r = plan_journal_append(j, json_object_get(o), reterr);
        return r < 0 ? r : plan_run_take(ret, o, reterr);
}

static int open_run(PlanStore *s, unsigned number, json_object *begin, PlanRun *ret,
                    PlanJournal **ret_journal, Error *reterr) {
        _cleanup_(plan_journal_freep) PlanJournal *j = NULL;
        _cleanup_json_ json_object *first = begin;
        EtcdStore *e = etcd_store(s);
        int r;

        r = etcd_journal_new(e, 0, &j, reterr); /* which lets go of the plan, whatever happens */
        if (r < 0)
                return r;
        e->run = number;
        r = etcd_own(e, false, reterr);
        if (r == 0)
                r = read_records(e, number, ret, &j->next, reterr);
        if (r == 0 && first)
                r = begin_run(e, TAKE(first), ret, j, reterr);
        else if (r == 0 && (ret->number == 0 || ret->finished))
                r = error_setf(reterr, -EBADFD, "plan %s: run %u is %s", s->name, number,
                               ret->finished ? "finished" : "gone");
        if (r == 0)
                r = etcd_sweep(e, ret, reterr);
        if (r < 0)
                return r;
        prune(s);
        *ret_journal = TAKE(j);
        return 0;
}

/* -- asking a run to stop -- */

static int ask_cancel(PlanStore *s, const char *pod, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        char key[ETCD_KEY_MAX];
        _cleanup_txn_ EtcdTxn t;
        int r;

        etcd_store_key(e, key, "cancel/%s/%s", s->name, pod ?: "");
        etcd_txn_init(&t);
        etcd_put(&t, key, "", 0, 0);
        r = etcd_commit(e->etcd, &t, NULL, 0, reterr);
        return r < 0 ? r : 0;
}

typedef struct Asked {
        char *pod;
        size_t size;
        bool found;
} Asked;

static int take_asked(void *userdata, const char *name, const Buf *value, Error *reterr) {
        Asked *a = userdata;

        (void)value, (void)reterr;
        if (!a->found)
                (void)snprintf(a->pod, a->size, "%s", name);
        a->found = true;
        return 0;
}

static int take_cancel(PlanStore *s, char ret[], size_t size, Error *reterr) {
        Asked a = { .pod = ret, .size = size };
        EtcdStore *e = etcd_store(s);
        char key[ETCD_KEY_MAX];
        _cleanup_txn_ EtcdTxn t;
        int r;

        etcd_txn_init(&t);
        etcd_store_key(e, key, "cancel/%s/", s->name);
        r = etcd_each(e->etcd, key, true, take_asked, &a, reterr);
        if (r < 0 || !a.found)
                return r;
        etcd_store_key(e, key, "cancel/%s/%s", s->name, ret);
        etcd_delete(&t, key);
        r = etcd_commit(e->etcd, &t, NULL, 0, reterr);
        return r < 0 ? r : 1;
}

/* -- archive: files of this machine, as the other store has them -- */

static int save_run(EtcdStore *e, int dir_fd, unsigned number, bool last, Error *reterr) {
        _cleanup_plan_run_ PlanRun run = {};
        _cleanup_buf_ Buf b = {};
        uint64_t next;
        char name[32];
        int r;

        r = read_records(e, number, &run, &next, reterr); /* damage is not put away */
        if (r == 0 && last && !run.finished)
                r = error_setf(reterr, -EBUSY, "plan %s: run %u is not finished", e->store->name,
                               number);
        if (r == 0)
                r = etcd_journal_read(e, number, &b, reterr);
        if (r < 0)
                return r;
        (void)snprintf(name, sizeof(name), "run-%06u", number);
        return files_write(dir_fd, name, b.data, b.len, reterr);
}

static void make_removal(EtcdStore *e, EtcdTxn *t, const void *userdata) {
        char key[ETCD_KEY_MAX];

        (void)userdata;
        etcd_store_plan_key(e, key, "");
        etcd_delete_below(t, key);
        etcd_store_key(e, key, "cancel/%s/", e->store->name);
        etcd_delete_below(t, key);
}

static int save_all(PlanStore *s, const char *to, Error *reterr) {
        _cleanup_close_ int archive = -EBADF, dir = -EBADF;
        _cleanup_free_ unsigned *list = NULL;
        EtcdStore *e = etcd_store(s);
        EtcdValue owner = {};
        size_t n = 0;
        int r;

        r = files_sub_directory(s->plans_fd, ".archive", 0700, &archive, reterr);
        if (r == 0)
                r = files_sub_directory(archive, to, 0700, &dir, reterr);
        if (r == 0)
                r = list_runs(s, &list, &n, reterr);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = save_run(e, dir, list[i], i + 1 == n, reterr);
        if (r == 0 && (fsync(archive) < 0 || fsync(s->plans_fd) < 0))
                r = error_setf(reterr, -errno, "%s: %m", to);
        if (r == 0) {
                r = etcd_commit_owned(e, make_removal, NULL, &owner, 1, reterr);
                etcd_value_done(&owner);
        }
        if (r < 0 && archive >= 0 && r != -EAGAIN) /* then it may be all that there is */
                (void)files_remove_tree(archive, to);
        return r < 0 ? r : 0;
}

static int archive_runs(PlanStore *s, char **ret_path, Error *reterr) {
        EtcdStore *e = etcd_store(s);
        struct timespec now = {};
        char to[128];
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)snprintf(to, sizeof(to), "%s.%lld-%09ld", s->name, (long long)now.tv_sec,
                       now.tv_nsec);
        r = etcd_own(e, false, reterr);
        if (r == 0)
                r = save_all(s, to, reterr);
        etcd_disown(e);
        if (r < 0)
                return r;
        if (asprintf(ret_path, "%.*s/.archive/%s", (int)(strrchr(s->path, '/') - s->path), s->path,
                     to) < 0) {
                *ret_path = NULL;
                return error_oom(reterr);
        }
        return 0;
}

/* -- its life -- */

static void done(PlanStore *s) {
        EtcdStore *e = s->impl;

        (void)etcd_free(e->etcd);
        free(e);
}

static const PlanStoreOps plan_store_etcd = {
        .name = "etcd",
        .done = done,
        .list = list_runs,
        .read = read_run,
        .open_run = open_run,
        .ask_cancel = ask_cancel,
        .take_cancel = take_cancel,
        .archive = archive_runs,
        .lock = etcd_lock,
        .unlock = etcd_unlock,
        .watch = etcd_store_watch,
        .unwatch = etcd_store_unwatch,
};

int plan_store_etcd_open(PlanStore *s, const PlansConfig *config, Error *reterr) {
        EtcdStore *e = calloc(1, sizeof(*e));
        unsigned char id[16];

        if (!e)
                return error_oom(reterr);
        s->ops = &plan_store_etcd;
        s->impl = e;
        s->wait_s = config->wait_s;
        e->store = s;
        e->config = config;
        if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
                return error_setf(reterr, -errno, "getrandom: %m");
        for (size_t i = 0; i < sizeof(id); i++)
                (void)snprintf(e->id + 2 * i, 3, "%02x", id[i]);
        (void)snprintf(e->mark, sizeof(e->mark), "{\"plan\":\"%s\"}", s->name);
        return etcd_new(config, &e->etcd, reterr);
}
