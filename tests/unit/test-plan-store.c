/* SPDX-License-Identifier: Apache-2.0 */
/* What a store of plans promises, of files and of etcd alike; then what only one that machines
 * share can meet: a lease that ends, answers that are lost, late, or nonsense. etcd is a stand-in
 * (tests/fakes/etcd.py), or the real one at $PODFERRY_TEST_ETCD. */
/* rows: B11 F12 F65 F77 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd-store.h"
#include "tests/unit/etcd-rig.h"

/* -- two machines, and an etcd -- */

static char directory[64], machine[2][80];
static char endpoint[64], dead[] = "http://127.0.0.1:1";
static char prefix[64];
static PlansConfig shared = { .endpoints = { dead, endpoint },
                              .n_endpoints = 2, /* and the first one is never there */
                              .prefix = prefix,
                              .ttl_s = 20,
                              .wait_s = 1 };
static bool real;

static int begin_all(void **state) {
        const char *at = getenv("PODFERRY_TEST_ETCD");

        (void)state;
        (void)snprintf(directory, sizeof(directory), "%s/store-XXXXXX",
                       getenv("TMPDIR") ?: "/var/tmp");
        if (!mkdtemp(directory))
                return -1;
        for (size_t i = 0; i < 2; i++)
                (void)snprintf(machine[i], sizeof(machine[i]), "%s/%zu", directory, i + 1);
        real = at && *at;
        (void)snprintf(prefix, sizeof(prefix), "/test/%s", strrchr(directory, '/') + 1);
        if (real)
                (void)snprintf(endpoint, sizeof(endpoint), "%s", at);
        else
                fake_etcd_start(endpoint);
        return 0;
}

static int end_all(void **state) {
        (void)state;
        fake_etcd_end();
        return files_remove_tree(AT_FDCWD, directory);
}

/* As if all leases of drivers had run out. */
static void expire(const PlanStore *s) {
        if (real)
                assert_int_equal(etcd_revoke(((EtcdStore *)s->impl)->etcd,
                                             ((EtcdStore *)s->impl)->lease, NULL),
                                 0);
        else
                fake_etcd("{\"expire\": true}");
}

static const PlansConfig *kind; /* of the tests of the contract: NULL: files */

/* at: the machine; files have one only. */
static void open_store(PlanStore *s, unsigned at, const char *name) {
        Error e = ERROR_INIT;

        if (plan_store_open(machine[kind ? at : 0], kind, name, s, &e) < 0)
                fail_msg("%s", e.text);
}

/* -- a plan -- */

#define TWO                                                                                        \
        "{\"name\": \"n\", \"hosts\": {\"a\": {\"here\": true, \"at\": \"ssh://a\"}, \"b\": "      \
        "\"ssh://b\"}, \"defaults\": {\"from\": \"a\", \"to\": \"b\"}, \"pods\": [{\"pod\": "      \
        "\"x\"}, {\"pod\": \"y\"}]}"

static json_object *first_record(unsigned number) {
        PlanRun last = { .number = number - 1 };
        _cleanup_plan_ Plan p = {};
        unsigned left;

        assert_int_equal(plan_parse("plan", TWO, strlen(TWO), &p, NULL), 0);
        return plan_run_begin(&p, &last, false, &left);
}

static PlanJournal *begin_run(PlanStore *s, PlanRun *run, unsigned number) {
        PlanJournal *j = NULL;
        Error e = ERROR_INIT;

        if (plan_store_open_run(s, number, first_record(number), run, &j, &e) < 0)
                fail_msg("%s", e.text);
        return j;
}

static PlanJournal *resume_run(PlanStore *s, PlanRun *run, unsigned number) {
        PlanJournal *j = NULL;
        Error e = ERROR_INIT;

        if (plan_store_open_run(s, number, NULL, run, &j, &e) < 0)
                fail_msg("%s", e.text);
        return j;
}

