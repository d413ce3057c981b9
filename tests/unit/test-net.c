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
                assert_int_equal(net_cut(ns, "eth0", &e), 0);
        assert_int_equal(
                sh("test $(tc filter show dev eth0 parent ffff: | grep -c 'pref 2') -gt 0"), 0);
        assert_int_equal(sh("ip -6 addr show dev eth0 scope link | grep -q inet6"), 256);
        assert_int_equal(net_join(ns, ns, "eth0", "none", &e), -ENOENT);
        assert_int_equal(net_gate(ns, "eth0", "none", false, &e), 0);
        assert_int_equal(net_uncut(ns, net_facts_find(f, "eth0"), &e), 0);
        assert_int_equal(sh("tc qdisc show dev eth0 | grep -q ingress"), 256);
        assert_int_equal(net_cut(ns, "gone", &e), -ENOENT);
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
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_paths),
                cmocka_unit_test(test_read),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_join),
        };

        can = geteuid() == 0 && sh("ip -V >/dev/null 2>&1 && tc -V >/dev/null 2>&1") == 0;
        return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
