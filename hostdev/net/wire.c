/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of the redirection: what is set on wire and tap, and in which order.
 *
 * Each has an ingress qdisc with two filters at most:
 *      preference 1  everything goes out by the other one (the gate; there only while it is open)
 *      preference 2  everything ends here */
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "hostdev/net/net-internal.h"
#include "hostdev/net/tc.h"

static int failed(Error *reterr, int r, const char *what, const char *device, const NetNs *ns) {
        return r < 0 ? error_setf(reterr, r, "%s of %s in %s: %s", what, device, ns->path,
                                  strerrordesc_np(-r))
                     : 0;
}

static int find_device(NetNs *ns, const char *name, int *ret, Error *reterr) {
        int r = net_index(ns, name, ret);

        return r == -ENOENT ? error_setf(reterr, r, "%s has no interface %s", ns->path, name)
                            : failed(reterr, r, "looking", name, ns);
}

/* No address of the kernel's own making: with `make` it makes them again, from the next time that
 * the device goes up. */
static int set_address_making(NetNs *ns, int index, bool make) {
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

static int set_up(NetNs *ns, int index) {
        struct ifinfomsg h = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

        return net_do(ns, net_request(RTM_SETLINK, 0, &h, sizeof(h)));
}

static int set_mtu(NetNs *ns, int index, uint32_t mtu) {
        struct ifinfomsg h = { .ifi_index = index };
        struct nl_msg *m = net_request(RTM_SETLINK, 0, &h, sizeof(h));

        if (m && nla_put_u32(m, IFLA_MTU, mtu) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return net_do(ns, m);
}

/* With a link-local address the namespace's kernel would speak up by itself (multicast listener
 * reports, router solicitations), with the pod's MAC and from a place where the pod may no longer
 * be. */
typedef struct LinkLocal {
        int index;
        uint8_t address[16];
        uint8_t prefix;
        bool found;
} LinkLocal;

static int find_link_local(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        const struct ifaddrmsg *m = nlmsg_data(h);
        struct nlattr *a =
                nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, sizeof(*m), IFA_ADDRESS);
        LinkLocal *l = userdata;

        if (m->ifa_family != AF_INET6 || (int)m->ifa_index != l->index ||
            m->ifa_scope != RT_SCOPE_LINK || !a || nla_len(a) != 16)
                return 0;
        memcpy(l->address, nla_data(a), 16);
        l->prefix = m->ifa_prefixlen;
        l->found = true;
        return 0;
}

static int change_address(NetNs *ns, int type, int flags, int index, const void *address, size_t n,
                          uint32_t prefix) {
        struct ifaddrmsg h = { .ifa_family = n == 4 ? AF_INET : AF_INET6,
                               .ifa_prefixlen = (uint8_t)prefix,
                               .ifa_index = (uint32_t)index };
        struct nl_msg *m = net_request(type, flags, &h, sizeof(h));

        if (m && nla_put(m, IFA_LOCAL, (int)n, address) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return net_do(ns, m);
}

static int drop_link_local(NetNs *ns, int index, Error *reterr) {
        struct ifaddrmsg h = { .ifa_family = AF_INET6 };
        LinkLocal l;
        int r;

        do {
                l = (LinkLocal){ .index = index };
                r = net_dump(ns, RTM_GETADDR, &h, sizeof(h), find_link_local, &l, reterr);
                if (r == 0 && l.found)
                        r = change_address(ns, RTM_DELADDR, 0, index, l.address, 16, l.prefix);
        } while (r == 0 && l.found);
        return r;
}

static int cut(NetNs *ns, int index, const char *name, Error *reterr) {
        int r;

        r = tc_add_ingress(ns, index);
        if (r == 0)
                r = tc_add_drop(ns, index, 2);
        if (r == -ENOENT || r == -EOPNOTSUPP)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "cutting off %s in %s: this kernel has no traffic control that "
                                  "can drop (cls_bpf, or cls_u32 with act_gact)",
                                  name, ns->path);
        return failed(reterr, r, "cutting off", name, ns);
}

int net_cut(NetNs *ns, const char *wire, Error *reterr) {
        int index, r;

        r = find_device(ns, wire, &index, reterr);
        if (r == 0)
                r = cut(ns, index, wire, reterr);
        if (r == 0)
                r = failed(reterr, set_address_making(ns, index, false), "own addresses", wire, ns);
        return r < 0 ? r : drop_link_local(ns, index, reterr);
}

int net_uncut(NetNs *ns, const NetInterface *wire, Error *reterr) {
        int index, r;

        r = net_index(ns, wire->name, &index);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = tc_remove_ingress(ns, index);
        if (r < 0)
                return failed(reterr, r, "letting go", wire->name, ns);
        (void)set_address_making(ns, index, true);
        for (size_t i = 0; i < wire->n_addresses; i++) {
                const NetAddress *a = wire->addresses[i];

                if (net_is_link_local(&a->address))
                        (void)change_address(ns, RTM_NEWADDR, NLM_F_CREATE, index, a->address.data,
                                             a->address.len, a->prefix);
        }
        return 0;
}

/* The tap keeps its name on the way. */
static int fetch_tap(NetNs *ns, NetNs *from, const char *tap, int *ret, Error *reterr) {
        struct ifinfomsg h = {};
        struct nl_msg *m;
        int r;

        r = net_index(ns, tap, ret);
        if (r != -ENOENT)
                return failed(reterr, r, "looking", tap, ns);
        r = find_device(from, tap, &h.ifi_index, reterr);
        if (r < 0)
                return r;
        m = net_request(RTM_SETLINK, 0, &h, sizeof(h));
        if (m && nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)ns->fd) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        r = net_do(from, m);
        if (r < 0)
                return failed(reterr, r, "moving into the pod's namespace", tap, ns);
        return find_device(ns, tap, ret, reterr);
}

