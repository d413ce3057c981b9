/* SPDX-License-Identifier: Apache-2.0 */
/* The VM: every verb in every state, starts and stops that fail, deaths at any moment; and the
 * devices that are not supported yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"

typedef struct Rig {
        FakeHost host;
        Vm *vm;
        char ended[128];
} Rig;

static void on_end(void *userdata, Vm *vm, const char *reason) {
        Rig *r = userdata;
        size_t n = strlen(r->ended);

        (void)snprintf(r->ended + n, sizeof(r->ended) - n, "%s;", reason);
}

static void bind(Rig *r) {
        fake_host_init(&r->host, vm_scsi(r->vm));
        vm_bind(r->vm, &fake_vm_ops, &r->host, on_end, r);
}

static const VmPatch patch = { "/dst/vmlinux", "/dst/initrd", "/dst/link.sock", "" };

/* As it comes from another host. */
static void make_imported(Rig *r) {
        _cleanup_buf_ Buf b = {};
        static Rig other;

        other = (Rig){};
        assert_int_equal(vm_new(&fake_vm_spec, &other.vm, NULL), 0);
        bind(&other);
        assert_int_equal(vm_start(other.vm, NULL, NULL, NULL), 0);
        assert_int_equal(controller_freeze(vm_controller(other.vm), NULL), 0);
        assert_int_equal(vm_save(other.vm, &b, NULL), 0);
        vm_free(other.vm);
        assert_int_equal(vm_import(b.data, b.len, &r->vm, NULL), 0);
}

static void make(Rig *r, VmState state, bool destination) {
        *r = (Rig){};
        if (destination)
                make_imported(r);
        else
                assert_int_equal(vm_new(&fake_vm_spec, &r->vm, NULL), 0);
        bind(r);
        if (state == VM_NOT_CREATED || state == VM_DESTINATION_IMPORTED)
                return;
        if (destination) {
                assert_int_equal(vm_patch(r->vm, &patch, NULL), 0);
                if (state == VM_DESTINATION_PATCHED)
                        return;
        } else {
                if (state == VM_STARTING)
                        r->host.mode[FAKE_VM_CREATE] = FAKE_LATER;
                if (state == VM_INVALID)
                        r->host.mode[FAKE_VM_CONNECT] = FAKE_REFUSE;
                (void)vm_start(r->vm, NULL, NULL, NULL);
                r->host.mode[FAKE_VM_CONNECT] = FAKE_NOW;
                if (state == VM_STOPPING)
                        r->host.mode[FAKE_VM_POWER_OFF] = FAKE_LATER;
                if (state == VM_STOPPING || state == VM_TERMINATED)
                        (void)vm_stop(r->vm, 1000, NULL, NULL, NULL);
                if (state == VM_STARTING || state == VM_INVALID || state == VM_RUNNING ||
                    state == VM_STOPPING || state == VM_TERMINATED)
                        return;
                assert_int_equal(controller_freeze(vm_controller(r->vm), NULL), 0);
                if (state == VM_SOURCE_INITIALIZED)
                        return;
        }
        assert_int_equal(vm_migration_started(r->vm, NULL), 0);
        if (state == VM_TRANSFER_COMPLETED)
                assert_int_equal(vm_migration_completed(r->vm, NULL), 0);
        if (state == VM_SOURCE_MOVED)
                assert_int_equal(vm_moved(r->vm, NULL), 0);
}

static void done(Rig *r) {
        fake_fire_all(&r->host, 0);
        r->vm = vm_free(r->vm);
}

static int verb(Rig *r, char v) {
        _cleanup_buf_ Buf b = {};

        switch (v) {
        case 's':
                return vm_start(r->vm, NULL, NULL, NULL);
        case 'S':
                return vm_stop(r->vm, 0, NULL, NULL, NULL);
        case 'z':
                return controller_freeze(vm_controller(r->vm), NULL);
        case 'v':
                return vm_save(r->vm, &b, NULL);
        case 'P':
                return vm_patch(r->vm, &patch, NULL);
        case 't':
                return vm_migration_started(r->vm, NULL);
        case 'c':
                return vm_migration_completed(r->vm, NULL);
        case 'm':
                return vm_moved(r->vm, NULL);
        case 'R':
                return vm_resume(r->vm, &fake_vm_ops, &r->host, &fake_scsi_ops, &r->host, NULL);
        case 'A':
                return vm_abort_migrated(r->vm, NULL);
        default:
                vm_died(r->vm, "killed");
                return 0;
        }
}

