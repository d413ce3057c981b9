/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/attach-link.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/json.h"

#define CONTAINER_FACE BUS_INTERFACE ".Container"
#define OUT_MAX        (256U << 10) /* on its way to a relay */

/* -- where it went -- */

static uint64_t little_endian(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

static int take_text(json_object *o, const char *key, char **ret, Error *reterr) {
        *ret = strdup(json_get_text(o, key));
        return *ret ? 0 : error_oom(reterr);
}

int attach_way_parse(const uint8_t *payload, size_t n, AttachWay *ret, Error *reterr) {
        _cleanup_(attach_way_done) AttachWay w = {};
        _cleanup_json_ json_object *o = NULL;
        int r;

        if (n < 16)
                return error_setf(reterr, -EBADMSG, "a frame of %zu bytes that says that it moved",
                                  n);
        w.taken = little_endian(payload, 8);
        w.offset = little_endian(payload + 8, 8);
        if (n > 16) {
                r = json_read((const char *)payload + 16, n - 16, &o, reterr);
                if (r == 0)
                        r = take_text(o, "to", &w.to, reterr);
                if (r == 0)
                        r = take_text(o, "to_program", &w.program, reterr);
                if (r == 0)
                        r = take_text(o, "to_pod", &w.pod, reterr);
                if (r == 0)
                        r = take_text(o, "uuid", &w.uuid, reterr);
                if (r < 0)
                        return r;
                w.epoch = (uint64_t)json_get_number(o, "epoch");
        }
        *ret = w;
        w = (AttachWay){};
        return 0;
}

void attach_way_done(AttachWay *w) {
        free(w->to);
        free(w->program);
        free(w->pod);
        free(w->uuid);
        *w = (AttachWay){};
}

/* -- opening -- */

static int call_attach(AttachLink *l, const AttachTarget *t, bool with_stdin, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int fd, r;

        r = pod_call(l->bus, CALL_DEADLINE, &reply, reterr, l->path, CONTAINER_FACE, "Attach",
                     "sa{sv}", t->exec_id, 3, "stdin", "b", with_stdin, "lines", "b",
                     t->wishes.lines, "offset", "t", t->wishes.offset);
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "h", &fd) < 0)
                return error_setf(reterr, -EBADMSG, "Attach returned no socket");
        l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (l->fd < 0 || fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "Attach: %m");
        l->with_stdin = with_stdin;
        return 0;
}

int attach_link_local(AttachLink *l, sd_bus *bus, const char *path, const AttachTarget *t,
                      bool lenient, Error *reterr) {
        int r;

        *l = ATTACH_LINK_INIT;
        l->bus = sd_bus_ref(bus);
        l->path = strdup(path);
        l->exec_id = strdup(t->exec_id);
        r = l->path && l->exec_id ? call_attach(l, t, t->wishes.with_stdin, reterr)
                                  : error_oom(reterr);
        if (r == -EBADFD && lenient && t->wishes.with_stdin)
                r = call_attach(l, t, false, reterr);
        if (r < 0)
                attach_link_close(l);
        return r;
}

static int get_epoch(sd_bus *bus, uint64_t *ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = pod_call(bus, CALL_DEADLINE, &reply, reterr, BUS_VM, "org.freedesktop.DBus.Properties",
                     "Get", "ss", BUS_INTERFACE ".Vm", "Epoch");
        if (r == 0 && sd_bus_message_read(reply, "v", "t", ret) < 0)
                r = error_setf(reterr, -EBADMSG, "property Epoch is no number");
        return r;
}

/* A shim that the pod has left may still be here, under the same name: its epoch is an old one. */
static int check_same(sd_bus *bus, const AttachWay *way, Error *reterr) {
        _cleanup_free_ char *uuid = NULL;
        uint64_t epoch = 0;
        int r;

        r = pod_get_string(bus, BUS_VM, BUS_INTERFACE ".Vm", "DomainUuid", &uuid, reterr);
        if (r == 0)
                r = get_epoch(bus, &epoch, reterr);
        if (r == 0 && (strcmp(uuid, way->uuid) != 0 || epoch <= way->epoch))
                r = error_setf(reterr, -ENOENT, "%s: another pod of this name", way->pod);
        return r;
}

int attach_link_home(AttachLink *l, const AttachWay *way, const AttachTarget *t, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL; /* the link keeps it */
        AttachTarget there = *t;
        int r;

        *l = ATTACH_LINK_INIT;
        r = pod_connect(t->run_dir, way->pod, &bus, reterr);
        if (r == 0)
                r = check_same(bus, way, reterr);
        if (r < 0)
                return -ENOENT;
        path = bus_container_path(t->container);
        if (!path)
                return error_oom(reterr);
        there.wishes.offset = way->offset;
        return attach_link_local(l, bus, path, &there, true, reterr);
}

int attach_link_remote(AttachLink *l, const AttachWay *way, const AttachTarget *t, Error *reterr) {
        char offset[24];
        const char *args[16] = { "relay",  "--pod",    way->pod,   "--container", t->container,
                                 "--exec", t->exec_id, "--offset", offset };
        size_t n = 9;
        int r;

        *l = ATTACH_LINK_INIT;
        (void)snprintf(offset, sizeof(offset), "%" PRIu64, way->offset);
        if (t->wishes.with_stdin)
                args[n++] = "--stdin";
        if (t->wishes.lines)
                args[n++] = "--lines";
        r = remote_parse(way->to, *way->program ? way->program : NULL, NULL, &l->remote, reterr);
        if (r == 0)
                r = remote_ask_nothing(&l->remote, reterr);
        if (r == 0)
                r = remote_start_stream(&l->remote, args, &l->run, &l->fd, reterr);
        if (r < 0)
                attach_link_close(l);
        return r;
}

