/* SPDX-License-Identifier: Apache-2.0 */
/* The gate for what libvirt of the source says: the one call is found, however its bytes come, and
 * waits; all else passes.
 * rows: H2 F82 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "shim/ferry/ferry-gate.h"
#include "tests/unit/ferry-rig.h"

#define REMOTE    0x20008086U
#define QEMU      0x20008087U
#define KEEPALIVE 0x6b656570U

typedef struct Packet {
        uint32_t program, procedure, type, len, last;
} Packet;

static const Packet prepare = { REMOTE, 303, 0, 100, 7 };
static const Packet finish = { REMOTE, 306, 0, 64, 0 };

static void put(uint8_t *p, uint32_t v) {
        for (int i = 0; i < 4; i++)
                p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static size_t make(const Packet *from, uint8_t *p) {
        memset(p, 0x5a, from->len);
        put(p, from->len);
        put(p + 4, from->program);
        put(p + 8, 1);
        put(p + 12, from->procedure);
        put(p + 16, from->type);
        put(p + 20, 9);
        put(p + 24, 0);
        if (from->len >= 32)
                put(p + from->len - 4, from->last);
        return from->len;
}

static const struct {
        const char *name;
        Packet packet;
        size_t seen; /* 0: all */
        GateVerdict verdict;
} rows[] = {
        { "another call", { REMOTE, 303, 0, 100, 0 }, 0, GATE_PASS },
        { "another call, its header only", { REMOTE, 303, 0, 100, 0 }, 28, GATE_PASS },
        { "less than a header", { REMOTE, 306, 0, 64, 0 }, 27, GATE_MORE },
        { "finish", { REMOTE, 306, 0, 64, 0 }, 0, GATE_STOP },
        { "finish, as it was called before", { REMOTE, 217, 0, 64, 0 }, 0, GATE_STOP },
        { "finish, not whole", { REMOTE, 306, 0, 64, 0 }, 63, GATE_MORE },
        { "finish, cancelled", { REMOTE, 306, 0, 64, 1 }, 0, GATE_PASS },
        { "finish without arguments", { REMOTE, 306, 0, 28, 0 }, 0, GATE_STOP },
        { "finish, longer than can be seen", { REMOTE, 306, 0, 4097, 1 }, 4096, GATE_STOP },
        { "a reply of that number", { REMOTE, 306, 1, 64, 0 }, 0, GATE_PASS },
        { "the same number of another program", { QEMU, 306, 0, 64, 0 }, 0, GATE_PASS },
        { "keepalive", { KEEPALIVE, 1, 2, 28, 0 }, 0, GATE_PASS },
        { "another protocol", { 0x16030100, 1, 2, 28, 0 }, 0, GATE_GARBLED },
};

static void test_look(void **state) {
        uint8_t p[5000];
        uint32_t len;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                size_t n = make(&rows[i].packet, p);

                len = 0;
                if (gate_look(p, rows[i].seen ?: n, 4096, &len) != rows[i].verdict)
                        fail_msg("%s", rows[i].name);
                if (rows[i].verdict == GATE_PASS)
                        assert_int_equal(len, rows[i].packet.len);
        }
        put(p, 27);
        assert_int_equal(gate_look(p, 28, 4096, &len), GATE_GARBLED);
        put(p, 0xffffffff);
        assert_int_equal(gate_look(p, 28, 4096, &len), GATE_GARBLED);
}

/* -- through two ferries -- */

static int dial(const Rig *r) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const struct timeval limit = { .tv_sec = 30 }; /* a hang is a failure */
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        rig_path(r, FERRY_LIBVIRT, true, address.sun_path, sizeof(address.sun_path));
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
        return fd;
}

static void hear(int fd, const void *p, size_t n) {
        uint8_t got[4096];

        assert_true(n <= sizeof(got));
        assert_int_equal(recv(fd, got, n, MSG_WAITALL), n);
        assert_memory_equal(got, p, n);
}

static bool at_gate(Rig *r, void *userdata) {
        return r->events[0][FERRY_EVENT_GATE] > 0;
}

