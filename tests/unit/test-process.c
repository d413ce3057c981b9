/* SPDX-License-Identifier: Apache-2.0 */
/* A process: every verb in every state, and its exit, told once whenever it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"

#define JSON "{\"args\":[\"sh\"]}"

typedef struct Rig {
        FakeHost host;
        Process *p;
        char seen[256]; /* by the owner */
} Rig;

static void on_exited(void *owner, Process *p, const ProcessExit *exit) {
        Rig *rig = owner;
        size_t n = strlen(rig->seen);

        (void)snprintf(rig->seen + n, sizeof(rig->seen) - n, "%u%s;", exit->code,
                       exit->moved ? "m" : "");
}

static void bind(Rig *r) {
        process_bind(r->p, &fake_process_ops, &r->host, &r->host.pod_ops.events, on_exited, r);
}

static void freeze(Rig *r) {
        assert_int_equal(controller_freeze(process_controller(r->p), NULL), 0);
}

/* Saves the frozen process and imports it into *to, bound there. */
static int move(const Rig *from, Rig *to, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        int r;

        *to = (Rig){};
        fake_host_init(&to->host, NULL);
        r = process_save(from->p, &b, reterr);
        if (r == 0)
                r = process_import(NULL, "c", "g", b.data, b.len, &to->p, reterr);
        if (r == 0)
                bind(to);
        return r;
}

static void make_new(Rig *r, bool init) {
        ProcessSpec spec = { .exec_id = init ? "" : "e",
                             .process_json = init ? NULL : JSON,
                             .terminal = true,
                             .stdin_open = true };

        *r = (Rig){};
        fake_host_init(&r->host, NULL);
        assert_int_equal(
                process_new(NULL, &(ProcessKey){ "c", "g", spec.exec_id }, &spec, &r->p, NULL), 0);
        bind(r);
}

static void make_created(Rig *r, bool init) {
        make_new(r, init);
        if (!init)
                return;
        assert_int_equal(process_open_io(r->p, NULL), 0);
        assert_int_equal(process_created(r->p, 42, NULL), 0);
}

static void make(Rig *r, ProcessState state, bool init) {
        static Rig other;

        if (state == PROCESS_NOT_CREATED) {
                make_new(r, true);
                return;
        }
        make_created(r, init);
        if (state == PROCESS_CREATED)
                return;
        if (state == PROCESS_STARTING)
                r->host.mode[FAKE_START] = FAKE_LATER;
        assert_int_equal(process_start(r->p, NULL, NULL, NULL, NULL), state == PROCESS_STARTING);
        if (state == PROCESS_TERMINATED || state == PROCESS_DELETING || state == PROCESS_DELETED)
                assert_true(fake_exit(&r->host, "g", init ? "" : "e", 3));
        if (state == PROCESS_DELETING)
                r->host.mode[FAKE_DELETE_EXEC] = FAKE_LATER;
        if (state == PROCESS_DELETING || state == PROCESS_DELETED)
                assert_int_equal(process_delete(r->p, NULL, NULL, NULL), state == PROCESS_DELETING);
        if (state == PROCESS_SOURCE_MIGRATING || state == PROCESS_DESTINATION_MIGRATING)
                freeze(r);
        if (state == PROCESS_DESTINATION_MIGRATING) {
                other = *r;
                assert_int_equal(move(&other, r, NULL), 0);
                process_bind(other.p, &fake_process_ops, &other.host, NULL, NULL, NULL);
                other.p = process_free(other.p);
        }
        assert_int_equal(process_state(r->p), state);
}

static void done(Rig *r) {
        fake_fire_all(&r->host, 0);
        r->p = process_free(r->p);
        assert_int_equal(r->host.n_waits, 0);
}

