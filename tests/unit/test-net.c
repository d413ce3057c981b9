/* SPDX-License-Identifier: Apache-2.0 */
/* hostdev/net against a real kernel, in network namespaces of this process. rows: F10 F88 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostdev/net/net.h"

static bool can; /* root, and a kernel with all that is needed */

/* Each in the namespace of the calling thread. */
static int sh(const char *script) {
        return system(script);
}

#define MINE "/proc/thread-self/ns/net"

static void test_read(void **state) {
        _cleanup_(net_facts_freep) NetFacts *f = NULL;
        _cleanup_(netns_freep) NetNs *ns = NULL;
        const NetInterface *i;
        char mac[NET_MAC_TEXT];
        Error e = ERROR_INIT;

        if (!can)
                skip();
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(netns_open(MINE, &ns, &e), 0);
        assert_int_equal(net_read(ns, &f, &e), -ENOENT);
        assert_non_null(strstr(e.text, "no interface beside lo"));
        assert_int_equal(
                sh("ip link add eth0 address 02:00:00:00:00:01 mtu 1400 type veth peer name p && "
                   "ip link set p address 02:00:00:00:00:01"),
                0);
        assert_int_equal(net_read(ns, &f, &e), -EEXIST);
        assert_int_equal(
                sh("ip link set p address 02:00:00:00:00:02 up && ip link set eth0 up && "
                   "ip addr add 10.1.0.5/16 dev eth0 && ip addr add fd00::5/64 dev eth0 nodad && "
                   "ip route add default via 10.1.0.1 && "
                   "ip route add 10.9.0.0/24 dev eth0 metric 9 && "
                   "ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent"),
                0);
        assert_int_equal(net_read(ns, &f, &e), 0);
        assert_int_equal(f->n_interfaces, 2);
        i = net_facts_find(f, "eth0");
        assert_non_null(i);
        assert_string_equal(net_mac_text(&i->mac, mac), "02:00:00:00:00:01");
        assert_int_equal(i->mtu, 1400);
        assert_true(i->n_addresses >= 2); /* and perhaps one of the link */
        assert_int_equal(i->n_routes, 2);
        assert_int_equal(i->n_neighbours, 1);
        f = net_facts_free(f);
        assert_int_equal(sh("ip route add 10.8.0.0/24 nexthop via 10.1.0.1 nexthop via 10.1.0.2"),
                         0);
        assert_int_equal(net_read(ns, &f, &e), -EOPNOTSUPP);
}

/* Namespaces as people make them: what is read of each, or why it is refused. */
typedef struct Odd {
        const char *name, *script;
        int r;
        const char *expect; /* of the first interface: "NAME MTU ADDRESSES > ROUTES", or a part of
                               the text */
} Odd;

#define VETH(name, rest)                                                                           \
        "ip link add " name " address 02:00:00:00:00:01 " rest " type veth peer name p"
