/* SPDX-License-Identifier: Apache-2.0 */
/* The VM's life: start, stop, death, and where it is in a migration. */
#include "controllers/vm/vm.h"

#include <assert.h>
#include <string.h>

#include "controllers/vm/vm-internal.h"
#include "lib/log.h"

/* clang-format off */
#define TO(s) (1U << VM_##s)
#define ENDS (TO(STOPPING) | TO(TERMINATED))
static const FsmRow fsm_rows[_VM_STATE_MAX] = {
        [VM_NOT_CREATED] = { "not-created", TO(STARTING) | TO(TERMINATED), FSM_FIRST },
        [VM_STARTING]    = { "starting",    TO(RUNNING) | TO(INVALID) | TO(TERMINATED), FSM_WAITING },
        [VM_RUNNING]     = { "running",     ENDS | TO(SOURCE_INITIALIZED), 0 },
        [VM_STOPPING]    = { "stopping",    TO(TERMINATED) | TO(INVALID), FSM_WAITING },
        [VM_TERMINATED]  = { "terminated",  0, FSM_FINAL },
        [VM_INVALID]     = { "invalid",     ENDS, 0 },
        [VM_SOURCE_INITIALIZED] = { "source-migration-initialized", ENDS | TO(SOURCE_STARTED) | TO(RUNNING), FSM_FROZEN },
        [VM_SOURCE_STARTED]     = { "source-migration-started",     ENDS | TO(TRANSFER_COMPLETED) | TO(SOURCE_MOVED) | TO(RUNNING), FSM_FROZEN },
        [VM_DESTINATION_IMPORTED] = { "destination-migration-imported", TO(DESTINATION_PATCHED) | TO(TERMINATED), FSM_FIRST | FSM_FROZEN },
        [VM_DESTINATION_PATCHED]  = { "destination-migration-patched",  TO(DESTINATION_STARTED) | TO(TERMINATED), FSM_FROZEN },
        [VM_DESTINATION_STARTED]  = { "destination-migration-started",  ENDS | TO(TRANSFER_COMPLETED) | TO(RUNNING), FSM_FROZEN },
        [VM_TRANSFER_COMPLETED]   = { "migration-transfer-completed",   ENDS | TO(SOURCE_MOVED) | TO(RUNNING), FSM_FROZEN },
        [VM_SOURCE_MOVED]         = { "source-migration-moved",         ENDS, FSM_FROZEN },
};
#undef ENDS
#undef TO
/* clang-format on */
const FsmTable vm_fsm = { "vm", fsm_rows, _VM_STATE_MAX };

static int vm_can_freeze(const Controller *c, Error *reterr) {
        const Vm *vm = (const Vm *)c; /* its first member */

        if (vm->task)
                return error_setf(reterr, -EBUSY, "the VM is %s", fsm_name(&vm->fsm));
        if (!fsm_can(&vm->fsm, VM_SOURCE_INITIALIZED))
                return fsm_refuse(&vm->fsm, "freeze", reterr);
        return 0;
}

static void vm_freeze(Controller *c) {
        fsm_must(&container_of(c, Vm, controller)->fsm, VM_SOURCE_INITIALIZED);
}

static bool is_frozen_source(const Vm *vm) {
        return vm->fsm.state == VM_SOURCE_INITIALIZED || vm->fsm.state == VM_SOURCE_STARTED ||
               (vm->fsm.state == VM_TRANSFER_COMPLETED && !vm->destination);
}

static void vm_thaw(Controller *c) {
        Vm *vm = container_of(c, Vm, controller);

        if (is_frozen_source(vm))
                fsm_must(&vm->fsm, VM_RUNNING);
}

static int vm_dump(const Controller *c, json_object *o) {
        const Vm *vm = (const Vm *)c;

        json_object_object_add(o, "pod_id", json_object_new_string(vm->spec.pod_id));
        json_object_object_add(o, "uuid", json_object_new_string(vm->spec.uuid));
        json_object_object_add(o, "memory_mib",
                               json_object_new_int64((int64_t)vm->spec.memory_mib));
        json_object_object_add(o, "vcpus", json_object_new_int64(vm->spec.vcpus));
        json_object_object_add(o, "machine", json_object_new_string(vm->spec.machine));
        json_object_object_add(o, "link_path", json_object_new_string(vm->spec.link_path));
        json_object_object_add(o, "end_reason", json_object_new_string(vm->end_reason));
        return 0;
}

