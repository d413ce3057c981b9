/* SPDX-License-Identifier: Apache-2.0 */
/* A container: every verb in every state, every step of creation and release failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"

typedef struct Rig {
        FakePod pod;
        Container *c;
        ContainerDisk disks[4];
        char paths[4][64];
        ContainerSpec spec;
} Rig;

static Rig *rig_new(void) {
        Rig *r;

        r = calloc(1, sizeof(*r));
        assert_non_null(r);
        fake_pod_init(&r->pod);
        fake_pod_spec("c", &r->spec, r->disks, r->paths);
        return r;
}

static void rig_make(Rig *r) {
        assert_int_equal(container_new(pod_controller(r->pod.pod), &r->spec, &r->c, NULL), 0);
        container_bind(r->c, &r->pod.host.pod_ops);
        fake_clear(&r->pod.host);
}

static void rig_free(Rig *r) {
        fake_fire_all(&r->pod.host, 0);
        r->c = container_free(r->c);
        fake_pod_done(&r->pod);
        free(r);
}

static Rig *make(ContainerState state) {
        Rig *r = rig_new();
        FakeHost *h = &r->pod.host;

        rig_make(r);
        if (state == CONTAINER_NOT_CREATED)
                return r;
        if (state == CONTAINER_CREATING)
                h->mode[FAKE_CREATE] = FAKE_LATER;
        if (state == CONTAINER_INVALID || state == CONTAINER_DELETED)
                h->mode[FAKE_CREATE] = FAKE_REFUSE;
        if (state == CONTAINER_INVALID)
                h->mode[FAKE_REMOVE_OVERLAY] = FAKE_REFUSE;
        (void)container_create(r->c, NULL, NULL, NULL);
        h->mode[FAKE_CREATE] = h->mode[FAKE_REMOVE_OVERLAY] = FAKE_NOW;
        if (state == CONTAINER_STARTING)
                h->mode[FAKE_START] = FAKE_LATER;
        if (state != CONTAINER_CREATING && state != CONTAINER_INVALID &&
            state != CONTAINER_DELETED && state != CONTAINER_CREATED)
                assert_int_equal(container_start(r->c, NULL, NULL, NULL, NULL),
                                 state == CONTAINER_STARTING);
        if (state == CONTAINER_STOPPED || state == CONTAINER_DELETING)
                assert_true(fake_exit(h, "c", "", 4));
        if (state == CONTAINER_DELETING) {
                h->mode[FAKE_DELETE] = FAKE_LATER;
                assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 1);
        }
        if (state == CONTAINER_SOURCE_MIGRATING || state == CONTAINER_DESTINATION_MIGRATING)
                assert_int_equal(controller_freeze(vm_controller(r->pod.vm), NULL), 0);
        if (state == CONTAINER_DESTINATION_MIGRATING) {
                _cleanup_buf_ Buf vm = {}, b = {};
                Rig *d;

                assert_int_equal(vm_save(r->pod.vm, &vm, NULL), 0);
                assert_int_equal(container_save(r->c, &b, NULL), 0);
                d = calloc(1, sizeof(*d));
                assert_non_null(d);
                assert_int_equal(vm_import(vm.data, vm.len, &d->pod.vm, NULL), 0);
                fake_host_init(&d->pod.host, vm_scsi(d->pod.vm));
                assert_int_equal(container_import(vm_controller(d->pod.vm), vm_scsi(d->pod.vm),
                                                  b.data, b.len, &d->c, NULL),
                                 0);
                container_bind(d->c, &d->pod.host.pod_ops);
                rig_free(r);
                r = d;
        }
        assert_int_equal(container_state(r->c), state);
        return r;
}

static int patch(Rig *r, const char *id) {
        static const char *const paths[] = { "/dst/0", "/dst/1", "/dst/2", "/dst/3" };

        return container_patch(
                r->c,
                &(ContainerPatch){ .source_id = "c", .id = id, .disk_paths = paths, .n_disks = 4 },
                NULL);
}

static int verb(Rig *r, char v) {
        ProcessSpec exec = { .exec_id = "e", .process_json = "{}" };
        ContainerDisk volume = { .disk = { .host_path = "/vol/x",
                                           .kind = SCSI_DISK_VOLUME,
                                           .format = "raw",
                                           .virtual_size = 512 },
                                 .filesystem = "ext4",
                                 .destination = "/x" };
        _cleanup_buf_ Buf b = {};

        switch (v) {
        case 'c':
                return container_create(r->c, NULL, NULL, NULL);
        case 's':
                return container_start(r->c, NULL, NULL, NULL, NULL);
        case 'k':
        case 'K':
                return container_kill(r->c, "", 15, v == 'K', NULL, NULL, NULL);
        case 'e':
                return container_exec(r->c, &exec, NULL, NULL);
        case 'x':
                return container_delete_exec(r->c, "e", NULL, NULL, NULL, NULL);
        case 'S':
                return container_stop(r->c, 15, NULL, NULL, NULL, NULL);
        case 'd':
                return container_delete(r->c, NULL, NULL, NULL, NULL);
        case 'u':
                return container_update(r->c, "{}", NULL, NULL, NULL);
        case 'p':
                return container_ps(r->c, NULL, NULL, NULL);
        case 'a':
                return container_add_volume(r->c, &volume, NULL, NULL, NULL);
        case 'r':
                return container_remove_volume(r->c, "/mnt/data", NULL, NULL, NULL);
        case 'v':
                return container_save(r->c, &b, NULL);
        case 'P':
                return patch(r, "c");
        case 'R':
                return container_resume(r->c, &r->pod.host.pod_ops, NULL);
        case 'A':
                return container_abort_migrated(r->c, NULL);
        default:
                return controller_freeze(container_controller(r->c), NULL);
        }
}

/* One letter per verb: 0 done, 1 later, D wrong state, B busy, E unknown. */
static const char verbs[] = "cskKexSdupvPRAzar";
static const struct Cell {
        ContainerState state;
        const char *answers;
} cells[] = {
        { CONTAINER_NOT_CREATED, "0DDDDEDDDDDD00DDD" },
        { CONTAINER_CREATING, "DDDDDDDDDDDD00BDD" },
        { CONTAINER_CREATED, "D000DE100DDD000DD" },
        { CONTAINER_STARTING, "DDBBDDDDDDDD00BDD" },
        { CONTAINER_RUNNING, "DD000E1D00DD00000" },
        { CONTAINER_STOPPED, "DD00DE00DDDD000DD" },
        { CONTAINER_INVALID, "DD00DED0DDDD00DDD" },
        { CONTAINER_DELETING, "DDDDDDDDDDDD00BDD" },
        { CONTAINER_DELETED, "DD00DEDDDDDD00DDD" },
        { CONTAINER_SOURCE_MIGRATING, "DDDDDDDDDD0D00DDD" },
        { CONTAINER_DESTINATION_MIGRATING, "DDDDDDDDDDD0D0DDD" },
};