static int verb(Rig *r, char v) {
        ProcessExit exit = { .code = 9 };
        _cleanup_buf_ Buf b = {};

        switch (v) {
        case 'o':
                return process_open_io(r->p, NULL);
        case 'c':
                return process_created(r->p, 42, NULL);
        case 's':
                return process_start(r->p, NULL, NULL, NULL, NULL);
        case 'k':
                return process_kill(r->p, 15, false, NULL, NULL, NULL);
        case 'r':
                return process_resize(r->p, 24, 80, NULL, NULL, NULL);
        case 'i':
                return process_close_stdin(r->p, NULL);
        case 'd':
                return process_delete(r->p, NULL, NULL, NULL);
        case 'w':
                return process_wait(r->p, &exit, NULL, NULL, NULL);
        case 'v':
                return process_save(r->p, &b, NULL);
        case 'p':
                return process_put_exit(r->p, &exit, NULL);
        case 'R':
                return process_resume(r->p, NULL);
        case 'A':
                return process_abort_migrated(r->p, NULL);
        default:
                return controller_freeze(process_controller(r->p), NULL);
        }
}

static const char verbs[] = "ocskridwvpRAz";
/* One letter per verb: 0 done, 1 later, D wrong state, B busy. */
static const struct Cell {
        ProcessState state;
        bool init;
        const char *answers;
} cells[] = {
        { PROCESS_NOT_CREATED, true, "00DDD001DD00B" },
        { PROCESS_CREATED, true, "DD00D001DD000" },
        { PROCESS_CREATED, false, "DD00D001DD000" },
        { PROCESS_STARTING, true, "DDDBD0D1DD00B" },
        { PROCESS_STARTING, false, "DDDBD0D1DD00B" },
        { PROCESS_RUNNING, true, "DDD000D1DD000" },
        { PROCESS_RUNNING, false, "DDD000D1DD000" },
        { PROCESS_TERMINATED, true, "DDD0D000DD000" },
        { PROCESS_TERMINATED, false, "DDD0D000DD000" },
        { PROCESS_DELETING, false, "DDD0D0D0DD00B" },
        { PROCESS_DELETED, true, "DDD0D000DD00D" },
        { PROCESS_DELETED, false, "DDD0D000DD00D" },
        { PROCESS_SOURCE_MIGRATING, true, "DDDDDDD10D00D" },
        { PROCESS_SOURCE_MIGRATING, false, "DDDDDDD10D00D" },
        { PROCESS_DESTINATION_MIGRATING, true, "DDDDDDD1D000D" },
        { PROCESS_DESTINATION_MIGRATING, false, "DDDDDDD1D000D" },
};

static void test_cell(void **state) {
        const struct Cell *cell = *state;

        for (size_t i = 0; verbs[i]; i++) {
                static Rig r;
                int answer;
                char c;

                make(&r, cell->state, cell->init);
                answer = verb(&r, verbs[i]);
                c = answer >= 0 ? (char)('0' + answer)
                                : (answer == -EBADFD ? 'D' : (answer == -EBUSY ? 'B' : '?'));
                if (c != cell->answers[i])
                        fail_msg("%s, verb %c: %c instead of %c",
                                 fsm_state_name(&process_fsm, cell->state), verbs[i], c,
                                 cell->answers[i]);
                done(&r);
        }
}

static void test_exit_reported_once(void **state) {
        static Rig r;
        FakeAnswer a = {}, b = {}, c = {};
        ProcessExit exit;

        make(&r, PROCESS_RUNNING, false);
        assert_int_equal(process_wait(r.p, &exit, fake_answer_exit, &a, NULL), 1);
        assert_int_equal(process_wait(r.p, &exit, fake_answer_exit, &b, NULL), 1);
        assert_int_equal(process_wait(r.p, &exit, fake_answer_exit, &c, NULL), 1);
        process_unwait(r.p, &c);
        assert_true(fake_exit(&r.host, "g", "e", 77));
        assert_string_equal(r.seen, "77;");
        assert_string_equal(r.host.events, "exec-started c/e;exited c/e 77;");
        assert_true(a.times == 1 && a.exit.code == 77);
        assert_true(b.times == 1 && b.exit.code == 77);
        assert_int_equal(c.times, 0);
        assert_int_equal(process_wait(r.p, &exit, NULL, NULL, NULL), 0);
        assert_int_equal(exit.code, 77);
        done(&r);
}

