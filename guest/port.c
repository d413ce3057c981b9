/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/port.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "guest/files.h"
#include "guest/uevent.h"
#include "lib/log.h"

enum {
        READ_SIZE = 64 * 1024,
        READ_TURNS = 16, /* reads in a row before the containers' streams have their turn */
        IOV_MAX_OUT = 16,
};

#define PORT_EVENTS (EPOLLIN | EPOLLOUT | (uint32_t)EPOLLET)

/* The device node of the port of that name, "" if the kernel has none (yet). */
static int find_port(void *userdata, Error *reterr) {
        char *ret = ((char **)userdata)[0];
        const char *name = ((char **)userdata)[1];
        DIR *dir = opendir("/sys/class/virtio-ports");

        ret[0] = '\0';
        if (!dir)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "cannot list ports: %m");
        for (struct dirent *e; (e = readdir(dir));) {
                char path[300], found[128];

                (void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
                if (e->d_name[0] == '.' || file_read_line(path, found, sizeof(found), NULL) < 0 ||
                    strcmp(found, name) != 0)
                        continue;
                (void)snprintf(ret, 300, "/dev/%s", e->d_name);
                break;
        }
        (void)closedir(dir);
        return ret[0] != '\0' && access(ret, F_OK) == 0;
}

int port_open(const char *name, int *ret, Error *reterr) {
        char path[300], wanted[128];
        char *arg[] = { path, wanted };
        int r, fd;

        (void)snprintf(wanted, sizeof(wanted), "%s", name);
        r = uevent_wait(find_port, arg, -1, reterr);
        if (r < 0)
                return r;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open the port %s: %m", path);
        *ret = fd;
        return 0;
}

static void attach(Port *port, bool there) {
        if (there == port->attached)
                return;
        port->attached = there;
        if (there)
                session_attach(port->session);
        else
                session_detach(port->session);
}

/* The bytes break the protocol, or come from a host that was fenced off. The port cannot be closed
 * in anybody's face, so the session begins anew on it, waiting for a proper HELLO. */
static void reset(Port *port, int code, const Error *err) {
        log_warning("link: %s: waiting for a new HELLO", error_text(err, code));
        attach(port, false);
        attach(port, true);
}

static void read_port(Port *port) {
        static uint8_t buffer[READ_SIZE];

        port->wants_input = false;
        for (int i = 0; i < READ_TURNS; i++) {
                Error err = ERROR_INIT;
                ssize_t n = read(port->fd, buffer, sizeof(buffer));
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno != EAGAIN)
                        log_err("link: cannot read the port: %m");
                if (n <= 0)
                        return;
                attach(port, true);
                r = session_input(port->session, buffer, (size_t)n, &err);
                if (r < 0)
                        reset(port, r, &err);
        }
        port->wants_input = true;
}

static void write_port(Port *port) {
        struct iovec iov[IOV_MAX_OUT];
        int n;

        while ((n = session_output(port->session, iov, IOV_MAX_OUT)) > 0) {
                ssize_t k = writev(port->fd, iov, n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno != EAGAIN)
                        log_err("link: cannot write the port: %m");
                if (k <= 0)
                        return; /* the port wakes us when there is room or a host */
                session_output_done(port->session, (size_t)k);
        }
        port->wants_output = false;
}

static void port_ready(void *userdata, uint32_t events) {
        Port *port = userdata;

        /* Read first: what a host said before it left counts. */
        read_port(port);
        attach(port, !(events & EPOLLHUP));
        port->wants_output = true;
}

void port_wake(Port *port) {
        port->wants_output = true;
}

void port_service(Port *port) {
        if (port->attached && port->wants_output)
                write_port(port);
        /* Arms the edge again: if there is more to read, it comes back through the loop. */
        if (port->wants_input)
                (void)watch_set(&port->watch, PORT_EVENTS);
}

int port_init(Port *port, Loop *l, int fd, const SessionOps *ops, void *userdata, Error *reterr) {
        SessionConfig config = { .role = SESSION_GUEST };
        int r;

        *port = (Port){ .loop = l, .fd = fd };
        r = session_new(&config, ops, userdata, &port->session, reterr);
        if (r < 0)
                return r;
        r = watch_init(&port->watch, l, fd, PORT_EVENTS, port_ready, port);
        return r < 0 ? error_setf(reterr, r, "cannot watch the port: %s", strerror(-r)) : 0;
}

void port_done(Port *port) {
        watch_done(&port->watch);
        port->session = session_free(port->session);
        port->fd = close_fd(port->fd);
}
