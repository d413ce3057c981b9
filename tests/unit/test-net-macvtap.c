/* SPDX-License-Identifier: Apache-2.0 */
/* Wiring by macvtap against a real kernel, in network namespaces of this process; the test is its
 * QEMU. rows: F10 F85 */
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostdev/net/net.h"

#define MINE "/proc/thread-self/ns/net"
#define TAP  "pf0n0"

static bool can; /* root, and a kernel with macvtap */

static int sh(const char *script) {
        return system(script);
}

/* Three namespaces: the pod's has eth0, whose other end, p, is in that of this thread. */
typedef struct Hosts {
        NetNs *pod, *host;
        NetFacts *facts;
        int pod_fd, host_fd, peer_fd;
        int wire; /* a packet socket at p */
} Hosts;

static int enter_new(NetNs **ret) {
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        if (ret)
                assert_int_equal(netns_open(MINE, ret, NULL), 0);
        return open(MINE, O_RDONLY); /* goes on to the shell */
}

static int sh_in(int fd, const char *script) {
        char line[1024];

        (void)snprintf(line, sizeof(line), "nsenter --net=/proc/%d/fd/%d sh -c '%s'", getpid(), fd,
                       script);
        return sh(line);
}

static void hosts_open(Hosts *h) {
        struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
        char script[256];

        *h = (Hosts){};
        h->pod_fd = enter_new(&h->pod);
        h->host_fd = enter_new(&h->host);
        h->peer_fd = enter_new(NULL);
        (void)snprintf(script, sizeof(script),
                       "ip link add eth0 address 02:00:00:00:00:01 mtu 1300 type veth peer name p "
                       "&& ip link set p netns /proc/%d/fd/%d",
                       getpid(), h->peer_fd);
        assert_int_equal(sh_in(h->pod_fd, script), 0);
        assert_int_equal(sh("ip link set p mtu 1300 up addrgenmode none"), 0);
        assert_int_equal(sh_in(h->pod_fd,
                               "ip link set eth0 up && ip addr add 10.1.0.5/16 dev eth0 && "
                               "ip addr add fd00::5/64 dev eth0 nodad && "
                               "ip addr add fd01::5/112 dev eth0 nodad && "
                               "ip -6 route add default via fd00::1"),
                         0);
        assert_int_equal(net_read(h->pod, &h->facts, NULL), 0);
        at.sll_ifindex = (int)if_nametoindex("p");
        h->wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
        assert_int_equal(bind(h->wire, (struct sockaddr *)&at, sizeof(at)), 0);
}

static void hosts_close(Hosts *h) {
        h->facts = net_facts_free(h->facts);
        h->pod = netns_free(h->pod);
        h->host = netns_free(h->host);
        (void)close(h->pod_fd);
        (void)close(h->host_fd);
        (void)close(h->peer_fd);
        (void)close(h->wire);
}

/* What libvirt does for a QEMU. */
static int open_tap(const Hosts *h) {
        struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
        char line[256], node[64];
        FILE *f;
        int fd;

        (void)snprintf(line, sizeof(line),
                       "nsenter --net=/proc/%d/fd/%d ip -o link show " TAP " | cut -d: -f1",
                       getpid(), h->host_fd);
        f = popen(line, "r");
        assert_non_null(f);
        assert_non_null(fgets(line, sizeof(line), f));
        assert_int_equal(pclose(f), 0);
        (void)snprintf(node, sizeof(node), "/dev/tap%d", atoi(line));
        fd = open(node, O_RDWR | O_NONBLOCK);
        assert_true(fd >= 0);
        (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", TAP);
        assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
        return fd;
}

/* -- frames: of a kind that nobody else sends, told apart by their number -- */

enum { PRIVATE = 0x88b5, FRAME = 60 };

static void send_frame(int fd, bool group, uint8_t number) {
        uint8_t frame[FRAME] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, PRIVATE >> 8, PRIVATE & 0xff };

        if (group)
                memset(frame, 0xff, 6);
        frame[14] = number;
        assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
}

/* The number of the next one; ARP: of an answer, the last byte of who asked. */
static int next_frame(int fd, int type) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint8_t frame[2048];

        while (poll(&p, 1, 5000) > 0) {
                ssize_t n = read(fd, frame, sizeof(frame));

                if (n < 42 || (frame[12] << 8 | frame[13]) != type)
                        continue;
                if (type == PRIVATE)
                        return frame[14];
                if (frame[21] == 2)
                        return frame[41];
        }
        return -1;
}

static void ask(int fd, uint8_t who) {
        uint8_t frame[FRAME] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,  9, 8, 6,
                                 0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,  0, 0, 9,
                                 10,   1,    0,    who,  0,    0,    0, 0, 0, 0, 10, 1, 0, 5 };

        assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
}

