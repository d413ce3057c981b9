/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace as messages: links, then what is on each of them. */
#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

enum { MTU_MAX = 65535 - 14 }; /* of a tap */

typedef struct Reader {
        NetFacts *facts;
        int index[NET_INTERFACES_MAX]; /* of facts->interfaces */
        const char *path;
} Reader;

/* Messages grow by one: they are freed by protobuf-c, which uses malloc. */
static int grow(void ***list, size_t *n, void *item) {
        void **more = item ? reallocarray(*list, *n + 1, sizeof(void *)) : NULL;

        if (!more) {
                free(item);
                return -ENOMEM;
        }
        *list = more;
        more[(*n)++] = item;
        return 0;
}
#define GROW(list, n, item) grow((void ***)(void *)(list), (n), (item))

static int set_bytes(ProtobufCBinaryData *to, const void *p, size_t n) {
        uint8_t *copy = malloc(n ?: 1);

        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, p, n);
        *to = (ProtobufCBinaryData){ .len = n, .data = copy };
        return 0;
}

static int set_attribute(ProtobufCBinaryData *to, const struct nlattr *a) {
        return a ? set_bytes(to, nla_data(a), (size_t)nla_len(a)) : 0;
}

static struct nlattr *find(const struct nlmsghdr *h, size_t header, int type) {
        return nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, (int)header, type);
}

/* Devices that are no way out of the namespace. */
static bool is_ours_to_take(const struct nlmsghdr *h) {
        static const char *const not [] = {
                "tun", "bridge", "ifb", "gretap", "ip6gretap", "erspan"
        };
        struct nlattr *info = find(h, sizeof(struct ifinfomsg), IFLA_LINKINFO), *kind;
        const struct ifinfomsg *link = nlmsg_data(h);

        if (link->ifi_type != ARPHRD_ETHER || link->ifi_flags & IFF_LOOPBACK)
                return false;
        kind = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;
        if (kind && strcmp(nla_get_string(kind), "macvtap") == 0 &&
            !find(h, sizeof(struct ifinfomsg), IFLA_LINK_NETNSID))
                return false; /* a pod's, on an interface that is here (hostdev/net/macvtap.c) */
        for (size_t i = 0; kind && i < ELEMENTSOF(not ); i++)
                if (strcmp(nla_get_string(kind), not [i]) == 0)
                        return false;
        return true;
}

/* What cannot be taken along as it is: its frames go by another device of the namespace. */
static int check_link(const struct nlmsghdr *h, const char *name, const char *path, Error *reterr) {
        static const char *const upper[] = { "vlan", "macvlan", "ipvlan", "ipvtap" };
        struct nlattr *info = find(h, sizeof(struct ifinfomsg), IFLA_LINKINFO), *kind;
        struct nlattr *mtu = find(h, sizeof(struct ifinfomsg), IFLA_MTU);

        if (find(h, sizeof(struct ifinfomsg), IFLA_MASTER))
                return error_setf(reterr, -EOPNOTSUPP,
                                  "%s: %s belongs to a bridge, bond or VRF of the namespace, and a "
                                  "pod takes single interfaces along: take it out of there",
                                  path, name);
        kind = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;
        for (size_t i = 0; kind && i < ELEMENTSOF(upper); i++)
                if (strcmp(nla_get_string(kind), upper[i]) == 0 &&
                    find(h, sizeof(struct ifinfomsg), IFLA_LINK) &&
                    !find(h, sizeof(struct ifinfomsg), IFLA_LINK_NETNSID))
                        return error_setf(reterr, -EOPNOTSUPP,
                                          "%s: %s (%s) sits on another interface of the namespace, "
                                          "and a pod takes along only those that lead out of it",
                                          path, name, upper[i]);
        if (mtu && nla_get_u32(mtu) > MTU_MAX)
                return error_setf(reterr, -EOPNOTSUPP, "%s: %s has MTU %u, and a tap %d at most",
                                  path, name, nla_get_u32(mtu), MTU_MAX);
        return 0;
}