/* What was sent before on another connection has come when it is back. */
static void exchange(Rig *r) {
        Client c[] = { { .kind = FERRY_DISK, .bytes = 100000 } };

        rig_run_clients(r, c, 1);
        assert_true(c[0].ok);
}

static void up(Rig *r) {
        rig_up(r, NULL);
        rig_serve(r, FERRY_LIBVIRT, SERVE_ECHO);
        rig_serve(r, FERRY_DISK, SERVE_ECHO);
        rig_plug(r);
        assert_int_equal(ferry_gate(r->source, true, NULL), 0);
        exchange(r);
}

/* In one write or byte by byte: what is before passes, the call waits, and with it what follows.
 * Byte by byte many times: one that comes while the ferry looks for more is seen, too. */
static void test_gate(void **state) {
        for (int bytewise = 0; bytewise < 40; bytewise++) {
                Rig r = { .seed = 31 };
                uint8_t p[1000], byte;
                size_t first, n;
                int fd;

                up(&r);
                fd = dial(&r);
                first = make(&prepare, p);
                first += make(&(Packet){ REMOTE, 306, 0, 200, 1 }, p + first);
                n = first + make(&finish, p + first);
                n += make(&prepare, p + n);
                if (bytewise)
                        for (size_t i = 0; i < n; i++)
                                assert_int_equal(send(fd, p + i, 1, MSG_NOSIGNAL), 1);
                else
                        assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), n);
                hear(fd, p, first);
                rig_run(&r, at_gate, NULL);
                assert_int_equal(r.last[0].error.code, 0);
                exchange(&r);
                assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
                assert_int_equal(ferry_gate(r.source, false, NULL), 0);
                hear(fd, p + first, n - first);
                assert_int_equal(r.events[0][FERRY_EVENT_GATE], 1);
                (void)close(fd);
                rig_down(&r);
        }
}

/* Cut while it waits: it never passes. */
static void test_cut(void **state) {
        Rig r = { .seed = 32 };
        FerryCounters n;
        uint8_t p[100];
        size_t len;
        int fd;

        up(&r);
        fd = dial(&r);
        len = make(&finish, p);
        assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), len);
        rig_run(&r, at_gate, NULL);
        assert_int_equal(ferry_cut(r.source, FERRY_LIBVIRT, NULL), 0);
        assert_int_equal(recv(fd, p, 1, 0), 0);
        exchange(&r);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_LIBVIRT].sent, 0);
        assert_int_equal(n.kind[FERRY_LIBVIRT].open, 0);
        (void)close(fd);
        rig_down(&r);
}

/* What is not libvirt's protocol does not pass at all, and is told. */
static void test_garbled(void **state) {
        Rig r = { .seed = 33 };
        FerryCounters n;
        char text[64] = "GET / HTTP/1.1 and enough of it to be a header";
        int fd;

        up(&r);
        fd = dial(&r);
        assert_int_equal(send(fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
        rig_run(&r, at_gate, NULL);
        exchange(&r);
        ferry_counters(r.source, &n);
        assert_int_equal(n.kind[FERRY_LIBVIRT].sent, 0);
        (void)close(fd);
        rig_down(&r);
}

/* One that ends in the middle of a packet: the end comes through. */
static void test_end(void **state) {
        Rig r = { .seed = 34 };
        uint8_t p[100];
        int fd;

        up(&r);
        fd = dial(&r);
        (void)make(&finish, p);
        assert_int_equal(send(fd, p, 40, MSG_NOSIGNAL), 40);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        hear(fd, p, 40);
        assert_int_equal(recv(fd, p, 1, 0), 0);
        assert_int_equal(r.events[0][FERRY_EVENT_GATE], 0);
        (void)close(fd);
        rig_down(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_look), cmocka_unit_test(test_gate),
                cmocka_unit_test(test_cut),  cmocka_unit_test(test_garbled),
                cmocka_unit_test(test_end),
        };

        return cmocka_run_group_tests_name("ferry-gate", tests, NULL, NULL);
}
