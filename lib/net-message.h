/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "lib/error.h"
#include "net.pb-c.h"

/* Interfaces as messages (proto/net/v1/net.proto): the one form in which they are kept, sent and
 * set up. Whoever reads one from outside checks it first; then every length and prefix is right. */
typedef Podferry__Net__V1__Interface NetInterface;
typedef Podferry__Net__V1__Address NetAddress;
typedef Podferry__Net__V1__Route NetRoute;
typedef Podferry__Net__V1__Neighbour NetNeighbour;
typedef Podferry__Net__V1__Names NetNames;
typedef Podferry__Net__V1__Facts NetFacts; /* all that a namespace holds */

enum {
        NET_MAC_BYTES = 6,
        NET_NAME_MAX = 15,
        NET_INTERFACES_MAX = 4, /* of one pod: as many PCI ports are kept for them */
        NET_ENTRIES_MAX = 256,  /* addresses, routes, neighbours: of each, per interface */
        NET_NAMES_MAX = 32,     /* servers, searches, options: of each */
};

/* -EINVAL names the interface and the field. */
int net_interface_check(const NetInterface *i, Error *reterr);
int net_names_check(const NetNames *n, Error *reterr);
/* 1 to 15 characters that the kernel takes, and not "lo". */
int net_name_check(const char *name, Error *reterr);

/* Deep copies; NULL: out of memory. */
NetInterface *net_interface_copy(const NetInterface *i);
NetInterface *net_interface_free(NetInterface *i);
DEFINE_CLEANUP(NetInterface *, net_interface_free);
NetNames *net_names_copy(const NetNames *n);
NetNames *net_names_free(NetNames *n);
NetFacts *net_facts_copy(const NetFacts *f);
NetFacts *net_facts_free(NetFacts *f);
DEFINE_CLEANUP(NetFacts *, net_facts_free);
/* By name; NULL: there is none. */
NetInterface *net_facts_find(const NetFacts *f, const char *name);

bool net_same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b);
/* fe80::/10 */
bool net_is_link_local(const ProtobufCBinaryData *address);
#define NET_MAC_TEXT 18
const char *net_mac_text(const ProtobufCBinaryData *mac, char ret[NET_MAC_TEXT]);