#define UP(name) " && ip link set p up && ip link set " name " up addrgenmode none"
/* clang-format off */
static const Odd odd[] = {
        { "down, without addresses", VETH("eth0", "mtu 9000") " && ip link set p addrgenmode none", 0, "eth0 9000 >" },
        { "a name with dots", VETH("net.1_a-b", "") UP("net.1_a-b"), 0, "net.1_a-b 1500 >" },
        { "IPv6 alone", VETH("eth0", "") UP("eth0") " && ip addr add fd00::5/64 dev eth0 nodad && ip -6 route add default via fd00::1", 0, "eth0 1500 16/64 > 16/0>16" },
        { "link-local by hand, and a gateway there", VETH("eth0", "") UP("eth0") " && ip addr add fe80::5/64 dev eth0 nodad && ip -6 route add default via fe80::1 dev eth0", 0, "eth0 1500 16/64 > 16/0>16" },
        { "two default routes", VETH("eth0", "") UP("eth0") " && ip addr add 10.1.0.5/16 dev eth0 && ip route add default via 10.1.0.1 && ip route add default via 10.1.0.2 metric 50", 0, "eth0 1500 4/16 > 4/0>4 4/0>4" },
        { "a gateway beside the prefix", VETH("eth0", "") UP("eth0") " && ip addr add 10.1.0.5/32 dev eth0 && ip route add 169.254.1.1 dev eth0 && ip route add default via 169.254.1.1", 0, "eth0 1500 4/32 > 4/0>4 4/32" },
        { "a peer", VETH("eth0", "") UP("eth0") " && ip addr add 10.1.0.5 peer 10.1.0.6/32 dev eth0", 0, "eth0 1500 4/32 > 4/32" },
        { "two addresses, one secondary", VETH("eth0", "") UP("eth0") " && ip addr add 10.1.0.5/16 dev eth0 && ip addr add 10.1.0.6/16 dev eth0", 0, "eth0 1500 4/16 4/16 >" },
        { "another table", VETH("eth0", "") UP("eth0") " && ip addr add 10.1.0.5/16 dev eth0 && ip route add 10.9.0.0/16 via 10.1.0.1 table 7", 0, "eth0 1500 4/16 >" },
        { "MTU above a tap's", VETH("eth0", "mtu 65535") " && ip link set p mtu 65535", -EOPNOTSUPP, "has MTU 65535, and a tap 65521 at most" },
        { "a blackhole", VETH("eth0", "") " && ip route add blackhole 10.0.0.0/8", -EOPNOTSUPP, "blackhole" },
        { "an IPv6 one", VETH("eth0", "") " && ip -6 route add unreachable fd99::/64", -EOPNOTSUPP, "unreachable" },
        { "in a bridge", VETH("eth0", "") " && ip link add br0 type bridge && ip link set eth0 master br0", -EOPNOTSUPP, "eth0 belongs to a bridge" },
        { "five of them", "for i in 1 2 3; do ip link add a$i type veth peer name b$i; done", -ENOSPC, "more than 4 interfaces" },
        { "a bridge and a tap alone", "ip link add br0 type bridge && ip tuntap add t0 mode tap", -ENOENT, "no interface beside lo" },
};
/* clang-format on */

static void describe(const NetInterface *i, char *ret, size_t size) {
        int n = snprintf(ret, size, "%s %u", i->name, i->mtu);

        for (size_t k = 0; k < i->n_addresses; k++)
                n += snprintf(ret + n, size - (size_t)n, " %zu/%u", i->addresses[k]->address.len,
                              i->addresses[k]->prefix);
        n += snprintf(ret + n, size - (size_t)n, " >");
        for (size_t k = 0; k < i->n_routes; k++) {
                const NetRoute *t = i->routes[k];

                n += snprintf(ret + n, size - (size_t)n, " %zu/%u", t->destination.len, t->prefix);
                if (t->gateway.len > 0)
                        n += snprintf(ret + n, size - (size_t)n, ">%zu", t->gateway.len);
        }
}

static void test_odd(void **state) {
        const Odd *row = *state;
        _cleanup_(net_facts_freep) NetFacts *f = NULL;
        _cleanup_(netns_freep) NetNs *ns = NULL;
        char text[512] = {};
        Error e = ERROR_INIT;

        if (!can)
                skip();
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(netns_open(MINE, &ns, &e), 0);
        assert_int_equal(sh(row->script), 0);
        assert_int_equal(net_read(ns, &f, &e), row->r);
        if (row->r == 0) {
                const NetInterface *i = f->interfaces[0];

                if (strcmp(i->name, "p") == 0)
                        i = f->interfaces[1];
                describe(i, text, sizeof(text));
                assert_string_equal(text, row->expect);
        } else {
                assert_non_null(strstr(e.text, row->expect));
        }
}

