/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/network.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "guest/agent.h"
#include "guest/files.h"
#include "guest/handlers.h"
#include "guest/netlink.h"
#include "guest/uevent.h"

enum {
        DEVICE_TIMEOUT_MS = 20000, /* only as a bound: a plugged device shows up in milliseconds */
        SURPLUS_MAX = 512,
};

/* -- checks -- */

static int host_name_check(const char *name, Error *reterr) {
        size_t n = strlen(name);

        for (const char *p = name; *p; p++)
                if (*p <= ' ' || *p > '~')
                        n = SIZE_MAX;
        return n <= HOST_NAME_MAX ? 0
                                  : error_setf(reterr, -EINVAL, "\"%.80s\" is no host name", name);
}

int network_check(const NetworkRequest *q, Error *reterr) {
        int r = host_name_check(q->host_name, reterr);

        if (q->n_interfaces > NET_INTERFACES_MAX || q->n_remove > NET_INTERFACES_MAX)
                return error_setf(reterr, -EINVAL, "%zu interfaces, at most %d", q->n_interfaces,
                                  NET_INTERFACES_MAX);
        for (size_t i = 0; r == 0 && i < q->n_interfaces; i++)
                r = net_interface_check(q->interfaces[i], reterr);
        for (size_t i = 0; r == 0 && i < q->n_remove; i++)
                if (q->remove[i].len != NET_MAC_BYTES)
                        r = error_setf(reterr, -EINVAL, "remove: a MAC address has 6 bytes");
        return r < 0 || !q->names ? r : net_names_check(q->names, reterr);
}

/* -- finding a device -- */

typedef struct Link {
        Netlink *nl;
        const uint8_t *device_mac; /* what to look for */
        int index;
        unsigned flags;
        char name[IFNAMSIZ];
        uint8_t mac[NET_MAC_BYTES];
} Link;

static int match_link(void *userdata, const NetlinkReply *reply) {
        const struct ifinfomsg *h = reply->header;
        const void *permanent = netlink_get(reply, IFLA_PERM_ADDRESS, NET_MAC_BYTES, NULL),
                   *mac = netlink_get(reply, IFLA_ADDRESS, NET_MAC_BYTES, NULL);
        Link *l = userdata;
        const char *name;
        size_t n = 0;

        name = netlink_get(reply, IFLA_IFNAME, 1, &n);
        if (!mac || !name || h->ifi_flags & IFF_LOOPBACK ||
            memcmp(permanent ?: mac, l->device_mac, NET_MAC_BYTES) != 0)
                return 0;
        l->index = h->ifi_index;
        l->flags = h->ifi_flags;
        memcpy(l->mac, mac, NET_MAC_BYTES);
        (void)snprintf(l->name, sizeof(l->name), "%.*s", (int)n, name);
        return 1;
}

/* UeventLook. */
static int look_for_link(void *userdata, Error *reterr) {
        struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
        Link *l = userdata;
        int r;

        r = netlink_dump(l->nl, RTM_GETLINK, &h, sizeof(h), match_link, l);
        return r < 0 ? error_setf(reterr, r, "cannot list the interfaces: %s", strerror(-r)) : r;
}

static int find_link(Netlink *nl, const ProtobufCBinaryData *device_mac, Link *ret, Error *reterr) {
        const uint8_t *m = device_mac->data;
        int r;

        *ret = (Link){ .nl = nl, .device_mac = m };
        r = uevent_wait(look_for_link, ret, DEVICE_TIMEOUT_MS, reterr);
        if (r == -ETIMEDOUT)
                return error_setf(reterr, -ENODEV,
                                  "no interface %02x:%02x:%02x:%02x:%02x:%02x came up", m[0], m[1],
                                  m[2], m[3], m[4], m[5]);
        return r < 0 ? r : 0;
}

/* -- one interface -- */

static int refused(Error *reterr, const char *name, const char *what, int r) {
        return r < 0 ? error_setf(reterr, r, "%.16s: %s: %s", name, what, strerror(-r)) : 0;
}

static void begin_link(NetlinkRequest *q, int index, bool up) {
        struct ifinfomsg h = { .ifi_index = index,
                               .ifi_flags = up ? IFF_UP : 0,
                               .ifi_change = IFF_UP };

        netlink_begin(q, RTM_NEWLINK, 0, &h, sizeof(h));
}

static int set_up(Netlink *nl, int index, bool up) {
        NetlinkRequest q;

        begin_link(&q, index, up);
        return netlink_do(nl, &q);
}

