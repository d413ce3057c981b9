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

/* The source goes on from its own state, exits that came meanwhile are told, waiters are released.
 */
static void test_roll_back(void **state) {
        Pair *p = *state;
        FakeHost *h = &p->a.host;
        FakeAnswer w = {};
        Error e = ERROR_INIT;
        Container *c = fake_pod_run(&p->a, "c1");

        fake_pod_exec(&p->a, c, "e1", true);
        fake_pod_exec(&p->a, c, "e2", true);
        assert_int_equal(process_wait(container_process(c, "e1"), NULL, fake_answer_exit, &w, NULL),
                         1);
        fake_clear(h);
        transfer(p);
        assert_true(fake_exit(h, "c1", "e1", 4));
        assert_int_equal(w.times, 0);
        assert_int_equal(vm_resume(p->a.vm, &fake_vm_ops, h, &fake_scsi_ops, h, &e), 0);
        assert_int_equal(pod_resume(p->a.pod, &h->pod_ops, &e), 0);
        assert_int_equal(pod_resume(p->a.pod, &h->pod_ops, &e), 0);
        assert_int_equal(w.times, 1);
        assert_int_equal(w.exit.code, 4);
        assert_string_equal(h->events, "exited c1/e1 4;");
        assert_string_equal(h->trace, "io-close c1/e1;");
        assert_int_equal(vm_state(p->a.vm), VM_RUNNING);
        assert_int_equal(container_state(c), CONTAINER_RUNNING);
        assert_int_equal(network_state(pod_network(p->a.pod)), NETWORK_NOT_CONFIGURED);
        /* The destination gives up: synthetic exits, then everything can be deleted. */
        assert_int_equal(vm_abort_migrated(p->b.vm, &e), 0);
        assert_int_equal(pod_abort_migrated(p->b.pod, &e), 0);
        assert_int_equal(pod_abort_migrated(p->b.pod, &e), 0);
        assert_string_equal(p->b.host.events, "exited c1/e1 137;exited c1/e2 137;exited c1/ 137;");
        assert_int_equal(pod_delete_container(p->b.pod, "c1", NULL, NULL, NULL, NULL), 0);
        assert_string_equal(p->b.host.trace, "");
        /* And the source can try again. */
        assert_int_equal(freeze(&p->a), 0);
        controller_thaw(vm_controller(p->a.vm));
}

static int count_frozen(Controller *c, void *userdata) {
        if (controller_is_frozen(c))
                (*(unsigned *)userdata)++;
        return 0;
}

static unsigned n_frozen(const FakePod *p) {
        unsigned n = 0;

        (void)controller_walk(vm_controller(p->vm), count_frozen, &n);
        return n;
}

/* Whatever stands in the way, nothing is frozen then; saving changes nothing. */
static void test_freeze_is_all_or_nothing(void **state) {
        Pair *p = *state;
        FakeHost *h = &p->a.host;
        _cleanup_buf_ Buf one = {}, two = {};
        Error e = ERROR_INIT;
        Container *c;

        fake_pod_run(&p->a, "a");
        c = fake_pod_run(&p->a, "z");
        fake_pod_exec(&p->a, c, "x", true);
        h->mode[FAKE_KILL] = FAKE_LATER;
        assert_int_equal(container_kill(c, "x", 15, false, NULL, NULL, NULL), 1);
        assert_int_equal(controller_freeze(vm_controller(p->a.vm), &e), -EBUSY);
        assert_non_null(strstr(e.text, "process x of container z"));
        assert_int_equal(n_frozen(&p->a), 0);
        fake_fire_all(h, 0);
        h->mode[FAKE_DELETE] = FAKE_LATER;
        assert_true(fake_exit(h, "a", "", 0));
        assert_int_equal(pod_delete_container(p->a.pod, "a", NULL, NULL, NULL, NULL), 1);
        assert_int_equal(freeze(&p->a), -EBUSY);
        assert_int_equal(n_frozen(&p->a), 0);
        fake_fire_all(h, 0);
        assert_int_equal(pod_save(p->a.pod, &one, &e), -EBADFD);
        assert_int_equal(freeze(&p->a), 0);
        assert_int_equal(n_frozen(&p->a), 9); /* vm, three devices, pod, network, container, two */
        assert_int_equal(pod_save(p->a.pod, &one, &e), 0);
        assert_int_equal(pod_save(p->a.pod, &two, &e), 0);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        assert_int_equal(freeze(&p->a), -EBADFD);
        controller_thaw(vm_controller(p->a.vm));
        controller_thaw(vm_controller(p->a.vm));
        assert_int_equal(n_frozen(&p->a), 0);
}