/* Nothing passes a closed gate in either direction; each time the first frame that comes is of the
 * time when it was open. One to all that comes in just before that may be in the kernel's queue of
 * such (macvlan), and be delivered then: of those this says nothing. */
static void check_gate(const Hosts *h, int tap, uint8_t from) {
        Error e = ERROR_INIT;

        for (int again = 0; again < 2; again++) {
                send_frame(h->wire, false, from);
                send_frame(tap, false, from);
                send_frame(tap, true, from);
                assert_int_equal(net_gate(h->pod, "eth0", TAP, true, &e), 0);
                for (uint8_t i = 1; i <= 2; i++) {
                        send_frame(h->wire, i == 2, (uint8_t)(from + i));
                        send_frame(tap, i == 2, (uint8_t)(from + i));
                        assert_int_equal(next_frame(tap, PRIVATE), from + i);
                        assert_int_equal(next_frame(h->wire, PRIVATE), from + i);
                }
                assert_int_equal(net_gate(h->pod, "eth0", TAP, false, &e), 0);
                from += 10;
        }
}

static void test_life(void **state) {
        NetStatistics st;
        Error e = ERROR_INIT;
        Hosts h;
        int tap;

        if (!can)
                skip();
        hosts_open(&h);
        assert_int_equal(net_make(h.pod, h.host, NET_WIRING_MACVTAP, "eth0", TAP, &e), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 | grep -q inet6"), 256);
        assert_int_equal(sh_in(h.pod_fd, "ip addr show dev eth0 | grep -q 10.1.0.5"), 0);
        assert_int_equal(sh_in(h.host_fd, "ip link show " TAP " up | grep -q " TAP), 256);
        tap = open_tap(&h);
        for (int again = 0; again < 2; again++) {
                assert_int_equal(net_cut(h.pod, h.host, "eth0", TAP, &e), 0);
                assert_int_equal(net_join(h.pod, h.host, "eth0", TAP, &e), 0);
        }
        assert_int_equal(sh_in(h.host_fd, "ip link show " TAP " 2>/dev/null"), 256);
        assert_int_equal(sh_in(h.pod_fd, "ip link show " TAP " | grep -q \"mtu 1300\""), 0);
        check_gate(&h, tap, 10);
        ask(h.wire, 77);
        assert_int_equal(net_statistics(h.pod, TAP, &st, &e), 0);
        assert_true(st.rx_packets >= 4 && st.tx_packets >= 4); /* of the guest */
        /* Its QEMU goes, and it is there still, until the pod leaves. */
        (void)close(tap);
        assert_int_equal(net_gate(h.pod, "eth0", TAP, false, &e), 0);
        for (int again = 0; again < 2; again++)
                assert_int_equal(net_uncut(h.pod, h.host, h.facts->interfaces[0], TAP, &e), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip link show " TAP " 2>/dev/null"), 256);
        ask(h.wire, 78);
        assert_int_equal(next_frame(h.wire, ETH_P_ARP), 78); /* the stack's first answer */
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 | grep -q fd00::5/64"), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 | grep -q fd01::5/112"), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 scope link | grep -q fe80"), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 route | grep -q \"default via fd00::1\""), 0);
        hosts_close(&h);
}

/* A pod comes back to a namespace that it left, whose macvtap still holds its place. */
static void test_back(void **state) {
        NetFacts *facts = NULL;
        Error e = ERROR_INIT;
        Hosts h;

        if (!can)
                skip();
        hosts_open(&h);
        assert_int_equal(net_make(h.pod, h.host, NET_WIRING_MACVTAP, "eth0", TAP, &e), 0);
        assert_int_equal(net_join(h.pod, h.host, "eth0", TAP, &e), 0);
        assert_int_equal(net_read(h.pod, &facts, &e), 0);
        assert_int_equal(facts->n_interfaces, 1);
        (void)net_facts_free(facts);
        assert_int_equal(net_make(h.pod, h.host, NET_WIRING_MACVTAP, "eth0", "pf1n0", &e), -EBUSY);
        assert_non_null(strstr(e.text, "eth0 in /proc/thread-self/ns/net"));
        assert_non_null(strstr(e.text, "\"wiring\": \"redirect\""));
        assert_int_equal(net_make(h.pod, h.host, NET_WIRING_MACVTAP, "eth0", TAP, &e), 0);
        assert_int_equal(sh_in(h.pod_fd, "ip link show " TAP " 2>/dev/null"), 256);
        (void)close(open_tap(&h));
        assert_int_equal(net_unmake(h.pod, h.host, "eth0", TAP, &e), 0);
        assert_int_equal(sh_in(h.host_fd, "ip link show " TAP " 2>/dev/null"), 256);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 | grep -q fd01::5/112"), 0);
        assert_int_equal(net_unmake(h.pod, h.host, "eth0", TAP, &e), 0);
        hosts_close(&h);
}

