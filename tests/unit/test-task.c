/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: steps forward, undo backward, each step answering at once, later, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "lib/task.h"

/* One letter per step: d done at once, l later, r refused at once, f fails later. Its undo (capital
 * for later): u, U; n: refuses; -: has none. */
typedef struct Row {
        const char *name, *steps, *undos;
        int cancel_at; /* cancel while this step is in flight; -1: never */
        int r;         /* what the task comes to */
        const char *trace;
} Row;

static const Row rows[] = {
        { "all at once", "dd", "uu", -1, 0, "1 2" },
        { "all later", "ll", "uu", -1, 0, "1 2" },
        { "mixed", "dld", "uuu", -1, 0, "1 2 3" },
        { "no steps", "", "", -1, 0, "" },
        { "refused first: nothing to undo", "rd", "uu", -1, -EIO, "1" },
        { "refused last: undone backward", "ddr", "uuu", -1, -EIO, "1 2 3 u2 u1" },
        { "later failure: undone backward", "ddf", "uuu", -1, -EIO, "1 2 3 u2 u1" },
        { "undo that takes time", "llf", "UUu", -1, -EIO, "1 2 3 u2 u1" },
        { "undo that fails goes on", "ddr", "unu", -1, -EIO, "1 2 3 u2 u1" },
        { "a step without undo is passed over", "ddr", "u-u", -1, -EIO, "1 2 3 u1" },
        { "refused after a wait", "lr", "Uu", -1, -EIO, "1 2 u1" },
        { "cancelled in flight: the step is waited for", "lld", "uuu", 0, -ECANCELED, "1 u1" },
        { "cancelled in the last step is too late", "dl", "uu", 1, 0, "1 2" },
        { "cancelled in a step that fails: its error stays", "lf", "uu", 1, -EIO, "1 2 u1" },
};

#define STEPS_MAX 4

typedef struct Job {
        const Row *row;
        Task *waiting; /* what must be completed by the test */
        int at;        /* step of `waiting` */
        bool undoing;
        int calls; /* of done */
        int r;
        Error error;
        char trace[64];
} Job;

static void note(Job *j, const char *what, int i) {
        size_t used = strlen(j->trace);

        (void)snprintf(j->trace + used, sizeof(j->trace) - used, "%s%s%d", used ? " " : "", what,
                       i + 1);
}

static int run_step(Job *j, int i, Task *t, Error *reterr) {
        char c = j->row->steps[i];

        note(j, "", i);
        j->at = i;
        j->undoing = false;
        if (c == 'r')
                return error_setf(reterr, -EIO, "no");
        if (c == 'd')
                return 0;
        j->waiting = t;
        return 1;
}

static int undo_step(Job *j, int i, Task *t, Error *reterr) {
        char c = j->row->undos[i];

        note(j, "u", i);
        j->at = i;
        j->undoing = true;
        if (c == 'n')
                return error_setf(reterr, -EBUSY, "cannot");
        if (c == 'u')
                return 0;
        j->waiting = t;
        return 1;
}

#define STEP(i)                                                                                    \
        static int run##i(void *o, Task *t, Error *e) {                                            \
                return run_step(o, i, t, e);                                                       \
        }                                                                                          \
        static int undo##i(void *o, Task *t, Error *e) {                                           \
                return undo_step(o, i, t, e);                                                      \
        }
STEP(0)
STEP(1)
STEP(2)

static void on_done(void *userdata, int r, const void *result, const Error *err) {
        Job *j = userdata;

        j->calls++;
        j->r = r;
        j->error = *err;
}

static void silent(int priority, const char *text, const LogField *fields, size_t n_fields) {
}

static void test_row(void **state) {
        const Row *row = *state;
        Job j = { .row = row };
        TaskStep steps[STEPS_MAX] = { { "one", run0, undo0 },
                                      { "two", run1, undo1 },
                                      { "three", run2, undo2 } };
        static const char *const names[] = { "one", "two", "three" };
        Error e = ERROR_INIT;
        Task *t = NULL;
        int r;

        for (size_t i = 0; i < strlen(row->undos); i++)
                if (row->undos[i] == '-')
                        steps[i].undo = NULL;
        r = task_start(steps, strlen(row->steps), &j, on_done, &j, &t, &e);
        while (j.waiting) {
                Task *w = TAKE(j.waiting);
                bool fail = !j.undoing && row->steps[j.at] == 'f';
                Error why = ERROR_INIT;

                assert_int_equal(j.calls, 0);
                if (!j.undoing)
                        assert_string_equal(task_step_name(w), names[j.at]);
                if (j.at == row->cancel_at && !j.undoing)
                        task_cancel(w);
                if (fail)
                        (void)error_setf(&why, -EIO, "no");
                task_done(w, fail ? -EIO : 0, NULL, fail ? &why : NULL);
        }
        if (r == 1) {
                assert_int_equal(j.calls, 1);
                assert_ptr_not_equal(t, NULL);
                r = j.r;
                e = j.error;
        } else {
                assert_int_equal(j.calls, 0);
        }
        assert_int_equal(r, row->r);
        assert_string_equal(j.trace, row->trace);
        if (r == -EIO)
                assert_non_null(strstr(e.text, ": no"));
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows)];

        log_set_sink(silent);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                                .test_func = test_row,
                                                .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
