/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/wire.h"
#include "lib/message.h"
#include "lib/session.h"

/* Requests of the host on channel 0, and the answers.
 *
 * A request becomes a Call and goes to its row's handler in rpc_rows. A handler never replies by
 * itself in passing: it returns a code and the dispatcher answers, or it returns 1, which means
 * that it has taken the Call and that call_finish() answers, once, now or later. */
typedef struct Agent Agent;
typedef struct Rpc Rpc;

typedef struct Call {
        Rpc *rpc;
        ToGuest *request; /* owned; lives as long as the call */
        size_t size;
} Call;

typedef int (*RpcHandler)(Agent *a, Call *c, const ToGuest *request, Error *reterr);

typedef struct RpcRow {
        unsigned body; /* TO_GUEST(...) */
        RpcHandler handle;
} RpcRow;

extern const RpcRow rpc_rows[];
extern const size_t rpc_n_rows;
const RpcRow *rpc_find(unsigned body); /* NULL: there is none */

enum {
        RPC_CALLS_MAX = 16384,           /* waits, mostly */
        RPC_CALL_BYTES_MAX = 32 << 20,   /* of requests being worked on */
        RPC_REQUEST_MAX = 2 << 20,       /* one request */
        RPC_INPUT_MAX = 256 * 1024,      /* taken from the session and not handled */
        RPC_OUTPUT_MAX = 1 << 20,        /* above it, no request is handled until the host reads */
        RPC_OUTPUT_EVENTS_MAX = 4 << 20, /* above it, events are dropped */
};

struct Rpc {
        Agent *agent;
        Session *session;
        Buf input, output;
        MessageReader reader;
        unsigned calls;
        size_t call_bytes;
        bool refused; /* the session keeps bytes that we did not take */
        bool broken;  /* channel 0 makes no sense any more */
};

void rpc_init(Rpc *rpc, Agent *a, Session *s);
/* For SessionOps, channel 0. */
size_t rpc_data(Rpc *rpc, const void *p, size_t n);
/* After each event: handles what came, sends what is ready. */
void rpc_service(Rpc *rpc);
bool rpc_is_drained(const Rpc *rpc); /* all replies have reached the host */

/* Answers and frees. With code 0 `reply` may carry a body (and is filled in with the rest). */
void call_finish(Call *c, int code, const Error *err, FromGuest *reply);
/* An event has no call. */
void rpc_event(Rpc *rpc, FromGuest *event);
