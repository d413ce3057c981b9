/* SPDX-License-Identifier: Apache-2.0 */
/* The ferry of a migration, and the messages of the two shims on its channel 1. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <peer.pb-c.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

/* A peer that has not heard yet that the import was given up goes on sending what belongs to it. */
static bool has_import(const Migrate *m) {
        return migration_role(m->migration) == MIGRATION_DESTINATION &&
               migration_is_active(m->migration) && m->shim->pod && !m->shim->ending;
}

/* False: it is no message about the pod, but one of the hand-over. */
static bool take_of_pod(Migrate *m, const Podferry__Peer__V1__Peer *peer) {
        bool log = peer->body_case == PODFERRY__PEER__V1__PEER__BODY_LOG && peer->log;
        bool definition =
                peer->body_case == PODFERRY__PEER__V1__PEER__BODY_DEFINITION && peer->definition;

        if (log && has_import(m))
                migrate_logs_receive(m, peer->log->container_id, peer->log->exec_id,
                                     peer->log->offset, peer->log->data.data, peer->log->data.len);
        else if (definition && has_import(m))
                migrate_take_definition(m, peer->definition);
        return log || definition;
}

static int on_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        Podferry__Peer__V1__Peer *peer;
        Migrate *m = userdata;

        peer = podferry__peer__v1__peer__unpack(NULL, n, p);
        if (!peer)
                return error_setf(reterr, -EBADMSG, "a message of %zu bytes that does not parse",
                                  n);
        if (!take_of_pod(m, peer))
                migration_on_peer(m->migration, p, n);
        podferry__peer__v1__peer__free_unpacked(peer, NULL);
        return m->ferry ? 0 : -ECANCELED; /* what it said may have ended the session */
}

static void watch_writable(Migrate *m) {
        uint32_t events = EPOLLIN | (m->out_at < m->out.len ? (uint32_t)EPOLLOUT : 0U);

        if (m->ferry_messages)
                (void)sd_event_source_set_io_events(m->ferry_messages, events);
}

