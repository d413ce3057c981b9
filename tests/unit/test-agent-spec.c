/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/spec.h"

typedef struct Row {
        const char *in, *out; /* NULL: refused */
        bool terminal;
        uint32_t rows, columns;
} Row;

static StdioSpec stdio_of(const Row *row) {
        StdioSpec s = PODFERRY__GUEST__V1__STDIO__INIT;

        s.terminal = row->terminal;
        s.rows = row->rows;
        s.columns = row->columns;
        return s;
}

static void expect(const Row *row, int r, const Buf *b) {
        if (!row->out) {
                assert_int_equal(r, -EINVAL);
                return;
        }
        assert_int_equal(r, 0);
        assert_int_equal(b->len, strlen(row->out));
        assert_memory_equal(b->data, row->out, b->len);
}

#define TAIL "\"linux\":{\"cgroupsPath\":\"/podferry/c\"}"

static void test_config(void **state) {
        static const Row rows[] = {
                { "{}", "{\"root\":{\"path\":\"/r\"},\"process\":{\"terminal\":false}," TAIL "}" },
                { "{\"root\":{\"path\":\"/evil\",\"readonly\":true},\"process\":{\"args\":[\"a/b\"],"
                  "\"terminal\":true,\"consoleSize\":{\"height\":1,\"width\":1}},\"linux\":"
                  "{\"cgroupsPath\":\"/other\",\"x\":1},\"y\":18446744073709551615}",
                  "{\"root\":{\"path\":\"/r\",\"readonly\":true},\"process\":{\"args\":[\"a/b\"],"
                  "\"terminal\":false},\"linux\":{\"cgroupsPath\":\"/podferry/c\",\"x\":1},"
                  "\"y\":18446744073709551615}" },
                { "{\"process\":{}}",
                  "{\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":24,\"width\":80}},"
                  "\"root\":{\"path\":\"/r\"}," TAIL "}",
                  true, 24, 80 },
                { "{\"process\":{}}",
                  "{\"process\":{\"terminal\":true},\"root\":{\"path\":\"/r\"}," TAIL "}", true, 24,
                  0 },
                { "", NULL },
                { "null", NULL },
                { "[]", NULL },
                { "\"x\"", NULL },
                { "{", NULL },
                { "{}x", NULL },
                { "{\"root\":[]}", NULL },
                { "{\"process\":1}", NULL },
                { "{\"linux\":\"x\"}", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                StdioSpec s = stdio_of(&rows[i]);
                _cleanup_buf_ Buf b = {};

                expect(&rows[i],
                       spec_make_config(rows[i].in, strlen(rows[i].in), "/r", "/podferry/c", &s, &b,
                                        NULL),
                       &b);
        }
}

static void test_process(void **state) {
        static const Row rows[] = {
                { "{\"args\":[\"sh\"]}", "{\"args\":[\"sh\"],\"terminal\":false}" },
                { "{\"args\":[\"sh\"],\"terminal\":false}", "{\"args\":[\"sh\"],\"terminal\":true}",
                  true },
                { "{}", NULL },
                { "{\"args\":[]}", NULL },
                { "{\"args\":\"sh\"}", NULL },
                { "[]", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                StdioSpec s = stdio_of(&rows[i]);
                _cleanup_buf_ Buf b = {};

                expect(&rows[i], spec_make_process(rows[i].in, strlen(rows[i].in), &s, &b, NULL),
                       &b);
        }
}

static void test_resources(void **state) {
        static const Row rows[] = {
                { "{\"memory\":{\"limit\":1048576}}", "{\"memory\":{\"limit\":1048576}}" },
                { "{}", "{}" },
                { "7", NULL },
                { "{\"a\":", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_buf_ Buf b = {};

                expect(&rows[i], spec_make_resources(rows[i].in, strlen(rows[i].in), &b, NULL), &b);
        }
}

/* Bytes from outside: cut anywhere, nested without end, with a zero byte. */
static void test_hostile(void **state) {
        static const char good[] = "{\"root\":{},\"process\":{\"args\":[\"\\u00e4\"]},\"n\":1.5e3}";
        char deep[4096];
        Buf b = {};

        for (size_t n = 0; n < sizeof(good) - 1; n++)
                assert_int_equal(spec_make_config(good, n, "/r", "/c", NULL, &b, NULL), -EINVAL);
        assert_int_equal(spec_make_config(good, sizeof(good) - 1, "/r", "/c", NULL, &b, NULL), 0);
        assert_int_equal(spec_make_resources("{\"a\":\"\0\"}", 9, &b, NULL), -EINVAL);
        memset(deep, '[', sizeof(deep));
        memcpy(deep, "{\"a\":", 5);
        assert_int_equal(spec_make_resources(deep, sizeof(deep), &b, NULL), -EINVAL);
        buf_done(&b);
}

/* Files of the guest in a container: unless it has its own. */
static void test_files(void **state) {
        static const char *const files[] = { "/etc/hosts" };
#define MOUNT                                                                                      \
        "{\"destination\":\"/etc/hosts\",\"source\":\"/etc/hosts\",\"type\":\"bind\","             \
        "\"options\":[\"bind\",\"ro\",\"nosuid\",\"nodev\",\"noexec\"]}"
        static const struct {
                const char *in, *out; /* NULL: refused */
        } cells[] = {
                { "{\"root\":{}}", "{\"root\":{},\"mounts\":[" MOUNT "]}" },
                { "{\"root\":{},\"mounts\":[{\"destination\":\"/x\"}]}",
                  "{\"root\":{},\"mounts\":[{\"destination\":\"/x\"}," MOUNT "]}" },
                { "{\"root\":{},\"mounts\":[{\"destination\":\"/etc/hosts\"}]}",
                  "{\"root\":{},\"mounts\":[{\"destination\":\"/etc/hosts\"}]}" },
                { "{\"root\":{},\"mounts\":7}", NULL },
                { "[]", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                _cleanup_buf_ Buf b = {};
                int r;

                assert_int_equal(buf_append(&b, cells[i].in, strlen(cells[i].in)), 0);
                r = spec_share_files(&b, files, ELEMENTSOF(files), NULL);
                assert_int_equal(r, cells[i].out ? 0 : -EINVAL);
                if (!cells[i].out)
                        continue;
                assert_int_equal(b.len, strlen(cells[i].out));
                assert_memory_equal(b.data, cells[i].out, b.len);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_config),    cmocka_unit_test(test_process),
                cmocka_unit_test(test_resources), cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_files),
        };

        return cmocka_run_group_tests_name("agent-spec", tests, NULL, NULL);
}
