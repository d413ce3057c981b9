/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a port of this host is free. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "hostdev/net/net.h"

static int refuse(const struct sockaddr_in *a, bool udp, int code, Error *reterr) {
        char text[INET_ADDRSTRLEN] = "";
        unsigned port = ntohs(a->sin_port);
        const char *kind = udp ? "udp" : "tcp";

        (void)inet_ntop(AF_INET, &a->sin_addr, text, sizeof(text));
        if (code == -EADDRINUSE)
                return error_setf(reterr, -EBUSY,
                                  "port %u/%s at %s is in use on this host: end what listens there "
                                  "(ss -lnp), or publish another",
                                  port, kind, text);
        if (code == -EADDRNOTAVAIL)
                return error_setf(reterr, -EINVAL, "port %u/%s: this host has no address %s", port,
                                  kind, text);
        return error_setf(reterr, code, "port %u/%s at %s: %s", port, kind, text,
                          strerrordesc_np(-code));
}

/* As QEMU will ask for it. With UDP that would be granted to two of them at once, were both to ask
 * for SO_REUSEADDR; so it is not asked for here. */
int net_port_check(const uint8_t address[4], uint16_t port, bool udp, Error *reterr) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
        _cleanup_close_ int fd = -EBADF;
        int on = 1, r = 0;

        memcpy(&a.sin_addr, address, 4);
        fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "a socket: %m");
        if ((!udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) ||
            bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || (!udp && listen(fd, 1) < 0))
                r = -errno;
        return r < 0 ? refuse(&a, udp, r, reterr) : 0;
}
