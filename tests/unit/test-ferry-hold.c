/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps libvirt from deciding before the shims have: the peer's answers are held back, then
 * let go or cut, and connections of the other kinds notice nothing.
 * rows: H2 F82 F34 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/ferry-rig.h"

static int dial(const Rig *r, FerryKind kind) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const struct timeval limit = { .tv_sec = 30 }; /* a hang is a failure */
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        rig_path(r, kind, true, address.sun_path, sizeof(address.sun_path));
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
        return fd;
}

static void say(int fd, const char *text) {
        assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int fd, const char *text) {
        char got[64];

        assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
        assert_memory_equal(got, text, strlen(text));
}

static void hear_nothing(int fd) {
        char byte;

        assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
}

static void hear_the_end(int fd) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, 0);

        assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* The counters are published after each pass of the ferry's thread. */
static void until_sent(Ferry *f, FerryKind kind, uint64_t bytes) {
        time_t end = time(NULL) + 60;
        FerryCounters n;

        for (;;) {
                ferry_counters(f, &n);
                if (n.kind[kind].sent >= bytes)
                        return;
                assert_true(time(NULL) < end);
                (void)poll(NULL, 0, 1);
        }
}

static void until_open(Ferry *f, FerryKind kind, uint32_t open) {
        time_t end = time(NULL) + 60;
        FerryCounters n;

        for (;;) {
                ferry_counters(f, &n);
                if (n.kind[kind].open == open)
                        return;
                assert_true(time(NULL) < end);
                (void)poll(NULL, 0, 1);
        }
}

/* What came over the transport before these bytes has come when they are all back: and the hold,
 * which was asked for before, is in force. */
static void exchange(Rig *r, FerryKind kind) {
        Client c[] = { { .kind = kind, .bytes = 300000 } };

        rig_run_clients(r, c, 1);
        assert_true(c[0].ok);
}

static void up(Rig *r) {
        rig_up(r, NULL);
        rig_serve(r, FERRY_LIBVIRT, SERVE_ECHO);
        rig_serve(r, FERRY_DISK, SERVE_ECHO);
        rig_plug(r);
        exchange(r, FERRY_DISK);
}

static void test_hold(void **state) {
        Rig r = { .seed = 21 };
        FerryCounters n;
        int fd, later;

        up(&r);
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "before");
        hear(fd, "before");
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, true, NULL), 0);
        exchange(&r, FERRY_DISK);
        say(fd, "answer me");
        until_sent(r.destination, FERRY_LIBVIRT, strlen("before") + strlen("answer me"));
        exchange(&r, FERRY_DISK);
        hear_nothing(fd);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_LIBVIRT].received, strlen("before"));
        later = dial(&r, FERRY_LIBVIRT); /* one that is made meanwhile is held as well */
        say(later, "hello");
        until_sent(r.destination, FERRY_LIBVIRT,
                   strlen("before"
                          "answer me"
                          "hello"));
        exchange(&r, FERRY_DISK);
        hear_nothing(later);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, false, NULL), 0);
        hear(fd, "answer me");
        hear(later, "hello");
        say(fd, "and on");
        hear(fd, "and on");
        (void)close(fd);
        (void)close(later);
        rig_down(&r);
}

/* A peer that closes while it is held: its last words and its end come after. */
static void test_hold_end(void **state) {
        Rig r = { .seed = 22 };
        int fd;

        up(&r);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, true, NULL), 0);
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "last words");
        assert_int_equal(shutdown(fd, SHUT_WR), 0); /* the echo ends when this does */
        until_sent(r.destination, FERRY_LIBVIRT, strlen("last words"));
        exchange(&r, FERRY_DISK);
        hear_nothing(fd);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, false, NULL), 0);
        hear(fd, "last words");
        hear_the_end(fd);
        (void)close(fd);
        rig_down(&r);
}

/* A socket that takes no more; returns how much it took. */
static size_t fill(int fd) {
        static const char many[1 << 20];
        size_t sent = 0;

        for (;;) {
                ssize_t k = send(fd, many, sizeof(many), MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k < 0)
                        return sent;
                sent += (size_t)k;
        }
}

/* As QEMU waits: for nothing but room. */
static void hear_that_nobody_reads(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        time_t end = time(NULL) + 60;

        do { /* what it read before it was told so made room */
                assert_true(time(NULL) < end);
                (void)fill(fd);
                (void)poll(&p, 1, 10);
        } while (!(p.revents & POLLOUT) || send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0);
        assert_int_equal(errno, EPIPE);
}

