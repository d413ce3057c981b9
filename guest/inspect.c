/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "guest/agent.h"
#include "guest/handlers.h"

/* Requests about processes that are there, for which no crun is needed: we are their parent. */

int handle_kill(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const KillRequest *q = m->kill;
        Process *p;
        int r;

        if (q->signal < 1 || q->signal >= NSIG)
                return error_setf(reterr, -EINVAL, "there is no signal %u", q->signal);
        r = containers_find_process(a, q->container_id, q->exec_id, &p, reterr);
        if (r < 0)
                return r;
        if (!q->all)
                return process_kill(p, q->signal, reterr);
        if (p->fsm.state == PROCESS_CREATING)
                return fsm_refuse(&p->fsm, "kill", reterr);
        return container_kill_all(p->container, q->signal, reterr);
}

int handle_wait(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        Process *p;
        int r;

        r = containers_find_process(a, m->wait->container_id, m->wait->exec_id, &p, reterr);
        return r < 0 ? r : process_wait(p, call, reterr);
}

int handle_resize(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const ResizeRequest *q = m->resize;
        Process *p;
        int r;

        if ((r = check_window(q->rows, q->columns, reterr)) < 0 ||
            (r = containers_find_process(a, q->container_id, q->exec_id, &p, reterr)) < 0)
                return r;
        return stdio_resize(&p->io, q->rows, q->columns, reterr);
}

/* What a StateReply points at, for one process. */
typedef struct Row {
        ProcessState state;
        StdioSpec stdio;
        ExitReply exit;
} Row;

static size_t describe(const Container *c, Row *rows, ProcessState **list) {
        size_t n = 0;

        for (const Process *p = c->processes; p; p = p->next, n++) {
                process_describe(p, &rows[n].state, &rows[n].stdio, &rows[n].exit);
                list[n] = &rows[n].state;
        }
        return n;
}

int handle_state(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        StateReply body = PODFERRY__GUEST__V1__STATE_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;
        size_t max = a->containers.n_processes;
        _cleanup_free_ ProcessState **list = NULL;
        _cleanup_free_ Row *rows = NULL;
        Container *only = NULL;

        if (m->state->container_id[0] != '\0') {
                int r = container_find(a, m->state->container_id, &only, reterr);

                if (r < 0)
                        return r;
        }
        rows = calloc(max + 1, sizeof(*rows));
        list = calloc(max + 1, sizeof(ProcessState *));
        if (!rows || !list)
                return error_oom(reterr);
        for (const Container *c = only ?: a->containers.first; c; c = only ? NULL : c->next)
                body.n_processes += describe(c, rows + body.n_processes, list + body.n_processes);
        body.processes = list;
        reply.body_case = FROM_GUEST(STATE);
        reply.state = &body;
        call_finish(call, 0, NULL, &reply);
        return 1;
}

int handle_ps(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        PsReply body = PODFERRY__GUEST__V1__PS_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;
        _cleanup_free_ uint32_t *pids = NULL;
        Container *c;
        int r;

        r = container_find(a, m->ps->container_id, &c, reterr);
        if (r < 0)
                return r;
        if (container_init_process(c)->fsm.state == PROCESS_CREATING)
                return fsm_refuse(&container_init_process(c)->fsm, "ps", reterr);
        r = container_pids(c, &pids, &body.n_pids, reterr);
        if (r < 0)
                return r;
        body.pids = pids;
        reply.body_case = FROM_GUEST(PS);
        reply.ps = &body;
        call_finish(call, 0, NULL, &reply);
        return 1;
}
