/* SPDX-License-Identifier: Apache-2.0 */
/* A process from creation to deletion; its exit, reported once. */
#include "controllers/process/process.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "controllers/process/process-internal.h"

/* clang-format off */
#define TO(s) (1U << PROCESS_##s)
#define SETTLED (TO(CREATED) | TO(RUNNING) | TO(TERMINATED))
static const FsmRow fsm_rows[_PROCESS_STATE_MAX] = {
        [PROCESS_NOT_CREATED] = { "not-created", TO(CREATED) | TO(TERMINATED), FSM_FIRST },
        [PROCESS_CREATED]     = { "created",     TO(STARTING) | TO(TERMINATED) | TO(SOURCE_MIGRATING), FSM_FIRST },
        [PROCESS_STARTING]    = { "starting",    TO(RUNNING) | TO(TERMINATED), FSM_WAITING },
        [PROCESS_RUNNING]     = { "running",     TO(TERMINATED) | TO(SOURCE_MIGRATING), 0 },
        [PROCESS_TERMINATED]  = { "terminated",  TO(DELETING) | TO(DELETED) | TO(SOURCE_MIGRATING), 0 },
        [PROCESS_DELETING]    = { "deleting",    TO(DELETED) | TO(TERMINATED), FSM_WAITING },
        [PROCESS_DELETED]     = { "deleted",     0, FSM_FINAL },
        [PROCESS_SOURCE_MIGRATING]      = { "source-migrating",      SETTLED, FSM_FROZEN },
        [PROCESS_DESTINATION_MIGRATING] = { "destination-migrating", SETTLED, FSM_FIRST | FSM_FROZEN },
};
#undef SETTLED
#undef TO
/* clang-format on */
const FsmTable process_fsm = { "process", fsm_rows, _PROCESS_STATE_MAX };

