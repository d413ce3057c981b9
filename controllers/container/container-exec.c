/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a container: execs come and go, signals fan out. */
#include <string.h>

#include "controllers/checks.h"
#include "controllers/container/container-internal.h"

static size_t exec_place(const Container *c, const char *exec_id, bool *ret_found) {
        size_t low = 0, high = c->n_execs;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(process_exec_id(c->execs[mid]), exec_id);

                if (order == 0) {
                        *ret_found = true;
                        return mid;
                }
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        *ret_found = false;
        return low;
}

Process *container_init_process(const Container *c) {
        return c->init;
}

Process *container_process(const Container *c, const char *exec_id) {
        bool found;
        size_t i;

        if (!exec_id || !exec_id[0])
                return c->init;
        i = exec_place(c, exec_id, &found);
        return found ? c->execs[i] : NULL;
}

int container_each_process(const Container *c, ProcessVisitor visit, void *userdata) {
        int r;

        r = visit(userdata, c->init);
        for (size_t i = 0; r == 0 && i < c->n_execs; i++)
                r = visit(userdata, c->execs[i]);
        return r;
}

static void insert_exec(Container *c, Process *p) {
        bool found;
        size_t i = exec_place(c, process_exec_id(p), &found);

        memmove(&c->execs[i + 1], &c->execs[i], (c->n_execs - i) * sizeof(Process *));
        c->execs[i] = p;
        c->n_execs++;
}

int container_add_exec(Container *c, Process *p) {
        /* An exec whose deletion is in flight may come back into the list. */
        if (c->n_execs + c->calls >= c->cap_execs) {
                size_t cap = MAX_OF((c->n_execs + c->calls) * 2, (size_t)8);
                Process **execs;

                execs = reallocarray(c->execs, cap, sizeof(Process *));
                if (!execs)
                        return -ENOMEM;
                c->execs = execs;
                c->cap_execs = cap;
        }
        insert_exec(c, p);
        return 0;
}

static int unknown(const Container *c, const char *exec_id, Error *reterr) {
        return error_setf(reterr, -ENOENT, "container %s has no process \"%.100s\"", c->id,
                          exec_id);
}

/* Who runs an exec deletes it. Nobody does so for a detached one, nor when the client was killed:
 * the last of those stay for their logs and exit codes, and the one that ended first makes room. */
static void forget_oldest_exec(Container *c) {
        Process *oldest = NULL;
        size_t n_ended = 0;

        for (size_t i = 0; i < c->n_execs; i++) {
                Process *p = c->execs[i];

                if (process_state(p) != PROCESS_TERMINATED)
                        continue;
                n_ended++;
                if (!oldest || process_exit(p)->exited_at_ns < process_exit(oldest)->exited_at_ns)
                        oldest = p;
        }
        /* What fails here is tried again with the next exec. */
        if (n_ended > CONTAINER_ENDED_EXECS_MAX)
                (void)container_delete_exec(c, process_exec_id(oldest), NULL, NULL, NULL, NULL);
}

int container_exec(Container *c, const ProcessSpec *spec, Process **ret, Error *reterr) {
        _cleanup_(process_freep) Process *p = NULL;
        int r;

        if (c->fsm.state != CONTAINER_RUNNING)
                return fsm_refuse(&c->fsm, "exec", reterr);
        if (!spec->exec_id || !spec->exec_id[0])
                return error_setf(reterr, -EINVAL, "exec id is empty");
        if (container_process(c, spec->exec_id))
                return error_setf(reterr, -EEXIST, "container %s has a process \"%.100s\" already",
                                  c->id, spec->exec_id);
        forget_oldest_exec(c);
        if (c->n_execs + c->calls >= CONTAINER_PROCESSES_MAX)
                return error_setf(reterr, -ENOSPC, "container %s has %u processes", c->id,
                                  CONTAINER_PROCESSES_MAX);
        r = process_new(&c->controller, &(ProcessKey){ c->id, c->guest_id, spec->exec_id }, spec,
                        &p, reterr);
        if (r < 0)
                return r;
        if (container_add_exec(c, p) < 0)
                return error_oom(reterr);
        container_bind_process(c, p);
        pod_events_publish(&c->ops.events, &(PodEvent){ .kind = POD_EVENT_EXEC_ADDED,
                                                        .container_id = c->id,
                                                        .exec_id = process_exec_id(p) });
        if (ret)
                *ret = p;
        (void)TAKE(p);
        return 0;
}