/* One letter per verb: 0 done, 1 later, D wrong state, B busy. */
static const char verbs[] = "sSzvPtcmRAd";
static const struct Cell {
        VmState state;
        bool destination;
        const char *answers;
} cells[] = {
        { VM_NOT_CREATED, false, "00DDDDDDD00" },
        { VM_STARTING, false, "BBBDDDDDD00" },
        { VM_RUNNING, false, "000DDDDD000" },
        { VM_STOPPING, false, "BBBDDDDDD00" },
        { VM_TERMINATED, false, "D0DDDDDDD00" },
        { VM_INVALID, false, "D0DDDDDDD00" },
        { VM_SOURCE_INITIALIZED, false, "D0D0D0DD000" },
        { VM_SOURCE_STARTED, false, "D0DDDD00000" },
        { VM_TRANSFER_COMPLETED, false, "D0DDDDD0000" },
        { VM_SOURCE_MOVED, false, "D0DDDDD0D00" },
        { VM_DESTINATION_IMPORTED, true, "D0DD0DDDD00" },
        { VM_DESTINATION_PATCHED, true, "D0DD00DDD00" },
        { VM_DESTINATION_STARTED, true, "D0DDDD0D000" },
        { VM_TRANSFER_COMPLETED, true, "D0DDDDDD000" },
};

static void test_cell(void **state) {
        const struct Cell *cell = *state;

        for (size_t i = 0; verbs[i]; i++) {
                static Rig r;
                int answer;
                char c;

                make(&r, cell->state, cell->destination);
                assert_int_equal(vm_state(r.vm), cell->state);
                answer = verb(&r, verbs[i]);
                c = answer >= 0 ? (char)('0' + answer)
                                : (answer == -EBADFD ? 'D' : (answer == -EBUSY ? 'B' : '?'));
                if (c != cell->answers[i])
                        fail_msg("%s, verb %c: %c instead of %c",
                                 fsm_state_name(&vm_fsm, cell->state), verbs[i], c,
                                 cell->answers[i]);
                done(&r);
        }
}

static void test_start(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, VM_NOT_CREATED, false);
        fake_all_later(&r.host);
        assert_int_equal(vm_start(r.vm, fake_answer, &a, NULL), 1);
        assert_true(fake_fire(&r.host, 0));
        assert_true(fake_fire(&r.host, 0));
        assert_int_equal(a.r, 0);
        assert_int_equal(vm_state(r.vm), VM_RUNNING);
        assert_string_equal(r.host.trace, "vm-create;vm-connect;");
        done(&r);
        make(&r, VM_NOT_CREATED, false); /* the guest never answers */
        fake_all_later(&r.host);
        assert_int_equal(vm_start(r.vm, fake_answer, &a, NULL), 1);
        assert_true(fake_fire(&r.host, 0));
        assert_true(fake_fire(&r.host, -ETIMEDOUT));
        assert_true(fake_fire(&r.host, 0)); /* destroyed */
        assert_int_equal(a.times, 2);
        assert_int_equal(a.r, -ETIMEDOUT);
        assert_non_null(strstr(a.text, "connect to the guest"));
        assert_int_equal(vm_state(r.vm), VM_INVALID);
        assert_string_equal(r.host.trace, "vm-create;vm-connect;vm-destroy;");
        assert_int_equal(vm_stop(r.vm, 1000, NULL, NULL, NULL), 1);
        assert_string_equal(r.host.trace, "vm-create;vm-connect;vm-destroy;vm-destroy;");
        done(&r);
        make(&r, VM_NOT_CREATED, false);
        r.host.mode[FAKE_VM_CREATE] = FAKE_REFUSE;
        assert_int_equal(vm_start(r.vm, NULL, NULL, NULL), -EIO);
        assert_int_equal(vm_state(r.vm), VM_INVALID);
        assert_string_equal(r.ended, "");
        done(&r);
}

static void test_stop(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, VM_RUNNING, false);
        fake_clear(&r.host);
        fake_all_later(&r.host);
        assert_int_equal(vm_stop(r.vm, 700, fake_answer, &a, NULL), 1);
        assert_true(fake_fire(&r.host, -ETIMEDOUT)); /* the guest does not care */
        assert_true(fake_fire(&r.host, 0));
        assert_int_equal(a.r, 0);
        assert_string_equal(r.host.trace, "vm-power-off 700;vm-destroy;");
        assert_string_equal(r.ended, "stopped;");
        assert_string_equal(vm_end_reason(r.vm), "stopped");
        assert_int_equal(scsi_state(vm_scsi(r.vm)), SCSI_GONE);
        done(&r);
        make(&r, VM_RUNNING, false);
        r.host.mode[FAKE_VM_POWER_OFF] = r.host.mode[FAKE_VM_DESTROY] = FAKE_REFUSE;
        assert_int_equal(vm_stop(r.vm, 700, NULL, NULL, NULL), -EIO);
        assert_int_equal(vm_state(r.vm), VM_INVALID);
        r.host.mode[FAKE_VM_DESTROY] = FAKE_NOW;
        assert_int_equal(vm_stop(r.vm, 700, NULL, NULL, NULL), 0);
        assert_string_equal(r.ended, "stopped;");
        done(&r);
}

