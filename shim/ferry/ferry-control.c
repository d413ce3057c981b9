/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ferry/ferry-control.h"

#include <ctype.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "peer.pb-c.h"

#define CONTROL_MESSAGE_MAX 4096U
#define RETRY_NS            (20 * 1000 * 1000)
#define RETRIES_MAX         250U /* five seconds of a full backlog */

static void say(Ferry *f, const Podferry__Peer__V1__Peer *m) {
        if (message_pack(&m->base, &f->control_out) < 0)
                (void)ferry_fail(f, -ENOMEM, NULL);
}

static void say_connect(Ferry *f, FerryKind kind, uint32_t channel) {
        Podferry__Peer__V1__Peer m = PODFERRY__PEER__V1__PEER__INIT;
        Podferry__Peer__V1__Connect body = PODFERRY__PEER__V1__CONNECT__INIT;

        body.kind = (Podferry__Peer__V1__ConnectKind)kind;
        body.channel = channel;
        m.body_case = PODFERRY__PEER__V1__PEER__BODY_CONNECT;
        m.connect = &body;
        say(f, &m);
}

void control_say_connected(Ferry *f, uint32_t channel, int code, const Error *err) {
        Podferry__Peer__V1__Peer m = PODFERRY__PEER__V1__PEER__INIT;
        Podferry__Peer__V1__Connected body = PODFERRY__PEER__V1__CONNECTED__INIT;
        Error text = ERROR_INIT;

        body.channel = channel;
        body.code = code;
        if (err && code < 0) {
                text = *err;
                body.error = text.text;
        }
        m.body_case = PODFERRY__PEER__V1__PEER__BODY_CONNECTED;
        m.connected = &body;
        say(f, &m);
}

/* The peer's text goes into our logs: printable characters of one line only. */
static void peer_text(Error *ret, int code, const char *text) {
        (void)error_setf(ret, code, "at the peer: %.400s", text[0] ? text : error_text(NULL, code));
        for (char *p = ret->text; *p; p++)
                if (iscntrl((unsigned char)*p))
                        *p = '?';
}

static int on_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        Ferry *f = userdata;
        Podferry__Peer__V1__Peer *m;
        Error e = ERROR_INIT;
        int r = 0, code;

        m = (Podferry__Peer__V1__Peer *)message_unpack_strict(&podferry__peer__v1__peer__descriptor,
                                                              p, n, reterr);
        if (!m)
                return -EBADMSG;
        if (m->body_case == PODFERRY__PEER__V1__PEER__BODY_CONNECT &&
            f->role == FERRY_DESTINATION && m->connect->kind > 0 &&
            (int)m->connect->kind < _FERRY_KIND_MAX) {
                r = ferry_want_conn(f, (FerryKind)m->connect->kind, m->connect->channel, reterr);
        } else if (m->body_case == PODFERRY__PEER__V1__PEER__BODY_CONNECTED) {
                code = m->connected->code;
                if (code > 0 || code < -4095)
                        code = -EPROTO;
                if (code < 0)
                        peer_text(&e, code, m->connected->error);
                ferry_conn_answered(f, m->connected->channel, code, &e);
        } else {
                r = error_setf(reterr, -EBADMSG, "the peer's ferry breaks the rules");
        }
        protobuf_c_message_free_unpacked(&m->base, NULL);
        return r;
}

void control_input(Ferry *f, const void *p, size_t n) {
        Error e = ERROR_INIT;
        int r;

        if (f->failed)
                return;
        f->control.max = CONTROL_MESSAGE_MAX;
        r = message_reader_feed(&f->control, p, n, on_message, f, &e);
        if (r < 0)
                (void)ferry_fail(f, r, &e);
}

void control_flush(Ferry *f) {
        while (!f->failed && f->control_out.len > 0) {
                ssize_t n = session_write(f->session, FERRY_CHANNEL_CONTROL, f->control_out.data,
                                          f->control_out.len);

                if (n < 0)
                        (void)ferry_fail(f, (int)n, NULL);
                if (n <= 0)
                        return;
                buf_consume(&f->control_out, (size_t)n);
        }
}

static void accept_one(Ferry *f, FerryKind kind, int fd) {
        uint32_t channel;
        int r;

        if (f->refusing[kind]) {
                (void)close_fd(fd);
                return;
        }
        channel = session_next_channel(f->session);
        r = ferry_add_conn(f, kind, channel, fd);
        if (r < 0) {
                (void)close_fd(fd);
                f->counters.kind[kind].refused++;
                ferry_post(f, FERRY_EVENT_REFUSED, kind, r, NULL);
                return;
        }
        say_connect(f, kind, channel);
}

void control_accept(Ferry *f) {
        for (FerryKind kind = FERRY_LIBVIRT; kind < _FERRY_KIND_MAX; kind++) {
                Watch *w = &f->listeners[kind];

                while ((w->ready & EPOLLIN) && f->n_connections < f->max_connections) {
                        int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                        if (fd >= 0) {
                                accept_one(f, kind, fd);
                                continue;
                        }
                        if (errno == EINTR || errno == ECONNABORTED)
                                continue;
                        /* Out of descriptors: it waits in the backlog until a connection ends. */
                        if (errno != EAGAIN)
                                ferry_post(f, FERRY_EVENT_REFUSED, kind, -errno, NULL);
                        w->ready = 0;
                }
        }
}

void control_room_again(Ferry *f) {
        for (int i = 0; i < _FERRY_KIND_MAX; i++)
                if (f->listeners[i].fd >= 0)
                        f->listeners[i].ready |= EPOLLIN;
}

void control_retry(Ferry *f) {
        uint64_t expirations;

        if (!f->timer.ready)
                return;
        f->timer.ready = 0;
        if (read(f->timer.fd, &expirations, sizeof(expirations)) < 0)
                return;
        for (Conn *c = f->conns; c; c = c->next)
                c->due = c->wanted;
}

/* A UNIX listener with a full backlog refuses with EAGAIN and nothing tells when there is room, so
 * this one case has a timer, for a few seconds. */
static int try_later(Ferry *f, Conn *c) {
        const struct itimerspec once = { .it_value.tv_nsec = RETRY_NS };

        if (++c->tries > RETRIES_MAX)
                return -ETIMEDOUT;
        c->due = false;
        return timerfd_settime(f->timer.fd, 0, &once, NULL) < 0 ? -errno : 1;
}

int control_connect(Ferry *f, Conn *c, int *ret_fd, Error *reterr) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        const char *path = f->rules[c->kind];
        int r = 0;

        if (!path)
                return error_setf(reterr, -ENOENT, "nothing here takes connections to %s",
                                  ferry_kind_name(c->kind));
        (void)strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                r = errno == EAGAIN ? try_later(f, c) : -errno;
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", path, error_text(NULL, r));
        if (r == 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}