static json_object *record_of(PlanRun *run, size_t entry, const char *event) {
        PlanEntry *e = &run->engine.entries[entry];
        int state = fsm_state_from_name(&plan_entry_fsm, event);
        json_object *o;

        if (state >= 0) {
                e->fsm.state = state;
                e->host = state == PLAN_MOVED ? e->to[0] : e->from;
                return plan_run_outcome(run, entry);
        }
        o = plan_run_event("move", e);
        assert_int_equal(json_add_string(o, "to", run->plan.hosts[e->to[0]].name), 0);
        return o;
}

static int append(PlanJournal *j, PlanRun *run, size_t entry, const char *event, Error *e) {
        return plan_journal_append(j, record_of(run, entry, event), e);
}

/* -- the contract -- */

static void test_runs(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, last = {}, other = {}, again = {};
        PlanJournal *j, *second = NULL;
        Error e = ERROR_INIT;

        (void)state;
        open_store(&s, 0, "runs");
        open_store(&t, 1, "runs");
        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_int_equal(last.number, 0);
        j = begin_run(&s, &run, 1);
        assert_int_equal(append(j, &run, 0, "move", NULL), 0);
        assert_int_equal(append(j, &run, 1, "move", NULL), 0);
        assert_int_equal(append(j, &run, 1, "moved", NULL), 0);

        /* a second driver of the same plan is refused, and the first one goes on */
        assert_int_equal(plan_store_open_run(&t, 1, NULL, &other, &second, &e), -EBUSY);
        if (kind && (!strstr(e.text, "pid ") || !strstr(e.text, "plan runs: podferry")))
                fail_msg("%s", e.text);
        assert_int_equal(plan_store_last(&t, &last, NULL), 0);
        assert_true(last.busy);
        plan_run_done(&last);
        assert_int_equal(append(j, &run, 0, "failed", NULL), 0);
        assert_null(plan_journal_free(j));

        assert_int_equal(plan_store_last(&t, &last, NULL), 0);
        assert_false(last.busy || last.finished || last.torn);
        assert_int_equal(last.engine.entries[0].fsm.state, PLAN_FAILED);
        assert_int_equal(last.engine.entries[1].fsm.state, PLAN_MOVED);
        plan_run_done(&other);
        j = resume_run(&t, &again, 1);
        assert_int_equal(append(j, &again, 0, "move", NULL), 0); /* the numbers go on */
        assert_int_equal(plan_journal_append(j, plan_run_event("end", NULL), NULL), 0);
        assert_null(plan_journal_free(j));
        plan_run_done(&last);
        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_true(last.finished);
        plan_run_done(&again);
        assert_int_equal(plan_store_open_run(&s, 1, first_record(1), &again, &second, NULL),
                         -EBUSY); /* somebody else was faster */
}

static void test_cancel_requests(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        char pod[96];

        (void)state;
        open_store(&s, 0, "cancel");
        open_store(&t, 1, "cancel");
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 0);
        assert_int_equal(plan_store_ask_cancel(&t, "web.1", NULL), 0);
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 1);
        assert_string_equal(pod, "web.1");
        assert_int_equal(plan_store_ask_cancel(&t, NULL, NULL), 0);
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 1);
        assert_string_equal(pod, "");
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 0);
}

