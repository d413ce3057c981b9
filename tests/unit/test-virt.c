/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes, events and reconnect on libvirt's test driver, which lives in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "hostdev/libvirt/virt-survey.h"

#define UUID "11111111-2222-4333-8444-555555555555"
#define XML                                                                                        \
        "<domain type='test'><name>pod</name><uuid>" UUID "</uuid><memory>65536</memory>"          \
        "<os><type>hvm</type></os></domain>"

typedef struct Seen {
        sd_event *loop;
        Virt *virt;
        int results[64]; /* 1: not completed */
        VirtDomain domain;
        VirtEventKind events[64];
        VirtReason reasons[64];
        unsigned n_events;
        Error error;
} Seen;

typedef struct Call {
        Seen *seen;
        unsigned index;
} Call;

static void on_event(void *userdata, const VirtEvent *event) {
        Seen *s = userdata;

        if (s->n_events < ELEMENTSOF(s->events)) {
                s->reasons[s->n_events] = event->reason;
                s->events[s->n_events++] = event->kind;
        }
}

static void on_done(void *userdata, int r, const void *result, const Error *err) {
        Call *c = userdata;

        c->seen->results[c->index] = r;
        if (err)
                c->seen->error = *err;
}

static void on_domain(void *userdata, int r, const void *result, const Error *err) {
        Call *c = userdata;

        if (r >= 0)
                c->seen->domain = *(const VirtDomain *)result;
        on_done(userdata, r, result, err);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        return -ETIMEDOUT;
}

static int setup(void **state) {
        Seen *s = calloc(1, sizeof(*s));

        if (!s || sd_event_new(&s->loop) < 0 ||
            sd_event_add_time_relative(s->loop, NULL, CLOCK_MONOTONIC, 20000000, 0, on_timeout,
                                       NULL) < 0 ||
            virt_new(s->loop, "test:///default", on_event, s, &s->virt, NULL) < 0 ||
            virt_set_domain(s->virt, "pod", UUID, NULL) < 0)
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(s->results); i++)
                s->results[i] = 1;
        *state = s;
        return 0;
}

static int teardown(void **state) {
        Seen *s = *state;

        virt_free(s->virt);
        sd_event_unref(s->loop);
        free(s);
        return 0;
}

static void run_until_idle(Seen *s) {
        while (virt_busy(s->virt) > 0)
                assert_true(sd_event_run(s->loop, UINT64_MAX) >= 0);
}

static void wait_for_events(Seen *s, unsigned n) {
        while (s->n_events < n)
                assert_true(sd_event_run(s->loop, UINT64_MAX) >= 0);
}

static void test_life(void **state) {
        Seen *s = *state;
        Call c[6] = { { s, 0 }, { s, 1 }, { s, 2 }, { s, 3 }, { s, 4 }, { s, 5 } };
        static const VirtEventKind expected[] = { VIRT_EVENT_STARTED, VIRT_EVENT_SUSPENDED,
                                                  VIRT_EVENT_RESUMED, VIRT_EVENT_SUSPENDED,
                                                  VIRT_EVENT_STOPPED };

        assert_int_equal(virt_create(s->virt, XML, false, on_domain, &c[0], NULL), 1);
        assert_int_equal(virt_set_domain(s->virt, "other", UUID, NULL), -EBUSY);
        assert_int_equal(virt_set_domain(s->virt, "pod", UUID, NULL), 0);
        run_until_idle(s);
        assert_int_equal(s->results[0], 0);
        assert_int_equal(s->domain.state, VIRT_RUNNING);
        assert_int_equal(s->domain.pid, 0);
        assert_int_equal(virt_suspend(s->virt, on_done, &c[1], NULL), 1);
        assert_int_equal(virt_resume(s->virt, on_done, &c[2], NULL), 1);
        assert_int_equal(virt_suspend(s->virt, on_done, &c[3], NULL), 1);
        run_until_idle(s);
        assert_int_equal(virt_query(s->virt, on_domain, &c[4], NULL), 1);
        run_until_idle(s);
        assert_int_equal(s->domain.state, VIRT_PAUSED);
        assert_int_equal(s->domain.reason, VIRT_REASON_USER);
        assert_int_equal(virt_destroy(s->virt, on_done, &c[5], NULL), 1);
        run_until_idle(s);
        wait_for_events(s, ELEMENTSOF(expected));
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                assert_int_equal(s->events[i], expected[i]);
                assert_int_equal(s->results[i], 0);
        }
        assert_int_equal(s->reasons[4], VIRT_REASON_DESTROYED);
}

