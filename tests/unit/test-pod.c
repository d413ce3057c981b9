/* SPDX-License-Identifier: Apache-2.0 */
/* A pod as a whole: created, frozen, saved, moved to another host, resumed there, or rolled back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fake-host.h"

typedef struct Pair {
        FakePod a, b; /* source, destination */
} Pair;

static int set_up(void **state) {
        Pair *p;

        p = calloc(1, sizeof(*p));
        if (!p)
                return -1;
        fake_pod_init(&p->a);
        *state = p;
        return 0;
}

static int tear_down(void **state) {
        Pair *p = *state;

        fake_pod_done(&p->a);
        fake_pod_done(&p->b);
        free(p);
        return 0;
}

static int freeze(FakePod *p) {
        return controller_freeze(vm_controller(p->vm), NULL);
}

/* Everything of a migration up to the moment when the memory is over. */
static void transfer(Pair *p) {
        Error e = ERROR_INIT;
        VmPatch patch = { "/dst/vmlinux", "/dst/initrd", "/dst/link.sock", "" };

        assert_int_equal(freeze(&p->a), 0);
        assert_int_equal(fake_pod_move(&p->a, &p->b, &e), 0);
        assert_int_equal(fake_pod_patch(&p->b, &e), 0);
        assert_int_equal(vm_patch(p->b.vm, &patch, &e), 0);
        assert_int_equal(vm_migration_started(p->a.vm, &e), 0);
        assert_int_equal(vm_migration_started(p->b.vm, &e), 0);
        assert_int_equal(vm_migration_completed(p->a.vm, &e), 0);
        assert_int_equal(vm_migration_completed(p->b.vm, &e), 0);
}

static int hand_over_exit(void *userdata, const PodExit *e) {
        return pod_put_exit(((Pair *)userdata)->b.pod, e, NULL);
}

static void resume_destination(Pair *p) {
        Error e = ERROR_INIT;

        assert_int_equal(pod_each_pending_exit(p->a.pod, hand_over_exit, p), 0);
        assert_int_equal(vm_moved(p->a.vm, &e), 0);
        assert_int_equal(
                vm_resume(p->b.vm, &fake_vm_ops, &p->b.host, &fake_scsi_ops, &p->b.host, &e), 0);
        assert_int_equal(pod_resume(p->b.pod, &p->b.host.pod_ops, &e), 0);
        pod_moved(p->a.pod);
}

static void test_create_and_delete(void **state) {
        Pair *p = *state;
        FakeHost *h = &p->a.host;
        ProcessExit exit;

        fake_pod_run(&p->a, "c1");
        assert_string_equal(h->trace,
                            "vm-create;vm-connect;plug 0;mount 0:0;plug 1;mount 1:0;plug 2;"
                            "mount 2:0;plug 3;mount 3:0;overlay c1 2 rw;io-open c1/;create c1;"
                            "start c1/;");
        assert_string_equal(h->events, "created c1/;started c1/;");
        assert_non_null(strstr(h->last_config, "{\"destination\":\"/mnt/data\",\"type\":\"bind\","
                                               "\"source\":\"/run/mounts/scsi/0_3_0\","
                                               "\"options\":[\"rbind\",\"rw\"]}"));
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), -EBADFD);
        fake_clear(h);
        assert_true(fake_exit(h, "c1", "", 7));
        assert_int_equal(pod_delete_container(p->a.pod, "c1", &exit, NULL, NULL, NULL), 0);
        assert_int_equal(exit.code, 7);
        assert_string_equal(h->events, "exited c1/ 7;deleted c1/ 7;");
        assert_string_equal(h->trace,
                            "io-close c1/;delete c1;remove-overlay c1;unmount 3 last;unplug 3;"
                            "unmount 2 last;unplug 2;unmount 1 last;unplug 1;unmount 0 last;"
                            "unplug 0;");
        assert_int_equal(pod_n_containers(p->a.pod), 0);
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), -ENOENT);
}

static void test_move(void **state) {
        Pair *p = *state;
        FakeAnswer waiter = {};
        Container *c = fake_pod_run(&p->a, "c1");

        fake_pod_run(&p->a, "c2");
        fake_pod_add(&p->a, "c3"); /* created, not started */
        fake_pod_exec(&p->a, c, "e1", true);
        fake_pod_exec(&p->a, c, "e2", false);
        assert_int_equal(
                process_wait(container_init_process(c), NULL, fake_answer_exit, &waiter, NULL), 1);
        fake_clear(&p->a.host);
        transfer(p);
        assert_string_equal(p->a.host.trace, "");
        assert_true(fake_exit(&p->a.host, "c2", "", 3)); /* after the save: goes into the handoff */
        assert_string_equal(p->a.host.events, "");
        resume_destination(p);
        assert_string_equal(p->b.host.trace,
                            "io-reopen c1/;io-reopen c1/e1;io-reopen c2/;io-reopen c3/;"
                            "io-close c2/;");
        assert_string_equal(p->b.host.events, "created c1/ migrated;created c2/ migrated;"
                                              "exited c2/ 3;created c3/ migrated;");
        assert_int_equal(container_state(pod_container(p->b.pod, "c1")), CONTAINER_RUNNING);
        assert_int_equal(container_state(pod_container(p->b.pod, "c2")), CONTAINER_STOPPED);
        assert_int_equal(container_state(pod_container(p->b.pod, "c3")), CONTAINER_CREATED);
        /* At the source each is told that it moved, once. */
        assert_string_equal(p->a.host.events, "exited c1/e1 255 moved;exited c1/ 255 moved;"
                                              "exited c2/ 255 moved;exited c3/ 255 moved;");
        assert_int_equal(waiter.times, 1);
        assert_true(waiter.exit.moved);
        /* Life goes on at the destination. */
        assert_true(fake_exit(&p->b.host, "c1", "e1", 5));
        assert_int_equal(container_start(pod_container(p->b.pod, "c3"), NULL, NULL, NULL, NULL), 0);
        fake_clear(&p->b.host);
        assert_true(fake_exit(&p->b.host, "c1", "", 0));
        assert_int_equal(pod_delete_container(p->b.pod, "c1", NULL, NULL, NULL, NULL), 0);
        assert_string_equal(p->b.host.events, "exited c1/ 0;deleted c1/ 0;");
        /* And at the source the containers can be deleted without a guest. */
        fake_clear(&p->a.host);
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), 0);
        assert_string_equal(p->a.host.trace, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_create_and_delete, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_move, set_up, tear_down),
        };

        return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}