static void test_history_and_archive(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_free_ unsigned *list = NULL, *none = NULL;
        _cleanup_free_ char *archived = NULL;
        char path[200];
        struct stat st;
        size_t n;

        (void)state;
        open_store(&s, 0, "many");
        for (unsigned i = 1; i <= PLAN_RUNS_MAX + 3; i++) {
                _cleanup_plan_run_ PlanRun run = {};
                PlanJournal *j = begin_run(&s, &run, i);

                assert_int_equal(plan_journal_append(j, plan_run_event("end", NULL), NULL), 0);
                (void)plan_journal_free(j);
        }
        assert_int_equal(plan_store_list(&s, &list, &n, NULL), 0);
        assert_int_equal(n, PLAN_RUNS_MAX);
        assert_int_equal(list[0], 4);
        assert_int_equal(list[n - 1], PLAN_RUNS_MAX + 3);
        assert_int_equal(plan_store_archive(&s, &archived, NULL), 0);
        (void)snprintf(path, sizeof(path), "%s/run-%06u", archived, PLAN_RUNS_MAX + 3);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size > 100);
        plan_store_done(&s);
        s = PLAN_STORE_INIT;
        open_store(&s, 0, "many");
        assert_int_equal(plan_store_list(&s, &none, &n, NULL), 0);
        assert_int_equal(n, 0);
}

/* -- locks, in a loop -- */

typedef struct Driver {
        PlanStore *store;
        PlanLock lock;
        sd_event *event;
        unsigned tries, asked;
        bool done;
} Driver;

static void on_freed(void *userdata, PlanLock *l) {
        Driver *d = userdata;

        assert_true(!l || l == &d->lock);
        d->tries++;
}

static void on_asked(void *userdata) {
        ((Driver *)userdata)->asked++;
}

static void on_gone(void *userdata, int r, const Error *e) {
        (void)userdata;
        fail_msg("%s", error_text(e, r));
}

/* Until it has the lock, or somebody asked it to cancel, as its name says. */
static void on_pump(void *userdata) {
        Driver *d = userdata;
        char pod[96];

        if (d->lock.file.fd < 0 && d->tries > 0 &&
            plan_store_lock(d->store, &d->lock, "p", NULL) == 0)
                (void)sd_event_exit(d->event, 1);
        else if (d->asked > 0 && plan_store_take_cancel(d->store, pod, sizeof(pod), NULL) == 1)
                (void)sd_event_exit(d->event, 2);
}

static const PlanStoreEvents events = {
        .freed = on_freed, .asked = on_asked, .gone = on_gone, .pump = on_pump
};

static int on_late(sd_event_source *s, uint64_t usec, void *userdata) {
        (void)s, (void)usec, (void)userdata;
        fail_msg("nothing was told in time");
        return 0;
}

typedef void (*Step)(void *userdata);
typedef struct Soon {
        Step step;
        void *userdata;
} Soon;

static int on_soon(sd_event_source *s, uint64_t usec, void *userdata) {
        (void)s, (void)usec;
        ((Soon *)userdata)->step(((Soon *)userdata)->userdata);
        return 0;
}

/* Runs a driver's loop with something that happens a moment after it begins. */
static int loop_with(Driver *d, Step step, void *userdata) {
        Soon soon = { step, userdata };
        sd_event_source *a = NULL, *b = NULL;
        int r;

        assert_true(sd_event_add_time_relative(d->event, &a, CLOCK_MONOTONIC, 300000, 0, on_soon,
                                               &soon) >= 0);
        assert_true(sd_event_add_time_relative(d->event, &b, CLOCK_MONOTONIC, 15000000, 0, on_late,
                                               NULL) >= 0);
        r = sd_event_loop(d->event);
        (void)sd_event_source_unref(a);
        (void)sd_event_source_unref(b);
        return r;
}

static void start_driver(Driver *d, PlanStore *s) {
        *d = (Driver){ .store = s, .lock = PLAN_LOCK_INIT };
        assert_true(sd_event_new(&d->event) >= 0);
        assert_int_equal(plan_store_watch(s, d->event, &events, d, NULL), 0);
}

static void end_driver(Driver *d) {
        assert_int_equal(plan_store_unlock(d->store, &d->lock, false, NULL), 0);
        plan_store_unwatch(d->store);
        d->event = sd_event_unref(d->event);
}

static void let_go(void *userdata) {
        Driver *d = userdata;

        assert_int_equal(plan_store_unlock(d->store, &d->lock, false, NULL), 0);
}