static void test_exit_before_start_answers(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make_created(&r, true);
        r.host.mode[FAKE_START] = FAKE_LATER;
        assert_int_equal(process_start(r.p, NULL, fake_answer_pid, &a, NULL), 1);
        assert_true(fake_exit(&r.host, "g", "", 0));
        assert_string_equal(r.seen, "");
        assert_true(fake_fire(&r.host, 0));
        assert_int_equal(a.r, 0);
        assert_int_equal(a.pid, 42);
        assert_string_equal(r.host.events, "started c/;exited c/ 0;");
        assert_string_equal(r.seen, "0;");
        done(&r);
}

static void test_start_refused(void **state) {
        static Rig r;
        FakeAnswer a = {};

        for (int later = 0; later < 2; later++) {
                make_created(&r, true);
                r.host.mode[FAKE_START] = later ? FAKE_LATER : FAKE_REFUSE;
                assert_int_equal(process_start(r.p, NULL, fake_answer_pid, &a, NULL),
                                 later ? 1 : -EIO);
                if (later)
                        assert_true(fake_fire(&r.host, -EIO));
                assert_int_equal(process_state(r.p), PROCESS_TERMINATED);
                assert_string_equal(r.seen, "1;");
                assert_int_equal(r.host.calls[FAKE_DROP_WAIT], 1);
                done(&r);
        }
        assert_int_equal(a.times, 1);
        assert_int_equal(a.r, -EIO);
        make_created(&r, false);
        r.host.mode[FAKE_IO_OPEN] = FAKE_REFUSE;
        assert_int_equal(process_start(r.p, NULL, NULL, NULL, NULL), -EIO);
        assert_int_equal(process_state(r.p), PROCESS_CREATED); /* nothing has happened */
        done(&r);
        make_created(&r, false);
        r.host.mode[FAKE_WAIT] = FAKE_REFUSE;
        assert_int_equal(process_start(r.p, NULL, NULL, NULL, NULL), 0);
        assert_string_equal(r.seen, "255;"); /* nobody can tell */
        done(&r);
}

static void test_calls_in_every_mode(void **state) {
        static Rig r;
        FakeAnswer a = {}, b = {};

        make(&r, PROCESS_RUNNING, false);
        r.host.mode[FAKE_KILL] = r.host.mode[FAKE_RESIZE] = FAKE_LATER;
        assert_int_equal(process_kill(r.p, 15, false, fake_answer, &a, NULL), 1);
        assert_int_equal(process_kill(r.p, 9, false, fake_answer, &b, NULL), 1); /* side by side */
        assert_int_equal(controller_freeze(process_controller(r.p), NULL), -EBUSY);
        assert_true(process_busy(r.p));
        assert_true(fake_fire(&r.host, 0));
        assert_true(fake_exit(&r.host, "g", "e", 143)); /* before the second answers */
        assert_true(fake_fire(&r.host, -ENOENT));
        assert_int_equal(a.r, 0);
        assert_int_equal(b.r, -ENOENT);
        assert_int_equal(process_kill(r.p, 9, false, NULL, NULL, NULL), 0);
        done(&r);
        make(&r, PROCESS_RUNNING, false);
        r.host.mode[FAKE_KILL] = r.host.mode[FAKE_RESIZE] = FAKE_REFUSE;
        r.host.mode[FAKE_CLOSE_STDIN] = FAKE_REFUSE;
        assert_int_equal(process_kill(r.p, 9, false, NULL, NULL, NULL), -EIO);
        assert_int_equal(process_resize(r.p, 1, 1, NULL, NULL, NULL), -EIO);
        assert_int_equal(process_close_stdin(r.p, NULL), -EIO);
        assert_int_equal(process_kill(r.p, 0, false, NULL, NULL, NULL), -EINVAL);
        assert_int_equal(process_kill(r.p, 65, false, NULL, NULL, NULL), -EINVAL);
        assert_int_equal(process_resize(r.p, 0, 80, NULL, NULL, NULL), -EINVAL);
        assert_int_equal(process_resize(r.p, 24, 70000, NULL, NULL, NULL), -EINVAL);
        done(&r);
}

