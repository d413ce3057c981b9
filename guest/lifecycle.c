/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>

#include "guest/agent.h"
#include "guest/files.h"
#include "guest/handlers.h"
#include "guest/network.h"
#include "guest/spec.h"
#include "lib/log.h"

/* A container from its creation to its deletion: the verbs for which crun runs.
 *
 * Delete is two steps. First all processes must have ended (at once refused with -EBUSY, or with
 * force killed and waited for); each end comes by container_continue_delete(). Then crun clears up
 * what it has, and the container is forgotten. */

static void answer_create(Call *call, uint32_t pid) {
        CreateReply body = PODFERRY__GUEST__V1__CREATE_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;

        body.pid = pid;
        reply.body_case = FROM_GUEST(CREATE);
        reply.create = &body;
        call_finish(call, 0, NULL, &reply);
}

static void discarded(void *userdata, int code, const Error *err) {
        Container *c = userdata;

        if (code < 0)
                log_warning("container %s: %s", c->id, error_text(err, code));
        (void)container_free(c);
}

/* Crun made it, and we cannot use it: nothing of it may stay. */
static void discard(Container *c) {
        const char *args[] = { "delete", "--force", c->id, NULL };
        Error err = ERROR_INIT;
        int r = crun_run(&c->agent->crun, args, NULL, false, discarded, c, &err);

        if (r < 0)
                discarded(c, r, &err);
}

static void created(void *userdata, int code, const Error *crun_err) {
        Container *c = userdata;
        Process *init = container_init_process(c);
        Call *call = TAKE(init->create);
        Error err = *crun_err;
        char path[300];

        c->verbs--;
        if (code < 0) {
                (void)container_free(c);
                call_finish(call, code, &err, NULL);
                return;
        }
        container_path(c, "", "init", ".pid", path, sizeof(path));
        code = process_born(init, path, PROCESS_CREATED, &err);
        if (code < 0) {
                c->verbs++; /* until it is gone, it is busy */
                discard(c);
                call_finish(call, code, &err, NULL);
                return;
        }
        code = oom_add(&c->agent->oom, c->id, c->cgroup, &err);
        if (code < 0) /* no memory controller: then there is nothing to tell of */
                log_info("container %s: %s", c->id, error_text(&err, code));
        answer_create(call, (uint32_t)init->pid);
}

static int run_create(Container *c, const CreateRequest *m, Error *reterr) {
        Process *init = container_init_process(c);
        _cleanup_buf_ Buf config = {};
        char pid_file[300], path[300];
        const char *args[CRUN_ARGS_MAX] = { "create", "--bundle", c->directory, "--pid-file",
                                            pid_file };
        int fds[3], n = 5, r;

        r = spec_make_config(m->config_json.data, m->config_json.len, m->rootfs, c->cgroup,
                             m->stdio, &config, reterr);
        if (r == 0)
                r = names_share(&config, reterr);
        if (r < 0)
                return r;
        container_path(c, "", "config", ".json", path, sizeof(path));
        r = file_create(path, config.data, config.len, reterr);
        if (r < 0)
                return r;
        r = stdio_prepare(&init->io, &c->agent->streams, m->stdio, NULL, NULL, fds, reterr);
        if (r < 0)
                return r;
        container_path(c, "", "init", ".pid", pid_file, sizeof(pid_file));
        if (init->io.terminal) {
                args[n++] = "--console-socket";
                args[n++] = init->io.console_path;
        }
        args[n++] = c->id;
        r = crun_run(&c->agent->crun, args, fds, true, created, c, reterr);
        for (int i = 0; i < 3; i++)
                fds[i] = close_fd(fds[i]);
        return r;
}

int handle_create(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const CreateRequest *q = m->create;
        Container *c;
        int r;

        if ((r = check_id("container id", q->container_id, reterr)) < 0 ||
            (r = check_path("rootfs", q->rootfs, reterr)) < 0 ||
            (r = check_json_size("config", q->config_json.len, reterr)) < 0 ||
            (r = check_stdio(q->stdio, reterr)) < 0 || (r = power_check(&a->power, reterr)) < 0)
                return r;
        r = container_new(a, q->container_id, &c, reterr);
        if (r < 0)
                return r;
        r = run_create(c, q, reterr);
        if (r < 0) {
                (void)container_free(c);
                return r;
        }
        c->verbs++;
        container_init_process(c)->create = call;
        return 1;
}

/* --- start, update --- */

typedef struct Verb {
        Container *container;
        Call *call;
} Verb;

static int verb_new(Container *c, Call *call, Verb **ret, Error *reterr) {
        Verb *v = malloc(sizeof(*v));

        if (!v)
                return error_oom(reterr);
        *v = (Verb){ c, call };
        c->verbs++;
        *ret = v;
        return 0;
}

static Container *verb_end(Verb *v, Call **ret_call) {
        Container *c = v->container;

        *ret_call = v->call;
        c->verbs--;
        free(v);
        return c;
}

