/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of a move's steps: order, predicates, what is undone after a failure and what is not.
 * rows: F53 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/ctl/itinerary.h"

/* What it is given here: a trace of letters. Capital: undone. */
struct Mover {
        const char *fails, *refused; /* steps whose run, whose undo fails */
        const char *stop;            /* the one that is not begun */
        const char *skipped;
        char trace[64];
};

static void note(Mover *m, char c) {
        size_t n = strlen(m->trace);

        assert_true(n + 1 < sizeof(m->trace));
        m->trace[n] = c;
}

static int run(Mover *m, char c, Error *reterr) {
        note(m, c);
        return m->fails && strchr(m->fails, c) ? error_setf(reterr, -EIO, "step %c", c) : 0;
}

static int undo(Mover *m, char c, Error *reterr) {
        note(m, c);
        return m->refused && strchr(m->refused, c) ? error_setf(reterr, -EBUSY, "undo %c", c) : 0;
}

static int run_a(Mover *m, Error *e) {
        return run(m, 'a', e);
}
static int run_b(Mover *m, Error *e) {
        return run(m, 'b', e);
}
static int run_c(Mover *m, Error *e) {
        return run(m, 'c', e);
}
static int run_d(Mover *m, Error *e) {
        return run(m, 'd', e);
}
static int undo_a(Mover *m, Error *e) {
        return undo(m, 'A', e);
}
static int undo_c(Mover *m, Error *e) {
        return undo(m, 'C', e);
}
static int undo_d(Mover *m, Error *e) {
        return undo(m, 'D', e);
}
static bool wants_c(const Mover *m) {
        return !m->skipped || !strchr(m->skipped, 'c');
}
static int end(Mover *m, int r, Error *e) {
        return r;
}

static const ItineraryStep steps[] = {
        { "a", "a", .run = run_a, .undo = undo_a },
        { "b", NULL, .run = run_b },
        { "c", NULL, .wanted = wants_c, .run = run_c, .undo = undo_c },
        { "d", NULL, .run = run_d, .undo = undo_d },
};
static const Itinerary itinerary = { "test", steps, ELEMENTSOF(steps), end };

static int before(Mover *m, const ItineraryStep *step, Error *reterr) {
        return m->stop && strcmp(m->stop, step->name) == 0 ? -ECANCELED : 0;
}

typedef struct Row {
        const char *name;
        Mover m;
        int r, undone;
        const char *trace;
} Row;

static const Row rows[] = {
        { "all steps, in their order", {}, 0, 0, "abcdDCA" },
        { "one that is not wanted is neither run nor undone", { .skipped = "c" }, 0, 0, "abdDA" },
        { "a failure ends it, and its own step is undone", { .fails = "c" }, -EIO, 0, "abcCA" },
        { "the first fails", { .fails = "a" }, -EIO, 0, "aA" },
        { "one without a way back", { .fails = "b" }, -EIO, 0, "abA" },
        { "interrupted before a step: that one did not begin",
          { .stop = "c" },
          -ECANCELED,
          0,
          "abA" },
        { "interrupted before all", { .stop = "a" }, -ECANCELED, 0, "" },
        { "what cannot be undone keeps what came before",
          { .fails = "d", .refused = "C" },
          -EIO,
          -EBUSY,
          "abcdDC" },
};

static void test_row(void **state) {
        const Row *row = *state;
        Mover m = row->m;
        Journey j = {};

        assert_int_equal(itinerary_run(&j, &itinerary, before, &m, NULL), row->r);
        assert_int_equal(itinerary_undo(&j, &m, NULL), row->undone);
        assert_string_equal(m.trace, row->trace);
}

static void test_twice(void **state) {
        Mover m = { .refused = "C" };
        Journey j = {};

        assert_int_equal(itinerary_run(&j, &itinerary, before, &m, NULL), 0);
        assert_int_equal(itinerary_undo(&j, &m, NULL), -EBUSY);
        m.refused = NULL;
        assert_int_equal(itinerary_undo(&j, &m, NULL), 0); /* goes on where it stopped */
        assert_string_equal(m.trace, "abcdDCCA");
        assert_int_equal(itinerary_undo(&j, &m, NULL), 0);
        assert_string_equal(m.trace, "abcdDCCA");
}

static void test_not_begun(void **state) {
        Journey j = {};
        Mover m = {};

        assert_int_equal(itinerary_undo(&j, &m, NULL), 0);
        assert_string_equal(m.trace, "");
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 2] = { cmocka_unit_test(test_twice),
                                                          cmocka_unit_test(test_not_begun) };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i + 2] = (struct CMUnitTest){ .name = rows[i].name,
                                                    .test_func = test_row,
                                                    .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("itinerary", tests, NULL, NULL);
}
