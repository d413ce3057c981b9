/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, buffers, cleanup and log lines: what everything else stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/ids.h"
#include "lib/buf.h"
#include "lib/error.h"
#include "lib/log.h"

static void test_error_setf(void **state) {
        Error e = ERROR_INIT;

        assert_int_equal(error_setf(&e, -ENOENT, "no pod %s", "x"), -ENOENT);
        assert_int_equal(e.code, -ENOENT);
        assert_string_equal(e.text, "no pod x");
        assert_int_equal(error_setf(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_error_prefix(void **state) {
        Error e = ERROR_INIT;

        (void)error_setf(&e, -EIO, "disk 3");
        assert_int_equal(error_prefix(&e, -EIO, "attach %d", 7), -EIO);
        assert_string_equal(e.text, "attach 7: disk 3");
        e = ERROR_INIT;
        assert_int_equal(error_prefix(&e, -ENOSPC, "scratch"), -ENOSPC);
        assert_string_equal(e.text, "scratch: No space left on device");
        assert_int_equal(error_prefix(NULL, -EIO, "nobody"), -EIO);
}

static void test_error_is_cut_not_overrun(void **state) {
        Error e = ERROR_INIT;
        char text[2000];

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        (void)error_setf(&e, -EINVAL, "%s", text);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        for (int i = 0; i < 10; i++)
                (void)error_prefix(&e, -EINVAL, "%s", text);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        assert_int_equal(e.code, -EINVAL);
}

static void test_error_text(void **state) {
        Error e = ERROR_INIT;

        assert_string_equal(error_text(NULL, -ENOENT), "No such file or directory");
        assert_string_equal(error_text(&e, ENOENT), "No such file or directory");
        assert_string_equal(error_text(NULL, -123456), "unknown error");
        (void)error_setf(&e, -ENOENT, "gone");
        assert_string_equal(error_text(&e, -EIO), "gone");
}

static void test_buf_grows(void **state) {
        _cleanup_buf_ Buf b = {};

        for (unsigned i = 0; i < 10000; i++) {
                uint8_t byte = (uint8_t)i;

                assert_int_equal(buf_append(&b, &byte, 1), 0);
        }
        assert_int_equal(b.len, 10000);
        for (unsigned i = 0; i < 10000; i++)
                assert_int_equal(b.data[i], (uint8_t)i);
        buf_consume(&b, 9999);
        assert_int_equal(b.len, 1);
        assert_int_equal(b.data[0], (uint8_t)9999);
        buf_consume(&b, 1);
        buf_consume(&b, 0);
        assert_int_equal(b.len, 0);
}

static void test_buf_nothing(void **state) {
        _cleanup_buf_ Buf b = {};

        assert_int_equal(buf_append(&b, NULL, 0), 0);
        assert_int_equal(b.len, 0);
        assert_int_equal(buf_reserve(&b, 0), 0);
}

static void test_buf_refuses_overflow(void **state) {
        _cleanup_buf_ Buf b = {};

        assert_int_equal(buf_append(&b, "abc", 3), 0);
        assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOMEM);
        assert_int_equal(buf_reserve(&b, SIZE_MAX - 3), -ENOMEM);
        assert_int_equal(buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
        assert_int_equal(b.len, 3);
        assert_memory_equal(b.data, "abc", 3);
}

static void test_buf_printf(void **state) {
        _cleanup_buf_ Buf b = {};
        char *wide;

        assert_int_equal(buf_printf(&b, "%s=%d;", "a", 1), 0);
        assert_int_equal(buf_printf(&b, "%s=%d;", "b", 2), 0);
        assert_int_equal(b.len, 8);
        assert_memory_equal(b.data, "a=1;b=2;", 8);
        assert_true(asprintf(&wide, "%5000d", 1) == 5000);
        assert_int_equal(buf_printf(&b, "%s", wide), 0);
        assert_int_equal(b.len, 5008);
        free(wide);
}

static void test_take(void **state) {
        char *p = strdup("x"), *q = TAKE(p);
        int fd = 5, got = TAKE_FD(fd);

        assert_null(p);
        assert_string_equal(q, "x");
        assert_int_equal(fd, -EBADF);
        assert_int_equal(got, 5);
        free(q);
}

static void test_close_keeps_errno(void **state) {
        errno = E2BIG;
        assert_int_equal(close_fd(-EBADF), -EBADF);
        assert_int_equal(close_fd(100000), -EBADF);
        assert_int_equal(errno, E2BIG);
}

static char last_line[1024];
static int last_priority;

static void remember(int priority, const char *text, const LogField *fields, size_t n_fields) {
        last_priority = priority;
        (void)snprintf(last_line, sizeof(last_line), "%s", text);
        for (size_t i = 0; i < n_fields; i++) {
                size_t used = strlen(last_line);

                if (fields[i].value)
                        (void)snprintf(last_line + used, sizeof(last_line) - used, " %s=%s",
                                       fields[i].name, fields[i].value);
        }
}

static void test_log(void **state) {
        const LogField fields[] = { { "POD", "p" }, { "SESSION", NULL } };

        log_set_sink(remember);
        log_fields(LOG_WARNING, fields, ELEMENTSOF(fields), "value %d", 3);
        assert_int_equal(last_priority, LOG_WARNING);
        assert_string_equal(last_line, "value 3 POD=p");
        log_debug("not shown by default");
        assert_string_equal(last_line, "value 3 POD=p");
        log_set_max_level(LOG_DEBUG);
        log_debug("shown");
        assert_string_equal(last_line, "shown");
        log_set_max_level(LOG_INFO);
        log_set_sink(NULL);
}

typedef struct IdRow {
        const char *id;
        int r;
} IdRow;

static void test_ids(void **state) {
        static const IdRow rows[] = {
                { "a", 0 },         { "web-1.x_y", 0 }, { "0", 0 },         { "", -EINVAL },
                { "-a", -EINVAL },  { ".", -EINVAL },   { "..", -EINVAL },  { ".hidden", -EINVAL },
                { "a/b", -EINVAL }, { "a b", -EINVAL }, { "a\n", -EINVAL }, { "\xc3\xa9", -EINVAL },
        };
        char id[ID_MAX + 2];
        Error e = ERROR_INIT;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(id_check("pod name", rows[i].id, NULL), rows[i].r);
        memset(id, 'a', sizeof(id));
        id[ID_MAX] = '\0';
        assert_int_equal(id_check("pod name", id, NULL), 0);
        id[ID_MAX] = 'a';
        id[ID_MAX + 1] = '\0';
        assert_int_equal(id_check("pod name", id, &e), -EINVAL);
        assert_non_null(strstr(e.text, "pod name"));
}

/* Whatever is quoted, nobody's terminal obeys it and the bus takes it. */
static void test_clean(void **state) {
        static const struct {
                const char *in, *out;
        } rows[] = {
                { "plain", "plain" },
                { "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x99",
                  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x99" },
                { "\x1b[31m\r\nred\x7f\t", "?[31m??red??" },
                { "\xc2\x9b"
                  "31m",
                  "??31m" },                                   /* one control character */
                { "\xff\xc3", "??" },                          /* never UTF-8; cut short */
                { "\xc0\xaf\xe0\x80\xaf", "?????" },           /* longer than needed */
                { "\xed\xa0\x80\xf4\x90\x80\x80", "???????" }, /* surrogate; out of range */
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Error e = ERROR_INIT;

                (void)error_setf(&e, -EINVAL, "%s", rows[i].in);
                assert_string_equal(e.text, rows[i].out);
                (void)error_prefix(&e, -EINVAL, "%s", rows[i].in);
                assert_memory_equal(e.text, rows[i].out, strlen(rows[i].out));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clean),
                cmocka_unit_test(test_error_setf),
                cmocka_unit_test(test_error_prefix),
                cmocka_unit_test(test_error_is_cut_not_overrun),
                cmocka_unit_test(test_error_text),
                cmocka_unit_test(test_buf_grows),
                cmocka_unit_test(test_buf_nothing),
                cmocka_unit_test(test_buf_refuses_overflow),
                cmocka_unit_test(test_buf_printf),
                cmocka_unit_test(test_take),
                cmocka_unit_test(test_close_keeps_errno),
                cmocka_unit_test(test_log),
                cmocka_unit_test(test_ids),
        };

        return cmocka_run_group_tests_name("basics", tests, NULL, NULL);
}
