/* SPDX-License-Identifier: Apache-2.0 */
/* rows: H10: volumes that come and go while a container runs, each step failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"

static const ContainerDisk volume = { .disk = { .host_path = "/vol/new",
                                                .kind = SCSI_DISK_VOLUME,
                                                .format = "qcow2",
                                                .read_only = true,
                                                .mode = SCSI_STORAGE_SAME,
                                                .virtual_size = 1U << 20 },
                                      .filesystem = "ext4",
                                      .destination = "/mnt/new" };

typedef struct Rig {
        FakePod pod;
        Container *c;
} Rig;

static Rig *rig_new(void) {
        Rig *r = calloc(1, sizeof(*r));

        assert_non_null(r);
        fake_pod_init(&r->pod);
        r->c = fake_pod_run(&r->pod, "c");
        fake_clear(&r->pod.host);
        return r;
}

static void rig_free(Rig *r) {
        fake_fire_all(&r->pod.host, 0);
        fake_pod_done(&r->pod);
        free(r);
}

static int add(Rig *r, const ContainerDisk *d, FakeAnswer *a) {
        int x = container_add_volume(r->c, d, fake_answer, a, NULL);

        fake_fire_all(&r->pod.host, 0);
        assert_int_equal(a->times, x == 1);
        return x == 1 ? a->r : x;
}

static int take_away(Rig *r, FakeAnswer *a) {
        int x = container_remove_volume(r->c, "/mnt/new", fake_answer, a, NULL);

        fake_fire_all(&r->pod.host, 0);
        assert_int_equal(a->times, x == 1);
        return x == 1 ? a->r : x;
}

static void test_there_and_away(void **state) {
        for (int later = 0; later < 2; later++) {
                Rig *r = rig_new();
                FakeHost *h = &r->pod.host;

                if (later)
                        fake_all_later(h);
                assert_int_equal(add(r, &volume, &(FakeAnswer){}), 0);
                assert_string_equal(h->trace, "plug 4;mount 4:0;bind c /mnt/new ro;");
                assert_int_equal(container_n_disks(r->c), 5);
                fake_clear(h);
                assert_int_equal(take_away(r, &(FakeAnswer){}), 0);
                assert_string_equal(h->trace, "unbind c /mnt/new;unmount 4 last;unplug 4;");
                assert_int_equal(container_n_disks(r->c), 4);
                rig_free(r);
        }
}

/* Whichever step fails, nothing of it stays, and the next attempt may succeed. */
static void test_add_fails(void **state) {
        static const FakeOp steps[] = { FAKE_PLUG, FAKE_MOUNT, FAKE_BIND };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                for (int later = 0; later < 2; later++) {
                        Rig *r = rig_new();
                        FakeHost *h = &r->pod.host;

                        if (later)
                                fake_all_later(h);
                        h->mode[steps[i]] = FAKE_REFUSE;
                        assert_int_equal(add(r, &volume, &(FakeAnswer){}), -EIO);
                        assert_int_equal(container_n_disks(r->c), 4);
                        assert_int_equal(h->calls[FAKE_UNPLUG], steps[i] != FAKE_PLUG);
                        h->mode[steps[i]] = FAKE_NOW;
                        assert_int_equal(add(r, &volume, &(FakeAnswer){}), 0);
                        assert_int_equal(container_n_disks(r->c), 5);
                        rig_free(r);
                }
}

/* What cannot be undone is the container's, which lets go of it when it is deleted. */
static void test_undo_fails(void **state) {
        Rig *r = rig_new();
        FakeHost *h = &r->pod.host;

        h->mode[FAKE_BIND] = h->mode[FAKE_UNPLUG] = FAKE_REFUSE;
        assert_int_equal(add(r, &volume, &(FakeAnswer){}), -EIO);
        assert_int_equal(container_n_disks(r->c), 5);
        h->mode[FAKE_UNPLUG] = FAKE_NOW;
        assert_int_equal(take_away(r, &(FakeAnswer){}), 0);
        assert_int_equal(container_n_disks(r->c), 4);
        rig_free(r);
}

/* A removal that fails half way goes on from there: the guest says that nothing is bound any more.
 */
static void test_remove_again(void **state) {
        static const FakeOp steps[] = { FAKE_UNBIND, FAKE_UNMOUNT, FAKE_UNPLUG };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                for (int later = 0; later < 2; later++) {
                        Rig *r = rig_new();
                        FakeHost *h = &r->pod.host;

                        assert_int_equal(add(r, &volume, &(FakeAnswer){}), 0);
                        if (later)
                                fake_all_later(h);
                        h->mode[steps[i]] = FAKE_REFUSE;
                        assert_int_equal(take_away(r, &(FakeAnswer){}), -EIO);
                        assert_int_equal(container_n_disks(r->c), 5);
                        h->mode[steps[i]] = FAKE_NOW;
                        if (i > 0) {
                                h->mode[FAKE_UNBIND] = FAKE_REFUSE;
                                h->code[FAKE_UNBIND] = -ENOENT;
                        }
                        assert_int_equal(take_away(r, &(FakeAnswer){}), 0);
                        assert_int_equal(container_n_disks(r->c), 4);
                        rig_free(r);
                }
}

