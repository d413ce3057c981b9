/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, window size, end of input and waits: calls that may be in flight side by side. */
#include "controllers/process/process-internal.h"

/* A kill or a resize in flight. */
typedef struct ProcessCall {
        Process *process;
        OpDone done;
        void *job;
} ProcessCall;

static ProcessCall *call_new(Process *p, OpDone done, void *job, Error *reterr) {
        ProcessCall *c;

        c = calloc(1, sizeof(*c));
        if (!c) {
                (void)error_oom(reterr);
                return NULL;
        }
        *c = (ProcessCall){ .process = p, .done = done, .job = job };
        p->calls++;
        return c;
}

static int call_end(ProcessCall *c, int r) {
        c->process->calls--;
        free(c);
        return r;
}

static void call_done(void *userdata, int r, const void *result, const Error *err) {
        ProcessCall *c = userdata;
        OpDone done = c->done;
        void *job = c->job;

        (void)call_end(c, r);
        if (done)
                done(job, r, NULL, err);
}

int process_kill(Process *p, uint32_t signal, bool all, OpDone done, void *job, Error *reterr) {
        ProcessKey key = process_key(p);
        ProcessCall *c;
        int r, state = p->fsm.state;

        if (signal < 1 || signal > 64)
                return error_setf(reterr, -EINVAL, "signal %u is out of range", signal);
        if (state == PROCESS_TERMINATED || state == PROCESS_DELETING || state == PROCESS_DELETED)
                return 0;
        if (state == PROCESS_STARTING)
                return error_setf(reterr, -EBUSY, "process %s is being started", p->controller.id);
        if (state == PROCESS_CREATED && !process_is_init(p)) {
                process_end(p, 128 + signal, false);
                return 0;
        }
        if (state != PROCESS_CREATED && state != PROCESS_RUNNING)
                return fsm_refuse(&p->fsm, "kill", reterr);
        r = process_need_ops(p, "kill", reterr);
        if (r < 0)
                return r;
        c = call_new(p, done, job, reterr);
        if (!c)
                return -ENOMEM;
        r = p->ops->kill(p->userdata, &key, signal, all, call_done, c, reterr);
        return r == 1 ? 1 : call_end(c, r);
}

int process_resize(Process *p, uint32_t rows, uint32_t columns, OpDone done, void *job,
                   Error *reterr) {
        ProcessKey key = process_key(p);
        ProcessCall *c;
        int r;

        if (rows == 0 || rows > UINT16_MAX || columns == 0 || columns > UINT16_MAX)
                return error_setf(reterr, -EINVAL, "terminal size %ux%u is out of range", rows,
                                  columns);
        if (p->fsm.state != PROCESS_RUNNING)
                return fsm_refuse(&p->fsm, "resize", reterr);
        if (!p->terminal)
                return error_setf(reterr, -EBADFD, "resize: process %s has no terminal",
                                  p->controller.id);
        r = process_need_ops(p, "resize", reterr);
        if (r < 0)
                return r;
        c = call_new(p, done, job, reterr);
        if (!c)
                return -ENOMEM;
        r = p->ops->resize(p->userdata, &key, rows, columns, call_done, c, reterr);
        if (r >= 0) {
                p->rows = rows;
                p->columns = columns;
        }
        return r == 1 ? 1 : call_end(c, r);
}

int process_close_stdin(Process *p, Error *reterr) {
        ProcessKey key = process_key(p);

        if (controller_is_frozen(&p->controller))
                return fsm_refuse(&p->fsm, "close stdin", reterr);
        if (!p->io_is_open || p->channels.in == 0)
                return 0;
        return p->ops->close_stdin(p->userdata, &key, &p->channels, reterr);
}

int process_wait(Process *p, ProcessExit *ret, OpDone done, void *job, Error *reterr) {
        ProcessWaiter *w;

        if (p->has_exit && !p->exit_pending) {
                if (ret)
                        *ret = p->exit;
                return 0;
        }
        if (p->n_waiters >= PROCESS_WAITERS_MAX)
                return error_setf(reterr, -ENOSPC, "process %s has %zu waiters", p->controller.id,
                                  p->n_waiters);
        w = reallocarray(p->waiters, p->n_waiters + 1, sizeof(*w));
        if (!w)
                return error_oom(reterr);
        p->waiters = w;
        w[p->n_waiters++] = (ProcessWaiter){ .done = done, .job = job };
        return 1;
}

void process_unwait(Process *p, void *job) {
        size_t kept = 0;

        for (size_t i = 0; i < p->n_waiters; i++)
                if (p->waiters[i].job != job)
                        p->waiters[kept++] = p->waiters[i];
        p->n_waiters = kept;
}