bool attach_link_is_remote(const AttachLink *l) {
        return l->run.pid > 0;
}

void attach_link_close(AttachLink *l) {
        l->fd = close_fd(l->fd);
        (void)remote_finish(&l->run, 2000, NULL); /* ends when its stdin does */
        remote_done(&l->remote);
        l->bus =
                sd_bus_unref(l->bus); /* the caller may still need it; calls here are synchronous */
        free(l->path);
        free(l->exec_id);
        buf_done(&l->in);
        buf_done(&l->out);
        *l = ATTACH_LINK_INIT;
}

/* -- frames in a stream -- */

int relay_put(Buf *out, uint8_t type, const void *p, size_t n) {
        uint8_t head[5] = { (uint8_t)(n + 1), (uint8_t)((n + 1) >> 8), (uint8_t)((n + 1) >> 16),
                            (uint8_t)((n + 1) >> 24), type };
        int r;

        r = buf_reserve(out, sizeof(head) + n);
        if (r == 0)
                r = buf_append(out, head, sizeof(head));
        return r == 0 && n > 0 ? buf_append(out, p, n) : r;
}

ssize_t relay_take(Buf *in, uint8_t frame[static 1 + ATTACH_FRAME_MAX]) {
        size_t n;

        if (in->len < 4)
                return 0;
        n = little_endian(in->data, 4);
        if (n == 0 || n > 1 + ATTACH_FRAME_MAX)
                return -EBADMSG;
        if (in->len < 4 + n)
                return 0;
        memcpy(frame, in->data + 4, n);
        buf_consume(in, 4 + n);
        return (ssize_t)n;
}

static int flush_out(AttachLink *l) {
        while (l->out.len > 0) {
                ssize_t k = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (k < 0 && errno != EINTR)
                        return errno == EAGAIN ? 0 : -errno;
                if (k > 0)
                        buf_consume(&l->out, (size_t)k);
        }
        return 0;
}

/* -- traffic -- */

short attach_link_events(const AttachLink *l, bool has_input) {
        bool out = attach_link_is_remote(l) ? l->out.len > 0 : has_input;

        return (short)(POLLIN | (out ? POLLOUT : 0));
}

int attach_link_send(AttachLink *l, uint8_t type, const void *p, size_t n) {
        union {
                const void *in;
                void *out;
        } u = { .in = p };
        struct iovec iov[] = { { &type, 1 }, { u.out, n } };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = n > 0 ? 2 : 1 };
        int r;

        if (attach_link_is_remote(l)) {
                r = flush_out(l);
                if (r < 0 || l->out.len > OUT_MAX)
                        return r;
                r = relay_put(&l->out, type, p, n);
                if (r == 0)
                        r = flush_out(l);
                return r < 0 ? r : 1;
        }
        if (sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                return 1;
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
}

static ssize_t receive_remote(AttachLink *l, uint8_t frame[static 1 + ATTACH_FRAME_MAX]) {
        ssize_t n;
        int r;

        r = flush_out(l);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET) /* what it said last is still to be read */
                return r;
        n = relay_take(&l->in, frame);
        while (n == 0) {
                if (buf_reserve(&l->in, ATTACH_FRAME_MAX) < 0)
                        return -ENOMEM;
                n = recv(l->fd, l->in.data + l->in.len, ATTACH_FRAME_MAX, MSG_DONTWAIT);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                if (n == 0)
                        return -EPIPE;
                l->in.len += (size_t)n;
                n = relay_take(&l->in, frame);
        }
        return n;
}

ssize_t attach_link_receive(AttachLink *l, uint8_t frame[static 1 + ATTACH_FRAME_MAX]) {
        ssize_t n;

        if (attach_link_is_remote(l))
                return receive_remote(l, frame);
        n = recv(l->fd, frame, 1 + ATTACH_FRAME_MAX, MSG_DONTWAIT);
        /* ECONNRESET comes before what is still to be read, once: the shim closed with input
         * unread. */
        if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
                return 0;
        return n > 0 ? n : -EPIPE;
}

bool attach_link_has_frame(const AttachLink *l) {
        return l->in.len >= 4 && l->in.len - 4 >= little_endian(l->in.data, 4);
}

int attach_link_signal(AttachLink *l, uint32_t number, Error *reterr) {
        uint8_t payload[4] = { (uint8_t)number, (uint8_t)(number >> 8) };
        int r;

        if (!attach_link_is_remote(l))
                return pod_call(l->bus, CALL_DEADLINE, NULL, reterr, l->path, CONTAINER_FACE,
                                "Kill", "sub", l->exec_id, number, 0);
        r = attach_link_send(l, RELAY_SIGNAL, payload, sizeof(payload));
        return r > 0 ? 0 : error_setf(reterr, r ?: -EAGAIN, "the connection is busy");
}

int attach_link_remove(AttachLink *l, AttachRemove what, Error *reterr) {
        uint8_t payload = (uint8_t)what;
        int r;

        if (attach_link_is_remote(l)) {
                r = attach_link_send(l, RELAY_REMOVE, &payload, 1);
                return r > 0 ? 1 : error_setf(reterr, r ?: -EAGAIN, "the connection is busy");
        }
        if (what == ATTACH_REMOVE_EXEC)
                return pod_call(l->bus, CALL_DEADLINE, NULL, reterr, l->path, CONTAINER_FACE,
                                "Delete", "s", l->exec_id);
        return pod_call(l->bus, WORK_DEADLINE, NULL, reterr, BUS_ROOT, BUS_INTERFACE, "Shutdown",
                        "");
}
