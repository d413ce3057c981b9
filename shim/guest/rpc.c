/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/guest/rpc.h"

#include <string.h>

#include "lib/log.h"
#include "lib/message.h"

typedef struct Call {
        uint64_t id;
        GuestReply reply;
        void *userdata;
} Call;

struct GuestRpc {
        GuestLink *link;
        const GuestRpcOps *ops;
        void *userdata;

        uint64_t next_call;
        Call *calls; /* sorted by id */
        size_t n_calls, cap_calls;
        MessageReader reader;
        Buf out; /* what the session did not take yet */
        bool started, broken;
};

/* The table of calls */

static size_t call_at(const GuestRpc *rpc, uint64_t id) {
        size_t low = 0, high = rpc->n_calls;

        while (low < high) {
                size_t mid = (low + high) / 2;

                if (rpc->calls[mid].id < id)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static bool call_is_at(const GuestRpc *rpc, size_t i, uint64_t id) {
        return i < rpc->n_calls && rpc->calls[i].id == id;
}

static int call_add(GuestRpc *rpc, const Call *call, Error *reterr) {
        size_t i = call_at(rpc, call->id);

        if (rpc->n_calls >= GUEST_CALLS_MAX)
                return error_setf(reterr, -ENOSPC, "%zu calls to the guest are waiting",
                                  rpc->n_calls);
        if (rpc->n_calls == rpc->cap_calls) {
                size_t cap = MAX_OF(rpc->cap_calls * 2, 8U);
                Call *grown = reallocarray(rpc->calls, cap, sizeof(*grown));

                if (!grown)
                        return error_oom(reterr);
                rpc->calls = grown;
                rpc->cap_calls = cap;
        }
        memmove(&rpc->calls[i + 1], &rpc->calls[i], (rpc->n_calls - i) * sizeof(Call));
        rpc->calls[i] = *call;
        rpc->n_calls++;
        return 0;
}

static void call_remove(GuestRpc *rpc, size_t i) {
        rpc->n_calls--;
        memmove(&rpc->calls[i], &rpc->calls[i + 1], (rpc->n_calls - i) * sizeof(Call));
}

/* Input */

static void handle_reply(GuestRpc *rpc, const FromGuest *reply) {
        size_t i = call_at(rpc, reply->call_id);
        Error err = ERROR_INIT;
        Call call;

        if (!call_is_at(rpc, i, reply->call_id)) {
                log_debug("the guest answered call %llu, which nobody waits for",
                          (unsigned long long)reply->call_id);
                return;
        }
        call = rpc->calls[i];
        call_remove(rpc, i);
        if (reply->code == 0) {
                call.reply(call.userdata, 0, reply, NULL);
                return;
        }
        if (reply->code > 0 || reply->code < -4095)
                (void)error_setf(&err, -EBADMSG, "the guest answered with code %d", reply->code);
        else
                (void)error_setf(&err, reply->code, "guest: %s",
                                 reply->error[0] ? reply->error : strerrordesc_np(-reply->code));
        call.reply(call.userdata, err.code, NULL, &err);
}

static int on_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        GuestRpc *rpc = userdata;
        FromGuest *m;

        if (rpc->broken)
                return -EBADMSG;
        m = podferry__guest__v1__from_guest__unpack(NULL, n, p);
        if (!m)
                return error_setf(reterr, -EBADMSG, "a message of %zu bytes that does not parse",
                                  n);
        if (m->call_id == 0)
                rpc->ops->event(rpc->userdata, m);
        else
                handle_reply(rpc, m);
        podferry__guest__v1__from_guest__free_unpacked(m, NULL);
        return 0;
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        GuestRpc *rpc = userdata;
        Error err = ERROR_INIT;
        int r;

        if (rpc->broken)
                return n;
        r = message_reader_feed(&rpc->reader, p, n, on_message, rpc, &err);
        if (r < 0) {
                rpc->broken = true;
                log_err("guest link: %s", error_text(&err, r));
                guest_rpc_fail_all(rpc, -EBADMSG, "the guest broke the protocol");
                rpc->ops->broken(rpc->userdata, &err);
        }
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        GuestRpc *rpc = userdata;
        Error err = ERROR_INIT;

        if (rpc->broken)
                return;
        rpc->broken = true;
        (void)error_setf(&err, -EBADMSG, "the guest closed the control channel");
        guest_rpc_fail_all(rpc, -EBADMSG, err.text);
        rpc->ops->broken(rpc->userdata, &err);
}

/* Output */

static int send_bytes(GuestRpc *rpc) {
        Session *s = guest_link_session(rpc->link);

        while (rpc->out.len > 0) {
                ssize_t n = s ? session_write(s, 0, rpc->out.data, rpc->out.len) : -ENOTCONN;

                if (n <= 0)
                        return (int)n;
                buf_consume(&rpc->out, (size_t)n);
        }
        buf_done(&rpc->out); /* idle costs nothing */
        return 0;
}

static void on_writable(void *userdata, uint32_t channel) {
        (void)send_bytes(userdata);
}

static const GuestLinkConsumer consumer = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
};

