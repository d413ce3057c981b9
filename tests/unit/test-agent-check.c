/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/check.h"
#include "guest/process.h"
#include "guest/rpc.h"

typedef struct Row {
        const char *text;
        int result;
} Row;

static void test_ids(void **state) {
        char longest[CHECK_ID_MAX + 2];
        static const Row rows[] = {
                { "a", 0 },           { "0", 0 },
                { "web-1.2_x", 0 },   { "", -EINVAL },
                { NULL, -EINVAL },    { ".", -EINVAL },
                { "..", -EINVAL },    { "-a", -EINVAL },
                { "_a", -EINVAL },    { "a/b", -EINVAL },
                { "a b", -EINVAL },   { "a\n", -EINVAL },
                { "../a", -EINVAL },  { "\xc3\xa4", -EINVAL },
                { "a\xff", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(check_id("id", rows[i].text, NULL), rows[i].result);
        memset(longest, 'x', sizeof(longest));
        longest[CHECK_ID_MAX] = '\0';
        assert_int_equal(check_id("id", longest, NULL), 0);
        longest[CHECK_ID_MAX] = 'x';
        longest[CHECK_ID_MAX + 1] = '\0';
        assert_int_equal(check_id("id", longest, NULL), -EINVAL);
}

static void test_paths(void **state) {
        char longest[CHECK_PATH_MAX + 2];
        static const Row rows[] = {
                { "/a", 0 },
                { "/run/pod/layers/0", 0 },
                { "/a.b/..c/c../...", 0 },
                { "/sha256-0@x+y", 0 },
                { NULL, -EINVAL },
                { "", -EINVAL },
                { "/", -EINVAL },
                { "a", -EINVAL },
                { "/a/", -EINVAL },
                { "//a", -EINVAL },
                { "/a//b", -EINVAL },
                { "/.", -EINVAL },
                { "/..", -EINVAL },
                { "/a/..", -EINVAL },
                { "/a/../b", -EINVAL },
                { "/a/./b", -EINVAL },
                { "/a:b", -EINVAL },
                { "/a,b", -EINVAL },
                { "/a\\b", -EINVAL },
                { "/a b", -EINVAL },
                { "/a\n", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(check_path("path", rows[i].text, NULL), rows[i].result);
        for (size_t i = 0; i < sizeof(longest); i++)
                longest[i] = i % 100 == 0 ? '/' : 'x';
        longest[CHECK_PATH_MAX] = '\0';
        assert_int_equal(check_path("path", longest, NULL), 0);
        longest[CHECK_PATH_MAX] = 'x';
        longest[CHECK_PATH_MAX + 1] = '\0';
        assert_int_equal(check_path("path", longest, NULL), -EINVAL);
        memset(longest + 1, 'x', 256);
        longest[257] = '\0';
        assert_int_equal(check_path("path", longest, NULL), -EINVAL);
}

static void test_disks(void **state) {
        ScsiAddress a = PODFERRY__GUEST__V1__SCSI_ADDRESS__INIT;

        assert_int_equal(check_disk(NULL, NULL), -EINVAL);
        assert_int_equal(check_disk(&a, NULL), 0);
        a = (ScsiAddress){ a.base, 15, 255, 16383, 128 };
        assert_int_equal(check_disk(&a, NULL), 0);
        a.controller = 16;
        assert_int_equal(check_disk(&a, NULL), -EINVAL);
        a = (ScsiAddress){ a.base, 0, 256, 0, 0 };
        assert_int_equal(check_disk(&a, NULL), -EINVAL);
        a = (ScsiAddress){ a.base, 0, 0, 16384, 0 };
        assert_int_equal(check_disk(&a, NULL), -EINVAL);
        a = (ScsiAddress){ a.base, 0, 0, 0, UINT32_MAX };
        assert_int_equal(check_disk(&a, NULL), -EINVAL);
}

static void test_options(void **state) {
        char longest[130];
        static const Row rows[] = {
                { "noatime", 0 },    { "errors=remount-ro", 0 }, { NULL, -EINVAL },
                { "", -EINVAL },     { "a,b", -EINVAL },         { "a b", -EINVAL },
                { "a\\b", -EINVAL }, { "\x01", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(check_option(rows[i].text, NULL), rows[i].result);
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        assert_int_equal(check_option(longest, NULL), -EINVAL);
}

typedef struct StdioRow {
        bool terminal;
        uint32_t in, out, err, rows;
        int result;
} StdioRow;

static void test_stdio(void **state) {
        static const StdioRow rows[] = {
                { false, 0, 0, 0, 0, 0 },
                { false, 1, 2, 3, 0, 0 },
                { true, 1, 2, 0, 24, 0 },
                { true, 0, 0, 0, 0, 0 },
                { true, 1, 2, 3, 0, -EINVAL },
                { false, 1, 1, 0, 0, -EINVAL },
                { false, 1, 0, 1, 0, -EINVAL },
                { false, 0, 1, 1, 0, -EINVAL },
                { true, 1, 2, 0, CHECK_WINDOW_MAX + 1, -EINVAL },
        };

        assert_int_equal(check_stdio(NULL, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                StdioSpec s = PODFERRY__GUEST__V1__STDIO__INIT;

                s.terminal = rows[i].terminal;
                s.stdin_channel = rows[i].in;
                s.stdout_channel = rows[i].out;
                s.stderr_channel = rows[i].err;
                s.rows = rows[i].rows;
                assert_int_equal(check_stdio(&s, NULL), rows[i].result);
        }
}

static void test_json_size(void **state) {
        assert_int_equal(check_json_size("x", 0, NULL), -EINVAL);
        assert_int_equal(check_json_size("x", 1, NULL), 0);
        assert_int_equal(check_json_size("x", CHECK_JSON_MAX, NULL), 0);
        assert_int_equal(check_json_size("x", CHECK_JSON_MAX + 1, NULL), -EINVAL);
}

/* Every request that the protocol has is handled, each once, and nothing else is. */
static void test_table(void **state) {
        const ProtobufCMessageDescriptor *d = &podferry__guest__v1__to_guest__descriptor;
        size_t bodies = 0;

        for (unsigned i = 0; i < d->n_fields; i++) {
                const ProtobufCFieldDescriptor *f = &d->fields[i];

                if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                        continue;
                bodies++;
                assert_non_null(rpc_find(f->id));
                assert_int_equal(rpc_find(f->id)->body, f->id);
                assert_non_null(rpc_find(f->id)->handle);
        }
        assert_int_equal(bodies, rpc_n_rows);
        assert_null(rpc_find(0));
        assert_null(rpc_find(9999));
}

static void test_process_states(void **state) {
        assert_int_equal(fsm_check(&process_fsm, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ids),   cmocka_unit_test(test_paths),
                cmocka_unit_test(test_disks), cmocka_unit_test(test_options),
                cmocka_unit_test(test_stdio), cmocka_unit_test(test_json_size),
                cmocka_unit_test(test_table), cmocka_unit_test(test_process_states),
        };

        return cmocka_run_group_tests_name("agent-check", tests, NULL, NULL);
}
