/* SPDX-License-Identifier: Apache-2.0 */
/* The relay of a migration, both ends in one process, over real sockets.
 * rows: B5 B6 F82 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/ferry-rig.h"

static void check_all(Client *clients, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (!clients[i].ok)
                        print_error("client %zu: %zu sent, %zu back of %zu\n", i, clients[i].sent,
                                    clients[i].received, clients[i].bytes);
                assert_true(clients[i].ok);
        }
}

/* The counters follow the bytes by the end of the pass that moved them. */
static bool all_counted(Rig *r, void *clients) {
        const Client *c = clients;
        FerryCounters n;

        ferry_counters(r->source, &n);
        for (size_t i = 0; i < 3; i++)
                if (n.kind[c[i].kind].received < c[i].bytes)
                        return false;
        return true;
}

static bool all_ended(Rig *r, void *n) {
        return r->events[0][FERRY_EVENT_ENDED] >= *(unsigned *)n &&
               r->events[1][FERRY_EVENT_ENDED] >= *(unsigned *)n;
}

static void test_three_kinds(void **state) {
        Rig r = { .seed = 1 };
        Client c[] = { { .kind = FERRY_LIBVIRT, .bytes = 1 },
                       { .kind = FERRY_MEMORY, .bytes = 20 << 20 },
                       { .kind = FERRY_DISK, .bytes = 3000000 } };
        FerryEventType connected = FERRY_EVENT_CONNECTED;
        unsigned ended = ELEMENTSOF(c);
        FerryCounters n;

        rig_up(&r, NULL);
        for (FerryKind k = FERRY_LIBVIRT; k < _FERRY_KIND_MAX; k++)
                rig_serve(&r, k, SERVE_ECHO);
        rig_plug(&r);
        rig_run_clients(&r, c, ELEMENTSOF(c));
        check_all(c, ELEMENTSOF(c));
        rig_run(&r, rig_saw, &connected);
        rig_run(&r, all_counted, c);
        rig_run(&r, all_ended, &ended);
        for (int i = 0; i < 2; i++) { /* both ends know that nothing is on its way any more */
                assert_int_equal(r.events[i][FERRY_EVENT_ENDED], ended);
                ferry_counters(i ? r.destination : r.source, &n);
                for (FerryKind k = FERRY_LIBVIRT; k < _FERRY_KIND_MAX; k++)
                        assert_int_equal(n.kind[k].open, 0);
        }
        assert_int_equal(r.events[0][FERRY_EVENT_UP], 1);
        assert_int_equal(r.events[1][FERRY_EVENT_UP], 1);
        ferry_counters(r.source, &n);
        for (size_t i = 0; i < ELEMENTSOF(c); i++) {
                assert_int_equal(n.kind[c[i].kind].sent, c[i].bytes);
                assert_int_equal(n.kind[c[i].kind].received, c[i].bytes);
                assert_int_equal(n.kind[c[i].kind].opened, 1);
        }
        assert_true(n.up);
        assert_in_range(n.transport_sent, 23000001, 26000000);
        rig_down(&r);
}

/* What the server says after the client's end-of-stream still arrives. */
static void test_half_close(void **state) {
        Rig r = { .seed = 2 };
        Client c[8];

        rig_up(&r, NULL);
        rig_serve(&r, FERRY_MEMORY, SERVE_LATER);
        rig_plug(&r);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (Client){ .kind = FERRY_MEMORY, .bytes = i * 100000 };
        rig_run_clients(&r, c, ELEMENTSOF(c));
        check_all(c, ELEMENTSOF(c));
        rig_down(&r);
}

/* The transport tears again and again, at any byte; every connection is exact all the same. */
static void tear(size_t every, bool pipes, size_t n, size_t bytes, uint64_t seed) {
        Rig r = { .seed = seed, .tear_every = every, .pipes = pipes };
        Client c[RIG_CLIENTS_MAX];

        print_message("# seed %llu\n", (unsigned long long)seed);
        rig_up(&r, NULL);
        rig_serve(&r, FERRY_MEMORY, SERVE_ECHO);
        rig_serve(&r, FERRY_DISK, SERVE_LATER);
        rig_plug(&r);
        for (size_t i = 0; i < n; i++)
                c[i] = (Client){ .kind = i % 2 ? FERRY_DISK : FERRY_MEMORY, .bytes = bytes };
        rig_run_clients(&r, c, n);
        check_all(c, n);
        assert_true(r.tears > 2);
        assert_int_equal(r.events[0][FERRY_EVENT_FAILED] + r.events[1][FERRY_EVENT_FAILED], 0);
        rig_down(&r);
}

static void test_torn_transport(void **state) {
        tear(300000, false, 6, 1000000, (uint64_t)time(NULL));
}

static void test_torn_often(void **state) {
        tear(60000, false, 2, 500000, (uint64_t)time(NULL));
}

