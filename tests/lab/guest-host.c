/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lab/guest-host.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "lib/message.h"

enum { CALLS_MAX = 65536 };

struct Host {
        const char *path;
        int fd;
        bool gone;
        Session *session;
        MessageReader reader;
        uint64_t next_call;
        FromGuest *replies[CALLS_MAX];
        unsigned answered[CALLS_MAX];
        unsigned ooms;
        HostChannel channels[HOST_CHANNELS];
};

static _Noreturn void die(const char *what) {
        (void)printf("Bail out! %s: %s\n", what, strerror(errno));
        exit(1);
}

static int64_t now_ms(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int on_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        Host *h = userdata;
        FromGuest *m = (FromGuest *)message_unpack_strict(
                &podferry__guest__v1__from_guest__descriptor, p, n, reterr);

        if (!m || m->call_id >= CALLS_MAX)
                die("the agent sent nonsense");
        if (m->call_id == 0) {
                h->ooms += m->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_OOM;
                host_reply_free(m);
                return 0;
        }
        h->answered[m->call_id]++;
        host_reply_free(h->replies[m->call_id]);
        h->replies[m->call_id] = m;
        return 0;
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Host *h = userdata;
        Error err = ERROR_INIT;

        if (channel == 0) {
                if (message_reader_feed(&h->reader, p, n, on_message, h, &err) < 0)
                        die(err.text);
                return n;
        }
        if (h->channels[channel].stalled)
                return 0;
        if (buf_append(&h->channels[channel].got, p, n) < 0)
                die("memory");
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        Host *h = userdata;

        h->channels[channel].eof = true;
        (void)session_shutdown(h->session, channel, NULL);
}

static void on_wake(void *userdata) {
}

static const SessionOps ops = { .data = on_data, .eof = on_eof, .wake = on_wake };

static void connect_port(Host *h) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", h->path);
        h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (h->fd < 0 || connect(h->fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
            fcntl(h->fd, F_SETFL, O_NONBLOCK) < 0)
                die(h->path);
        session_attach(h->session);
}

Host *host_new(const char *socket_path) {
        SessionConfig config = { .role = SESSION_HOST, .epoch = 1, .id = { 1, 2, 3 } };
        Host *h = calloc(1, sizeof(*h));
        Error err = ERROR_INIT;

        if (!h)
                die("memory");
        h->path = socket_path;
        h->next_call = 1;
        if (session_new(&config, &ops, h, &h->session, &err) < 0)
                die(err.text);
        connect_port(h);
        return h;
}

void host_free(Host *h) {
        for (size_t i = 0; i < CALLS_MAX; i++)
                host_reply_free(h->replies[i]);
        for (size_t i = 0; i < HOST_CHANNELS; i++)
                buf_done(&h->channels[i].got);
        message_reader_done(&h->reader);
        (void)session_free(h->session);
        (void)close_fd(h->fd);
        free(h);
}

HostChannel *host_channel(Host *h, uint32_t channel) {
        return &h->channels[channel];
}

uint32_t host_open(Host *h) {
        uint32_t channel = session_next_channel(h->session);
        Error err = ERROR_INIT;

        if (channel >= HOST_CHANNELS || session_open(h->session, channel, &err) < 0)
                die(err.text);
        return channel;
}

static void drop(Host *h) {
        session_detach(h->session);
        h->fd = close_fd(h->fd);
        h->gone = true;
}

static void write_out(Host *h) {
        struct iovec iov[16];
        int n;

        while (!h->gone && (n = session_output(h->session, iov, 16)) > 0) {
                struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
                ssize_t k = sendmsg(h->fd, &m, MSG_NOSIGNAL);

                if (k < 0 && errno == EAGAIN)
                        return;
                if (k < 0)
                        drop(h);
                else
                        session_output_done(h->session, (size_t)k);
        }
}

static void read_in(Host *h) {
        static uint8_t buffer[256 * 1024];
        ssize_t n = read(h->fd, buffer, sizeof(buffer));
        Error err = ERROR_INIT;

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0)
                drop(h);
        else if (session_input(h->session, buffer, (size_t)n, &err) < 0)
                die(err.text);
}

