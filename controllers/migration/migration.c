/* SPDX-License-Identifier: Apache-2.0 */
/* The object, and the calls that come before the transfer. */
#include "controllers/migration/migration.h"

#include <assert.h>
#include <string.h>

#include "controllers/ids.h"
#include "controllers/migration/internal.h"
#include "lib/log.h"

int migration_new(const char *pod, const JournalRecord *last, const MigrationOps *ops,
                  void *userdata, Migration **ret, Error *reterr) {
        Migration *m;
        int r;

        r = id_check("pod", pod, reterr);
        if (r < 0)
                return r;
        m = calloc(1, sizeof(*m));
        if (!m)
                return error_oom(reterr);
        m->ops = ops;
        m->u = userdata;
        memcpy(m->pod, pod, strlen(pod) + 1);
        m->fsm = FSM_INIT(&migration_fsm, MIGRATION_IDLE, m->pod);
        m->epoch = 1;
        if (last && last->kind != JOURNAL_NONE) {
                m->last = *last;
                m->last.payload = NULL;
                m->last.payload_len = 0;
                m->epoch = last->epoch;
        }
        migration_options_init(&m->options);
        *ret = m;
        return 0;
}

Migration *migration_free(Migration *m) {
        if (!m)
                return NULL;
        assert(!migration_in_flight(m));
        return migration_abandon(m);
}

Migration *migration_abandon(Migration *m) {
        if (!m)
                return NULL;
        for (int t = 0; t < _MIGRATION_TIMER_MAX; t++)
                m->ops->timer(m->u, (MigrationTimer)t, 0);
        buf_done(&m->exported);
        buf_done(&m->handoff);
        free(m->disks);
        free(m);
        return NULL;
}

MigrationState migration_state(const Migration *m) {
        return (MigrationState)m->fsm.state;
}

const Fsm *migration_get_fsm(const Migration *m) {
        return &m->fsm;
}

MigrationRole migration_role(const Migration *m) {
        return m->role;
}

const char *migration_session(const Migration *m) {
        return m->session;
}

bool migration_in_postcopy(const Migration *m) {
        return m->role == MIGRATION_SOURCE && m->domain.state == MIGRATION_AT_POSTCOPY;
}

/* libvirt may have given it up (its peer was silent for too long) while QEMU has not: what counts
 * is whether QEMU's stream is there. */
bool migration_carries_postcopy(const Migration *m) {
        if (!m->begun || m->settled || !m->streams)
                return false;
        return m->role == MIGRATION_SOURCE
                       ? m->postcopy && migration_state(m) == MIGRATION_SWITCHOVER
                       : m->options.postcopy && m->outcome == MIGRATION_OUTCOME_MOVED && !m->whole;
}

uint64_t migration_epoch(const Migration *m) {
        return m->epoch;
}

MigrationOutcome migration_outcome(const Migration *m) {
        return m->outcome;
}

const Error *migration_error(const Migration *m) {
        return &m->error;
}

bool migration_guest_ended(const Migration *m) {
        return m->outcome == MIGRATION_OUTCOME_LOST && m->died;
}

bool migration_is_active(const Migration *m) {
        return migration_state(m) != MIGRATION_IDLE;
}

bool migration_in_flight(const Migration *m) {
        return m->op != OP_NONE || m->migrating || m->aborting || m->call_busy || m->tunes > 0;
}

const MigrationHistory *migration_history(const Migration *m) {
        return &m->history;
}

void migration_move(Migration *m, MigrationState next) {
        if (migration_state(m) == next)
                return;
        fsm_must(&m->fsm, next);
        migration_changed(m);
}

void migration_forget(Migration *m) {
        char pod[JOURNAL_NAME_MAX];

        memcpy(pod, m->pod, sizeof(pod));
        for (int t = 0; t < _MIGRATION_TIMER_MAX; t++)
                m->ops->timer(m->u, (MigrationTimer)t, 0);
        buf_done(&m->exported);
        buf_done(&m->handoff);
        free(m->disks);
        /* The object, its journal's last record, the history and the call that does it stay. */
        *m = (Migration){
                .ops = m->ops,
                .u = m->u,
                .fsm = m->fsm,
                .epoch = m->epoch,
                .last = m->last,
                .history = m->history,
                .pumping = m->pumping,
                .call_busy = m->call_busy,
                .call_inside = m->call_inside,
                .call = m->call,
                .call_done = m->call_done,
                .call_job = m->call_job,
        };
        memcpy(m->pod, pod, sizeof(pod));
        migration_options_init(&m->options);
        migration_options_init(&m->live);
}