static int find_new(void *userdata, const ContainerDiskInfo *info) {
        if (strcmp(info->destination, "/mnt/new") != 0)
                return 0;
        *(uint64_t *)userdata = info->reservation;
        return 1;
}

/* While its disk goes to another file it is not even taken out of the container. */
static void test_moving(void **state) {
        ContainerDisk d = volume;
        uint64_t reservation = 0;
        Rig *r = rig_new();
        FakeHost *h = &r->pod.host;

        d.disk.read_only = false;
        d.disk.mode = SCSI_STORAGE_COPY;
        assert_int_equal(add(r, &d, &(FakeAnswer){}), 0);
        assert_int_equal(container_each_disk(r->c, find_new, &reservation), 1);
        assert_int_equal(scsi_move_begin(h->scsi, reservation, "/vol/other", NULL), 0);
        fake_clear(h);
        assert_int_equal(take_away(r, &(FakeAnswer){}), -EBUSY);
        assert_string_equal(h->trace, "");
        assert_int_equal(scsi_move_end(h->scsi, reservation, "/vol/other"), 0);
        assert_int_equal(take_away(r, &(FakeAnswer){}), 0);
        rig_free(r);
}

static void test_refused(void **state) {
        ContainerDisk d = volume;
        Rig *r = rig_new();
        Error e;

        d.destination = "/mnt/data"; /* of the specification */
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EEXIST);
        d.destination = "relative";
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EINVAL);
        d.destination = "/";
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EINVAL);
        d = volume;
        d.disk.kind = SCSI_DISK_SCRATCH;
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EINVAL);
        d = volume;
        d.disk.format = "vmdk";
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EINVAL);
        d = volume;
        d.disk.host_path = "/vol/c.raw"; /* the volume that is there, with another configuration */
        assert_int_equal(container_add_volume(r->c, &d, NULL, NULL, &e), -EEXIST);
        assert_int_equal(container_remove_volume(r->c, "/none", NULL, NULL, &e), -ENOENT);
        assert_int_equal(container_n_disks(r->c), 4);
        assert_string_equal(r->pod.host.trace, "");
        rig_free(r);
}

/* In flight: no second one, no freeze, no deletion; also when the init ends meanwhile. */
static void test_in_flight(void **state) {
        Rig *r = rig_new();
        FakeHost *h = &r->pod.host;
        ContainerDisk other = volume;
        FakeAnswer a = {};

        other.disk.host_path = "/vol/other";
        other.destination = "/mnt/other";
        h->mode[FAKE_BIND] = FAKE_LATER;
        assert_int_equal(container_add_volume(r->c, &volume, fake_answer, &a, NULL), 1);
        assert_int_equal(container_add_volume(r->c, &other, NULL, NULL, NULL), -EBUSY);
        assert_int_equal(container_remove_volume(r->c, "/mnt/data", NULL, NULL, NULL), -EBUSY);
        assert_int_equal(controller_freeze(vm_controller(r->pod.vm), NULL), -EBUSY);
        assert_true(fake_exit(h, "c", "", 0));
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), -EBUSY);
        assert_true(fake_fire(h, -ESRCH));
        assert_int_equal(a.r, -ESRCH);
        assert_int_equal(container_n_disks(r->c), 4);
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        rig_free(r);
}

/* What came later moves along, in the order in which it came. */
static void test_moves(void **state) {
        Rig *r = rig_new();
        FakePod there;
        Container *c;

        assert_int_equal(add(r, &volume, &(FakeAnswer){}), 0);
        assert_int_equal(controller_freeze(vm_controller(r->pod.vm), NULL), 0);
        assert_int_equal(container_add_volume(r->c, &volume, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(fake_pod_move(&r->pod, &there, NULL), 0);
        c = pod_container(there.pod, "c");
        assert_int_equal(container_n_disks(c), 5);
        assert_int_equal(fake_pod_patch(&there, NULL), 0);
        assert_int_equal(pod_abort_migrated(there.pod, NULL), 0);
        fake_pod_done(&there);
        rig_free(r);
}

static void test_out_of_memory(void **state) {
        bool fired = true;
        Rig *r;

        if (!fail_malloc_works())
                skip();
        r = rig_new();
        for (unsigned n = 1; fired; n++) {
                int x;

                fail_malloc_at(n);
                x = container_add_volume(r->c, &volume, NULL, NULL, NULL);
                fired = fail_malloc_fired();
                fail_malloc_at(0);
                assert_int_equal(x, fired ? -ENOMEM : 0);
                assert_int_equal(container_n_disks(r->c), fired ? 4 : 5);
        }
        rig_free(r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_away), cmocka_unit_test(test_add_fails),
                cmocka_unit_test(test_undo_fails),     cmocka_unit_test(test_remove_again),
                cmocka_unit_test(test_refused),        cmocka_unit_test(test_in_flight),
                cmocka_unit_test(test_moves),          cmocka_unit_test(test_moving),
                cmocka_unit_test(test_out_of_memory),
        };

        return cmocka_run_group_tests_name("container-volume", tests, NULL, NULL);
}