static void test_frozen_refuses(void **state) {
        Pair *p = *state;
        ContainerDisk disks[4];
        char paths[4][64];
        ContainerSpec spec;
        Container *c = fake_pod_run(&p->a, "c1");
        ProcessSpec exec = { .exec_id = "e", .process_json = "{}" };

        fake_pod_spec("c2", &spec, disks, paths);
        assert_int_equal(freeze(&p->a), 0);
        fake_clear(&p->a.host);
        assert_int_equal(pod_create_container(p->a.pod, &spec, NULL, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(container_exec(c, &exec, NULL, NULL), -EBADFD);
        assert_int_equal(container_kill(c, "", 9, true, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(process_close_stdin(container_init_process(c), NULL), -EBADFD);
        assert_string_equal(p->a.host.trace, "");
        controller_thaw(vm_controller(p->a.vm));
}

static void test_ids(void **state) {
        Pair *p = *state;
        ContainerDisk disks[4];
        char paths[4][64];
        ContainerSpec spec;
        Error e = ERROR_INIT;

        fake_pod_run(&p->a, "c1");
        fake_pod_spec("c1", &spec, disks, paths);
        assert_int_equal(pod_create_container(p->a.pod, &spec, NULL, NULL, NULL, &e), -EEXIST);
        spec.id = "c2"; /* another id, but the guest would know it as c1 */
        spec.guest_id = "c1";
        assert_int_equal(pod_create_container(p->a.pod, &spec, NULL, NULL, NULL, &e), -EEXIST);
        assert_non_null(strstr(e.text, "guest"));
        spec.id = "../c2";
        assert_int_equal(pod_create_container(p->a.pod, &spec, NULL, NULL, NULL, &e), -EINVAL);
        assert_int_equal(pod_n_containers(p->a.pod), 1);
        assert_null(pod_container(p->a.pod, "c2"));
        assert_non_null(pod_container_by_guest_id(p->a.pod, "c1"));
        assert_int_equal(pod_new(NULL, "a/b", &p->b.pod, &e), -EINVAL);
        pod_oom(p->a.pod, "c1");
        pod_oom(p->a.pod, "nobody");
        assert_non_null(strstr(p->a.host.events, "oom c1/;"));
}

/* After a failed creation the pod does not know the container, and its id is free again. */
static void test_failed_creation(void **state) {
        Pair *p = *state;
        FakeHost *h = &p->a.host;
        ContainerDisk disks[4];
        char paths[4][64];
        ContainerSpec spec;
        Container *c = NULL;
        FakeAnswer a = {};

        fake_pod_spec("c1", &spec, disks, paths);
        h->mode[FAKE_CREATE] = FAKE_REFUSE;
        assert_int_equal(pod_create_container(p->a.pod, &spec, &c, NULL, NULL, NULL), -EIO);
        assert_null(c);
        assert_int_equal(pod_n_containers(p->a.pod), 0);
        h->mode[FAKE_CREATE] = FAKE_LATER;
        assert_int_equal(pod_create_container(p->a.pod, &spec, &c, fake_answer, &a, NULL), 1);
        assert_int_equal(pod_create_container(p->a.pod, &spec, NULL, NULL, NULL, NULL), -EEXIST);
        assert_true(fake_fire(h, -EPIPE));
        assert_int_equal(a.r, -EPIPE);
        assert_int_equal(pod_n_containers(p->a.pod), 0);
        h->mode[FAKE_REMOVE_OVERLAY] = FAKE_REFUSE; /* and what was made cannot be released */
        assert_int_equal(pod_create_container(p->a.pod, &spec, &c, fake_answer, &a, NULL), 1);
        assert_true(fake_fire(h, -EPIPE));
        assert_int_equal(container_state(pod_container(p->a.pod, "c1")), CONTAINER_INVALID);
        assert_int_equal(freeze(&p->a), -EBADFD);
        h->mode[FAKE_REMOVE_OVERLAY] = FAKE_NOW;
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), 0);
        assert_int_equal(freeze(&p->a), 0);
        controller_thaw(vm_controller(p->a.vm));
}

/* Two containers made at once share the base layer: it is plugged once and stays for the other. */
static void test_shared_layer(void **state) {
        Pair *p = *state;
        FakeHost *h = &p->a.host;
        ContainerDisk disks[2][4];
        char paths[2][4][64];
        ContainerSpec spec[2];
        FakeAnswer a = {}, b = {};

        fake_all_later(h);
        fake_pod_spec("c1", &spec[0], disks[0], paths[0]);
        fake_pod_spec("c2", &spec[1], disks[1], paths[1]);
        assert_int_equal(pod_create_container(p->a.pod, &spec[0], NULL, fake_answer, &a, NULL), 1);
        assert_int_equal(pod_create_container(p->a.pod, &spec[1], NULL, fake_answer, &b, NULL), 1);
        fake_fire_all(h, 0);
        assert_true(a.times == 1 && a.r == 0 && b.times == 1 && b.r == 0);
        assert_int_equal(h->calls[FAKE_PLUG], 7);
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, fake_answer_exit, &a, NULL), 1);
        fake_fire_all(h, 0);
        assert_int_equal(h->calls[FAKE_UNPLUG], 3);
        assert_int_equal(pod_delete_container(p->a.pod, "c2", NULL, fake_answer_exit, &b, NULL), 1);
        fake_fire_all(h, 0);
        assert_int_equal(h->calls[FAKE_UNPLUG], 7);
}