static void test_delete_in_every_mode(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, PROCESS_TERMINATED, false);
        r.host.mode[FAKE_DELETE_EXEC] = FAKE_REFUSE;
        assert_int_equal(process_delete(r.p, NULL, NULL, NULL), -EIO);
        assert_int_equal(process_state(r.p), PROCESS_TERMINATED); /* again */
        r.host.code[FAKE_DELETE_EXEC] = -ENOENT;
        assert_int_equal(process_delete(r.p, NULL, NULL, NULL), 0); /* gone counts as done */
        done(&r);
        make(&r, PROCESS_TERMINATED, false);
        r.host.mode[FAKE_DELETE_EXEC] = FAKE_LATER;
        assert_int_equal(process_delete(r.p, fake_answer, &a, NULL), 1);
        assert_int_equal(process_delete(r.p, NULL, NULL, NULL), -EBADFD);
        assert_true(fake_fire(&r.host, -EIO));
        assert_int_equal(a.r, -EIO);
        assert_int_equal(process_delete(r.p, fake_answer, &a, NULL), 1);
        assert_true(fake_fire(&r.host, -ENOENT));
        assert_int_equal(a.r, 0);
        assert_int_equal(process_state(r.p), PROCESS_DELETED);
        done(&r);
        make_created(&r, false); /* never started: the guest is not told */
        assert_int_equal(process_delete(r.p, NULL, NULL, NULL), 0);
        assert_string_equal(r.host.trace, "");
        assert_string_equal(r.seen, "0;");
        done(&r);
}

static void test_wait_lost(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, PROCESS_RUNNING, true);
        assert_int_equal(process_wait(r.p, NULL, fake_answer_exit, &a, NULL), 1);
        assert_true(fake_lose_wait(&r.host, "g", ""));
        assert_int_equal(a.exit.code, PROCESS_EXIT_UNKNOWN);
        assert_string_equal(r.seen, "255;");
        done(&r);
        make(&r, PROCESS_SOURCE_MIGRATING, true); /* the source's QEMU was killed */
        assert_true(fake_lose_wait(&r.host, "g", ""));
        assert_string_equal(r.seen, "");
        process_moved(r.p);
        assert_string_equal(r.seen, "255m;");
        done(&r);
        make(&r, PROCESS_SOURCE_MIGRATING, true); /* but it does not move after all */
        assert_true(fake_lose_wait(&r.host, "g", ""));
        controller_thaw(process_controller(r.p));
        assert_string_equal(r.seen, "255;");
        done(&r);
}

static void test_exit_while_frozen_goes_over(void **state) {
        static Rig s, d;
        FakeAnswer a = {}, b = {};
        ProcessExit exit;

        make(&s, PROCESS_SOURCE_MIGRATING, false);
        assert_int_equal(process_wait(s.p, NULL, fake_answer_exit, &a, NULL), 1);
        assert_int_equal(move(&s, &d, NULL), 0);
        assert_int_equal(process_wait(d.p, NULL, fake_answer_exit, &b, NULL), 1);
        assert_false(process_pending_exit(s.p, &exit));
        assert_true(fake_exit(&s.host, "g", "e", 12));
        assert_string_equal(s.seen, "");
        assert_null(process_exit(s.p));
        assert_true(process_pending_exit(s.p, &exit));
        assert_int_equal(process_put_exit(s.p, &exit, NULL), -EBADFD);
        assert_int_equal(process_put_exit(d.p, &exit, NULL), 0);
        assert_int_equal(process_put_exit(d.p, &exit, NULL), -EEXIST);
        assert_int_equal(process_resume(d.p, NULL), 0);
        process_moved(s.p);
        assert_string_equal(d.seen, "12;");
        assert_string_equal(s.seen, "255m;");
        assert_int_equal(d.host.calls[FAKE_ADOPT_WAIT], 0); /* it was answered */
        assert_true(a.times == 1 && a.exit.moved);
        assert_true(b.times == 1 && b.exit.code == 12 && !b.exit.moved);
        assert_string_equal(d.host.events, "exited c/e 12;");
        done(&s);
        done(&d);
}

