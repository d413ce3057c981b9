/* SPDX-License-Identifier: Apache-2.0 */
/* A host's endpoint is saved between any two events of an exchange and goes on in a new process,
 * over a socket, with a higher epoch; the guest's endpoint stays. What was on the way is lost.
 * Also: which bytes are a checkpoint and which are refused. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/crc32c.h"
#include "lib/frame.h"
#include "tests/fakes/session-pair.h"

#define SOCKET_FD     3
#define CHECKPOINT_FD 4
#define EVENTS        40

extern char **environ;

/* Event k of the host's side and of the guest's. Both are known to both processes. */
static void host_event(Pair *p, int k) {
        if (k < 3)
                pair_open(p, 0, (uint32_t)k + 1);
        else if (k == EVENTS - 2)
                pair_shut(p, 0, 1);
        else
                (void)pair_write(p, 0, (uint32_t)k % 4, (size_t)(k * k * 3));
}

static void guest_event(Pair *p, int k) {
        if (k < 3)
                pair_open(p, 1, 3 - (uint32_t)k);
        else if (k == EVENTS - 1)
                pair_shut(p, 1, 1);
        else
                (void)pair_write(p, 1, (uint32_t)k % 3, (size_t)(k * 70));
}

/* What of an end is not in its checkpoint but its application's. */
typedef struct App {
        uint64_t written[PAIR_CHANNELS], got[PAIR_CHANNELS];
        bool shut[PAIR_CHANNELS], eof[PAIR_CHANNELS], open[PAIR_CHANNELS];
} App;

static void app_get(const PairEnd *e, App *a) {
        memcpy(a->written, e->written, sizeof(a->written));
        memcpy(a->got, e->got, sizeof(a->got));
        memcpy(a->shut, e->shut, sizeof(a->shut));
        memcpy(a->eof, e->eof, sizeof(a->eof));
        memcpy(a->open, e->open, sizeof(a->open));
}

static void app_put(const App *a, PairEnd *e) {
        memcpy(e->written, a->written, sizeof(a->written));
        memcpy(e->got, a->got, sizeof(a->got));
        memcpy(e->shut, a->shut, sizeof(a->shut));
        memcpy(e->eof, a->eof, sizeof(a->eof));
        memcpy(e->open, a->open, sizeof(a->open));
}

/* Moves bytes between one end and the socket once. 1: something moved; 0: nothing in 200 ms (or the
 * peer is gone). */
static int exchange(PairEnd *e, int fd) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        struct iovec iov[16];
        uint8_t bytes[3000];
        ssize_t n;
        int k, moved = 0;

        k = session_output(e->session, iov, ELEMENTSOF(iov));
        if (k > 0) {
                n = writev(fd, iov, k);
                if (n > 0) {
                        session_output_done(e->session, (size_t)n);
                        moved = 1;
                }
        }
        if (poll(&pfd, 1, moved ? 0 : 200) <= 0)
                return moved;
        n = read(fd, bytes, sizeof(bytes));
        if (n <= 0)
                return 0;
        e->error = session_input(e->session, bytes, (size_t)n, &e->text);
        return e->error == 0;
}

static bool host_finished(const PairEnd *e) {
        for (uint32_t c = 0; c < 4; c++)
                if (!session_channel_drained(e->session, c))
                        return false;
        return e->eof[1];
}

/* The new process: goes on at event argv[2]. Exit status 0: everything of the guest arrived. */
static int go_on(int from) {
        Pair p = {};
        PairEnd *e = &p.end[0];
        App app;
        off_t size = lseek(CHECKPOINT_FD, 0, SEEK_END);
        uint8_t *bytes;
        int result;

        e->pair = &p;
        if (size < (off_t)sizeof(app))
                return 10;
        bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, CHECKPOINT_FD, 0);
        if (bytes == MAP_FAILED)
                return 11;
        memcpy(&app, bytes, sizeof(app));
        app_put(&app, e);
        if (session_import(bytes + sizeof(app), (size_t)size - sizeof(app), &pair_ops, e,
                           &e->session, &e->text) < 0)
                return 12;
        if (session_raise_epoch(e->session, 2, &e->text) < 0)
                return 13;
        session_attach(e->session);
        for (int k = from; k < EVENTS; k++) {
                host_event(&p, k);
                (void)exchange(e, SOCKET_FD);
        }
        for (int i = 0; i < 10000 && !host_finished(e) && e->error == 0; i++)
                (void)exchange(e, SOCKET_FD);
        app_get(e, &app);
        if (pwrite(CHECKPOINT_FD, &app, sizeof(app), 0) != sizeof(app))
                result = 14;
        else if (p.wrong || e->error < 0)
                result = 15;
        else
                result = host_finished(e) ? 0 : 16;
        pair_done(&p);
        return result;
}

static pid_t start(int socket_fd, int checkpoint_fd, int from) {
        posix_spawn_file_actions_t actions;
        char number[16];
        char *argv[] = { (char[]){ "test-session-move" }, (char[]){ "--go-on" }, number, NULL };
        pid_t pid;
        int r;

        (void)snprintf(number, sizeof(number), "%d", from);
        assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, socket_fd, SOCKET_FD), 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, checkpoint_fd, CHECKPOINT_FD),
                         0);
        r = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        assert_int_equal(r, 0);
        return pid;
}