int container_start_exec(Container *c, const char *exec_id, uint32_t *ret_pid, OpDone done,
                         void *job, Error *reterr) {
        Process *p;

        if (c->fsm.state != CONTAINER_RUNNING)
                return fsm_refuse(&c->fsm, "start exec", reterr);
        p = container_process(c, exec_id);
        if (!p || p == c->init)
                return unknown(c, exec_id ?: "", reterr);
        return process_start(p, ret_pid, done, job, reterr);
}

static Process *first_created_exec(const Container *c) {
        for (size_t i = 0; i < c->n_execs; i++)
                if (process_state(c->execs[i]) == PROCESS_CREATED)
                        return c->execs[i];
        return NULL;
}

/* Created execs are known to this host alone: they end here. Who waits for one may delete it. */
static void kill_created_execs(Container *c, uint32_t signal) {
        Process *p;

        while ((p = first_created_exec(c)))
                (void)process_kill(p, signal, false, NULL, NULL, NULL);
}

int container_kill(Container *c, const char *exec_id, uint32_t signal, bool all, OpDone done,
                   void *job, Error *reterr) {
        bool init = !exec_id || !exec_id[0];
        Process *p;

        if (!init && all)
                return error_setf(reterr, -EBADFD,
                                  "kill: all processes or process \"%.100s\", not both", exec_id);
        if (signal < 1 || signal > 64)
                return error_setf(reterr, -EINVAL, "signal %u is out of range", signal);
        p = container_process(c, exec_id);
        if (!p)
                return unknown(c, exec_id, reterr);
        switch (container_state(c)) {
        case CONTAINER_STOPPED:
        case CONTAINER_INVALID:
        case CONTAINER_DELETED:
                if (init)
                        return 0;
                break;
        case CONTAINER_CREATED:
        case CONTAINER_RUNNING:
                break;
        case CONTAINER_STARTING:
                return error_setf(reterr, -EBUSY, "container %s is being started", c->id);
        case CONTAINER_NOT_CREATED:
        case CONTAINER_CREATING:
        case CONTAINER_DELETING:
        case CONTAINER_SOURCE_MIGRATING:
        case CONTAINER_DESTINATION_MIGRATING:
        case _CONTAINER_STATE_MAX:
                return fsm_refuse(&c->fsm, "kill", reterr);
        }
        if (init && all)
                kill_created_execs(c, signal);
        return process_kill(p, signal, all, done, job, reterr);
}

int container_stop(Container *c, uint32_t signal, ProcessExit *ret, OpDone done, void *job,
                   Error *reterr) {
        int r;

        if (c->fsm.state != CONTAINER_CREATED && c->fsm.state != CONTAINER_RUNNING &&
            c->fsm.state != CONTAINER_STOPPED)
                return fsm_refuse(&c->fsm, "stop", reterr);
        r = container_kill(c, "", signal, true, NULL, NULL, reterr);
        if (r < 0 && r != -ENOENT)
                return r;
        return process_wait(c->init, ret, done, job, reterr);
}

/* A deletion of an exec, an update or a ps in flight. */
typedef struct ContainerCall {
        Container *container;
        Process *process; /* deletions: out of the list meanwhile */
        OpDone done;
        void *job;
} ContainerCall;

