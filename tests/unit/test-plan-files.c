/* SPDX-License-Identifier: Apache-2.0 */
/* Plan files and journals of runs: what is refused, and with which words; what a crash may leave.
 */
/* rows: F65 F75 F76 F77 F80 B11 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/plan/plan-store.h"

/* What main.c of the command line has, and no file of a plan ever calls: plans know migrate's table
 * of options, and so the linker takes migrate. */
int ctl_fail(int code, const Error *e, const char *fmt, ...) {
        fail_msg("%s: %s", fmt, error_text(e, code));
        return CTL_FAILED;
}

int ctl_usage(const Command *c, const Error *e) {
        fail_msg("%s: %s", c->name, e->text);
        return CTL_FAILED;
}

/* -- plan files -- */

#define HOSTS                                                                                      \
        "'hosts': {'a': {'here': true, 'at': 'ssh://a'}, 'b': {'at': 'ssh://b', "                  \
        "'networks': {'front': 'ns:/run/netns/f'}, 'disks': {'/srv': '/mnt', '/srv/x': '/x'}}, "   \
        "'c': 'exec:go c'}"
#define PODS(more) "{'name': 'n', " HOSTS ", 'pods': [" more "]}"
#define POD(more)  PODS("{'pod': 'web', 'from': 'a', 'to': 'b'" more "}")
#define PLAN(more) "{'name': 'n', " more ", " HOSTS ", 'pods': [{'pod':'web','from':'a','to':'b'}]}"

