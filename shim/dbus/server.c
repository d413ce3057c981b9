/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/dbus/server.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/log.h"
#include "shim/dbus/job.h"

typedef struct Conn {
        BusServer *server;
        sd_bus *bus;
        bool fresh; /* see on_post() */
        struct Conn *next;
} Conn;

struct BusServer {
        sd_event *event;
        sd_event_source *listener, *post;
        BusAddObjects add;
        BusGone gone;
        void *userdata;
        Conn *conns;
        unsigned n_conns;
};

static void conn_free(Conn *c) {
        BusServer *s = c->server;

        for (Conn **at = &s->conns; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        s->n_conns--;
                        break;
                }
        bus_jobs_forget(c->bus);
        if (s->gone)
                s->gone(c->bus, s->userdata);
        sd_bus_close_unref(c->bus);
        free(c);
}

/* Closing inside a callback of the connection itself would pull it from under sd-bus: sd-bus holds
 * a reference while it dispatches, so that dropping ours is safe. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        conn_free(userdata);
        return 0;
}

static int conn_match_end(Conn *c) {
        return sd_bus_match_signal_async(
                c->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, c);
}

static bool peer_allowed(int fd) {
        struct ucred peer;
        socklen_t n = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}

static void conn_link(Conn *c) {
        c->next = c->server->conns;
        c->server->conns = c;
        c->server->n_conns++;
}

/* Takes fd. */
static int conn_new(BusServer *s, int fd_arg, Conn **ret) {
        _cleanup_close_ int fd = fd_arg;
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ Conn *c = calloc(1, sizeof(*c));
        sd_id128_t id;
        int r;

        if (!c)
                return -ENOMEM;
        r = sd_id128_randomize(&id);
        if (r >= 0)
                r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0)
                return r;
        (void)TAKE_FD(fd);
        if ((r = sd_bus_set_server(bus, true, id)) < 0 ||
            (r = sd_bus_set_trusted(bus, true)) < 0 || /* peer_allowed() has decided */
            (r = sd_bus_negotiate_fds(bus, true)) < 0 ||
            (r = sd_bus_set_description(bus, "client")) < 0 || (r = sd_bus_start(bus)) < 0 ||
            (r = sd_bus_attach_event(bus, s->event, SD_EVENT_PRIORITY_NORMAL)) < 0)
                return r;
        c->server = s;
        c->bus = bus;
        r = conn_match_end(c);
        if (r >= 0)
                r = s->add(bus, s->userdata);
        if (r < 0) {
                sd_bus_close(bus);
                return r;
        }
        bus = NULL;
        *ret = TAKE(c);
        return 0;
}

/* A new connection whose handshake is over. */
static Conn *find_fresh(const BusServer *s) {
        for (Conn *c = s->conns; c; c = c->next)
                if (c->fresh && sd_bus_is_ready(c->bus) != 0)
                        return c;
        return NULL;
}

/* sd-bus does not see by itself that a client's first call came in one piece with the end of the
 * handshake: nothing more makes the socket readable. So what it has read is looked through again,
 * once the handshake is over. */
static int on_post(sd_event_source *source, void *userdata) {
        BusServer *s = userdata;
        bool waiting = false;

        for (Conn *c; (c = find_fresh(s));) {
                _cleanup_(sd_bus_unrefp) sd_bus *bus = sd_bus_ref(c->bus);

                c->fresh = false;
                while (sd_bus_process(bus, NULL) > 0)
                        ; /* may end the connection and free c */
        }
        for (const Conn *c = s->conns; c; c = c->next)
                waiting |= c->fresh;
        return sd_event_source_set_enabled(source, waiting ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata) {
        BusServer *s = userdata;
        Conn *c;
        int fd, r;

        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return 0; /* the client went, or we are out of fds: it will try again */
        if (!peer_allowed(fd) || s->n_conns >= BUS_CONNECTIONS_MAX) {
                log_warning("a client was refused: %s", s->n_conns >= BUS_CONNECTIONS_MAX
                                                                ? "too many connections"
                                                                : "not root and not us");
                (void)close_fd(fd);
                return 0;
        }
        r = conn_new(s, fd, &c);
        if (r < 0) {
                log_warning("a client could not be served: %s", strerrordesc_np(-r));
        } else {
                c->fresh = true;
                conn_link(c);
                (void)sd_event_source_set_enabled(s->post, SD_EVENT_ON);
        }
        return 0;
}

static int listen_at(const char *path, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        if (strlen(path) >= sizeof(sa.sun_path))
                return error_setf(reterr, -EINVAL, "%s is too long for a socket", path);
        (void)strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "socket: %m");
        if (unlink(path) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "remove the old %s: %m", path);
        if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 64) < 0)
                return error_setf(reterr, -errno, "listen on %s: %m", path);
        return TAKE_FD(fd);
}