static int add_link(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        struct nlattr *name = find(h, sizeof(struct ifinfomsg), IFLA_IFNAME),
                      *mac = find(h, sizeof(struct ifinfomsg), IFLA_ADDRESS),
                      *mtu = find(h, sizeof(struct ifinfomsg), IFLA_MTU);
        const struct ifinfomsg *link = nlmsg_data(h);
        Reader *v = userdata;
        NetFacts *f = v->facts;
        NetInterface *i;
        int r;

        if (!name || !mac || nla_len(mac) != NET_MAC_BYTES || !is_ours_to_take(h))
                return 0;
        if (f->n_interfaces >= NET_INTERFACES_MAX)
                return error_setf(reterr, -ENOSPC,
                                  "%s: more than %d interfaces, and a pod has no more", v->path,
                                  NET_INTERFACES_MAX);
        r = check_link(h, nla_get_string(name), v->path, reterr);
        if (r < 0)
                return r;
        i = malloc(sizeof(*i));
        if (!i)
                return error_oom(reterr);
        *i = (NetInterface)PODFERRY__NET__V1__INTERFACE__INIT;
        if (GROW(&f->interfaces, &f->n_interfaces, i) < 0)
                return error_oom(reterr);
        v->index[f->n_interfaces - 1] = link->ifi_index;
        i->slot = (uint32_t)f->n_interfaces - 1;
        i->mtu = mtu ? nla_get_u32(mtu) : 0;
        i->name = strdup(nla_get_string(name));
        if (!i->name || set_attribute(&i->mac, mac) < 0 || set_attribute(&i->device_mac, mac) < 0)
                return error_oom(reterr);
        return 0;
}

static NetInterface *by_index(const Reader *v, int index) {
        for (size_t i = 0; i < v->facts->n_interfaces; i++)
                if (v->index[i] == index)
                        return v->facts->interfaces[i];
        return NULL;
}

/* An address with a peer is one of its own, and a route to the other end. */
static int add_peer(NetInterface *i, const struct nlattr *peer, uint32_t prefix) {
        NetRoute *t = malloc(sizeof(*t));

        if (!t)
                return -ENOMEM;
        *t = (NetRoute)PODFERRY__NET__V1__ROUTE__INIT;
        t->prefix = prefix;
        if (GROW(&i->routes, &i->n_routes, t) < 0)
                return -ENOMEM;
        return set_attribute(&t->destination, peer);
}

static int add_address(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ifaddrmsg *m = nlmsg_data(h);
        struct nlattr *peer = find(h, sizeof(*m), IFA_ADDRESS),
                      *a = find(h, sizeof(*m), IFA_LOCAL) ?: peer;
        NetInterface *i = by_index(userdata, (int)m->ifa_index);
        bool has_peer = a && peer && nla_len(a) == nla_len(peer) &&
                        memcmp(nla_data(a), nla_data(peer), (size_t)nla_len(a)) != 0;
        NetAddress *n;

        /* The same flag says "secondary" of an IPv4 address. */
        if (!i || !a || (m->ifa_family == AF_INET6 && m->ifa_flags & IFA_F_TEMPORARY) ||
            (m->ifa_family != AF_INET && m->ifa_family != AF_INET6))
                return 0;
        n = malloc(sizeof(*n));
        if (!n)
                return error_oom(reterr);
        *n = (NetAddress)PODFERRY__NET__V1__ADDRESS__INIT;
        n->prefix = has_peer ? (uint32_t)nla_len(a) * 8 : m->ifa_prefixlen;
        if (GROW(&i->addresses, &i->n_addresses, n) < 0 || set_attribute(&n->address, a) < 0 ||
            (has_peer && add_peer(i, peer, m->ifa_prefixlen) < 0))
                return error_oom(reterr);
        return 0;
}

static bool route_counts(const struct rtmsg *m) {
        return m->rtm_table == RT_TABLE_MAIN && m->rtm_protocol != RTPROT_KERNEL &&
               !(m->rtm_flags & RTM_F_CLONED) &&
               (m->rtm_family == AF_INET || m->rtm_family == AF_INET6);
}

/* Without it the pod would reach what it was not to, or the other way round. */
static int check_route(const struct nlmsghdr *h, const char *path, Error *reterr) {
        const struct rtmsg *m = nlmsg_data(h);

        if (m->rtm_type != RTN_UNICAST)
                return error_setf(
                        reterr, -EOPNOTSUPP,
                        "%s: a route of a kind like blackhole, unreachable or throw cannot "
                        "be taken along",
                        path);
        if (find(h, sizeof(*m), RTA_MULTIPATH) || find(h, sizeof(*m), RTA_VIA))
                return error_setf(reterr, -EOPNOTSUPP,
                                  "%s: a route with several ways, or to a gateway of the other "
                                  "family, cannot be taken along",
                                  path);
        return 0;
}

