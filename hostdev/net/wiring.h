/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "lib/error.h"

/* How a pod's interface is joined to its QEMU: hostdev/net/net.h. */
typedef enum NetWiring {
        NET_WIRING_AUTO, /* redirect, if this kernel can, else macvtap */
        NET_WIRING_REDIRECT,
        NET_WIRING_MACVTAP,
        _NET_WIRING_MAX,
} NetWiring;

const char *net_wiring_name(NetWiring w);   /* NULL: none of them */
int net_wiring_from_name(const char *name); /* -EINVAL */

typedef int NetWiringProbe(Error *reterr); /* 0: this kernel can redirect */
/* Never NET_WIRING_AUTO. probe: NULL, but in tests. The text is why it is not redirect. */
NetWiring net_wiring_choose(NetWiring wanted, NetWiringProbe *probe, Error *reterr);
/* Is the device there before QEMU, so that libvirt must not make it? */
bool net_wiring_is_made(NetWiring w);