/* Stalled: what is said here waits at its socket, from the first byte on, and who says much stands.
 */
static void test_stall(void **state) {
        Rig r = { .seed = 24 };
        FerryCounters n;
        int fd, disk;
        size_t sent;

        up(&r);
        assert_int_equal(ferry_stall(r.destination, FERRY_LIBVIRT, true, NULL), -EOPNOTSUPP);
        assert_int_equal(ferry_stall(r.source, FERRY_LIBVIRT, true, NULL), 0);
        fd = dial(&r, FERRY_LIBVIRT);
        until_open(r.destination, FERRY_LIBVIRT, 1);
        say(fd, "first");
        sent = strlen("first") + fill(fd);
        disk = dial(&r, FERRY_DISK);
        say(disk, "mine");
        hear(disk, "mine");
        exchange(&r, FERRY_DISK);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_LIBVIRT].sent, 0);
        assert_int_equal(ferry_stall(r.source, FERRY_LIBVIRT, false, NULL), 0);
        hear(fd, "first");
        until_sent(r.source, FERRY_LIBVIRT, sent);
        (void)close(fd);
        (void)close(disk);
        rig_down(&r);
}

/* Its owner goes, or it is deafened, while it is stalled: both ends are told. */
static void test_stall_end(void **state) {
        Rig r = { .seed = 25 };
        int fd;

        up(&r);
        assert_int_equal(ferry_stall(r.source, FERRY_LIBVIRT, true, NULL), 0);
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "and gone");
        until_open(r.destination, FERRY_LIBVIRT, 1);
        (void)close(fd);
        until_open(r.source, FERRY_LIBVIRT, 0);
        until_open(r.destination, FERRY_LIBVIRT, 0);
        fd = dial(&r, FERRY_LIBVIRT);
        (void)fill(fd);
        until_open(r.destination, FERRY_LIBVIRT, 1);
        assert_int_equal(ferry_deafen(r.source, FERRY_LIBVIRT, NULL), 0);
        hear_that_nobody_reads(fd);
        until_open(r.destination, FERRY_LIBVIRT, 0);
        (void)close(fd);
        until_open(r.source, FERRY_LIBVIRT, 0);
        rig_down(&r);
}

/* One whose channel is full, with no transport on which it could get empty: who stands before it is
 * told all the same. */
static void test_full(void **state) {
        for (int cut = 0; cut < 2; cut++) {
                Rig r = { .seed = 28 };
                FerryCounters n = {};
                uint64_t taken;
                int fd;

                rig_up(&r, NULL);
                fd = dial(&r, FERRY_LIBVIRT);
                do { /* until all that is read no more has come to stand in the socket */
                        taken = n.kind[FERRY_LIBVIRT].sent;
                        (void)fill(fd);
                        (void)poll(NULL, 0, 20);
                        ferry_counters(r.source, &n);
                } while (n.kind[FERRY_LIBVIRT].sent > taken);
                (void)fill(fd);
                assert_int_equal(cut ? ferry_refuse(r.source, FERRY_LIBVIRT, NULL)
                                     : ferry_deafen(r.source, FERRY_LIBVIRT, NULL),
                                 0);
                hear_that_nobody_reads(fd);
                (void)close(fd);
                rig_down(&r);
        }
}

/* Cut while held: nothing of what was held comes out, both ends hear that it is over, and only
 * those connections that there were. */
static void test_cut(void **state) {
        Rig r = { .seed = 23 };
        int fd, disk, later;

        up(&r);
        fd = dial(&r, FERRY_LIBVIRT);
        disk = dial(&r, FERRY_DISK);
        say(disk, "mine");
        hear(disk, "mine");
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, true, NULL), 0);
        say(fd, "moved?");
        until_sent(r.destination, FERRY_LIBVIRT, strlen("moved?"));
        exchange(&r, FERRY_DISK);
        assert_int_equal(ferry_cut(r.source, FERRY_LIBVIRT, NULL), 0);
        hear_the_end(fd);
        (void)close(fd);
        until_open(r.source, FERRY_LIBVIRT, 0);
        until_open(r.destination, FERRY_LIBVIRT, 0);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, false, NULL), 0);
        later = dial(&r, FERRY_LIBVIRT);
        say(later, "again");
        hear(later, "again");
        say(disk, "still mine");
        hear(disk, "still mine");
        (void)close(later);
        (void)close(disk);
        rig_down(&r);
}

