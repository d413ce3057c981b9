/* SPDX-License-Identifier: Apache-2.0 */
/* Wired by a macvtap in mode passthru on the wire: all that comes in by the wire is its, and what
 * QEMU sends goes out there.
 *
 * It is made before QEMU, in libvirt's namespace, where libvirt opens its /dev/tapN; then it is
 * moved to the wire, where that open file goes on working. Up it is the open gate; down, it
 * swallows what is meant for one station, so the namespace hears groups only, and is kept from
 * answering those (hostdev/net/quiet.c). It does not go with its QEMU: it holds the place until it
 * is unmade, and its alias remembers what the namespace gets back then. */
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "hostdev/net/way.h"

#define OR_REDIRECT "or set \"network\": {\"wiring\": \"redirect\"} in this host's configuration"
#define TRIES       8

/* libvirt finds the node by the device's index, and /dev is one for all namespaces, each of which
 * counts its indices by itself: the index is one that nobody has. */
static int find_index(int *ret) {
        for (int i = 0; i < TRIES; i++) {
                char node[32];
                uint32_t random;

                if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
                        return -EIO;
                *ret = (int)(0x10000000U | (random & 0x0fffffffU));
                (void)snprintf(node, sizeof(node), "/dev/tap%d", *ret);
                if (access(node, F_OK) < 0)
                        return errno == ENOENT ? 0 : -errno;
        }
        return -EBUSY;
}

static int put_macvtap(struct nl_msg *m, const NetEnds *e, int wire) {
        struct nlattr *info, *data;

        if (nla_put_string(m, IFLA_IFNAME, e->tap) < 0 ||
            nla_put_u32(m, IFLA_LINK, (uint32_t)wire) < 0 ||
            nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)e->host->fd) < 0)
                return -ENOMEM;
        info = nla_nest_start(m, IFLA_LINKINFO);
        if (!info || nla_put_string(m, IFLA_INFO_KIND, "macvtap") < 0)
                return -ENOMEM;
        data = nla_nest_start(m, IFLA_INFO_DATA);
        if (!data || nla_put_u32(m, IFLA_MACVLAN_MODE, MACVLAN_MODE_PASSTHRU) < 0)
                return -ENOMEM;
        (void)nla_nest_end(m, data);
        (void)nla_nest_end(m, info);
        return 0;
}

static int create(const NetEnds *e, int wire, int *ret_index) {
        int r = -EBUSY;

        for (int i = 0; i < TRIES && r == -EBUSY; i++) {
                struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
                struct nl_msg *m;

                r = find_index(&h.ifi_index);
                if (r < 0)
                        return r;
                m = net_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &h, sizeof(h));
                if (m && put_macvtap(m, e, wire) < 0) {
                        nlmsg_free(m);
                        m = NULL;
                }
                r = net_do(e->ns, m);
                *ret_index = h.ifi_index;
        }
        return r;
}

static int explain(const NetEnds *e, int r, Error *reterr) {
        if (r == -EOPNOTSUPP)
                return error_setf(
                        reterr, r,
                        "this kernel has no macvtap (CONFIG_MACVTAP): load it, " OR_REDIRECT);
        if (r == -EINVAL || r == -EBUSY)
                return error_setf(
                        reterr, -EBUSY,
                        "%s in %s: a macvtap takes the interface for itself, and that is "
                        "refused: another macvlan or macvtap is on it (that of a pod that "
                        "was here goes with the namespace: make it anew), it is in a "
                        "bridge, or is a macvlan itself; " OR_REDIRECT,
                        e->wire, e->ns->path);
        return net_failed(reterr, r, "making the macvtap", e->wire, e->ns);
}

static int destroy(NetNs *ns, int index) {
        struct ifinfomsg h = { .ifi_index = index };
        int r = net_do(ns, net_request(RTM_DELLINK, 0, &h, sizeof(h)));

        return r == -ENODEV || r == -ENOENT ? 0 : r;
}

