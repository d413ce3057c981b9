/* SPDX-License-Identifier: Apache-2.0 */
/* A container's life; its steps are in container-steps.c, its processes in container-exec.c. */
#include "controllers/container/container.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/container/container-internal.h"

/* clang-format off */
#define TO(s) (1U << CONTAINER_##s)
#define SETTLED (TO(CREATED) | TO(RUNNING) | TO(STOPPED))
static const FsmRow fsm_rows[_CONTAINER_STATE_MAX] = {
        [CONTAINER_NOT_CREATED] = { "not-created", TO(CREATING), FSM_FIRST },
        [CONTAINER_CREATING]    = { "creating",    TO(CREATED) | TO(INVALID) | TO(DELETED), FSM_WAITING },
        [CONTAINER_CREATED]     = { "created",     TO(STARTING) | TO(STOPPED) | TO(DELETING) | TO(SOURCE_MIGRATING), 0 },
        [CONTAINER_STARTING]    = { "starting",    TO(RUNNING) | TO(STOPPED) | TO(CREATED), FSM_WAITING },
        [CONTAINER_RUNNING]     = { "running",     TO(STOPPED) | TO(SOURCE_MIGRATING), 0 },
        [CONTAINER_STOPPED]     = { "stopped",     TO(DELETING) | TO(SOURCE_MIGRATING), 0 },
        [CONTAINER_INVALID]     = { "invalid",     TO(DELETING), 0 },
        [CONTAINER_DELETING]    = { "deleting",    TO(DELETED) | TO(INVALID), FSM_WAITING },
        [CONTAINER_DELETED]     = { "deleted",     0, FSM_FINAL },
        [CONTAINER_SOURCE_MIGRATING]      = { "source-migrating",      SETTLED, FSM_FROZEN },
        [CONTAINER_DESTINATION_MIGRATING] = { "destination-migrating", SETTLED, FSM_FIRST | FSM_FROZEN },
};
#undef SETTLED
#undef TO
/* clang-format on */
const FsmTable container_fsm = { "container", fsm_rows, _CONTAINER_STATE_MAX };

static int container_can_freeze(const Controller *controller, Error *reterr) {
        const Container *c = (const Container *)controller; /* its first member */

        if (fsm_flags(&c->fsm) & FSM_WAITING)
                return error_setf(reterr, -EBUSY, "container %s is %s", c->id, fsm_name(&c->fsm));
        if (c->calls > 0)
                return error_setf(reterr, -EBUSY, "a call to container %s is in flight", c->id);
        if (!fsm_can(&c->fsm, CONTAINER_SOURCE_MIGRATING))
                return fsm_refuse(&c->fsm, "freeze", reterr);
        return 0;
}

static void container_freeze(Controller *controller) {
        Container *c = container_of(controller, Container, controller);

        c->before = (ContainerState)c->fsm.state;
        fsm_must(&c->fsm, CONTAINER_SOURCE_MIGRATING);
}

static void container_thaw(Controller *controller) {
        Container *c = container_of(controller, Container, controller);

        if (c->fsm.state == CONTAINER_SOURCE_MIGRATING)
                fsm_must(&c->fsm, (int)c->before);
}