/* Refused: as cut, and so is whoever comes later; other kinds go on. */
static void test_refuse(void **state) {
        Rig r = { .seed = 27 };
        int fd, later;

        up(&r);
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "there?");
        hear(fd, "there?");
        assert_int_equal(ferry_refuse(r.source, FERRY_LIBVIRT, NULL), 0);
        hear_the_end(fd);
        later = dial(&r, FERRY_LIBVIRT);
        hear_the_end(later);
        (void)close(fd);
        (void)close(later);
        until_open(r.source, FERRY_LIBVIRT, 0);
        exchange(&r, FERRY_DISK);
        rig_down(&r);
}

static bool saw_closed(Rig *r, void *count) {
        return r->events[0][FERRY_EVENT_CLOSED] >= *(unsigned *)count;
}

static void until_refused(int fd) {
        time_t end = time(NULL) + 60;

        while (send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0 || errno != EPIPE) {
                assert_true(time(NULL) < end);
                (void)poll(NULL, 0, 1);
        }
}

/* Deafened: who writes is told, also in the middle of more than there is room for, but only its
 * owner's close() counts; whatever the other side does. Nobody comes later. */
static void test_deafen(void **state) {
        static char much[1 << 20];
        Rig r = { .seed = 28 };
        unsigned none = 0, first = 1, second = 2;
        int fd, later;

        up(&r);
        rig_serve(&r, FERRY_MEMORY, SERVE_ECHO);
        fd = dial(&r, FERRY_MEMORY);
        say(fd, "there?");
        hear(fd, "there?");
        assert_int_equal(ferry_hold(r.source, FERRY_MEMORY, true, NULL), 0);
        while (send(fd, much, sizeof(much), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
                ; /* nobody takes the echo, so it is full */
        assert_int_equal(ferry_deafen(r.source, FERRY_MEMORY, NULL), 0);
        until_refused(fd);
        until_open(r.destination, FERRY_MEMORY, 0);
        exchange(&r, FERRY_DISK);
        rig_run(&r, saw_closed, &none);
        assert_int_equal(r.events[0][FERRY_EVENT_CLOSED], 0);
        (void)close(fd);
        rig_run(&r, saw_closed, &first);
        later = dial(&r, FERRY_MEMORY);
        hear_the_end(later);
        (void)close(later);
        until_open(r.source, FERRY_MEMORY, 0);

        assert_int_equal(ferry_deafen(r.source, FERRY_LIBVIRT, NULL), 0); /* there is none */
        rig_run(&r, saw_closed, &second);
        rig_down(&r);
}

/* At the destination's end, and with nothing there. */
static void test_cut_there(void **state) {
        Rig r = { .seed = 24 };
        int fd;

        up(&r);
        assert_int_equal(ferry_cut(r.destination, FERRY_LIBVIRT, NULL), 0);
        exchange(&r, FERRY_DISK); /* or the next connection might be cut, too */
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "there?");
        hear(fd, "there?");
        assert_int_equal(ferry_cut(r.destination, FERRY_LIBVIRT, NULL), 0);
        hear_the_end(fd);
        (void)close(fd);
        until_open(r.source, FERRY_LIBVIRT, 0);
        exchange(&r, FERRY_LIBVIRT);
        rig_down(&r);
}

/* Held over the loss of a transport, whose session sends again what it kept. */
static void test_hold_torn(void **state) {
        FerryEventType up_again = FERRY_EVENT_UP;
        Rig r = { .seed = 25 };
        int fd;

        up(&r);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, true, NULL), 0);
        fd = dial(&r, FERRY_LIBVIRT);
        say(fd, "once");
        until_sent(r.destination, FERRY_LIBVIRT, strlen("once"));
        r.events[0][up_again] = r.events[1][up_again] = 0;
        rig_plug(&r);
        rig_run(&r, rig_saw, &up_again);
        exchange(&r, FERRY_DISK);
        hear_nothing(fd);
        assert_int_equal(ferry_hold(r.source, FERRY_LIBVIRT, false, NULL), 0);
        hear(fd, "once");
        exchange(&r, FERRY_DISK);
        hear_nothing(fd);
        (void)close(fd);
        rig_down(&r);
}

