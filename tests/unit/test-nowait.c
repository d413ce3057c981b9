/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that other processes have open, too: no call waits, and theirs stay as they were.
 * rows: B5 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim/ferry/nowait.h"

/* fds[0] is read, fds[1] written. */
static void open_pair(bool socket, int fds[2]) {
        assert_int_equal(socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                                : pipe2(fds, O_CLOEXEC),
                         0);
        nowait_prepare(fds[0]);
        nowait_prepare(fds[1]);
}

static void close_pair(const int fds[2]) {
        assert_int_equal(close(fds[0]), 0);
        assert_int_equal(close(fds[1]), 0);
}

static void nothing_waits(bool socket) {
        static char block[65536], got[65536];
        size_t sent = 0, came = 0;
        ssize_t n;
        int fds[2];

        open_pair(socket, fds);
        assert_int_equal(nowait_read(fds[0], got, sizeof(got)), -1);
        assert_int_equal(errno, EAGAIN);
        while ((n = nowait_write(fds[1], block, sizeof(block))) > 0)
                sent += (size_t)n;
        assert_int_equal(errno, EAGAIN);
        assert_true(sent > 0);
        n = nowait_writev(fds[1], &(struct iovec){ block, 1 }, 1);
        assert_int_equal(n, -1);
        assert_int_equal(errno, EAGAIN);
        while ((n = nowait_read(fds[0], got, sizeof(got))) > 0)
                came += (size_t)n;
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(came, sent);
        n = nowait_writev(fds[1], (struct iovec[]){ { "ab", 2 }, { "c", 1 } }, 2);
        assert_int_equal(n, 3);
        assert_int_equal(nowait_read(fds[0], got, sizeof(got)), 3);
        assert_memory_equal(got, "abc", 3);
        close_pair(fds);
}

static void test_socket(void **state) {
        nothing_waits(true);
}

static void test_pipe(void **state) {
        nothing_waits(false);
}

static void test_shared(void **state) {
        int fds[2];

        open_pair(true, fds);
        assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
        assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
        close_pair(fds);
}

/* A SIGPIPE would end the test. */
static void test_reader_gone(void **state) {
        int fds[2];

        open_pair(true, fds);
        assert_int_equal(close(fds[0]), 0);
        assert_int_equal(nowait_write(fds[1], "x", 1), -1);
        assert_int_equal(errno, EPIPE);
        assert_int_equal(nowait_writev(fds[1], &(struct iovec){ "x", 1 }, 1), -1);
        assert_int_equal(errno, EPIPE);
        assert_int_equal(close(fds[1]), 0);
}

static void test_end(void **state) {
        char c;

        for (int socket = 0; socket < 2; socket++) {
                int fds[2];

                open_pair(socket, fds);
                assert_int_equal(close(fds[1]), 0);
                assert_int_equal(nowait_read(fds[0], &c, 1), 0);
                assert_int_equal(close(fds[0]), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_socket), cmocka_unit_test(test_pipe),
                cmocka_unit_test(test_shared), cmocka_unit_test(test_reader_gone),
                cmocka_unit_test(test_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
