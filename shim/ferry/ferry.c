/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's side of the ferry: making and ending it, commands in, events and counters out. All
 * that touches the session or the relayed sockets is in ferry-loop.c and ferry-conn.c, on the other
 * thread. */
#include "shim/ferry/ferry.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "shim/ferry/ferry-internal.h"

#define DEFAULT_WINDOW      (4U << 20)
#define DEFAULT_TOTAL       (16U << 20)
#define DEFAULT_CONNECTIONS 128U
#define SOCKET_BUFFER       (1 << 20)

const char *ferry_kind_name(FerryKind kind) {
        static const char *const names[_FERRY_KIND_MAX] = {
                [FERRY_MESSAGES] = "messages",
                [FERRY_LIBVIRT] = "libvirt",
                [FERRY_MEMORY] = "memory",
                [FERRY_DISK] = "disk",
        };

        return (unsigned)kind < _FERRY_KIND_MAX ? names[kind] : NULL;
}

void command_free(Command *c) {
        if (!c)
                return;
        if (c->out_fd != c->fd)
                (void)close_fd(c->out_fd);
        (void)close_fd(c->fd);
        free(c->path);
        free(c);
}

static void command_freep(Command **c) {
        command_free(*c);
}

static int command_new(CommandType type, FerryKind kind, Command **ret) {
        Command *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        *c = (Command){ .type = type, .kind = kind, .fd = -EBADF, .out_fd = -EBADF };
        *ret = c;
        return 0;
}

static void raise_eventfd(int fd) {
        const uint64_t one = 1;

        /* It can fail in one way only: the counter is full, and then the reader wakes anyway. */
        if (write(fd, &one, sizeof(one)) < 0)
                assert(errno == EAGAIN);
}

static void send_command(Ferry *f, Command *c) {
        (void)pthread_mutex_lock(&f->shared.lock);
        *f->shared.last = c;
        f->shared.last = &c->next;
        (void)pthread_mutex_unlock(&f->shared.lock);
        raise_eventfd(f->wake.fd);
}

Command *ferry_take_commands(Ferry *f) {
        Command *first;

        (void)pthread_mutex_lock(&f->shared.lock);
        first = f->shared.first;
        f->shared.first = NULL;
        f->shared.last = &f->shared.first;
        (void)pthread_mutex_unlock(&f->shared.lock);
        return first;
}

void ferry_post(Ferry *f, FerryEventType type, FerryKind kind, int r, const Error *err) {
        FerryEvent e = { .type = type, .kind = kind };

        if (r < 0)
                (void)error_setf(&e.error, r, "%s", error_text(err, r));
        (void)pthread_mutex_lock(&f->shared.lock);
        if (f->shared.n_events == FERRY_EVENTS_MAX) {
                f->shared.events_at = (f->shared.events_at + 1) % FERRY_EVENTS_MAX;
                f->shared.n_events--;
                f->counters.events_lost++;
        }
        f->shared.events[(f->shared.events_at + f->shared.n_events++) % FERRY_EVENTS_MAX] = e;
        f->shared.counters = f->counters; /* never older than the event */
        (void)pthread_mutex_unlock(&f->shared.lock);
        raise_eventfd(f->event_fd);
}

bool ferry_next_event(Ferry *f, FerryEvent *ret) {
        uint64_t drained;
        bool found;

        (void)pthread_mutex_lock(&f->shared.lock);
        found = f->shared.n_events > 0;
        if (found) {
                *ret = f->shared.events[f->shared.events_at];
                f->shared.events_at = (f->shared.events_at + 1) % FERRY_EVENTS_MAX;
                f->shared.n_events--;
        }
        if (f->shared.n_events == 0 && read(f->event_fd, &drained, sizeof(drained)) < 0)
                assert(errno == EAGAIN);
        (void)pthread_mutex_unlock(&f->shared.lock);
        return found;
}

int ferry_event_fd(const Ferry *f) {
        return f->event_fd;
}

int ferry_message_fd(const Ferry *f) {
        return f->message_fd;
}