static void ask(void *userdata) {
        assert_int_equal(plan_store_ask_cancel(userdata, "p", NULL), 0);
}

/* Two plans, on two machines where there is etcd, and one pod. */
static void test_locks(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun one = {}, two = {};
        PlanLock first = PLAN_LOCK_INIT;
        PlanJournal *i, *j;
        Driver d;

        (void)state;
        open_store(&s, 0, "one");
        open_store(&t, 1, "two");
        i = begin_run(&s, &one, 1);
        j = begin_run(&t, &two, 1);
        start_driver(&d, &t);
        assert_int_equal(plan_store_lock(&s, &first, "p", NULL), 0);
        assert_int_equal(plan_store_lock(&s, &first, "p", NULL), 0);
        assert_int_equal(plan_store_lock(&t, &d.lock, "p", NULL), 1);
        if (kind)
                assert_non_null(strstr(d.lock.holder, "plan one (podferry"));
        assert_int_equal(loop_with(&d, let_go, &(Driver){ .store = &s, .lock = first }), 1);
        assert_true(d.lock.file.fd >= 0);
        end_driver(&d);
        start_driver(&d, &t);
        assert_int_equal(plan_store_lock(&t, &d.lock, "p", NULL), 0);
        assert_int_equal(loop_with(&d, ask, &t), 2);
        end_driver(&d);
        assert_null(plan_journal_free(i));
        assert_null(plan_journal_free(j));
}

/* -- etcd alone: who may write -- */

static void break_and_let_go(void *userdata) {
        fake_etcd("{\"break\": true}");
        let_go(userdata); /* while nobody listens */
}

static void test_watch_breaks(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun one = {}, two = {};
        Driver first = { .store = &s, .lock = PLAN_LOCK_INIT }, d;
        PlanJournal *i, *j;

        (void)state;
        if (real)
                skip();
        open_store(&s, 0, "broken");
        open_store(&t, 1, "breaks");
        i = begin_run(&s, &one, 1);
        j = begin_run(&t, &two, 1);
        start_driver(&d, &t);
        assert_int_equal(plan_store_lock(&s, &first.lock, "p", NULL), 0);
        assert_int_equal(plan_store_lock(&t, &d.lock, "p", NULL), 1);
        assert_int_equal(loop_with(&d, break_and_let_go, &first), 1);
        end_driver(&d);
        assert_null(plan_journal_free(i));
        assert_null(plan_journal_free(j));
}

/* A lock stays with the plan while a move may run, and the next driver of it has it. */
static void test_lock_outlives_its_driver(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT,
                                             next = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun one = {}, two = {}, again = {};
        PlanLock a = PLAN_LOCK_INIT, b = PLAN_LOCK_INIT, c = PLAN_LOCK_INIT;
        PlanJournal *i, *j;

        (void)state;
        open_store(&s, 0, "dies");
        open_store(&t, 1, "waits");
        i = begin_run(&s, &one, 1);
        assert_int_equal(append(i, &one, 0, "move", NULL), 0);
        assert_int_equal(plan_store_lock(&s, &a, "x", NULL), 0);
        j = begin_run(&t, &two, 1);
        assert_int_equal(plan_store_unlock(&s, &a, true, NULL), 0); /* "keep" */
        assert_null(plan_journal_free(i));
        assert_int_equal(plan_store_lock(&t, &b, "x", NULL), 1);
        assert_non_null(strstr(b.holder, "plan dies (which nobody drives now)"));

        open_store(&next, 1, "dies"); /* on the other machine */
        i = resume_run(&next, &again, 1);
        assert_true(again.engine.entries[0].doubt);
        assert_int_equal(plan_store_lock(&next, &c, "x", NULL), 0);
        assert_int_equal(plan_store_unlock(&next, &c, false, NULL), 0);
        assert_int_equal(plan_store_lock(&t, &b, "x", NULL), 0);
        assert_int_equal(plan_store_unlock(&t, &b, false, NULL), 0);
        assert_null(plan_journal_free(i));
        assert_null(plan_journal_free(j));
}