/* The namespace does not answer any more, and does again; and nobody was moved into it. */
static void test_cut(void **state) {
        _cleanup_(net_facts_freep) NetFacts *f = NULL;
        _cleanup_(netns_freep) NetNs *ns = NULL;
        char before[64] = {}, after[64] = {};
        Error e = ERROR_INIT;

        if (!can)
                skip();
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(sh("ip link add eth0 type veth peer name p && ip link set p up && "
                            "ip link set eth0 up && ip addr add 10.1.0.5/16 dev eth0"),
                         0);
        assert_true(readlink(MINE, before, sizeof(before) - 1) > 0);
        assert_int_equal(netns_open(MINE, &ns, &e), 0);
        assert_int_equal(net_read(ns, &f, &e), 0);
        for (int again = 0; again < 2; again++)
                assert_int_equal(net_cut(ns, NULL, "eth0", "pf0n0", &e), 0);
        assert_int_equal(
                sh("test $(tc filter show dev eth0 parent ffff: | grep -c 'pref 2') -gt 0"), 0);
        assert_int_equal(sh("ip -6 addr show dev eth0 scope link | grep -q inet6"), 256);
        assert_int_equal(net_join(ns, ns, "eth0", "none", &e), -ENOENT);
        assert_int_equal(net_gate(ns, "eth0", "none", false, &e), 0);
        assert_int_equal(net_uncut(ns, NULL, net_facts_find(f, "eth0"), "pf0n0", &e), 0);
        assert_int_equal(sh("tc qdisc show dev eth0 | grep -q ingress"), 256);
        assert_int_equal(net_cut(ns, NULL, "gone", "pf0n0", &e), -ENOENT);
        assert_true(readlink(MINE, after, sizeof(after) - 1) > 0);
        assert_string_equal(before, after);
}

/* A tap comes over from another namespace, and frames pass while the gate is open. */
static void test_join(void **state) {
        _cleanup_(netns_freep) NetNs *host = NULL, *pod = NULL;
        NetStatistics st;
        Error e = ERROR_INIT;

        if (!can)
                skip();
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(netns_open(MINE, &pod, &e), 0);
        assert_int_equal(sh("ip link add eth0 mtu 1300 type veth peer name p && ip link set p up"),
                         0);
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(netns_open(MINE, &host, &e), 0);
        assert_int_equal(sh("ip tuntap add pf0n0 mode tap"), 0);
        for (int again = 0; again < 2; again++)
                assert_int_equal(net_join(pod, host, "eth0", "pf0n0", &e), 0);
        assert_int_equal(sh("ip link show pf0n0 2>/dev/null"), 256);
        for (int open = 0; open < 4; open++)
                assert_int_equal(net_gate(pod, "eth0", "pf0n0", open % 2, &e), 0);
        assert_int_equal(net_statistics(pod, "pf0n0", &st, &e), 0);
        assert_int_equal(net_statistics(pod, "pf9n9", &st, &e), -ENOENT);
}

/* Who has the address beside the pod itself, which leads to br0 by p0; each row by itself. */
/* clang-format off */
static const struct {
        const char *name, *script; /* OTHER: another namespace */
        int r;
        const char *expect;
} neighbours[] = {
        { "nobody", "true", 0, NULL },
        { "a device of the host", "ip link add d0 address 02:00:00:00:00:77 type veth peer name d1 && ip link set d0 master br0", -EEXIST, "by what is behind d0" },
        { "the bridge itself", "ip link set br0 address 02:00:00:00:00:77", -EEXIST, "by br0" },
        { "a machine of libvirt's", "ip tuntap add vnet0 mode tap && ip link set vnet0 address fe:00:00:00:00:77 master br0", -EEXIST, "the machine behind vnet0" },
        { "a machine that was heard", "ip tuntap add t0 mode tap && ip link set t0 master br0 up && bridge fdb add 02:00:00:00:00:77 dev t0 master static", -EEXIST, "the machine behind t0" },
        /* A port learns no sooner than it forwards, a moment after it is up. */
        { "the pod itself, heard by another port", "ip link add q0 type veth peer name q1 && ip link set q0 master br0 && ip link set q0 up && ip link set q1 up && i=0 && until bridge fdb add 02:00:00:00:00:77 dev q0 master dynamic 2>/dev/null || [ $((i += 1)) -gt 2000 ]; do :; done; bridge fdb show dev q0 | grep -q 02:00:00:00:00:77", 0, NULL },
        { "another pod", "ip link add o0 type veth peer name o1 && ip link set o0 master br0 up && ip link set o1 netns OTHER && nsenter --net=OTHER ip link set o1 address 02:00:00:00:00:77 up", -EEXIST, "what is behind o0" },
        { "another pod that is down", "ip link add o0 type veth peer name o1 && ip link set o0 master br0 up && ip link set o1 netns OTHER && nsenter --net=OTHER ip link set o1 address 02:00:00:00:00:77", 0, NULL },
        { "another pod on another bridge", "ip link add br1 type bridge && ip link add o0 type veth peer name o1 && ip link set o0 master br1 up && ip link set o1 netns OTHER && nsenter --net=OTHER ip link set o1 address 02:00:00:00:00:77 up", 0, NULL },
        { "on no bridge", "ip link set p0 nomaster && ip link set br0 address 02:00:00:00:00:77", 0, NULL },
};
/* clang-format on */

