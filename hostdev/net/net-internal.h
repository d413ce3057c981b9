/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "hostdev/net/net.h"

struct NetNs {
        struct nl_sock *socket;
        int fd;      /* of the namespace, to move a tap there */
        int packets; /* a packet socket in it; -EBADF: none */
        char *path;
};

/* libnl's error as ours: a negative errno. */
int net_errno(int nl_code);

/* A request with the header that follows nlmsghdr. NULL: out of memory. */
struct nl_msg *net_request(int type, int flags, const void *header, size_t n);
/* Sends it (takes it, NULL is -ENOMEM), waits for the answer. A negative errno, without a text. */
int net_do(NetNs *ns, struct nl_msg *msg);

typedef int (*NetVisitor)(void *userdata, const struct nlmsghdr *h, Error *reterr);
/* Every message of a dump; a visitor's failure is returned after it. */
int net_dump(NetNs *ns, int type, const void *header, size_t n, NetVisitor visit, void *userdata,
             Error *reterr);
int net_mtu(NetNs *ns, int index, uint32_t *ret, Error *reterr);
int net_counts(NetNs *ns, int index, NetStatistics *ret, Error *reterr); /* the device's own */
/* -ENOENT without a text. */
int net_index(NetNs *ns, const char *name, int *ret);

/* A new namespace, of nobody's; it goes with *ret. */
int netns_make(NetNs **ret, Error *reterr);

/* /proc/sys/net/FAMILY/conf/DEVICE/KEY in the namespace. Read: a key that this kernel does not have
 * gets the value "-". Set: the value "-" leaves it alone, and so does a key that is not there. */
typedef struct NetSysctl {
        const char *family, *key;
        char value[12];
} NetSysctl;
int net_sysctl(NetNs *ns, const char *device, NetSysctl *list, size_t n, bool set, Error *reterr);

/* -- link.c: one device -- */

/* The text of a failure, if r is one; returns r. */
int net_failed(Error *reterr, int r, const char *what, const char *device, const NetNs *ns);
int net_device(NetNs *ns, const char *name, int *ret, Error *reterr); /* -ENOENT with a text */

#define NET_MEMORY_SIZE 256 /* of an alias, IFALIASZ */
typedef struct NetLink {
        int index;
        char kind[16]; /* "": of hardware */
        char alias[NET_MEMORY_SIZE];
} NetLink;

/* These have negative errnos without a text. */
int net_link(NetNs *ns, const char *name, NetLink *ret);
int net_set_flags(NetNs *ns, int index, unsigned which, unsigned flags);
int net_set_mtu(NetNs *ns, int index, uint32_t mtu);
int net_set_alias(NetNs *ns, int index, const char *alias);
int net_move(NetNs *from, int index, const NetNs *to);
/* Whether the kernel gives it IPv6 addresses, from the next time on that it goes up. */
int net_set_address_making(NetNs *ns, int index, bool make);

typedef struct NetAddress6 {
        uint8_t bytes[16];
        uint8_t prefix;
} NetAddress6;
/* At most *n; -ENOSPC: there are more. */
int net_addresses6(NetNs *ns, int index, bool link_local, NetAddress6 *ret, size_t *n,
                   Error *reterr);
int net_set_address6(NetNs *ns, int index, const NetAddress6 *a, bool there);
int net_drop_addresses6(NetNs *ns, int index, bool link_local, Error *reterr);

/* -- quiet.c: a namespace's own stack keeps quiet on a device -- */

/* What net_speak() will need, as a text without line breaks. -ENOSPC: it is too long. */
int net_quiet_memory(NetNs *ns, const char *wire, char ret[NET_MEMORY_SIZE], Error *reterr);
int net_quiet(NetNs *ns, const char *device, Error *reterr); /* idempotent */
int net_speak(NetNs *ns, const char *wire, const char *memory, Error *reterr);