static void test_torn_pipes(void **state) {
        tear(300000, true, 4, 1000000, (uint64_t)time(NULL));
}

static void test_replaced_unasked(void **state) {
        Rig r = { .seed = 3 };
        Client c[] = { { .kind = FERRY_MEMORY, .bytes = 8 << 20 } };
        FerryEventType up = FERRY_EVENT_UP;

        rig_up(&r, NULL);
        rig_serve(&r, FERRY_MEMORY, SERVE_ECHO);
        for (int i = 0; i < 5; i++) {
                rig_plug(&r);
                rig_run(&r, rig_saw, &up);
                r.events[0][up] = r.events[1][up] = 0;
        }
        r.tear_every = SIZE_MAX / 4; /* plug again if the last replacement was seen as a loss */
        rig_run_clients(&r, c, 1);
        check_all(c, 1);
        rig_down(&r);
}

static void test_many_at_once(void **state) {
        Rig r = { .seed = 4 };
        Client c[64];

        rig_up(&r, NULL);
        rig_serve(&r, FERRY_DISK, SERVE_ECHO);
        rig_plug(&r);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (Client){ .kind = FERRY_DISK, .bytes = 200000 + i };
        rig_run_clients(&r, c, ELEMENTSOF(c));
        check_all(c, ELEMENTSOF(c));
        rig_down(&r);
}

/* More than may be open at once: the rest waits its turn and is served. */
static void test_limit(void **state) {
        const FerryConfig config = { .max_connections = 3 };
        Rig r = { .seed = 5 };
        Client c[20];

        rig_up(&r, &config);
        rig_serve(&r, FERRY_DISK, SERVE_ECHO);
        rig_plug(&r);
        for (size_t i = 0; i < ELEMENTSOF(c); i++)
                c[i] = (Client){ .kind = FERRY_DISK, .bytes = 100000 };
        rig_run_clients(&r, c, ELEMENTSOF(c));
        check_all(c, ELEMENTSOF(c));
        rig_down(&r);
}

static uint64_t cpu_ms(void) {
        struct rusage u;

        assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
        return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
               (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

typedef struct Slow {
        Client client;
        pthread_t thread;
        Rig *rig;
} Slow;

static int dial(const Rig *r, FerryKind kind) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        rig_path(r, kind, true, address.sun_path, sizeof(address.sun_path));
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

/* A reader that does not read stops its own connection, costs nothing, and loses nothing. */
static void test_slow_reader(void **state) {
        _cleanup_free_ uint8_t *bytes = malloc(32 << 20);
        size_t sent = 0, back = 0, total = 32 << 20;
        Rig r = { .seed = 6 };
        Client c[] = { { .kind = FERRY_DISK, .bytes = 4 << 20 } };
        FerryCounters n;
        uint64_t before;
        ssize_t k;
        int fd;

        assert_non_null(bytes);
        for (size_t i = 0; i < total; i++)
                bytes[i] = (uint8_t)(i * 7 + (i >> 12));
        rig_up(&r, NULL);
        rig_serve(&r, FERRY_MEMORY, SERVE_HOLD);
        rig_serve(&r, FERRY_DISK, SERVE_ECHO);
        rig_plug(&r);
        fd = dial(&r, FERRY_MEMORY);
        for (;;) { /* until nothing more went in for 200 ms */
                struct pollfd p = { .fd = fd, .events = POLLOUT };

                if (poll(&p, 1, 200) == 0)
                        break;
                k = send(fd, bytes + sent, total - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                assert_true(k > 0);
                sent += (size_t)k;
                assert_true(sent < total);
        }
        assert_true(sent < 16U << 20); /* bounded: the window and some socket buffers */
        rig_run_clients(&r, c, 1);
        check_all(c, 1);
        before = cpu_ms();
        (void)poll(NULL, 0, 300);
        assert_true(cpu_ms() - before < 60);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_MEMORY].open, 1);
        atomic_store(&r.release, true);
        while (sent < total) {
                k = send(fd, bytes + sent, total - sent, MSG_NOSIGNAL);
                assert_true(k > 0);
                sent += (size_t)k;
        }
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        for (;;) {
                uint8_t got[65536];

                k = read(fd, got, sizeof(got));
                if (k <= 0)
                        break;
                assert_true(back + (size_t)k <= total);
                assert_memory_equal(got, bytes + back, (size_t)k);
                back += (size_t)k;
        }
        assert_int_equal(k, 0);
        assert_int_equal(back, total);
        (void)close(fd);
        rig_down(&r);
}

static void test_nobody_there(void **state) {
        FerryEventType refused = FERRY_EVENT_REFUSED;
        Client c[] = { { .kind = FERRY_MEMORY, .bytes = 1 << 20 } };
        Rig r = { .seed = 7 };
        FerryCounters n;

        rig_up(&r, NULL);
        rig_plug(&r);
        rig_run_clients(&r, c, 1);
        assert_false(c[0].ok);
        assert_int_equal(c[0].received, 0);
        rig_run(&r, rig_saw, &refused);
        assert_int_equal(r.last[0].kind, FERRY_MEMORY);
        assert_int_equal(r.last[0].error.code, -ENOENT);
        assert_non_null(strstr(r.last[0].error.text, "at the peer: "));
        assert_non_null(strstr(r.last[0].error.text, "d-memory: No such file"));
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_MEMORY].refused, 1);
        /* and the ferry is as good as new */
        rig_serve(&r, FERRY_MEMORY, SERVE_ECHO);
        rig_run_clients(&r, c, 1);
        rig_down(&r);
}