void ferry_finish(Ferry *f) {
        (void)shutdown(f->message_fd, SHUT_WR);
}

bool ferry_stopped(Ferry *f) {
        bool stop;

        (void)pthread_mutex_lock(&f->shared.lock);
        stop = f->shared.stop;
        (void)pthread_mutex_unlock(&f->shared.lock);
        return stop;
}

void ferry_publish(Ferry *f) {
        session_stats(f->session, &f->counters.session);
        f->counters.up = f->attached && session_is_up(f->session);
        (void)pthread_mutex_lock(&f->shared.lock);
        f->shared.counters = f->counters;
        (void)pthread_mutex_unlock(&f->shared.lock);
}

void ferry_counters(Ferry *f, FerryCounters *ret) {
        (void)pthread_mutex_lock(&f->shared.lock);
        *ret = f->shared.counters;
        (void)pthread_mutex_unlock(&f->shared.lock);
}

/* A transport's descriptor: what epoll can wait for and a byte stream. */
static int check_transport(int fd, Error *reterr) {
        socklen_t n = sizeof(int);
        struct stat st;
        int type;

        if (fstat(fd, &st) < 0)
                return error_setf(reterr, -EINVAL, "transport: %m");
        if (S_ISFIFO(st.st_mode))
                return 0;
        if (!S_ISSOCK(st.st_mode) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
            type != SOCK_STREAM)
                return error_setf(reterr, -EINVAL,
                                  "the transport is neither a stream socket nor a pipe");
        return 0;
}

int ferry_set_transport(Ferry *f, int in_fd, int out_fd, Error *reterr) {
        _cleanup_(command_freep) Command *c = NULL;
        int r;

        r = command_new(COMMAND_TRANSPORT, 0, &c);
        if (r < 0) {
                if (out_fd != in_fd)
                        (void)close_fd(out_fd);
                (void)close_fd(in_fd);
                return error_oom(reterr);
        }
        c->fd = in_fd;
        c->out_fd = out_fd;
        r = check_transport(in_fd, reterr);
        if (r == 0 && out_fd != in_fd)
                r = check_transport(out_fd, reterr);
        if (r < 0)
                return r;
        send_command(f, TAKE(c));
        return 0;
}

