/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that changes while it moves: every cell of the table, in every mode, and the nine rows of a
 * plan's cutover as walks through it.
 * rows: F55 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/change.h"
#include "lib/cleanup.h"

/* clang-format off */
static const char *const codes[_CHANGE_STATE_MAX] = {
        [CHANGE_NEW] = "NW", [CHANGE_CANCELLED] = "CX",
        [CHANGE_LIVE_PENDING] = "LP", [CHANGE_LIVE_RUNNING] = "LR", [CHANGE_LIVE_TEARDOWN] = "TL",
        [CHANGE_LIVE_DONE] = "LD", [CHANGE_LIVE_FAILED] = "LF",
        [CHANGE_OFFLINE_WAITING] = "OW", [CHANGE_OFFLINE_READY] = "OS",
        [CHANGE_OFFLINE_RUNNING] = "OR", [CHANGE_OFFLINE_TEARDOWN] = "TO",
        [CHANGE_OFFLINE_DONE] = "OD", [CHANGE_OFFLINE_FAILED] = "OF",
};
/* . nothing, L go live, O go offline, T tear down, R refuse, E end */
static const char actions[_CHANGE_ACTION_MAX] = {
        [CHANGE_NOTHING] = '.', [CHANGE_GO_LIVE] = 'L', [CHANGE_GO_OFFLINE] = 'O',
        [CHANGE_TEAR_DOWN] = 'T', [CHANGE_REFUSE] = 'R', [CHANGE_END] = 'E',
};