static int rename_link(Netlink *nl, int index, const char *name) {
        NetlinkRequest q;

        begin_link(&q, index, false);
        netlink_put(&q, IFLA_IFNAME, name, strlen(name) + 1);
        return netlink_do(nl, &q);
}

/* Nothing but what the host says: no address made up from a router's word, none made from the MAC.
 * A guest without IPv6 has no such files. */
static void quiet_ipv6(const char *name) {
        static const char *const off[][2] = {
                { "accept_ra", "0" },
                { "addr_gen_mode", "1" },
                { "accept_dad", "0" },
        };
        char path[128];

        for (size_t i = 0; i < ELEMENTSOF(off); i++) {
                (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name,
                               off[i][0]);
                (void)file_write_string(path, off[i][1], NULL);
        }
}

/* Name, MAC, MTU. A name and a MAC are changed while it is down; so what is right already is left
 * alone, and connections with it. */
static int shape_link(Netlink *nl, const Link *l, const NetInterface *i, Error *reterr) {
        bool rename = strcmp(l->name, i->name) != 0;
        NetlinkRequest q;
        int r = 0;

        if (rename || memcmp(l->mac, i->mac.data, NET_MAC_BYTES) != 0)
                r = set_up(nl, l->index, false);
        if (r == 0 && rename)
                r = rename_link(nl, l->index, i->name);
        if (r < 0)
                return refused(reterr, i->name, "name", r);
        quiet_ipv6(i->name);
        begin_link(&q, l->index, true);
        netlink_put(&q, IFLA_ADDRESS, i->mac.data, NET_MAC_BYTES);
        if (i->mtu > 0)
                netlink_put_u32(&q, IFLA_MTU, i->mtu);
        return refused(reterr, i->name, "MAC, MTU, up", netlink_do(nl, &q));
}

/* Addresses and routes that are there and should not be. */
typedef struct Surplus {
        const NetInterface *wanted;
        int index;
        NetlinkRequest *requests;
        size_t n;
} Surplus;

static bool wants_address(const NetInterface *i, const void *p, size_t n, uint32_t prefix) {
        for (size_t k = 0; k < i->n_addresses; k++)
                if (i->addresses[k]->address.len == n && i->addresses[k]->prefix == prefix &&
                    memcmp(i->addresses[k]->address.data, p, n) == 0)
                        return true;
        return false;
}

static int find_address(void *userdata, const NetlinkReply *reply) {
        const struct ifaddrmsg *h = reply->header;
        Surplus *s = userdata;
        const void *a;
        size_t n = 0;

        a = netlink_get(reply, IFA_LOCAL, 4, &n) ?: netlink_get(reply, IFA_ADDRESS, 4, &n);
        if ((int)h->ifa_index != s->index || !a || (n != 4 && n != 16) ||
            wants_address(s->wanted, a, n, h->ifa_prefixlen) || s->n >= SURPLUS_MAX)
                return 0;
        netlink_begin(&s->requests[s->n], RTM_DELADDR, 0, h, sizeof(*h));
        netlink_put(&s->requests[s->n++], IFA_LOCAL, a, n);
        return 0;
}

static int find_route(void *userdata, const NetlinkReply *reply) {
        const struct rtmsg *h = reply->header;
        Surplus *s = userdata;
        const uint32_t *out = netlink_get(reply, RTA_OIF, sizeof(*out), NULL);
        const void *a;
        size_t n = 0;

        if (!out || (int)*out != s->index || h->rtm_table != RT_TABLE_MAIN ||
            h->rtm_protocol == RTPROT_KERNEL || s->n >= SURPLUS_MAX)
                return 0;
        netlink_begin(&s->requests[s->n], RTM_DELROUTE, 0, h, sizeof(*h));
        a = netlink_get(reply, RTA_DST, 4, &n);
        if (a)
                netlink_put(&s->requests[s->n], RTA_DST, a, n);
        a = netlink_get(reply, RTA_GATEWAY, 4, &n);
        if (a)
                netlink_put(&s->requests[s->n], RTA_GATEWAY, a, n);
        a = netlink_get(reply, RTA_PRIORITY, 4, &n);
        if (a)
                netlink_put(&s->requests[s->n], RTA_PRIORITY, a, n);
        netlink_put_u32(&s->requests[s->n++], RTA_OIF, *out);
        return 0;
}

