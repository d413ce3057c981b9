/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ferry/nowait.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

void nowait_prepare(int fd) {
        int type, flags;
        socklen_t n = sizeof(type);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0)
                return;
        flags = fcntl(fd, F_GETFL);
        if (flags >= 0)
                (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

ssize_t nowait_read(int fd, void *p, size_t n) {
        ssize_t k = recv(fd, p, n, MSG_DONTWAIT);

        return k < 0 && errno == ENOTSOCK ? read(fd, p, n) : k;
}

ssize_t nowait_write(int fd, const void *p, size_t n) {
        ssize_t k = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        return k < 0 && errno == ENOTSOCK ? write(fd, p, n) : k;
}

ssize_t nowait_writev(int fd, struct iovec *iov, int n) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
        ssize_t k = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

        return k < 0 && errno == ENOTSOCK ? writev(fd, iov, n) : k;
}