static void test_cell(void **state) {
        const struct Cell *cell = *state;

        for (size_t i = 0; verbs[i]; i++) {
                Rig *r = make(cell->state);
                int answer = verb(r, verbs[i]);
                char c = answer >= 0         ? (char)('0' + answer)
                         : answer == -EBADFD ? 'D'
                         : answer == -EBUSY  ? 'B'
                         : answer == -ENOENT ? 'E'
                                             : '?';

                if (c != cell->answers[i])
                        fail_msg("%s, verb %c: %c instead of %c",
                                 fsm_state_name(&container_fsm, cell->state), verbs[i], c,
                                 cell->answers[i]);
                rig_free(r);
        }
}

static int count_disk(void *userdata, const ScsiDiskInfo *info) {
        (*(unsigned *)userdata)++;
        return 0;
}

static unsigned n_disks(const Rig *r) {
        unsigned n = 0;

        (void)scsi_each_disk(vm_scsi(r->pod.vm), count_disk, &n);
        return n;
}

/* Each step of the creation fails, at once or later: nothing is left, and the first error is told.
 */
static void test_creation_fails(void **state) {
        static const FakeOp steps[] = { FAKE_PLUG,    FAKE_MOUNT,  FAKE_OVERLAY,
                                        FAKE_IO_OPEN, FAKE_CREATE, FAKE_WAIT };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                for (int later = 0; later < 2; later++) {
                        Rig *r = rig_new();
                        FakeAnswer a = {};
                        int x;

                        rig_make(r);
                        if (later)
                                fake_all_later(&r->pod.host);
                        r->pod.host.mode[steps[i]] = FAKE_REFUSE;
                        x = container_create(r->c, fake_answer, &a, NULL);
                        fake_fire_all(&r->pod.host, 0);
                        assert_int_equal(x == 1 ? a.r : x, -EIO);
                        assert_int_equal(a.times, x == 1);
                        assert_int_equal(container_state(r->c), CONTAINER_DELETED);
                        assert_int_equal(n_disks(r), 0);
                        assert_int_equal(r->pod.host.n_waits, 0);
                        assert_string_equal(r->pod.host.events, "");
                        rig_free(r);
                }
}

