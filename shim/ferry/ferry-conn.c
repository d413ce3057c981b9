/* SPDX-License-Identifier: Apache-2.0 */
/* The connections that the ferry carries: each a local socket on one side, a channel of the session
 * on the other. Callbacks of the session only set flags (and write to sockets); what they ask for
 * is done by ferry_serve() in the same pass. Ferry's thread only. */
#include "shim/ferry/ferry-internal.h"

#include <string.h>
#include <sys/socket.h>

#include "peer.pb-c.h"
#include "shim/ferry/ferry-control.h"
#include "shim/ferry/ferry-gate.h"

#define SOCKET_BUFFER (1 << 20)

static Conn *find_conn(Ferry *f, uint32_t channel) {
        for (Conn *c = f->conns; c; c = c->next)
                if (c->channel == channel)
                        return c;
        return NULL;
}

/* Bytes for the socket: as many as it takes. */
static size_t deliver(Conn *c, const uint8_t *p, size_t n) {
        size_t done = 0;

        while (!c->deaf && done < n && (c->watch.ready & EPOLLOUT)) {
                ssize_t k = send(c->watch.fd, p + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k >= 0)
                        done += (size_t)k;
                else if (errno == EAGAIN)
                        c->watch.ready &= ~(uint32_t)EPOLLOUT;
                else if (errno != EINTR)
                        c->deaf = true;
        }
        if (c->deaf)
                done = n;
        c->stalled = done < n;
        return done;
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Ferry *f = userdata;
        Conn *c;

        if (channel == FERRY_CHANNEL_CONTROL) {
                control_input(f, p, n);
                return n;
        }
        c = find_conn(f, channel);
        if (!c)
                return n;
        if (f->held[c->kind] && !c->deaf) {
                c->stalled = true;
                return 0;
        }
        n = deliver(c, p, n);
        f->counters.kind[c->kind].received += n;
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        Conn *c = find_conn(userdata, channel);

        if (c)
                c->peer_ended = true;
}

static void on_writable(void *userdata, uint32_t channel) {
        Conn *c = find_conn(userdata, channel);

        if (c)
                c->full = false;
}

static void on_wake(void *userdata) {
        /* Every pass asks for output: nothing to arrange. */
}

const SessionOps ferry_session_ops = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
        .wake = on_wake,
};

