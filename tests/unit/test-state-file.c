/* SPDX-License-Identifier: Apache-2.0 */
/* shim/state-file: the last sound record counts, whatever a kill left of a later one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/state-file.h"

static char dir[] = "/tmp/podferry-state.XXXXXX";
static char path[64], slots[2][80];

static int make_dir(void **state) {
        (void)snprintf(dir, sizeof(dir), "/tmp/podferry-state.XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        (void)snprintf(path, sizeof(path), "%s/state", dir);
        for (int i = 0; i < 2; i++)
                (void)snprintf(slots[i], sizeof(slots[i]), "%s.%d", path, i);
        return 0;
}

static int remove_dir(void **state) {
        (void)unlink(slots[0]);
        (void)unlink(slots[1]);
        return rmdir(dir);
}

static void put(StateFile *f, char *text) {
        struct iovec pieces[] = { { text, 1 }, { text + 1, strlen(text) - 1 } };

        assert_int_equal(state_file_write(f, pieces, 2, NULL), 0);
}

static void expect(const char *text) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT;
        _cleanup_buf_ Buf b = {};

        assert_int_equal(state_file_init(&f, path, NULL), 0);
        if (!text) {
                assert_int_equal(state_file_read(&f, &b, NULL), -ENOENT);
                return;
        }
        assert_int_equal(state_file_read(&f, &b, NULL), 0);
        assert_int_equal(b.len, strlen(text));
        assert_memory_equal(b.data, text, b.len);
}

static void damage(int slot, off_t at) {
        _cleanup_close_ int fd = open(slots[slot], O_RDWR);
        char c = 0;

        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &c, 1, at), 1);
        c = (char)(c ^ 0x10);
        assert_int_equal(pwrite(fd, &c, 1, at), 1);
}

static void test_last_counts(void **state) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT;

        assert_int_equal(state_file_init(&f, path, NULL), 0);
        expect(NULL);
        put(&f, (char[]){ "the first, a long one" });
        expect("the first, a long one");
        put(&f, (char[]){ "second" });
        expect("second");
        put(&f, (char[]){ "third" });
        expect("third");
}

static void test_torn(void **state) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT;

        assert_int_equal(state_file_init(&f, path, NULL), 0);
        put(&f, (char[]){ "first" });
        put(&f, (char[]){ "second" }); /* generation 2: slot 0 */
        for (off_t at = 0; at < 24 + 6; at++) {
                damage(0, at);
                expect("first");
                damage(0, at); /* and back */
                expect("second");
        }
        assert_int_equal(truncate(slots[0], 24 + 5), 0);
        expect("first");
        assert_int_equal(truncate(slots[0], 0), 0);
        expect("first");
        damage(1, 24);
        expect(NULL);
}

static void test_goes_on(void **state) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT, again = STATE_FILE_INIT;
        _cleanup_buf_ Buf b = {};

        assert_int_equal(state_file_init(&f, path, NULL), 0);
        put(&f, (char[]){ "first" });
        put(&f, (char[]){ "second" });
        damage(0, 24);
        assert_int_equal(state_file_init(&again, path, NULL), 0);
        assert_int_equal(state_file_read(&again, &b, NULL), 0);
        put(&again, (char[]){ "instead" });
        expect("instead");
        damage(0, 24);
        expect("first");
}

static void test_limits(void **state) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT;
        struct iovec pieces[7] = {};

        assert_int_equal(state_file_init(&f, path, NULL), 0);
        assert_int_equal(state_file_write(&f, pieces, 7, NULL), -EINVAL);
        pieces[0].iov_len = STATE_FILE_MAX + 1U;
        assert_int_equal(state_file_write(&f, pieces, 1, NULL), -EFBIG);
        expect(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_last_counts, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_torn, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_goes_on, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(test_limits, make_dir, remove_dir),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