static int fill_route(const struct nlmsghdr *h, NetRoute *t) {
        static const uint8_t zero[16];
        const struct rtmsg *m = nlmsg_data(h);
        struct nlattr *to = find(h, sizeof(*m), RTA_DST),
                      *metric = find(h, sizeof(*m), RTA_PRIORITY);

        t->prefix = m->rtm_dst_len;
        t->metric = metric ? nla_get_u32(metric) : 0;
        t->on_link = m->rtm_flags & RTNH_F_ONLINK;
        if ((to ? set_attribute(&t->destination, to)
                : set_bytes(&t->destination, zero, m->rtm_family == AF_INET ? 4 : 16)) < 0 ||
            set_attribute(&t->gateway, find(h, sizeof(*m), RTA_GATEWAY)) < 0 ||
            set_attribute(&t->source, find(h, sizeof(*m), RTA_PREFSRC)) < 0)
                return -ENOMEM;
        return 0;
}

static int add_route(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct rtmsg *m = nlmsg_data(h);
        struct nlattr *out = find(h, sizeof(*m), RTA_OIF);
        Reader *v = userdata;
        NetInterface *i;
        NetRoute *t;
        int r;

        if (!route_counts(m))
                return 0;
        r = check_route(h, v->path, reterr);
        if (r < 0)
                return r;
        i = out ? by_index(v, (int)nla_get_u32(out)) : NULL;
        if (!i)
                return 0;
        t = malloc(sizeof(*t));
        if (!t)
                return error_oom(reterr);
        *t = (NetRoute)PODFERRY__NET__V1__ROUTE__INIT;
        if (fill_route(h, t) < 0 || GROW(&i->routes, &i->n_routes, t) < 0)
                return error_oom(reterr);
        return 0;
}

static int add_neighbour(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ndmsg *m = nlmsg_data(h);
        struct nlattr *address = find(h, sizeof(*m), NDA_DST),
                      *mac = find(h, sizeof(*m), NDA_LLADDR);
        NetInterface *i = by_index(userdata, m->ndm_ifindex);
        NetNeighbour *n;

        if (!i || !address || !mac || !(m->ndm_state & NUD_PERMANENT) ||
            (m->ndm_family != AF_INET && m->ndm_family != AF_INET6))
                return 0;
        n = malloc(sizeof(*n));
        if (!n)
                return error_oom(reterr);
        *n = (NetNeighbour)PODFERRY__NET__V1__NEIGHBOUR__INIT;
        if (set_attribute(&n->address, address) < 0 || set_attribute(&n->mac, mac) < 0 ||
            GROW(&i->neighbours, &i->n_neighbours, n) < 0)
                return error_oom(reterr);
        return 0;
}

static int check(const Reader *v, Error *reterr) {
        const NetFacts *f = v->facts;

        if (f->n_interfaces == 0)
                return error_setf(reterr, -ENOENT, "%s has no interface beside lo", v->path);
        for (size_t i = 0; i < f->n_interfaces; i++) {
                char mac[NET_MAC_TEXT];
                int r = net_interface_check(f->interfaces[i], reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "%s", v->path);
                for (size_t k = 0; k < i; k++)
                        if (net_same_bytes(&f->interfaces[i]->mac, &f->interfaces[k]->mac))
                                return error_setf(
                                        reterr, -EEXIST,
                                        "%s: %s and %s have one MAC address, %s: give one of them "
                                        "another",
                                        v->path, f->interfaces[k]->name, f->interfaces[i]->name,
                                        net_mac_text(&f->interfaces[i]->mac, mac));
        }
        return 0;
}

int net_read(NetNs *ns, NetFacts **ret, Error *reterr) {
        _cleanup_(net_facts_freep) NetFacts *f = malloc(sizeof(*f));
        Reader v = { .facts = f, .path = ns->path };
        struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
        struct ifaddrmsg address = { .ifa_family = AF_UNSPEC };
        struct rtmsg route = { .rtm_family = AF_UNSPEC };
        struct ndmsg neighbour = { .ndm_family = AF_UNSPEC };
        int r;

        if (!f)
                return error_oom(reterr);
        *f = (NetFacts)PODFERRY__NET__V1__FACTS__INIT;
        if ((r = net_dump(ns, RTM_GETLINK, &link, sizeof(link), add_link, &v, reterr)) < 0 ||
            (r = net_dump(ns, RTM_GETADDR, &address, sizeof(address), add_address, &v, reterr)) <
                    0 ||
            (r = net_dump(ns, RTM_GETROUTE, &route, sizeof(route), add_route, &v, reterr)) < 0 ||
            (r = net_dump(ns, RTM_GETNEIGH, &neighbour, sizeof(neighbour), add_neighbour, &v,
                          reterr)) < 0 ||
            (r = check(&v, reterr)) < 0)
                return r;
        r = net_read_names(ns->path, &f->names, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(f);
        return 0;
}
