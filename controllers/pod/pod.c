/* SPDX-License-Identifier: Apache-2.0 */
/* The list of a pod's containers, and what happens to all of them at once. */
#include "controllers/pod/pod.h"

#include <assert.h>
#include <string.h>

#include "controllers/ids.h"
#include "controllers/pod/pod-internal.h"

/* clang-format off */
#define TO(s) (1U << POD_##s)
static const FsmRow fsm_rows[_POD_STATE_MAX] = {
        [POD_ACTIVE]                = { "active",                TO(SOURCE_MIGRATING) | TO(STOPPED), FSM_FIRST },
        [POD_SOURCE_MIGRATING]      = { "source-migrating",      TO(ACTIVE) | TO(STOPPED),           FSM_FROZEN },
        [POD_DESTINATION_MIGRATING] = { "destination-migrating", TO(ACTIVE) | TO(STOPPED),           FSM_FIRST | FSM_FROZEN },
        [POD_STOPPED]               = { "stopped",               0,                                  FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable pod_fsm = { "pod", fsm_rows, _POD_STATE_MAX };

static int pod_can_freeze(const Controller *controller, Error *reterr) {
        const Pod *p = (const Pod *)controller; /* its first member */

        if (p->calls > 0)
                return error_setf(reterr, -EBUSY,
                                  "a container of pod %s is being created or deleted", p->id);
        if (!fsm_can(&p->fsm, POD_SOURCE_MIGRATING))
                return fsm_refuse(&p->fsm, "freeze", reterr);
        return 0;
}

static void pod_freeze(Controller *controller) {
        fsm_must(&container_of(controller, Pod, controller)->fsm, POD_SOURCE_MIGRATING);
}

static void pod_thaw(Controller *controller) {
        Pod *p = container_of(controller, Pod, controller);

        if (p->fsm.state == POD_SOURCE_MIGRATING)
                fsm_must(&p->fsm, POD_ACTIVE);
}

static int pod_dump(const Controller *controller, json_object *o) {
        const Pod *p = (const Pod *)controller;

        json_object_object_add(o, "guest_id", json_object_new_string(p->guest_id));
        return 0;
}

static const ControllerVtable vtable = {
        .kind = "pod",
        .can_freeze = pod_can_freeze,
        .freeze = pod_freeze,
        .thaw = pod_thaw,
        .dump = pod_dump,
};

int pod_alloc(Controller *parent, const char *id, const char *guest_id, PodState state, Pod **ret,
              Error *reterr) {
        _cleanup_(pod_freep) Pod *p = NULL;

        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(reterr);
        p->fsm = FSM_INIT(&pod_fsm, (int)state, NULL);
        controller_init(&p->controller, &vtable, parent, NULL, &p->fsm);
        p->id = strdup(id);
        p->guest_id = strdup(guest_id && guest_id[0] ? guest_id : id);
        /* Room for all of them: adding and sorting never fail half way. */
        p->containers = calloc(POD_CONTAINERS_MAX, sizeof(Container *));
        if (!p->id || !p->guest_id || !p->containers)
                return error_oom(reterr);
        p->fsm.id = p->controller.id = p->id;
        *ret = TAKE(p);
        return 0;
}

int pod_new(Controller *parent, const char *id, Pod **ret, Error *reterr) {
        _cleanup_(pod_freep) Pod *p = NULL;
        int r;

        r = id_check("pod id", id, reterr);
        if (r < 0)
                return r;
        r = pod_alloc(parent, id, NULL, POD_ACTIVE, &p, reterr);
        if (r < 0)
                return r;
        r = network_new(&p->controller, &p->network, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

Pod *pod_free(Pod *p) {
        if (!p)
                return NULL;
        assert(p->calls == 0);
        for (size_t i = 0; i < p->n_containers; i++)
                container_free(p->containers[i]);
        free(p->containers);
        network_free(p->network);
        controller_done(&p->controller);
        free(p->id);
        free(p->guest_id);
        free(p);
        return NULL;
}

void pod_bind(Pod *p, const PodOps *ops) {
        p->ops = *ops;
        p->bound = true;
        for (size_t i = 0; i < p->n_containers; i++)
                container_bind(p->containers[i], ops);
}

Controller *pod_controller(Pod *p) {
        return &p->controller;
}

const char *pod_id(const Pod *p) {
        return p->id;
}

const char *pod_guest_id(const Pod *p) {
        return p->guest_id;
}

PodState pod_state(const Pod *p) {
        return (PodState)p->fsm.state;
}

Network *pod_network(const Pod *p) {
        return p->network;
}

size_t pod_n_containers(const Pod *p) {
        return p->n_containers;
}

static int compare_containers(const void *a, const void *b) {
        return strcmp(container_id(*(Container *const *)a), container_id(*(Container *const *)b));
}

void pod_sort(Pod *p) {
        if (p->n_containers > 1)
                qsort(p->containers, p->n_containers, sizeof(Container *), compare_containers);
}

int pod_add(Pod *p, Container *c) {
        if (p->n_containers >= POD_CONTAINERS_MAX)
                return -ENOSPC;
        p->containers[p->n_containers++] = c;
        pod_sort(p);
        return 0;
}

static void remove_container(Pod *p, Container *c) {
        size_t i = 0;

        while (p->containers[i] != c)
                i++;
        memmove(&p->containers[i], &p->containers[i + 1],
                (p->n_containers - i - 1) * sizeof(Container *));
        p->n_containers--;
        container_free(c);
}

Container *pod_container(const Pod *p, const char *id) {
        size_t low = 0, high = p->n_containers;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(container_id(p->containers[mid]), id);

                if (order == 0)
                        return p->containers[mid];
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

Container *pod_container_by_guest_id(const Pod *p, const char *guest_id) {
        for (size_t i = 0; i < p->n_containers; i++)
                if (strcmp(container_guest_id(p->containers[i]), guest_id) == 0)
                        return p->containers[i];
        return NULL;
}

bool pod_is_idle(const Pod *p) {
        bool idle = p->calls == 0;

        for (size_t i = 0; idle && i < p->n_containers; i++)
                idle = container_is_idle(p->containers[i]);
        return idle;
}

int pod_each_container(const Pod *p, ContainerVisitor visit, void *userdata) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n_containers; i++)
                r = visit(userdata, p->containers[i]);
        return r;
}

/* A creation or a deletion in flight. */
typedef struct PodCall {
        Pod *pod;
        Container *container;
        OpDone done;
        void *job;
} PodCall;

static PodCall *call_new(Pod *p, OpDone done, void *job, Error *reterr) {
        PodCall *call;

        call = calloc(1, sizeof(*call));
        if (!call) {
                (void)error_oom(reterr);
                return NULL;
        }
        *call = (PodCall){ .pod = p, .done = done, .job = job };
        p->calls++;
        return call;
}

/* What is left of a container when its creation or deletion is over. */
static int call_end(PodCall *call, int r) {
        Container *c = call->container;

        call->pod->calls--;
        if (c && container_state(c) == CONTAINER_DELETED)
                remove_container(call->pod, c);
        free(call);
        return r;
}

static void call_done(void *userdata, int r, const void *result, const Error *err) {
        PodCall *call = userdata;
        OpDone done = call->done;
        void *job = call->job;

        (void)call_end(call, r);
        if (done)
                done(job, r, result, err);
}

static int id_is_free(const Pod *p, const ContainerSpec *spec, Error *reterr) {
        const char *guest_id = spec->guest_id ?: spec->id;

        if (pod_container(p, spec->id))
                return error_setf(reterr, -EEXIST, "pod %s has a container %s already", p->id,
                                  spec->id);
        if (pod_container_by_guest_id(p, guest_id))
                return error_setf(reterr, -EEXIST,
                                  "the guest of pod %s knows another container as %s", p->id,
                                  guest_id);
        if (p->n_containers >= POD_CONTAINERS_MAX)
                return error_setf(reterr, -ENOSPC, "pod %s has %u containers", p->id,
                                  POD_CONTAINERS_MAX);
        return 0;
}

int pod_create_container(Pod *p, const ContainerSpec *spec, Container **ret, OpDone done, void *job,
                         Error *reterr) {
        _cleanup_(container_freep) Container *c = NULL;
        PodCall *call;
        int r;

        if (p->fsm.state != POD_ACTIVE)
                return fsm_refuse(&p->fsm, "create container", reterr);
        if (!p->bound)
                return error_setf(reterr, -EBADFD, "pod %s is not bound to a VM", p->id);
        r = id_check("container id", spec->id, reterr);
        if (r == 0)
                r = id_is_free(p, spec, reterr);
        if (r == 0)
                r = container_new(&p->controller, spec, &c, reterr);
        if (r < 0)
                return r;
        call = call_new(p, done, job, reterr);
        if (!call)
                return -ENOMEM;
        container_bind(c, &p->ops);
        (void)pod_add(p, c); /* there is room */
        call->container = TAKE(c);
        if (ret)
                *ret = call->container;
        r = container_create(call->container, call_done, call, reterr);
        if (r == 1)
                return 1;
        if (r < 0 && ret)
                *ret = NULL;
        return call_end(call, r);
}

int pod_delete_container(Pod *p, const char *id, ProcessExit *ret, OpDone done, void *job,
                         Error *reterr) {
        PodCall *call;
        int r;

        if (controller_is_frozen(&p->controller))
                return fsm_refuse(&p->fsm, "delete container", reterr);
        if (!pod_container(p, id))
                return error_setf(reterr, -ENOENT, "pod %s has no container \"%.100s\"", p->id, id);
        call = call_new(p, done, job, reterr);
        if (!call)
                return -ENOMEM;
        call->container = pod_container(p, id);
        r = container_delete(call->container, ret, call_done, call, reterr);
        if (r == 1)
                return 1;
        return call_end(call, r);
}

void pod_oom(Pod *p, const char *guest_id) {
        const Container *c = pod_container_by_guest_id(p, guest_id);

        if (c)
                pod_events_publish(&p->ops.events, &(PodEvent){ .kind = POD_EVENT_OOM,
                                                                .container_id = container_id(c),
                                                                .exec_id = "" });
}

static Container *first_with_vm(const Pod *p) {
        for (size_t i = 0; i < p->n_containers; i++)
                if (!container_vm_is_gone(p->containers[i]))
                        return p->containers[i];
        return NULL;
}

/* Whoever waits for an exit may delete its container: so the list is looked at anew each time. */
static void end_containers(Pod *p, void (*end)(Container *c)) {
        Container *c;

        if (p->fsm.state != POD_STOPPED)
                fsm_must(&p->fsm, POD_STOPPED);
        network_teardown(p->network);
        while ((c = first_with_vm(p)))
                end(c);
}

void pod_lost(Pod *p) {
        end_containers(p, container_lost);
}

void pod_moved(Pod *p) {
        if (p->fsm.state == POD_SOURCE_MIGRATING)
                end_containers(p, container_moved);
}

static void abort_container(Container *c) {
        (void)container_abort_migrated(c, NULL);
}

int pod_abort_migrated(Pod *p, Error *reterr) {
        if (p->fsm.state == POD_DESTINATION_MIGRATING)
                end_containers(p, abort_container);
        return 0;
}

static Container *first_frozen(const Pod *p) {
        for (size_t i = 0; i < p->n_containers; i++)
                if (controller_is_frozen(container_controller(p->containers[i])))
                        return p->containers[i];
        return NULL;
}

int pod_resume(Pod *p, const PodOps *ops, Error *reterr) {
        Container *c;
        int r;

        /* All that may fail, before anything is told to anyone. */
        for (size_t i = 0; i < p->n_containers; i++) {
                r = container_adopt(p->containers[i], ops, reterr);
                if (r < 0)
                        return r;
        }
        r = network_resume(p->network, reterr);
        if (r < 0)
                return r;
        if (p->fsm.state == POD_DESTINATION_MIGRATING)
                pod_bind(p, ops);
        if (controller_is_frozen(&p->controller))
                fsm_must(&p->fsm, POD_ACTIVE);
        while ((c = first_frozen(p))) {
                r = container_resume(c, ops, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

typedef struct ExitWalk {
        PodExitVisitor visit;
        void *userdata;
        const Container *container;
} ExitWalk;

static int visit_process(void *userdata, Process *process) {
        const ExitWalk *w = userdata;
        PodExit e = { .guest_id = container_guest_id(w->container),
                      .exec_id = process_exec_id(process) };

        return process_pending_exit(process, &e.exit) ? w->visit(w->userdata, &e) : 0;
}

int pod_each_pending_exit(const Pod *p, PodExitVisitor visit, void *userdata) {
        ExitWalk w = { .visit = visit, .userdata = userdata };
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n_containers; i++) {
                w.container = p->containers[i];
                r = container_each_process(w.container, visit_process, &w);
        }
        return r;
}

int pod_put_exit(Pod *p, const PodExit *e, Error *reterr) {
        const Container *c = pod_container_by_guest_id(p, e->guest_id);
        Process *process = c ? container_process(c, e->exec_id) : NULL;

        if (!process)
                return error_setf(reterr, -ENOENT,
                                  "an exit of process \"%.80s\" of container \"%.80s\", which "
                                  "pod %s does not have",
                                  e->exec_id, e->guest_id, p->id);
        return process_put_exit(process, &e->exit, reterr);
}