typedef struct Deleter {
        Pod *pod;
        int r;
} Deleter;

static void delete_at_once(void *userdata, int r, const void *result, const Error *err) {
        Deleter *d = userdata;

        d->r = pod_delete_container(d->pod, "c1", NULL, NULL, NULL, NULL);
}

/* Who waits for an exit may delete the container from inside the completion. */
static void test_delete_when_told(void **state) {
        Pair *p = *state;
        Deleter d = { .pod = p->a.pod, .r = 1 };
        Container *c = fake_pod_run(&p->a, "c1");

        fake_pod_exec(&p->a, c, "e1", true);
        fake_pod_run(&p->a, "c2");
        assert_int_equal(process_wait(container_init_process(c), NULL, delete_at_once, &d, NULL),
                         1);
        vm_died(p->a.vm, "QEMU crashed");
        pod_lost(p->a.pod);
        assert_int_equal(d.r, 0);
        assert_int_equal(pod_state(p->a.pod), POD_STOPPED);
        assert_null(pod_container(p->a.pod, "c1"));
        assert_non_null(strstr(p->a.host.events,
                               "exited c1/e1 255;exited c1/ 255;deleted c1/ 255;exited c2/ 255;"));
        pod_lost(p->a.pod);
}

static int count_container(void *userdata, Container *c) {
        (*(unsigned *)userdata)++;
        return 0;
}

