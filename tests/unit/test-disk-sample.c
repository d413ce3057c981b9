/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F16: what of a file is not zero: neither its holes nor the zeroes that take room count. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hostdev/disk/sample.h"
#include "lib/cleanup.h"

#define MIB (1 << 20)

typedef struct Row {
        const char *name;
        /* MiB from, to: first that of zeroes, then that of data; the file has 64 */
        unsigned zeroes[2], data[2];
        unsigned least, most; /* MiB */
} Row;

static const Row rows[] = {
        { "a hole", { 0, 0 }, { 0, 0 }, 0, 0 },
        { "zeroes that take room", { 0, 32 }, { 0, 0 }, 0, 0 },
        { "all data", { 0, 0 }, { 0, 64 }, 64, 64 },
        { "data at the end", { 0, 0 }, { 48, 64 }, 16, 16 },
        { "data in a hole", { 0, 0 }, { 5, 13 }, 8, 8 },
        { "data among zeroes", { 0, 48 }, { 40, 44 }, 3, 5 },
};

static void fill(int fd, const unsigned *range, int byte) {
        static char piece[MIB];

        memset(piece, byte, sizeof(piece));
        for (unsigned i = range[0]; i < range[1]; i++)
                assert_int_equal(pwrite(fd, piece, MIB, (off_t)i * MIB), MIB);
}

static void test_row(void **state) {
        const Row *row = *state;
        char path[] = "/tmp/sample.XXXXXX";
        _cleanup_close_ int fd = mkstemp(path);
        uint64_t data = 0;
        int r;

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 64LL * MIB), 0);
        fill(fd, row->zeroes, 0);
        fill(fd, row->data, 7);
        r = disk_sample_data(path, &data, NULL);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(r, 0);
        assert_in_range(data / MIB, row->least, row->most);
}

static void test_none(void **state) {
        uint64_t data = 7;
        Error e = ERROR_INIT;

        assert_int_equal(disk_sample_data("/nonexistent/disk", &data, &e), -ENOENT);
        assert_non_null(strstr(e.text, "/nonexistent/disk"));
        assert_int_equal(data, 7);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 1] = { { .name = "no file",
                                                            .test_func = test_none } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[1 + i] = (struct CMUnitTest){ .name = rows[i].name,
                                                    .test_func = test_row,
                                                    .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("disk-sample", tests, NULL, NULL);
}