/* The server goes away in the middle: whoever writes is told, nobody hangs. */
static void test_server_hangs_up(void **state) {
        Client c[] = { { .kind = FERRY_MEMORY, .bytes = 64 << 20 } };
        Rig r = { .seed = 8 };

        rig_up(&r, NULL);
        rig_serve(&r, FERRY_MEMORY, SERVE_HANG_UP);
        rig_plug(&r);
        rig_run_clients(&r, c, 1);
        assert_false(c[0].ok);
        assert_true(c[0].error == EPIPE || c[0].error == ECONNRESET);
        assert_true(c[0].sent < c[0].bytes);
        rig_down(&r);
}

typedef struct Talk {
        Buf got[2];
        size_t sent[2], total;
} Talk;

static bool talk(Rig *r, void *userdata) {
        Talk *t = userdata;
        bool all = true;

        for (int side = 0; side < 2; side++) {
                int fd = ferry_message_fd(side ? r->destination : r->source);
                uint8_t bytes[3000];
                ssize_t k;

                while (t->sent[side] < t->total) {
                        size_t n = MIN_OF(sizeof(bytes), t->total - t->sent[side]);

                        for (size_t i = 0; i < n; i++)
                                bytes[i] = (uint8_t)((t->sent[side] + i) * 31 >> 3);
                        k = send(fd, bytes, n, MSG_NOSIGNAL);
                        if (k < 0)
                                break;
                        t->sent[side] += (size_t)k;
                }
                while ((k = read(fd, bytes, sizeof(bytes))) > 0)
                        assert_int_equal(buf_append(&t->got[side], bytes, (size_t)k), 0);
                all &= t->got[side].len == t->total;
        }
        if (!all) /* the rig waits for events only; the owners' loop would watch these fds */
                (void)poll(&(struct pollfd){ .fd = ferry_message_fd(r->source), .events = POLLIN },
                           1, 10);
        return all;
}

static bool is_end_of_file(Rig *r, void *userdata) {
        uint8_t byte;

        return read(ferry_message_fd(r->source), &byte, 1) == 0;
}

/* The shims' own stream, over a tearing transport, and its last word. */
static void test_messages(void **state) {
        FerryEventType sent = FERRY_EVENT_SENT;
        Rig r = { .seed = 9, .tear_every = 100000 };
        Talk t = { .total = 1000000 };

        rig_up(&r, NULL);
        for (int i = 0; i < 2; i++) /* before there is a transport */
                assert_int_equal(write(ferry_message_fd(r.source), "", 0), 0);
        rig_plug(&r);
        rig_run(&r, talk, &t);
        for (int side = 0; side < 2; side++) {
                for (size_t i = 0; i < t.total; i++)
                        assert_int_equal(t.got[side].data[i], (uint8_t)(i * 31 >> 3));
                buf_done(&t.got[side]);
        }
        assert_int_equal(r.events[1][FERRY_EVENT_SENT], 0);
        ferry_finish(r.destination);
        ferry_finish(r.destination);
        r.events[0][FERRY_EVENT_SENT] = 1; /* only the one that finished is told */
        rig_run(&r, rig_saw, &sent);
        rig_run(&r, is_end_of_file, NULL);
        assert_int_equal(r.events[1][FERRY_EVENT_SENT], 1);
        rig_down(&r);
}

static void test_other_session(void **state) {
        FerryConfig config = { .role = FERRY_DESTINATION, .session_id = { 9 } };
        FerryEventType lost = FERRY_EVENT_LOST;
        Rig r = { .seed = 10 };

        rig_up(&r, NULL);
        (void)ferry_free(r.destination);
        assert_int_equal(ferry_new(&config, &r.destination, NULL), 0);
        rig_plug(&r);
        rig_run(&r, rig_saw, &lost);
        assert_int_equal(r.last[1].error.code, -EPERM);
        rig_down(&r);
}

