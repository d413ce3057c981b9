/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a process's output: lossless whatever the pieces, positions that hold, a bounded size.
 * rows: B1 H17 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "shim/stdio/output-log.h"

#define MIB (1U << 20)

static char directory[] = "/tmp/podferry-log-XXXXXX";
static char path[128], copy_path[128];

/* What a reader makes of the log from `offset` on; the streams apart. */
static void read_back(const OutputLog *log, uint64_t offset, Buf out[_OUTPUT_STREAM_MAX],
                      uint64_t *ret_skipped) {
        static char buffer[OUTPUT_LINE_MAX * 2];
        uint64_t skipped;

        *ret_skipped = 0;
        for (;;) {
                ssize_t n = output_log_read(log, &offset, buffer, sizeof(buffer), &skipped);
                size_t used = 0;

                *ret_skipped += skipped;
                assert_true(n >= 0);
                if (n == 0)
                        return;
                while (used < (size_t)n) {
                        OutputLine line;
                        ssize_t len = output_line_parse(buffer + used, (size_t)n - used, &line);

                        if (len == 0)
                                break;
                        assert_true(len > 0);
                        assert_int_equal(buf_append(&out[line.stream], line.body, line.n), 0);
                        if (line.newline)
                                assert_int_equal(buf_append(&out[line.stream], "\n", 1), 0);
                        used += (size_t)len;
                }
                assert_true(used > 0);
                offset += used;
        }
}

static void assert_same(const Buf *a, const Buf *b) {
        assert_int_equal(a->len, b->len);
        assert_memory_equal(a->data, b->data, a->len);
}

static void test_format(void **state) {
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        char text[256] = "";
        FILE *f;

        assert_int_equal(output_log_new(path, 8 * MIB, &log, NULL), 0);
        assert_int_equal(output_log_write(log, OUTPUT_STDOUT, "a line\nand a pi", 15), 15);
        assert_int_equal(output_log_write(log, OUTPUT_STDERR, "\n", 1), 1);
        f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fread(text, 1, sizeof(text) - 1, f), output_log_end(log));
        (void)fclose(f);
        assert_int_equal(text[4], '-');
        assert_int_equal(text[10], 'T');
        assert_int_equal(text[29], 'Z');
        assert_non_null(strstr(text, "Z stdout F a line\n"));
        assert_non_null(strstr(text, "Z stdout P and a pi\n"));
        assert_non_null(strstr(text, "Z stderr F \n"));
}

/* Random pieces of random bytes in two streams: read back exactly, whole and in parts. */
static void test_lossless(void **state) {
        unsigned seed = (unsigned)time(NULL);
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        Buf in[_OUTPUT_STREAM_MAX] = {}, out[_OUTPUT_STREAM_MAX] = {};
        uint64_t skipped;

        print_message("# seed %u\n", seed);
        srandom(seed);
        assert_int_equal(output_log_new(path, 64 * MIB, &log, NULL), 0);
        for (unsigned i = 0; i < 2000; i++) {
                static uint8_t piece[80000];
                OutputStream stream = random() & 1;
                size_t n = (size_t)random() % (i % 50 == 0 ? sizeof(piece) : 200);

                for (size_t k = 0; k < n; k++)
                        piece[k] = random() % 40 == 0 ? '\n' : (uint8_t)random();
                assert_int_equal(output_log_write(log, stream, piece, n), n);
                assert_int_equal(buf_append(&in[stream], piece, n), 0);
        }
        read_back(log, 0, out, &skipped);
        assert_int_equal(skipped, 0);
        for (int i = 0; i < _OUTPUT_STREAM_MAX; i++) {
                assert_same(&in[i], &out[i]);
                buf_done(&in[i]);
                buf_done(&out[i]);
        }
}

/* The size is bounded, the newest is kept, and offsets go on meaning the same. */
static void test_cap(void **state) {
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        Buf out[_OUTPUT_STREAM_MAX] = {};
        uint64_t skipped, offset = 0;
        char line[64], *first;
        struct stat a, b;
        unsigned number;
        char old[160];

        assert_int_equal(output_log_new(path, MIB, &log, NULL), 0);
        for (unsigned i = 0; i < 100000; i++) {
                int n = snprintf(line, sizeof(line), "%u\n", i);

                assert_int_equal(output_log_write(log, OUTPUT_STDOUT, line, (size_t)n), n);
        }
        (void)snprintf(old, sizeof(old), "%s.1", path);
        assert_int_equal(stat(path, &a), 0);
        assert_int_equal(stat(old, &b), 0);
        assert_true(a.st_size + b.st_size <= MIB + OUTPUT_LINE_MAX);
        assert_true(b.st_size >= MIB / 2);
        assert_true(output_log_start(log) > 0);
        read_back(log, offset, out, &skipped);
        assert_int_equal(skipped, output_log_start(log));
        assert_int_equal(buf_append(&out[0], "", 1), 0);
        number = (unsigned)strtoul((char *)out[0].data, &first, 10);
        for (; *first == '\n' && first[1]; number++) /* no line missing from there on */
                assert_int_equal(strtoul(first + 1, &first, 10), number + 1);
        assert_int_equal(number, 99999);
        buf_done(&out[0]);
}