int bus_server_new(sd_event *event, const char *path, BusAddObjects add, BusGone gone,
                   void *userdata, BusServer **ret, Error *reterr) {
        _cleanup_(bus_server_freep) BusServer *s = calloc(1, sizeof(*s));
        int fd, r;

        if (!s)
                return error_oom(reterr);
        *s = (BusServer){
                .event = sd_event_ref(event), .add = add, .gone = gone, .userdata = userdata
        };
        fd = listen_at(path, reterr);
        if (fd < 0)
                return fd;
        r = sd_event_add_io(event, &s->listener, fd, EPOLLIN, on_connection, s);
        if (r < 0) {
                (void)close_fd(fd);
                return error_setf(reterr, r, "watch %s", path);
        }
        (void)sd_event_source_set_io_fd_own(s->listener, true);
        r = sd_event_add_post(event, &s->post, on_post, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->post, SD_EVENT_OFF);
        if (r < 0)
                return error_setf(reterr, r, "events of the bus");
        *ret = TAKE(s);
        return 0;
}

BusServer *bus_server_free(BusServer *s) {
        if (!s)
                return NULL;
        while (s->conns)
                conn_free(s->conns);
        sd_event_source_disable_unref(s->post);
        sd_event_source_disable_unref(s->listener);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        if (sd_bus_message_is_method_error(m, NULL))
                log_warning("no name on the system bus: %s",
                            sd_bus_message_get_error(m)->message ?: "refused");
        return 0;
}

void bus_server_join_system_bus(BusServer *s, const char *name) {
        Conn *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return;
        c->server = s;
        r = sd_bus_open_system(&c->bus);
        if (r < 0) {
                log_debug("no system bus: %s", strerrordesc_np(-r));
                free(c);
                return;
        }
        conn_link(c);
        if ((r = sd_bus_attach_event(c->bus, s->event, SD_EVENT_PRIORITY_NORMAL)) < 0 ||
            (r = conn_match_end(c)) < 0 || (r = s->add(c->bus, s->userdata)) < 0 ||
            (r = sd_bus_request_name_async(c->bus, NULL, name, 0, on_name, NULL)) < 0) {
                log_warning("the system bus cannot be used: %s", strerrordesc_np(-r));
                conn_free(c);
        }
}

/* False if the connection was cut because its client does not read. */
static bool conn_keeps_up(Conn *c) {
        uint64_t unread;

        if (sd_bus_get_n_queued_write(c->bus, &unread) < 0 || unread <= BUS_UNREAD_SIGNALS_MAX)
                return true;
        log_warning("a client does not read its signals: disconnected");
        sd_bus_close(c->bus); /* conn_free() follows as Disconnected, or at the end */
        return false;
}

void bus_server_emit(BusServer *s, const char *path, const char *interface, const char *member,
                     const char *types, ...) {
        for (Conn *c = s->conns, *next; c; c = next) {
                va_list ap;

                next = c->next;
                if (sd_bus_is_open(c->bus) <= 0 || !conn_keeps_up(c))
                        continue;
                va_start(ap, types);
                (void)sd_bus_emit_signalv(c->bus, path, interface, member, types, ap);
                va_end(ap);
        }
}

void bus_server_changed(BusServer *s, const char *path, const char *interface,
                        const char *property) {
        for (Conn *c = s->conns, *next; c; c = next) {
                next = c->next;
                if (sd_bus_is_open(c->bus) > 0 && conn_keeps_up(c))
                        (void)sd_bus_emit_properties_changed(c->bus, path, interface, property,
                                                             NULL);
        }
}