static void test_patch(void **state) {
        static const char *const paths[] = { "/d/0", "/d/1", "/d/2", "/d/3" };
        static const char *const others[] = { "/d/0", "/d/4", "/d/5", "/d/6" };
        static const char *const wrong[] = { "/d/9", "/d/4", "/d/5", "/d/6" };
        NetworkPatch namespace = { .path = "/run/netns/n" }; /* of a pod that has none */
        Pair *p = *state;
        ContainerPatch c1 = { "c1", "n1", "", "", paths, 4 },
                       c2 = { "c2", "n1", "", "", others, 4 };
        Error e = ERROR_INIT;
        unsigned n = 0;

        fake_pod_run(&p->a, "c1");
        fake_pod_run(&p->a, "c2");
        assert_int_equal(pod_patch_container(p->a.pod, &c1, &e), -EBADFD);
        assert_int_equal(freeze(&p->a), 0);
        assert_int_equal(fake_pod_move(&p->a, &p->b, &e), 0);
        assert_int_equal(pod_patch(p->b.pod, &(PodPatch){ "x/y", NULL }, &e), -EINVAL);
        assert_int_equal(pod_patch(p->b.pod, &(PodPatch){ "new", &namespace }, &e), -EINVAL);
        assert_string_equal(pod_id(p->b.pod), "web"); /* checked first, then changed */
        assert_int_equal(pod_patch(p->b.pod, &(PodPatch){ "new", NULL }, &e), 0);
        assert_string_equal(pod_id(p->b.pod), "new");
        assert_string_equal(pod_guest_id(p->b.pod), "web");
        assert_int_equal(pod_patch_container(p->b.pod,
                                             &(ContainerPatch){ .source_id = "c9", .id = "n" }, &e),
                         -ENOENT);
        assert_int_equal(pod_patch_container(p->b.pod, &c1, &e), 0);
        assert_int_equal(pod_patch_container(p->b.pod, &c2, &e), -EEXIST);
        c2.id = "n2";
        c2.disk_paths = wrong;
        assert_int_equal(pod_patch_container(p->b.pod, &c2, &e), -EINVAL); /* the shared layer */
        assert_int_equal(pod_resume(p->b.pod, &p->b.host.pod_ops, &e), -EBADFD);
        assert_non_null(strstr(e.text, "c2 was not patched"));
        assert_string_equal(p->b.host.trace, ""); /* nor done */
        assert_string_equal(p->b.host.events, "");
        c2.disk_paths = others;
        assert_int_equal(pod_patch_container(p->b.pod, &c2, &e), 0);
        (void)pod_each_unpatched(p->b.pod, count_container, &n);
        assert_int_equal(n, 0);
        assert_int_equal(vm_patch(p->b.vm, &(VmPatch){ "/k", "/i", "/l", "" }, &e), 0);
        assert_int_equal(vm_migration_started(p->b.vm, &e), 0);
        assert_int_equal(
                vm_resume(p->b.vm, &fake_vm_ops, &p->b.host, &fake_scsi_ops, &p->b.host, &e), 0);
        assert_int_equal(pod_resume(p->b.pod, &p->b.host.pod_ops, &e), 0);
        assert_non_null(pod_container(p->b.pod, "n1"));
        assert_true(fake_exit(&p->b.host, "c1", "", 0));
        assert_int_equal(pod_delete_container(p->b.pod, "n1", NULL, NULL, NULL, NULL), 0);
        controller_thaw(vm_controller(p->a.vm));
}