static void move_at(int k) {
        _cleanup_buf_ Buf saved = {};
        _cleanup_close_ int fd = -EBADF, a = -EBADF, b = -EBADF;
        int sv[2], status = -1;
        Pair p;
        App app;
        pid_t pid;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        pair_connect(&p);
        for (int i = 0; i < k; i++) {
                host_event(&p, i);
                guest_event(&p, i);
                for (int end = 0; end < 2; end++) { /* some of it gets through */
                        (void)pair_output(&p, end, (size_t)(300 + i * 40));
                        (void)pair_input(&p, !end, (size_t)(250 + i * 40));
                }
        }
        session_freeze(p.end[0].session);
        app_get(&p.end[0], &app);
        assert_int_equal(buf_append(&saved, &app, sizeof(app)), 0);
        assert_int_equal(session_save(p.end[0].session, &saved, NULL), 0);

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
        a = fcntl(sv[0], F_DUPFD_CLOEXEC, 10); /* beyond the numbers used in the new process */
        b = fcntl(sv[1], F_DUPFD_CLOEXEC, 10);
        (void)close(sv[0]);
        (void)close(sv[1]);
        fd = fcntl(memfd_create("checkpoint", MFD_CLOEXEC), F_DUPFD_CLOEXEC, 10);
        assert_true(a >= 0 && b >= 0 && fd >= 0);
        assert_int_equal(write(fd, saved.data, saved.len), saved.len);
        pid = start(b, fd, k);
        b = close_fd(b);

        for (int i = k; i < EVENTS; i++) { /* the guest has noticed nothing so far */
                guest_event(&p, i);
                (void)exchange(&p.end[1], a);
        }
        while (waitpid(pid, &status, WNOHANG) == 0)
                (void)exchange(&p.end[1], a);
        while (exchange(&p.end[1], a) > 0)
                ;
        assert_int_equal(pread(fd, &app, sizeof(app), 0), sizeof(app));
        app_put(&app, &p.end[0]);
        if (status != 0 || !pair_complete(&p))
                fail_msg("moved at event %d: status 0x%x, %s", k, (unsigned)status,
                         p.wrong ?: "not all arrived");
        assert_int_equal(p.end[1].error, 0);
        assert_int_equal(session_epoch(p.end[1].session), 2);
        pair_done(&p);
}

static void test_move(void **state) {
        for (int k = 0; k <= EVENTS; k++)
                move_at(k);
}

static void checkpoint(Buf *ret) {
        Pair p;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        pair_connect(&p);
        for (int k = 0; k < 12; k++) {
                host_event(&p, k);
                guest_event(&p, k);
                (void)pair_output(&p, 0, 700);
                (void)pair_input(&p, 1, 700);
                (void)pair_output(&p, 1, 300);
                pair_hold(&p, 0, 1, true);
                (void)pair_input(&p, 0, 300);
        }
        assert_int_equal(session_save(p.end[0].session, ret, NULL), 0);
        pair_done(&p);
}

static int import(const uint8_t *p, size_t n, Error *e) {
        PairEnd end = {};
        Pair pair = {};
        Session *s = NULL;
        int r;

        end.pair = &pair;
        r = session_import(p, n, &pair_ops, &end, &s, e);
        assert_true((r < 0) == (s == NULL));
        if (s) { /* whatever was accepted can be used */
                _cleanup_buf_ Buf again = {};

                assert_int_equal(session_save(s, &again, NULL), 0);
                assert_int_equal(again.len, n);
                assert_memory_equal(again.data, p, n);
                session_attach(s);
                (void)session_output(s, (struct iovec[4]){}, 4);
        }
        (void)session_free(s);
        return r;
}

static void test_prefixes(void **state) {
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;

        checkpoint(&b);
        assert_true(b.len > 1000);
        assert_int_equal(import(b.data, b.len, &e), 0);
        for (size_t n = 0; n < b.len; n++)
                assert_int_equal(import(b.data, n, &e), -EBADMSG);
        put_le16(b.data + 4, 2);
        assert_int_equal(import(b.data, b.len, &e), -EPROTONOSUPPORT);
        assert_string_equal(e.text, "session checkpoint of version 2, only 1 is read");
}

static void test_flips(void **state) {
        _cleanup_buf_ Buf b = {};
        unsigned taken = 0;

        checkpoint(&b);
        for (size_t i = 0; i < b.len; i++) {
                Error e = ERROR_INIT;
                uint8_t old = b.data[i];
                int r;

                b.data[i] ^= (uint8_t)(1U << i % 8);
                assert_true(import(b.data, b.len, &e) < 0);
                for (unsigned bit = 0; bit < 8; bit++) { /* with the sum put right */
                        b.data[i] = (uint8_t)(old ^ 1U << bit);
                        put_le32(b.data + b.len - 4, crc32c(0, b.data, b.len - 4));
                        r = import(b.data, b.len, &e);
                        assert_true(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
                        taken += r == 0;
                }
                b.data[i] = old;
                put_le32(b.data + b.len - 4, crc32c(0, b.data, b.len - 4));
        }
        print_message("# %u of %zu changes make another checkpoint\n", taken, b.len * 8);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_move),
                cmocka_unit_test(test_prefixes),
                cmocka_unit_test(test_flips),
        };

        if (argc > 2 && strcmp(argv[1], "--go-on") == 0)
                return go_on((int)strtol(argv[2], NULL, 10));
        return cmocka_run_group_tests_name("session-move", tests, NULL, NULL);
}