static int check_node(const NetEnds *e, int index, Error *reterr) {
        char node[32];
        struct stat st;

        (void)snprintf(node, sizeof(node), "/dev/tap%d", index);
        if (stat(node, &st) == 0 && S_ISCHR(st.st_mode))
                return 0;
        return error_setf(reterr, -EOPNOTSUPP,
                          "%s is missing, by which libvirt opens the macvtap on %s: mount devtmpfs "
                          "at /dev, where libvirtd is too, " OR_REDIRECT,
                          node, e->wire);
}

/* One that is there is of a pod that was here before, and its namespace still in its hand: then
 * what it remembers is what the namespace had, and the new one goes on remembering it. */
static int macvtap_make(const NetEnds *e, Error *reterr) {
        bool again = e->at && strcmp(e->device.kind, "macvtap") == 0;
        char memory[NET_MEMORY_SIZE];
        int wire, index, r;

        r = net_device(e->ns, e->wire, &wire, reterr);
        if (r < 0)
                return r;
        if (again)
                (void)snprintf(memory, sizeof(memory), "%s", e->device.alias);
        else
                r = net_quiet_memory(e->ns, e->wire, memory, reterr);
        if (r == 0 && again)
                r = net_failed(reterr, destroy(e->at, e->device.index), "removing", e->tap, e->at);
        if (r < 0)
                return r;
        r = create(e, wire, &index);
        if (r < 0)
                return explain(e, r, reterr);
        r = check_node(e, index, reterr);
        if (r == 0) /* before anything is taken away that it is to remember */
                r = net_failed(reterr, net_set_alias(e->host, index, memory), "alias", e->tap,
                               e->host);
        if (r == 0)
                r = net_quiet(e->ns, e->wire, reterr);
        if (r < 0) {
                (void)net_speak(e->ns, e->wire, memory, NULL);
                (void)destroy(e->host, index);
        }
        return r;
}

static int macvtap_unmake(const NetEnds *e, Error *reterr) {
        int r = net_speak(e->ns, e->wire, e->device.alias, reterr);

        return r < 0 ? r
                     : net_failed(reterr, destroy(e->at, e->device.index), "removing", e->tap,
                                  e->at);
}

static int macvtap_uncut(const NetEnds *e, const NetInterface *wire, Error *reterr) {
        return macvtap_unmake(e, reterr);
}

static int macvtap_cut(const NetEnds *e, Error *reterr) {
        return net_quiet(e->ns, e->wire, reterr);
}

static int macvtap_join(const NetEnds *e, Error *reterr) {
        int wire, tap, r;

        r = net_device(e->ns, e->wire, &wire, reterr);
        if (r == 0)
                r = macvtap_cut(e, reterr);
        if (r == 0)
                r = net_fetch(e, &tap, reterr);
        /* Once no QEMU has it open any more, this stack would hear what it gets. */
        if (r == 0)
                r = net_quiet(e->ns, e->tap, reterr);
        if (r == 0) /* all groups: which of them it wants only the guest knows */
                r = net_failed(reterr, net_set_flags(e->ns, tap, IFF_ALLMULTI, IFF_ALLMULTI),
                               "multicast", e->tap, e->ns);
        if (r == 0)
                r = net_match_mtu(e, wire, tap, reterr);
        return r < 0 ? r
                     : net_failed(reterr, net_set_flags(e->ns, wire, IFF_UP, IFF_UP), "bringing up",
                                  e->wire, e->ns);
}

static int macvtap_gate(const NetEnds *e, bool open, Error *reterr) {
        return net_failed(reterr, net_set_flags(e->ns, e->device.index, IFF_UP, open ? IFF_UP : 0),
                          open ? "opening" : "closing", e->tap, e->ns);
}

const NetWay net_way_macvtap = {
        .kind = "macvtap",
        .make = macvtap_make,
        .unmake = macvtap_unmake,
        .cut = macvtap_cut,
        .uncut = macvtap_uncut,
        .join = macvtap_join,
        .gate = macvtap_gate,
};