/* Killed between the last record of a pod and its lock. */
static void test_swept(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun one = {}, again = {}, two = {};
        PlanLock x = PLAN_LOCK_INIT, y = PLAN_LOCK_INIT;
        PlanJournal *j;

        (void)state;
        open_store(&s, 0, "swept");
        j = begin_run(&s, &one, 1);
        assert_int_equal(append(j, &one, 0, "move", NULL), 0);
        assert_int_equal(plan_store_lock(&s, &x, "x", NULL), 0);
        assert_int_equal(plan_store_lock(&s, &y, "y", NULL), 0);
        assert_int_equal(append(j, &one, 1, "moved", NULL), 0);
        assert_int_equal(plan_store_unlock(&s, &x, true, NULL), 0);
        assert_int_equal(plan_store_unlock(&s, &y, true, NULL), 0);
        assert_null(plan_journal_free(j));
        j = resume_run(&s, &again, 1);
        assert_null(plan_journal_free(j));
        open_store(&t, 1, "sweeper");
        j = begin_run(&t, &two, 1);
        assert_int_equal(plan_store_lock(&t, &x, "x", NULL), 1); /* in doubt still */
        assert_int_equal(plan_store_lock(&t, &y, "y", NULL), 0);
        assert_int_equal(plan_store_unlock(&t, &x, false, NULL), 0);
        assert_int_equal(plan_store_unlock(&t, &y, false, NULL), 0);
        assert_null(plan_journal_free(j));
}

static uint64_t records_of(const char *name, unsigned run) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_buf_ Buf b = {};
        uint64_t n = 0;

        open_store(&s, 0, name);
        assert_int_equal(etcd_journal_read(etcd_store(&s), run, &b, NULL), 0);
        for (size_t i = 0; i < b.len; i++)
                n += b.data[i] == '\n';
        return n;
}

/* One whose lease has ended, and that does not know it yet, while another one has come. */
static void test_fenced(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun old = {}, new = {};
        PlanLock x = PLAN_LOCK_INIT, y = PLAN_LOCK_INIT;
        PlanJournal *i, *j;
        Error e = ERROR_INIT;

        (void)state;
        open_store(&s, 0, "fenced");
        open_store(&t, 1, "fenced");
        i = begin_run(&s, &old, 1);
        assert_int_equal(plan_store_lock(&s, &x, "fx", NULL), 0);
        expire(&s);
        j = resume_run(&t, &new, 1);
        assert_int_equal(append(i, &old, 0, "move", &e), -EBUSY);
        assert_non_null(strstr(e.text, "runs it"));
        assert_int_equal(plan_store_lock(&s, &y, "fy", NULL), -EBUSY);
        assert_int_equal(plan_store_unlock(&s, &x, false, NULL), -EBUSY);
        assert_int_equal(records_of("fenced", 1), 1);
        assert_int_equal(append(j, &new, 0, "move", NULL), 0);

        /* and after the new one has gone, too */
        assert_null(plan_journal_free(j));
        assert_int_equal(append(i, &old, 1, "move", &e), -EBUSY);
        assert_non_null(strstr(e.text, "another podferry ran it since"));
        assert_int_equal(records_of("fenced", 1), 2);
        (void)plan_store_unlock(&s, &x, true, NULL);
        assert_null(plan_journal_free(i));
}

/* Nobody came: it takes the plan again, and others are kept out as before. */
static void test_lease_ends_alone(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT, t = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, other = {};
        PlanJournal *j, *second = NULL;

        (void)state;
        open_store(&s, 0, "alone");
        open_store(&t, 1, "alone");
        j = begin_run(&s, &run, 1);
        expire(&s);
        assert_int_equal(append(j, &run, 0, "move", NULL), 0);
        assert_int_equal(plan_store_open_run(&t, 1, NULL, &other, &second, NULL), -EBUSY);
        assert_int_equal(records_of("alone", 1), 2);
        assert_null(plan_journal_free(j));
}

