/* SPDX-License-Identifier: Apache-2.0 */
/* Whether somebody else on this host has a MAC address that a pod is about to bring along: on the
 * bridge that its interface leads to, if that is one of this host's. Nothing is sent.
 *
 * What the bridge has learnt by itself proves nothing: in a migration the pod is on the same L2
 * still, and heard by the port that leads to the other hosts. What counts is who is at the ports:
 *
 *      a device of the host    the bridge knows its address as one of its own
 *      a machine               its tap has libvirt's form of the address (fe: in front), or the
 *                              bridge has heard the address by a tap
 *      a namespace             the other end of its veth has the address, and is up */
#include <linux/if.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

typedef struct Port {
        int index, other; /* of the other end of a veth */
        int nsid;         /* where that is; -1: here, or not known */
        int master;
        bool veth, tap, up;
        uint8_t mac[NET_MAC_BYTES];
        char name[IFNAMSIZ];
} Port;

typedef struct Ports {
        Port *list;
        size_t n;
} Ports;

static struct nlattr *find(const struct nlmsghdr *h, size_t header, int type) {
        return nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, (int)header, type);
}

static int number(const struct nlattr *a, int otherwise) {
        return a ? (int)nla_get_u32(a) : otherwise;
}

static int add_port(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ifinfomsg *link = nlmsg_data(h);
        struct nlattr *name = find(h, sizeof(*link), IFLA_IFNAME),
                      *mac = find(h, sizeof(*link), IFLA_ADDRESS),
                      *info = find(h, sizeof(*link), IFLA_LINKINFO), *kind = NULL;
        Ports *p = userdata;
        Port *more = reallocarray(p->list, p->n + 1, sizeof(*more)), *port;

        if (!more)
                return error_oom(reterr);
        p->list = more;
        port = &more[p->n];
        *port = (Port){ .index = link->ifi_index,
                        .other = number(find(h, sizeof(*link), IFLA_LINK), 0),
                        .nsid = number(find(h, sizeof(*link), IFLA_LINK_NETNSID), -1),
                        .master = number(find(h, sizeof(*link), IFLA_MASTER), 0),
                        .up = link->ifi_flags & IFF_UP };
        if (!name || !mac || nla_len(mac) != NET_MAC_BYTES)
                return 0;
        if (info)
                kind = nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND);
        port->veth = kind && strcmp(nla_get_string(kind), "veth") == 0;
        port->tap = kind && strcmp(nla_get_string(kind), "tun") == 0;
        memcpy(port->mac, nla_data(mac), NET_MAC_BYTES);
        (void)nla_strlcpy(port->name, name, sizeof(port->name));
        p->n++;
        return 0;
}

/* Links of ns; with an id that it gives to another namespace, those of that one. */
static int read_ports(NetNs *ns, int nsid, Ports *ret, Error *reterr) {
        struct {
                struct ifinfomsg h;
                struct nlattr a;
                int32_t nsid;
        } request = { .h = { .ifi_family = AF_UNSPEC },
                      .a = { .nla_len = NLA_HDRLEN + sizeof(int32_t),
                             .nla_type = IFLA_TARGET_NETNSID },
                      .nsid = nsid };

        return net_dump(ns, RTM_GETLINK, &request, nsid >= 0 ? sizeof(request) : sizeof(request.h),
                        add_port, ret, reterr);
}

static const Port *by_index(const Ports *p, int index) {
        for (size_t i = 0; i < p->n; i++)
                if (p->list[i].index == index)
                        return &p->list[i];
        return NULL;
}

typedef struct Search {
        const Ports *ports;
        int bridge, own; /* our port */
        const uint8_t *mac;
        const Port *found;
} Search;

/* One entry of the bridge's table. */
static int match_entry(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ndmsg *m = nlmsg_data(h);
        struct nlattr *mac = find(h, sizeof(*m), NDA_LLADDR);
        Search *s = userdata;
        const Port *p = by_index(s->ports, m->ndm_ifindex);
        bool of_bridge = p && (p->master == s->bridge || p->index == s->bridge);

        if (of_bridge && p->index != s->own && mac && nla_len(mac) == NET_MAC_BYTES &&
            memcmp(nla_data(mac), s->mac, NET_MAC_BYTES) == 0 &&
            (m->ndm_state & NUD_PERMANENT || p->tap))
                s->found = p;
        return 0;
}

static bool is_tap_of(const Port *p, const uint8_t *mac) {
        return p->tap && p->mac[0] == 0xfe && memcmp(p->mac + 1, mac + 1, NET_MAC_BYTES - 1) == 0;
}

/* The other end of a port's veth has the address. A namespace that cannot be asked has nothing to
 * say. */
static bool is_veth_to(NetNs *host, const Port *p, const uint8_t *mac) {
        Ports there = {};
        const Port *end = NULL;
        bool found;

        if (!p->veth || p->nsid < 0)
                return false;
        if (read_ports(host, p->nsid, &there, NULL) == 0)
                end = by_index(&there, p->other);
        found = end && end->up && memcmp(end->mac, mac, NET_MAC_BYTES) == 0;
        free(there.list);
        return found;
}

/* Our port: the veth here whose other end is the wire. */
static const Port *find_own(NetNs *ns, NetNs *host, const char *wire, const Ports *here) {
        Ports there = {};
        const Port *own = NULL;
        int index;

        if (net_index(ns, wire, &index) < 0 || read_ports(ns, -1, &there, NULL) < 0) {
                free(there.list);
                return NULL;
        }
        for (size_t i = 0; !own && i < here->n; i++) {
                const Port *p = &here->list[i], *end = by_index(&there, index);
                Ports again = {};

                if (!p->veth || p->other != index || !end || end->other != p->index)
                        continue;
                /* The same numbers may be those of another pod: its namespace is asked by the
                 * host, and has the same address. */
                if (p->nsid >= 0 && read_ports(host, p->nsid, &again, NULL) == 0) {
                        const Port *same = by_index(&again, index);

                        if (same && strcmp(same->name, wire) == 0 &&
                            memcmp(same->mac, end->mac, NET_MAC_BYTES) == 0)
                                own = p;
                }
                free(again.list);
        }
        free(there.list);
        return own;
}

int net_check_alone(NetNs *ns, NetNs *host, const NetInterface *i, Error *reterr) {
        struct ndmsg h = { .ndm_family = AF_BRIDGE };
        char text[NET_MAC_TEXT];
        const Port *own = NULL;
        Ports here = {};
        Search s = {};
        int r;

        r = read_ports(host, -1, &here, reterr);
        if (r == 0)
                own = find_own(ns, host, i->name, &here);
        if (own && own->master > 0) {
                s = (Search){
                        .ports = &here, .bridge = own->master, .own = own->index, .mac = i->mac.data
                };
                r = net_dump(host, RTM_GETNEIGH, &h, sizeof(h), match_entry, &s, reterr);
        }
        for (size_t k = 0; r == 0 && s.bridge > 0 && !s.found && k < here.n; k++) {
                const Port *p = &here.list[k];

                if (p->master == s.bridge && p->index != s.own &&
                    (is_tap_of(p, s.mac) || is_veth_to(host, p, s.mac)))
                        s.found = p;
        }
        if (r == 0 && s.found)
                r = error_setf(reterr, -EEXIST,
                               "the pod's MAC address %s (%s) is in use on this host, by %s%s on "
                               "the bridge that the pod's interface leads to",
                               net_mac_text(&i->mac, text), i->name,
                               s.found->tap    ? "the machine behind "
                               : s.found->veth ? "what is behind "
                                               : "",
                               s.found->name);
        free(here.list);
        return r;
}