static int drop_surplus(Netlink *nl, Surplus *s, uint16_t type, const void *header, size_t n,
                        NetlinkVisitor find) {
        int r;

        s->n = 0;
        r = netlink_dump(nl, type, header, n, find, s);
        for (size_t i = 0; r == 0 && i < s->n; i++) {
                r = netlink_do(nl, &s->requests[i]);
                if (r == -ESRCH || r == -EADDRNOTAVAIL) /* went with another one */
                        r = 0;
        }
        return r;
}

static int drop_old(Netlink *nl, int index, const NetInterface *i, Error *reterr) {
        _cleanup_free_ NetlinkRequest *requests = calloc(SURPLUS_MAX, sizeof(*requests));
        Surplus s = { .wanted = i, .index = index, .requests = requests };
        struct ifaddrmsg a = { .ifa_family = AF_UNSPEC };
        struct rtmsg t = { .rtm_family = AF_UNSPEC };
        int r;

        if (!requests)
                return error_oom(reterr);
        r = drop_surplus(nl, &s, RTM_GETROUTE, &t, sizeof(t), find_route);
        if (r == 0)
                r = drop_surplus(nl, &s, RTM_GETADDR, &a, sizeof(a), find_address);
        return refused(reterr, i->name, "remove old addresses and routes", r);
}

static int family_of(const ProtobufCBinaryData *a) {
        return a->len == 4 ? AF_INET : AF_INET6;
}

static int add_address(Netlink *nl, int index, const NetAddress *a) {
        struct ifaddrmsg h = { .ifa_family = (uint8_t)family_of(&a->address),
                               .ifa_prefixlen = (uint8_t)a->prefix,
                               .ifa_flags = IFA_F_PERMANENT | IFA_F_NODAD,
                               .ifa_scope = net_is_link_local(&a->address) ? RT_SCOPE_LINK
                                                                           : RT_SCOPE_UNIVERSE,
                               .ifa_index = (uint32_t)index };
        NetlinkRequest q;
        uint32_t broadcast;
        int r;

        netlink_begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
        netlink_put(&q, IFA_LOCAL, a->address.data, a->address.len);
        netlink_put(&q, IFA_ADDRESS, a->address.data, a->address.len);
        if (a->address.len == 4 && a->prefix < 31) {
                memcpy(&broadcast, a->address.data, sizeof(broadcast));
                broadcast |= htonl(UINT32_MAX >> a->prefix);
                netlink_put_u32(&q, IFA_BROADCAST, broadcast);
        }
        r = netlink_do(nl, &q);
        return r == -EEXIST ? 0 : r;
}

static int add_route(Netlink *nl, int index, const NetRoute *t) {
        struct rtmsg h = { .rtm_family = (uint8_t)family_of(&t->destination),
                           .rtm_dst_len = (uint8_t)t->prefix,
                           .rtm_table = RT_TABLE_MAIN,
                           .rtm_protocol = RTPROT_STATIC,
                           .rtm_scope = t->gateway.len > 0 || t->destination.len == 16
                                                ? RT_SCOPE_UNIVERSE
                                                : RT_SCOPE_LINK,
                           .rtm_type = RTN_UNICAST,
                           .rtm_flags = t->on_link ? RTNH_F_ONLINK : 0 };
        NetlinkRequest q;

        netlink_begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
        if (t->prefix > 0)
                netlink_put(&q, RTA_DST, t->destination.data, t->destination.len);
        if (t->gateway.len > 0)
                netlink_put(&q, RTA_GATEWAY, t->gateway.data, t->gateway.len);
        if (t->source.len > 0)
                netlink_put(&q, RTA_PREFSRC, t->source.data, t->source.len);
        if (t->metric > 0)
                netlink_put_u32(&q, RTA_PRIORITY, t->metric);
        netlink_put_u32(&q, RTA_OIF, (uint32_t)index);
        return netlink_do(nl, &q);
}