/* It was done, and we were not told: the same again is right, and there once. libcurl tries once
 * more by itself when a connection that it had kept ends. */
static void test_answer_is_lost(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, last = {};
        PlanLock l = PLAN_LOCK_INIT;
        json_object *o;
        PlanJournal *j;

        (void)state;
        if (real)
                skip();
        open_store(&s, 0, "told");
        j = begin_run(&s, &run, 1);
        o = record_of(&run, 0, "move");
        fake_etcd("{\"mode\": \"done\", \"n\": 2}");
        assert_int_equal(plan_journal_append(j, json_object_get(o), NULL), -EAGAIN);
        assert_int_equal(plan_journal_append(j, json_object_get(o), NULL), 0);
        assert_int_equal(append(j, &run, 1, "move", NULL), 0);
        assert_int_equal(records_of("told", 1), 3);
        fake_etcd("{\"mode\": \"done\", \"n\": 2}");
        assert_int_equal(plan_store_lock(&s, &l, "told", NULL), -EAGAIN);
        assert_int_equal(plan_store_lock(&s, &l, "told", NULL), 0);
        fake_etcd("{\"mode\": \"done\", \"n\": 2}");
        assert_int_equal(plan_store_unlock(&s, &l, false, NULL), -EAGAIN);
        assert_true(l.shared);
        assert_int_equal(plan_store_unlock(&s, &l, false, NULL), 0);
        (void)json_object_put(o);
        assert_null(plan_journal_free(j));
        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_true(last.engine.entries[1].doubt);
}

/* "here" is the machine that the run was begun on. */
static void test_foreign(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, again = {};
        json_object *begin = first_record(1), *back;
        PlanJournal *j = NULL;
        unsigned left;

        (void)state;
        open_store(&s, 0, "foreign");
        assert_int_equal(json_add_string(begin, "node", "elsewhere 1234"), 0);
        assert_int_equal(plan_store_open_run(&s, 1, begin, &run, &j, NULL), 0);
        assert_true(run.foreign);
        assert_int_equal(append(j, &run, 0, "moved", NULL), 0);
        assert_null(plan_journal_free(j));
        assert_int_equal(plan_store_last(&s, &again, NULL), 0);
        again.engine.entries[0].begun = true;
        back = plan_run_begin(&again.plan, &again, true, &left); /* of a rollback, too */
        assert_int_equal(left, 1);
        assert_string_equal(json_get_text(back, "node"), "elsewhere 1234");
        (void)json_object_put(back);
        plan_run_done(&run);
        j = begin_run(&s, &run, 2);
        assert_false(run.foreign);
        assert_null(plan_journal_free(j));
}

/* -- etcd alone: what answers -- */

typedef struct Answer {
        const char *mode;
        int code;
        const char *says;
} Answer;
static const Answer answers[] = {
        { "garbage", -EBADMSG, "makes no sense" },
        { "other", -EBADMSG, "makes no sense" },
        { "list", -EBADMSG, "makes no sense" },
        { "base64", -EBADMSG, "makes no sense" },
        { "outside", -EBADMSG, "makes no sense" },
        { "html", -EBADMSG, "HTTP 404" },
        { "huge", -EBADMSG, "larger than" },
        { "proxy", -EAGAIN, "HTTP 502" },
        { "leader", -EAGAIN, "no leader" },
        { "late", -EAGAIN, "timed out" },
        { "compacted", -ESTALE, "has been compacted" },
        { "space", -ENOSPC, "space exceeded" },
        { "denied", -EACCES, "permission denied" },
};

