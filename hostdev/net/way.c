/* SPDX-License-Identifier: Apache-2.0 */
/* Which way a pod's interface is joined, and what is said of both. */
#include "hostdev/net/way.h"

#include <assert.h>
#include <string.h>

static const char *const names[_NET_WIRING_MAX] = {
        [NET_WIRING_AUTO] = "auto",
        [NET_WIRING_REDIRECT] = "redirect",
        [NET_WIRING_MACVTAP] = "macvtap",
};
static const NetWay *const ways[_NET_WIRING_MAX] = {
        [NET_WIRING_REDIRECT] = &net_way_redirect,
        [NET_WIRING_MACVTAP] = &net_way_macvtap,
};

const char *net_wiring_name(NetWiring w) {
        return (unsigned)w < _NET_WIRING_MAX ? names[w] : NULL;
}

int net_wiring_from_name(const char *name) {
        for (int w = 0; w < _NET_WIRING_MAX; w++)
                if (strcmp(names[w], name) == 0)
                        return w;
        return -EINVAL;
}

NetWiring net_wiring_choose(NetWiring wanted, NetWiringProbe *probe, Error *reterr) {
        if (wanted != NET_WIRING_AUTO)
                return wanted;
        return (probe ?: net_way_redirect.probe)(reterr) == 0 ? NET_WIRING_REDIRECT
                                                              : NET_WIRING_MACVTAP;
}

bool net_wiring_is_made(NetWiring w) {
        return ways[w] && ways[w]->make;
}

int net_ends(NetNs *ns, NetNs *host, const char *wire, const char *tap, NetEnds *ret,
             const NetWay **ret_way, Error *reterr) {
        NetEnds e = { .ns = ns, .host = host, .wire = wire, .tap = tap, .at = ns };
        int r = net_link(ns, tap, &e.device);

        if (r == -ENOENT && host) {
                e.at = host;
                r = net_link(host, tap, &e.device);
        }
        if (r == -ENOENT)
                e.at = NULL;
        else if (r < 0)
                return net_failed(reterr, r, "looking", tap, e.at);
        *ret = e;
        *ret_way = strcmp(e.device.kind, net_way_macvtap.kind) == 0 ? &net_way_macvtap
                                                                    : &net_way_redirect;
        return 0;
}

int net_fetch(const NetEnds *e, int *ret_index, Error *reterr) {
        int r;

        if (!e->at)
                return error_setf(reterr, -ENOENT, "%s has no interface %s",
                                  (e->host ?: e->ns)->path, e->tap);
        *ret_index = e->device.index;
        if (e->at == e->ns)
                return 0;
        r = net_move(e->at, e->device.index, e->ns);
        if (r < 0)
                return net_failed(reterr, r, "moving into the pod's namespace", e->tap, e->ns);
        return net_device(e->ns, e->tap, ret_index, reterr);
}

int net_match_mtu(const NetEnds *e, int wire, int tap, Error *reterr) {
        uint32_t mtu = 0;
        int r = net_mtu(e->ns, wire, &mtu, reterr);

        return r < 0 || mtu == 0
                       ? r
                       : net_failed(reterr, net_set_mtu(e->ns, tap, mtu), "MTU", e->tap, e->ns);
}

int net_make(NetNs *ns, NetNs *host, NetWiring w, const char *wire, const char *tap,
             Error *reterr) {
        const NetWay *found;
        NetEnds e;
        int r;

        assert(ways[w]); /* chosen before */
        r = net_ends(ns, host, wire, tap, &e, &found, reterr);
        if (r == 0 && found != ways[w] && found->unmake) /* this host did it otherwise before */
                r = found->unmake(&e, reterr);
        return r < 0 || !ways[w]->make ? r : ways[w]->make(&e, reterr);
}

int net_unmake(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr) {
        const NetWay *way;
        NetEnds e;
        int r = net_ends(ns, host, wire, tap, &e, &way, reterr);

        return r < 0 || !way->unmake ? r : way->unmake(&e, reterr);
}

int net_cut(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr) {
        const NetWay *way;
        NetEnds e;
        int r = net_ends(ns, host, wire, tap, &e, &way, reterr);

        return r < 0 ? r : way->cut(&e, reterr);
}

int net_uncut(NetNs *ns, NetNs *host, const NetInterface *wire, const char *tap, Error *reterr) {
        const NetWay *way;
        NetEnds e;
        int r = net_ends(ns, host, wire->name, tap, &e, &way, reterr);

        return r < 0 ? r : way->uncut(&e, wire, reterr);
}

int net_join(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr) {
        const NetWay *way;
        NetEnds e;
        int r = net_ends(ns, host, wire, tap, &e, &way, reterr);

        return r < 0 ? r : way->join(&e, reterr);
}

int net_gate(NetNs *ns, const char *wire, const char *tap, bool open, Error *reterr) {
        const NetWay *way;
        NetEnds e;
        int r = net_ends(ns, NULL, wire, tap, &e, &way, reterr);

        return r < 0 ? r : way->gate(&e, open, reterr);
}

int net_statistics(NetNs *ns, const char *tap, NetStatistics *ret, Error *reterr) {
        const NetWay *way;
        NetStatistics s;
        NetEnds e;
        int r = net_ends(ns, NULL, "", tap, &e, &way, reterr);

        if (r == 0 && !e.at)
                r = error_setf(reterr, -ENOENT, "%s has no interface %s", ns->path, tap);
        if (r == 0)
                r = net_counts(ns, e.device.index, &s, reterr);
        if (r < 0)
                return r;
        *ret = s;
        if (way->sends_to_guest)
                *ret = (NetStatistics){ .rx_bytes = s.tx_bytes,
                                        .rx_packets = s.tx_packets,
                                        .rx_dropped = s.tx_dropped,
                                        .tx_bytes = s.rx_bytes,
                                        .tx_packets = s.rx_packets,
                                        .tx_dropped = s.rx_dropped };
        return 0;
}
