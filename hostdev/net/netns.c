/* SPDX-License-Identifier: Apache-2.0 */
/* A netlink socket in another namespace, and what is said on it. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netlink/socket.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

int net_errno(int nl_code) {
        static const struct {
                int nl, code;
        } codes[] = {
                { NLE_OBJ_NOTFOUND, -ENOENT },  { NLE_EXIST, -EEXIST },
                { NLE_NODEV, -ENODEV },         { NLE_INVAL, -EINVAL },
                { NLE_OPNOTSUPP, -EOPNOTSUPP }, { NLE_PERM, -EPERM },
                { NLE_NOACCESS, -EACCES },      { NLE_NOMEM, -ENOMEM },
                { NLE_BUSY, -EBUSY },           { NLE_NOADDR, -EADDRNOTAVAIL },
                { NLE_RANGE, -ERANGE },
        };

        if (nl_code >= 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (-nl_code == codes[i].nl)
                        return codes[i].code;
        return -EIO;
}

typedef struct Entry {
        int fd;     /* -EBADF: stay where we are */
        bool fresh; /* in a new one */
        struct nl_sock *socket;
        int packets; /* result */
        int r, nl;
} Entry;

/* A thread of its own, so that nobody else can be left in the wrong namespace. */
static void *enter(void *argument) {
        Entry *e = argument;

        if (e->fresh ? unshare(CLONE_NEWNET) < 0 : e->fd >= 0 && setns(e->fd, CLONE_NEWNET) < 0)
                e->r = -errno;
        else
                e->nl = nl_connect(e->socket, NETLINK_ROUTE);
        if (e->r == 0)
                e->packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return NULL;
}

static int connect_there(NetNs *ns, int fd, bool fresh, Error *reterr) {
        Entry e = { .fd = fd, .fresh = fresh, .socket = ns->socket, .packets = -EBADF };
        pthread_t thread;
        int r;

        r = pthread_create(&thread, NULL, enter, &e);
        if (r != 0)
                return error_setf(reterr, -r, "a thread for %s", ns->path);
        (void)pthread_join(thread, NULL);
        ns->packets = e.packets;
        if (e.r < 0)
                return error_setf(reterr, e.r == -EINVAL ? -EINVAL : e.r,
                                  "%s is no network namespace that can be entered: %s", ns->path,
                                  strerrordesc_np(-e.r));
        if (e.nl < 0)
                return error_setf(reterr, net_errno(e.nl), "netlink in %s: %s", ns->path,
                                  nl_geterror(e.nl));
        return 0;
}

int netns_open(const char *path, NetNs **ret, Error *reterr) {
        _cleanup_(netns_freep) NetNs *ns = calloc(1, sizeof(*ns));
        const char *at = path ?: "/proc/self/ns/net";
        int r;

        if (!ns)
                return error_oom(reterr);
        ns->fd = ns->packets = -EBADF;
        ns->path = strdup(at);
        ns->socket = nl_socket_alloc();
        if (!ns->path || !ns->socket)
                return error_oom(reterr);
        ns->fd = open(at, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (ns->fd < 0)
                return error_setf(reterr, -errno, "network namespace %s: %m%s", at,
                                  errno == ENOENT ? "; it was removed, or never made" : "");
        r = connect_there(ns, path ? ns->fd : -EBADF, false, reterr);
        if (r < 0)
                return r;
        (void)nl_socket_set_buffer_size(ns->socket, 1 << 20, 0);
        nl_socket_enable_msg_peek(ns->socket);
        *ret = TAKE(ns);
        return 0;
}

int netns_make(NetNs **ret, Error *reterr) {
        _cleanup_(netns_freep) NetNs *ns = calloc(1, sizeof(*ns));
        int r;

        if (!ns)
                return error_oom(reterr);
        ns->fd = ns->packets = -EBADF;
        ns->path = strdup("a new network namespace");
        ns->socket = nl_socket_alloc();
        if (!ns->path || !ns->socket)
                return error_oom(reterr);
        r = connect_there(ns, -EBADF, true, reterr);
        if (r == 0)
                *ret = TAKE(ns);
        return r;
}

NetNs *netns_free(NetNs *ns) {
        if (!ns)
                return NULL;
        nl_socket_free(ns->socket);
        ns->fd = close_fd(ns->fd);
        ns->packets = close_fd(ns->packets);
        free(ns->path);
        free(ns);
        return NULL;
}

struct nl_msg *net_request(int type, int flags, const void *header, size_t n) {
        struct nl_msg *m = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);

        if (m && nlmsg_append(m, (void *)(uintptr_t)header, n, NLMSG_ALIGNTO) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return m;
}

int net_do(NetNs *ns, struct nl_msg *msg) {
        return msg ? net_errno(nl_send_sync(ns->socket, msg)) : -ENOMEM;
}

typedef struct Dump {
        NetVisitor visit;
        void *userdata;
        int r;
        Error *reterr;
} Dump;

static int on_message(struct nl_msg *msg, void *argument) {
        Dump *d = argument;

        if (d->r == 0)
                d->r = d->visit(d->userdata, nlmsg_hdr(msg), d->reterr);
        return NL_OK;
}

int net_dump(NetNs *ns, int type, const void *header, size_t n, NetVisitor visit, void *userdata,
             Error *reterr) {
        Dump d = { visit, userdata, 0, reterr };
        struct nl_msg *m = net_request(type, NLM_F_DUMP, header, n);
        int r;

        if (!m)
                return error_oom(reterr);
        r = nl_socket_modify_cb(ns->socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, &d);
        if (r >= 0)
                r = nl_send_auto(ns->socket, m);
        nlmsg_free(m);
        if (r >= 0)
                r = nl_recvmsgs_default(ns->socket);
        (void)nl_socket_modify_cb(ns->socket, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
        if (r < 0)
                return error_setf(reterr, net_errno(r), "reading %s: %s", ns->path, nl_geterror(r));
        return d.r;
}

typedef struct Lookup {
        const char *name;
        int index;
} Lookup;

static int match_name(void *userdata, const struct nlmsghdr *h, Error *reterr) {
        struct nlattr *name = nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h,
                                              sizeof(struct ifinfomsg), IFLA_IFNAME);
        const struct ifinfomsg *link = nlmsg_data(h);
        Lookup *l = userdata;

        if (name && strcmp(nla_get_string(name), l->name) == 0)
                l->index = link->ifi_index;
        return 0;
}

int net_index(NetNs *ns, const char *name, int *ret) {
        struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
        Lookup l = { .name = name };
        int r;

        r = net_dump(ns, RTM_GETLINK, &h, sizeof(h), match_name, &l, NULL);
        *ret = l.index;
        return r < 0 ? r : l.index > 0 ? 0 : -ENOENT;
}

void net_tell_switches(NetNs *ns, const NetInterface *wire) {
        static const uint8_t rarp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
        struct sockaddr_ll to = { .sll_family = AF_PACKET };
        uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        static const size_t macs[] = { 6, 22, 32 };

        if (wire->mac.len != NET_MAC_BYTES || net_index(ns, wire->name, &to.sll_ifindex) < 0)
                return;
        memcpy(frame + 12, rarp, sizeof(rarp));
        for (size_t i = 0; i < ELEMENTSOF(macs); i++)
                memcpy(frame + macs[i], wire->mac.data, NET_MAC_BYTES);
        (void)sendto(ns->packets, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to));
}
