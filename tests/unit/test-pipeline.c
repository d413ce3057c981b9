/* SPDX-License-Identifier: Apache-2.0 */
/* Coarse steps of a move out of its fine ones: when each began and ended, how far it is, and what
 * went wrong in which.
 * rows: F60 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/ctl/json.h"
#include "shim/ctl/pipeline.h"

static void walk(Pipeline *p, const char *const *fine) {
        for (uint64_t now = 1000; *fine; fine++, now += 10)
                pipeline_enter(p, *fine, now);
}

static void expect(const Pipeline *p, const char *names) {
        _cleanup_json_ json_object *all = pipeline_json(p);
        json_object *o;
        char got[200] = "";

        assert_non_null(all);
        for (JSON_EACH(i, all, o)) {
                (void)strcat(got, json_get_text(o, "name"));
                (void)strcat(got, " ");
                assert_true(*json_get_text(o, "description"));
                assert_non_null(json_get_array(o, "errors"));
        }
        assert_string_equal(got, names);
}

static const char *const live[] = { "preflight", "connect", "preflight", "layers",     "export",
                                    "import",    "patch",   "prepare",   "connect",    "transfer",
                                    "connect",   "storage", "memory",    "switchover", "handoff",
                                    "finalize",  "cleanup", NULL };
static const char *const cold[] = { "preflight",   "connect",     "offer", "layers",
                                    "pre-source",  "pre-target",  "stop",  "copy",
                                    "hand-over",   "commit",      "start", "cleanup",
                                    "post-target", "post-source", NULL };

static void test_ways(void **state) {
        Pipeline p = {};

        expect(&p, "");
        walk(&p, live);
        expect(&p, "check prepare transfer hand-over clean-up ");
        pipeline_done(&p);
        walk(&p, cold);
        expect(&p, "check prepare pre-hook transfer hand-over post-hook clean-up ");
        pipeline_done(&p);
        expect(&p, "");
}

static void test_times(void **state) {
        Pipeline p = {};

        walk(&p, live);
        pipeline_end(&p, NULL, NULL, 2000);
        assert_int_equal(p.steps[PIPELINE_CHECK].started_ms, 1000);
        assert_int_equal(p.steps[PIPELINE_CHECK].completed_ms, 1030);
        assert_int_equal(p.steps[PIPELINE_TRANSFER].started_ms, 1090);
        assert_int_equal(p.steps[PIPELINE_TRANSFER].completed_ms, 1130);
        assert_int_equal(p.steps[PIPELINE_CLEAN_UP].completed_ms, 2000);
        assert_int_equal(p.steps[PIPELINE_PRE_HOOK].started_ms, 0);
        pipeline_done(&p);
}

/* One that is come back to goes on from where it began, and ends for good later. */
static void test_again(void **state) {
        Pipeline p = {};

        walk(&p, (const char *const[]){ "preflight", "layers", "pre-source", "prepare", "nonsense",
                                        "transfer", NULL });
        assert_int_equal(p.steps[PIPELINE_PREPARE].started_ms, 1010);
        assert_int_equal(p.steps[PIPELINE_PREPARE].completed_ms, 1050);
        assert_int_equal(p.steps[PIPELINE_PRE_HOOK].completed_ms, 1030);
        pipeline_done(&p);
}

static void test_progress(void **state) {
        Pipeline p = {};

        pipeline_progress(&p, 1, 2); /* before it begins */
        assert_int_equal(p.steps[PIPELINE_TRANSFER].total, 0);
        walk(&p, live);
        pipeline_progress(&p, 50, 100);
        pipeline_progress(&p, 0, 0); /* not known any more */
        assert_int_equal(p.steps[PIPELINE_TRANSFER].done, 50);
        pipeline_progress(&p, 150, 120);
        assert_int_equal(p.steps[PIPELINE_TRANSFER].done, 120);
        pipeline_progress(&p, 60, 130);
        pipeline_end(&p, NULL, NULL, 2000);
        assert_int_equal(p.steps[PIPELINE_TRANSFER].done, 130);
        pipeline_done(&p);
}

static void test_failure(void **state) {
        Pipeline p = {};
        _cleanup_json_ json_object *all = NULL;
        json_object *o;
        char text[16];

        pipeline_trouble(&p, "lost: nothing has begun");
        walk(&p, (const char *const[]){ "preflight", "layers", "transfer", NULL });
        for (unsigned i = 0; i < PIPELINE_ERRORS_MAX + 2; i++) {
                (void)snprintf(text, sizeof(text), "break %u", i);
                pipeline_trouble(&p, text);
        }
        pipeline_end(&p, "prepare", "no room", 3000);
        all = pipeline_json(&p);
        o = json_object_array_get_idx(all, 1);
        assert_string_equal(json_get_text(o, "name"), "prepare");
        assert_string_equal(json_get_text(o, "reason"), "no room");
        assert_string_equal(
                json_object_get_string(json_object_array_get_idx(json_get_array(o, "errors"), 0)),
                "no room");
        assert_string_equal(json_get_text(o, "started"), "1970-01-01T00:00:01.010Z");
        o = json_object_array_get_idx(all, 2);
        assert_string_equal(json_get_text(o, "completed"), "1970-01-01T00:00:03.000Z");
        assert_null(json_get(o, "reason"));
        assert_int_equal(json_object_array_length(json_get_array(o, "errors")),
                         PIPELINE_ERRORS_MAX);
        assert_int_equal(json_get_number(o, "more_errors"), 2);
        pipeline_done(&p);
}

/* In a step that is not known, and before any has begun. */
static void test_failure_somewhere(void **state) {
        Pipeline p = {};

        pipeline_end(&p, "nonsense", "no such pod", 5);
        assert_string_equal(p.steps[PIPELINE_CHECK].reason, "no such pod");
        pipeline_done(&p);
        walk(&p, live);
        pipeline_end(&p, NULL, "why", 5000);
        assert_string_equal(p.steps[PIPELINE_CLEAN_UP].reason, "why");
        pipeline_done(&p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ways),    cmocka_unit_test(test_times),
                cmocka_unit_test(test_again),   cmocka_unit_test(test_progress),
                cmocka_unit_test(test_failure), cmocka_unit_test(test_failure_somewhere),
        };

        return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