typedef struct Row {
        const char *name, *text, *error; /* error NULL: it is fine */
} Row;
static const Row rows[] = {
        { "file: the least", POD(""), NULL },
        { "file: all of it",
          PLAN("'limits': {'out': 2, 'in': 3, 'all': 9}, 'retries': 0, 'backoff': '1s', "
               "'warn_after': '5m', 'stop_on_error': true, 'start_at': '2030-01-02T03:04:05Z', "
               "'defaults': {'from': 'a', 'to': ['b', 'c'], 'options': {'post-copy': true}}"),
          NULL },
        { "file: options of migrate", POD(", 'options': {'max-downtime': '1s', 'connections': 4}"),
          NULL },
        { "file: maps", POD(", 'network': 'front', 'disks': ['/srv/d']"), NULL },
        { "file: a namespace by its path", POD(", 'network': 'ns:/run/netns/x'"), NULL },
        { "file: no JSON", "{'name': ", "plan: no JSON at byte " },
        { "file: not an object", "[]", "plan: an object is expected" },
        { "file: no name", "{" HOSTS ", 'pods': []}", "plan: \"name\" is missing" },
        { "file: a name that is a path", "{'name': '../x', " HOSTS ", 'pods': []}",
          "plan: name: " },
        { "file: unknown key", PLAN("'retry': 3"), "plan: there is no \"retry\"" },
        { "file: unknown key of a pod", POD(", 'prio': 3"), "plan: pods[0]: there is no \"prio\"" },
        { "file: unknown key of the defaults", PLAN("'defaults': {'pod': 'x'}"),
          "plan: defaults: there is no \"pod\"" },
        { "file: wrong type", PLAN("'stop_on_error': 1"),
          "plan: stop_on_error: true or false is expected" },
        { "file: limit 0", PLAN("'limits': {'out': 0}"),
          "plan: limits.out: a whole number from 1 to 64 is expected" },
        { "file: limit too high", PLAN("'limits': {'all': 65}"),
          "plan: limits.all: a whole number from 1 to 64" },
        { "file: retries below 0", PLAN("'retries': -1"), "plan: retries: a whole number from 0" },
        { "file: a time that is none", PLAN("'backoff': 'soon'"), "plan: backoff: \"soon\"" },
        { "file: a date that is none", PLAN("'start_at': 'tomorrow'"),
          "plan: start_at: a time like 2026" },
        { "file: no pods", PODS(""), "plan: pods: 0 pods" },
        { "file: a pod twice",
          PODS("{'pod': 'w', 'from': 'a', 'to': 'b'}, {'pod': 'w', 'from': 'b', 'to': 'a'}"),
          "plan: pods[1]: pod \"w\" is pods[0], too" },
        { "file: unknown host", PODS("{'pod': 'w', 'from': 'a', 'to': ['b', 'z']}"),
          "plan: pods[0].to[1]: there is no host \"z\"" },
        { "file: a host twice", PODS("{'pod': 'w', 'from': 'a', 'to': ['b', 'b']}"),
          "plan: pods[0].to[1]: \"b\" is there twice" },
        { "file: to where it is", PODS("{'pod': 'w', 'from': 'a', 'to': 'a'}"),
          "plan: pods[0]: it is to go from \"a\" to where it is" },
        { "file: no from", PODS("{'pod': 'w', 'to': 'a'}"), "plan: pods[0]: \"from\" is missing" },
        { "file: no to", PODS("{'pod': 'w', 'from': 'a'}"), "plan: pods[0]: \"to\" is missing" },
        { "file: a pod's name", PODS("{'pod': '../w', 'from': 'a', 'to': 'b'}"),
          "plan: pods[0].pod: " },
        { "file: a host that none reaches",
          "{'name': 'n', 'hosts': {'a': {'here': true}, 'b': 'ssh://b'}, 'pods': [{'pod': 'w', "
          "'from': 'b', 'to': 'a'}]}",
          "plan: pods[0].to: host \"a\" has no \"at\"" },
        { "file: a host without an address",
          "{'name': 'n', 'hosts': {'a': {}, 'b': 'ssh://b'}, 'pods': []}",
          "plan: hosts.a: \"at\" is missing" },
        { "file: an address that is none",
          "{'name': 'n', 'hosts': {'a': 'tcp://a', 'b': 'ssh://b'}, 'pods': []}",
          "plan: hosts.a: \"tcp://a\" is no host" },
        { "file: two hosts are here",
          "{'name': 'n', 'hosts': {'a': {'here': true}, 'b': {'here': true}}, 'pods': []}",
          "plan: hosts.b: two hosts are \"here\"" },
        { "file: a network that maps to nothing", POD(", 'network': 'back'"),
          "plan: pods[0]: network \"back\": hosts.b.networks does not have it" },
        { "file: a disk that maps to nothing", POD(", 'disks': ['/srv2/d']"),
          "plan: pods[0]: disk /srv2/d: no path of hosts.b.disks begins it" },
        { "file: cold", POD(", 'type': 'cold'"), NULL },
        { "file: cold, as an option", POD(", 'options': {'type': 'cold'}"),
          "plan: pods[0].options.type: migrate has no such option" },
        { "file: another way to move", POD(", 'type': 'tepid'"),
          "plan: pods[0].type: no pod moves \"tepid\"" },
        { "file: an option that is the plan's", POD(", 'options': {'to': 'x'}"),
          "plan: pods[0].options.to: migrate has no such option" },
        { "file: an option that is none", POD(", 'options': {'faster': true}"),
          "plan: pods[0].options.faster: migrate has no such option" },
        { "file: a switch with a value", POD(", 'options': {'post-copy': 'yes'}"),
          "plan: pods[0].options.post-copy: true or false is expected" },
};

/* ' stands for ". */
static int parse(const char *text, Plan *ret, Error *e) {
        char copy[2048];

        (void)snprintf(copy, sizeof(copy), "%s", text);
        for (char *p = copy; *p; p++)
                if (*p == '\'')
                        *p = '"';
        return plan_parse("plan", copy, strlen(copy), ret, e);
}

static void test_row(void **state) {
        const Row *row = *state;
        _cleanup_plan_ Plan p = {};
        Error e = ERROR_INIT;
        int r = parse(row->text, &p, &e);

        if (!row->error && r < 0)
                fail_msg("%s", e.text);
        if (row->error && (r >= 0 || strncmp(e.text, row->error, strlen(row->error)) != 0))
                fail_msg("%d: %s", r, e.text);
}