int migration_same_session(const Migration *m, const char *session, Error *reterr) {
        if (!session || strcmp(session, m->session) != 0) {
                if (!m->session[0])
                        return error_setf(reterr, -EINVAL, "no migration session \"%.76s\" here",
                                          session ?: "");
                return error_setf(reterr, -EINVAL,
                                  "session \"%.76s\" is not the one under way (%s)", session ?: "",
                                  m->session);
        }
        return 0;
}

/* For the calls that begin a session: 1 begin, 0 the same again, < 0 refused. */
static int ask_begin(const Migration *m, const char *session, MigrationCall c, Error *reterr) {
        int r;

        r = id_check("session", session, reterr);
        if (r < 0)
                return r;
        if (migration_state(m) != MIGRATION_IDLE && strcmp(session, m->session) != 0)
                return error_setf(reterr, -EBUSY, "%s: migration session %s is under way (%s)",
                                  migration_call_name(c), m->session, fsm_name(&m->fsm));
        return migration_ask(m, c, reterr);
}

/* For the others: the session, then the table, then that no other call waits. */
static int ask(const Migration *m, const char *session, MigrationCall c, Error *reterr) {
        int r;

        r = migration_same_session(m, session, reterr);
        if (r < 0)
                return r;
        r = migration_ask(m, c, reterr);
        if (r > 0 && m->call_busy)
                return error_setf(reterr, -EBUSY, "%s: %s is still at work", migration_call_name(c),
                                  migration_call_name(m->call));
        return r;
}

void migration_call_begin(Migration *m, MigrationCall c, OpDone done, void *job) {
        assert(!m->call_busy);
        m->call_busy = true;
        m->call_inside = true;
        m->call = c;
        m->call_done = done;
        m->call_job = job;
}

void migration_call_end(Migration *m, int r, const Error *err) {
        OpDone done = m->call_done;

        assert(m->call_busy);
        m->call_busy = false;
        m->call_done = NULL;
        if (m->call_inside) {
                m->call_result = r;
                m->call_error = err ? *err : ERROR_INIT;
        } else if (done) {
                done(m->call_job, r, NULL, err);
        }
}

int migration_call_leave(Migration *m, Error *reterr) {
        m->call_inside = false;
        if (m->call_busy)
                return 1;
        if (m->call_result < 0 && reterr)
                *reterr = m->call_error;
        return m->call_result;
}

int migration_check(const Migration *m, MigrationRole role, const MigrationOptions *o,
                    Error *reterr) {
        int r;

        if (migration_state(m) != MIGRATION_IDLE) {
                if (role != m->role)
                        return error_setf(reterr, -EBADFD,
                                          "Check: this side is the %s of session %s",
                                          migration_role_name(m->role), m->session);
                r = migration_ask(m, MIGRATION_CALL_CHECK, reterr);
                if (r < 0)
                        return r;
        }
        return migration_options_check(o, reterr);
}

static int collect(Migration *m, const char *session, MigrationExport *e, Error *reterr) {
        int r;

        memcpy(e->session, session, strlen(session) + 1);
        memcpy(e->pod, m->pod, sizeof(e->pod));
        e->epoch = m->epoch;
        r = m->ops->facts(m->u, &e->facts, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "facts");
        r = m->ops->save(m->u, &e->tree, reterr);
        return r < 0 ? error_prefix(reterr, r, "save") : 0;
}