static ContainerCall *call_new(Container *c, OpDone done, void *job, Error *reterr) {
        ContainerCall *call;

        call = calloc(1, sizeof(*call));
        if (!call) {
                (void)error_oom(reterr);
                return NULL;
        }
        *call = (ContainerCall){ .container = c, .done = done, .job = job };
        c->calls++;
        return call;
}

static int call_end(ContainerCall *call, int r) {
        call->container->calls--;
        free(call);
        return r;
}

static void call_done(void *userdata, int r, const void *result, const Error *err) {
        ContainerCall *call = userdata;
        OpDone done = call->done;
        void *job = call->job;

        (void)call_end(call, r);
        if (done)
                done(job, r, result, err);
}

static void exec_deletion_settled(ContainerCall *call, int r, ProcessExit *ret) {
        Container *c = call->container;
        Process *p = call->process;
        const ProcessExit *exit = process_exit(p);

        *ret = exit ? *exit : (ProcessExit){};
        if (r < 0) {
                insert_exec(c, p);
                return;
        }
        pod_events_publish(&c->ops.events, &(PodEvent){ .kind = POD_EVENT_DELETED,
                                                        .container_id = c->id,
                                                        .exec_id = process_exec_id(p),
                                                        .pid = process_pid(p),
                                                        .exit = *ret });
        process_free(p);
}

static void exec_deleted(void *userdata, int r, const void *result, const Error *err) {
        ContainerCall *call = userdata;
        OpDone done = call->done;
        void *job = call->job;
        ProcessExit exit;

        exec_deletion_settled(call, r, &exit);
        (void)call_end(call, r);
        if (done)
                done(job, r, r < 0 ? NULL : &exit, err);
}

int container_delete_exec(Container *c, const char *exec_id, ProcessExit *ret, OpDone done,
                          void *job, Error *reterr) {
        ContainerCall *call;
        ProcessExit exit;
        bool found;
        size_t i;
        int r;

        if (!exec_id || !exec_id[0])
                return error_setf(reterr, -EINVAL, "exec id is empty");
        if (controller_is_frozen(&c->controller) || (fsm_flags(&c->fsm) & FSM_WAITING))
                return fsm_refuse(&c->fsm, "delete exec", reterr);
        i = exec_place(c, exec_id, &found);
        if (!found)
                return unknown(c, exec_id, reterr);
        call = call_new(c, done, job, reterr);
        if (!call)
                return -ENOMEM;
        call->process = c->execs[i];
        memmove(&c->execs[i], &c->execs[i + 1], (c->n_execs - i - 1) * sizeof(Process *));
        c->n_execs--;
        r = process_delete(call->process, exec_deleted, call, reterr);
        if (r == 1)
                return 1;
        exec_deletion_settled(call, r, &exit);
        if (r == 0 && ret)
                *ret = exit;
        return call_end(call, r);
}

int container_update(Container *c, const char *resources_json, OpDone done, void *job,
                     Error *reterr) {
        ContainerCall *call;
        int r;

        if (c->fsm.state != CONTAINER_RUNNING && c->fsm.state != CONTAINER_CREATED)
                return fsm_refuse(&c->fsm, "update", reterr);
        r = json_object_check("resources", resources_json, PROCESS_JSON_MAX, reterr);
        if (r < 0)
                return r;
        call = call_new(c, done, job, reterr);
        if (!call)
                return -ENOMEM;
        r = c->ops.container->update(c->ops.userdata, c->guest_id, resources_json, call_done, call,
                                     reterr);
        return r == 1 ? 1 : call_end(call, r);
}

int container_ps(Container *c, OpDone done, void *job, Error *reterr) {
        ContainerCall *call;
        int r;

        if (c->fsm.state != CONTAINER_RUNNING)
                return fsm_refuse(&c->fsm, "ps", reterr);
        call = call_new(c, done, job, reterr);
        if (!call)
                return -ENOMEM;
        r = c->ops.container->ps(c->ops.userdata, c->guest_id, call_done, call, reterr);
        return r == 1 ? 1 : call_end(call, r);
}
