/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/wiring/ops.h"

typedef enum CallKind {
        CALL_PLAIN,
        CALL_FORGET,
        CALL_PID,
        CALL_REPLY,
} CallKind;

/* One call under way. Freed by its reply, of which there is always one: the rpc fails all calls
 * when the VM is gone. */
typedef struct GuestCall {
        CallKind kind;
        uint32_t pid;
        OpDone done;
        void *job;
} GuestCall;

static uint32_t pid_of(const FromGuest *reply, uint32_t otherwise) {
        if (reply->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_CREATE && reply->create)
                return reply->create->pid;
        if (reply->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_EXEC && reply->exec)
                return reply->exec->pid;
        return otherwise;
}

static void on_reply(void *userdata, int r, const FromGuest *reply, const Error *err) {
        _cleanup_free_ GuestCall *c = userdata;
        uint32_t pid;

        if (r == -ENOENT && c->kind == CALL_FORGET)
                r = 0;
        if (r < 0) {
                c->done(c->job, r, NULL, err);
                return;
        }
        switch (c->kind) {
        case CALL_PLAIN:
        case CALL_FORGET:
                c->done(c->job, 0, NULL, NULL);
                break;
        case CALL_PID:
                pid = pid_of(reply, c->pid);
                c->done(c->job, 0, &pid, NULL);
                break;
        case CALL_REPLY:
                c->done(c->job, 0, reply, NULL);
                break;
        }
}

static int start_call(Shim *s, CallKind kind, uint32_t pid, ToGuest *request, OpDone done,
                      void *job, Error *reterr) {
        _cleanup_free_ GuestCall *c = malloc(sizeof(*c));
        int r;

        if (!c)
                return error_oom(reterr);
        *c = (GuestCall){ kind, pid, done, job };
        r = guest_rpc_call(s->rpc, request, on_reply, c, NULL, reterr);
        if (r == 1)
                c = NULL;
        return r;
}

int guest_call(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr) {
        return start_call(s, CALL_PLAIN, 0, request, done, job, reterr);
}

int guest_call_forget(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr) {
        return start_call(s, CALL_FORGET, 0, request, done, job, reterr);
}

int guest_call_pid(Shim *s, ToGuest *request, uint32_t pid, OpDone done, void *job, Error *reterr) {
        return start_call(s, CALL_PID, pid, request, done, job, reterr);
}

int guest_call_reply(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr) {
        return start_call(s, CALL_REPLY, 0, request, done, job, reterr);
}
