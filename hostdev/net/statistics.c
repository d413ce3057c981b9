/* SPDX-License-Identifier: Apache-2.0 */
/* What one device says of itself. */
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

typedef struct Ask {
        int index;
        uint32_t mtu;
        struct rtnl_link_stats64 statistics;
} Ask;

static int take_link(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        struct nlmsghdr *m = (struct nlmsghdr *)(uintptr_t)h;
        const struct ifinfomsg *link = nlmsg_data(h);
        struct nlattr *a;
        Ask *ask = userdata;

        if (link->ifi_index != ask->index)
                return 0;
        a = nlmsg_find_attr(m, sizeof(*link), IFLA_MTU);
        if (a)
                ask->mtu = nla_get_u32(a);
        a = nlmsg_find_attr(m, sizeof(*link), IFLA_STATS64);
        if (a)
                memcpy(&ask->statistics, nla_data(a),
                       MIN_OF((size_t)nla_len(a), sizeof(ask->statistics)));
        return 0;
}

static int ask_link(NetNs *ns, Ask *ask, Error *reterr) {
        struct ifinfomsg h = { .ifi_family = AF_UNSPEC };

        return net_dump(ns, RTM_GETLINK, &h, sizeof(h), take_link, ask, reterr);
}

int net_mtu(NetNs *ns, int index, uint32_t *ret, Error *reterr) {
        Ask ask = { .index = index };
        int r = ask_link(ns, &ask, reterr);

        *ret = ask.mtu;
        return r;
}

int net_counts(NetNs *ns, int index, NetStatistics *ret, Error *reterr) {
        Ask ask = { .index = index };
        int r = ask_link(ns, &ask, reterr);

        *ret = (NetStatistics){ .rx_bytes = ask.statistics.rx_bytes,
                                .rx_packets = ask.statistics.rx_packets,
                                .rx_dropped = ask.statistics.rx_dropped,
                                .tx_bytes = ask.statistics.tx_bytes,
                                .tx_packets = ask.statistics.tx_packets,
                                .tx_dropped = ask.statistics.tx_dropped };
        return r;
}
