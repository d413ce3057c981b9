/* SPDX-License-Identifier: Apache-2.0 */
/* One device of a namespace: what it is, and what can be set on it. */
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

int net_failed(Error *reterr, int r, const char *what, const char *device, const NetNs *ns) {
        return r < 0 ? error_setf(reterr, r, "%s of %s in %s: %s", what, device, ns->path,
                                  strerrordesc_np(-r))
                     : 0;
}

int net_device(NetNs *ns, const char *name, int *ret, Error *reterr) {
        int r = net_index(ns, name, ret);

        return r == -ENOENT ? error_setf(reterr, r, "%s has no interface %s", ns->path, name)
                            : net_failed(reterr, r, "looking", name, ns);
}

/* -- what it is -- */

typedef struct Search {
        const char *name;
        NetLink *link;
} Search;

static void copy_text(char *to, size_t size, const struct nlattr *a) {
        (void)snprintf(to, size, "%s", a ? nla_get_string(a) : "");
}

static int take_link(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        struct nlmsghdr *m = (struct nlmsghdr *)(uintptr_t)h;
        const struct ifinfomsg *link = nlmsg_data(h);
        struct nlattr *name = nlmsg_find_attr(m, sizeof(*link), IFLA_IFNAME), *info;
        Search *s = userdata;

        if (!name || strcmp(nla_get_string(name), s->name) != 0)
                return 0;
        info = nlmsg_find_attr(m, sizeof(*link), IFLA_LINKINFO);
        s->link->index = link->ifi_index;
        copy_text(s->link->kind, sizeof(s->link->kind),
                  info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL);
        copy_text(s->link->alias, sizeof(s->link->alias),
                  nlmsg_find_attr(m, sizeof(*link), IFLA_IFALIAS));
        return 0;
}

int net_link(NetNs *ns, const char *name, NetLink *ret) {
        struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
        Search s = { name, ret };
        int r;

        *ret = (NetLink){};
        r = net_dump(ns, RTM_GETLINK, &h, sizeof(h), take_link, &s, NULL);
        return r < 0 ? r : ret->index > 0 ? 0 : -ENOENT;
}

/* -- what can be set -- */

int net_set_flags(NetNs *ns, int index, unsigned which, unsigned flags) {
        struct ifinfomsg h = { .ifi_index = index, .ifi_flags = flags, .ifi_change = which };

        return net_do(ns, net_request(RTM_SETLINK, 0, &h, sizeof(h)));
}

static int set_number(NetNs *ns, int index, int attribute, uint32_t value) {
        struct ifinfomsg h = { .ifi_index = index };
        struct nl_msg *m = net_request(RTM_SETLINK, 0, &h, sizeof(h));

        if (m && nla_put_u32(m, attribute, value) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return net_do(ns, m);
}

int net_set_mtu(NetNs *ns, int index, uint32_t mtu) {
        return set_number(ns, index, IFLA_MTU, mtu);
}

int net_set_alias(NetNs *ns, int index, const char *alias) {
        struct ifinfomsg h = { .ifi_index = index };
        struct nl_msg *m = net_request(RTM_SETLINK, 0, &h, sizeof(h));

        if (m && nla_put_string(m, IFLA_IFALIAS, alias) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return net_do(ns, m);
}

int net_move(NetNs *from, int index, const NetNs *to) {
        return set_number(from, index, IFLA_NET_NS_FD, (uint32_t)to->fd);
}

int net_set_address_making(NetNs *ns, int index, bool make) {
        struct ifinfomsg h = { .ifi_index = index };
        struct nl_msg *m = net_request(RTM_SETLINK, 0, &h, sizeof(h));
        struct nlattr *spec, *inet6;
        int r;

        if (!m)
                return -ENOMEM;
        spec = nla_nest_start(m, IFLA_AF_SPEC);
        inet6 = spec ? nla_nest_start(m, AF_INET6) : NULL;
        if (!inet6 || nla_put_u8(m, IFLA_INET6_ADDR_GEN_MODE,
                                 make ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE) < 0) {
                nlmsg_free(m);
                return -ENOMEM;
        }
        (void)nla_nest_end(m, inet6);
        (void)nla_nest_end(m, spec);
        r = net_do(ns, m);
        return r == -EOPNOTSUPP || r == -EAFNOSUPPORT ? 0 : r; /* a kernel without IPv6 */
}

/* -- its IPv6 addresses -- */

typedef struct Addresses {
        int index;
        bool link_local; /* those alone */
        NetAddress6 *list;
        size_t n, max;
} Addresses;

static int take_address(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ifaddrmsg *m = nlmsg_data(h);
        struct nlmsghdr *whole = (struct nlmsghdr *)(uintptr_t)h;
        struct nlattr *a = nlmsg_find_attr(whole, sizeof(*m), IFA_LOCAL)
                                   ?: nlmsg_find_attr(whole, sizeof(*m), IFA_ADDRESS);
        Addresses *l = userdata;

        if (m->ifa_family != AF_INET6 || (int)m->ifa_index != l->index || !a || nla_len(a) != 16 ||
            (l->link_local && m->ifa_scope != RT_SCOPE_LINK))
                return 0;
        if (l->n == l->max)
                return -ENOSPC;
        memcpy(l->list[l->n].bytes, nla_data(a), 16);
        l->list[l->n++].prefix = m->ifa_prefixlen;
        return 0;
}

int net_addresses6(NetNs *ns, int index, bool link_local, NetAddress6 *ret, size_t *n,
                   Error *reterr) {
        struct ifaddrmsg h = { .ifa_family = AF_INET6 };
        Addresses l = { .index = index, .link_local = link_local, .list = ret, .max = *n };
        int r = net_dump(ns, RTM_GETADDR, &h, sizeof(h), take_address, &l, reterr);

        *n = l.n;
        return r;
}

int net_set_address6(NetNs *ns, int index, const NetAddress6 *a, bool there) {
        struct ifaddrmsg h = { .ifa_family = AF_INET6,
                               .ifa_prefixlen = a->prefix,
                               .ifa_flags = there ? IFA_F_NODAD : 0, /* it was checked before */
                               .ifa_index = (uint32_t)index };
        struct nl_msg *m = net_request(there ? RTM_NEWADDR : RTM_DELADDR, there ? NLM_F_CREATE : 0,
                                       &h, sizeof(h));

        if (m && nla_put(m, IFA_LOCAL, sizeof(a->bytes), a->bytes) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return net_do(ns, m);
}

int net_drop_addresses6(NetNs *ns, int index, bool link_local, Error *reterr) {
        NetAddress6 a[8];
        size_t n;
        int r;

        do {
                n = ELEMENTSOF(a);
                r = net_addresses6(ns, index, link_local, a, &n, reterr);
                if (r == -ENOSPC) /* more of them: in another round */
                        r = 0;
                for (size_t i = 0; r == 0 && i < n; i++) {
                        r = net_set_address6(ns, index, &a[i], false);
                        if (r == -EADDRNOTAVAIL) /* it went by itself */
                                r = 0;
                }
        } while (r == 0 && n > 0);
        return r;
}
