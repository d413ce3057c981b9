/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/wire.h"
#include "lib/buf.h"
#include "lib/error.h"

/* The guest's interfaces, as the host describes them. On the worker's thread.
 *
 *      network.c   the request; finding, naming and filling an interface
 *      netlink.c   how the kernel is spoken to
 *      announce.c  "this address is here now", on the wire
 *      names.c     host name, DNS */
int network_check(const NetworkRequest *q, Error *reterr);
int network_apply(const NetworkRequest *q, Error *reterr);

/* Gratuitous ARP for every IPv4 address, unsolicited neighbour advertisements for IPv6. */
int announce_interface(int index, const NetInterface *i, Error *reterr);

/* Writes /etc/resolv.conf and /etc/hosts in place: containers have them mounted. */
int names_apply(const NetworkRequest *q, Error *reterr);
/* A container's configuration: it sees both files, once there is a network. */
int names_share(Buf *config, Error *reterr);
#define NAMES_RESOLV "/etc/resolv.conf"
#define NAMES_HOSTS  "/etc/hosts"
