/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/uevent.h"

#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"

int uevent_wait(UeventLook there, void *userdata, int timeout_ms, Error *reterr) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
        int64_t deadline = (int64_t)clock_ms() + timeout_ms;
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = there(userdata, reterr);
        if (r != 0)
                return r < 0 ? r : 0;
        fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return error_setf(reterr, -errno, "cannot listen to device events: %m");
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int left = timeout_ms < 0 ? -1 : (int)MAX_OF(deadline - (int64_t)clock_ms(), 0);
                char event[4096];

                r = there(userdata, reterr);
                if (r != 0)
                        return r < 0 ? r : 0;
                r = poll(&p, 1, left);
                if (r < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "cannot wait for device events: %m");
                if (r == 0)
                        return error_setf(reterr, -ETIMEDOUT, "no such device within %d ms",
                                          timeout_ms);
                while (recv(fd, event, sizeof(event), 0) > 0)
                        ; /* which event it was does not matter: `there` looks */
        }
}