static const ControllerVtable vtable = {
        .kind = "vm",
        .can_freeze = vm_can_freeze,
        .freeze = vm_freeze,
        .thaw = vm_thaw,
        .dump = vm_dump,
};

int vm_alloc(const VmSpec *spec, VmState state, Vm **ret, Error *reterr) {
        _cleanup_(vm_freep) Vm *vm = NULL;
        int r;

        r = vm_spec_check(spec, reterr);
        if (r < 0)
                return r;
        vm = calloc(1, sizeof(*vm));
        if (!vm)
                return error_oom(reterr);
        vm->fsm = FSM_INIT(&vm_fsm, (int)state, NULL);
        controller_init(&vm->controller, &vtable, NULL, NULL, &vm->fsm);
        vm->end_reason = strdup("");
        if (!vm->end_reason || vm_spec_copy(spec, &vm->spec) < 0)
                return error_oom(reterr);
        vm->fsm.id = vm->controller.id = vm->spec.domain_name;
        *ret = TAKE(vm);
        return 0;
}

int vm_new(const VmSpec *spec, Vm **ret, Error *reterr) {
        _cleanup_(vm_freep) Vm *vm = NULL;
        int r;

        r = vm_alloc(spec, VM_NOT_CREATED, &vm, reterr);
        if (r == 0)
                r = scsi_new(&vm->controller, spec->n_scsi_controllers, &vm->scsi, reterr);
        if (r == 0)
                r = plan9_new(&vm->controller, &vm->plan9, reterr);
        if (r == 0)
                r = vpci_new(&vm->controller, &vm->vpci, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(vm);
        return 0;
}

Vm *vm_free(Vm *vm) {
        if (!vm)
                return NULL;
        assert(!vm->task);
        vpci_free(vm->vpci);
        plan9_free(vm->plan9);
        scsi_free(vm->scsi);
        controller_done(&vm->controller);
        vm_spec_done(&vm->spec);
        free(vm->end_reason);
        free(vm);
        return NULL;
}

void vm_bind(Vm *vm, const VmOps *ops, void *userdata, VmEnded ended, void *ended_userdata) {
        vm->ops = ops;
        vm->userdata = userdata;
        vm->ended = ended;
        vm->ended_userdata = ended_userdata;
}

Controller *vm_controller(Vm *vm) {
        return &vm->controller;
}

VmState vm_state(const Vm *vm) {
        return (VmState)vm->fsm.state;
}

const VmSpec *vm_spec(const Vm *vm) {
        return &vm->spec;
}

const VmLink *vm_imported_link(const Vm *vm) {
        return vm->destination ? &vm->link : NULL;
}

Scsi *vm_scsi(const Vm *vm) {
        return vm->scsi;
}

Plan9 *vm_plan9(const Vm *vm) {
        return vm->plan9;
}

Vpci *vm_vpci(const Vm *vm) {
        return vm->vpci;
}

bool vm_is_migrating(const Vm *vm) {
        return controller_is_frozen(&vm->controller);
}

bool vm_is_gone(const Vm *vm) {
        return vm->fsm.state == VM_TERMINATED || vm->fsm.state == VM_SOURCE_MOVED;
}

const char *vm_end_reason(const Vm *vm) {
        return vm->end_reason;
}

static void end(Vm *vm, VmState state, const char *reason) {
        char *copy;

        fsm_must(&vm->fsm, (int)state);
        scsi_lost(vm->scsi);
        if (vm->end_told)
                return;
        vm->end_told = true;
        copy = strdup(reason);
        if (copy) { /* else: gone, without a reason */
                free(vm->end_reason);
                vm->end_reason = copy;
        }
        if (vm->ended)
                vm->ended(vm->ended_userdata, vm, vm->end_reason);
}

static int need_ops(const Vm *vm, const char *call, Error *reterr) {
        if (!vm->ops)
                return error_setf(reterr, -EBADFD, "%s: VM %s is not bound to a hypervisor", call,
                                  vm->spec.domain_name);
        return 0;
}

static void answer(Vm *vm, int r, const Error *err) {
        OpDone done = vm->done;
        void *job = vm->job;

        if (done)
                done(job, r, NULL, err);
}

static int step_create(void *object, Task *t, Error *reterr) {
        Vm *vm = object;

        return vm->ops->create(vm->userdata, &vm->spec, task_done, t, reterr);
}

static int step_destroy(void *object, Task *t, Error *reterr) {
        Vm *vm = object;

        return vm->ops->destroy(vm->userdata, task_done, t, reterr);
}

static int step_connect(void *object, Task *t, Error *reterr) {
        Vm *vm = object;

        return vm->ops->connect(vm->userdata, task_done, t, reterr);
}

static const TaskStep start_steps[] = {
        { .name = "create the domain", .run = step_create, .undo = step_destroy },
        { .name = "connect to the guest", .run = step_connect },
};

static int start_ended(Vm *vm, int r, Error *reterr) {
        vm->task = NULL;
        if (vm->fsm.state == VM_TERMINATED)
                return error_setf(reterr, -ECANCELED, "VM %s ended while it was started: %s",
                                  vm->spec.domain_name, vm->end_reason);
        fsm_must(&vm->fsm, r < 0 ? VM_INVALID : VM_RUNNING);
        return r;
}

static void start_done(void *userdata, int r, const void *result, const Error *err) {
        Vm *vm = userdata;
        Error e = err ? *err : ERROR_INIT;

        r = start_ended(vm, r, &e);
        answer(vm, r, &e);
}

int vm_start(Vm *vm, OpDone done, void *job, Error *reterr) {
        int r;

        if (vm->fsm.state == VM_RUNNING)
                return 0;
        if (fsm_flags(&vm->fsm) & FSM_WAITING)
                return error_setf(reterr, -EBUSY, "the VM is %s", fsm_name(&vm->fsm));
        if (vm->fsm.state != VM_NOT_CREATED)
                return fsm_refuse(&vm->fsm, "start", reterr);
        r = need_ops(vm, "start", reterr);
        if (r < 0)
                return r;
        fsm_must(&vm->fsm, VM_STARTING);
        vm->done = done;
        vm->job = job;
        r = task_start(start_steps, ELEMENTSOF(start_steps), vm, start_done, vm, &vm->task, reterr);
        return r == 1 ? 1 : start_ended(vm, r, reterr);
}

static void power_off_done(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_info("the guest did not power off, it is destroyed: %s", error_text(err, r));
        task_done(userdata, 0, NULL, NULL);
}

static int step_power_off(void *object, Task *t, Error *reterr) {
        Vm *vm = object;
        Error e = ERROR_INIT;
        int r;

        if (!vm->power_off)
                return 0;
        r = vm->ops->power_off(vm->userdata, vm->stop_timeout_ms, power_off_done, t, &e);
        if (r < 0)
                log_info("the guest cannot power off, it is destroyed: %s", error_text(&e, r));
        return r == 1 ? 1 : 0;
}

static const TaskStep stop_steps[] = {
        { .name = "power off", .run = step_power_off },
        { .name = "destroy the domain", .run = step_destroy },
};

static int stop_ended(Vm *vm, int r) {
        vm->task = NULL;
        if (vm->fsm.state == VM_TERMINATED)
                return 0; /* it died meanwhile */
        if (r < 0)
                fsm_must(&vm->fsm, VM_INVALID);
        else
                end(vm, VM_TERMINATED, "stopped");
        return r;
}

static void stop_done(void *userdata, int r, const void *result, const Error *err) {
        Vm *vm = userdata;

        r = stop_ended(vm, r);
        answer(vm, r, err);
}

int vm_stop(Vm *vm, uint32_t timeout_ms, OpDone done, void *job, Error *reterr) {
        int r, state = vm->fsm.state;

        if (state == VM_NOT_CREATED || state == VM_TERMINATED)
                return 0;
        if (vm->task)
                return error_setf(reterr, -EBUSY, "the VM is %s", fsm_name(&vm->fsm));
        if (state == VM_DESTINATION_IMPORTED || state == VM_DESTINATION_PATCHED) {
                end(vm, VM_TERMINATED, "stopped"); /* there is no domain yet */
                return 0;
        }
        r = need_ops(vm, "stop", reterr);
        if (r < 0)
                return r;
        vm->power_off = state == VM_RUNNING && timeout_ms > 0;
        vm->stop_timeout_ms = timeout_ms;
        vm->done = done;
        vm->job = job;
        fsm_must(&vm->fsm, VM_STOPPING);
        r = task_start(stop_steps, ELEMENTSOF(stop_steps), vm, stop_done, vm, &vm->task, reterr);
        return r == 1 ? 1 : stop_ended(vm, r);
}

void vm_died(Vm *vm, const char *reason) {
        if (vm->fsm.state == VM_TERMINATED)
                return;
        if (vm->task && vm->fsm.state == VM_STARTING)
                task_cancel(vm->task);
        end(vm, VM_TERMINATED, reason && reason[0] ? reason : "the VM died");
}

int vm_migration_started(Vm *vm, Error *reterr) {
        if (vm->fsm.state != VM_SOURCE_INITIALIZED && vm->fsm.state != VM_DESTINATION_PATCHED)
                return fsm_refuse(&vm->fsm, "start migration", reterr);
        fsm_must(&vm->fsm, vm->destination ? VM_DESTINATION_STARTED : VM_SOURCE_STARTED);
        return 0;
}

int vm_migration_completed(Vm *vm, Error *reterr) {
        if (vm->fsm.state != VM_SOURCE_STARTED && vm->fsm.state != VM_DESTINATION_STARTED)
                return fsm_refuse(&vm->fsm, "complete migration", reterr);
        fsm_must(&vm->fsm, VM_TRANSFER_COMPLETED);
        return 0;
}

int vm_moved(Vm *vm, Error *reterr) {
        if (vm->fsm.state == VM_SOURCE_MOVED)
                return 0;
        if (vm->fsm.state != VM_SOURCE_STARTED &&
            (vm->fsm.state != VM_TRANSFER_COMPLETED || vm->destination))
                return fsm_refuse(&vm->fsm, "move", reterr);
        end(vm, VM_SOURCE_MOVED, "moved");
        return 0;
}

int vm_resume(Vm *vm, const VmOps *ops, void *userdata, const ScsiOps *scsi_ops,
              void *scsi_userdata, Error *reterr) {
        int r;

        if (vm->fsm.state == VM_RUNNING)
                return 0;
        if (!is_frozen_source(vm) && vm->fsm.state != VM_DESTINATION_STARTED &&
            vm->fsm.state != VM_TRANSFER_COMPLETED)
                return fsm_refuse(&vm->fsm, "resume", reterr);
        r = scsi_resume(vm->scsi, scsi_ops, scsi_userdata, reterr);
        if (r == 0)
                r = plan9_resume(vm->plan9, reterr);
        if (r == 0)
                r = vpci_resume(vm->vpci, reterr);
        if (r < 0)
                return r;
        if (vm->destination) {
                vm->ops = ops;
                vm->userdata = userdata;
                vm->destination = false; /* from here on it is a VM like any other */
        }
        fsm_must(&vm->fsm, VM_RUNNING);
        return 0;
}

int vm_abort_migrated(Vm *vm, Error *reterr) {
        if (!vm->destination || !controller_is_frozen(&vm->controller))
                return 0;
        (void)scsi_abort_migrated(vm->scsi, reterr);
        (void)plan9_abort_migrated(vm->plan9, reterr);
        (void)vpci_abort_migrated(vm->vpci, reterr);
        end(vm, VM_TERMINATED, "migration aborted");
        return 0;
}
