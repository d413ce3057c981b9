/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/loop.h"

#include <sys/epoll.h>

int loop_init(Loop *l, Error *reterr) {
        *l = (Loop){ .epoll = epoll_create1(EPOLL_CLOEXEC) };
        if (l->epoll < 0)
                return error_setf(reterr, -errno, "cannot make an event loop: %m");
        return 0;
}

void loop_done(Loop *l) {
        l->epoll = close_fd(l->epoll);
}

int loop_run(Loop *l, void (*after)(void *userdata), void *userdata, Error *reterr) {
        while (!l->stop) {
                struct epoll_event event;
                int n = epoll_wait(l->epoll, &event, 1, -1);

                if (n < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "cannot wait for events: %m");
                if (n > 0) {
                        Watch *w = event.data.ptr;

                        w->ready(w->userdata, event.events);
                }
                after(userdata);
        }
        return 0;
}

int watch_init(Watch *w, Loop *l, int fd, uint32_t events, WatchReady ready, void *userdata) {
        *w = (Watch){ .loop = l, .fd = fd, .ready = ready, .userdata = userdata };
        return watch_set(w, events);
}

int watch_set(Watch *w, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = w };
        int op = w->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

        if (w->events == 0 && events == 0)
                return 0;
        if (epoll_ctl(w->loop->epoll, op, w->fd, &event) < 0)
                return -errno;
        w->events = events;
        return 0;
}

void watch_done(Watch *w) {
        if (w->loop)
                (void)watch_set(w, 0);
        *w = (Watch){ .fd = -EBADF };
}
