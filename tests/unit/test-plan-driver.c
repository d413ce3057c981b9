/* SPDX-License-Identifier: Apache-2.0 */
/* A driver whose store goes away in the middle of a run. The podferry that it drives is a script,
 * which keeps where the pods are in files, and lets etcd misbehave at a moment of its choice. */
/* rows: B11 F83 */
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
#include "lib/clock.h"
#include "shim/plan/plan-driver.h"
#include "tests/unit/etcd-rig.h"

static char directory[64], endpoint[64], prefix[] = "/driver";
static PlansConfig shared = {
        .endpoints = { endpoint }, .n_endpoints = 1, .prefix = prefix, .ttl_s = 20, .wait_s = 1
};

/* podferry HOST PROGRAM ps|migrate [POD ...] in a directory: at/HOST/POD says where a pod is;
 * "fail-ps" and "fail-POD" are requests for the stand-in, sent once at that call. */
static const char script[] =
        "#!/bin/bash\n"
        "cd \"${0%/*}\" || exit 1\n"
        "misbehave() {\n"
        "        mv \"fail-$1\" sent 2>/dev/null || return\n"
        "        exec 3<>\"/dev/tcp/127.0.0.1/$(cat port)\"\n"
        "        printf 'POST /fake HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s' "
        "\"$(stat -c %s sent)\" \"$(cat sent)\" >&3\n"
        "        read -r _ <&3\n"
        "}\n"
        "case $3 in\n"
        "ps)\n"
        "        misbehave ps\n"
        "        for p in at/$1/*; do\n"
        "                [ -e \"$p\" ] && echo \"{\\\"pod\\\": \\\"${p##*/}\\\", \\\"tree\\\": {}}\"\n"
        "        done ;;\n"
        "migrate)\n"
        "        cold=''\n"
        "        [[ \"$* \" != *' --type cold '* ]] || cold=' cold'\n"
        "        echo \"$4$cold\" >>log\n"
        "        misbehave \"$4\"\n"
        "        mv \"at/a/$4\" \"at/b/$4\" || exit 1\n"
        "        echo '{\"event\": \"result\", \"outcome\": \"moved\", \"result\": {}}' ;;\n"
        "esac\n"
        "exit 0\n";

static void write_file(const char *name, const char *text, unsigned mode) {
        char path[128];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(files_write_all(fd, text, strlen(text)), 0);
        (void)close(fd);
}

static int begin_each(void **state) {
        static const char *const names[] = { "at", "at/a", "at/b" };
        char path[96];

        (void)state;
        (void)snprintf(directory, sizeof(directory), "%s/driver-XXXXXX",
                       getenv("TMPDIR") ?: "/var/tmp");
        if (!mkdtemp(directory))
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
                assert_int_equal(mkdir(path, 0700), 0);
        }
        fake_etcd_start(endpoint);
        write_file("port", strrchr(endpoint, ':') + 1, 0600);
        write_file("podferry", script, 0700);
        write_file("at/a/x", "", 0600);
        write_file("at/a/y", "", 0600);
        return 0;
}

static int end_each(void **state) {
        (void)state;
        fake_etcd_end();
        return files_remove_tree(AT_FDCWD, directory);
}

static void make_plan(Plan *ret) {
        char text[1024];
        Error e = ERROR_INIT;

        (void)snprintf(
                text, sizeof(text),
                "{\"name\": \"n\", \"backoff\": \"100ms\", \"hosts\": {\"a\": \"exec:%s/"
                "podferry a\", \"b\": \"exec:%s/podferry b\"}, \"defaults\": {\"from\": "
                "\"a\", \"to\": \"b\"}, \"pods\": [{\"pod\": \"x\"}, {\"pod\": \"y\", \"type\": "
                "\"cold\"}]}",
                directory, directory);
        if (plan_parse("plan", text, strlen(text), ret, &e) < 0)
                fail_msg("%s", e.text);
}

/* Run 1, from its beginning or on. What is left in the journal is in *ret. */
static int drive(bool begin, const char *fail_now, PlanRun *ret, Error *reterr) {
        _cleanup_(plan_store_done) PlanStore s = PLAN_STORE_INIT;
        _cleanup_plan_run_ PlanRun run = {}, none = {};
        PlanJournal *j = NULL;
        json_object *first = NULL;
        const Ctl ctl = {};
        PlanShow show;
        unsigned left;
        int r;

        assert_int_equal(plan_store_open(directory, &shared, "n", &s, NULL), 0);
        if (begin) {
                _cleanup_plan_ Plan plan = {};

                make_plan(&plan);
                first = plan_run_begin(&plan, &none, false, &left);
        }
        if (plan_store_open_run(&s, 1, first, &run, &j, reterr) < 0)
                fail_msg("%s", reterr->text);
        if (fail_now)
                fake_etcd("%s", fail_now);
        plan_show_init(&show, true);
        show.quiet = true;
        r = plan_drive(&ctl, &s, &run, j, &show, reterr);
        if (!run.finished)
                fake_etcd("{\"n\": 0}"); /* it is back */
        assert_null(plan_journal_free(j));
        assert_int_equal(plan_store_last(&s, ret, NULL), 0);
        return r;
}

