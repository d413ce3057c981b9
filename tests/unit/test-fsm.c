/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fsm.h"

enum { A, B, C, N_STATES };
#define TO(s) (1U << (s))

static const FsmRow good_rows[N_STATES] = {
        [A] = { "a", TO(B), FSM_FIRST },
        [B] = { "b", TO(A) | TO(C), 0 },
        [C] = { "c", 0, FSM_FINAL },
};
static const FsmTable good = { "good", good_rows, N_STATES };

typedef struct BadTable {
        const char *why;
        FsmRow rows[N_STATES];
} BadTable;

static const BadTable bad_tables[] = {
        { "twice", { { "a", TO(B), FSM_FIRST }, { "a", TO(C), 0 }, { "c", 0, FSM_FINAL } } },
        { "no name", { { "a", TO(B), FSM_FIRST }, { NULL, TO(C), 0 }, { "c", 0, FSM_FINAL } } },
        { "out of the table",
          { { "a", TO(B) | TO(3), FSM_FIRST }, { "b", TO(C), 0 }, { "c", 0, FSM_FINAL } } },
        { "final and exits", { { "a", TO(B), FSM_FIRST }, { "b", TO(C), 0 }, { "c", 0, 0 } } },
        { "cannot be reached",
          { { "a", TO(C), FSM_FIRST }, { "b", TO(C), 0 }, { "c", 0, FSM_FINAL } } },
};

static unsigned moves_seen;

static void count_move(void *userdata, const Fsm *f, int from) {
        moves_seen++;
}

static void test_moves(void **state) {
        Fsm f = FSM_INIT(&good, A, "x");
        Error e = ERROR_INIT;

        moves_seen = 0;
        fsm_set_observer(count_move, NULL);
        assert_int_equal(fsm_ask(&f, C, &e), -EBADFD);
        assert_string_equal(e.text, "good x is a: it cannot become c");
        assert_int_equal(f.state, A);
        assert_int_equal(fsm_ask(&f, B, NULL), 0);
        fsm_must(&f, C);
        assert_int_equal(fsm_ask(&f, A, NULL), -EBADFD);
        assert_int_equal(fsm_ask(&f, 77, NULL), -EBADFD);
        assert_int_equal(moves_seen, 2);
        fsm_set_observer(NULL, NULL);
}

static void test_names(void **state) {
        for (int i = 0; i < N_STATES; i++)
                assert_int_equal(fsm_state_from_name(&good, fsm_state_name(&good, i)), i);
        assert_int_equal(fsm_state_from_name(&good, "z"), -EINVAL);
        assert_null(fsm_state_name(&good, N_STATES));
        assert_null(fsm_state_name(&good, -1));
}

static void test_check(void **state) {
        assert_int_equal(fsm_check(&good, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad_tables); i++) {
                FsmTable t = { "bad", bad_tables[i].rows, N_STATES };
                Error e = ERROR_INIT;

                assert_int_equal(fsm_check(&t, &e), -EINVAL);
                assert_non_null(strstr(e.text, bad_tables[i].why));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_moves),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_check),
        };

        return cmocka_run_group_tests_name("fsm", tests, NULL, NULL);
}