/* The host fails an accepted call instead of refusing it. */
static void test_creation_fails_later(void **state) {
        for (unsigned n = 0; n < 10; n++) {
                Rig *r = rig_new();
                FakeAnswer a = {};

                rig_make(r);
                fake_all_later(&r->pod.host);
                assert_int_equal(container_create(r->c, fake_answer, &a, NULL), 1);
                for (unsigned i = 0; i < n; i++)
                        assert_true(fake_fire(&r->pod.host, 0));
                assert_int_equal(a.times, 0);
                assert_true(fake_fire(&r->pod.host, -EPIPE));
                fake_fire_all(&r->pod.host, 0);
                assert_int_equal(a.times, 1);
                assert_int_equal(a.r, -EPIPE);
                assert_non_null(strstr(a.text, "failed by the fake"));
                assert_int_equal(container_state(r->c), CONTAINER_DELETED);
                assert_int_equal(n_disks(r), 0);
                rig_free(r);
        }
}

/* Each step of the release fails once: the container is Invalid, and delete goes on from there. */
static void test_release_goes_on(void **state) {
        static const FakeOp steps[] = { FAKE_DELETE, FAKE_REMOVE_OVERLAY, FAKE_UNMOUNT,
                                        FAKE_UNPLUG };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                for (int later = 0; later < 2; later++) {
                        Rig *r = make(CONTAINER_STOPPED);
                        FakeHost *h = &r->pod.host;
                        FakeAnswer a = {};
                        int x;

                        if (later)
                                fake_all_later(h);
                        h->mode[steps[i]] = FAKE_REFUSE;
                        x = container_delete(r->c, NULL, fake_answer_exit, &a, NULL);
                        fake_fire_all(h, 0);
                        assert_int_equal(x == 1 ? a.r : x, -EIO);
                        assert_int_equal(container_state(r->c), CONTAINER_INVALID);
                        assert_int_equal(controller_freeze(container_controller(r->c), NULL),
                                         -EBADFD);
                        h->mode[steps[i]] = FAKE_NOW;
                        fake_clear(h);
                        x = container_delete(r->c, &a.exit, fake_answer_exit, &a, NULL);
                        fake_fire_all(h, 0);
                        assert_int_equal(x == 1 ? a.r : x, 0);
                        assert_int_equal(a.exit.code, 4);
                        assert_int_equal(h->calls[FAKE_DELETE], i == 0); /* not again */
                        assert_int_equal(h->calls[FAKE_REMOVE_OVERLAY], i <= 1);
                        assert_int_equal(n_disks(r), 0);
                        assert_string_equal(h->events, "deleted c/ 4;");
                        rig_free(r);
                }
}