static int dump_volume(void *array, const ContainerDiskInfo *info) {
        const ScsiDiskConfig *d = &info->disk.config;
        json_object *o;

        if (d->kind != SCSI_DISK_VOLUME)
                return 0;
        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        json_object_object_add(o, "destination", json_object_new_string(info->destination));
        json_object_object_add(o, "path", json_object_new_string(d->host_path));
        json_object_object_add(o, "slot", json_object_new_int64(info->disk.slot));
        if (json_object_array_add(array, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        return 0;
}

static int container_dump(const Controller *controller, json_object *o) {
        const Container *c = (const Container *)controller;
        json_object *volumes;

        json_object_object_add(o, "guest_id", json_object_new_string(c->guest_id));
        json_object_object_add(o, "bundle", json_object_new_string(c->bundle));
        json_object_object_add(o, "log_path", json_object_new_string(c->log_path));
        json_object_object_add(o, "rootfs", json_object_new_string(c->rootfs));
        json_object_object_add(o, "disks", json_object_new_int64((int64_t)c->n_disks));
        json_object_object_add(o, "patched", json_object_new_boolean(c->patched));
        volumes = json_object_new_array();
        if (!volumes)
                return -ENOMEM;
        json_object_object_add(o, "volumes", volumes);
        return c->ops.scsi ? container_each_disk(c, dump_volume, volumes) : 0;
}

static const ControllerVtable vtable = {
        .kind = "container",
        .can_freeze = container_can_freeze,
        .freeze = container_freeze,
        .thaw = container_thaw,
        .dump = container_dump,
};

int container_set_string(char **field, const char *value) {
        char *copy;

        copy = strdup(value ?: "");
        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

int container_alloc(Controller *parent, const char *id, const char *guest_id, ContainerState state,
                    size_t n_disks, Container **ret, Error *reterr) {
        _cleanup_(container_freep) Container *c = NULL;

        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        c->fsm = FSM_INIT(&container_fsm, (int)state, NULL);
        controller_init(&c->controller, &vtable, parent, NULL, &c->fsm);
        c->disks = calloc(n_disks + 1, sizeof(*c->disks));
        if (!c->disks || container_set_string(&c->id, id) < 0 ||
            container_set_string(&c->guest_id, guest_id && guest_id[0] ? guest_id : id) < 0 ||
            container_set_string(&c->bundle, NULL) < 0 ||
            container_set_string(&c->log_path, NULL) < 0)
                return error_oom(reterr);
        if (asprintf(&c->rootfs, "/run/containers/%s/rootfs", c->guest_id) < 0) {
                c->rootfs = NULL;
                return error_oom(reterr);
        }
        c->fsm.id = c->controller.id = c->id;
        for (size_t i = 0; i < n_disks; i++)
                c->disks[i].container = c;
        c->n_disks = n_disks;
        *ret = TAKE(c);
        return 0;
}

int container_copy_disk(ContainerDiskRef *ref, const ContainerDisk *d) {
        if (container_set_string(&ref->host_path, d->disk.host_path) < 0 ||
            container_set_string(&ref->format, d->disk.format) < 0 ||
            container_set_string(&ref->digest, d->disk.digest) < 0 ||
            container_set_string(&ref->filesystem, d->filesystem) < 0 ||
            container_set_string(&ref->destination, d->destination) < 0 ||
            strv_copy(d->options, &ref->options) < 0)
                return -ENOMEM;
        ref->kind = d->disk.kind;
        ref->read_only = d->disk.read_only;
        ref->block_device = d->block_device;
        ref->config = d->disk;
        ref->config.host_path = ref->host_path;
        ref->config.format = ref->format;
        ref->config.digest = ref->digest;
        ref->mount = (ScsiMountConfig){ .partition = d->partition,
                                        .filesystem = ref->filesystem,
                                        .read_only = ref->read_only,
                                        .block_device = ref->block_device,
                                        .options = (const char *const *)ref->options };
        return 0;
}

int container_new(Controller *parent, const ContainerSpec *spec, Container **ret, Error *reterr) {
        _cleanup_(container_freep) Container *c = NULL;
        ProcessSpec init = { .terminal = spec->terminal,
                             .stdin_open = spec->stdin_open,
                             .rows = spec->rows,
                             .columns = spec->columns };
        int r;

        r = container_spec_check(spec, reterr);
        if (r < 0)
                return r;
        r = container_alloc(parent, spec->id, spec->guest_id, CONTAINER_NOT_CREATED, spec->n_disks,
                            &c, reterr);
        if (r < 0)
                return r;
        if (container_set_string(&c->bundle, spec->bundle) < 0 ||
            container_set_string(&c->log_path, spec->log_path) < 0 ||
            container_set_string(&c->config_json, spec->config_json) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < spec->n_disks; i++) {
                ContainerDiskRef *ref = &c->disks[i];

                if (container_copy_disk(ref, &spec->disks[i]) < 0)
                        return error_oom(reterr);
                r = scsi_check(&ref->config, &ref->mount, reterr);
                if (r < 0)
                        return r;
        }
        r = process_new(&c->controller, &(ProcessKey){ c->id, c->guest_id, "" }, &init, &c->init,
                        reterr);
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

void container_disk_done(ContainerDiskRef *d) {
        free(d->destination);
        free(d->host_path);
        free(d->format);
        free(d->digest);
        free(d->filesystem);
        strv_free(d->options);
}

Container *container_free(Container *c) {
        if (!c)
                return NULL;
        assert(!(fsm_flags(&c->fsm) & FSM_WAITING));
        assert(c->calls == 0);
        if (c->claims)
                for (size_t i = 0; i < c->n_disks; i++)
                        scsi_unclaim(c->ops.scsi, c->disks[i].reservation);
        for (size_t i = 0; i < c->n_execs; i++)
                process_free(c->execs[i]);
        free(c->execs);
        process_free(c->init);
        for (size_t i = 0; i < c->n_disks; i++)
                container_disk_done(&c->disks[i]);
        free(c->disks);
        controller_done(&c->controller);
        free(c->id);
        free(c->guest_id);
        free(c->bundle);
        free(c->log_path);
        free(c->rootfs);
        free(c->config_json);
        free(c->source_id);
        free(c);
        return NULL;
}

Controller *container_controller(Container *c) {
        return &c->controller;
}

/* The init has exited: what that means for the container. */
static void process_exited(void *owner, Process *p, const ProcessExit *exit) {
        Container *c = owner;

        if (p != c->init)
                return;
        if (controller_is_frozen(&c->controller))
                c->before = CONTAINER_STOPPED;
        else if (fsm_can(&c->fsm, CONTAINER_STOPPED))
                fsm_must(&c->fsm, CONTAINER_STOPPED);
}

void container_bind_process(Container *c, Process *p) {
        if (c->bound)
                process_bind(p, c->ops.process, c->ops.userdata, &c->ops.events, process_exited, c);
}

void container_bind(Container *c, const PodOps *ops) {
        c->ops = *ops;
        c->bound = true;
        if (c->init)
                container_bind_process(c, c->init);
        for (size_t i = 0; i < c->n_execs; i++)
                container_bind_process(c, c->execs[i]);
}

static int need_ops(const Container *c, const char *call, Error *reterr) {
        if (!c->bound)
                return error_setf(reterr, -EBADFD, "%s: container %s is not bound to a VM", call,
                                  c->id);
        return 0;
}

static void publish(const Container *c, PodEventKind kind, const ProcessExit *exit, bool migrated) {
        pod_events_publish(&c->ops.events, &(PodEvent){ .kind = kind,
                                                        .container_id = c->id,
                                                        .exec_id = "",
                                                        .pid = process_pid(c->init),
                                                        .exit = exit ? *exit : (ProcessExit){},
                                                        .migrated = migrated });
}

/* The caller's completion, of an operation that is over. */
static void answer(Container *c, int r, const void *result, const Error *err) {
        OpDone done = c->done;
        void *job = c->job;

        if (done)
                done(job, r, r < 0 ? NULL : result, err);
}

static void creation_undone(void *userdata, int r, const void *result, const Error *err);

/* Creation came to an end; 1: what there is, is still being released. */
static int creation_ended(Container *c, int r, const Error *err, Error *reterr) {
        Error e = ERROR_INIT;
        int released;

        if (r == 0) {
                free(TAKE(c->config_json));
                fsm_must(&c->fsm, CONTAINER_CREATED);
                publish(c, POD_EVENT_CREATED, NULL, false);
                return 0;
        }
        c->error = err ? *err : ERROR_INIT;
        c->error.code = r;
        released = container_run_release(c, creation_undone, &e);
        if (released > 0)
                return 1;
        fsm_must(&c->fsm, released == 0 ? CONTAINER_DELETED : CONTAINER_INVALID);
        if (reterr)
                *reterr = c->error;
        return r;
}

static void creation_undone(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;
        Error first = c->error;

        fsm_must(&c->fsm, r == 0 ? CONTAINER_DELETED : CONTAINER_INVALID);
        answer(c, first.code, NULL, &first);
}

static void creation_done(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;
        Error e = ERROR_INIT;

        r = creation_ended(c, r, err, &e);
        if (r <= 0)
                answer(c, r, NULL, &e);
}

int container_create(Container *c, OpDone done, void *job, Error *reterr) {
        Error e = ERROR_INIT;
        int r;

        r = need_ops(c, "create", reterr);
        if (r < 0)
                return r;
        r = fsm_ask(&c->fsm, CONTAINER_CREATING, reterr);
        if (r < 0)
                return r;
        c->done = done;
        c->job = job;
        r = container_run_create(c, creation_done, &e);
        return r > 0 ? 1 : creation_ended(c, r, &e, reterr);
}

static void start_done(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;

        if (r == 0 && c->fsm.state == CONTAINER_STARTING)
                fsm_must(&c->fsm, CONTAINER_RUNNING);
        answer(c, r, result, err);
}

int container_start(Container *c, uint32_t *ret_pid, OpDone done, void *job, Error *reterr) {
        int r;

        r = need_ops(c, "start", reterr);
        if (r < 0)
                return r;
        if (c->fsm.state != CONTAINER_CREATED)
                return fsm_refuse(&c->fsm, "start", reterr);
        fsm_must(&c->fsm, CONTAINER_STARTING);
        c->done = done;
        c->job = job;
        r = process_start(c->init, ret_pid, start_done, c, reterr);
        if (r < 0 && c->fsm.state == CONTAINER_STARTING)
                fsm_must(&c->fsm, CONTAINER_CREATED); /* refused before the guest heard of it */
        if (r == 0 && c->fsm.state == CONTAINER_STARTING)
                fsm_must(&c->fsm, CONTAINER_RUNNING);
        return r;
}

/* All is released; ends the objects of the processes too. */
static void deletion_settled(Container *c, int r, ProcessExit *ret) {
        const ProcessExit *exit;

        if (r < 0) {
                fsm_must(&c->fsm, CONTAINER_INVALID);
                return;
        }
        (void)process_delete(c->init, NULL, NULL, NULL); /* never leaves the host */
        exit = process_exit(c->init);
        *ret = exit ? *exit : (ProcessExit){};
        fsm_must(&c->fsm, CONTAINER_DELETED);
        publish(c, POD_EVENT_DELETED, ret, false);
}

static void deletion_done(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;
        ProcessExit exit = {};

        deletion_settled(c, r, &exit);
        answer(c, r, &exit, err);
}

bool container_is_idle(const Container *c) {
        bool busy = c->calls > 0 || process_busy(c->init) || (fsm_flags(&c->fsm) & FSM_WAITING);

        for (size_t i = 0; !busy && i < c->n_execs; i++)
                busy = process_busy(c->execs[i]);
        return !busy;
}

int container_delete(Container *c, ProcessExit *ret, OpDone done, void *job, Error *reterr) {
        ProcessExit exit = {};
        int r;

        if (!fsm_can(&c->fsm, CONTAINER_DELETING))
                return fsm_refuse(&c->fsm, "delete", reterr);
        r = need_ops(c, "delete", reterr);
        if (r < 0)
                return r;
        if (c->calls > 0 || process_busy(c->init))
                return error_setf(reterr, -EBUSY, "a call to container %s is in flight", c->id);
        for (size_t i = 0; i < c->n_execs; i++)
                if (process_busy(c->execs[i]))
                        return error_setf(reterr, -EBUSY,
                                          "a call to process %s of container %s is in flight",
                                          process_exec_id(c->execs[i]), c->id);
        fsm_must(&c->fsm, CONTAINER_DELETING);
        c->done = done;
        c->job = job;
        r = container_run_release(c, deletion_done, reterr);
        if (r > 0)
                return 1;
        deletion_settled(c, r, &exit);
        if (r == 0 && ret)
                *ret = exit;
        return r;
}

typedef void (*ProcessEnder)(Process *p);

static bool has_ended(const Process *p) {
        ProcessState state = process_state(p);

        return state != PROCESS_CREATED && state != PROCESS_RUNNING &&
               state != PROCESS_SOURCE_MIGRATING && state != PROCESS_DESTINATION_MIGRATING;
}

static Process *first_living_exec(const Container *c) {
        for (size_t i = 0; i < c->n_execs; i++)
                if (!has_ended(c->execs[i]))
                        return c->execs[i];
        return NULL;
}

/* Ends every process here. Whoever waits for one hears of it and may then delete it, and after the
 * init the whole container: so the list is looked at anew each time, and the init comes last. */
static void end_processes(Container *c, ProcessEnder end) {
        Process *p;

        c->vm_gone = true;
        c->claims = false;
        while ((p = first_living_exec(c)))
                end(p);
        if (controller_is_frozen(&c->controller))
                fsm_must(&c->fsm, CONTAINER_STOPPED);
        end(c->init);
}

void container_lost(Container *c) {
        end_processes(c, process_lost);
}

void container_moved(Container *c) {
        if (c->fsm.state == CONTAINER_SOURCE_MIGRATING)
                end_processes(c, process_moved);
}

static void abort_process(Process *p) {
        (void)process_abort_migrated(p, NULL);
}

int container_abort_migrated(Container *c, Error *reterr) {
        if (c->fsm.state == CONTAINER_DESTINATION_MIGRATING)
                end_processes(c, abort_process);
        return 0;
}

bool container_vm_is_gone(const Container *c) {
        return c->vm_gone;
}

const char *container_source_id(const Container *c) {
        return c->source_id ?: c->id;
}

bool container_is_patched(const Container *c) {
        return c->patched;
}

int container_adopt(Container *c, const PodOps *ops, Error *reterr) {
        int r;

        if (c->fsm.state != CONTAINER_DESTINATION_MIGRATING)
                return 0;
        if (!c->patched)
                return error_setf(reterr, -EBADFD, "resume: container %s was not patched", c->id);
        container_bind(c, ops);
        r = process_adopt(c->init, reterr);
        for (size_t i = 0; r == 0 && i < c->n_execs; i++)
                r = process_adopt(c->execs[i], reterr);
        return r;
}

static int thaw_one(Controller *controller, void *userdata) {
        if (controller->vtable->thaw)
                controller->vtable->thaw(controller);
        return 0;
}

int container_resume(Container *c, const PodOps *ops, Error *reterr) {
        int r;

        if (c->fsm.state == CONTAINER_SOURCE_MIGRATING)
                return controller_walk(&c->controller, thaw_one, NULL);
        if (c->fsm.state != CONTAINER_DESTINATION_MIGRATING)
                return 0;
        r = container_adopt(c, ops, reterr);
        if (r < 0)
                return r;
        /* The container first, so that an exit that was put is news about one that is known. */
        c->claims = false;
        fsm_must(&c->fsm, (int)c->before);
        publish(c, POD_EVENT_CREATED, NULL, true);
        for (size_t i = 0; r == 0 && i < c->n_execs; i++)
                r = process_resume(c->execs[i], reterr);
        return r < 0 ? r : process_resume(c->init, reterr);
}

const char *container_id(const Container *c) {
        return c->id;
}

const char *container_guest_id(const Container *c) {
        return c->guest_id;
}

const char *container_bundle(const Container *c) {
        return c->bundle;
}

const char *container_log_path(const Container *c) {
        return c->log_path;
}

const char *container_rootfs(const Container *c) {
        return c->rootfs;
}

ContainerState container_state(const Container *c) {
        return (ContainerState)c->fsm.state;
}

ContainerState container_state_before(const Container *c) {
        return controller_is_frozen(&c->controller) ? c->before : container_state(c);
}