static void test_nothing_there(void **state) {
        Seen *s = *state;
        Call c[4] = { { s, 0 }, { s, 1 }, { s, 2 }, { s, 3 } };

        assert_int_equal(virt_resume(s->virt, on_done, &c[0], NULL), 1);
        run_until_idle(s);
        assert_int_equal(s->results[0], -ENOENT);
        assert_non_null(strstr(s->error.text, "resumption of pod"));
        assert_int_equal(virt_query(s->virt, on_domain, &c[1], NULL), 1);
        assert_int_equal(virt_destroy(s->virt, on_done, &c[2], NULL), 1);
        assert_int_equal(virt_create(s->virt, "<domain", false, on_domain, &c[3], NULL), 1);
        run_until_idle(s);
        assert_int_equal(s->results[1], 0);
        assert_int_equal(s->domain.state, VIRT_NONE);
        assert_int_equal(s->results[2], 0);
        assert_true(s->results[3] < 0);
}

static void test_twice(void **state) {
        Seen *s = *state;
        Call c[3] = { { s, 0 }, { s, 1 }, { s, 2 } };

        assert_int_equal(virt_create(s->virt, XML, false, on_domain, &c[0], NULL), 1);
        assert_int_equal(virt_create(s->virt, XML, false, on_domain, &c[1], NULL), 1);
        run_until_idle(s);
        assert_int_equal(s->results[0], 0);
        assert_int_equal(s->results[1], -EEXIST);
        assert_int_equal(virt_destroy(s->virt, on_done, &c[2], NULL), 1);
        run_until_idle(s);
}

static void test_queue_is_bounded(void **state) {
        static Call c[300];
        Seen *s = *state;
        unsigned accepted = 0;
        int r = 1;

        for (size_t i = 0; i < ELEMENTSOF(c) && r == 1; i++) {
                c[i] = (Call){ s, 0 };
                r = virt_query(s->virt, on_domain, &c[i], &s->error);
                accepted += r == 1;
        }
        assert_int_equal(r, -EBUSY);
        assert_int_equal(virt_busy(s->virt), accepted);
        run_until_idle(s);
}

static void test_refusals(void **state) {
        Seen *s = *state;
        const uint32_t slot = DOMAIN_SLOTS_MAX;

        assert_int_equal(virt_unplug_disk(s->virt, DOMAIN_SLOTS_MAX, on_done, NULL, NULL), -EINVAL);
        assert_int_equal(virt_plug_disk(s->virt, &(DiskSpec){ .path = "a", .format = "raw" },
                                        on_done, NULL, NULL),
                         -EINVAL);
        assert_int_equal(virt_migrate(s->virt, &(VirtMigrate){}, on_done, NULL, NULL), -EINVAL);
        assert_int_equal(
                virt_migrate(s->virt,
                             &(VirtMigrate){ .dest_uri = "x", .flags = VIRT_MIGRATE_COPY_DISKS },
                             on_done, NULL, NULL),
                -EINVAL);
        assert_int_equal(virt_migrate(s->virt,
                                      &(VirtMigrate){ .dest_uri = "x",
                                                      .flags = VIRT_MIGRATE_COPY_DISKS,
                                                      .copy_slots = &slot,
                                                      .n_copy_slots = 1 },
                                      on_done, NULL, NULL),
                         -EINVAL);
        assert_int_equal(virt_set_domain(s->virt, "pod", "no-uuid", NULL), -EINVAL);
        assert_int_equal(virt_busy(s->virt), 0);
}

