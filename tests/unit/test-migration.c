/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the calls of a migration session, cell by cell: what each call may do in each state,
 * that a refused call changes nothing, and that a repeated one does nothing. The calls themselves
 * are in test-migration-calls.c, the hand-over in test-handover.c.
 *
 * rows: H2 H4 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"
#include "lib/message.h"
#include "peer.pb-c.h"
#include "tests/fakes/fake-migration.h"
#include "tests/unit/migration-rig.h"

/* One letter a call, in the order of MigrationCall: D does, N no-op, - refused. */
/* clang-format off */
static const struct {
        MigrationState state;
        const char *source, *destination;
} cells[] = {
        /*                                 CEIpPRTsrxc+zbdyto */
        { MIGRATION_IDLE,                 "DD-------NN-------", "D-D------NN-------" },
        { MIGRATION_SOURCE_PREPARED,      "D-----------------", "------------------" },
        { MIGRATION_SOURCE_EXPORTED,      "DN---DD---D-------", "------------------" },
        { MIGRATION_DESTINATION_IMPORTED, "------------------", "D-NDD-----D-------" },
        { MIGRATION_DESTINATION_PREPARED, "------------------", "D-N-NDD---D-------" },
        { MIGRATION_TRANSPORT_WAITING,    "-N---DN---D-------", "--N-NDN---D-------" },
        { MIGRATION_TRANSPORT_READY,      "-N---DD---D-------", "--N-NDD---D-------" },
        { MIGRATION_TRANSFERRING,         "-N---DN---DDDDDDDD", "--N-NDN---D-------" },
        { MIGRATION_SWITCHOVER,           "-N---DN---D-------", "--N-NDN---D-------" },
        { MIGRATION_POSTCOPY_BROKEN,      "-----DN-----------", "------------------" },
        { MIGRATION_TRANSFERRED,          "-----DNDD-D-------", "-----DNDD-D-------" },
        { MIGRATION_CANCELLING,           "-----D----N-------", "-----D----N-------" },
        { MIGRATION_CANCELLED,            "-----D-DDDN-------", "-----D-DDDN-------" },
        { MIGRATION_FAILED,               "-----D-DDDN-------", "-----D-DDDN-------" },
        { MIGRATION_FINALIZED,            "-------DDDN-------", "-------DDDN-------" },
};
/* clang-format on */

static void test_cells(void **state) {
        Error e = ERROR_INIT;

        assert_int_equal(fsm_check(&migration_fsm, &e), 0);
        assert_int_equal(ELEMENTSOF(cells), _MIGRATION_STATE_MAX);
        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                for (int c = 0; c < _MIGRATION_CALL_MAX; c++) {
                        const MigrationCell *cell = &migration_calls[cells[i].state][c];

                        assert_int_equal("-ND"[cell->source], cells[i].source[c]);
                        assert_int_equal("-ND"[cell->destination], cells[i].destination[c]);
                }
        }
}

static int call(Migration *m, MigrationCall c) {
        MigrationOptions o = migration_defaults();
        _cleanup_buf_ Buf b = {};

        switch (c) {
        case MIGRATION_CALL_CHECK:
                return migration_check(m, m->role, &o, NULL);
        case MIGRATION_CALL_EXPORT:
                return migration_export(m, "m1", &b, NULL);
        case MIGRATION_CALL_IMPORT:
                return migration_import(m, "m1", "", "x", 1, NULL);
        case MIGRATION_CALL_PATCH:
                return migration_patch(m, "m1", "c1", NULL, NULL, NULL, NULL);
        case MIGRATION_CALL_PREPARE:
                return migration_prepare(m, "m1", NULL, NULL, NULL);
        case MIGRATION_CALL_REGISTER_SOCKET:
                return migration_register_socket(m, "m1", NULL);
        case MIGRATION_CALL_TRANSFER:
                return migration_transfer(m, "m1", &o, NULL);
        case MIGRATION_CALL_FINALIZE_STOP:
        case MIGRATION_CALL_FINALIZE_RESUME:
                return migration_finalize(m, "m1", c == MIGRATION_CALL_FINALIZE_RESUME, NULL, NULL,
                                          NULL);
        case MIGRATION_CALL_CLEANUP:
                return migration_cleanup(m, "m1", NULL, NULL, NULL);
        case MIGRATION_CALL_CANCEL:
                return migration_cancel(m, "m1", NULL);
        case MIGRATION_CALL_FORCE_COMPLETE:
        case MIGRATION_CALL_PAUSE:
        case MIGRATION_CALL_SET_BANDWIDTH:
        case MIGRATION_CALL_SET_MAX_DOWNTIME:
        case MIGRATION_CALL_SWITCH_TO_POSTCOPY:
        case MIGRATION_CALL_SET_TIMEOUT:
        case MIGRATION_CALL_CUTOVER:
                return migration_tune(m, "m1", c, 1, NULL, NULL, NULL);
        case _MIGRATION_CALL_MAX:
                break;
        }
        return -EINVAL;
}