/* What is wanted: the state that follows, and what is done; --- cannot come. */
typedef const char Want[_CHANGE_MODE_MAX][_CHANGE_EVENT_MAX][4];
#define FINAL { "---", "---", "---", "---", "---", "---", "---", "---", "---" }
static const Want wanted[_CHANGE_STATE_MAX] = {
                   /*  runs   rests  begun  copies start  stop   moved  fails  cancel */
        [CHANGE_NEW] = {
                /* free    */ { "LPL", "OWO", "---", "---", "---", "---", "---", "---", "CXE" },
                /* live    */ { "LPL", "OWO", "---", "---", "---", "---", "---", "---", "CXE" },
                /* offline */ { "LPL", "OWO", "---", "---", "---", "---", "---", "---", "CXE" },
                /* spent   */ { "LPL", "OWO", "---", "---", "---", "---", "---", "---", "CXE" },
        },
        [CHANGE_LIVE_PENDING] = {
                { "---", "---", "LR.", "---", "LP.", "TLT", "---", "LFE", "CXE" },
                { "---", "---", "LR.", "---", "LP.", "TLT", "---", "LFE", "CXE" },
                { "---", "---", "LR.", "---", "LP.", "TLT", "---", "LFE", "CXE" },
                { "---", "---", "LR.", "---", "LP.", "TLT", "---", "LFE", "CXE" },
        },
        [CHANGE_LIVE_RUNNING] = {
                { "---", "---", "---", "---", "LR.", "TLT", "LDE", "LFE", "CXE" },
                { "---", "---", "---", "---", "LR.", "TLT", "LDE", "LFE", "CXE" },
                { "---", "---", "---", "---", "LR.", "TLT", "LDE", "LFE", "CXE" },
                { "---", "---", "---", "---", "LR.", "TLT", "LDE", "LFE", "CXE" },
        },
        [CHANGE_LIVE_TEARDOWN] = {
                { "LPL", "OWO", "---", "---", "TL.", "TL.", "---", "LFE", "CXE" },
                { "LPL", "LFE", "---", "---", "TL.", "TL.", "---", "LFE", "CXE" },
                { "LPL", "OWO", "---", "---", "TL.", "TL.", "---", "LFE", "CXE" },
                { "LFE", "LFE", "---", "---", "TL.", "TL.", "---", "LFE", "CXE" },
        },
        [CHANGE_LIVE_DONE] = {
                { "---", "---", "---", "---", "LD.", "LD.", "---", "---", "---" },
                { "---", "---", "---", "---", "LD.", "LD.", "---", "---", "---" },
                { "---", "---", "---", "---", "LD.", "LD.", "---", "---", "---" },
                { "---", "---", "---", "---", "LD.", "LD.", "---", "---", "---" },
        },
        [CHANGE_OFFLINE_WAITING] = {
                { "---", "---", "OS.", "---", "TOT", "OW.", "---", "OFE", "CXE" },
                { "---", "---", "OS.", "---", "TOT", "OW.", "---", "OFE", "CXE" },
                { "---", "---", "OS.", "---", "OWR", "OW.", "---", "OFE", "CXE" },
                { "---", "---", "OS.", "---", "TOT", "OW.", "---", "OFE", "CXE" },
        },
        [CHANGE_OFFLINE_READY] = {
                { "---", "---", "---", "OR.", "TOT", "OS.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "OR.", "TOT", "OS.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "OR.", "OSR", "OS.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "OR.", "TOT", "OS.", "ODE", "OFE", "CXE" },
        },
        [CHANGE_OFFLINE_RUNNING] = {
                { "---", "---", "---", "---", "TOT", "OR.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "---", "TOT", "OR.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "---", "ORR", "OR.", "ODE", "OFE", "CXE" },
                { "---", "---", "---", "---", "TOT", "OR.", "ODE", "OFE", "CXE" },
        },
        [CHANGE_OFFLINE_TEARDOWN] = {
                { "LPL", "OWO", "---", "---", "TO.", "TO.", "---", "OFE", "CXE" },
                { "LPL", "OWO", "---", "---", "TO.", "TO.", "---", "OFE", "CXE" },
                { "LPL", "OWO", "---", "---", "TO.", "TO.", "---", "OFE", "CXE" },
                { "OFE", "OFE", "---", "---", "TO.", "TO.", "---", "OFE", "CXE" },
        },
        [CHANGE_OFFLINE_DONE] = {
                { "---", "---", "---", "---", "ODR", "OD.", "---", "---", "---" },
                { "---", "---", "---", "---", "ODR", "OD.", "---", "---", "---" },
                { "---", "---", "---", "---", "ODR", "OD.", "---", "---", "---" },
                { "---", "---", "---", "---", "ODR", "OD.", "---", "---", "---" },
        },
        [CHANGE_LIVE_FAILED] = { FINAL, FINAL, FINAL, FINAL },
        [CHANGE_OFFLINE_FAILED] = { FINAL, FINAL, FINAL, FINAL },
        [CHANGE_CANCELLED] = { FINAL, FINAL, FINAL, FINAL },
};
static const char *const modes[_CHANGE_MODE_MAX] = { "free", "live only", "offline only", "spent" };
/* clang-format on */

typedef struct Cell {
        ChangeState state;
        ChangeEvent event;
        ChangeMode mode;
        char name[80];
} Cell;
static Cell cells[_CHANGE_STATE_MAX * _CHANGE_EVENT_MAX * _CHANGE_MODE_MAX];

/* The cell, and the machine that goes by it. */
static void test_cell(void **state) {
        const Cell *x = *state;
        const char *want = wanted[x->state][x->mode][x->event];
        Change c = { .fsm = FSM_INIT(&change_fsm, (int)x->state, "t"), .mode = x->mode };
        bool can = want[0] != '-';
        ChangeAction action = _CHANGE_ACTION_MAX;
        Error e = ERROR_INIT;
        char got[4] = "---";
        ChangeCell cell;

        assert_int_equal(change_cell(x->state, x->event, x->mode, &cell), can);
        if (can)
                (void)snprintf(got, sizeof(got), "%s%c", codes[cell.next], actions[cell.action]);
        assert_string_equal(got, want);
        assert_int_equal(change_step(&c, x->event, &action, &e), can ? 0 : -EBADFD);
        assert_int_equal(change_state(&c), can ? cell.next : x->state);
        assert_int_equal(action, can ? cell.action : CHANGE_NOTHING);
        if (!can)
                assert_non_null(strstr(e.text, fsm_state_name(&change_fsm, (int)x->state)));
}

/* -- walks -- */

typedef struct Walk {
        const char *name;
        ChangeMode mode;
        const char *events; /* R runs, r rests, b begun, c copies, + start, - stop, m moved, f, x */
        const char *trace;  /* code and action after each */
} Walk;
static const char event_letters[_CHANGE_EVENT_MAX + 1] = "Rrbc+-mfx";

static const Walk walks[] = {
        { "row 1: A off, started during its copy", CHANGE_FREE, "rbc+Rbm",
          "OWO OS. OR. TOT LPL LR. LDE " },
        { "row 2: A on, stopped during the transfer", CHANGE_FREE, "Rb-rbcm",
          "LPL LR. TLT OWO OS. OR. ODE " },
        { "row 3: A on, stopped before the transfer", CHANGE_FREE, "R-rbcm",
          "LPL TLT OWO OS. OR. ODE " },
        { "row 1, before its copy", CHANGE_FREE, "rb+Rbm", "OWO OS. TOT LPL LR. LDE " },
        { "E1: before the other host has answered", CHANGE_FREE, "r+Rbm", "OWO TOT LPL LR. LDE " },
        { "E4: a failure that a stop has made is none", CHANGE_FREE, "Rb--rbcm",
          "LPL LR. TLT TL. OWO OS. OR. ODE " },
        { "E6: started while it is torn down: the latest counts", CHANGE_FREE, "Rb-+Rbm",
          "LPL LR. TLT TL. LPL LR. LDE " },
        { "E6: the start did not come to anything", CHANGE_FREE, "rbc+-rbcm",
          "OWO OS. OR. TOT TO. OWO OS. OR. ODE " },
        { "--type live: a pod that was stopped stays", CHANGE_LIVE_ONLY, "Rb-r",
          "LPL LR. TLT LFE " },
        { "--type live: stopped and started again", CHANGE_LIVE_ONLY, "Rb-Rbm",
          "LPL LR. TLT LPL LR. LDE " },
        { "--type cold: no start", CHANGE_OFFLINE_ONLY, "r+b+c+m", "OWO OWR OS. OSR OR. ORR ODE " },
        { "it flaps without an end: let go, running", CHANGE_FREE, "Rb-rb+Rb-rb+Rb-rb+R",
          "LPL LR. TLT OWO OS. TOT LPL LR. TLT OWO OS. TOT LPL LR. TLT OWO OS. TOT OFE " },
        { "it flaps without an end: let go, stopped", CHANGE_FREE, "r+Rb-r+Rb-r+Rb-r",
          "OWO TOT LPL LR. TLT OWO TOT LPL LR. TLT OWO TOT LPL LR. TLT LFE " },
        { "cancelled between two ways", CHANGE_FREE, "Rb-x", "LPL LR. TLT CXE " },
};

static void test_walk(void **state) {
        const Walk *w = *state;
        char trace[128] = "";
        Change c;

        change_init(&c, w->mode, "t");
        for (const char *p = w->events; *p; p++) {
                ChangeEvent e = (ChangeEvent)(strchr(event_letters, *p) - event_letters);
                ChangeAction action;
                size_t n = strlen(trace);

                assert_int_equal(change_step(&c, e, &action, NULL), 0);
                (void)snprintf(trace + n, sizeof(trace) - n, "%s%c ", codes[change_state(&c)],
                               actions[action]);
        }
        assert_string_equal(trace, w->trace);
}

/* -- the table as a whole -- */

/* Every move of the picture is in a cell; no action but those between two ways leads nowhere. */
static void test_moves(void **state) {
        Error e = ERROR_INIT;

        assert_int_equal(fsm_check(&change_fsm, &e), 0);
        for (int from = 0; from < _CHANGE_STATE_MAX; from++) {
                uint32_t moves = 0;

                for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                        ChangeCell cell;

                        if (cells[i].state == (ChangeState)from &&
                            change_cell(cells[i].state, cells[i].event, cells[i].mode, &cell) &&
                            cell.next != (ChangeState)from)
                                moves |= 1U << cell.next;
                }
                assert_int_equal(moves, change_fsm.rows[from].next);
        }
}

