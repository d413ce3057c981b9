/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "guest/agent.h"
#include "guest/files.h"
#include "guest/handlers.h"
#include "guest/spec.h"

/* Further processes in a running container. */

static void executed(void *userdata, int code, const Error *crun_err) {
        Process *p = userdata;
        Container *c = p->container;
        Call *call = TAKE(p->create);
        CreateReply body = PODFERRY__GUEST__V1__CREATE_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;
        Error err = *crun_err;
        char path[300];

        c->verbs--;
        container_path(c, "exec-", p->id, ".json", path, sizeof(path));
        (void)unlink(path);
        container_path(c, "exec-", p->id, ".pid", path, sizeof(path));
        if (code == 0)
                code = process_born(p, path, PROCESS_RUNNING, &err);
        if (code < 0)
                container_remove_process(c, p);
        else
                body.pid = (uint32_t)p->pid;
        reply.body_case = FROM_GUEST(EXEC);
        reply.exec = &body;
        call_finish(call, code, &err, &reply);
        container_continue_delete(c);
}

static int run_exec(Process *p, const ExecRequest *m, Error *reterr) {
        Container *c = p->container;
        _cleanup_buf_ Buf process = {};
        char pid_file[300], path[300];
        const char *args[CRUN_ARGS_MAX] = { "exec",   "--detach",  "--pid-file",
                                            pid_file, "--process", path };
        int fds[3], n = 6, r;

        r = spec_make_process(m->process_json.data, m->process_json.len, m->stdio, &process,
                              reterr);
        if (r < 0)
                return r;
        container_path(c, "exec-", p->id, ".pid", pid_file, sizeof(pid_file));
        container_path(c, "exec-", p->id, ".json", path, sizeof(path));
        r = file_create(path, process.data, process.len, reterr);
        if (r < 0)
                return r;
        r = stdio_prepare(&p->io, &c->agent->streams, m->stdio, NULL, NULL, fds, reterr);
        if (r < 0)
                return r;
        if (p->io.terminal) {
                args[n++] = "--console-socket";
                args[n++] = p->io.console_path;
        }
        args[n++] = c->id;
        r = crun_run(&c->agent->crun, args, fds, true, executed, p, reterr);
        for (int i = 0; i < 3; i++)
                fds[i] = close_fd(fds[i]);
        return r;
}

int handle_exec(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const ExecRequest *q = m->exec;
        Container *c;
        Process *p, *init;
        int r;

        if ((r = container_find(a, q->container_id, &c, reterr)) < 0 ||
            (r = check_id("exec id", q->exec_id, reterr)) < 0 ||
            (r = check_json_size("process", q->process_json.len, reterr)) < 0 ||
            (r = check_stdio(q->stdio, reterr)) < 0 || (r = power_check(&a->power, reterr)) < 0)
                return r;
        init = container_init_process(c);
        if (init->fsm.state != PROCESS_RUNNING || c->delete)
                return fsm_refuse(&init->fsm, "exec", reterr);
        r = container_add_process(c, q->exec_id, &p, reterr);
        if (r < 0)
                return r;
        r = run_exec(p, q, reterr);
        if (r < 0) {
                container_remove_process(c, p);
                return r;
        }
        c->verbs++;
        p->create = call;
        return 1;
}