int guest_rpc_call(GuestRpc *rpc, ToGuest *request, GuestReply reply, void *userdata,
                   uint64_t *ret_call, Error *reterr) {
        size_t before = rpc->out.len;
        Call call;
        int r;

        if (rpc->broken || !guest_link_session(rpc->link))
                return error_setf(reterr, -ENOTCONN, "the guest cannot be reached");
        if (rpc->out.len > GUEST_OUTPUT_MAX)
                return error_setf(reterr, -EBUSY, "the guest does not take its calls");
        request->call_id = rpc->next_call;
        if (protobuf_c_message_get_packed_size(&request->base) > GUEST_MESSAGE_MAX)
                return error_setf(reterr, -EINVAL, "larger than a call to the guest can be (%u)",
                                  GUEST_MESSAGE_MAX);
        if (message_pack(&request->base, &rpc->out) < 0)
                return error_oom(reterr);
        call = (Call){ rpc->next_call, reply, userdata };
        r = call_add(rpc, &call, reterr);
        if (r < 0) {
                rpc->out.len = before;
                return r;
        }
        rpc->next_call++;
        if (ret_call)
                *ret_call = call.id;
        if (before == 0)
                (void)send_bytes(rpc); /* what does not fit follows when the session has room */
        return 1;
}

int guest_rpc_adopt(GuestRpc *rpc, uint64_t id, GuestReply reply, void *userdata, Error *reterr) {
        if (id == 0)
                return error_setf(reterr, -EINVAL, "call 0 cannot be adopted");
        if (call_is_at(rpc, call_at(rpc, id), id))
                return error_setf(reterr, -EEXIST, "call %llu is waited for already",
                                  (unsigned long long)id);
        guest_rpc_raise_floor(rpc, id + 1);
        return call_add(rpc, &(Call){ id, reply, userdata }, reterr) ?: 1;
}

void guest_rpc_drop(GuestRpc *rpc, uint64_t id) {
        size_t i = call_at(rpc, id);

        if (call_is_at(rpc, i, id))
                call_remove(rpc, i);
}

void guest_rpc_fail_all(GuestRpc *rpc, int code, const char *reason) {
        uint64_t end = rpc->next_call; /* calls made by those that fail are not ours to end */
        Error err = ERROR_INIT;

        (void)error_setf(&err, code, "%s", reason);
        while (rpc->n_calls > 0 && rpc->calls[0].id < end) {
                Call call = rpc->calls[0];

                call_remove(rpc, 0);
                call.reply(call.userdata, code, NULL, &err);
        }
}

/* Life */

int guest_rpc_new(GuestLink *link, const GuestRpcOps *ops, void *userdata, GuestRpc **ret,
                  Error *reterr) {
        GuestRpc *rpc = calloc(1, sizeof(*rpc));

        if (!rpc)
                return error_oom(reterr);
        *rpc = (GuestRpc){ .link = link,
                           .ops = ops,
                           .userdata = userdata,
                           .next_call = 1,
                           .reader = { .max = GUEST_MESSAGE_MAX } };
        *ret = rpc;
        return 0;
}

GuestRpc *guest_rpc_free(GuestRpc *rpc) {
        if (!rpc)
                return NULL;
        if (rpc->started)
                guest_link_forget(rpc->link, 0);
        message_reader_done(&rpc->reader);
        buf_done(&rpc->out);
        free(rpc->calls);
        free(rpc);
        return NULL;
}

int guest_rpc_start(GuestRpc *rpc, Error *reterr) {
        int r;

        if (rpc->started)
                return 0;
        rpc->started = true; /* consume() may call us back at once */
        r = guest_link_consume(rpc->link, 0, &consumer, rpc, reterr);
        if (r < 0) {
                rpc->started = false;
                return r;
        }
        (void)send_bytes(rpc);
        return 0;
}

uint64_t guest_rpc_next_call(const GuestRpc *rpc) {
        return rpc->next_call;
}

void guest_rpc_raise_floor(GuestRpc *rpc, uint64_t next_call) {
        rpc->next_call = MAX_OF(rpc->next_call, next_call);
}

size_t guest_rpc_pending(const GuestRpc *rpc) {
        return rpc->n_calls;
}

int guest_rpc_save(const GuestRpc *rpc, Buf *ret_in, Buf *ret_out, Error *reterr) {
        if (buf_append(ret_in, rpc->reader.buf.data, rpc->reader.buf.len) < 0 ||
            buf_append(ret_out, rpc->out.data, rpc->out.len) < 0)
                return error_oom(reterr);
        return 0;
}

int guest_rpc_import(GuestRpc *rpc, const void *in, size_t n_in, const void *out, size_t n_out,
                     Error *reterr) {
        if (rpc->started)
                return error_setf(reterr, -EBADFD, "the guest is being talked to already");
        if (n_in > GUEST_MESSAGE_MAX + 4 || n_out > GUEST_OUTPUT_MAX + GUEST_MESSAGE_MAX + 4)
                return error_setf(reterr, -EBADMSG, "rests of guest messages are too long");
        rpc->reader.buf.len = 0;
        rpc->out.len = 0;
        if (buf_append(&rpc->reader.buf, in, n_in) < 0 || buf_append(&rpc->out, out, n_out) < 0)
                return error_oom(reterr);
        return 0;
}
