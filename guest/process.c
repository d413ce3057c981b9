/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/process.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "guest/agent.h"
#include "guest/files.h"

#define TO(s) (1U << PROCESS_##s)
/* clang-format off */
static const FsmRow rows[_PROCESS_PHASE_MAX] = {
        [PROCESS_CREATING] = { "creating", TO(CREATED) | TO(RUNNING), FSM_FIRST | FSM_WAITING },
        [PROCESS_CREATED]  = { "created",  TO(RUNNING) | TO(EXITED),  0 },
        [PROCESS_RUNNING]  = { "running",  TO(EXITED),                0 },
        [PROCESS_EXITED]   = { "exited",   TO(STOPPED),               0 },
        [PROCESS_STOPPED]  = { "stopped",  0,                         FSM_FINAL },
};
/* clang-format on */
const FsmTable process_fsm = { "process", rows, _PROCESS_PHASE_MAX };

static void exited(void *userdata, int wait_status, uint64_t at_ns) {
        Process *p = userdata;

        p->code = exit_code(wait_status);
        p->exited_at_ns = at_ns;
        fsm_must(&p->fsm, PROCESS_EXITED);
        stdio_drain(&p->io);
        container_process_ended(p->container, p);
}

int process_new(Container *c, const char *id, Process **ret, Error *reterr) {
        Process *p = malloc(sizeof(*p));

        if (!p)
                return error_oom(reterr);
        *p = (Process){ .container = c, .io.console = -EBADF };
        (void)snprintf(p->id, sizeof(p->id), "%s", id);
        p->fsm = FSM_INIT(&process_fsm, PROCESS_CREATING, id[0] ? p->id : c->id);
        p->child.exited = exited;
        p->child.userdata = p;
        *ret = p;
        return 0;
}

bool process_has_ended(const Process *p) {
        return p->fsm.state == PROCESS_EXITED || p->fsm.state == PROCESS_STOPPED;
}

static void answer_wait(const Process *p, Call *call) {
        ExitReply exit = PODFERRY__GUEST__V1__EXIT__INIT;
        FromGuest reply = FROM_GUEST_INIT;

        exit.code = p->code;
        exit.exited_at_ns = p->exited_at_ns;
        reply.body_case = FROM_GUEST(WAIT);
        reply.wait = &exit;
        call_finish(call, 0, NULL, &reply);
}

static void answer_waits(Process *p) {
        Error err = ERROR_INIT;

        if (!process_has_ended(p))
                (void)error_setf(&err, -ENOENT, "the process was never started");
        for (size_t i = 0; i < p->n_waits; i++)
                if (process_has_ended(p))
                        answer_wait(p, p->waits[i]);
                else
                        call_finish(p->waits[i], -ENOENT, &err, NULL);
        p->n_waits = 0;
        free(p->waits);
        p->waits = NULL;
}

Process *process_free(Process *p) {
        if (!p)
                return NULL;
        reaper_remove(&p->container->agent->reaper, &p->child);
        answer_waits(p);
        if (p->fsm.state == PROCESS_CREATING)
                stdio_abandon(&p->io);
        else
                stdio_done(&p->io);
        free(p);
        return NULL;
}

int process_born(Process *p, const char *pid_file, ProcessPhase phase, Error *reterr) {
        Reaper *reaper = &p->container->agent->reaper;
        char text[32], *end;
        uint64_t at_ns;
        int r, status;
        long pid;

        r = file_read_line(pid_file, text, sizeof(text), reterr);
        if (r < 0)
                return r;
        (void)unlink(pid_file);
        pid = strtol(text, &end, 10);
        if (*end != '\0' || pid <= 1 || pid > INT32_MAX)
                return error_setf(reterr, -EIO, "crun told a pid that is none");
        r = stdio_connect(&p->io, reterr);
        if (r < 0) {
                (void)kill((pid_t)pid, SIGKILL);
                return r;
        }
        p->pid = (pid_t)pid;
        fsm_must(&p->fsm, (int)phase);
        if (reaper_adopt(reaper, &p->child, p->pid, &status, &at_ns))
                exited(p, status, at_ns);
        return 0;
}

int process_kill(Process *p, unsigned sig, Error *reterr) {
        if (p->fsm.state != PROCESS_CREATED && p->fsm.state != PROCESS_RUNNING)
                return fsm_refuse(&p->fsm, "kill", reterr);
        /* Nobody but us reaps it, and we have not: the pid is still its own. */
        if (kill(p->pid, (int)sig) < 0)
                return error_setf(reterr, -errno, "cannot send signal %u to process %d: %m", sig,
                                  p->pid);
        return 0;
}

/* A shim asks once for each process, and one that starts again asks anew: what its predecessor
 * asked is of no use to anybody. */
static void drop_oldest_wait(Process *p) {
        Error err = ERROR_INIT;

        (void)error_setf(&err, -ECANCELED, "%zu later calls wait for this process", p->n_waits);
        call_finish(p->waits[0], -ECANCELED, &err, NULL);
        memmove(p->waits, p->waits + 1, --p->n_waits * sizeof(*p->waits));
}

int process_wait(Process *p, Call *call, Error *reterr) {
        Call **more;

        if (p->fsm.state == PROCESS_STOPPED) {
                answer_wait(p, call);
                return 1;
        }
        if (p->n_waits >= PROCESS_WAITS_MAX)
                drop_oldest_wait(p);
        more = realloc(p->waits, (p->n_waits + 1) * sizeof(*more));
        if (!more)
                return error_oom(reterr);
        p->waits = more;
        p->waits[p->n_waits++] = call;
        return 1;
}

bool process_settle(Process *p) {
        if (p->fsm.state != PROCESS_EXITED || !stdio_is_settled(&p->io))
                return false;
        fsm_must(&p->fsm, PROCESS_STOPPED);
        answer_waits(p);
        return true;
}

void process_describe(const Process *p, ProcessState *ret, StdioSpec *ret_stdio,
                      ExitReply *ret_exit) {
        podferry__guest__v1__process_state__init(ret);
        podferry__guest__v1__stdio__init(ret_stdio);
        podferry__guest__v1__exit__init(ret_exit);
        ret->container_id = (char *)(uintptr_t)p->container->id;
        ret->exec_id = (char *)(uintptr_t)p->id;
        ret->pid = (uint32_t)p->pid;
        ret->status = (char *)(uintptr_t)(process_has_ended(p) ? "stopped" : fsm_name(&p->fsm));
        stdio_describe(&p->io, ret_stdio);
        ret->stdio = ret_stdio;
        if (!process_has_ended(p))
                return;
        ret_exit->code = p->code;
        ret_exit->exited_at_ns = p->exited_at_ns;
        ret->exit = ret_exit;
}