static void test_kinds(void **state) {
        static const int bad[] = { FERRY_MESSAGES, _FERRY_KIND_MAX, -1 };
        Rig r = { .seed = 26 };
        Error e = ERROR_INIT;

        rig_up(&r, NULL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(ferry_hold(r.source, (FerryKind)bad[i], true, &e), -EINVAL);
                assert_non_null(strstr(e.text, "kind"));
                assert_int_equal(ferry_cut(r.source, (FerryKind)bad[i], &e), -EINVAL);
        }
        rig_down(&r);
}

static double seconds(void) {
        struct timespec t;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Never faster than it may be, all connections of the kind together, and nothing is lost. */
static void test_pace(void **state) {
        Client c[] = { { .kind = FERRY_DISK, .bytes = 2500000 },
                       { .kind = FERRY_DISK, .bytes = 1500000 },
                       { .kind = FERRY_LIBVIRT, .bytes = 5000000 } };
        Rig r = { .seed = 71 };
        double begin;

        up(&r);
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 4000000, NULL), 0);
        exchange(&r, FERRY_LIBVIRT);
        begin = seconds();
        rig_run_clients(&r, c, 3);
        /* A burst may be there at once, and what is in both sockets when they are shut. */
        assert_true(seconds() - begin >= (4000000.0 - 200000 - 2 * 1000000) / 4000000.0);
        for (size_t i = 0; i < 3; i++)
                assert_true(c[i].ok);
        rig_down(&r);
}

/* So slow that nothing goes: the others go on, and so does it once it may. */
static void test_pace_again(void **state) {
        Rig r = { .seed = 72 };
        FerryCounters n;
        uint64_t before;
        int fd;

        up(&r);
        ferry_counters(r.source, &n);
        before = n.kind[FERRY_DISK].sent;
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 1, NULL), 0);
        exchange(&r, FERRY_LIBVIRT);
        fd = dial(&r, FERRY_DISK);
        say(fd, "slowly");
        exchange(&r, FERRY_LIBVIRT);
        hear_nothing(fd);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_DISK].sent, before);
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 100000000, NULL), 0);
        hear(fd, "slowly");
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 1, NULL), 0);
        exchange(&r, FERRY_LIBVIRT);
        say(fd, "and on");
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, UINT64_MAX, NULL), 0); /* no limit */
        hear(fd, "and on");
        (void)close(fd);
        rig_down(&r);
}

/* One that hangs up meanwhile, and one that is cut, end. */
static void test_pace_end(void **state) {
        Rig r = { .seed = 73 };
        int fd, other;

        up(&r);
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 1, NULL), 0);
        exchange(&r, FERRY_LIBVIRT);
        fd = dial(&r, FERRY_DISK);
        say(fd, "never");
        until_open(r.destination, FERRY_DISK, 1);
        assert_int_equal(ferry_cut(r.source, FERRY_DISK, NULL), 0);
        hear_the_end(fd);
        until_open(r.destination, FERRY_DISK, 0);
        other = dial(&r, FERRY_DISK);
        say(other, "last");
        assert_int_equal(shutdown(other, SHUT_WR), 0);
        assert_int_equal(ferry_pace(r.source, FERRY_DISK, 0, NULL), 0);
        hear(other, "last");
        hear_the_end(other);
        (void)close(fd);
        (void)close(other);
        rig_down(&r);
}

static void test_pace_bad(void **state) {
        Rig r = { .seed = 74 };

        up(&r);
        assert_int_equal(ferry_pace(r.destination, FERRY_DISK, 1, NULL), -EOPNOTSUPP);
        assert_int_equal(ferry_pace(r.source, FERRY_MESSAGES, 1, NULL), -EINVAL);
        assert_int_equal(ferry_pace(r.source, _FERRY_KIND_MAX, 1, NULL), -EINVAL);
        rig_down(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hold),       cmocka_unit_test(test_hold_end),
                cmocka_unit_test(test_stall),      cmocka_unit_test(test_stall_end),
                cmocka_unit_test(test_full),       cmocka_unit_test(test_cut),
                cmocka_unit_test(test_cut_there),  cmocka_unit_test(test_hold_torn),
                cmocka_unit_test(test_kinds),      cmocka_unit_test(test_refuse),
                cmocka_unit_test(test_deafen),     cmocka_unit_test(test_pace),
                cmocka_unit_test(test_pace_again), cmocka_unit_test(test_pace_end),
                cmocka_unit_test(test_pace_bad),
        };

        return cmocka_run_group_tests_name("ferry-hold", tests, NULL, NULL);
}