static void test_gone_counts_as_released(void **state) {
        Rig *r = make(CONTAINER_STOPPED);
        FakeHost *h = &r->pod.host;

        h->code[FAKE_DELETE] = h->code[FAKE_REMOVE_OVERLAY] = -EPIPE;
        h->mode[FAKE_DELETE] = h->mode[FAKE_REMOVE_OVERLAY] = FAKE_REFUSE;
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), -EPIPE);
        h->gone = true;
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        rig_free(r);
        r = make(CONTAINER_STOPPED); /* the guest does not know it any more */
        h = &r->pod.host;
        h->code[FAKE_DELETE] = -ENOENT;
        h->mode[FAKE_DELETE] = FAKE_REFUSE;
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        rig_free(r);
        r = make(CONTAINER_RUNNING); /* the VM dies under it */
        h = &r->pod.host;
        scsi_lost(vm_scsi(r->pod.vm));
        container_lost(r->c);
        assert_int_equal(container_state(r->c), CONTAINER_STOPPED);
        fake_clear(h);
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        assert_string_equal(h->trace, "");
        rig_free(r);
}

static void test_delete_of_a_created_one(void **state) {
        Rig *r = make(CONTAINER_CREATED);
        FakeAnswer w = {};
        ProcessExit exit = { .code = 99 };

        assert_int_equal(
                process_wait(container_init_process(r->c), NULL, fake_answer_exit, &w, NULL), 1);
        assert_int_equal(container_delete(r->c, &exit, NULL, NULL, NULL), 0);
        assert_int_equal(exit.code, 0);
        assert_int_equal(w.times, 1);
        assert_int_equal(r->pod.host.n_waits, 0);
        rig_free(r);
}

static void test_delete_waits_for_execs(void **state) {
        Rig *r = make(CONTAINER_RUNNING);
        FakeHost *h = &r->pod.host;
        FakeAnswer a = {};

        fake_pod_exec(&r->pod, r->c, "e1", true);
        fake_pod_exec(&r->pod, r->c, "e2", false);
        assert_true(fake_exit(h, "c", "", 0));
        fake_clear(h);
        assert_int_equal(container_delete(r->c, NULL, fake_answer_exit, &a, NULL), 1);
        assert_string_equal(h->trace, "kill c/e1 9;");
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), -EBADFD);
        assert_true(fake_exit(h, "c", "e1", 137));
        assert_int_equal(a.times, 1);
        assert_int_equal(a.r, 0);
        assert_string_equal(h->events, "exited c/e1 137;deleted c/ 0;");
        rig_free(r);
}

