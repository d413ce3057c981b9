/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* rtnetlink, as much as the agent needs: requests with an answer, and dumps. Blocks its thread, for
 * as long as the kernel works at it. */
typedef struct Netlink {
        int fd;
        uint32_t sequence;
} Netlink;

#define NETLINK_INIT                                                                               \
        (Netlink) {                                                                                \
                .fd = -EBADF                                                                       \
        }
enum { NETLINK_REQUEST_MAX = 1024 };

/* A request under construction. What does not fit is an assertion: all sizes are ours. */
typedef struct NetlinkRequest {
        _Alignas(8) uint8_t bytes[NETLINK_REQUEST_MAX];
        size_t n;
} NetlinkRequest;

int netlink_open(Netlink *nl, Error *reterr);
void netlink_close(Netlink *nl);

/* `header` is what follows the nlmsghdr: struct ifinfomsg and so on. */
void netlink_begin(NetlinkRequest *q, uint16_t type, uint16_t flags, const void *header, size_t n);
void netlink_put(NetlinkRequest *q, uint16_t attribute, const void *p, size_t n);
void netlink_put_u32(NetlinkRequest *q, uint16_t attribute, uint32_t value);
/* Waits for the kernel's answer: 0 or its negative errno. */
int netlink_do(Netlink *nl, NetlinkRequest *q);

/* One message of a dump: the header after the nlmsghdr, and its attributes. Borrowed. */
typedef struct NetlinkReply {
        const void *header;
        const uint8_t *attributes;
        size_t n_attributes;
} NetlinkReply;
typedef int (*NetlinkVisitor)(void *userdata, const NetlinkReply *reply);
/* Visits every message whose header is `header_size` long at least; a visitor's result other than 0
 * is returned after the dump. */
int netlink_dump(Netlink *nl, uint16_t type, const void *header, size_t header_size,
                 NetlinkVisitor visit, void *userdata);
/* The attribute's payload if it has at least `min` bytes, else NULL. */
const void *netlink_get(const NetlinkReply *reply, uint16_t attribute, size_t min, size_t *ret_n);