static void test_defaults_and_maps(void **state) {
        _cleanup_free_ char *there = NULL, *longer = NULL, *none = NULL;
        _cleanup_plan_ Plan p = {};

        (void)state;
        assert_int_equal(
                parse("{'name': 'n', 'retries': 7, " HOSTS ", 'limits': {'in': 4}, 'defaults': "
                      "{'from': 'a', 'to': ['b', 'c'], 'priority': 3, 'options': {'post-copy': true}},"
                      "'pods': [{'pod': 'x'}, {'pod': 'y', 'to': 'c', 'priority': -2, 'retries': 0, "
                      "'options': {}}]}",
                      &p, NULL),
                0);
        assert_int_equal(p.hosts[0].out, 1);
        assert_int_equal(p.hosts[2].in, 4); /* also when the limits stand behind */
        assert_int_equal(p.all, 5);
        assert_int_equal(p.backoff_ms, 20000);
        assert_int_equal(p.pods[0].n_to, 2);
        assert_int_equal(p.pods[0].priority, 3);
        assert_int_equal(p.pods[0].retries, 7);
        assert_string_equal(p.pods[0].options[0], "--post-copy");
        assert_int_equal(p.pods[1].n_to, 1);
        assert_int_equal(p.pods[1].to[0], 2);
        assert_int_equal(p.pods[1].priority, -2);
        assert_int_equal(p.pods[1].retries, 0);
        assert_null(p.pods[1].options);
        assert_int_equal(plan_map_disk(&p.hosts[1], "/srv/y/d", &there), 0);
        assert_string_equal(there, "/mnt/y/d");
        assert_int_equal(plan_map_disk(&p.hosts[1], "/srv/x/d", &longer), 0);
        assert_string_equal(longer, "/x/d");
        assert_int_equal(plan_map_disk(&p.hosts[1], "/srv/", &none), 0);
        assert_string_equal(none, "/mnt/");
        assert_string_equal(plan_map_network(&p.hosts[1], "front"), "ns:/run/netns/f");
        assert_null(plan_map_network(&p.hosts[1], "fron"));
}

/* -- journals -- */

static char directory[64];

static int make_directory(void **state) {
        (void)state;
        (void)snprintf(directory, sizeof(directory), "%s/plan-XXXXXX",
                       getenv("TMPDIR") ?: "/var/tmp");
        return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
        (void)state;
        return files_remove_tree(AT_FDCWD, directory);
}

static void open_store(PlanStore *s, const char *name) {
        assert_int_equal(plan_store_open(directory, NULL, name, s, NULL), 0);
}

#define TWO                                                                                        \
        "{'name': 'n', " HOSTS ", 'defaults': {'from': 'a', 'to': ['b', 'c']}, 'pods': "           \
        "[{'pod': 'x'}, {'pod': 'y'}]}"

static PlanJournal *begin_run(PlanStore *s, PlanRun *run, unsigned number) {
        _cleanup_plan_ Plan p = {};
        PlanJournal *j = NULL;
        PlanRun last = { .number = number - 1 };
        unsigned left;

        assert_int_equal(parse(TWO, &p, NULL), 0);
        assert_int_equal(plan_store_open_run(s, number, plan_run_begin(&p, &last, false, &left),
                                             run, &j, NULL),
                         0);
        assert_int_equal(left, 2);
        return j;
}