void migrate_flush(Migrate *m) {
        while (m->ferry && m->out_at < m->out.len) {
                ssize_t n = send(ferry_message_fd(m->ferry), m->out.data + m->out_at,
                                 m->out.len - m->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break; /* EAGAIN, or the ferry failed: its event says so */
                m->out_at += (size_t)n;
        }
        if (m->out_at == m->out.len)
                m->out.len = m->out_at = 0;
        else if (m->out_at > (1U << 20)) {
                buf_consume(&m->out, m->out_at);
                m->out_at = 0;
        }
        watch_writable(m);
}

int migrate_op_send(void *u, const void *peer, size_t n) {
        Migrate *m = u;
        uint8_t head[4];

        if (!m->ferry)
                return -ENOTCONN;
        if (m->out.len - m->out_at + n > MIGRATE_OUT_MAX)
                return -EAGAIN;
        for (unsigned i = 0; i < 4; i++)
                head[i] = (uint8_t)(n >> (8 * i));
        if (buf_reserve(&m->out, n + 4) < 0)
                return -ENOMEM;
        (void)buf_append(&m->out, head, 4);
        (void)buf_append(&m->out, peer, n);
        migrate_flush(m);
        return 0;
}

static int on_ferry_messages(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Migrate *m = userdata;
        uint8_t buf[64 << 10];
        Error err = ERROR_INIT;
        Ferry *ferry = m->ferry;
        MessageReader reader;
        ssize_t n;
        int r;

        if (revents & EPOLLOUT) {
                migrate_flush(m);
                if (migrate_logs_pump(m) == 0 && m->checkpoint_waits)
                        migration_look_again(m->migration);
                if (m->ferry != ferry) /* which may end the session, and all that belongs to it */
                        return 0;
        }
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                return 0;
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) { /* the peer has nothing more to say; the ferry's events tell the rest */
                (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
                return 0;
        }
        reader = m->reader; /* a message may end the session, and all that belongs to it */
        m->reader = (MessageReader){};
        r = message_reader_feed(&reader, buf, (size_t)n, on_message, m, &err);
        if (m->ferry != ferry) {
                message_reader_done(&reader);
                return 0;
        }
        m->reader = reader;
        if (r < 0) {
                log_warning("the peer broke the rules: %s", error_text(&err, r));
                (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
                migration_on_transport(m->migration, false, &err);
        }
        return 0;
}

/* What a post-copy needs of the connections that are carried. */
static void look_at_streams(Migrate *m) {
        FerryCounters c;
        uint32_t n = 0;

        if (!m->migration)
                return;
        if (m->ferry) {
                ferry_counters(m->ferry, &c);
                n = c.kind[FERRY_MEMORY].open;
                if (migration_role(m->migration) == MIGRATION_DESTINATION)
                        n += c.kind[FERRY_LIBVIRT].open;
        }
        migration_on_streams(m->migration, n > 0);
}

static int on_ferry_events(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Migrate *m = userdata;
        FerryEvent e;

        while (m->ferry && ferry_next_event(m->ferry, &e)) {
                switch (e.type) {
                case FERRY_EVENT_UP:
                        log_info("migration: the transport is up");
                        migration_on_transport(m->migration, true, NULL);
                        break;
                case FERRY_EVENT_LOST:
                case FERRY_EVENT_FAILED:
                        log_warning("migration: the transport is gone: %s",
                                    error_text(&e.error, e.error.code));
                        migration_on_transport(m->migration, false, &e.error);
                        if (e.type == FERRY_EVENT_FAILED)
                                migrate_abort_libvirt(m);
                        migrate_said_all(m);
                        if (!migration_is_active(m->migration))
                                migrate_ferry_stop(m); /* all was said that there was to say */
                        break;
                case FERRY_EVENT_REFUSED:
                        log_warning("migration: no %s connection: %s", ferry_kind_name(e.kind),
                                    error_text(&e.error, e.error.code));
                        break;
                case FERRY_EVENT_GATE:
                        migrate_on_gate(m, &e.error);
                        break;
                case FERRY_EVENT_CLOSED:
                        migrate_abort_libvirt(m);
                        break;
                case FERRY_EVENT_SENT:
                        migrate_said_all(m);
                        break;
                case FERRY_EVENT_CONNECTED:
                        if (e.kind == FERRY_MEMORY)
                                migrate_pace_memory(m);
                        break;
                case FERRY_EVENT_ENDED:
                        break;
                }
                look_at_streams(m);
        }
        return 0;
}

int migrate_ferry(Migrate *m, Ferry **ret, Error *reterr) {
        MigrationRole role = migration_is_active(m->migration) ? migration_role(m->migration)
                                                               : migration_last_role(m->migration);
        FerryConfig config = { .role = role == MIGRATION_SOURCE ? FERRY_SOURCE
                                                                : FERRY_DESTINATION };
        int r;

        if (m->ferry) {
                *ret = m->ferry;
                return 0;
        }
        if (config.role == FERRY_SOURCE &&
            sd_id128_randomize((sd_id128_t *)(void *)config.session_id) < 0)
                return error_setf(reterr, -EIO, "no random numbers to be had");
        r = ferry_new(&config, &m->ferry, reterr);
        if (r < 0)
                return r;
        if (sd_event_add_io(m->shim->event, &m->ferry_events, ferry_event_fd(m->ferry), EPOLLIN,
                            on_ferry_events, m) < 0 ||
            sd_event_add_io(m->shim->event, &m->ferry_messages, ferry_message_fd(m->ferry), EPOLLIN,
                            on_ferry_messages, m) < 0) {
                migrate_ferry_stop(m);
                return error_oom(reterr);
        }
        watch_writable(m);
        *ret = m->ferry;
        return 0;
}

void migrate_ferry_stop(Migrate *m) {
        m->ferry_events = sd_event_source_disable_unref(m->ferry_events);
        m->ferry_messages = sd_event_source_disable_unref(m->ferry_messages);
        m->ferry = ferry_free(m->ferry);
        look_at_streams(m);
        m->out.len = m->out_at = 0;
        buf_done(&m->out);
        buf_done(&m->reader.buf);
}