static void test_exit_while_frozen_comes_back(void **state) {
        static Rig s;

        make(&s, PROCESS_SOURCE_MIGRATING, true);
        assert_true(fake_exit(&s.host, "g", "", 12));
        assert_int_equal(process_resume(s.p, NULL), 0); /* rolled back */
        assert_string_equal(s.seen, "12;");
        assert_int_equal(process_state(s.p), PROCESS_TERMINATED);
        done(&s);
}

static void test_every_phase_moves(void **state) {
        static const ProcessState phases[] = { PROCESS_CREATED, PROCESS_RUNNING,
                                               PROCESS_TERMINATED };
        static Rig s, d, back;

        for (int init = 0; init < 2; init++)
                for (size_t i = 0; i < ELEMENTSOF(phases); i++) {
                        _cleanup_buf_ Buf one = {}, two = {};

                        make(&s, phases[i], init);
                        freeze(&s);
                        assert_int_equal(process_save(s.p, &one, NULL), 0);
                        assert_int_equal(move(&s, &d, NULL), 0);
                        assert_int_equal(process_state_before(d.p), phases[i]);
                        assert_int_equal(process_pid(d.p), process_pid(s.p));
                        assert_int_equal(process_resume(d.p, NULL), 0);
                        assert_int_equal(process_state(d.p), phases[i]);
                        freeze(&d);
                        assert_int_equal(process_save(d.p, &two, NULL), 0);
                        assert_int_equal(one.len, two.len);
                        assert_memory_equal(one.data, two.data, one.len);
                        assert_int_equal(move(&d, &back, NULL), 0);
                        done(&back);
                        done(&d);
                        done(&s);
                }
}

static void test_resume_can_be_repeated(void **state) {
        static Rig d;

        make(&d, PROCESS_DESTINATION_MIGRATING, true);
        d.host.mode[FAKE_IO_OPEN] = FAKE_REFUSE;
        assert_int_equal(process_resume(d.p, NULL), -EIO);
        assert_int_equal(process_state(d.p), PROCESS_DESTINATION_MIGRATING);
        d.host.mode[FAKE_IO_OPEN] = FAKE_NOW;
        d.host.mode[FAKE_ADOPT_WAIT] = FAKE_REFUSE;
        assert_int_equal(process_resume(d.p, NULL), -EIO);
        d.host.mode[FAKE_ADOPT_WAIT] = FAKE_NOW;
        assert_int_equal(process_resume(d.p, NULL), 0);
        assert_int_equal(process_resume(d.p, NULL), 0);
        assert_string_equal(d.host.trace, "io-reopen c/;io-reopen c/;"); /* refused, then once */
        assert_int_equal(d.host.calls[FAKE_ADOPT_WAIT], 2);
        assert_true(fake_exit(&d.host, "g", "", 6));
        assert_string_equal(d.seen, "6;");
        done(&d);
}

static void test_abort(void **state) {
        static Rig d;
        FakeAnswer a = {};

        make(&d, PROCESS_DESTINATION_MIGRATING, true);
        assert_int_equal(process_wait(d.p, NULL, fake_answer_exit, &a, NULL), 1);
        assert_int_equal(process_abort_migrated(d.p, NULL), 0);
        assert_int_equal(process_abort_migrated(d.p, NULL), 0);
        assert_string_equal(d.seen, "137;");
        assert_string_equal(d.host.events, "exited c/ 137;");
        assert_true(a.times == 1 && a.exit.code == PROCESS_EXIT_ABORTED);
        assert_int_equal(process_kill(d.p, 9, false, NULL, NULL, NULL), 0);
        assert_int_equal(process_delete(d.p, NULL, NULL, NULL), 0);
        assert_string_equal(d.host.trace, "");
        done(&d);
}

static void test_free_releases_waiters(void **state) {
        static Rig r;
        FakeAnswer a = {};

        make(&r, PROCESS_RUNNING, false);
        assert_int_equal(process_wait(r.p, NULL, fake_answer_exit, &a, NULL), 1);
        done(&r);
        assert_int_equal(a.r, -ECANCELED);
        assert_non_null(strstr(r.host.trace, "io-close c/e"));
}

