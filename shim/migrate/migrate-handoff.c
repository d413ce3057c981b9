/* SPDX-License-Identifier: Apache-2.0 */
/* The handoff: what moved while memory was copied. Made by the source at the blackout, adopted by
 * the destination before its guest runs. */
#include <string.h>

#include "shim/migrate/handoff.h"
#include "shim/migrate/migrate-internal.h"

/* Grows by one a repeated field of messages; the new element is initialised by the caller. */
static void *grow(void *array, size_t *n, size_t size, void **ret) {
        void **list = *(void ***)array, **more;
        void *one = calloc(1, size);

        if (!one)
                return NULL;
        more = reallocarray(list, *n + 1, sizeof(*more));
        if (!more) {
                free(one);
                return NULL;
        }
        more[(*n)++] = one;
        *(void ***)array = more;
        *ret = one;
        return one;
}

static int set_exit(HandoffExit *e, const char *guest_id, const char *exec_id,
                    const ProcessExit *x) {
        podferry__state__v1__handoff_exit__init(e);
        e->guest_id = strdup(guest_id);
        e->exec_id = strdup(exec_id);
        e->code = x->code;
        e->exited_at_ns = x->exited_at_ns;
        return e->guest_id && e->exec_id ? 0 : -ENOMEM;
}

static int add_stdio(void *userdata, const StdioState *state) {
        Handoff *h = userdata;
        HandoffStdio *s;
        void *p;

        if (!grow(&h->stdio, &h->n_stdio, sizeof(*s), &p))
                return -ENOMEM;
        s = p;
        podferry__state__v1__handoff_stdio__init(s);
        s->guest_id = strdup(state->guest_id);
        s->exec_id = strdup(state->exec_id);
        s->log_start = state->log_start;
        s->log_end = state->log_end;
        s->stdin_taken = state->stdin_taken;
        s->stdin_closed = state->stdin_closed;
        s->out_ended = state->out_ended;
        s->err_ended = state->err_ended;
        if (state->has_exit) {
                s->exit = calloc(1, sizeof(*s->exit));
                if (!s->exit ||
                    set_exit(s->exit, state->guest_id, state->exec_id, &state->exit) < 0)
                        return -ENOMEM;
        }
        return s->guest_id && s->exec_id ? 0 : -ENOMEM;
}

static int add_exit(void *userdata, const PodExit *x) {
        Handoff *h = userdata;
        void *p;

        if (!grow(&h->exits, &h->n_exits, sizeof(HandoffExit), &p))
                return -ENOMEM;
        return set_exit(p, x->guest_id, x->exec_id, &x->exit);
}

static ProtobufCBinaryData give(Buf *b) {
        ProtobufCBinaryData d = { .len = b->len, .data = b->data };

        *b = (Buf){};
        return d;
}

static int fill(Migrate *m, Handoff *h, Error *reterr) {
        _cleanup_buf_ Buf link = {}, in = {}, out = {};
        Shim *s = m->shim;
        int r;

        r = session_save(guest_link_session(s->link), &link, reterr);
        if (r < 0)
                return r;
        r = guest_rpc_save(s->rpc, &in, &out, reterr);
        if (r < 0)
                return r;
        h->pod_id = strdup(s->pod_id);
        h->epoch = migration_epoch(m->migration);
        h->link = give(&link);
        h->calls_in = give(&in);
        h->calls_out = give(&out);
        h->next_call_id = guest_rpc_next_call(s->rpc);
        if (!h->pod_id || stdio_each(s->stdio, add_stdio, h) < 0 ||
            pod_each_pending_exit(s->pod, add_exit, h) < 0)
                return error_oom(reterr);
        return 0;
}

int migrate_save_own(Migrate *m, Buf *ret, Error *reterr) {
        _cleanup_(handoff_freep) Handoff *h = NULL;
        int r;

        if (!guest_link_session(m->shim->link))
                return error_setf(reterr, -EBADFD, "there is no guest link to hand over");
        h = calloc(1, sizeof(*h));
        if (!h)
                return error_oom(reterr);
        podferry__state__v1__handoff__init(h);
        r = fill(m, h, reterr);
        return r < 0 ? r : handoff_seal(h, ret, reterr);
}

int migrate_op_checkpoint(void *u, Buf *ret, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;
        int r;

        if (m->adopted) /* the guest was not spoken to since */
                return migrate_save_link(m, ret, reterr);
        if (guest_link_session(s->link) && !m->checkpointed) {
                guest_link_drain(s->link);
                stdio_hub_freeze(s->stdio);
                guest_link_hold(s->link);
                session_freeze(guest_link_session(s->link));
                m->checkpointed = true;
        }
        r = migrate_logs_pump_all(m);
        if (r == -ENOTCONN) /* the next transport brings us here again */
                r = -EAGAIN;
        m->checkpoint_waits = r == -EAGAIN;
        if (r < 0)
                return error_setf(reterr, r, "the log of a process could not be sent on: %s",
                                  strerrordesc_np(-r));
        return migrate_save_own(m, ret, reterr);
}

