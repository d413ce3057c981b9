/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <agent.pb-c.h>

#include "shim/guest/link.h"

/* Calls to the agent on channel 0 of the guest link.
 *
 * Every call has an id from an allocator that only rises and whose next value travels with the pod.
 * A call ends exactly once: with the agent's reply, with guest_rpc_fail_all() when the VM is gone,
 * or silently with guest_rpc_drop(). A broken transport ends nothing: the session resends. */
typedef struct GuestRpc GuestRpc;

typedef Podferry__Guest__V1__ToGuest ToGuest;
typedef Podferry__Guest__V1__FromGuest FromGuest;

/* r < 0: failed, err has the text, reply is NULL. Borrowed until it returns. May call the rpc. */
typedef void (*GuestReply)(void *userdata, int r, const FromGuest *reply, const Error *err);

typedef struct GuestRpcOps {
        void (*event)(void *userdata, const FromGuest *event); /* call id 0 */
        /* The guest does not speak the protocol: every call has failed, no other will succeed. */
        void (*broken)(void *userdata, const Error *err);
} GuestRpcOps;

#define GUEST_CALLS_MAX   (1U << 16)
#define GUEST_OUTPUT_MAX  (16U << 20)
#define GUEST_MESSAGE_MAX (4U << 20)

int guest_rpc_new(GuestLink *link, const GuestRpcOps *ops, void *userdata, GuestRpc **ret,
                  Error *reterr);
GuestRpc *guest_rpc_free(GuestRpc *rpc); /* pending calls are dropped */
DEFINE_CLEANUP(GuestRpc *, guest_rpc_free);

/* Starts to take replies. What came before waits in the session: so a destination first adopts its
 * calls. */
int guest_rpc_start(GuestRpc *rpc, Error *reterr);
/* Sets request->call_id and sends it. 1: accepted, reply() comes later. -ENOSPC too many calls,
 * -EBUSY too much unsent, -ENOTCONN broken or no session. ret_call (may be NULL). */
int guest_rpc_call(GuestRpc *rpc, ToGuest *request, GuestReply reply, void *userdata,
                   uint64_t *ret_call, Error *reterr);
/* Takes over a call that was made before, under its id: 1, or -EEXIST, -EINVAL, -ENOMEM. */
int guest_rpc_adopt(GuestRpc *rpc, uint64_t call, GuestReply reply, void *userdata, Error *reterr);
/* The reply of this call will be ignored. */
void guest_rpc_drop(GuestRpc *rpc, uint64_t call);
/* Ends every call with this code. */
void guest_rpc_fail_all(GuestRpc *rpc, int code, const char *reason);

uint64_t guest_rpc_next_call(const GuestRpc *rpc);
void guest_rpc_raise_floor(GuestRpc *rpc, uint64_t next_call); /* never lowers it */
size_t guest_rpc_pending(const GuestRpc *rpc);

/* What a checkpoint of the session does not hold: the begun message from the guest, and the bytes
 * of messages that the session has not taken yet. */
int guest_rpc_save(const GuestRpc *rpc, Buf *ret_in, Buf *ret_out, Error *reterr);
int guest_rpc_import(GuestRpc *rpc, const void *in, size_t n_in, const void *out, size_t n_out,
                     Error *reterr); /* before start */
