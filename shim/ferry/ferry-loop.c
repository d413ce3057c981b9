/* SPDX-License-Identifier: Apache-2.0 */
/* The ferry's thread: its loop, its commands, and the transport.
 *
 * One pass: commands, transport in, connections, transport out, publish. It waits (without a time
 * limit) only when a pass found nothing more to do; what wakes it is an edge on a descriptor. */
#include "shim/ferry/ferry-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>

#include "shim/ferry/nowait.h"

#define EVENTS_PER_WAIT  64
#define IOVECS           64
#define TRANSPORT_BUFFER (1 << 20)

int ferry_watch(Ferry *f, Watch *w, int fd, uint32_t events) {
        struct epoll_event e = { .events = events | EPOLLET, .data.ptr = w };

        if (fd < 0)
                return -errno;
        if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
                return -errno;
        *w = (Watch){ .fd = fd };
        return 0;
}

void ferry_unwatch(Ferry *f, Watch *w) {
        /* Removed by hand: another process may share the description, and keep it in the set. */
        if (w->fd >= 0)
                (void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, w->fd, NULL);
        *w = (Watch){ .fd = close_fd(w->fd) };
}

static void drop_transport(Ferry *f) {
        if (!f->attached)
                return;
        session_detach(f->session);
        if (f->out.fd == f->in.fd)
                f->out.fd = -EBADF;
        ferry_unwatch(f, &f->in);
        ferry_unwatch(f, &f->out);
        f->attached = false;
}

static void lose_transport(Ferry *f, int r, const Error *err) {
        drop_transport(f);
        ferry_post(f, FERRY_EVENT_LOST, FERRY_MESSAGES, r, err);
}

int ferry_fail(Ferry *f, int r, const Error *err) {
        if (f->failed == 0) {
                f->failed = r;
                (void)error_setf(&f->failure, r, "%s", error_text(err, r));
        }
        return r;
}

static void prepare_transport(int fd) {
        const int size = TRANSPORT_BUFFER;

        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
                (void)fcntl(fd, F_SETPIPE_SZ, size);
        nowait_prepare(fd);
}

static void take_transport(Ferry *f, int in_fd, int out_fd) {
        bool one = in_fd == out_fd;
        int r;

        drop_transport(f);
        f->up_announced = false;
        f->counters.transports++;
        prepare_transport(in_fd);
        if (!one)
                prepare_transport(out_fd);
        r = ferry_watch(f, &f->in, in_fd, one ? EPOLLIN | EPOLLOUT | EPOLLRDHUP : EPOLLIN);
        if (r < 0) {
                (void)close_fd(in_fd);
                if (!one)
                        (void)close_fd(out_fd);
                lose_transport(f, r, NULL);
                return;
        }
        f->attached = true; /* from here on drop_transport() knows what to undo */
        session_attach(f->session);
        f->out = (Watch){ .fd = out_fd };
        if (!one) {
                f->out.fd = -EBADF;
                r = ferry_watch(f, &f->out, out_fd, EPOLLOUT);
                if (r < 0) {
                        (void)close_fd(out_fd);
                        lose_transport(f, r, NULL);
                        return;
                }
        }
        f->in.ready = EPOLLIN;
        f->out.ready = EPOLLOUT;
}

/* True: there may be more to read. */
static bool pump_in(Ferry *f) {
        for (size_t moved = 0; f->attached && (f->in.ready & EPOLLIN);) {
                Error e = ERROR_INIT;
                ssize_t n;
                int r;

                if (moved >= FERRY_BURST)
                        return true;
                n = nowait_read(f->in.fd, f->chunk, FERRY_CHUNK);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        f->in.ready &= ~(uint32_t)EPOLLIN;
                        return false;
                }
                if (n <= 0) {
                        r = n < 0 ? error_setf(&e, -errno, "reading the transport: %m")
                                  : error_setf(&e, -ENOTCONN, "the peer closed the transport");
                        lose_transport(f, r, &e);
                        return false;
                }
                moved += (size_t)n;
                f->counters.transport_received += (uint64_t)n;
                r = session_input(f->session, f->chunk, (size_t)n, &e);
                if (r < 0)
                        lose_transport(f, r, &e);
                if (f->failed)
                        return false;
        }
        return false;
}