static void test_kill(void **state) {
        Rig *r = make(CONTAINER_RUNNING);
        FakeHost *h = &r->pod.host;

        fake_pod_exec(&r->pod, r->c, "e1", true);
        fake_pod_exec(&r->pod, r->c, "e2", false);
        fake_clear(h);
        assert_int_equal(container_kill(r->c, "e1", 15, true, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(container_kill(r->c, "nope", 15, false, NULL, NULL, NULL), -ENOENT);
        assert_int_equal(container_kill(r->c, "", 0, false, NULL, NULL, NULL), -EINVAL);
        assert_int_equal(container_kill(r->c, "e1", 15, false, NULL, NULL, NULL), 0);
        assert_string_equal(h->trace, "kill c/e1 15;");
        assert_int_equal(container_kill(r->c, "", 15, false, NULL, NULL, NULL), 0);
        assert_int_equal(process_state(container_process(r->c, "e2")), PROCESS_CREATED);
        assert_int_equal(container_kill(r->c, NULL, 9, true, NULL, NULL, NULL), 0);
        assert_string_equal(h->trace, "kill c/e1 15;kill c/ 15;kill c/ 9 all;");
        assert_int_equal(process_state(container_process(r->c, "e2")), PROCESS_TERMINATED);
        assert_true(fake_exit(h, "c", "", 137));
        assert_int_equal(container_kill(r->c, "", 9, true, NULL, NULL, NULL), 0);
        assert_int_equal(h->calls[FAKE_KILL], 3);
        rig_free(r);
}

static void test_execs(void **state) {
        Rig *r = make(CONTAINER_RUNNING);
        FakeHost *h = &r->pod.host;
        ProcessSpec spec = { .exec_id = "e", .process_json = "{}" }, init = { .exec_id = "" };
        FakeAnswer a = {};

        assert_int_equal(container_exec(r->c, &init, NULL, NULL), -EINVAL);
        assert_int_equal(container_exec(r->c, &spec, NULL, NULL), 0);
        assert_int_equal(container_exec(r->c, &spec, NULL, NULL), -EEXIST);
        assert_int_equal(container_start_exec(r->c, "", NULL, NULL, NULL, NULL), -ENOENT);
        assert_int_equal(container_start_exec(r->c, "f", NULL, NULL, NULL, NULL), -ENOENT);
        assert_int_equal(container_start_exec(r->c, "e", &a.pid, NULL, NULL, NULL), 0);
        assert_true(a.pid > 0);
        assert_int_equal(container_delete_exec(r->c, "e", NULL, NULL, NULL, NULL), -EBADFD);
        assert_non_null(container_process(r->c, "e"));
        assert_int_equal(container_delete_exec(r->c, "", NULL, NULL, NULL, NULL), -EINVAL);
        assert_true(fake_exit(h, "c", "e", 8));
        h->mode[FAKE_DELETE_EXEC] = FAKE_LATER;
        assert_int_equal(container_delete_exec(r->c, "e", NULL, fake_answer_exit, &a, NULL), 1);
        assert_int_equal(controller_freeze(container_controller(r->c), NULL), -EBUSY);
        assert_true(fake_fire(h, -EIO));
        assert_int_equal(a.r, -EIO);
        assert_non_null(container_process(r->c, "e"));
        assert_int_equal(container_delete_exec(r->c, "e", NULL, fake_answer_exit, &a, NULL), 1);
        assert_true(fake_fire(h, 0));
        assert_int_equal(a.exit.code, 8);
        assert_null(container_process(r->c, "e"));
        assert_non_null(strstr(h->events, "exec-added c/e;exec-started c/e;exited c/e 8;"
                                          "deleted c/e 8;"));
        rig_free(r);
}

static void test_stop(void **state) {
        Rig *r = make(CONTAINER_RUNNING);
        FakeAnswer a = {};
        ProcessExit exit;

        assert_int_equal(container_stop(r->c, 15, &exit, fake_answer_exit, &a, NULL), 1);
        assert_true(fake_exit(&r->pod.host, "c", "", 143));
        assert_int_equal(a.exit.code, 143);
        assert_int_equal(container_stop(r->c, 15, &exit, NULL, NULL, NULL), 0);
        assert_int_equal(exit.code, 143);
        rig_free(r);
        r = make(CONTAINER_RUNNING);
        r->pod.host.mode[FAKE_KILL] = FAKE_REFUSE;
        assert_int_equal(container_stop(r->c, 15, &exit, NULL, NULL, NULL), -EIO);
        rig_free(r);
}

static void test_update_and_ps(void **state) {
        Rig *r = make(CONTAINER_RUNNING);
        FakeHost *h = &r->pod.host;
        FakeAnswer a = {};

        assert_int_equal(container_update(r->c, "[]", NULL, NULL, NULL), -EINVAL);
        h->mode[FAKE_PS] = h->mode[FAKE_UPDATE] = FAKE_LATER;
        assert_int_equal(container_ps(r->c, fake_answer, &a, NULL), 1);
        assert_int_equal(container_update(r->c, "{}", fake_answer, &a, NULL), 1);
        assert_int_equal(controller_freeze(container_controller(r->c), NULL), -EBUSY);
        assert_int_equal(fake_exit(h, "c", "", 0), true);
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), -EBUSY);
        fake_fire_all(h, -EPIPE);
        assert_int_equal(a.times, 2);
        h->mode[FAKE_PS] = FAKE_REFUSE;
        rig_free(r);
}