/* Several in one process share the event thread; the last one ends it, and it starts again. */
static void test_again(void **state) {
        for (int i = 0; i < 3; i++) {
                void *a, *b;

                assert_int_equal(setup(&a), 0);
                assert_int_equal(setup(&b), 0);
                assert_int_equal(virt_open(((Seen *)a)->virt, on_done, &(Call){ a, 0 }, NULL), 1);
                run_until_idle(a);
                assert_int_equal(virt_open(((Seen *)b)->virt, on_done, &(Call){ b, 0 }, NULL), 1);
                run_until_idle(b);
                assert_int_equal(((Seen *)b)->results[0], 0);
                teardown(&a);
                teardown(&b);
        }
}

static void test_unreachable(void **state) {
        Seen *s = *state;
        Call c = { s, 0 };
        Virt *v;

        assert_int_equal(virt_new(s->loop, "qemu+unix:///system?socket=/nonexistent/socket",
                                  on_event, s, &v, NULL),
                         0);
        assert_int_equal(virt_query(v, on_done, &c, &s->error), -EINVAL); /* no domain is set */
        assert_int_equal(virt_set_domain(v, "pod", UUID, NULL), 0);
        assert_int_equal(virt_open(v, on_done, &c, NULL), 1);
        while (virt_busy(v) > 0)
                assert_true(sd_event_run(s->loop, UINT64_MAX) >= 0);
        assert_int_equal(s->results[0], -EBUSY);
        assert_non_null(strstr(s->error.text, "cannot be reached"));
        virt_free(v);
}

static void test_survey(void **state) {
        _cleanup_free_ VirtSurvey *all = NULL, *none = NULL;

        assert_int_equal(virt_survey("test:///default", "te", 10000, &all, NULL), 0);
        assert_int_equal(all->n, 1);
        assert_string_equal(all->domains[0].name, "test");
        assert_int_equal(all->domains[0].state, VIRT_RUNNING);
        assert_int_equal(all->domains[0].control, VIRT_CONTROL_OK);
        assert_int_equal(strlen(all->domains[0].uuid), VIRT_UUID_SIZE - 1);
        assert_ptr_equal(virt_survey_find(all, "test"), &all->domains[0]);
        assert_null(virt_survey_find(all, "tes"));
        assert_int_equal(virt_survey("test:///default", "podferry-", 10000, &none, NULL), 0);
        assert_int_equal(none->n, 0);
}

/* One that cannot be reached, and one that takes the connection and says nothing. */
static void test_survey_of_nobody(void **state) {
        char directory[] = "/tmp/podferry-virt-XXXXXX", uri[160];
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        VirtSurvey *none = NULL;
        Error e = ERROR_INIT;
        int fd;

#ifdef __SANITIZE_THREAD__
        print_message("# its interceptor of xdrmem_create() finds no libtirpc behind dlopen()\n");
        skip();
#endif
        assert_non_null(mkdtemp(directory));
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", directory);
        (void)snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s/s", directory);
        assert_int_equal(virt_survey(uri, "", 10000, &none, &e), -EBUSY);
        assert_non_null(strstr(e.text, "cannot be reached"));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(virt_survey(uri, "", 200, &none, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.text, "does not answer"));
        assert_null(none);
        (void)close(fd);
        (void)unlink(address.sun_path);
        (void)rmdir(directory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_life, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
                cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queue_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
                cmocka_unit_test(test_again),
                cmocka_unit_test_setup_teardown(test_unreachable, setup, teardown),
                cmocka_unit_test(test_survey),
                cmocka_unit_test(test_survey_of_nobody),
        };

        return cmocka_run_group_tests_name("virt", tests, NULL, NULL);
}