/* Adopting fails half way: nothing was told, and resume goes on when it is called again. */
static void test_resume_again(void **state) {
        Pair *p = *state;
        Error e = ERROR_INIT;

        fake_pod_run(&p->a, "c1");
        fake_pod_run(&p->a, "c2");
        transfer(p);
        assert_int_equal(
                vm_resume(p->b.vm, &fake_vm_ops, &p->b.host, &fake_scsi_ops, &p->b.host, &e), 0);
        p->b.host.mode[FAKE_ADOPT_WAIT] = FAKE_REFUSE;
        assert_int_equal(pod_resume(p->b.pod, &p->b.host.pod_ops, &e), -EIO);
        assert_string_equal(p->b.host.events, "");
        assert_int_equal(pod_state(p->b.pod), POD_DESTINATION_MIGRATING);
        p->b.host.mode[FAKE_ADOPT_WAIT] = FAKE_NOW;
        assert_int_equal(pod_resume(p->b.pod, &p->b.host.pod_ops, &e), 0);
        assert_string_equal(p->b.host.events, "created c1/ migrated;created c2/ migrated;");
        assert_string_equal(p->b.host.trace, "io-reopen c1/;io-reopen c2/;");
        assert_int_equal(vm_moved(p->a.vm, &e), 0);
        pod_moved(p->a.pod);
        pod_moved(p->a.pod);
}

/* Twice there and back: the same bytes each time, and ids given out never come again. */
static void test_there_and_back(void **state) {
        Pair *p = *state;
        _cleanup_buf_ Buf first = {}, last = {};
        Error e = ERROR_INIT;

        fake_pod_exec(&p->a, fake_pod_run(&p->a, "c1"), "e1", true);
        assert_int_equal(freeze(&p->a), 0);
        assert_int_equal(pod_save(p->a.pod, &first, &e), 0);
        controller_thaw(vm_controller(p->a.vm));
        for (int i = 0; i < 4; i++) {
                transfer(p);
                resume_destination(p);
                fake_pod_done(&p->a);
                p->a = p->b;
                p->b = (FakePod){};
                vm_bind(p->a.vm, &fake_vm_ops, &p->a.host, NULL, NULL);
                p->a.host.pod_ops.userdata = p->a.host.pod_ops.events.userdata = &p->a.host;
                p->a.host.next_call = 60;
                p->a.host.next_channel = 60;
                scsi_bind(vm_scsi(p->a.vm), &fake_scsi_ops, &p->a.host);
                pod_bind(p->a.pod, &p->a.host.pod_ops);
        }
        assert_int_equal(freeze(&p->a), 0);
        assert_int_equal(pod_save(p->a.pod, &last, &e), 0);
        assert_int_equal(first.len, last.len);
        assert_memory_equal(first.data, last.data, first.len);
        controller_thaw(vm_controller(p->a.vm));
}

/* Moments at which a process may exit, seen from the source's shim. */
typedef enum Moment {
        BEFORE_FREEZE,
        BEFORE_SAVE,
        BEFORE_PATCH,
        IN_TRANSFER,
        AFTER_RESUME, /* on whichever side goes on */
        _MOMENT_MAX,
} Moment;

static void exit_if(FakePod *p, Moment now, Moment then, const char *exec_id) {
        if (now == then)
                assert_true(fake_exit(&p->host, "c1", exec_id, 21));
}

static unsigned count_events(const FakePod *p, const char *text) {
        unsigned n = 0;

        for (const char *at = p->host.events; (at = strstr(at, text)); at++)
                n++;
        return n;
}

/* One process exits at one moment of a migration that succeeds or is rolled back: it is told once,
 * on the side that goes on (and before the freeze, where it happened), with its code. */