int migration_export(Migration *m, const char *session, Buf *ret, Error *reterr) {
        _cleanup_(migration_export_done) MigrationExport e = {};
        int r;

        r = ask_begin(m, session, MIGRATION_CALL_EXPORT, reterr);
        if (r < 0)
                return r;
        if (r == 0)
                return buf_append(ret, m->exported.data, m->exported.len) < 0 ? error_oom(reterr)
                                                                              : 0;
        r = m->ops->freeze(m->u, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "freeze");
        m->role = MIGRATION_SOURCE;
        memcpy(m->session, session, strlen(session) + 1);
        migration_move(m, MIGRATION_SOURCE_PREPARED);
        migration_phase_begin(m, MIGRATION_PHASE_EXPORT);
        r = collect(m, session, &e, reterr);
        if (r == 0)
                r = migration_export_seal(&e, &m->exported, reterr);
        if (r == 0 && buf_append(ret, m->exported.data, m->exported.len) < 0)
                r = error_oom(reterr);
        if (r < 0) {
                migration_phase_end(m, MIGRATION_FAILED_HERE, error_text(reterr, r));
                m->ops->thaw(m->u);
                migration_move(m, MIGRATION_IDLE);
                migration_forget(m);
                return r;
        }
        m->frozen = true;
        m->source_epoch = m->epoch;
        m->guest_mib = e.facts.memory_mib;
        memcpy(m->source_pod, m->pod, sizeof(m->source_pod));
        migration_move(m, MIGRATION_SOURCE_EXPORTED);
        return 0;
}

/* An envelope of an epoch that this host has already left behind is a stale one. */
static int check_epoch(const Migration *m, uint64_t epoch, Error *reterr) {
        bool refused = m->last.kind == JOURNAL_NONE || m->last.kind == JOURNAL_REFUSED;

        if (m->last.kind != JOURNAL_NONE && m->last.epoch > epoch + (refused ? 1 : 0))
                return error_setf(reterr, -EINVAL,
                                  "stale export: its epoch is %llu, this host's journal is at %llu",
                                  (unsigned long long)epoch, (unsigned long long)m->last.epoch);
        return 0;
}

int migration_import(Migration *m, const char *session, const char *pod, const void *p, size_t n,
                     Error *reterr) {
        _cleanup_(migration_export_done) MigrationExport e = {};
        int r;

        r = ask_begin(m, session, MIGRATION_CALL_IMPORT, reterr);
        if (r < 0)
                return r;
        if (r == 0) {
                if (n != m->exported.len || memcmp(p, m->exported.data, n) != 0)
                        return error_setf(reterr, -EINVAL,
                                          "Import: another envelope was imported in this session");
                return 0;
        }
        if (pod[0]) {
                r = id_check("pod", pod, reterr);
                if (r < 0)
                        return r;
        }
        r = migration_export_open(p, n, &e, reterr);
        if (r == 0 && strcmp(e.session, session) != 0)
                r = error_setf(reterr, -EINVAL, "the envelope is of session %s", e.session);
        if (r == 0)
                r = check_epoch(m, e.epoch, reterr);
        if (r == 0 && buf_append(&m->exported, p, n) < 0)
                r = error_oom(reterr);
        if (r == 0)
                r = m->ops->import(m->u, pod[0] ? pod : e.pod, &e.tree, reterr);
        if (r < 0) {
                buf_done(&m->exported);
                return error_prefix(reterr, r, "import");
        }
        m->role = MIGRATION_DESTINATION;
        m->tree = true;
        memcpy(m->session, session, strlen(session) + 1);
        memcpy(m->source_pod, e.pod, sizeof(m->source_pod));
        memcpy(m->peer_name, e.facts.hostname, sizeof(e.facts.hostname));
        m->source_epoch = e.epoch;
        m->guest_mib = e.facts.memory_mib;
        migration_phase_begin(m, MIGRATION_PHASE_IMPORT);
        migration_move(m, MIGRATION_DESTINATION_IMPORTED);
        return 0;
}

static void patch_done(void *userdata, int r, const void *result, const Error *err) {
        migration_call_end(userdata, r, err);
}

int migration_patch(Migration *m, const char *session, const char *container, const void *patch,
                    OpDone done, void *job, Error *reterr) {
        int r;

        r = ask(m, session, MIGRATION_CALL_PATCH, reterr);
        if (r < 0)
                return r;
        r = id_check("source container", container, reterr);
        if (r < 0)
                return r;
        migration_phase_begin(m, MIGRATION_PHASE_PATCH);
        migration_call_begin(m, MIGRATION_CALL_PATCH, done, job);
        r = m->ops->patch(m->u, container, patch, patch_done, m, reterr);
        if (r <= 0)
                patch_done(m, r, NULL, reterr);
        return migration_call_leave(m, reterr);
}

