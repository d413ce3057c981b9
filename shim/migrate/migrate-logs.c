/* SPDX-License-Identifier: Apache-2.0 */
/* The history of every process's output moves along: while memory is copied the source sends its
 * logs in chunks; at the blackout, when nothing can be written any more, it sends what is left, and
 * then, however long that took, the handoff. Both go over one ordered stream, so a handoff that
 * arrives finds complete logs. */
#include <string.h>

#include <peer.pb-c.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

#define CHUNK      (64U << 10)
#define QUEUE_GOAL (512U << 10) /* queued at most */

static int add_cursor(void *userdata, const StdioState *state) {
        Migrate *m = userdata;
        LogCursor *c = &m->logs[m->n_logs];

        *c = (LogCursor){ .guest_id = strdup(state->guest_id),
                          .exec_id = strdup(state->exec_id),
                          .offset = state->log_start };
        m->n_logs++;
        return c->guest_id && c->exec_id ? 0 : -ENOMEM;
}

static int count_cursor(void *userdata, const StdioState *state) {
        ++*(size_t *)userdata;
        return 0;
}

int migrate_logs_begin(Migrate *m, Error *reterr) {
        size_t n = 0;

        migrate_logs_end(m);
        (void)stdio_each(m->shim->stdio, count_cursor, &n);
        m->logs = calloc(MAX_OF(n, (size_t)1), sizeof(*m->logs));
        if (!m->logs)
                return error_oom(reterr);
        if (stdio_each(m->shim->stdio, add_cursor, m) < 0) {
                migrate_logs_end(m);
                return error_oom(reterr);
        }
        return 0;
}

void migrate_logs_end(Migrate *m) {
        migrate_forget_definition(m); /* it comes the same way */
        for (size_t i = 0; i < m->n_logs; i++) {
                free(m->logs[i].guest_id);
                free(m->logs[i].exec_id);
        }
        free(m->logs);
        m->logs = NULL;
        m->n_logs = m->logs_at = 0;
}

static int send_chunk(Migrate *m, LogCursor *c) {
        Podferry__Peer__V1__Peer peer = PODFERRY__PEER__V1__PEER__INIT;
        Podferry__Peer__V1__LogChunk chunk = PODFERRY__PEER__V1__LOG_CHUNK__INIT;
        _cleanup_free_ uint8_t *data = malloc(CHUNK);
        _cleanup_free_ char *pod = strdup(m->shim->pod_id);
        _cleanup_free_ char *session = strdup(migration_session(m->migration));
        uint64_t at = c->offset;
        ssize_t n;
        int r;

        if (!data || !pod || !session)
                return -ENOMEM;
        n = stdio_read_log(m->shim->stdio, c->guest_id, c->exec_id, &at, data, CHUNK);
        if (n <= 0)
                return (int)n;
        chunk.container_id = c->guest_id;
        chunk.exec_id = c->exec_id;
        /* read_log leaves `at` where it began to read: the oldest byte kept, if that was later. */
        chunk.offset = at;
        chunk.data = (ProtobufCBinaryData){ .len = (size_t)n, .data = data };
        peer.pod = pod;
        peer.session = session;
        peer.epoch = migration_epoch(m->migration);
        peer.body_case = PODFERRY__PEER__V1__PEER__BODY_LOG;
        peer.log = &chunk;
        _cleanup_buf_ Buf b = {};
        r = message_pack((const ProtobufCMessage *)&peer, &b);
        if (r < 0)
                return r;
        r = migrate_op_send(m, b.data + 4, b.len - 4);
        if (r < 0)
                return r;
        c->offset = at + (uint64_t)n;
        return 1;
}

int migrate_logs_pump(Migrate *m) {
        while (m->logs_at < m->n_logs) {
                int r;

                if (m->out.len - m->out_at >= QUEUE_GOAL)
                        return -EAGAIN;
                r = send_chunk(m, &m->logs[m->logs_at]);
                if (r < 0) {
                        log_warning("migration: a log could not be sent on: %s",
                                    error_text(NULL, r));
                        return r;
                }
                if (r == 0)
                        m->logs_at++;
        }
        return 0;
}

int migrate_logs_pump_all(Migrate *m) {
        m->logs_at = 0; /* what was written since each was last looked at */
        return migrate_logs_pump(m);
}

int migrate_process_key(Migrate *m, const char *guest_id, const char *exec_id, ProcessKey *ret) {
        Container *c = m->shim->pod ? pod_container_by_guest_id(m->shim->pod, guest_id) : NULL;
        Process *p = NULL;

        if (c)
                p = exec_id[0] ? container_process(c, exec_id) : container_init_process(c);
        if (!p)
                return -ENOENT;
        *ret = (ProcessKey){ .container_id = container_id(c),
                             .guest_id = container_guest_id(c),
                             .exec_id = process_exec_id(p) };
        return 0;
}

void migrate_logs_receive(Migrate *m, const char *guest_id, const char *exec_id, uint64_t offset,
                          const void *p, size_t n) {
        Error err = ERROR_INIT;
        ProcessKey key;
        int r;

        r = migrate_process_key(m, guest_id, exec_id, &key);
        if (r == 0)
                r = stdio_write_log(m->shim->stdio, &key, offset, p, n, &err);
        if (r < 0) /* the handoff will not fit the log, and be refused */
                log_warning("migration: log of %s: %s", guest_id, error_text(&err, r));
}