static void test_start(void **state) {
        Rig *r = make(CONTAINER_CREATED);
        FakeHost *h = &r->pod.host;
        FakeAnswer a = {};

        h->mode[FAKE_START] = FAKE_LATER;
        assert_int_equal(container_start(r->c, NULL, fake_answer_pid, &a, NULL), 1);
        assert_int_equal(container_start(r->c, NULL, NULL, NULL, NULL), -EBADFD);
        assert_true(fake_exit(h, "c", "", 0)); /* faster than its start */
        assert_true(fake_fire(h, 0));
        assert_int_equal(a.r, 0);
        assert_int_equal(container_state(r->c), CONTAINER_STOPPED);
        rig_free(r);
        r = make(CONTAINER_CREATED);
        h = &r->pod.host;
        h->mode[FAKE_START] = FAKE_REFUSE;
        assert_int_equal(container_start(r->c, NULL, NULL, NULL, NULL), -EIO);
        assert_int_equal(container_state(r->c), CONTAINER_STOPPED);
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        rig_free(r);
}

static void test_patch(void **state) {
        static const char *const good[] = { "/dst/0", "/dst/1", "/dst/2", "/dst/3" };
        static const char *const twice[] = { "/dst/0", "/dst/1", "/dst/2", "/dst/2" };
        static const char *const relative[] = { "/dst/0", "/dst/1", "/dst/2", "dst" };
        const struct {
                ContainerPatch patch;
                int r;
        } bad[] = {
                { { "c", "", NULL, NULL, good, 4 }, -EINVAL },
                { { "c", "../c", NULL, NULL, good, 4 }, -EINVAL },
                { { "c", "d", "bundle", NULL, good, 4 }, -EINVAL },
                { { "c", "d", NULL, "log", good, 4 }, -EINVAL },
                { { "c", "d", NULL, NULL, good, 3 }, -EINVAL }, /* H7: none may be left out */
                { { "c", "d", NULL, NULL, twice, 4 }, -EINVAL },
                { { "c", "d", NULL, NULL, relative, 4 }, -EINVAL },
        };
        Rig *r = make(CONTAINER_DESTINATION_MIGRATING);
        ScsiDiskInfo info;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(container_patch(r->c, &bad[i].patch, NULL), bad[i].r);
                assert_false(container_is_patched(r->c));
                assert_string_equal(container_id(r->c), "c");
        }
        assert_int_equal(scsi_disk_of(vm_scsi(r->pod.vm), 1, &info), 0);
        assert_string_equal(info.config.host_path, "/layers/base.erofs"); /* nothing half done */
        assert_int_equal(container_resume(r->c, &r->pod.host.pod_ops, NULL), -EBADFD);
        assert_int_equal(patch(r, "d"), 0);
        assert_int_equal(patch(r, "e"), 0); /* again */
        assert_string_equal(container_id(r->c), "e");
        assert_string_equal(container_guest_id(r->c), "c");
        assert_string_equal(container_source_id(r->c), "c");
        assert_int_equal(container_resume(r->c, &r->pod.host.pod_ops, NULL), 0);
        assert_string_equal(r->pod.host.events, "created e/ migrated;");
        assert_true(fake_exit(&r->pod.host, "c", "", 1));
        assert_non_null(strstr(r->pod.host.events, "exited e/ 1;"));
        rig_free(r);
}

static void test_abort(void **state) {
        Rig *r = make(CONTAINER_DESTINATION_MIGRATING);

        scsi_lost(vm_scsi(r->pod.vm));
        assert_int_equal(container_abort_migrated(r->c, NULL), 0);
        assert_int_equal(container_abort_migrated(r->c, NULL), 0);
        assert_int_equal(container_state(r->c), CONTAINER_STOPPED);
        assert_string_equal(r->pod.host.events, "exited c/ 137;");
        assert_int_equal(container_kill(r->c, "", 9, true, NULL, NULL, NULL), 0);
        assert_int_equal(container_delete(r->c, NULL, NULL, NULL, NULL), 0);
        assert_string_equal(r->pod.host.trace, "");
        rig_free(r);
}