static void step(Host *h, int timeout_ms) {
        struct pollfd p = { .fd = h->fd, .events = POLLIN };
        struct iovec iov[1];

        write_out(h);
        if (h->gone)
                return;
        if (session_output(h->session, iov, 1) > 0)
                p.events |= POLLOUT;
        if (poll(&p, 1, timeout_ms) < 0 && errno != EINTR)
                die("poll");
        if (p.revents & (POLLIN | POLLHUP | POLLERR))
                read_in(h);
}

bool host_until(Host *h, bool (*done)(Host *, void *), void *userdata, int timeout_ms) {
        int64_t deadline = now_ms() + timeout_ms;

        while (!done(h, userdata)) {
                int64_t left = deadline - now_ms();

                if (left <= 0)
                        return false;
                if (h->gone)
                        return false;
                step(h, (int)left);
        }
        write_out(h);
        return true;
}

static bool is_up(Host *h, void *userdata) {
        return session_is_up(h->session);
}

bool host_until_up(Host *h, int timeout_ms) {
        return host_until(h, is_up, NULL, timeout_ms);
}

typedef struct Wanted {
        uint32_t channel;
        size_t n;
} Wanted;

static bool has_eof(Host *h, void *userdata) {
        return h->channels[*(uint32_t *)userdata].eof;
}

bool host_until_eof(Host *h, uint32_t channel, int timeout_ms) {
        return host_until(h, has_eof, &channel, timeout_ms);
}

static bool has_got(Host *h, void *userdata) {
        Wanted *w = userdata;

        return h->channels[w->channel].got.len >= w->n;
}

bool host_until_got(Host *h, uint32_t channel, size_t n, int timeout_ms) {
        Wanted w = { channel, n };

        return host_until(h, has_got, &w, timeout_ms);
}

static bool is_gone(Host *h, void *userdata) {
        return h->gone;
}

bool host_until_gone(Host *h, int timeout_ms) {
        return host_until(h, is_gone, NULL, timeout_ms) || h->gone;
}

size_t host_try_send(Host *h, uint32_t channel, const void *p, size_t n) {
        ssize_t k = session_write(h->session, channel, p, n);

        if (k < 0) {
                errno = (int)-k;
                die("cannot send");
        }
        write_out(h);
        return (size_t)k;
}

void host_send(Host *h, uint32_t channel, const void *p, size_t n) {
        const uint8_t *at = p;

        while (n > 0) {
                size_t k = host_try_send(h, channel, at, n);

                at += k;
                n -= k;
                if (n > 0)
                        step(h, 1000);
                if (h->gone)
                        die("the guest went away while sending");
        }
}

void host_close(Host *h, uint32_t channel) {
        (void)session_shutdown(h->session, channel, NULL);
        write_out(h);
}

void host_drop(Host *h, uint32_t channel) {
        session_drop(h->session, channel);
        write_out(h);
}

void host_unstall(Host *h, uint32_t channel) {
        h->channels[channel].stalled = false;
        session_taken(h->session, channel);
        write_out(h);
}

void host_cut(Host *h) {
        drop(h);
}

void host_reconnect(Host *h) {
        Error err = ERROR_INIT;

        if (session_raise_epoch(h->session, session_epoch(h->session) + 1, &err) < 0)
                die(err.text);
        h->gone = false;
        connect_port(h);
        write_out(h);
}

uint64_t host_begin(Host *h, ToGuest *request) {
        _cleanup_buf_ Buf b = {};

        request->call_id = h->next_call++;
        if (request->call_id >= CALLS_MAX || message_pack(&request->base, &b) < 0)
                die("too many calls");
        host_send(h, 0, b.data, b.len);
        return request->call_id;
}

static bool is_answered(Host *h, void *userdata) {
        return h->replies[*(uint64_t *)userdata] != NULL;
}

FromGuest *host_end(Host *h, uint64_t call, int timeout_ms) {
        FromGuest *m;

        if (!host_until(h, is_answered, &call, timeout_ms))
                return NULL;
        m = h->replies[call];
        h->replies[call] = NULL;
        return m;
}

bool host_has_reply(Host *h, uint64_t call) {
        return h->answered[call] > 0;
}

unsigned host_replies(Host *h, uint64_t call) {
        return h->answered[call];
}

unsigned host_ooms(Host *h) {
        return h->ooms;
}

FromGuest *host_call(Host *h, ToGuest *request) {
        return host_end(h, host_begin(h, request), 30000);
}

void host_reply_free(FromGuest *reply) {
        if (reply)
                protobuf_c_message_free_unpacked(&reply->base, NULL);
}
