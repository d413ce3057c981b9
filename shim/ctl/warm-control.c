/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/warm-control.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *const words[_WARM_WORD_MAX] = {
        [WARM_CUTOVER] = "cutover",
        [WARM_CANCEL] = "cancel",
};

static int make_address(const char *run_dir, const char *pod, struct sockaddr_un *ret,
                        Error *reterr) {
        int n;

        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s/warm.sock", run_dir, pod);
        return n < 0 || (size_t)n >= sizeof(ret->sun_path)
                       ? error_setf(reterr, -ENAMETOOLONG,
                                    "%s/%s: the path is too long for a socket", run_dir, pod)
                       : 0;
}

int warm_control_open(const char *run_dir, const char *pod, int *ret_fd, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un address;
        int r;

        r = make_address(run_dir, pod, &address, reterr);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "socket: %m");
        /* of a driver that was killed */
        if ((unlink(address.sun_path) < 0 && errno != ENOENT) ||
            bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return error_setf(reterr, -errno, "%s: %m", address.sun_path);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int warm_control_read(int fd) {
        char text[16];

        for (;;) {
                ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -EAGAIN;
                text[n] = '\0';
                for (int i = 0; i < _WARM_WORD_MAX; i++)
                        if (strcmp(words[i], text) == 0)
                                return i;
        }
}

int warm_control_close(const char *run_dir, const char *pod, int fd) {
        struct sockaddr_un address;

        if (fd >= 0 && make_address(run_dir, pod, &address, NULL) == 0)
                (void)unlink(address.sun_path);
        return close_fd(fd);
}

int warm_control_tell(const char *run_dir, const char *pod, WarmWord word, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un address;
        int r;

        r = make_address(run_dir, pod, &address, reterr);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "socket: %m");
        if (sendto(fd, words[word], strlen(words[word]), MSG_DONTWAIT | MSG_NOSIGNAL,
                   (const struct sockaddr *)&address, sizeof(address)) < 0)
                return errno == ENOENT || errno == ECONNREFUSED
                               ? error_setf(reterr, -ENOENT, "pod %s is not copied ahead", pod)
                               : error_setf(reterr, -errno, "%s: %m", address.sun_path);
        return 0;
}
