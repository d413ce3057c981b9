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
/* -ENOENT without a text. */
int net_index(NetNs *ns, const char *name, int *ret);
