/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/guest-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static void drop(GuestRig *g) {
        g->io = sd_event_source_disable_unref(g->io);
        if (g->fd >= 0)
                session_detach(g->session);
        g->fd = close_fd(g->fd);
}

void guest_rig_flush(GuestRig *g) {
        struct iovec iov[16];
        int n;

        while (g->fd >= 0 && (n = session_output(g->session, iov, 16)) > 0) {
                struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
                ssize_t written = sendmsg(g->fd, &m, MSG_NOSIGNAL);

                if (written < 0)
                        return;
                session_output_done(g->session, (size_t)written);
        }
}

void guest_rig_answer(GuestRig *g, uint64_t call) {
        FromGuest m = PODFERRY__GUEST__V1__FROM_GUEST__INIT;
        Podferry__Guest__V1__InfoReply info = PODFERRY__GUEST__V1__INFO_REPLY__INIT;
        char version[] = "rig", why[] = "no such luck";
        Buf b = {};

        info.version = version;
        m.call_id = call;
        m.code = g->code;
        if (g->code < 0) {
                m.error = why;
        } else {
                m.body_case = PODFERRY__GUEST__V1__FROM_GUEST__BODY_INFO;
                m.info = &info;
        }
        (void)message_pack(&m.base, &b);
        (void)session_write(g->session, 0, b.data, b.len);
        buf_done(&b);
        guest_rig_flush(g);
}

static int on_request(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        ToGuest *m = podferry__guest__v1__to_guest__unpack(NULL, n, p);
        GuestRig *g = userdata;

        if (!m)
                return -EBADMSG;
        g->requests++;
        g->last_call = m->call_id;
        podferry__guest__v1__to_guest__free_unpacked(m, NULL);
        if (!g->mute)
                guest_rig_answer(g, g->last_call);
        return 0;
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        GuestRig *g = userdata;

        if (channel == 0)
                (void)message_reader_feed(&g->reader, p, n, on_request, g, NULL);
        else
                (void)buf_append(&g->channel_data, p, n);
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        GuestRig *g = userdata;

        g->ended = channel;
}

static void on_wake(void *userdata) {
}

static const SessionOps ops = { .data = on_data, .eof = on_eof, .wake = on_wake };

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        static uint8_t buffer[65536];
        GuestRig *g = userdata;
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n > 0 && !g->hears)
                return 0;
        if (n <= 0 || session_input(g->session, buffer, (size_t)n, NULL) < 0)
                drop(g);
        else
                guest_rig_flush(g);
        return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        GuestRig *g = userdata;

        drop(g);
        g->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (g->fd < 0)
                return 0;
        g->accepted++;
        (void)sd_event_add_io(g->event, &g->io, g->fd, EPOLLIN, on_io, g);
        g->hears = g->deaf == 0;
        if (!g->hears) {
                g->deaf--;
                return 0;
        }
        session_attach(g->session);
        guest_rig_flush(g);
        return 0;
}

static void listen_again(GuestRig *g) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", g->path);
        (void)unlink(g->path);
        g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(g->listen_fd >= 0);
        assert_int_equal(bind(g->listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(listen(g->listen_fd, 4), 0);
        assert_true(sd_event_add_io(g->event, &g->listener, g->listen_fd, EPOLLIN, on_connection,
                                    g) >= 0);
}

void guest_rig_up(GuestRig *g, sd_event *event) {
        SessionConfig config = { .role = SESSION_GUEST };

        *g = (GuestRig){ .event = event, .fd = -EBADF, .listen_fd = -EBADF };
        (void)snprintf(g->directory, sizeof(g->directory), "/tmp/podferry-rig-XXXXXX");
        assert_non_null(mkdtemp(g->directory));
        (void)snprintf(g->path, sizeof(g->path), "%s/link.sock", g->directory);
        assert_int_equal(session_new(&config, &ops, g, &g->session, NULL), 0);
        listen_again(g);
}

void guest_rig_stop_listening(GuestRig *g) {
        g->listener = sd_event_source_disable_unref(g->listener);
        g->listen_fd = close_fd(g->listen_fd);
        (void)unlink(g->path);
}

void guest_rig_cut(GuestRig *g) {
        drop(g);
}

void guest_rig_down(GuestRig *g) {
        drop(g);
        guest_rig_stop_listening(g);
        (void)rmdir(g->directory);
        session_free(g->session);
        message_reader_done(&g->reader);
        buf_done(&g->channel_data);
}

void guest_rig_until(GuestRig *g, const unsigned *what, unsigned wanted) {
        for (unsigned i = 0; *what < wanted && i < 2000; i++) {
                assert_true(sd_event_run(g->event, 10000) >= 0);
                guest_rig_flush(g);
        }
        assert_true(*what >= wanted);
}

void guest_rig_run(GuestRig *g, unsigned turns) {
        for (unsigned i = 0; i < turns; i++) {
                assert_true(sd_event_run(g->event, 2000) >= 0);
                guest_rig_flush(g);
        }
}
