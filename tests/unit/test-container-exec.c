/* SPDX-License-Identifier: Apache-2.0 */
/* rows: H17: execs that nobody deletes, and deletions that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fake-host.h"

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

/* An exec "<letter><number>", counted so that the order of ids is the order of numbers. */
static const char *name(char letter, unsigned n) {
        static char id[8];

        (void)snprintf(id, sizeof(id), "%c%04u", letter, n);
        return id;
}

static void start(Rig *r, const char *id) {
        ProcessSpec spec = { .exec_id = id, .process_json = "{\"args\":[\"sh\"]}" };

        assert_int_equal(container_exec(r->c, &spec, NULL, NULL), 0);
        assert_int_equal(container_start_exec(r->c, id, NULL, NULL, NULL, NULL), 0);
}

static void run(Rig *r, const char *id) {
        start(r, id);
        assert_true(fake_exit(&r->pod.host, "c", id, 0));
}

/* Far more than a container may have at once, one after another, and nobody deletes one. */
static void test_nobody_deletes(void **state) {
        Rig *r = rig_new();
        unsigned last = 3 * CONTAINER_PROCESSES_MAX;

        start(r, "a-runs");
        run(r, "z-ended-first");
        for (unsigned i = 0; i <= last; i++)
                run(r, name('e', i));
        /* One more than are kept: room is made when the next one comes. */
        assert_non_null(container_process(r->c, name('e', last)));
        assert_non_null(container_process(r->c, name('e', last - CONTAINER_ENDED_EXECS_MAX)));
        assert_null(container_process(r->c, name('e', last - CONTAINER_ENDED_EXECS_MAX - 1)));
        assert_null(container_process(r->c, "z-ended-first"));
        assert_int_equal(process_state(container_process(r->c, "a-runs")), PROCESS_RUNNING);
        rig_free(r);
}

/* Those that ended while the pod was frozen are of that number as well. */
static void test_ended_frozen(void **state) {
        Rig *r = rig_new();
        Controller *pod = pod_controller(r->pod.pod);

        for (unsigned i = 0; i <= CONTAINER_ENDED_EXECS_MAX; i++)
                start(r, name('e', i));
        assert_int_equal(controller_freeze(pod, NULL), 0);
        for (unsigned i = 0; i <= CONTAINER_ENDED_EXECS_MAX; i++)
                assert_true(fake_exit(&r->pod.host, "c", name('e', i), 7));
        controller_thaw(pod);
        assert_non_null(container_process(r->c, name('e', 0)));
        start(r, "f");
        assert_null(container_process(r->c, name('e', 0)));
        assert_non_null(container_process(r->c, name('e', 1)));
        rig_free(r);
}

/* The list has room for the one that comes back, whatever came into it meanwhile. */
static void test_deletion_fails_in_a_full_list(void **state) {
        for (unsigned n = 1; n < 20; n++) {
                Rig *r = rig_new();
                FakeHost *h = &r->pod.host;
                FakeAnswer a = {};

                for (unsigned i = 0; i < n; i++)
                        run(r, name('e', i));
                h->mode[FAKE_DELETE_EXEC] = FAKE_LATER;
                assert_int_equal(
                        container_delete_exec(r->c, name('e', 0), NULL, fake_answer_exit, &a, NULL),
                        1);
                start(r, "f");
                fake_fire_all(h, -EIO);
                assert_int_equal(a.r, -EIO);
                assert_non_null(container_process(r->c, name('e', 0)));
                assert_non_null(container_process(r->c, "f"));
                h->mode[FAKE_DELETE_EXEC] = FAKE_NOW;
                rig_free(r);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_deletes),
                cmocka_unit_test(test_ended_frozen),
                cmocka_unit_test(test_deletion_fails_in_a_full_list),
        };

        return cmocka_run_group_tests_name("container-exec", tests, NULL, NULL);
}