int net_join(NetNs *ns, NetNs *from, const char *wire, const char *tap, Error *reterr) {
        int wire_index, tap_index, r;
        uint32_t mtu = 0;

        r = find_device(ns, wire, &wire_index, reterr);
        if (r == 0)
                r = net_cut(ns, wire, reterr);
        if (r == 0)
                r = fetch_tap(ns, from, tap, &tap_index, reterr);
        if (r == 0)
                r = cut(ns, tap_index, tap, reterr);
        if (r == 0)
                r = failed(reterr, set_address_making(ns, tap_index, false), "own addresses", tap,
                           ns);
        if (r == 0)
                r = net_mtu(ns, wire_index, &mtu, reterr);
        if (r == 0 && mtu > 0)
                r = failed(reterr, set_mtu(ns, tap_index, mtu), "MTU", tap, ns);
        if (r == 0)
                r = failed(reterr, set_up(ns, tap_index), "bringing up", tap, ns);
        return r < 0 ? r : failed(reterr, set_up(ns, wire_index), "bringing up", wire, ns);
}

int net_gate(NetNs *ns, const char *wire, const char *tap, bool open, Error *reterr) {
        int wire_index, tap_index, r;

        r = find_device(ns, wire, &wire_index, reterr);
        if (r < 0)
                return r;
        r = net_index(ns, tap, &tap_index);
        if (r == -ENOENT && !open) /* it went with its QEMU: then the way is closed */
                return failed(reterr, tc_remove_filter(ns, wire_index, 1), "closing", wire, ns);
        if (r < 0)
                return failed(reterr, r, "looking", tap, ns);
        if (!open) {
                r = tc_remove_filter(ns, tap_index, 1);
                if (r == 0)
                        r = tc_remove_filter(ns, wire_index, 1);
                return failed(reterr, r, "closing", wire, ns);
        }
        r = tc_add_redirect(ns, tap_index, wire_index, 1);
        if (r == 0)
                r = tc_add_redirect(ns, wire_index, tap_index, 1);
        return failed(reterr, r, "redirecting", wire, ns);
}