/* Every refused cell, for real: -EBADFD (-EINVAL where there is no session), and nothing changed.
 */
static void test_refused(void **state) {
        MigrationOptions o = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                FakeWorld w;

                fake_world_init(&w);
                if (!drive_to(&w, cells[i].state, &o)) {
                        fake_world_done(&w);
                        continue;
                }
                for (int role = 0; role < 2; role++) {
                        FakeSide *s = &w.side[role];
                        const char *row =
                                role == MIGRATION_SOURCE ? cells[i].source : cells[i].destination;

                        if (migration_state(s->m) != cells[i].state)
                                continue;
                        for (int c = 0; c < _MIGRATION_CALL_MAX; c++) {
                                unsigned before[_FAKE_VERB_MAX];
                                int r;

                                if (row[c] != '-' || cells[i].state == MIGRATION_IDLE)
                                        continue;
                                memcpy(before, s->calls, sizeof(before));
                                r = call(s->m, (MigrationCall)c);
                                if (r != -EBADFD)
                                        fail_msg("%s in %s: %d",
                                                 migration_call_name((MigrationCall)c),
                                                 fsm_name(migration_get_fsm(s->m)), r);
                                assert_int_equal(migration_state(s->m), cells[i].state);
                                assert_memory_equal(before, s->calls, sizeof(before));
                        }
                }
                fake_world_done(&w);
        }
}

/* Every no-op cell: 0, and nothing changed; and a foreign session is -EINVAL everywhere. */
static void test_repeated(void **state) {
        MigrationOptions o = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                FakeWorld w;

                fake_world_init(&w);
                if (!drive_to(&w, cells[i].state, &o)) {
                        fake_world_done(&w);
                        continue;
                }
                for (int role = 0; role < 2; role++) {
                        FakeSide *s = &w.side[role];
                        const char *row =
                                role == MIGRATION_SOURCE ? cells[i].source : cells[i].destination;

                        if (migration_state(s->m) != cells[i].state)
                                continue;
                        for (int c = 0; c < _MIGRATION_CALL_MAX; c++)
                                if (row[c] == 'N' && c != MIGRATION_CALL_IMPORT)
                                        assert_int_equal(call(s->m, (MigrationCall)c), 0);
                        assert_int_equal(migration_state(s->m), cells[i].state);
                        if (cells[i].state == MIGRATION_IDLE)
                                continue;
                        assert_int_equal(migration_transfer(s->m, "other", &o, NULL), -EINVAL);
                        assert_int_equal(migration_cancel(s->m, "other", NULL), -EINVAL);
                        assert_int_equal(migration_cleanup(s->m, "other", NULL, NULL, NULL),
                                         -EINVAL);
                        assert_int_equal(migration_finalize(s->m, "other", true, NULL, NULL, NULL),
                                         -EINVAL);
                        assert_int_equal(migration_register_socket(s->m, "other", NULL), -EINVAL);
                        assert_int_equal(migration_state(s->m), cells[i].state);
                }
                fake_world_done(&w);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cells),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_repeated),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration", tests, NULL, NULL);
}
