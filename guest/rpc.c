/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/rpc.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"

/* How much is given to the reader at a time: it bounds how many requests are answered beyond
 * RPC_OUTPUT_MAX. */
enum { SLICE = 512 };

void rpc_init(Rpc *rpc, Agent *a, Session *s) {
        *rpc = (Rpc){ .agent = a, .session = s, .reader.max = RPC_REQUEST_MAX };
}

const RpcRow *rpc_find(unsigned body) {
        for (size_t i = 0; i < rpc_n_rows; i++)
                if (rpc_rows[i].body == body)
                        return &rpc_rows[i];
        return NULL;
}

static void send_message(Rpc *rpc, const FromGuest *m) {
        int r = message_pack(&m->base, &rpc->output);

        if (r < 0) /* no memory: there is nothing left to tell it with */
                log_err("rpc: cannot pack a message: %s", strerror(-r));
}

void rpc_event(Rpc *rpc, FromGuest *event) {
        if (rpc->output.len > RPC_OUTPUT_EVENTS_MAX) {
                log_warning("rpc: the host does not read: an event is dropped");
                return;
        }
        event->call_id = 0;
        send_message(rpc, event);
}

static void answer(Rpc *rpc, uint64_t id, int code, const Error *err, FromGuest *reply) {
        FromGuest empty = FROM_GUEST_INIT;
        char text[sizeof(err->text)];

        if (code < 0 || !reply)
                reply = &empty;
        reply->call_id = id;
        if (code < 0) {
                (void)snprintf(text, sizeof(text), "%s", error_text(err, code));
                reply->code = code;
                reply->error = text;
        }
        send_message(rpc, reply);
}

static void call_free(Call *c) {
        c->rpc->calls--;
        c->rpc->call_bytes -= c->size;
        protobuf_c_message_free_unpacked(&c->request->base, NULL);
        free(c);
}

void call_finish(Call *c, int code, const Error *err, FromGuest *reply) {
        answer(c->rpc, c->request->call_id, code, err, reply);
        call_free(c);
}

/* Takes the request. */
static int call_new(Rpc *rpc, ToGuest *request, size_t size, Call **ret, Error *reterr) {
        Call *c;

        if (rpc->calls >= RPC_CALLS_MAX || rpc->call_bytes + size > RPC_CALL_BYTES_MAX)
                return error_setf(reterr, -ENOSPC, "the agent works on %u calls already",
                                  rpc->calls);
        c = malloc(sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (Call){ .rpc = rpc, .request = request, .size = size };
        rpc->calls++;
        rpc->call_bytes += size;
        *ret = c;
        return 0;
}

static int dispatch(Rpc *rpc, ToGuest *request, size_t size, Error *reterr) {
        const RpcRow *row = rpc_find(request->body_case);
        Call *c = NULL;
        int r;

        if (!row)
                return error_setf(reterr, -EOPNOTSUPP, "this agent does not know this request");
        r = call_new(rpc, request, size, &c, reterr);
        if (r < 0)
                return r;
        r = row->handle(rpc->agent, c, request, reterr);
        if (r <= 0)
                call_finish(c, r, reterr, NULL);
        return 1;
}

/* A request that parses but is not strictly as it should be still has a call id to answer to. */
static int refuse(Rpc *rpc, const uint8_t *p, size_t n, Error *why) {
        ToGuest *m = podferry__guest__v1__to_guest__unpack(NULL, n, p);

        if (!m) {
                log_warning("rpc: dropped a request: %s", error_text(why, -EBADMSG));
                return 0;
        }
        if (m->call_id == 0)
                log_warning("rpc: dropped a request without a call id");
        else if (m->body_case == TO_GUEST(_NOT_SET))
                answer(rpc, m->call_id, -EOPNOTSUPP, NULL, NULL);
        else
                answer(rpc, m->call_id, -EBADMSG, why, NULL);
        protobuf_c_message_free_unpacked(&m->base, NULL);
        return 0;
}

static int on_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        Rpc *rpc = userdata;
        Error err = ERROR_INIT;
        ToGuest *m;
        int r;

        m = (ToGuest *)message_unpack_strict(&podferry__guest__v1__to_guest__descriptor, p, n,
                                             &err);
        if (!m)
                return refuse(rpc, p, n, &err);
        if (m->call_id == 0) {
                log_warning("rpc: dropped a request without a call id");
                protobuf_c_message_free_unpacked(&m->base, NULL);
                return 0;
        }
        r = dispatch(rpc, m, n, &err);
        if (r < 0) { /* it did not become a call */
                answer(rpc, m->call_id, r, &err, NULL);
                protobuf_c_message_free_unpacked(&m->base, NULL);
        }
        return 0;
}

size_t rpc_data(Rpc *rpc, const void *p, size_t n) {
        size_t room = RPC_INPUT_MAX - MIN_OF(rpc->input.len, (size_t)RPC_INPUT_MAX);
        size_t k = MIN_OF(n, room);

        if (rpc->broken)
                return n;
        if (k > 0 && buf_append(&rpc->input, p, k) < 0)
                k = 0;
        rpc->refused = k < n;
        return k;
}

static void handle_input(Rpc *rpc) {
        size_t used = 0;

        while (used < rpc->input.len && rpc->output.len <= RPC_OUTPUT_MAX && !rpc->broken) {
                size_t k = MIN_OF(rpc->input.len - used, (size_t)SLICE);
                Error err = ERROR_INIT;
                int r;

                r = message_reader_feed(&rpc->reader, rpc->input.data + used, k, on_message, rpc,
                                        &err);
                used += k;
                if (r < 0) {
                        log_err("rpc: channel 0 is not understood any more: %s",
                                error_text(&err, r));
                        rpc->broken = true;
                }
        }
        if (rpc->broken)
                used = rpc->input.len;
        buf_consume(&rpc->input, used);
}

static void send_output(Rpc *rpc) {
        while (rpc->output.len > 0) {
                ssize_t n = session_write(rpc->session, 0, rpc->output.data, rpc->output.len);

                if (n <= 0) /* ops->writable comes */
                        break;
                buf_consume(&rpc->output, (size_t)n);
        }
        if (rpc->output.len == 0)
                buf_done(&rpc->output); /* idle agents are small */
}

void rpc_service(Rpc *rpc) {
        handle_input(rpc);
        while (rpc->refused && rpc->input.len < RPC_INPUT_MAX) {
                size_t before = rpc->input.len;

                rpc->refused = false;
                session_taken(rpc->session, 0);
                if (rpc->input.len == before)
                        break;
                handle_input(rpc);
        }
        send_output(rpc);
}

bool rpc_is_drained(const Rpc *rpc) {
        return rpc->output.len == 0 && session_channel_drained(rpc->session, 0);
}