/* What is refused, and then nothing is changed. */
/* clang-format off */
static const struct {
        const char *name, *script, *wire;
        int r;
        const char *expect;
} refused[] = {
        { "no such interface", "true", "eth9", -ENOENT, "has no interface eth9" },
        { "another macvlan on it", "ip link add link eth0 m0 type macvlan mode bridge", "eth0", -EBUSY, "another macvlan or macvtap is on it" },
        { "in a bridge", "ip link add br0 type bridge && ip link set eth0 master br0", "eth0", -EBUSY, "it is in a bridge" },
        { "a macvlan itself", "ip link add link eth0 m0 type macvlan mode bridge", "m0", -EBUSY, "is a macvlan itself" },
        { "too many addresses", "for i in 1 2 3 4 5 6 7 8 9 a b c d; do ip addr add fd00:1:2:3:4:5:6:$i/64 dev eth0 nodad || exit 1; done", "eth0", -ENOSPC, "more IPv6 addresses than" },
};
/* clang-format on */

static void test_refused(void **state) {
        size_t row = (size_t)(uintptr_t)*state;
        Error e = ERROR_INIT;
        Hosts h;

        if (!can)
                skip();
        hosts_open(&h);
        assert_int_equal(sh_in(h.pod_fd, refused[row].script), 0);
        assert_int_equal(net_make(h.pod, h.host, NET_WIRING_MACVTAP, refused[row].wire, TAP, &e),
                         refused[row].r);
        assert_non_null(strstr(e.text, refused[row].expect));
        assert_int_equal(sh_in(h.host_fd, "ip link show " TAP " 2>/dev/null"), 256);
        assert_int_equal(sh_in(h.pod_fd, "ip -6 addr show dev eth0 | grep -q fd00::5/64"), 0);
        hosts_close(&h);
}

static int works(Error *reterr) {
        return 0;
}

static int does_not(Error *reterr) {
        return error_setf(reterr, -EOPNOTSUPP, "no u32");
}

static void test_names(void **state) {
        Error e = ERROR_INIT;

        for (int w = 0; w < _NET_WIRING_MAX; w++)
                assert_int_equal(net_wiring_from_name(net_wiring_name((NetWiring)w)), w);
        assert_int_equal(net_wiring_from_name("bridge"), -EINVAL);
        assert_null(net_wiring_name(_NET_WIRING_MAX));
        assert_int_equal(net_wiring_choose(NET_WIRING_AUTO, works, &e), NET_WIRING_REDIRECT);
        assert_int_equal(net_wiring_choose(NET_WIRING_AUTO, does_not, &e), NET_WIRING_MACVTAP);
        assert_string_equal(e.text, "no u32");
        assert_int_equal(net_wiring_choose(NET_WIRING_REDIRECT, does_not, &e), NET_WIRING_REDIRECT);
        assert_int_equal(net_wiring_choose(NET_WIRING_MACVTAP, works, &e), NET_WIRING_MACVTAP);
        assert_true(net_wiring_is_made(NET_WIRING_MACVTAP));
        assert_false(net_wiring_is_made(NET_WIRING_REDIRECT));
        assert_false(net_wiring_is_made(NET_WIRING_AUTO));
}

/* The probe says what an attempt would. */
static void test_probe(void **state) {
        NetNs *ns = NULL;
        Error e = ERROR_INIT;
        bool cuts;

        if (!can)
                skip();
        (void)close(enter_new(&ns));
        assert_int_equal(sh("ip link add eth0 type veth peer name p"), 0);
        cuts = net_cut(ns, NULL, "eth0", TAP, &e) == 0;
        assert_true(cuts || net_wiring_choose(NET_WIRING_AUTO, NULL, &e) == NET_WIRING_MACVTAP);
        if (net_wiring_choose(NET_WIRING_AUTO, NULL, &e) == NET_WIRING_REDIRECT)
                assert_true(cuts);
        (void)netns_free(ns);
}

int main(void) {
        struct CMUnitTest tests[4 + ELEMENTSOF(refused)] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_probe),
                cmocka_unit_test(test_life),
                cmocka_unit_test(test_back),
        };

        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                tests[4 + i] = (struct CMUnitTest){ .name = refused[i].name,
                                                    .test_func = test_refused,
                                                    .initial_state = (void *)(uintptr_t)i };
        can = geteuid() == 0 &&
              sh("unshare -n sh -c 'ip link add d0 type veth peer name d1 && ip link add link d0 "
                 "d2 type macvtap mode passthru' >/dev/null 2>&1") == 0;
        return cmocka_run_group_tests_name("net-macvtap", tests, NULL, NULL);
}