static void test_answer(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        char *endpoints[2] = { shared.endpoints[0], shared.endpoints[1] };
        _cleanup_free_ unsigned *list = NULL;
        const Answer *a = *state;
        Error e = ERROR_INIT;
        size_t n;
        int r;

        if (real)
                skip();
        kind = &shared;
        shared.endpoints[0] = endpoints[1]; /* alone, so that what it says is what we see */
        shared.n_endpoints = 1;
        open_store(&s, 0, "answers");
        fake_etcd("{\"mode\": \"%s\", \"n\": 1}", a->mode);
        r = plan_store_list(&s, &list, &n, &e);
        if (r != a->code || !strstr(e.text, a->says) || !strstr(e.text, "etcd http://127.0.0.1:"))
                fail_msg("%d: %s", r, e.text);
        assert_int_equal(plan_store_list(&s, &list, &n, NULL), 0);
        shared.endpoints[0] = endpoints[0];
        shared.n_endpoints = 2;
}

/* Reading is begun anew when what it read was compacted away, and not for ever. */
static void test_compacted(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, last = {};
        PlanJournal *j;

        (void)state;
        if (real)
                skip();
        open_store(&s, 0, "compact");
        j = begin_run(&s, &run, 1);
        for (unsigned i = 0; i < 300; i++) /* pages */
                assert_int_equal(append(j, &run, 0, "move", NULL), 0);
        assert_null(plan_journal_free(j));
        assert_int_equal(records_of("compact", 1), 301);
        fake_etcd("{\"mode\": \"compacted\", \"n\": 2}");
        assert_int_equal(records_of("compact", 1), 301);
        fake_etcd("{\"mode\": \"compacted\", \"n\": 9}");
        assert_int_equal(plan_store_last(&s, &last, NULL), -ESTALE);
        fake_etcd("{\"n\": 0}");
}

static void test_nobody_there(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        PlansConfig nobody = { .endpoints = { dead }, .n_endpoints = 1, .prefix = prefix };
        _cleanup_plan_run_ PlanRun last = {};
        Error e = ERROR_INIT;

        (void)state;
        assert_int_equal(plan_store_open(machine[0], &nobody, "n", &s, NULL), 0);
        assert_int_equal(plan_store_last(&s, &last, &e), -EAGAIN);
        assert_non_null(strstr(e.text, "etcd http://127.0.0.1:1: "));
}

static int with_etcd(void **state) {
        (void)state;
        kind = &shared;
        return 0;
}

static int with_files(void **state) {
        (void)state;
        kind = NULL;
        return 0;
}

#define BOTH(f)                                                                                    \
        { "files: " #f, f, with_files, NULL, NULL }, {                                             \
                "etcd: " #f, f, with_etcd, NULL, NULL                                              \
        }
#define ETCD(f)                                                                                    \
        { "etcd: " #f, f, with_etcd, NULL, NULL }

int main(void) {
        const struct CMUnitTest fixed[] = {
                BOTH(test_runs),
                BOTH(test_cancel_requests),
                BOTH(test_history_and_archive),
                BOTH(test_locks),
                ETCD(test_lock_outlives_its_driver),
                ETCD(test_swept),
                ETCD(test_watch_breaks),
                ETCD(test_fenced),
                ETCD(test_lease_ends_alone),
                ETCD(test_answer_is_lost),
                ETCD(test_foreign),
                ETCD(test_compacted),
                ETCD(test_nobody_there),
        };
        struct CMUnitTest tests[ELEMENTSOF(fixed) + ELEMENTSOF(answers)];
        size_t n = ELEMENTSOF(fixed);

        memcpy(tests, fixed, sizeof(fixed));
        for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                tests[n++] = (struct CMUnitTest){ .name = answers[i].mode,
                                                  .test_func = test_answer,
                                                  .initial_state = (void *)(uintptr_t)&answers[i] };
        return cmocka_run_group_tests(tests, begin_all, end_all);
}