static void test_names(void **state) {
        for (int i = 0; i < _CHANGE_EVENT_MAX; i++)
                assert_non_null(change_event_name((ChangeEvent)i));
        for (int i = 0; i < _CHANGE_ACTION_MAX; i++)
                assert_non_null(change_action_name((ChangeAction)i));
        assert_null(change_event_name(_CHANGE_EVENT_MAX));
        assert_null(change_action_name(_CHANGE_ACTION_MAX));
}

static void test_teardown(void **state) {
        for (int i = 0; i < _CHANGE_STATE_MAX; i++) {
                Change c = { .fsm = FSM_INIT(&change_fsm, i, "t") };

                assert_int_equal(change_is_teardown(&c), codes[i][0] == 'T');
        }
}

int main(void) {
        static struct CMUnitTest tests[ELEMENTSOF(cells) + ELEMENTSOF(walks) + 3];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                Cell *x = &cells[i];

                x->state = (ChangeState)(i / (_CHANGE_EVENT_MAX * _CHANGE_MODE_MAX));
                x->event = (ChangeEvent)(i / _CHANGE_MODE_MAX % _CHANGE_EVENT_MAX);
                x->mode = (ChangeMode)(i % _CHANGE_MODE_MAX);
                (void)snprintf(x->name, sizeof(x->name), "%s, %s, %s",
                               fsm_state_name(&change_fsm, (int)x->state),
                               change_event_name(x->event), modes[x->mode]);
                tests[n++] = (struct CMUnitTest){ .name = x->name,
                                                  .test_func = test_cell,
                                                  .initial_state = x };
        }
        for (size_t i = 0; i < ELEMENTSOF(walks); i++)
                tests[n++] = (struct CMUnitTest){ .name = walks[i].name,
                                                  .test_func = test_walk,
                                                  .initial_state = (void *)(uintptr_t)&walks[i] };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_moves);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_names);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_teardown);
        return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