/* What was moved, in its order: each once. */
static void assert_log(const char *wanted) {
        _cleanup_buf_ Buf b = {};
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        if (files_read(fd, "log", 4096, &b, NULL) < 0)
                assert_int_equal(buf_append(&b, "", 1), 0);
        (void)close(fd);
        assert_string_equal((const char *)b.data, wanted);
}

static void assert_all_moved(const PlanRun *run) {
        assert_true(run->finished);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(run->engine.entries[i].fsm.state, PLAN_MOVED);
                assert_int_equal(run->engine.entries[i].begun, 1);
        }
        assert_log("x\ny cold\n");
}

static void test_plain(void **state) {
        _cleanup_plan_run_ PlanRun run = {};
        Error e = ERROR_INIT;

        (void)state;
        if (drive(true, NULL, &run, &e) < 0)
                fail_msg("%s", e.text);
        assert_all_moved(&run);
}

typedef struct Row {
        const char *name, *file, *request;
} Row;
/* It comes back before the driver gives up. */
static const Row rows[] = {
        { "lost before a lock is taken", NULL, "{\"mode\": \"proxy\", \"n\": 2}" },
        { "lost while a pod moves", "fail-x", "{\"mode\": \"proxy\", \"n\": 1}" },
        { "lost while the last pod moves", "fail-y", "{\"mode\": \"proxy\", \"n\": 1}" },
        { "lost before a move is written", "fail-ps", "{\"mode\": \"leader\", \"n\": 1}" },
        { "the answer to a record is lost", "fail-x", "{\"mode\": \"done\", \"n\": 2}" },
        { "the answer before a move is lost", "fail-ps", "{\"mode\": \"done\", \"n\": 2}" },
        { "the lease ends while a pod moves", "fail-x", "{\"expire\": true}" },
};

static void test_lost(void **state) {
        const Row *row = *state;
        _cleanup_plan_run_ PlanRun run = {};
        Error e = ERROR_INIT;

        if (row->file)
                write_file(row->file, row->request, 0600);
        shared.wait_s = 30;
        if (drive(true, row->file ? NULL : row->request, &run, &e) < 0)
                fail_msg("%s", e.text);
        shared.wait_s = 1;
        assert_all_moved(&run);
}

/* It does not: the move that ran is seen to its end, nothing new is started, and resume goes on. */
static void test_given_up(void **state) {
        _cleanup_plan_run_ PlanRun run = {}, again = {};
        Error e = ERROR_INIT;
        uint64_t began = clock_ms();

        (void)state;
        write_file("fail-x", "{\"mode\": \"proxy\", \"n\": 1000}", 0600);
        assert_int_equal(drive(true, NULL, &run, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.text, "no answer for 1 s"));
        assert_non_null(strstr(e.text, "podferry plan resume"));
        assert_true(clock_ms() - began >= 1000);
        assert_log("x\n");
        assert_false(run.finished);
        assert_true(run.engine.entries[0].doubt);

        e = ERROR_INIT;
        if (drive(false, NULL, &again, &e) < 0)
                fail_msg("%s", e.text);
        assert_all_moved(&again);
}

static void test_given_up_at_once(void **state) {
        _cleanup_plan_run_ PlanRun run = {}, again = {};
        Error e = ERROR_INIT;

        (void)state;
        assert_int_equal(drive(true, "{\"mode\": \"proxy\", \"n\": 1000}", &run, &e), -ETIMEDOUT);
        assert_log("");
        assert_false(run.engine.entries[0].begun);
        e = ERROR_INIT;
        if (drive(false, NULL, &again, &e) < 0)
                fail_msg("%s", e.text);
        assert_all_moved(&again);
}

/* Another driver has come: the move that ran is seen to its end, and nothing is written or begun.
 */
static void test_taken_over(void **state) {
        _cleanup_plan_run_ PlanRun run = {};
        Error e = ERROR_INIT;

        (void)state;
        write_file("fail-x",
                   "{\"expire\": true, \"put\": {\"/driver/plans/n/owner\": \"{\\\"node\\\": "
                   "\\\"h9\\\"}\", \"/driver/plans/n/term\": \"another\"}}",
                   0600);
        assert_int_equal(drive(true, NULL, &run, &e), -EBUSY);
        assert_non_null(strstr(e.text, "on h9 runs it"));
        assert_log("x\n");
        assert_true(run.busy);
        assert_true(run.engine.entries[0].doubt);
        assert_false(run.engine.entries[1].begun);
}

/* What makes no sense is not waited for. */
static void test_garbage(void **state) {
        _cleanup_plan_run_ PlanRun run = {}, again = {};
        Error e = ERROR_INIT;

        (void)state;
        write_file("fail-ps", "{\"mode\": \"garbage\", \"n\": 1000}", 0600);
        assert_int_equal(drive(true, NULL, &run, &e), -EBADMSG);
        assert_log("");
        e = ERROR_INIT;
        if (drive(false, NULL, &again, &e) < 0)
                fail_msg("%s", e.text);
        assert_all_moved(&again);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, begin_each, end_each)

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 5] = { EACH(test_plain), EACH(test_given_up),
                                                          EACH(test_given_up_at_once),
                                                          EACH(test_garbage),
                                                          EACH(test_taken_over) };
        size_t n = 5;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[n++] = (struct CMUnitTest){ .name = rows[i].name,
                                                  .test_func = test_lost,
                                                  .setup_func = begin_each,
                                                  .teardown_func = end_each,
                                                  .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