static void test_death(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, VM_NOT_CREATED, false); /* while it starts */
        fake_all_later(&r.host);
        assert_int_equal(vm_start(r.vm, fake_answer, &a, NULL), 1);
        vm_died(r.vm, "QEMU crashed");
        vm_died(r.vm, "again");
        assert_string_equal(r.ended, "QEMU crashed;");
        assert_int_equal(a.times, 0);
        fake_fire_all(&r.host, 0);
        assert_int_equal(a.times, 1);
        assert_int_equal(a.r, -ECANCELED);
        assert_non_null(strstr(a.text, "QEMU crashed"));
        assert_int_equal(vm_state(r.vm), VM_TERMINATED);
        done(&r);
        make(&r, VM_STOPPING, false); /* while it stops */
        vm_died(r.vm, "");
        assert_string_equal(r.ended, "the VM died;");
        done(&r);
        make(&r, VM_TRANSFER_COMPLETED, false); /* after it moved: no news */
        assert_int_equal(vm_moved(r.vm, NULL), 0);
        assert_int_equal(vm_moved(r.vm, NULL), 0);
        vm_died(r.vm, "fenced");
        assert_string_equal(r.ended, "moved;");
        assert_int_equal(vm_state(r.vm), VM_TERMINATED);
        done(&r);
}

static void test_round_trip(void **state) {
        _cleanup_buf_ Buf one = {}, two = {};
        static Rig s, d;
        VmPatch same = { fake_vm_spec.kernel.path, fake_vm_spec.initrd.path, fake_vm_spec.link_path,
                         fake_vm_spec.console_path };

        make(&s, VM_SOURCE_INITIALIZED, false);
        assert_int_equal(vm_save(s.vm, &one, NULL), 0);
        d = (Rig){};
        assert_int_equal(vm_import(one.data, one.len, &d.vm, NULL), 0);
        assert_string_equal(vm_spec(d.vm)->uuid, fake_vm_spec.uuid);
        assert_string_equal(vm_spec(d.vm)->kernel.digest, fake_vm_spec.kernel.digest);
        assert_int_equal(vm_spec(d.vm)->n_scsi_controllers, 1);
        assert_int_equal(vm_imported_link(d.vm)->epoch, 1);
        bind(&d);
        assert_int_equal(vm_patch(d.vm, &same, NULL), 0);
        assert_int_equal(vm_migration_started(d.vm, NULL), 0);
        assert_int_equal(vm_resume(d.vm, &fake_vm_ops, &d.host, &fake_scsi_ops, &d.host, NULL), 0);
        assert_null(vm_imported_link(d.vm));
        assert_int_equal(controller_freeze(vm_controller(d.vm), NULL), 0);
        assert_int_equal(vm_save(d.vm, &two, NULL), 0);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        controller_thaw(vm_controller(s.vm));
        assert_int_equal(vm_state(s.vm), VM_RUNNING);
        assert_int_equal(scsi_state(vm_scsi(s.vm)), SCSI_ACTIVE);
        done(&s);
        done(&d);
}

static void test_patch(void **state) {
        static Rig r;
        VmPatch bad[] = { patch, patch, patch, patch };
        char longer[200];

        make(&r, VM_DESTINATION_IMPORTED, true);
        memset(longer, 'x', sizeof(longer));
        longer[0] = '/';
        longer[sizeof(longer) - 1] = '\0';
        bad[0].kernel_path = "vmlinux";
        bad[1].initrd_path = "";
        bad[2].link_path = longer; /* not a socket's path */
        bad[3].console_path = "console";
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(vm_patch(r.vm, &bad[i], NULL), -EINVAL);
                assert_string_equal(vm_spec(r.vm)->kernel.path, fake_vm_spec.kernel.path);
        }
        assert_int_equal(vm_patch(r.vm, &patch, NULL), 0);
        assert_string_equal(vm_spec(r.vm)->kernel.path, "/dst/vmlinux");
        assert_string_equal(vm_spec(r.vm)->kernel.digest, fake_vm_spec.kernel.digest);
        assert_int_equal(vm_abort_migrated(r.vm, NULL), 0);
        assert_int_equal(vm_abort_migrated(r.vm, NULL), 0);
        assert_string_equal(r.ended, "migration aborted;");
        assert_int_equal(plan9_state(vm_plan9(r.vm)), PLAN9_ABORTED);
        assert_int_equal(vpci_state(vm_vpci(r.vm)), VPCI_ABORTED);
        done(&r);
}