static void started(void *userdata, int code, const Error *err) {
        Call *call;
        Container *c = verb_end(userdata, &call);
        Process *init = container_init_process(c);

        /* It may have run and ended in the meantime. */
        if (code == 0 && init->fsm.state == PROCESS_CREATED)
                fsm_must(&init->fsm, PROCESS_RUNNING);
        call_finish(call, code, err, NULL);
        container_continue_delete(c);
}

int handle_start(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        Container *c;
        Process *init;
        Verb *v = NULL;
        int r;

        r = container_find(a, m->start->container_id, &c, reterr);
        if (r < 0)
                return r;
        init = container_init_process(c);
        if (init->fsm.state != PROCESS_CREATED || c->verbs > 0)
                return fsm_refuse(&init->fsm, "start", reterr);
        r = verb_new(c, call, &v, reterr);
        if (r < 0)
                return r;
        r = crun_run(&a->crun, (const char *[]){ "start", c->id, NULL }, NULL, false, started, v,
                     reterr);
        if (r < 0)
                (void)verb_end(v, &call);
        return r < 0 ? r : 1;
}

static void updated(void *userdata, int code, const Error *err) {
        Call *call;
        Container *c = verb_end(userdata, &call);
        char path[300];

        container_path(c, "", "resources", ".json", path, sizeof(path));
        (void)unlink(path);
        call_finish(call, code, err, NULL);
        container_continue_delete(c);
}

int handle_update(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const UpdateRequest *q = m->update;
        _cleanup_buf_ Buf resources = {};
        char path[300];
        const char *args[] = { "update", "--resources", path, NULL, NULL };
        Container *c;
        Verb *v = NULL;
        int r;

        if ((r = container_find(a, q->container_id, &c, reterr)) < 0 ||
            (r = check_json_size("resources", q->resources_json.len, reterr)) < 0 ||
            (r = spec_make_resources(q->resources_json.data, q->resources_json.len, &resources,
                                     reterr)) < 0)
                return r;
        if (c->verbs > 0)
                return error_setf(reterr, -EBUSY, "container %s is being worked on", c->id);
        if (container_init_process(c)->fsm.state == PROCESS_CREATING ||
            process_has_ended(container_init_process(c)))
                return fsm_refuse(&container_init_process(c)->fsm, "update", reterr);
        container_path(c, "", "resources", ".json", path, sizeof(path));
        args[3] = c->id;
        r = file_create(path, resources.data, resources.len, reterr);
        if (r < 0)
                return r;
        r = verb_new(c, call, &v, reterr);
        if (r < 0)
                return r;
        r = crun_run(&a->crun, args, NULL, false, updated, v, reterr);
        if (r < 0)
                (void)verb_end(v, &call);
        return r < 0 ? r : 1;
}

/* --- delete --- */

static void deleted(void *userdata, int code, const Error *err) {
        Container *c = userdata;
        Call *call = TAKE(c->delete);

        c->verbs--;
        c->deleting = false;
        if (code == 0)
                (void)container_free(c); /* answers the waits, so before the delete's answer */
        call_finish(call, code, err, NULL);
}

void container_continue_delete(Container *c) {
        const char *args[] = { "delete", "--force", c->id, NULL };
        Error err = ERROR_INIT;
        int r;

        if (!c->delete || c->deleting || c->verbs > 0 || !container_has_ended(c))
                return;
        c->deleting = true;
        c->verbs++;
        r = crun_run(&c->agent->crun, args, NULL, false, deleted, c, &err);
        if (r < 0)
                deleted(c, r, &err);
}

static int delete_container(Container *c, Call *call, bool force, Error *reterr) {
        int r;

        if (c->delete || c->verbs > 0)
                return error_setf(reterr, -EBUSY, "container %s is being worked on", c->id);
        if (!container_has_ended(c)) {
                if (!force)
                        return error_setf(reterr, -EBUSY, "container %s still runs", c->id);
                r = container_kill_all(c, SIGKILL, reterr);
                if (r < 0)
                        return r;
        }
        c->delete = call;
        container_continue_delete(c);
        return 1;
}

static int delete_exec(Process *p, Call *call, bool force, Error *reterr) {
        int r;

        if (p->delete || p->fsm.state == PROCESS_CREATING)
                return error_setf(reterr, -EBUSY, "exec %s is being worked on", p->id);
        if (process_has_ended(p)) {
                container_remove_process(p->container, p);
                return 0;
        }
        if (!force)
                return error_setf(reterr, -EBUSY, "exec %s still runs", p->id);
        r = process_kill(p, SIGKILL, reterr);
        if (r < 0)
                return r;
        p->delete = call;
        return 1;
}

int handle_delete(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const DeleteRequest *q = m->delete_;
        Process *p;
        int r;

        r = containers_find_process(a, q->container_id, q->exec_id, &p, reterr);
        if (r < 0)
                return r;
        if (q->exec_id[0] == '\0')
                return delete_container(p->container, call, q->force, reterr);
        return delete_exec(p, call, q->force, reterr);
}
