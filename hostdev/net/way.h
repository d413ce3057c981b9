/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/net/net-internal.h"

/* The ways to join a pod's interface to QEMU's device: a table each. Which one a device belongs to
 * its kind says, so that no record of it is needed: another shim finds it again. */
typedef struct NetEnds {
        NetNs *ns, *host; /* the pod's namespace; libvirt's, or NULL */
        const char *wire, *tap;
        NetNs *at; /* where the tap is found: one of them; NULL: nowhere */
        NetLink device;
} NetEnds;

typedef struct NetWay {
        const char *kind;            /* of the device, as the kernel names it */
        int (*probe)(Error *reterr); /* 0: this kernel can; NULL: known by trying */
        /* Before QEMU is there. NULL: libvirt makes the device. */
        int (*make)(const NetEnds *e, Error *reterr);
        int (*unmake)(const NetEnds *e, Error *reterr);
        int (*cut)(const NetEnds *e, Error *reterr);
        int (*uncut)(const NetEnds *e, const NetInterface *wire, Error *reterr);
        int (*join)(const NetEnds *e, Error *reterr);
        int (*gate)(const NetEnds *e, bool open, Error *reterr);
        bool sends_to_guest; /* what the device sends is what the guest gets; else what it gets */
} NetWay;

extern const NetWay net_way_redirect, net_way_macvtap;

/* The way of this device, looked for in ns and then in host (NULL: not there). One that is nowhere
 * counts as redirected: such a tap goes with its QEMU. A negative errno with a text. */
int net_ends(NetNs *ns, NetNs *host, const char *wire, const char *tap, NetEnds *ret,
             const NetWay **ret_way, Error *reterr);
/* Moves the device into ns, if it is not there yet; it keeps its name. -ENOENT: there is none. */
int net_fetch(const NetEnds *e, int *ret_index, Error *reterr);
/* The device, which is in ns by now, lets through what the interface does. */
int net_match_mtu(const NetEnds *e, int wire, int tap, Error *reterr);
