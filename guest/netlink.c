/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/netlink.h"

#include <assert.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER_MAX = 64 * 1024 };

int netlink_open(Netlink *nl, Error *reterr) {
        struct sockaddr_nl sa = { .nl_family = AF_NETLINK };

        nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (nl->fd < 0)
                return error_setf(reterr, -errno, "no netlink socket: %m");
        if (bind(nl->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
                int r = error_setf(reterr, -errno, "bind the netlink socket: %m");

                netlink_close(nl);
                return r;
        }
        return 0;
}

void netlink_close(Netlink *nl) {
        nl->fd = close_fd(nl->fd);
}

void netlink_begin(NetlinkRequest *q, uint16_t type, uint16_t flags, const void *header, size_t n) {
        struct nlmsghdr h = { .nlmsg_type = type,
                              .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) };

        assert(NLMSG_HDRLEN + NLMSG_ALIGN(n) <= sizeof(q->bytes));
        memset(q->bytes, 0, sizeof(q->bytes));
        memcpy(q->bytes, &h, sizeof(h));
        memcpy(q->bytes + NLMSG_HDRLEN, header, n);
        q->n = NLMSG_HDRLEN + NLMSG_ALIGN(n);
}

void netlink_put(NetlinkRequest *q, uint16_t attribute, const void *p, size_t n) {
        struct rtattr a = { .rta_len = (uint16_t)RTA_LENGTH(n), .rta_type = attribute };

        assert(q->n + RTA_SPACE(n) <= sizeof(q->bytes));
        memcpy(q->bytes + q->n, &a, sizeof(a));
        if (n > 0)
                memcpy(q->bytes + q->n + RTA_LENGTH(0), p, n);
        q->n += RTA_SPACE(n);
}

void netlink_put_u32(NetlinkRequest *q, uint16_t attribute, uint32_t value) {
        netlink_put(q, attribute, &value, sizeof(value));
}

static int send_request(Netlink *nl, NetlinkRequest *q, uint16_t flags) {
        struct nlmsghdr h;

        memcpy(&h, q->bytes, sizeof(h));
        h.nlmsg_len = (uint32_t)q->n;
        h.nlmsg_seq = ++nl->sequence;
        h.nlmsg_flags |= flags;
        memcpy(q->bytes, &h, sizeof(h));
        return send(nl->fd, q->bytes, q->n, 0) < 0 ? -errno : 0;
}

/* What one datagram of the kernel says. 0: go on reading, 1: it is all, < 0: refused. */
static int take_answer(const Netlink *nl, const uint8_t *p, size_t n, size_t header_size,
                       NetlinkVisitor visit, void *userdata, int *visited) {
        while (n >= NLMSG_HDRLEN) {
                struct nlmsghdr h;
                int code;

                memcpy(&h, p, sizeof(h));
                if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > n)
                        return -EBADMSG;
                if (h.nlmsg_seq == nl->sequence) {
                        if (h.nlmsg_type == NLMSG_DONE)
                                return 1;
                        if (h.nlmsg_type == NLMSG_ERROR) {
                                if (h.nlmsg_len < NLMSG_HDRLEN + sizeof(code))
                                        return -EBADMSG;
                                memcpy(&code, p + NLMSG_HDRLEN, sizeof(code));
                                return code < 0 ? code : 1;
                        }
                        if (visit && *visited == 0 &&
                            h.nlmsg_len >= NLMSG_HDRLEN + NLMSG_ALIGN(header_size)) {
                                NetlinkReply reply = { .header = p + NLMSG_HDRLEN };

                                reply.attributes = p + NLMSG_HDRLEN + NLMSG_ALIGN(header_size);
                                reply.n_attributes =
                                        h.nlmsg_len - NLMSG_HDRLEN - NLMSG_ALIGN(header_size);
                                *visited = visit(userdata, &reply);
                        }
                }
                if (NLMSG_ALIGN(h.nlmsg_len) >= n)
                        break;
                p += NLMSG_ALIGN(h.nlmsg_len);
                n -= NLMSG_ALIGN(h.nlmsg_len);
        }
        return 0;
}

static int read_answer(Netlink *nl, size_t header_size, NetlinkVisitor visit, void *userdata) {
        _cleanup_free_ uint8_t *buffer = malloc(ANSWER_MAX);
        int r = 0, visited = 0;

        if (!buffer)
                return -ENOMEM;
        while (r == 0) {
                ssize_t n = recv(nl->fd, buffer, ANSWER_MAX, MSG_TRUNC);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if ((size_t)n > ANSWER_MAX)
                        return -EMSGSIZE;
                r = take_answer(nl, buffer, (size_t)n, header_size, visit, userdata, &visited);
        }
        return r < 0 ? r : visited;
}

int netlink_do(Netlink *nl, NetlinkRequest *q) {
        int r = send_request(nl, q, NLM_F_ACK);

        return r < 0 ? r : read_answer(nl, 0, NULL, NULL);
}

int netlink_dump(Netlink *nl, uint16_t type, const void *header, size_t header_size,
                 NetlinkVisitor visit, void *userdata) {
        NetlinkRequest q;
        int r;

        netlink_begin(&q, type, 0, header, header_size);
        r = send_request(nl, &q, NLM_F_DUMP);
        return r < 0 ? r : read_answer(nl, header_size, visit, userdata);
}

const void *netlink_get(const NetlinkReply *reply, uint16_t attribute, size_t min, size_t *ret_n) {
        const uint8_t *p = reply->attributes;
        size_t n = reply->n_attributes;

        while (n >= RTA_LENGTH(0)) {
                struct rtattr a;

                memcpy(&a, p, sizeof(a));
                if (a.rta_len < RTA_LENGTH(0) || a.rta_len > n)
                        return NULL;
                if ((a.rta_type & NLA_TYPE_MASK) == attribute) {
                        size_t length = a.rta_len - RTA_LENGTH(0);

                        if (length < min)
                                return NULL;
                        if (ret_n)
                                *ret_n = length;
                        return p + RTA_LENGTH(0);
                }
                if (RTA_ALIGN(a.rta_len) >= n)
                        return NULL;
                p += RTA_ALIGN(a.rta_len);
                n -= RTA_ALIGN(a.rta_len);
        }
        return NULL;
}