static void append(PlanJournal *j, PlanRun *run, size_t entry, const char *event) {
        PlanEntry *e = &run->engine.entries[entry];
        int state = fsm_state_from_name(&plan_entry_fsm, event);
        json_object *o;

        if (strcmp(event, "move") == 0) {
                o = plan_run_event("move", e);
                assert_int_equal(json_add_string(o, "to", run->plan.hosts[e->to[1]].name), 0);
        } else {
                e->candidate = 1;
                e->fsm.state = state < 0 ? PLAN_CHECKING : state;
                e->host = state == PLAN_MOVED ? e->to[1] : e->from;
                o = plan_run_outcome(run, entry);
        }
        assert_int_equal(plan_journal_append(j, o, NULL), 0);
}

static void test_runs(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, last = {}, next = {};
        PlanJournal *j, *second = NULL;
        json_object *begin;
        unsigned left;

        (void)state;
        open_store(&s, "runs");
        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_int_equal(last.number, 0);
        j = begin_run(&s, &run, 1);
        append(j, &run, 0, "move");
        append(j, &run, 1, "move");
        append(j, &run, 1, "moved");
        assert_int_equal(plan_store_open_run(&s, 1, NULL, &next, &second, NULL), -EBUSY);
        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_true(last.busy);
        j = plan_journal_free(j);
        plan_run_done(&last);

        assert_int_equal(plan_store_last(&s, &last, NULL), 0);
        assert_false(last.busy);
        assert_false(last.finished);
        assert_true(last.engine.entries[0].doubt); /* what was begun is in doubt */
        assert_int_equal(last.engine.entries[0].candidate, 1);
        assert_int_equal(last.engine.entries[0].todo, PLAN_CHECK);
        assert_false(last.engine.entries[1].doubt);
        assert_int_equal(last.engine.entries[1].fsm.state, PLAN_MOVED);

        /* the next run leaves what has moved alone; a rollback takes that alone */
        begin = plan_run_begin(&last.plan, &last, false, &left);
        assert_int_equal(left, 1);
        assert_int_equal(plan_run_take(&next, begin, NULL), 0);
        assert_int_equal(next.number, 2);
        assert_int_equal(next.engine.entries[1].fsm.state, PLAN_MOVED);
        assert_true(next.carried[1]);
        (void)json_object_put(begin);
        plan_run_done(&next);
        begin = plan_run_begin(&last.plan, &last, true, &left);
        assert_int_equal(left, 1);
        assert_int_equal(plan_run_take(&next, begin, NULL), 0);
        assert_int_equal(next.engine.n_entries, 1);
        assert_string_equal(next.engine.entries[0].pod->pod, "y");
        assert_string_equal(next.plan.hosts[next.engine.entries[0].from].name, "c");
        assert_string_equal(next.plan.hosts[next.engine.entries[0].to[0]].name, "a");
        (void)json_object_put(begin);
}

/* Cut at each byte: what is whole counts, the rest is cut off, and it can be written on. */
static void test_torn(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {};
        _cleanup_buf_ Buf whole = {};
        PlanJournal *j;
        size_t two;

        (void)state;
        open_store(&s, "torn");
        j = begin_run(&s, &run, 1);
        append(j, &run, 0, "move");
        assert_int_equal(files_read(s.dir_fd, "run-000001", 1 << 20, &whole, NULL), 0);
        two = whole.len;
        append(j, &run, 1, "move");
        j = plan_journal_free(j);
        whole.len = 0;
        assert_int_equal(files_read(s.dir_fd, "run-000001", 1 << 20, &whole, NULL), 0);
        for (size_t n = two; n < whole.len; n++) {
                _cleanup_plan_run_ PlanRun again = {}, last = {};

                assert_int_equal(files_write(s.dir_fd, "run-000001", whole.data, n, NULL), 0);
                assert_int_equal(plan_store_read(&s, 1, &last, NULL), 0);
                assert_true(last.torn == (n > two));
                assert_true(last.engine.entries[0].doubt);
                assert_false(last.engine.entries[1].doubt);
                assert_int_equal(plan_store_open_run(&s, 1, NULL, &again, &j, NULL), 0);
                append(j, &again, 1, "move");
                j = plan_journal_free(j);
                plan_run_done(&last);
                assert_int_equal(plan_store_read(&s, 1, &last, NULL), 0);
                assert_false(last.torn);
                assert_true(last.engine.entries[1].doubt);
        }
}