static int watch_socket(Ferry *f, Conn *c, int fd) {
        const int size = SOCKET_BUFFER;
        int r;

        r = ferry_watch(f, &c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
        if (r < 0)
                return r;
        c->watch.ready = EPOLLIN | EPOLLOUT;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        return 0;
}

static void count_open(Ferry *f, Conn *c) {
        c->established = true;
        f->counters.kind[c->kind].open++;
        f->counters.kind[c->kind].opened++;
}

static void free_conn(Ferry *f, Conn *c) {
        ferry_unwatch(f, &c->watch);
        if (c->established)
                f->counters.kind[c->kind].open--;
        if (c->kind != FERRY_MESSAGES)
                f->n_connections--;
        free(c);
}

static void drop_conn(Ferry *f, Conn *c) {
        Conn **at = &f->conns;

        while (*at != c)
                at = &(*at)->next;
        *at = c->next;
        free_conn(f, c);
}

/* Last in the list, which is in the order of their making: a QEMU takes the first that comes for
 * the one that says what the others are (7.2; magic numbers are looked at since 8.0). */
static int new_conn(Ferry *f, FerryKind kind, uint32_t channel, Conn **ret) {
        Conn *c = calloc(1, sizeof(*c)), **at = &f->conns;

        if (!c)
                return -ENOMEM;
        *c = (Conn){ .watch.fd = -EBADF, .kind = kind, .channel = channel };
        while (*at)
                at = &(*at)->next;
        *at = c;
        if (kind != FERRY_MESSAGES)
                f->n_connections++;
        *ret = c;
        return 0;
}

int ferry_add_conn(Ferry *f, FerryKind kind, uint32_t channel, int fd) {
        Conn *c;
        int r;

        r = new_conn(f, kind, channel, &c);
        if (r < 0)
                return r;
        r = session_open(f->session, channel, NULL);
        if (r == 0)
                r = watch_socket(f, c, fd);
        if (r < 0) {
                drop_conn(f, c);
                return r;
        }
        count_open(f, c);
        return 0;
}

int ferry_want_conn(Ferry *f, FerryKind kind, uint32_t channel, Error *reterr) {
        Conn *c;

        if (channel < FERRY_CHANNEL_FIRST || find_conn(f, channel))
                return error_setf(reterr, -EBADMSG, "the peer connects over channel %u, in use",
                                  channel);
        /* Refused ones need a record too, until both ends agree that they are gone. */
        if (f->n_connections >= 2 * f->max_connections)
                return error_setf(reterr, -ENOSPC, "the peer makes more than %u connections",
                                  2 * f->max_connections);
        if (new_conn(f, kind, channel, &c) < 0)
                return error_oom(reterr);
        c->wanted = c->due = true;
        return 0;
}

/* The peer's answer to our Connect, and later its word that it takes no more. */
void ferry_conn_answered(Ferry *f, uint32_t channel, int code, const Error *err) {
        Conn *c = find_conn(f, channel);

        if (!c || channel < FERRY_CHANNEL_FIRST)
                return; /* gone in the meantime */
        if (f->role == FERRY_DESTINATION || c->answered) {
                c->peer_deaf = code < 0;
                return;
        }
        c->answered = true;
        if (code == 0) {
                ferry_post(f, FERRY_EVENT_CONNECTED, c->kind, 0, NULL);
                return;
        }
        f->counters.kind[c->kind].refused++;
        ferry_post(f, FERRY_EVENT_REFUSED, c->kind, code, err);
        c->peer_deaf = c->deaf = c->told = c->refused = true;
}

static void refuse(Ferry *f, Conn *c, int r, const Error *err) {
        f->counters.kind[c->kind].refused++;
        ferry_post(f, FERRY_EVENT_REFUSED, c->kind, r, err);
        control_say_connected(f, c->channel, r, err);
        c->wanted = false;
        c->deaf = c->told = c->peer_deaf = true;
}

/* DESTINATION: the local end of a wanted connection. */
static void establish(Ferry *f, Conn *c) {
        Error e = ERROR_INIT;
        int r, fd = -EBADF;

        if (!session_is_open(f->session, c->channel)) {
                r = session_open(f->session, c->channel, &e);
                if (r < 0) {
                        (void)ferry_fail(f, r, &e);
                        return;
                }
        }
        if (f->n_connections > f->max_connections)
                r = error_setf(&e, -ENOSPC, "more than %u connections at once", f->max_connections);
        else
                r = control_connect(f, c, &fd, &e);
        if (r > 0)
                return; /* the timer brings it back */
        if (r == 0)
                r = watch_socket(f, c, fd);
        if (r < 0) {
                (void)close_fd(fd);
                refuse(f, c, r, &e);
        } else {
                c->wanted = false;
                count_open(f, c);
                control_say_connected(f, c->channel, 0, NULL);
                ferry_post(f, FERRY_EVENT_CONNECTED, c->kind, 0, NULL);
        }
        c->stalled = false;
        session_taken(f->session, c->channel);
}

/* Who still writes is told so. What has come is thrown away, too: a writer that waits for room in a
 * full socket is woken by room, and not by a shutdown of the other end (unix_poll() of Linux gives
 * it POLLHUP without POLLOUT, which QEMU does not take for an answer). */
static void stop_reading(Ferry *f, const Conn *c, int how) {
        if (c->watch.fd < 0)
                return;
        (void)shutdown(c->watch.fd, how);
        while (recv(c->watch.fd, f->chunk, FERRY_CHUNK, MSG_DONTWAIT) > 0)
                ;
}

static void end_in(Ferry *f, Conn *c) {
        Error e = ERROR_INIT;
        int r;

        c->in_done = true;
        stop_reading(f, c, SHUT_RD);
        r = session_shutdown(f->session, c->channel, &e);
        if (r < 0 && r != -ENOENT)
                (void)ferry_fail(f, r, &e);
        if (c->kind == FERRY_MESSAGES)
                f->finishing = true;
}

static void stop_at_gate(Ferry *f, Conn *c, int r) {
        Error e = ERROR_INIT;

        if (c->gated)
                return;
        c->gated = true;
        if (r < 0)
                (void)error_setf(&e, r, "libvirt speaks a protocol that is not known");
        ferry_post(f, FERRY_EVENT_GATE, c->kind, r, &e);
}

/* At most how many of its bytes may be read now? 0: none, until more comes or the gate opens. */
static size_t pass_gate(Ferry *f, Conn *c, size_t room) {
        ssize_t n;

        if (!f->gate || c->kind != FERRY_LIBVIRT || c->packet_left >= room)
                return room;
        if (c->packet_left > 0)
                return c->packet_left;
        n = recv(c->watch.fd, f->chunk, FERRY_CHUNK, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
                /* No read to prove it: that may find what came since, and nobody looked at. */
                c->watch.ready &= ~(uint32_t)(EPOLLIN | EPOLLRDHUP);
                return 0;
        }
        if (n <= 0)
                return room; /* at its end nothing follows: the read says what it is */
        switch (gate_look(f->chunk, (size_t)n, FERRY_CHUNK, &c->packet_left)) {
        case GATE_PASS:
                break;
        case GATE_MORE:
                c->packet_left = 0;
                if (c->watch.ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                        return MIN_OF((size_t)n,
                                      room); /* there is no more: a half one does nothing */
                c->watch.ready &= ~(uint32_t)EPOLLIN;
                return 0;
        case GATE_STOP:
                c->packet_left = 0;
                stop_at_gate(f, c, 0);
                return 0;
        case GATE_GARBLED:
                stop_at_gate(f, c, -EBADMSG);
                return 0;
        }
        return MIN_OF((size_t)c->packet_left, room);
}

/* Socket to channel. True: it may have more. */
static bool pump_conn(Ferry *f, Conn *c) {
        for (size_t moved = 0; !c->in_done && !c->full;) {
                size_t room, most;
                bool ended;
                ssize_t n;
                void *p;

                if (c->peer_deaf || c->lingers ||
                    (c->gated && c->deaf)) { /* cut: what waits never passes */
                        end_in(f, c);
                        break;
                }
                if (!(c->watch.ready & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
                        return false;
                ended = c->watch.ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
                if (f->stalls[c->kind] && !ended)
                        return false;
                if (moved >= FERRY_CHUNK)
                        return true;
                most = ended ? FERRY_CHUNK : ferry_pace_room(f, c->kind, FERRY_CHUNK);
                if (most == 0)
                        return false;
                p = session_reserve(f->session, c->channel, &room);
                if (!p) {
                        c->full = true;
                        return false;
                }
                room = pass_gate(f, c, MIN_OF(room, most));
                if (room == 0) {
                        if (c->gated && c->deaf)
                                continue;
                        return false;
                }
                n = recv(c->watch.fd, p, room, MSG_DONTWAIT);
                if (n > 0) {
                        c->packet_left -= MIN_OF(c->packet_left, (uint32_t)n);
                        session_commit(f->session, c->channel, (size_t)n);
                        ferry_pace_took(f, c->kind, (size_t)n);
                        f->counters.kind[c->kind].sent += (uint64_t)n;
                        moved += (size_t)n;
                } else if (n < 0 && errno == EAGAIN) {
                        c->watch.ready &= ~(uint32_t)(EPOLLIN | EPOLLRDHUP);
                        return false;
                } else if (n == 0 || errno != EINTR) {
                        c->deaf |= n < 0;
                        end_in(f, c);
                }
        }
        return false;
}

/* One that was made before it is still to be connected. */
static bool is_behind(const Ferry *f, const Conn *c) {
        for (const Conn *o = f->conns; o != c; o = o->next)
                if (o->kind == c->kind && o->wanted)
                        return true;
        return false;
}

/* True: it may do more at once. */
static bool serve_conn(Ferry *f, Conn *c) {
        bool more;

        if (c->wanted && c->due && !is_behind(f, c))
                establish(f, c);
        if (c->wanted)
                return false;
        if (c->refused && c->watch.fd >= 0)
                ferry_unwatch(f, &c->watch);
        /* A hang-up means both directions, and ours is open still: nobody will read. */
        if (!c->out_done && (c->watch.ready & (EPOLLHUP | EPOLLERR)))
                c->deaf = true;
        if (c->lingers && (c->watch.fd < 0 || c->watch.ready & (EPOLLHUP | EPOLLERR)))
                c->lingers = false;
        if (c->stalled && (c->deaf || (!f->held[c->kind] && (c->watch.ready & EPOLLOUT)))) {
                c->stalled = false;
                session_taken(f->session, c->channel);
        }
        more = pump_conn(f, c);
        if (c->peer_ended && !c->out_done) {
                c->out_done = true;
                /* With both directions shut by us, nothing told that its owner has closed it. */
                if (c->watch.fd >= 0 && !c->lingers)
                        (void)shutdown(c->watch.fd, SHUT_WR);
        }
        if (c->deaf && !c->told && !c->out_done && c->kind != FERRY_MESSAGES) {
                c->told = true;
                control_say_connected(f, c->channel, -EPIPE, NULL);
        }
        return more;
}

static bool serve_conns(Ferry *f) {
        bool more = false;
        FerryKind kind;

        for (Conn **at = &f->conns, *c; (c = *at) && !f->failed;) {
                more |= serve_conn(f, c);
                if (!c->in_done || !c->out_done || c->lingers) {
                        at = &c->next;
                        continue;
                }
                *at = c->next;
                kind = c->kind;
                free_conn(f, c);
                if (kind != FERRY_MESSAGES)
                        ferry_post(f, FERRY_EVENT_ENDED, kind, 0, NULL);
                control_room_again(f);
        }
        return more;
}

void ferry_hold_conns(Ferry *f, FerryKind kind, bool hold) {
        f->held[kind] = hold; /* ferry_serve() offers what was kept again */
}

/* The socket is hung up at once; the channel ends as that of a socket that nobody reads. */
void ferry_cut_conns(Ferry *f, FerryKind kind) {
        for (Conn *c = f->conns; c; c = c->next)
                if (c->kind == kind) {
                        c->deaf = true;
                        stop_reading(f, c, SHUT_RDWR);
                }
}

void ferry_deafen_conns(Ferry *f, FerryKind kind) {
        f->deafened[kind] = true;
        for (Conn *c = f->conns; c; c = c->next)
                if (c->kind == kind) {
                        c->deaf = c->lingers = true;
                        stop_reading(f, c, SHUT_RD); /* now: its channel may be full for long */
                }
}

static void tell_closed(Ferry *f) {
        for (int kind = 0; kind < _FERRY_KIND_MAX; kind++) {
                const Conn *c = f->conns;

                if (!f->deafened[kind])
                        continue;
                while (c && !(c->kind == (FerryKind)kind && c->lingers))
                        c = c->next;
                if (c)
                        continue;
                f->deafened[kind] = false;
                ferry_post(f, FERRY_EVENT_CLOSED, (FerryKind)kind, 0, NULL);
        }
}

void ferry_close_conns(Ferry *f) {
        for (Conn *c = f->conns, *next; c; c = next) {
                next = c->next;
                free_conn(f, c);
        }
        f->conns = NULL;
}

bool ferry_serve(Ferry *f) {
        bool more;

        control_accept(f);
        control_retry(f);
        ferry_pacer_read(f);
        more = serve_conns(f);
        tell_closed(f);
        control_flush(f);
        if (f->finishing && session_channel_drained(f->session, FERRY_CHANNEL_MESSAGES)) {
                f->finishing = false;
                ferry_post(f, FERRY_EVENT_SENT, FERRY_MESSAGES, 0, NULL);
        }
        return more;
}