static void test_too_many_waiters(void **state) {
        static Rig r;

        make(&r, PROCESS_RUNNING, false);
        for (unsigned i = 0; i < PROCESS_WAITERS_MAX; i++)
                assert_int_equal(process_wait(r.p, NULL, NULL, NULL, NULL), 1);
        assert_int_equal(process_wait(r.p, NULL, NULL, NULL, NULL), -ENOSPC);
        done(&r);
}

static void test_bad_specs(void **state) {
        ProcessKey key = { "c", "g", "" };
        Process *p = NULL;
        ProcessSpec bad[] = {
                { .exec_id = "../x", .process_json = JSON },
                { .exec_id = "e" },
                { .exec_id = "e", .process_json = "" },
                { .exec_id = "e", .process_json = "[]" },
                { .exec_id = "e", .process_json = "{" },
                { .exec_id = "", .process_json = JSON },
                { .exec_id = "e", .process_json = JSON, .rows = 70000 },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(process_new(NULL, &key, &bad[i], &p, NULL), -EINVAL);
        assert_null(p);
        assert_int_equal(fsm_check(&process_fsm, NULL), 0);
}

static void test_not_bound(void **state) {
        ProcessSpec spec = { .exec_id = "e", .process_json = JSON };
        _cleanup_(process_freep) Process *p = NULL;

        assert_int_equal(process_new(NULL, &(ProcessKey){ "c", "g", "e" }, &spec, &p, NULL), 0);
        assert_int_equal(process_start(p, NULL, NULL, NULL, NULL), -EBADFD);
}

static void test_no_memory(void **state) {
        _cleanup_buf_ Buf b = {};
        ProcessSpec spec = { .exec_id = "e", .process_json = JSON };
        static Rig s;
        int r = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        for (unsigned n = 1; r != 0; n++) {
                Process *p = NULL;

                fail_malloc_at(n);
                r = process_new(NULL, &(ProcessKey){ "c", "g", "e" }, &spec, &p, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 ? !!p : !p);
                process_free(p);
        }
        make(&s, PROCESS_SOURCE_MIGRATING, false);
        assert_int_equal(process_save(s.p, &b, NULL), 0);
        r = -ENOMEM;
        for (unsigned n = 1; r != 0; n++) {
                Process *p = NULL;

                fail_malloc_at(n);
                r = process_import(NULL, "c", "g", b.data, b.len, &p, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 ? !!p : !p);
                process_free(p);
        }
        done(&s);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(cells) + 16] = {
                cmocka_unit_test(test_exit_reported_once),
                cmocka_unit_test(test_exit_before_start_answers),
                cmocka_unit_test(test_start_refused),
                cmocka_unit_test(test_calls_in_every_mode),
                cmocka_unit_test(test_delete_in_every_mode),
                cmocka_unit_test(test_wait_lost),
                cmocka_unit_test(test_exit_while_frozen_goes_over),
                cmocka_unit_test(test_exit_while_frozen_comes_back),
                cmocka_unit_test(test_every_phase_moves),
                cmocka_unit_test(test_resume_can_be_repeated),
                cmocka_unit_test(test_abort),
                cmocka_unit_test(test_free_releases_waiters),
                cmocka_unit_test(test_too_many_waiters),
                cmocka_unit_test(test_bad_specs),
                cmocka_unit_test(test_not_bound),
                cmocka_unit_test(test_no_memory),
        };
        char names[ELEMENTSOF(cells)][64];

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                (void)snprintf(names[i], sizeof(names[i]), "cells of %s, %s",
                               fsm_state_name(&process_fsm, cells[i].state),
                               cells[i].init ? "init" : "exec");
                tests[16 + i] =
                        (struct CMUnitTest){ .name = names[i],
                                             .test_func = test_cell,
                                             .initial_state = (void *)(uintptr_t)&cells[i] };
        }
        return _cmocka_run_group_tests("process", tests, ELEMENTSOF(tests), NULL, NULL);
}
