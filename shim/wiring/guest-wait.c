/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for exits: one call per process, whose answer is passed on when the last byte of output
 * is in the log. In between it belongs to the process's stdio, which travels with the pod. */
#include "shim/wiring/ops.h"

#include <string.h>

struct GuestWait {
        Shim *shim;
        GuestWait *next;
        uint64_t call;
        char *guest_id, *exec_id;
        OpDone done;
        void *job;
};

static void wait_free(GuestWait *w) {
        for (GuestWait **at = &w->shim->waits; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        free(w->guest_id);
        free(w->exec_id);
        free(w);
}

static void finish(GuestWait *w, int r, const ProcessExit *exit, const Error *err) {
        OpDone done = w->done;
        void *job = w->job;

        guest_rpc_drop(w->shim->rpc, w->call);
        wait_free(w);
        done(job, r, exit, err);
}

static void on_drained(void *userdata, const ProcessExit *exit) {
        finish(userdata, 0, exit, NULL);
}

static void on_reply(void *userdata, int r, const FromGuest *reply, const Error *err) {
        GuestWait *w = userdata;
        ProcessExit exit = { .code = PROCESS_EXIT_UNKNOWN };
        Error e = ERROR_INIT;
        Stdio *io;

        if (r < 0) {
                finish(w, r, NULL, err);
                return;
        }
        if (reply->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_WAIT && reply->wait) {
                exit.code = reply->wait->code & 0xffU;
                exit.exited_at_ns = reply->wait->exited_at_ns;
        }
        io = stdio_find(w->shim->stdio, w->guest_id, w->exec_id);
        if (!io || stdio_when_drained(io, on_drained, w, &e) < 0)
                finish(w, 0, &exit, NULL);
        else
                stdio_put_exit(io, &exit);
}

static int wait_new(Shim *s, const ProcessKey *key, OpDone done, void *job, GuestWait **ret,
                    Error *reterr) {
        GuestWait *w = calloc(1, sizeof(*w));

        if (!w)
                return error_oom(reterr);
        *w = (GuestWait){ .shim = s, .next = s->waits, .done = done, .job = job };
        s->waits = w;
        w->guest_id = strdup(key->guest_id);
        w->exec_id = strdup(key->exec_id);
        if (!w->guest_id || !w->exec_id) {
                wait_free(w);
                return error_oom(reterr);
        }
        *ret = w;
        return 0;
}

int guest_wait(void *userdata, const ProcessKey *key, uint64_t *ret_call_id, OpDone done, void *job,
               Error *reterr) {
        Podferry__Guest__V1__WaitRequest body = PODFERRY__GUEST__V1__WAIT_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;
        Shim *s = userdata;
        GuestWait *w = NULL;
        int r;

        r = wait_new(s, key, done, job, &w, reterr);
        if (r < 0)
                return r;
        body.container_id = w->guest_id;
        body.exec_id = w->exec_id;
        request.body_case = TO_GUEST_BODY(WAIT);
        request.wait = &body;
        r = guest_rpc_call(s->rpc, &request, on_reply, w, &w->call, reterr);
        if (r < 0)
                wait_free(w);
        else
                *ret_call_id = w->call;
        return r;
}

int guest_adopt_wait(void *userdata, const ProcessKey *key, uint64_t call_id, OpDone done,
                     void *job, Error *reterr) {
        Shim *s = userdata;
        GuestWait *w = NULL;
        Stdio *io;
        int r;

        r = wait_new(s, key, done, job, &w, reterr);
        if (r < 0)
                return r;
        r = guest_rpc_adopt(s->rpc, call_id, on_reply, w, reterr);
        if (r < 0) {
                wait_free(w);
                return r;
        }
        w->call = call_id;
        io = stdio_find(s->stdio, key->guest_id, key->exec_id);
        if (io && stdio_exit(io)) { /* the source had the answer, but not all the output */
                r = stdio_when_drained(io, on_drained, w, reterr);
                if (r < 0) {
                        guest_drop_wait(s, call_id);
                        return r;
                }
        }
        return 1;
}

void guest_drop_wait(void *userdata, uint64_t call_id) {
        Shim *s = userdata;

        guest_rpc_drop(s->rpc, call_id);
        for (GuestWait *w = s->waits; w; w = w->next)
                if (w->call == call_id) {
                        Stdio *io = stdio_find(s->stdio, w->guest_id, w->exec_id);

                        if (io)
                                (void)stdio_when_drained(io, NULL, NULL, NULL);
                        wait_free(w);
                        return;
                }
}