static void prepare_done(void *userdata, int r, const void *result, const Error *err) {
        Migration *m = userdata;

        if (r < 0) {
                migration_phase_end(m, MIGRATION_FAILED_HERE, error_text(err, r));
        } else {
                migration_phase_end(m, MIGRATION_SUCCEEDED, NULL);
                migration_move(m, MIGRATION_DESTINATION_PREPARED);
        }
        migration_call_end(m, r, err);
}

int migration_prepare(Migration *m, const char *session, OpDone done, void *job, Error *reterr) {
        _cleanup_buf_ Buf missing = {};
        int r;

        r = ask(m, session, MIGRATION_CALL_PREPARE, reterr);
        if (r <= 0)
                return r;
        r = m->ops->unpatched(m->u, &missing);
        if (r < 0)
                return error_setf(reterr, r, "Prepare: looking for containers without Patch");
        if (r > 0)
                return error_setf(reterr, -EBADFD, "Prepare: %d container%s not patched yet: %.*s",
                                  r, r == 1 ? " is" : "s are",
                                  (int)MIN_OF(missing.len, (size_t)300),
                                  missing.len ? (const char *)missing.data : "");
        migration_phase_begin(m, MIGRATION_PHASE_PREPARE);
        m->prepared = true; /* even what failed half way is cleaned up */
        migration_call_begin(m, MIGRATION_CALL_PREPARE, done, job);
        r = m->ops->prepare(m->u, prepare_done, m, reterr);
        if (r <= 0)
                prepare_done(m, r, NULL, reterr);
        return migration_call_leave(m, reterr);
}

int migration_register_socket(Migration *m, const char *session, Error *reterr) {
        MigrationState s = migration_state(m);
        int r;

        r = migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, MIGRATION_CALL_REGISTER_SOCKET, reterr);
        if (r < 0)
                return r;
        if (m->up)
                return error_setf(reterr, -EEXIST, "RegisterSocket: there is a transport in use");
        m->socket = true;
        if (s == MIGRATION_SOURCE_EXPORTED || s == MIGRATION_DESTINATION_PREPARED) {
                migration_phase_begin(m, MIGRATION_PHASE_CONNECT);
                migration_move(m, MIGRATION_TRANSPORT_READY);
        }
        return 0;
}

void migration_identity(const Migration *m, JournalRecord *ret) {
        *ret = (JournalRecord){ .mode = (uint8_t)m->options.handover,
                                .epoch = m->source_epoch + (m->role == MIGRATION_DESTINATION) };
        memcpy(ret->session, m->session, sizeof(ret->session));
        memcpy(ret->pod, m->source_pod, sizeof(ret->pod));
        memcpy(ret->peer, m->peer_name, sizeof(ret->peer));
}

MigrationRole migration_last_role(const Migration *m) {
        return journal_kind_is_destinations(m->last.kind) ? MIGRATION_DESTINATION
                                                          : MIGRATION_SOURCE;
}

int migration_reconnect(Migration *m, const char *session, Error *reterr) {
        MigrationState s = migration_state(m);
        int r;

        if (s == MIGRATION_IDLE && m->last.kind != JOURNAL_NONE && session &&
            strcmp(session, m->last.session) == 0) {
                m->socket = true;
                m->up = false;
                return 0;
        }
        r = migration_same_session(m, session, reterr);
        if (r == 0)
                r = migration_ask(m, MIGRATION_CALL_REGISTER_SOCKET, reterr);
        if (r < 0)
                return r;
        if (m->postcopy && (m->migrating || m->streams))
                return error_setf(reterr, -EBADFD,
                                  "Reconnect: it is post-copy, and what is on its way may not be "
                                  "dropped; RegisterSocket replaces a transport that broke");
        if (s == MIGRATION_TRANSFERRING || s == MIGRATION_TRANSPORT_READY ||
            s == MIGRATION_TRANSPORT_WAITING)
                return error_setf(reterr, -EBADFD,
                                  "Reconnect: the transfer is still at work (migration is %s)",
                                  fsm_name(&m->fsm));
        m->socket = true;
        m->up = false;
        return 0;
}