/* History goes to another host in pieces of any size, some of them twice; writing goes on there. */
static void test_history(void **state) {
        _cleanup_(output_log_freep) OutputLog *a = NULL, *b = NULL;
        Buf out_a[_OUTPUT_STREAM_MAX] = {}, out_b[_OUTPUT_STREAM_MAX] = {};
        uint64_t offset = 0, skipped;
        char line[64], piece[7000];
        Error err = ERROR_INIT;
        ssize_t n;

        assert_int_equal(output_log_new(path, MIB, &a, NULL), 0);
        assert_int_equal(output_log_new(copy_path, MIB, &b, NULL), 0);
        for (unsigned i = 0; i < 30000; i++) {
                n = snprintf(line, sizeof(line), "%u\n%u", i, i);
                assert_int_equal(output_log_write(a, i % 2, line, (size_t)n), n);
        }
        while ((n = output_log_read(a, &offset, piece, 1 + (size_t)random() % sizeof(piece),
                                    NULL)) > 0) {
                assert_int_equal(output_log_append(b, offset, piece, (size_t)n, &err), 0);
                if (random() % 4 == 0)
                        assert_int_equal(output_log_append(b, offset, piece, (size_t)n, &err), 0);
                offset += (uint64_t)n;
        }
        assert_int_equal(output_log_end(a), output_log_end(b));
        assert_int_equal(output_log_append(b, output_log_end(b) + 1, "x", 1, &err), -EINVAL);
        assert_int_equal(output_log_write(b, OUTPUT_STDOUT, "on\n", 3), 3);
        assert_int_equal(output_log_write(a, OUTPUT_STDOUT, "on\n", 3), 3);
        offset = MAX_OF(output_log_start(a), output_log_start(b));
        read_back(a, offset, out_a, &skipped);
        read_back(b, offset, out_b, &skipped);
        for (int i = 0; i < _OUTPUT_STREAM_MAX; i++) {
                assert_same(&out_a[i], &out_b[i]);
                buf_done(&out_a[i]);
                buf_done(&out_b[i]);
        }
}

static void test_reopen(void **state) {
        _cleanup_(output_log_freep) OutputLog *a = NULL, *b = NULL;

        assert_int_equal(output_log_new(path, MIB, &a, NULL), 0);
        for (unsigned i = 0; i < 40000; i++)
                assert_int_equal(output_log_write(a, OUTPUT_STDOUT, "0123456789\n", 11), 11);
        assert_int_equal(output_log_reopen(path, MIB, output_log_start(a), &b, NULL), 0);
        assert_int_equal(output_log_start(a), output_log_start(b));
        assert_int_equal(output_log_end(a), output_log_end(b));
        output_log_remove_files(b);
        assert_int_equal(access(path, F_OK), -1);
}

/* What was written after it was last known where the log ends is cut off, also over a rotation. */
static void test_cut(void **state) {
        _cleanup_(output_log_freep) OutputLog *a = NULL, *b = NULL;
        uint64_t start, known, end;

        assert_int_equal(output_log_new(path, 4096, &a, NULL), 0);
        assert_int_equal(output_log_write(a, OUTPUT_STDOUT, "kept\n", 5), 5);
        known = output_log_end(a);
        assert_int_equal(output_log_write(a, OUTPUT_STDERR, "not known\n", 10), 10);
        assert_int_equal(output_log_reopen(path, 4096, 0, &b, NULL), 0);
        assert_int_equal(output_log_cut(b, known, NULL), 0);
        assert_int_equal(output_log_end(b), known);
        for (unsigned i = 0; i < 60; i++)
                assert_int_equal(output_log_write(b, OUTPUT_STDOUT, "0123456789\n", 11), 11);
        start = output_log_start(b);
        end = output_log_end(b);
        b = output_log_free(b);
        /* Into the older file. */
        assert_int_equal(output_log_reopen(path, 4096, start, &b, NULL), 0);
        assert_int_equal(output_log_cut(b, start + 51, NULL), 0);
        assert_int_equal(output_log_end(b), start + 51);
        b = output_log_free(b);
        /* Shorter than it was known to be: the oldest bytes are missing. */
        assert_int_equal(output_log_reopen(path, 4096, start, &b, NULL), 0);
        assert_int_equal(output_log_cut(b, end, NULL), 0);
        assert_int_equal(output_log_end(b), end);
        assert_int_equal(output_log_start(b), end - 51);
        output_log_remove_files(b);
}

static void test_lines(void **state) {
        static const struct {
                const char *text;
                ssize_t len;
        } lines[] = {
                { "", 0 },
                { "2026-01-31T12:00:00.123456789Z stdout F x", 0 },
                { "2026-01-31T12:00:00.123456789Z stdout F x\n", 42 },
                { "2026-01-31T12:00:00.123456789Z stderr P \n", 41 },
                { "2026-01-31T12:00:00.123456789Z stdxxx P \n", -41 },
                { "2026-01-31T12:00:00.123456789Z stdout X \n", -41 },
                { "\n", -1 },
                { "garbage\n", -8 },
        };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                OutputLine line;

                assert_int_equal(output_line_parse(lines[i].text, strlen(lines[i].text), &line),
                                 lines[i].len);
        }
}

static int make_directory(void **state) {
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(path, sizeof(path), "%s/deep/er/c.log", directory);
        (void)snprintf(copy_path, sizeof(copy_path), "%s/copy.log", directory);
        return 0;
}

static int remove_directory(void **state) {
        char command[200];

        (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
        return system(command);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_format), cmocka_unit_test(test_lossless),
                cmocka_unit_test(test_cap),    cmocka_unit_test(test_history),
                cmocka_unit_test(test_reopen), cmocka_unit_test(test_cut),
                cmocka_unit_test(test_lines),
        };

        return cmocka_run_group_tests_name("stdio-log", tests, make_directory, remove_directory);
}