static int check_path(FerryKind kind, const char *path, Error *reterr) {
        size_t n = strlen(path);

        if (kind <= FERRY_MESSAGES || kind >= _FERRY_KIND_MAX)
                return error_setf(reterr, -EINVAL, "no such kind of connection: %d", (int)kind);
        if (path[0] != '/' || n >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
                return error_setf(reterr, -EINVAL,
                                  "%s: a socket's path is absolute and at most %zu bytes", path,
                                  sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return 0;
}

static int listen_at(const char *path, Error *reterr) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        (void)strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        /* Not open to more before its mode is set, whatever the umask. The group is the
         * directory's, if that says so: QEMU, which may not be root, connects too. */
        if (fchmod(fd, 0600) < 0 ||
            bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (chmod(path, 0660) < 0 || listen(fd, SOMAXCONN) < 0) {
                int r = error_setf(reterr, -errno, "%s: %m", address.sun_path);

                (void)unlink(path);
                return r;
        }
        return TAKE_FD(fd);
}

int ferry_listen(Ferry *f, FerryKind kind, const char *path, Error *reterr) {
        _cleanup_(command_freep) Command *c = NULL;
        _cleanup_free_ char *copy = NULL;
        int r;

        if (f->role != FERRY_SOURCE)
                return error_setf(reterr, -EOPNOTSUPP, "only the source's ferry listens");
        r = check_path(kind, path, reterr);
        if (r < 0)
                return r;
        if (f->listening[kind])
                return error_setf(reterr, -EEXIST, "%s: the ferry listens for %s at %s already",
                                  path, ferry_kind_name(kind), f->listening[kind]);
        copy = strdup(path);
        if (!copy || command_new(COMMAND_LISTEN, kind, &c) < 0)
                return error_oom(reterr);
        c->fd = listen_at(path, reterr);
        if (c->fd < 0)
                return c->fd;
        f->listening[kind] = TAKE(copy);
        send_command(f, TAKE(c));
        return 0;
}

int ferry_rule(Ferry *f, FerryKind kind, const char *path, Error *reterr) {
        _cleanup_(command_freep) Command *c = NULL;
        int r;

        if (f->role != FERRY_DESTINATION)
                return error_setf(reterr, -EOPNOTSUPP, "only the destination's ferry connects");
        r = check_path(kind, path, reterr);
        if (r < 0)
                return r;
        if (command_new(COMMAND_RULE, kind, &c) < 0)
                return error_oom(reterr);
        c->path = strdup(path);
        if (!c->path)
                return error_oom(reterr);
        send_command(f, TAKE(c));
        return 0;
}

static int command_rate(Ferry *f, CommandType type, FerryKind kind, uint64_t rate, Error *reterr) {
        Command *c;

        if (kind <= FERRY_MESSAGES || kind >= _FERRY_KIND_MAX)
                return error_setf(reterr, -EINVAL, "no such kind of connection: %d", (int)kind);
        if (command_new(type, kind, &c) < 0)
                return error_oom(reterr);
        c->rate = rate;
        send_command(f, c);
        return 0;
}

static int command_kind(Ferry *f, CommandType type, FerryKind kind, Error *reterr) {
        return command_rate(f, type, kind, 0, reterr);
}

static int need_source(const Ferry *f, Error *reterr) {
        return f->role == FERRY_SOURCE ? 0
                                       : error_setf(reterr, -EOPNOTSUPP,
                                                    "a destination's ferry takes all that comes");
}

int ferry_hold(Ferry *f, FerryKind kind, bool hold, Error *reterr) {
        return command_kind(f, hold ? COMMAND_HOLD : COMMAND_LET_GO, kind, reterr);
}

int ferry_stall(Ferry *f, FerryKind kind, bool stall, Error *reterr) {
        int r = need_source(f, reterr);

        return r < 0 ? r : command_kind(f, stall ? COMMAND_STALL : COMMAND_FLOW, kind, reterr);
}

int ferry_pace(Ferry *f, FerryKind kind, uint64_t bytes_per_s, Error *reterr) {
        int r = need_source(f, reterr);

        return r < 0 ? r : command_rate(f, COMMAND_PACE, kind, bytes_per_s, reterr);
}

int ferry_cut(Ferry *f, FerryKind kind, Error *reterr) {
        return command_kind(f, COMMAND_CUT, kind, reterr);
}

int ferry_refuse(Ferry *f, FerryKind kind, Error *reterr) {
        return command_kind(f, COMMAND_REFUSE, kind, reterr);
}

int ferry_deafen(Ferry *f, FerryKind kind, Error *reterr) {
        return command_kind(f, COMMAND_DEAFEN, kind, reterr);
}

int ferry_gate(Ferry *f, bool closed, Error *reterr) {
        return command_kind(f, closed ? COMMAND_GATE : COMMAND_OPEN_GATE, FERRY_LIBVIRT, reterr);
}

static int make_session(Ferry *f, const FerryConfig *config, Error *reterr) {
        SessionConfig s = {
                .role = f->role == FERRY_SOURCE ? SESSION_HOST : SESSION_GUEST,
                .epoch = f->role == FERRY_SOURCE ? 1 : 0,
                .window = config->window ?: DEFAULT_WINDOW,
                .total = config->total ?: DEFAULT_TOTAL,
                .max_channels = 2 * f->max_connections + 8,
        };
        int r;

        memcpy(s.id, config->session_id, sizeof(s.id));
        r = session_new(&s, &ferry_session_ops, f, &f->session, reterr);
        if (r < 0)
                return r;
        session_raise_channel_floor(f->session, FERRY_CHANNEL_FIRST);
        return 0;
}

static int make_fds(Ferry *f) {
        const int size = SOCKET_BUFFER;
        int pair[2], r;

        f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        f->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (f->event_fd < 0 || f->epoll < 0)
                return -errno;
        r = ferry_watch(f, &f->wake, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), EPOLLIN);
        if (r < 0)
                return r;
        r = ferry_watch(f, &f->timer, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                        EPOLLIN);
        if (r < 0)
                return r;
        r = ferry_watch(f, &f->pacer, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                        EPOLLIN);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        f->message_fd = pair[0];
        r = ferry_add_conn(f, FERRY_MESSAGES, FERRY_CHANNEL_MESSAGES, pair[1]);
        if (r < 0)
                (void)close_fd(pair[1]);
        return r;
}

/* Signals are the owner's: none may be delivered to the new thread (SIGPIPE of a broken pipe stays
 * pending there and harms nobody). */
static int start_thread(Ferry *f) {
        sigset_t all, old;
        int r;

        (void)sigfillset(&all);
        r = -pthread_sigmask(SIG_SETMASK, &all, &old);
        if (r < 0)
                return r;
        r = -pthread_create(&f->thread, NULL, ferry_loop, f);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        f->running = r == 0;
        return r;
}

int ferry_new(const FerryConfig *config, Ferry **ret, Error *reterr) {
        _cleanup_(ferry_freep) Ferry *f = NULL;
        int r;

        f = calloc(1, sizeof(*f));
        if (!f)
                return error_oom(reterr);
        f->role = config->role;
        f->max_connections = config->max_connections ?: DEFAULT_CONNECTIONS;
        f->shared.last = &f->shared.first;
        f->message_fd = f->event_fd = f->epoll = -EBADF;
        f->wake.fd = f->timer.fd = f->pacer.fd = f->in.fd = f->out.fd = -EBADF;
        for (int i = 0; i < _FERRY_KIND_MAX; i++)
                f->listeners[i].fd = -EBADF;
        (void)pthread_mutex_init(&f->shared.lock, NULL); /* cannot fail for a default mutex */
        f->chunk = malloc(FERRY_CHUNK);
        if (!f->chunk)
                return error_oom(reterr);
        r = make_session(f, config, reterr);
        if (r < 0)
                return r;
        r = make_fds(f);
        if (r < 0)
                return error_setf(reterr, r, "ferry: %s", error_text(NULL, r));
        ferry_publish(f);
        r = start_thread(f);
        if (r < 0)
                return error_setf(reterr, r, "cannot start a thread: %s", error_text(NULL, r));
        *ret = TAKE(f);
        return 0;
}

static void stop_thread(Ferry *f) {
        (void)pthread_mutex_lock(&f->shared.lock);
        f->shared.stop = true;
        (void)pthread_mutex_unlock(&f->shared.lock);
        raise_eventfd(f->wake.fd);
        (void)pthread_join(f->thread, NULL);
}

Ferry *ferry_free(Ferry *f) {
        if (!f)
                return NULL;
        if (f->running)
                stop_thread(f);
        for (Command *c = f->shared.first, *next; c; c = next) {
                next = c->next;
                command_free(c);
        }
        ferry_close_conns(f);
        if (f->out.fd != f->in.fd)
                ferry_unwatch(f, &f->out);
        ferry_unwatch(f, &f->in);
        ferry_unwatch(f, &f->wake);
        ferry_unwatch(f, &f->timer);
        ferry_unwatch(f, &f->pacer);
        for (int i = 0; i < _FERRY_KIND_MAX; i++) {
                ferry_unwatch(f, &f->listeners[i]);
                if (f->listening[i])
                        (void)unlink(f->listening[i]);
                free(f->listening[i]);
                free(f->rules[i]);
        }
        (void)session_free(f->session);
        message_reader_done(&f->control);
        buf_done(&f->control_out);
        (void)close_fd(f->epoll);
        (void)close_fd(f->event_fd);
        (void)close_fd(f->message_fd);
        (void)pthread_mutex_destroy(&f->shared.lock);
        free(f->chunk);
        free(f);
        return NULL;
}