static int enter_new(NetNs **ret) {
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        if (ret)
                assert_int_equal(netns_open(MINE, ret, NULL), 0);
        return open(MINE, O_RDONLY); /* goes on to the shell */
}

static void test_alone(void **state) {
        size_t row = (size_t)(uintptr_t)*state;
        _cleanup_(netns_freep) NetNs *host = NULL, *pod = NULL;
        uint8_t mac[] = { 2, 0, 0, 0, 0, 0x77 };
        NetInterface i = PODFERRY__NET__V1__INTERFACE__INIT;
        char name[] = "eth0", script[1024];
        int fds[3], r;
        Error e = ERROR_INIT;

        if (!can)
                skip();
        i.name = name;
        i.mac = (ProtobufCBinaryData){ sizeof(mac), mac };
        fds[0] = enter_new(&pod);
        fds[1] = enter_new(NULL);
        fds[2] = enter_new(&host);
        (void)snprintf(
                script, sizeof(script),
                "set -e; ip link add br0 address 02:00:00:00:00:01 type bridge; ip link set br0 up; "
                "ip link add p0 type veth peer name eth0 address 02:00:00:00:00:77; "
                "ip link set eth0 netns /proc/%d/fd/%d; ip link set p0 master br0 up",
                getpid(), fds[0]);
        assert_int_equal(sh(script), 0);
        (void)snprintf(script, sizeof(script),
                       "O=/proc/%d/fd/%d; eval \"$(echo '%s' | sed s,OTHER,$O,g)\"", getpid(),
                       fds[1], neighbours[row].script);
        assert_int_equal(sh(script), 0);
        r = net_check_alone(pod, host, &i, &e);
        for (size_t k = 0; k < ELEMENTSOF(fds); k++)
                (void)close(fds[k]);
        assert_int_equal(r, neighbours[row].r);
        if (r < 0) {
                assert_non_null(strstr(e.text, neighbours[row].expect));
                assert_non_null(strstr(e.text, "02:00:00:00:00:77 (eth0) is in use on this host"));
        }
}

static void test_bad_paths(void **state) {
        NetNs *ns = NULL;
        Error e = ERROR_INIT;

        assert_int_equal(netns_open("/nonexistent/ns", &ns, &e), -ENOENT);
        assert_non_null(strstr(e.text, "removed, or never made"));
        assert_int_equal(netns_open("/etc/passwd", &ns, &e), -EINVAL);
        assert_int_equal(netns_open("/proc/self/ns/mnt", &ns, &e), -EINVAL);
        assert_null(ns);
}

int main(void) {
        struct CMUnitTest tests[4 + ELEMENTSOF(odd) + ELEMENTSOF(neighbours)] = {
                cmocka_unit_test(test_bad_paths),
                cmocka_unit_test(test_read),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_join),
        };

        for (size_t i = 0; i < ELEMENTSOF(odd); i++)
                tests[4 + i] = (struct CMUnitTest){ .name = odd[i].name,
                                                    .test_func = test_odd,
                                                    .initial_state = (void *)(uintptr_t)&odd[i] };
        for (size_t i = 0; i < ELEMENTSOF(neighbours); i++)
                tests[4 + ELEMENTSOF(odd) + i] =
                        (struct CMUnitTest){ .name = neighbours[i].name,
                                             .test_func = test_alone,
                                             .initial_state = (void *)(uintptr_t)i };
        can = geteuid() == 0 && sh("ip -V >/dev/null 2>&1 && tc -V >/dev/null 2>&1") == 0;
        return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
