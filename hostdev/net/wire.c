/* SPDX-License-Identifier: Apache-2.0 */
/* Wired by a redirection: what is set on wire and tap, and in which order.
 *
 * Each has an ingress qdisc with two filters at most:
 *      preference 1  everything goes out by the other one (the gate; there only while it is open)
 *      preference 2  everything ends here */
#include <linux/if.h>
#include <string.h>

#include "hostdev/net/tc.h"
#include "hostdev/net/way.h"

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
        return net_failed(reterr, r, "cutting off", name, ns);
}

static int redirect_cut(const NetEnds *e, Error *reterr) {
        int index, r;

        r = net_device(e->ns, e->wire, &index, reterr);
        if (r == 0)
                r = cut(e->ns, index, e->wire, reterr);
        if (r == 0)
                r = net_failed(reterr, net_set_address_making(e->ns, index, false), "own addresses",
                               e->wire, e->ns);
        /* With a link-local address the namespace's kernel would speak up by itself (multicast
         * listener reports, router solicitations), with the pod's MAC and from a place where the
         * pod may no longer be. */
        return r < 0 ? r : net_drop_addresses6(e->ns, index, true, reterr);
}

static int redirect_uncut(const NetEnds *e, const NetInterface *wire, Error *reterr) {
        bool was_cut = false;
        int index, r;

        r = net_index(e->ns, e->wire, &index);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = tc_remove_ingress(e->ns, index, &was_cut);
        if (r < 0 || !was_cut) /* or perhaps otherwise, and that is not ours to end */
                return net_failed(reterr, r, "letting go", e->wire, e->ns);
        (void)net_set_address_making(e->ns, index, true);
        for (size_t i = 0; i < wire->n_addresses; i++) {
                const NetAddress *a = wire->addresses[i];
                NetAddress6 six = { .prefix = (uint8_t)a->prefix };

                if (!net_is_link_local(&a->address))
                        continue;
                memcpy(six.bytes, a->address.data, sizeof(six.bytes));
                (void)net_set_address6(e->ns, index, &six, true);
        }
        return 0;
}

static int redirect_join(const NetEnds *e, Error *reterr) {
        int wire, tap, r;

        r = net_device(e->ns, e->wire, &wire, reterr);
        if (r == 0)
                r = redirect_cut(e, reterr);
        if (r == 0)
                r = net_fetch(e, &tap, reterr);
        if (r == 0)
                r = cut(e->ns, tap, e->tap, reterr);
        if (r == 0)
                r = net_failed(reterr, net_set_address_making(e->ns, tap, false), "own addresses",
                               e->tap, e->ns);
        if (r == 0)
                r = net_match_mtu(e, wire, tap, reterr);
        if (r == 0)
                r = net_failed(reterr, net_set_flags(e->ns, tap, IFF_UP, IFF_UP), "bringing up",
                               e->tap, e->ns);
        return r < 0 ? r
                     : net_failed(reterr, net_set_flags(e->ns, wire, IFF_UP, IFF_UP), "bringing up",
                                  e->wire, e->ns);
}

static int redirect_gate(const NetEnds *e, bool open, Error *reterr) {
        int tap = e->device.index, wire, r;

        r = net_device(e->ns, e->wire, &wire, reterr);
        if (r < 0)
                return r;
        if (tap == 0 && !open) /* it went with its QEMU: then the way is closed */
                return net_failed(reterr, tc_remove_filter(e->ns, wire, 1), "closing", e->wire,
                                  e->ns);
        if (tap == 0)
                return error_setf(reterr, -ENOENT, "%s has no interface %s", e->ns->path, e->tap);
        if (!open) {
                r = tc_remove_filter(e->ns, tap, 1);
                if (r == 0)
                        r = tc_remove_filter(e->ns, wire, 1);
                return net_failed(reterr, r, "closing", e->wire, e->ns);
        }
        r = tc_add_redirect(e->ns, tap, wire, 1);
        if (r == 0)
                r = tc_add_redirect(e->ns, wire, tap, 1);
        return net_failed(reterr, r, "redirecting", e->wire, e->ns);
}

/* In a namespace that nobody else sees, at its lo: what this kernel's traffic control can do. */
static int redirect_probe(Error *reterr) {
        enum { LO = 1 };
        _cleanup_(netns_freep) NetNs *ns = NULL;
        int r;

        r = netns_make(&ns, reterr);
        if (r < 0)
                return r;
        r = tc_add_ingress(ns, LO);
        if (r == 0)
                r = tc_add_drop(ns, LO, 2);
        if (r == 0)
                r = tc_add_redirect(ns, LO, LO, 1);
        return r < 0 ? error_setf(reterr, r,
                                  "this kernel's traffic control cannot redirect and drop "
                                  "(sch_ingress, cls_u32 or cls_matchall, act_mirred, cls_bpf): %s",
                                  strerrordesc_np(-r))
                     : 0;
}

const NetWay net_way_redirect = {
        .kind = "tun",
        .probe = redirect_probe,
        .cut = redirect_cut,
        .uncut = redirect_uncut,
        .join = redirect_join,
        .gate = redirect_gate,
        .sends_to_guest = true,
};