static void test_bad_specs(void **state) {
        Vm *vm = NULL;
        VmSpec s;

#define REFUSED(statement)                                                                         \
        do {                                                                                       \
                s = fake_vm_spec;                                                                  \
                statement;                                                                         \
                assert_int_equal(vm_new(&s, &vm, NULL), -EINVAL);                                  \
                assert_null(vm);                                                                   \
        } while (0)
        REFUSED(s.pod_id = "");
        REFUSED(s.domain_name = "a b");
        REFUSED(s.uuid = "0B1C2D3E-4f50-6172-8394-a5b6c7d8e9f0");
        REFUSED(s.uuid = "0b1c2d3e4f50-6172-8394-a5b6c7d8e9f0");
        REFUSED(s.uuid = NULL);
        REFUSED(s.memory_mib = 0);
        REFUSED(s.vcpus = 0);
        REFUSED(s.domain_type = 7);
        REFUSED(s.machine = "");
        REFUSED(s.cpu = NULL);
        REFUSED(s.kernel.path = NULL);
        REFUSED(s.initrd.digest = "md5:1");
        REFUSED(s.cmdline = "a\nb");
        REFUSED(s.link_path = "");
        REFUSED(s.n_scsi_controllers = 5);
        assert_int_equal(fsm_check(&vm_fsm, NULL), 0);
}

static void test_devices(void **state) {
        static Rig r;
        uint64_t handle;
        Error e = ERROR_INIT;

        make(&r, VM_RUNNING, false);
        assert_int_equal(
                plan9_reserve(vm_plan9(r.vm), &(Plan9ShareConfig){ "/srv", false }, &handle, &e),
                -EOPNOTSUPP);
        assert_non_null(strstr(e.text, "not supported yet"));
        assert_int_equal(
                vpci_reserve(vm_vpci(r.vm), &(VpciDeviceConfig){ "0000:01:00.0", 0 }, &handle, &e),
                -EOPNOTSUPP);
        assert_int_equal(plan9_patch(vm_plan9(r.vm), 1, "/x", &e), -EBADFD);
        assert_int_equal(vpci_patch(vm_vpci(r.vm), 1, "x", &e), -EBADFD);
        assert_int_equal(controller_freeze(vm_controller(r.vm), &e), 0);
        assert_int_equal(
                plan9_reserve(vm_plan9(r.vm), &(Plan9ShareConfig){ "/srv", false }, &handle, &e),
                -EBADFD);
        done(&r);
        make(&r, VM_DESTINATION_IMPORTED, true);
        assert_int_equal(plan9_patch(vm_plan9(r.vm), 1, "/x", &e), -ENOENT);
        assert_int_equal(vpci_patch(vm_vpci(r.vm), 1, "x", &e), -ENOENT);
        done(&r);
        assert_int_equal(fsm_check(&plan9_fsm, &e), 0);
        assert_int_equal(fsm_check(&vpci_fsm, &e), 0);
}

static void test_no_memory(void **state) {
        int r = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        for (unsigned n = 1; r != 0; n++) {
                Vm *vm = NULL;

                fail_malloc_at(n);
                r = vm_new(&fake_vm_spec, &vm, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 ? !!vm : !vm && r == -ENOMEM);
                vm_free(vm);
        }
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(cells) + 8] = {
                cmocka_unit_test(test_start),   cmocka_unit_test(test_stop),
                cmocka_unit_test(test_death),   cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_patch),   cmocka_unit_test(test_bad_specs),
                cmocka_unit_test(test_devices), cmocka_unit_test(test_no_memory),
        };
        char names[ELEMENTSOF(cells)][80];

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                (void)snprintf(names[i], sizeof(names[i]), "cells of %s, %s",
                               fsm_state_name(&vm_fsm, cells[i].state),
                               cells[i].destination ? "destination" : "source");
                tests[8 + i] = (struct CMUnitTest){ .name = names[i],
                                                    .test_func = test_cell,
                                                    .initial_state = (void *)(uintptr_t)&cells[i] };
        }
        return _cmocka_run_group_tests("vm", tests, ELEMENTSOF(tests), NULL, NULL);
}