/* True: the transport would take more, and there is more. */
static bool pump_out(Ferry *f) {
        struct iovec iov[IOVECS];
        size_t moved = 0;

        if (f->attached && (f->out.ready & EPOLLERR)) { /* a pipe without a reader */
                lose_transport(f, -EPIPE, NULL);
                return false;
        }
        while (f->attached && (f->out.ready & EPOLLOUT)) {
                int count = session_output(f->session, iov, IOVECS);
                Error e = ERROR_INIT;
                ssize_t n;

                if (count == 0)
                        return false;
                if (moved >= FERRY_BURST)
                        return true;
                n = nowait_writev(f->out.fd, iov, count);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        f->out.ready &= ~(uint32_t)EPOLLOUT;
                        return false;
                }
                if (n < 0) {
                        int r = error_setf(&e, -errno, "writing to the transport: %m");

                        lose_transport(f, r, &e);
                        return false;
                }
                moved += (size_t)n;
                f->counters.transport_sent += (uint64_t)n;
                session_output_done(f->session, (size_t)n);
        }
        return false;
}

static void run_commands(Ferry *f) {
        for (Command *c = ferry_take_commands(f), *next; c; c = next) {
                int r = 0;

                next = c->next;
                switch (c->type) {
                case COMMAND_TRANSPORT:
                        take_transport(f, c->fd, c->out_fd);
                        c->fd = c->out_fd = -EBADF;
                        break;
                case COMMAND_LISTEN:
                        r = ferry_watch(f, &f->listeners[c->kind], c->fd, EPOLLIN);
                        if (r < 0)
                                (void)ferry_fail(f, r, NULL);
                        else
                                c->fd = -EBADF;
                        break;
                case COMMAND_RULE:
                        free(f->rules[c->kind]);
                        f->rules[c->kind] = TAKE(c->path);
                        break;
                case COMMAND_HOLD:
                case COMMAND_LET_GO:
                        ferry_hold_conns(f, c->kind, c->type == COMMAND_HOLD);
                        break;
                case COMMAND_STALL:
                case COMMAND_FLOW: /* what waits is still marked as readable */
                        f->stalls[c->kind] = c->type == COMMAND_STALL;
                        break;
                case COMMAND_PACE:
                        ferry_set_pace(f, c->kind, c->rate);
                        break;
                case COMMAND_GATE:
                case COMMAND_OPEN_GATE:
                        f->gate = c->type == COMMAND_GATE;
                        break;
                case COMMAND_REFUSE:
                        f->refusing[c->kind] = true;
                        ferry_cut_conns(f, c->kind);
                        break;
                case COMMAND_DEAFEN:
                        f->refusing[c->kind] = true;
                        ferry_deafen_conns(f, c->kind);
                        break;
                case COMMAND_CUT:
                        ferry_cut_conns(f, c->kind);
                        break;
                }
                command_free(c);
        }
}

static void give_up(Ferry *f) {
        drop_transport(f);
        for (int i = 0; i < _FERRY_KIND_MAX; i++)
                ferry_unwatch(f, &f->listeners[i]);
        ferry_close_conns(f);
        ferry_post(f, FERRY_EVENT_FAILED, FERRY_MESSAGES, f->failed, &f->failure);
}

/* True: another pass would find work without waiting. */
static bool pass(Ferry *f) {
        bool more = false;

        if (f->failed)
                return false;
        run_commands(f);
        more |= pump_in(f);
        if (!f->failed)
                more |= ferry_serve(f);
        if (!f->failed)
                more |= pump_out(f);
        if (f->failed) {
                give_up(f);
                return false;
        }
        if (!f->up_announced && f->attached && session_is_up(f->session)) {
                f->up_announced = true;
                ferry_post(f, FERRY_EVENT_UP, FERRY_MESSAGES, 0, NULL);
        }
        return more;
}

static void wait_for_edges(Ferry *f, bool more) {
        struct epoll_event events[EVENTS_PER_WAIT];
        uint64_t drained;
        int n;

        n = epoll_wait(f->epoll, events, EVENTS_PER_WAIT, more ? 0 : -1);
        for (int i = 0; i < n; i++) {
                Watch *w = events[i].data.ptr;

                w->ready |= events[i].events;
                if (w == &f->in) {
                        /* Errors and hang-ups are found by reading. */
                        if (w->ready & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
                                w->ready |= EPOLLIN;
                        if (f->out.fd == w->fd)
                                f->out.ready |= events[i].events & EPOLLOUT;
                }
        }
        if (f->wake.ready) {
                f->wake.ready = 0;
                if (read(f->wake.fd, &drained, sizeof(drained)) < 0)
                        return; /* woken for what an earlier pass did already */
        }
}

void *ferry_loop(void *ferry) {
        Ferry *f = ferry;
        bool more = false;

        (void)pthread_setname_np(pthread_self(), "ferry");
        while (!ferry_stopped(f)) {
                wait_for_edges(f, more);
                more = pass(f);
                ferry_publish(f);
        }
        return NULL;
}