/* Each byte but the last record's in turn: never taken for something else. */
static void test_damaged(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {};
        _cleanup_buf_ Buf whole = {};
        PlanJournal *j;
        size_t end;

        (void)state;
        open_store(&s, "damaged");
        j = begin_run(&s, &run, 1);
        append(j, &run, 0, "move");
        assert_int_equal(files_read(s.dir_fd, "run-000001", 1 << 20, &whole, NULL), 0);
        end = whole.len;
        append(j, &run, 1, "move");
        j = plan_journal_free(j);
        whole.len = 0;
        assert_int_equal(files_read(s.dir_fd, "run-000001", 1 << 20, &whole, NULL), 0);
        for (size_t i = 0; i < end; i++) {
                _cleanup_plan_run_ PlanRun again = {};
                Error e = ERROR_INIT;
                int r;

                whole.data[i] ^= 1;
                assert_int_equal(files_write(s.dir_fd, "run-000001", whole.data, whole.len, NULL),
                                 0);
                r = plan_store_open_run(&s, 1, NULL, &again, &j, &e);
                whole.data[i] ^= 1;
                if (r != -EBADMSG)
                        fail_msg("byte %zu: %d %s", i, r, e.text);
        }
        /* a record that is missing in the middle, each other one whole */
        {
                _cleanup_plan_run_ PlanRun again = {};
                const uint8_t *second = memchr(whole.data, '\n', whole.len);
                _cleanup_buf_ Buf b = {};

                assert_int_equal(buf_append(&b, whole.data, (size_t)(second + 1 - whole.data)), 0);
                assert_int_equal(buf_append(&b, whole.data + end, whole.len - end), 0);
                assert_int_equal(files_write(s.dir_fd, "run-000001", b.data, b.len, NULL), 0);
                assert_int_equal(plan_store_open_run(&s, 1, NULL, &again, &j, NULL), -EBADMSG);
        }
}

static void test_history_is_bounded(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_free_ unsigned *list = NULL;
        _cleanup_free_ char *archived = NULL;
        struct stat st;
        size_t n;

        (void)state;
        open_store(&s, "many");
        for (unsigned i = 1; i <= PLAN_RUNS_MAX + 3; i++) {
                _cleanup_plan_run_ PlanRun run = {};

                (void)plan_journal_free(begin_run(&s, &run, i));
        }
        assert_int_equal(plan_store_list(&s, &list, &n, NULL), 0);
        assert_int_equal(n, PLAN_RUNS_MAX);
        assert_int_equal(list[0], 4);
        assert_int_equal(list[n - 1], PLAN_RUNS_MAX + 3);
        assert_int_equal(plan_store_archive(&s, &archived, NULL), 0);
        assert_int_equal(stat(archived, &st), 0);
        assert_int_not_equal(stat(s.path, &st), 0);
}

static void test_cancel_requests(void **state) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        char pod[96];

        (void)state;
        open_store(&s, "cancel");
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 0);
        assert_int_equal(plan_store_ask_cancel(&s, "web.1", NULL), 0);
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 1);
        assert_string_equal(pod, "web.1");
        assert_int_equal(plan_store_ask_cancel(&s, NULL, NULL), 0);
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 1);
        assert_string_equal(pod, "");
        assert_int_equal(plan_store_take_cancel(&s, pod, sizeof(pod), NULL), 0);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 6] = {
                cmocka_unit_test(test_defaults_and_maps),
                cmocka_unit_test(test_runs),
                cmocka_unit_test(test_torn),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_history_is_bounded),
                cmocka_unit_test(test_cancel_requests),
        };
        size_t n = 6;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[n++] = (struct CMUnitTest){ .name = rows[i].name,
                                                  .test_func = test_row,
                                                  .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