static int add_neighbour(Netlink *nl, int index, const NetNeighbour *b) {
        struct ndmsg h = { .ndm_family = (uint8_t)family_of(&b->address),
                           .ndm_ifindex = index,
                           .ndm_state = NUD_PERMANENT };
        NetlinkRequest q;

        netlink_begin(&q, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
        netlink_put(&q, NDA_DST, b->address.data, b->address.len);
        netlink_put(&q, NDA_LLADDR, b->mac.data, NET_MAC_BYTES);
        return netlink_do(nl, &q);
}

/* Routes to the gateways before routes by them. */
static int fill_link(Netlink *nl, int index, const NetInterface *i, Error *reterr) {
        int r = 0;

        for (size_t k = 0; r == 0 && k < i->n_addresses; k++)
                r = add_address(nl, index, i->addresses[k]);
        if (r < 0)
                return refused(reterr, i->name, "add an address", r);
        for (int by_gateway = 0; by_gateway < 2; by_gateway++)
                for (size_t k = 0; r == 0 && k < i->n_routes; k++)
                        if ((i->routes[k]->gateway.len > 0) == by_gateway)
                                r = add_route(nl, index, i->routes[k]);
        if (r < 0)
                return refused(reterr, i->name, "add a route", r);
        for (size_t k = 0; r == 0 && k < i->n_neighbours; k++)
                r = add_neighbour(nl, index, i->neighbours[k]);
        return refused(reterr, i->name, "add a neighbour", r);
}

/* -- the request -- */

/* The kernel's own name for one device may be the wanted one of another. */
static int free_names(Netlink *nl, const NetworkRequest *q, Link *links, Error *reterr) {
        for (size_t i = 0; i < q->n_interfaces; i++)
                for (size_t k = 0; k < q->n_interfaces; k++) {
                        char name[IFNAMSIZ];
                        int r;

                        if (i == k || strcmp(links[i].name, q->interfaces[k]->name) != 0)
                                continue;
                        (void)snprintf(name, sizeof(name), "pf-%d", links[i].index);
                        r = set_up(nl, links[i].index, false);
                        if (r == 0)
                                r = rename_link(nl, links[i].index, name);
                        if (r < 0)
                                return refused(reterr, links[i].name, "name", r);
                        (void)snprintf(links[i].name, sizeof(links[i].name), "%s", name);
                        break;
                }
        return 0;
}

static int set_interface(Netlink *nl, const Link *l, const NetInterface *i, Error *reterr) {
        int r;

        r = shape_link(nl, l, i, reterr);
        if (r == 0)
                r = drop_old(nl, l->index, i, reterr);
        return r < 0 ? r : fill_link(nl, l->index, i, reterr);
}

/* It is about to be unplugged, or its plug failed: then it is not there. */
static int take_down(Netlink *nl, const ProtobufCBinaryData *device_mac, Error *reterr) {
        Link l = { .nl = nl, .device_mac = device_mac->data };
        int r;

        r = look_for_link(&l, reterr);
        return r <= 0 ? r : refused(reterr, l.name, "down", set_up(nl, l.index, false));
}

static int apply(Netlink *nl, const NetworkRequest *q, Error *reterr) {
        Link links[NET_INTERFACES_MAX];
        int r = 0;

        for (size_t i = 0; r == 0 && i < q->n_remove; i++)
                r = take_down(nl, &q->remove[i], reterr);
        for (size_t i = 0; r == 0 && i < q->n_interfaces; i++)
                r = find_link(nl, &q->interfaces[i]->device_mac, &links[i], reterr);
        if (r == 0 && !q->keep)
                r = free_names(nl, q, links, reterr);
        for (size_t i = 0; r == 0 && !q->keep && i < q->n_interfaces; i++)
                r = set_interface(nl, &links[i], q->interfaces[i], reterr);
        for (size_t i = 0; r == 0 && q->announce && i < q->n_interfaces; i++)
                r = announce_interface(links[i].index, q->interfaces[i], reterr);
        return r;
}

int network_apply(const NetworkRequest *q, Error *reterr) {
        Netlink nl = NETLINK_INIT;
        int r;

        r = netlink_open(&nl, reterr);
        if (r < 0)
                return r;
        r = set_up(&nl, 1, true); /* lo */
        if (r == 0)
                r = apply(&nl, q, reterr);
        netlink_close(&nl);
        return r < 0 ? r : names_apply(q, reterr);
}

typedef struct NetworkJob {
        WorkerJob job;
        Call *call;
} NetworkJob;

static int run(WorkerJob *job, Error *reterr) {
        return network_apply(container_of(job, NetworkJob, job)->call->request->network, reterr);
}

static void done(WorkerJob *job) {
        NetworkJob *n = container_of(job, NetworkJob, job);

        call_finish(n->call, job->code, &job->err, NULL);
        free(n);
}

int handle_network(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        NetworkJob *n;
        int r;

        r = network_check(m->network, reterr);
        if (r < 0)
                return r;
        n = malloc(sizeof(*n));
        if (!n)
                return error_oom(reterr);
        *n = (NetworkJob){ .job = { .run = run, .done = done }, .call = call };
        worker_submit(&a->worker, &n->job);
        return 1;
}