void migrate_op_uncheckpoint(void *u) {
        Migrate *m = u;

        m->checkpoint_waits = false;
        if (!m->checkpointed)
                return;
        m->checkpointed = false;
        session_thaw(guest_link_session(m->shim->link));
        stdio_hub_thaw(m->shim->stdio);
        (void)guest_link_release(m->shim->link, NULL);
}

static int put_exit(Migrate *m, const HandoffExit *x, Error *reterr) {
        PodExit e = { .guest_id = x->guest_id,
                      .exec_id = x->exec_id,
                      .exit = { .code = x->code, .exited_at_ns = x->exited_at_ns } };

        return pod_put_exit(m->shim->pod, &e, reterr);
}

/* Whose logs are those on this host? */
typedef enum Logs {
        LOGS_SENT,  /* the source's; they came before the handoff */
        LOGS_FOUND, /* the same, but another shim of this host took them */
        LOGS_OWN,   /* this host's. What its saved tree does not have was being made or removed */
} Logs;

static int put_stdio(Migrate *m, const HandoffStdio *x, Logs logs, Error *reterr) {
        StdioState state = {
                .guest_id = x->guest_id,
                .exec_id = x->exec_id,
                .log_start = x->log_start,
                .log_end = x->log_end,
                .stdin_taken = x->stdin_taken,
                .stdin_closed = x->stdin_closed,
                .out_ended = x->out_ended,
                .err_ended = x->err_ended,
                .has_exit = x->exit,
        };
        ProcessKey key;
        int r;

        if (x->exit)
                state.exit = (ProcessExit){ .code = x->exit->code,
                                            .exited_at_ns = x->exit->exited_at_ns };
        r = migrate_process_key(m, x->guest_id, x->exec_id, &key);
        if (logs == LOGS_OWN || (r == 0 && logs == LOGS_FOUND && m->adopted_at != JOURNAL_NONE))
                return r < 0 ? 0 : stdio_restore(m->shim->stdio, &key, &state, reterr);
        if (r < 0)
                return error_setf(reterr, -EINVAL,
                                  "handoff: stdio: no process \"%.80s\" of \"%.80s\"", x->exec_id,
                                  x->guest_id);
        return stdio_put_state(m->shim->stdio, &key, &state, logs == LOGS_FOUND, reterr);
}

static int take(Migrate *m, const Handoff *h, Logs logs, Error *reterr) {
        Shim *s = m->shim;
        const VmLink *link = vm_imported_link(s->vm);
        Session *session;
        int r;

        if (!link)
                return error_setf(reterr, -EBADFD, "handoff: this VM was not imported");
        r = guest_link_import(s->link, h->link.data, h->link.len, link->session_id,
                              link->next_channel, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "handoff: link");
        session = guest_link_session(s->link);
        r = session_raise_epoch(session, session_epoch(session) + 1, reterr);
        if (r < 0)
                return r;
        guest_rpc_raise_floor(s->rpc, h->next_call_id);
        r = guest_rpc_import(s->rpc, h->calls_in.data, h->calls_in.len, h->calls_out.data,
                             h->calls_out.len, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "handoff: calls");
        for (size_t i = 0; r == 0 && i < h->n_stdio; i++)
                r = put_stdio(m, h->stdio[i], logs, reterr);
        for (size_t i = 0; r == 0 && i < h->n_exits; i++) {
                r = put_exit(m, h->exits[i], reterr);
                if (logs == LOGS_OWN && (r == -ENOENT || r == -EEXIST))
                        r = 0;
        }
        return r;
}

static int take_bytes(Migrate *m, const void *p, size_t n, Logs logs, Error *reterr) {
        _cleanup_(handoff_freep) Handoff *h = NULL;
        int r;

        r = handoff_open(p, n, &h, reterr);
        return r < 0 ? r : take(m, h, logs, reterr);
}

int migrate_take_own(Migrate *m, const void *p, size_t n, Error *reterr) {
        return take_bytes(m, p, n, LOGS_OWN, reterr);
}

int migrate_op_adopt(void *u, const void *handoff, size_t n, Error *reterr) {
        Migrate *m = u;
        int r;

        if (m->handoff.len > 0) {
                if (m->handoff.len == n && memcmp(m->handoff.data, handoff, n) == 0)
                        return 0;
                return error_setf(reterr, -EEXIST, "another handoff was adopted already");
        }
        if (!m->shim->pod)
                return error_setf(reterr, -EBADFD, "handoff: nothing was imported");
        /* A shim before this one may have spoken to the guest already: then that counts. */
        if (m->own_handoff.len > 0)
                r = migrate_take_own(m, m->own_handoff.data, m->own_handoff.len, reterr);
        else
                r = take_bytes(m, handoff, n, m->adopted ? LOGS_FOUND : LOGS_SENT, reterr);
        if (r == 0 && buf_append(&m->handoff, handoff, n) < 0)
                r = error_oom(reterr);
        return r;
}