static void test_bad_specs(void **state) {
        Rig *r = rig_new();
        ContainerSpec s;

#define REFUSED(...)                                                                               \
        do {                                                                                       \
                s = r->spec;                                                                       \
                __VA_ARGS__;                                                                       \
                assert_int_equal(container_new(NULL, &s, &r->c, NULL), -EINVAL);                   \
                assert_null(r->c);                                                                 \
        } while (0)
        REFUSED(s.id = "");
        REFUSED(s.id = "a/b");
        REFUSED(s.guest_id = "-x");
        REFUSED(s.config_json = "{\"mounts\":{}}");
        REFUSED(s.config_json = "null");
        REFUSED(s.bundle = "x");
        REFUSED(s.log_path = "/a/../b");
        REFUSED(s.n_disks = 0);
        REFUSED(s.n_disks = CONTAINER_DISKS_MAX + 1);
        REFUSED(s.rows = 1 << 20);
        REFUSED(s.disks = r->disks + 2; s.n_disks = 2); /* no layer */
        REFUSED(r->disks[3].destination = "/");
        r->disks[3].destination = "/data";
        REFUSED(r->disks[0].destination = "/x");
        r->disks[0].destination = "";
        REFUSED(r->disks[1].block_device = true);
        r->disks[1].block_device = false;
        REFUSED(r->disks[0].disk.kind = SCSI_DISK_SCRATCH);
        r->disks[0].disk.kind = SCSI_DISK_LAYER;
        REFUSED(r->disks[3].disk.kind = SCSI_DISK_SCRATCH);
        r->disks[3].disk.kind = SCSI_DISK_VOLUME;
        REFUSED(r->disks[2].disk.virtual_size = 0);
        assert_int_equal(fsm_check(&container_fsm, NULL), 0);
        rig_free(r);
}

static void test_no_memory(void **state) {
        Rig *r;
        int x = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        r = rig_new();
        for (unsigned n = 1; x != 0; n++) {
                fail_malloc_at(n);
                x = container_new(pod_controller(r->pod.pod), &r->spec, &r->c, NULL);
                fail_malloc_at(0);
                assert_true(x == 0 ? !!r->c : !r->c);
        }
        rig_free(r);
        /* The whole creation: on failure nothing stays. */
        for (unsigned n = 1, hit = 1; hit; n++) {
                size_t before = fail_malloc_live();

                r = rig_new();
                rig_make(r);
                fail_malloc_at(n);
                x = container_create(r->c, NULL, NULL, NULL);
                fail_malloc_at(0);
                hit = fail_malloc_fired();
                assert_true(x == 0 || x == -ENOMEM);
                if (x < 0)
                        assert_int_equal(n_disks(r), 0);
                rig_free(r);
                assert_int_equal(fail_malloc_live(), before);
        }
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(cells) + 16] = {
                cmocka_unit_test(test_creation_fails),
                cmocka_unit_test(test_creation_fails_later),
                cmocka_unit_test(test_release_goes_on),
                cmocka_unit_test(test_gone_counts_as_released),
                cmocka_unit_test(test_delete_of_a_created_one),
                cmocka_unit_test(test_delete_waits_for_execs),
                cmocka_unit_test(test_kill),
                cmocka_unit_test(test_execs),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_update_and_ps),
                cmocka_unit_test(test_start),
                cmocka_unit_test(test_patch),
                cmocka_unit_test(test_abort),
                cmocka_unit_test(test_bad_specs),
                cmocka_unit_test(test_no_memory),
        };
        char names[ELEMENTSOF(cells)][64];
        size_t n = 15;

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                (void)strcpy(names[i], fsm_state_name(&container_fsm, cells[i].state));
                tests[n++] = (struct CMUnitTest){ .name = names[i],
                                                  .test_func = test_cell,
                                                  .initial_state = (void *)(uintptr_t)&cells[i] };
        }
        return _cmocka_run_group_tests("container", tests, n, NULL, NULL);
}
