/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ferry-rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

#define RUN_SECONDS 60

typedef struct Cable {
        pthread_t thread;
        int end[2][2]; /* of source and destination: read from, write to */
        size_t tear_after;
        int stop_fd;
} Cable;

uint64_t rig_random(uint64_t *state) {
        uint64_t z = (*state += 0x9e3779b97f4a7c15U);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
}

int rig_open_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        int n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n;
}

static bool write_all(int fd, const uint8_t *p, size_t n) {
        while (n > 0) {
                ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

                if (k < 0 && errno == ENOTSOCK)
                        k = write(fd, p, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return false;
                p += k;
                n -= (size_t)k;
        }
        return true;
}

/* Copies one turn of one direction; false when it ended or its time has come. */
static bool cable_copy(Cable *c, int from, size_t *moved) {
        uint8_t bytes[16384];
        ssize_t n = read(c->end[from][0], bytes, sizeof(bytes));

        if (n <= 0)
                return false;
        *moved += (size_t)n;
        if (c->tear_after && *moved >= c->tear_after) {
                /* A torn cable delivers the first part of what it carried. */
                (void)write_all(c->end[!from][1], bytes, (size_t)n - (size_t)n / 3);
                return false;
        }
        return write_all(c->end[!from][1], bytes, (size_t)n);
}

static void cable_close(Cable *c) {
        for (int i = 0; i < 2; i++) {
                if (c->end[i][0] != c->end[i][1])
                        (void)close_fd(c->end[i][1]);
                (void)close_fd(c->end[i][0]);
                c->end[i][0] = c->end[i][1] = -EBADF;
        }
}

static void *cable_main(void *cable) {
        Cable *c = cable;
        size_t moved = 0;
        bool on = true;

        while (on) {
                struct pollfd p[3] = { { .fd = c->end[0][0], .events = POLLIN },
                                       { .fd = c->end[1][0], .events = POLLIN },
                                       { .fd = c->stop_fd, .events = POLLIN } };

                if (poll(p, 3, -1) < 0)
                        continue;
                if (p[2].revents)
                        break;
                for (int i = 0; i < 2 && on; i++)
                        if (p[i].revents)
                                on = cable_copy(c, i, &moved);
        }
        cable_close(c);
        return NULL;
}

static void cable_end(Rig *r) {
        Cable *c = r->cable;
        uint64_t one = 1;

        if (!c)
                return;
        assert_int_equal(write(c->stop_fd, &one, sizeof(one)), sizeof(one));
        assert_int_equal(pthread_join(c->thread, NULL), 0);
        (void)close_fd(c->stop_fd);
        free(c);
        r->cable = NULL;
}

/* One side of the cable: *ferry_in and *ferry_out for the ferry, c->end[side] for the cable. */
static void make_side(Rig *r, Cable *c, int side, int *ferry_in, int *ferry_out) {
        int a[2], b[2];

        if (!r->pipes) {
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
                *ferry_in = *ferry_out = a[0];
                c->end[side][0] = c->end[side][1] = a[1];
                return;
        }
        assert_int_equal(pipe2(a, O_CLOEXEC), 0);
        assert_int_equal(pipe2(b, O_CLOEXEC), 0);
        *ferry_in = a[0];
        c->end[side][1] = a[1];
        *ferry_out = b[1];
        c->end[side][0] = b[0];
}

void rig_plug(Rig *r) {
        Cable *c;
        int in, out;

        cable_end(r);
        c = calloc(1, sizeof(*c));
        assert_non_null(c);
        if (r->tear_every > 0)
                c->tear_after = 1 + rig_random(&r->seed) % (2 * r->tear_every);
        c->stop_fd = eventfd(0, EFD_CLOEXEC);
        assert_true(c->stop_fd >= 0);
        for (int side = 0; side < 2; side++) {
                make_side(r, c, side, &in, &out);
                assert_int_equal(
                        ferry_set_transport(side ? r->destination : r->source, in, out, NULL), 0);
        }
        assert_int_equal(pthread_create(&c->thread, NULL, cable_main, c), 0);
        r->cable = c;
}

static bool note_events(Rig *r) {
        bool lost = false;

        for (int side = 0; side < 2; side++) {
                FerryEvent e;

                while (ferry_next_event(side ? r->destination : r->source, &e)) {
                        r->events[side][e.type]++;
                        if (e.error.code)
                                r->last[side] = e;
                        lost |= e.type == FERRY_EVENT_LOST;
                }
        }
        return lost;
}

void rig_run(Rig *r, bool (*until)(Rig *r, void *userdata), void *userdata) {
        time_t end = time(NULL) + RUN_SECONDS;

        for (;;) {
                struct pollfd p[3] = {
                        { .fd = ferry_event_fd(r->source), .events = POLLIN },
                        { .fd = ferry_event_fd(r->destination), .events = POLLIN },
                        { .fd = r->done_fd, .events = POLLIN },
                };
                uint64_t drained;

                if (note_events(r) && r->tear_every > 0) {
                        r->tears++;
                        rig_plug(r);
                }
                if (until(r, userdata))
                        return;
                assert_true(time(NULL) < end);
                assert_true(poll(p, 3, 1000) >= 0);
                if (p[2].revents)
                        assert_true(read(r->done_fd, &drained, sizeof(drained)) > 0);
        }
}

bool rig_saw(Rig *r, void *type) {
        const FerryEventType *t = type;

        return r->events[0][*t] > 0 && r->events[1][*t] > 0;
}

void rig_path(const Rig *r, FerryKind kind, bool source, char *ret, size_t n) {
        assert_true((size_t)snprintf(ret, n, "%s/%s-%s", r->dir, source ? "s" : "d",
                                     ferry_kind_name(kind)) < n);
}

typedef struct Served {
        Rig *rig;
        ServerMode mode;
        int fd;
} Served;

static void serve_later(Served *s) {
        uint8_t *all = NULL, bytes[65536];
        size_t n = 0;
        ssize_t k;

        while (s->mode == SERVE_HOLD && !atomic_load(&s->rig->release))
                (void)poll(NULL, 0, 5);
        while ((k = read(s->fd, bytes, sizeof(bytes))) > 0) {
                uint8_t *more = realloc(all, n + (size_t)k);

                if (!more)
                        break;
                all = more;
                memcpy(all + n, bytes, (size_t)k);
                n += (size_t)k;
        }
        (void)write_all(s->fd, all, n);
        free(all);
}

static void *serve_one(void *served) {
        Served *s = served;
        uint8_t bytes[65536];
        ssize_t k;

        if (s->mode == SERVE_HANG_UP) {
                (void)recv(s->fd, bytes, 1000, MSG_WAITALL);
        } else if (s->mode == SERVE_ECHO) {
                while ((k = read(s->fd, bytes, sizeof(bytes))) > 0)
                        if (!write_all(s->fd, bytes, (size_t)k))
                                break;
        } else {
                serve_later(s);
        }
        (void)close_fd(s->fd);
        atomic_fetch_sub(&s->rig->busy, 1);
        free(s);
        return NULL;
}

typedef struct Server {
        Rig *rig;
        FerryKind kind;
} Server;

static void *server_main(void *server) {
        Server *s = server;
        Rig *r = s->rig;
        int fd;

        while ((fd = accept4(r->server_fd[s->kind], NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                Served *one = calloc(1, sizeof(*one));
                pthread_t thread;

                if (!one)
                        abort();
                *one = (Served){ r, r->mode[s->kind], fd };
                atomic_fetch_add(&r->busy, 1);
                if (pthread_create(&thread, NULL, serve_one, one) != 0)
                        abort();
                (void)pthread_detach(thread);
        }
        atomic_fetch_sub(&r->busy, 1);
        free(s);
        return NULL;
}

void rig_serve(Rig *r, FerryKind kind, ServerMode mode) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        Server *s = calloc(1, sizeof(*s));
        pthread_t thread;

        assert_non_null(s);
        *s = (Server){ r, kind };
        r->mode[kind] = mode;
        rig_path(r, kind, false, address.sun_path, sizeof(address.sun_path));
        r->server_fd[kind] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(r->server_fd[kind] >= 0);
        assert_int_equal(bind(r->server_fd[kind], (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(r->server_fd[kind], 2), 0);
        atomic_fetch_add(&r->busy, 1);
        assert_int_equal(pthread_create(&thread, NULL, server_main, s), 0);
        assert_int_equal(pthread_detach(thread), 0);
}

void rig_up(Rig *r, const FerryConfig *config) {
        FerryConfig c = config ? *config : (FerryConfig){};
        char path[108];

        (void)snprintf(r->dir, sizeof(r->dir), "/tmp/test-ferry.XXXXXX");
        assert_non_null(mkdtemp(r->dir));
        r->done_fd = eventfd(0, EFD_CLOEXEC);
        assert_true(r->done_fd >= 0);
        if (!c.session_id[0])
                memset(c.session_id, 7, sizeof(c.session_id));
        c.role = FERRY_SOURCE;
        assert_int_equal(ferry_new(&c, &r->source, NULL), 0);
        c.role = FERRY_DESTINATION;
        memset(c.session_id, 0, sizeof(c.session_id));
        assert_int_equal(ferry_new(&c, &r->destination, NULL), 0);
        for (FerryKind k = FERRY_LIBVIRT; k < _FERRY_KIND_MAX; k++) {
                r->server_fd[k] = -EBADF;
                rig_path(r, k, true, path, sizeof(path));
                assert_int_equal(ferry_listen(r->source, k, path, NULL), 0);
                rig_path(r, k, false, path, sizeof(path));
                assert_int_equal(ferry_rule(r->destination, k, path, NULL), 0);
        }
}

void rig_down(Rig *r) {
        char path[108];

        r->source = ferry_free(r->source);
        r->destination = ferry_free(r->destination);
        cable_end(r);
        atomic_store(&r->release, true);
        for (FerryKind k = FERRY_LIBVIRT; k < _FERRY_KIND_MAX; k++) {
                rig_path(r, k, true, path, sizeof(path));
                assert_int_equal(access(path, F_OK), -1);
                rig_path(r, k, false, path, sizeof(path));
                (void)unlink(path);
                if (r->server_fd[k] >= 0)
                        (void)shutdown(r->server_fd[k], SHUT_RDWR);
        }
        while (atomic_load(&r->busy) > 0)
                (void)poll(NULL, 0, 1);
        for (FerryKind k = FERRY_LIBVIRT; k < _FERRY_KIND_MAX; k++)
                (void)close_fd(r->server_fd[k]);
        (void)close_fd(r->done_fd);
        assert_int_equal(rmdir(r->dir), 0);
}

typedef struct ClientThread {
        Client *client;
        pthread_t writer, reader;
        int fd;
        atomic_int *left;
} ClientThread;

static void fill(uint64_t *state, uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i += 8) {
                uint64_t x = rig_random(state);

                memcpy(p + i, &x, MIN_OF(sizeof(x), n - i));
        }
}

#define BLOCK 8192

static void *client_write(void *thread) {
        ClientThread *t = thread;
        Client *c = t->client;
        uint64_t state = c->seed;
        uint8_t bytes[BLOCK];

        while (c->sent < c->bytes) {
                size_t n = MIN_OF((size_t)BLOCK, c->bytes - c->sent);

                fill(&state, bytes, n);
                if (!write_all(t->fd, bytes, n)) {
                        c->error = errno;
                        break;
                }
                c->sent += n;
        }
        (void)shutdown(t->fd, SHUT_WR);
        return NULL;
}

static void *client_read(void *thread) {
        ClientThread *t = thread;
        Client *c = t->client;
        uint64_t state = c->seed, one = 1;
        uint8_t bytes[BLOCK], expected[BLOCK];
        bool same = true;
        ssize_t k = 0;

        while (same) {
                size_t n = MIN_OF((size_t)BLOCK, c->bytes - c->received);

                k = n ? recv(t->fd, bytes, n, MSG_WAITALL) : read(t->fd, bytes, 1);
                if (k <= 0)
                        break;
                fill(&state, expected, (size_t)k);
                c->received += (size_t)k;
                same = c->received <= c->bytes && memcmp(bytes, expected, (size_t)k) == 0;
        }
        c->ok = same && k == 0 && c->received == c->bytes;
        (void)pthread_join(t->writer, NULL);
        (void)close_fd(t->fd);
        if (atomic_fetch_sub(t->left, 1) == 1 &&
            write(c->rig->done_fd, &one, sizeof(one)) != sizeof(one))
                abort();
        return NULL;
}

static bool none_left(Rig *r, void *left) {
        return atomic_load((atomic_int *)left) == 0;
}

void rig_run_clients(Rig *r, Client *clients, size_t n) {
        ClientThread threads[RIG_CLIENTS_MAX];
        atomic_int left = (int)n;

        assert_true(n <= RIG_CLIENTS_MAX);
        for (size_t i = 0; i < n; i++) {
                struct sockaddr_un address = { .sun_family = AF_UNIX };
                ClientThread *t = &threads[i];

                clients[i].rig = r;
                clients[i].seed = rig_random(&r->seed);
                *t = (ClientThread){ .client = &clients[i], .left = &left };
                rig_path(r, clients[i].kind, true, address.sun_path, sizeof(address.sun_path));
                t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                assert_int_equal(connect(t->fd, (struct sockaddr *)&address, sizeof(address)), 0);
                assert_int_equal(pthread_create(&t->writer, NULL, client_write, t), 0);
                assert_int_equal(pthread_create(&t->reader, NULL, client_read, t), 0);
        }
        rig_run(r, none_left, &left);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(pthread_join(threads[i].reader, NULL), 0);
}