/* Whatever bytes the transport brings, the ferry stays in order. */
static void test_noise(void **state) {
        uint64_t seed = 11;
        Rig r = { .seed = 11 };

        rig_up(&r, NULL);
        for (int i = 0; i < 100; i++) {
                uint8_t bytes[4096];
                FerryEvent e;
                int pair[2];

                for (size_t k = 0; k < sizeof(bytes); k++)
                        bytes[k] = (uint8_t)rig_random(&seed);
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
                assert_int_equal(ferry_set_transport(r.destination, pair[0], pair[0], NULL), 0);
                (void)send(pair[1], bytes, sizeof(bytes), MSG_NOSIGNAL);
                (void)close(pair[1]);
                do { /* there is a LOST for each */
                        struct pollfd p = { .fd = ferry_event_fd(r.destination), .events = POLLIN };

                        assert_int_equal(poll(&p, 1, 10000), 1);
                        assert_true(ferry_next_event(r.destination, &e));
                } while (e.type != FERRY_EVENT_LOST);
        }
        rig_down(&r);
}

static void test_bad_arguments(void **state) {
        Rig r = { .seed = 12 };
        char path[200];
        Error e = ERROR_INIT;
        struct stat st;
        int fd;

        rig_up(&r, NULL);
        rig_path(&r, FERRY_DISK, true, path, sizeof(path));
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0660);
        assert_int_equal(ferry_listen(r.source, FERRY_DISK, "/tmp/x", &e), -EEXIST);
        assert_int_equal(ferry_listen(r.source, FERRY_MESSAGES, "/tmp/x", &e), -EINVAL);
        assert_int_equal(ferry_listen(r.source, _FERRY_KIND_MAX, "/tmp/x", &e), -EINVAL);
        assert_int_equal(ferry_listen(r.destination, FERRY_DISK, "/tmp/x", &e), -EOPNOTSUPP);
        assert_int_equal(ferry_rule(r.source, FERRY_DISK, "/tmp/x", &e), -EOPNOTSUPP);
        assert_int_equal(ferry_rule(r.destination, FERRY_DISK, "x", &e), -EINVAL);
        memset(path, 'a', sizeof(path));
        path[0] = '/';
        path[108] = '\0';
        assert_int_equal(ferry_rule(r.destination, FERRY_DISK, path, &e), -EINVAL);
        path[107] = '\0';
        assert_int_equal(ferry_rule(r.destination, FERRY_DISK, path, &e), 0);
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(ferry_set_transport(r.source, fd, fd, &e), -EINVAL);
        assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken all the same */
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ferry_set_transport(r.source, fd, fd, &e), -EINVAL);
        assert_string_equal(ferry_kind_name(FERRY_MEMORY), "memory");
        assert_null(ferry_kind_name(_FERRY_KIND_MAX));
        rig_down(&r);
}

/* In whatever state it is freed: at once, and no descriptor stays. */
static void test_free_anytime(void **state) {
        int before = rig_open_fds();

        for (int step = 0; step < 5; step++) {
                Rig r = { .seed = 13 };
                struct timespec a, b;
                int fd = -EBADF;

                rig_up(&r, NULL);
                rig_serve(&r, FERRY_MEMORY, SERVE_HOLD);
                if (step > 0)
                        fd = dial(&r, FERRY_MEMORY);
                if (step > 1)
                        rig_plug(&r);
                if (step > 2)
                        (void)send(fd, r.dir, sizeof(r.dir), MSG_NOSIGNAL);
                if (step > 3)
                        (void)poll(NULL, 0, 50);
                (void)clock_gettime(CLOCK_MONOTONIC, &a);
                r.source = ferry_free(r.source);
                r.destination = ferry_free(r.destination);
                (void)clock_gettime(CLOCK_MONOTONIC, &b);
                assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 <
                            20000);
                if (fd >= 0) {
                        struct pollfd p = { .fd = fd, .events = POLLIN };

                        assert_int_equal(poll(&p, 1, 5000), 1);
                        (void)close(fd);
                }
                rig_down(&r);
        }
        assert_int_equal(rig_open_fds(), before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_three_kinds),     cmocka_unit_test(test_half_close),
                cmocka_unit_test(test_torn_transport),  cmocka_unit_test(test_torn_often),
                cmocka_unit_test(test_torn_pipes),      cmocka_unit_test(test_replaced_unasked),
                cmocka_unit_test(test_many_at_once),    cmocka_unit_test(test_limit),
                cmocka_unit_test(test_slow_reader),     cmocka_unit_test(test_nobody_there),
                cmocka_unit_test(test_server_hangs_up), cmocka_unit_test(test_messages),
                cmocka_unit_test(test_other_session),   cmocka_unit_test(test_noise),
                cmocka_unit_test(test_bad_arguments),   cmocka_unit_test(test_free_anytime),
        };

        (void)signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests_name("ferry", tests, NULL, NULL);
}