static void exit_at(Moment then, const char *exec_id, bool rolled_back) {
        const char *text = exec_id[0] ? "exited c1/e1 21;" : "exited c1/ 21;";
        VmPatch patch = { "/dst/vmlinux", "/dst/initrd", "/dst/link.sock", "" };
        Pair *p;
        Container *c;
        FakePod *here;
        Error e = ERROR_INIT;

        p = calloc(1, sizeof(*p));
        assert_non_null(p);
        fake_pod_init(&p->a);
        c = fake_pod_run(&p->a, "c1");
        fake_pod_exec(&p->a, c, "e1", true);
        exit_if(&p->a, BEFORE_FREEZE, then, exec_id);
        assert_int_equal(freeze(&p->a), 0);
        exit_if(&p->a, BEFORE_SAVE, then, exec_id);
        assert_int_equal(fake_pod_move(&p->a, &p->b, &e), 0);
        exit_if(&p->a, BEFORE_PATCH, then, exec_id);
        assert_int_equal(fake_pod_patch(&p->b, &e), 0);
        assert_int_equal(vm_patch(p->b.vm, &patch, &e), 0);
        assert_int_equal(vm_migration_started(p->a.vm, &e), 0);
        assert_int_equal(vm_migration_started(p->b.vm, &e), 0);
        exit_if(&p->a, IN_TRANSFER, then, exec_id);
        here = rolled_back ? &p->a : &p->b;
        if (rolled_back) {
                controller_thaw(vm_controller(p->a.vm));
                assert_int_equal(vm_abort_migrated(p->b.vm, &e), 0);
                assert_int_equal(pod_abort_migrated(p->b.pod, &e), 0);
        } else
                resume_destination(p);
        exit_if(here, AFTER_RESUME, then, exec_id);
        assert_int_equal(count_events(&p->a, text) + count_events(&p->b, text), 1);
        assert_int_equal(count_events(then == BEFORE_FREEZE ? &p->a : here, text), 1);
        c = pod_container(here->pod, "c1");
        assert_int_equal(process_exit(container_process(c, exec_id))->code, 21);
        assert_int_equal(container_state(c), exec_id[0] ? CONTAINER_RUNNING : CONTAINER_STOPPED);
        fake_pod_done(&p->a);
        fake_pod_done(&p->b);
        assert_int_equal(p->a.host.n_waits, 0);
        assert_int_equal(p->b.host.n_waits, 0);
        free(p);
}

static void test_exits_around_the_blackout(void **state) {
        for (Moment m = 0; m < _MOMENT_MAX; m++)
                for (int rolled_back = 0; rolled_back < 2; rolled_back++) {
                        exit_at(m, "", rolled_back);
                        exit_at(m, "e1", rolled_back);
                }
}

/* The VM dies in the middle of a migration, on either side. */
static void test_lost_while_migrating(void **state) {
        Pair *p = *state;

        fake_pod_exec(&p->a, fake_pod_run(&p->a, "c1"), "e1", true);
        transfer(p);
        assert_true(fake_exit(&p->a.host, "c1", "e1", 6));
        fake_clear(&p->a.host);
        vm_died(p->a.vm, "QEMU crashed");
        pod_lost(p->a.pod);
        assert_string_equal(p->a.host.events, "exited c1/e1 6;exited c1/ 255;");
        assert_int_equal(pod_delete_container(p->a.pod, "c1", NULL, NULL, NULL, NULL), 0);
        vm_died(p->b.vm, "QEMU crashed");
        pod_lost(p->b.pod);
        assert_string_equal(p->b.host.events, "exited c1/e1 255;exited c1/ 255;");
        assert_int_equal(pod_delete_container(p->b.pod, "c1", NULL, NULL, NULL, NULL), 0);
        assert_string_equal(p->b.host.trace, "");
}

static void test_dump(void **state) {
        Pair *p = *state;
        json_object *o = NULL;
        const char *text;

        fake_pod_exec(&p->a, fake_pod_run(&p->a, "c1"), "e1", true);
        assert_int_equal(controller_dump(vm_controller(p->a.vm), &o, NULL), 0);
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        assert_non_null(strstr(text, "\"kind\":\"process\",\"id\":\"e1\",\"state\":\"running\""));
        assert_non_null(strstr(text, "\"kind\":\"scsi\""));
        json_object_put(o);
        assert_int_equal(fsm_check(&pod_fsm, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_create_and_delete, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_move, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_roll_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_freeze_is_all_or_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_frozen_refuses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ids, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failed_creation, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_shared_layer, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_delete_when_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_patch, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_resume_again, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lost_while_migrating, set_up, tear_down),
                cmocka_unit_test(test_exits_around_the_blackout),
                cmocka_unit_test_setup_teardown(test_dump, set_up, tear_down),
        };

        return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}