static uint64_t now_ns(void) {
        struct timespec t;

        if (clock_gettime(CLOCK_REALTIME, &t) < 0)
                return 0;
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

ProcessKey process_key(const Process *p) {
        return (ProcessKey){ p->container_id, p->guest_id, p->exec_id };
}

void process_spec(const Process *p, ProcessSpec *ret) {
        *ret = (ProcessSpec){ .exec_id = p->exec_id,
                              .process_json = p->process_json,
                              .terminal = p->terminal,
                              .stdin_open = p->stdin_open,
                              .rows = p->rows,
                              .columns = p->columns };
}

static int process_can_freeze(const Controller *c, Error *reterr) {
        const Process *p = (const Process *)c; /* its first member */

        if (p->fsm.state == PROCESS_NOT_CREATED || (fsm_flags(&p->fsm) & FSM_WAITING))
                return error_setf(reterr, -EBUSY, "process %s of container %s is %s", c->id,
                                  p->container_id, fsm_name(&p->fsm));
        if (p->calls > 0)
                return error_setf(reterr, -EBUSY,
                                  "a call to process %s of container %s is in flight", c->id,
                                  p->container_id);
        if (!fsm_can(&p->fsm, PROCESS_SOURCE_MIGRATING))
                return fsm_refuse(&p->fsm, "freeze", reterr);
        return 0;
}

static void process_freeze(Controller *c) {
        Process *p = container_of(c, Process, controller);

        p->before = (ProcessState)p->fsm.state;
        fsm_must(&p->fsm, PROCESS_SOURCE_MIGRATING);
}

static void process_thaw(Controller *c) {
        Process *p = container_of(c, Process, controller);

        if (p->fsm.state == PROCESS_SOURCE_MIGRATING)
                (void)process_resume(p, NULL); /* cannot fail on the source */
}

static int process_dump(const Controller *c, json_object *o) {
        const Process *p = (const Process *)c;

        json_object_object_add(o, "pid", json_object_new_int64(p->pid));
        json_object_object_add(o, "terminal", json_object_new_boolean(p->terminal));
        json_object_object_add(o, "wait_call", json_object_new_int64((int64_t)p->wait_call));
        json_object_object_add(o, "waiters", json_object_new_int64((int64_t)p->n_waiters));
        if (p->has_exit) {
                json_object_object_add(o, "exit_code", json_object_new_int64(p->exit.code));
                json_object_object_add(o, "exit_pending", json_object_new_boolean(p->exit_pending));
        }
        return 0;
}

static const ControllerVtable vtable = {
        .kind = "process",
        .can_freeze = process_can_freeze,
        .freeze = process_freeze,
        .thaw = process_thaw,
        .dump = process_dump,
};

int process_alloc(Controller *parent, const ProcessKey *key, const ProcessSpec *spec,
                  ProcessState state, Process **ret, Error *reterr) {
        _cleanup_free_ char *exec_id = NULL, *json = NULL;
        Process *p;

        exec_id = strdup(spec->exec_id ?: "");
        json = spec->process_json ? strdup(spec->process_json) : NULL;
        if (!exec_id || (spec->process_json && !json))
                return error_oom(reterr);
        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(reterr);
        p->container_id = key->container_id;
        p->guest_id = key->guest_id;
        p->terminal = spec->terminal;
        p->stdin_open = spec->stdin_open;
        p->rows = spec->rows;
        p->columns = spec->columns;
        p->exec_id = TAKE(exec_id);
        p->process_json = TAKE(json);
        p->fsm = FSM_INIT(&process_fsm, (int)state, p->exec_id[0] ? p->exec_id : "init");
        controller_init(&p->controller, &vtable, parent, p->fsm.id, &p->fsm);
        *ret = p;
        return 0;
}

int process_new(Controller *parent, const ProcessKey *key, const ProcessSpec *spec, Process **ret,
                Error *reterr) {
        bool init = !spec->exec_id || !spec->exec_id[0];
        int r;

        if (!init) {
                r = id_check("exec id", spec->exec_id, reterr);
                if (r < 0)
                        return r;
                r = json_object_check("process", spec->process_json, PROCESS_JSON_MAX, reterr);
                if (r < 0)
                        return r;
        } else if (spec->process_json)
                return error_setf(reterr, -EINVAL, "process: an init has its container's");
        if (spec->rows > UINT16_MAX || spec->columns > UINT16_MAX)
                return error_setf(reterr, -EINVAL, "terminal size %ux%u is out of range",
                                  spec->rows, spec->columns);
        return process_alloc(parent, key, spec, init ? PROCESS_NOT_CREATED : PROCESS_CREATED, ret,
                             reterr);
}

static void close_io(Process *p) {
        ProcessKey key = process_key(p);

        if (!p->io_is_open)
                return;
        p->io_is_open = false;
        p->ops->io_close(p->userdata, &key, &p->channels);
}

static void drop_wait(Process *p) {
        if (p->waiting)
                p->ops->drop_wait(p->userdata, p->wait_call);
        p->waiting = false;
}

static void wake_waiters(ProcessWaiter *waiters, size_t n, int r, const ProcessExit *exit,
                         const Error *err) {
        for (size_t i = 0; i < n; i++)
                if (waiters[i].done)
                        waiters[i].done(waiters[i].job, r, exit, err);
        free(waiters);
}

Process *process_free(Process *p) {
        Error e = ERROR_INIT;
        int r;

        if (!p)
                return NULL;
        assert(p->calls == 0);
        drop_wait(p);
        close_io(p);
        r = error_setf(&e, -ECANCELED, "process %s is gone", p->controller.id);
        wake_waiters(TAKE(p->waiters), p->n_waiters, r, NULL, &e);
        controller_done(&p->controller);
        free(p->exec_id);
        free(p->process_json);
        free(p);
        return NULL;
}

void process_bind(Process *p, const ProcessOps *ops, void *userdata, const PodEvents *events,
                  ProcessExited exited, void *owner) {
        p->ops = ops;
        p->userdata = userdata;
        p->events = events;
        p->exited = exited;
        p->owner = owner;
}

void process_rename(Process *p, const char *container_id) {
        p->container_id = container_id;
}

Controller *process_controller(Process *p) {
        return &p->controller;
}

/* Tells everybody of p->exit, once: the owner, the event sink, and last the waiters, who may end
 * this object. */
static void report_exit(Process *p) {
        ProcessWaiter *waiters = TAKE(p->waiters);
        size_t n = p->n_waiters;
        ProcessExit exit = p->exit;

        p->n_waiters = 0;
        p->exit_pending = false;
        drop_wait(p);
        close_io(p);
        free(TAKE(p->process_json));
        fsm_must(&p->fsm, PROCESS_TERMINATED);
        if (p->exited)
                p->exited(p->owner, p, &exit);
        if (p->pid != 0)
                pod_events_publish(p->events, &(PodEvent){ .kind = POD_EVENT_EXITED,
                                                           .container_id = p->container_id,
                                                           .exec_id = p->exec_id,
                                                           .pid = p->pid,
                                                           .exit = exit });
        wake_waiters(waiters, n, 0, &exit, NULL);
}

void process_end(Process *p, uint32_t code, bool moved) {
        p->exit = (ProcessExit){ .code = code, .exited_at_ns = now_ns(), .moved = moved };
        p->has_exit = true;
        report_exit(p);
}

/* The wait call has answered. A process that is frozen or being started hears of it afterwards. */
static void wait_done(void *userdata, int r, const void *result, const Error *err) {
        Process *p = userdata;
        bool now = p->fsm.state == PROCESS_CREATED || p->fsm.state == PROCESS_RUNNING;

        p->waiting = false;
        if (r < 0) {
                p->wait_lost = true;
                if (now)
                        process_end(p, PROCESS_EXIT_UNKNOWN, false);
                return;
        }
        p->exit = *(const ProcessExit *)result;
        p->exit.moved = false;
        p->has_exit = true;
        p->exit_pending = true;
        if (now)
                report_exit(p);
}

/* What wait_done kept back. */
static void catch_up(Process *p) {
        if (p->exit_pending)
                report_exit(p);
        else if (p->wait_lost && p->fsm.state != PROCESS_TERMINATED)
                process_end(p, PROCESS_EXIT_UNKNOWN, false);
}

static int make_wait(Process *p, Error *reterr) {
        ProcessKey key = process_key(p);
        int r;

        r = p->ops->wait(p->userdata, &key, &p->wait_call, wait_done, p, reterr);
        if (r < 0)
                return r;
        p->waiting = true;
        return 0;
}

static int open_io(Process *p, Error *reterr) {
        ProcessKey key = process_key(p);
        ProcessSpec spec;
        int r;

        if (p->io_is_open)
                return 0;
        process_spec(p, &spec);
        r = p->ops->io_open(p->userdata, &key, &spec, &p->channels, reterr);
        if (r < 0)
                return r;
        p->io_is_open = true;
        return 0;
}

int process_need_ops(const Process *p, const char *call, Error *reterr) {
        if (!p->ops)
                return error_setf(reterr, -EBADFD, "%s: process %s is not bound to a guest", call,
                                  p->controller.id);
        return 0;
}

int process_open_io(Process *p, Error *reterr) {
        int r;

        if (p->fsm.state != PROCESS_NOT_CREATED)
                return fsm_refuse(&p->fsm, "open stdio", reterr);
        r = process_need_ops(p, "open stdio", reterr);
        return r < 0 ? r : open_io(p, reterr);
}

int process_created(Process *p, uint32_t pid, Error *reterr) {
        int r;

        if (p->fsm.state != PROCESS_NOT_CREATED)
                return fsm_refuse(&p->fsm, "created", reterr);
        r = process_need_ops(p, "created", reterr);
        if (r < 0)
                return r;
        if (pid == 0)
                return error_setf(reterr, -EBADMSG, "the guest made process %s with pid 0",
                                  p->controller.id);
        r = make_wait(p, reterr);
        if (r < 0)
                return r;
        p->pid = pid;
        fsm_must(&p->fsm, PROCESS_CREATED);
        return 0;
}

/* The start call has answered; returns what the caller of start is told. */
static int started(Process *p, int r, uint32_t pid, Error *reterr) {
        p->calls--;
        if (r == 0 && process_is_init(p))
                pid = p->pid;
        if (r == 0 && pid == 0)
                r = error_setf(reterr, -EBADMSG, "the guest started process %s with pid 0",
                               p->controller.id);
        if (r < 0) {
                process_end(p, 1, false);
                return r;
        }
        free(TAKE(p->process_json));
        p->pid = pid;
        fsm_must(&p->fsm, PROCESS_RUNNING);
        pod_events_publish(p->events,
                           &(PodEvent){ .kind = process_is_init(p) ? POD_EVENT_STARTED
                                                                   : POD_EVENT_EXEC_STARTED,
                                        .container_id = p->container_id,
                                        .exec_id = p->exec_id,
                                        .pid = pid });
        if (p->wait_call == 0 && make_wait(p, NULL) < 0)
                p->wait_lost = true;
        return 0;
}

static void start_done(void *userdata, int r, const void *result, const Error *err) {
        Process *p = userdata;
        uint32_t pid = r == 0 && result ? *(const uint32_t *)result : 0;
        Error e = err ? *err : ERROR_INIT;
        OpDone done = p->done;
        void *job = p->job;

        r = started(p, r, pid, &e);
        pid = p->pid;
        if (done)
                done(job, r, r == 0 ? &pid : NULL, &e);
        if (r == 0)
                catch_up(p);
}

int process_start(Process *p, uint32_t *ret_pid, OpDone done, void *job, Error *reterr) {
        ProcessKey key = process_key(p);
        ProcessSpec spec;
        uint32_t pid = 0;
        int r;

        if (p->fsm.state != PROCESS_CREATED)
                return fsm_refuse(&p->fsm, "start", reterr);
        r = process_need_ops(p, "start", reterr);
        if (r < 0)
                return r;
        r = open_io(p, reterr);
        if (r < 0)
                return r;
        process_spec(p, &spec);
        fsm_must(&p->fsm, PROCESS_STARTING);
        p->calls++;
        p->done = done;
        p->job = job;
        r = p->ops->start(p->userdata, &key, &spec, &p->channels, &pid, start_done, p, reterr);
        if (r == 1)
                return 1;
        r = started(p, r, pid, reterr);
        if (r < 0)
                return r;
        if (ret_pid)
                *ret_pid = p->pid;
        catch_up(p);
        return 0;
}

static void delete_done(void *userdata, int r, const void *result, const Error *err) {
        Process *p = userdata;
        OpDone done = p->done;
        void *job = p->job;

        p->calls--;
        if (r == -ENOENT)
                r = 0;
        fsm_must(&p->fsm, r == 0 ? PROCESS_DELETED : PROCESS_TERMINATED);
        if (done)
                done(job, r, NULL, err);
}

int process_delete(Process *p, OpDone done, void *job, Error *reterr) {
        ProcessKey key = process_key(p);
        int r;

        if (p->fsm.state == PROCESS_DELETED)
                return 0;
        if (p->fsm.state == PROCESS_CREATED || p->fsm.state == PROCESS_NOT_CREATED)
                process_end(p, 0, false);
        if (p->fsm.state != PROCESS_TERMINATED)
                return fsm_refuse(&p->fsm, "delete", reterr);
        if (process_is_init(p) || p->pid == 0 || p->unknown_to_guest) {
                fsm_must(&p->fsm, PROCESS_DELETED);
                return 0;
        }
        fsm_must(&p->fsm, PROCESS_DELETING);
        p->calls++;
        p->done = done;
        p->job = job;
        r = p->ops->delete (p->userdata, &key, delete_done, p, reterr);
        if (r == 1)
                return 1;
        p->calls--;
        if (r == -ENOENT)
                r = 0;
        fsm_must(&p->fsm, r == 0 ? PROCESS_DELETED : PROCESS_TERMINATED);
        return r;
}

int process_adopt(Process *p, Error *reterr) {
        ProcessKey key = process_key(p);
        bool live = p->before == PROCESS_CREATED || p->before == PROCESS_RUNNING;
        int r;

        if (p->fsm.state != PROCESS_DESTINATION_MIGRATING || !live || p->pid == 0)
                return 0;
        r = process_need_ops(p, "resume", reterr);
        if (r == 0)
                r = open_io(p, reterr);
        if (r < 0 || p->waiting || p->has_exit)
                return r;
        if (!p->ops->adopt_wait)
                return make_wait(p, reterr);
        r = p->ops->adopt_wait(p->userdata, &key, p->wait_call, wait_done, p, reterr);
        if (r < 0)
                return r;
        p->waiting = true;
        return 0;
}

int process_resume(Process *p, Error *reterr) {
        int r;

        if (!controller_is_frozen(&p->controller))
                return 0;
        r = process_adopt(p, reterr);
        if (r < 0)
                return r;
        fsm_must(&p->fsm, (int)p->before);
        catch_up(p);
        return 0;
}

bool process_pending_exit(const Process *p, ProcessExit *ret) {
        if (p->fsm.state != PROCESS_SOURCE_MIGRATING || !p->exit_pending)
                return false;
        *ret = p->exit;
        return true;
}

int process_put_exit(Process *p, const ProcessExit *exit, Error *reterr) {
        if (p->fsm.state != PROCESS_DESTINATION_MIGRATING)
                return fsm_refuse(&p->fsm, "put exit", reterr);
        if (p->has_exit)
                return error_setf(reterr, -EEXIST, "process %s has exited already",
                                  p->controller.id);
        if (p->pid == 0 || exit->code > 255)
                return error_setf(reterr, -EINVAL, "process %s cannot have exited with %u",
                                  p->controller.id, exit->code);
        p->exit = *exit;
        p->exit.moved = false;
        p->has_exit = true;
        p->exit_pending = true;
        return 0;
}

/* Ends the object without a word to the guest. */
static void end_here(Process *p, uint32_t code, bool moved) {
        p->unknown_to_guest = true;
        if (controller_is_frozen(&p->controller) && p->before == PROCESS_TERMINATED)
                fsm_must(&p->fsm, PROCESS_TERMINATED); /* it was reported long ago */
        else if (p->exit_pending && !moved)
                report_exit(p);
        else
                process_end(p, code, moved);
}

void process_moved(Process *p) {
        if (p->fsm.state == PROCESS_SOURCE_MIGRATING)
                end_here(p, PROCESS_EXIT_UNKNOWN, true);
}

void process_lost(Process *p) {
        int state = p->fsm.state;

        p->unknown_to_guest = true;
        /* Calls in flight come back with a failure and end it then. */
        if (state == PROCESS_CREATED || state == PROCESS_RUNNING ||
            controller_is_frozen(&p->controller))
                end_here(p, PROCESS_EXIT_UNKNOWN, false);
}

int process_abort_migrated(Process *p, Error *reterr) {
        if (p->fsm.state == PROCESS_DESTINATION_MIGRATING) {
                p->exit_pending = false;
                end_here(p, PROCESS_EXIT_ABORTED, false);
        }
        return 0;
}

ProcessState process_state(const Process *p) {
        return (ProcessState)p->fsm.state;
}

ProcessState process_state_before(const Process *p) {
        return controller_is_frozen(&p->controller) ? p->before : process_state(p);
}

const char *process_exec_id(const Process *p) {
        return p->exec_id;
}

bool process_is_init(const Process *p) {
        return !p->exec_id[0];
}

uint32_t process_pid(const Process *p) {
        return p->pid;
}

bool process_terminal(const Process *p) {
        return p->terminal;
}

const ProcessChannels *process_channels(const Process *p) {
        return &p->channels;
}

uint64_t process_wait_call(const Process *p) {
        return p->waiting ? p->wait_call : 0;
}

uint64_t process_saved_wait_call(const Process *p) {
        return p->wait_call;
}

const ProcessExit *process_exit(const Process *p) {
        return p->has_exit && !p->exit_pending ? &p->exit : NULL;
}

bool process_busy(const Process *p) {
        return p->calls > 0;
}
