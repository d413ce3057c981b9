/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a migration session: the table cell by cell, what a refused call changes (nothing),
 * repeated calls, Finalize and Cleanup after every outcome, options, envelope, history, and words
 * of a hostile peer. The hand-over itself is in test-handover.c.
 *
 * rows: H2 H4 H14 F81 F84 B8 */
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

#define SRC(w) ((w)->side[MIGRATION_SOURCE].m)
#define DST(w) ((w)->side[MIGRATION_DESTINATION].m)

/* One letter a call, in the order of MigrationCall: D does, N no-op, - refused. */
/* clang-format off */
static const struct {
        MigrationState state;
        const char *source, *destination;
} cells[] = {
        /*                                 CEIpPRTsrxc+zbdy */
        { MIGRATION_IDLE,                 "DD-------NN-----", "D-D------NN-----" },
        { MIGRATION_SOURCE_PREPARED,      "D---------------", "----------------" },
        { MIGRATION_SOURCE_EXPORTED,      "DN---DD---D-----", "----------------" },
        { MIGRATION_DESTINATION_IMPORTED, "----------------", "D-NDD-----D-----" },
        { MIGRATION_DESTINATION_PREPARED, "----------------", "D-N-NDD---D-----" },
        { MIGRATION_TRANSPORT_WAITING,    "-N---DN---D-----", "--N-NDN---D-----" },
        { MIGRATION_TRANSPORT_READY,      "-N---DD---D-----", "--N-NDD---D-----" },
        { MIGRATION_TRANSFERRING,         "-N---DN---DDDDDD", "--N-NDN---D-----" },
        { MIGRATION_SWITCHOVER,           "-N---DN---D-----", "--N-NDN---D-----" },
        { MIGRATION_TRANSFERRED,          "-----DNDD-D-----", "-----DNDD-D-----" },
        { MIGRATION_CANCELLING,           "-----D----N-----", "-----D----N-----" },
        { MIGRATION_CANCELLED,            "-----D-DDDN-----", "-----D-DDDN-----" },
        { MIGRATION_FAILED,               "-----D-DDDN-----", "-----D-DDDN-----" },
        { MIGRATION_FINALIZED,            "-------DDDN-----", "-------DDDN-----" },
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

/* -- getting into each state -- */

static MigrationOptions defaults(void) {
        MigrationOptions o;

        migration_options_init(&o);
        return o;
}

static void libvirt_until(FakeWorld *w, FakeLibvirt lv) {
        while (w->lv != lv)
                assert_true(fake_libvirt(w, 0));
}

static void quiet_run(FakeWorld *w) {
        assert_true(fake_run(w, 500));
        assert_string_equal(w->broken, "");
}

/* Brings w to where both (or the one that can be) are in `s`; false: no side can be seen there. */
static bool drive(FakeWorld *w, MigrationState s, const MigrationOptions *o) {
        _cleanup_buf_ Buf b = {};

        switch (s) {
        case MIGRATION_IDLE:
                return true;
        case MIGRATION_SOURCE_EXPORTED:
        case MIGRATION_DESTINATION_IMPORTED:
        case MIGRATION_DESTINATION_PREPARED:
                assert_int_equal(migration_export(SRC(w), "m1", &b, NULL), 0);
                assert_int_equal(migration_import(DST(w), "m1", "", b.data, b.len, NULL), 0);
                if (s == MIGRATION_DESTINATION_PREPARED)
                        assert_int_equal(migration_prepare(DST(w), "m1", NULL, NULL, NULL), 0);
                return true;
        case MIGRATION_TRANSPORT_READY:
                return fake_until_transport(w, o);
        case MIGRATION_TRANSPORT_WAITING:
                assert_true(fake_until_transport(w, o));
                assert_int_equal(migration_transfer(SRC(w), "m1", o, NULL), 0);
                assert_int_equal(migration_transfer(DST(w), "m1", o, NULL), 0);
                return true;
        case MIGRATION_TRANSFERRING:
                return fake_until_transferring(w, o);
        case MIGRATION_SWITCHOVER:
                assert_true(fake_until_transferring(w, o));
                libvirt_until(w, FAKE_FINISHED);
                return true;
        case MIGRATION_TRANSFERRED:
        case MIGRATION_FINALIZED:
                assert_true(fake_until_transferring(w, o));
                quiet_run(w);
                if (s == MIGRATION_FINALIZED) {
                        assert_int_equal(migration_finalize(SRC(w), "m1", false, NULL, NULL, NULL),
                                         0);
                        assert_int_equal(migration_finalize(DST(w), "m1", true, NULL, NULL, NULL),
                                         0);
                }
                return true;
        case MIGRATION_CANCELLING:
                assert_true(fake_until_transferring(w, o));
                fake_link(w, false);
                libvirt_until(w, FAKE_SWITCH);
                w->side[MIGRATION_SOURCE].mode[FAKE_MIGRATE_ABORT] = FAKE_LATER;
                assert_int_equal(migration_cancel(SRC(w), "m1", NULL), 0);
                assert_int_equal(migration_cancel(DST(w), "m1", NULL), 0);
                return true;
        case MIGRATION_CANCELLED:
                assert_true(fake_until_transport(w, o));
                assert_int_equal(migration_cancel(SRC(w), "m1", NULL), 0);
                assert_int_equal(migration_cancel(DST(w), "m1", NULL), 0);
                return true;
        case MIGRATION_FAILED:
                assert_true(fake_until_transferring(w, o));
                assert_true(fake_libvirt(w, 1));
                quiet_run(w);
                return true;
        case MIGRATION_SOURCE_PREPARED: /* within PrepareAndExport only */
        case _MIGRATION_STATE_MAX:
        case _MIGRATION_STATE_INVALID:
                break;
        }
        return false;
}

static int call(Migration *m, MigrationCall c) {
        MigrationOptions o = defaults();
        _cleanup_buf_ Buf b = {};

        switch (c) {
        case MIGRATION_CALL_CHECK:
                return migration_check(m, m->role, &o, NULL, NULL, NULL, NULL);
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
                return migration_tune(m, "m1", c, 1, NULL, NULL, NULL);
        case _MIGRATION_CALL_MAX:
                break;
        }
        return -EINVAL;
}

/* Every refused cell, for real: -EBADFD (-EINVAL where there is no session), and nothing changed.
 */
static void test_refused(void **state) {
        MigrationOptions o = defaults();

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                FakeWorld w;

                fake_world_init(&w);
                if (!drive(&w, cells[i].state, &o)) {
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
        MigrationOptions o = defaults();

        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                FakeWorld w;

                fake_world_init(&w);
                if (!drive(&w, cells[i].state, &o)) {
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

/* -- export, import, prepare -- */

static void test_export(void **state) {
        _cleanup_buf_ Buf a = {}, b = {};
        FakeSide *s;
        FakeWorld w;

        fake_world_init(&w);
        s = &w.side[MIGRATION_SOURCE];
        assert_int_equal(migration_export(s->m, "", &a, NULL), -EINVAL);
        assert_int_equal(migration_export(s->m, "../x", &a, NULL), -EINVAL);
        for (FakeVerb v = FAKE_FREEZE; v <= FAKE_FACTS; v++) {
                if (v != FAKE_FREEZE && v != FAKE_SAVE && v != FAKE_FACTS)
                        continue;
                s->fail[v] = 1;
                assert_int_equal(migration_export(s->m, "m1", &a, NULL), -EIO);
                assert_int_equal(migration_state(s->m), MIGRATION_IDLE);
                assert_false(s->frozen);
                assert_string_equal(migration_session(s->m), "");
        }
        assert_int_equal(migration_export(s->m, "m1", &a, NULL), 0);
        assert_true(s->frozen);
        assert_int_equal(migration_export(s->m, "m1", &b, NULL), 0);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        assert_int_equal(s->calls[FAKE_SAVE], 2); /* failed once, was made once */
        assert_int_equal(migration_export(s->m, "m2", &b, NULL), -EBUSY);
        fake_world_done(&w);
}

static void test_import(void **state) {
        _cleanup_buf_ Buf a = {};
        FakeSide *d;
        FakeWorld w;

        fake_world_init(&w);
        d = &w.side[MIGRATION_DESTINATION];
        assert_int_equal(migration_export(SRC(&w), "m1", &a, NULL), 0);
        assert_int_equal(migration_import(d->m, "m2", "", a.data, a.len, NULL), -EINVAL);
        assert_int_equal(migration_import(d->m, "m1", "a/b", a.data, a.len, NULL), -EINVAL);
        d->fail[FAKE_IMPORT] = 1;
        assert_int_equal(migration_import(d->m, "m1", "", a.data, a.len, NULL), -EIO);
        /* Every prefix and every flipped bit: refused or the same, never half. */
        for (size_t i = 0; i < a.len; i++) {
                uint8_t keep = a.data[i];

                assert_true(migration_import(d->m, "m1", "", a.data, i, NULL) < 0);
                assert_int_equal(migration_state(d->m), MIGRATION_IDLE);
                a.data[i] ^= 1;
                d->fail[FAKE_IMPORT] = 1;
                assert_true(migration_import(d->m, "m1", "", a.data, a.len, NULL) < 0);
                assert_int_equal(migration_state(d->m), MIGRATION_IDLE);
                a.data[i] = keep;
                d->fail[FAKE_IMPORT] = 0;
        }
        w.broken[0] = '\0';
        assert_int_equal(migration_import(d->m, "m1", "", a.data, a.len, NULL), 0);
        assert_int_equal(migration_import(d->m, "m1", "", a.data, a.len, NULL), 0);
        assert_int_equal(migration_import(d->m, "m1", "", a.data, a.len - 1, NULL), -EINVAL);
        assert_int_equal(migration_import(d->m, "m2", "", a.data, a.len, NULL), -EBUSY);
        fake_world_done(&w);
}

static void test_stale_import(void **state) {
        static const struct {
                JournalKind kind;
                uint64_t epoch;
                int want;
        } rows[] = {
                { JOURNAL_NONE, 0, 0 },          { JOURNAL_REFUSED, 2, 0 },
                { JOURNAL_REFUSED, 3, -EINVAL }, { JOURNAL_RUNNING, 2, -EINVAL },
                { JOURNAL_DONE, 1, 0 },          { JOURNAL_KEPT, 2, -EINVAL },
        };
        _cleanup_buf_ Buf a = {};
        FakeWorld w;

        fake_world_init(&w);
        assert_int_equal(migration_export(SRC(&w), "m1", &a, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                JournalRecord last = { .kind = rows[i].kind, .epoch = rows[i].epoch };
                _cleanup_(migration_freep) Migration *m = NULL;

                assert_int_equal(migration_new("p1", &last, &fake_migration_ops,
                                               &w.side[MIGRATION_DESTINATION], &m, NULL),
                                 0);
                assert_int_equal(migration_import(m, "m1", "", a.data, a.len, NULL), rows[i].want);
        }
        fake_world_done(&w);
}

static int ended_with;
static unsigned endings;

static void ended(void *userdata, int r, const void *result, const Error *err) {
        ended_with = r;
        endings++;
}

static void test_prepare(void **state) {
        MigrationOptions o = defaults();
        Error e = ERROR_INIT;
        FakeSide *d;
        FakeWorld w;

        fake_world_init(&w);
        d = &w.side[MIGRATION_DESTINATION];
        assert_true(drive(&w, MIGRATION_DESTINATION_IMPORTED, &o));
        d->unpatched = 2;
        assert_int_equal(migration_prepare(d->m, "m1", ended, NULL, &e), -EBADFD);
        assert_non_null(strstr(e.text, "c1, c2"));
        assert_int_equal(migration_patch(d->m, "m1", "none", NULL, ended, NULL, NULL), -ENOENT);
        assert_int_equal(migration_patch(d->m, "m1", "", NULL, ended, NULL, NULL), -EINVAL);
        d->mode[FAKE_PATCH] = FAKE_LATER;
        assert_int_equal(migration_patch(d->m, "m1", "c1", NULL, ended, NULL, NULL), 1);
        assert_int_equal(migration_patch(d->m, "m1", "c2", NULL, ended, NULL, NULL), -EBUSY);
        assert_int_equal(migration_prepare(d->m, "m1", ended, NULL, NULL), -EBUSY);
        assert_int_equal(migration_cancel(d->m, "m1", NULL), -EBUSY);
        endings = 0;
        assert_true(fake_complete(d, 0));
        assert_int_equal(endings, 1);
        d->mode[FAKE_PATCH] = FAKE_NOW;
        assert_int_equal(migration_patch(d->m, "m1", "c2", NULL, ended, NULL, NULL), 0);
        d->fail[FAKE_PREPARE] = 1;
        assert_int_equal(migration_prepare(d->m, "m1", ended, NULL, NULL), -EIO);
        assert_int_equal(migration_state(d->m), MIGRATION_DESTINATION_IMPORTED);
        d->mode[FAKE_PREPARE] = FAKE_LATER;
        assert_int_equal(migration_prepare(d->m, "m1", ended, NULL, NULL), 1);
        assert_true(fake_complete(d, 0));
        assert_int_equal(endings, 2);
        assert_int_equal(migration_state(d->m), MIGRATION_DESTINATION_PREPARED);
        fake_world_done(&w);
}

/* -- transport, transfer, limits -- */

static void test_transport(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive(&w, MIGRATION_TRANSPORT_WAITING, &o));
        assert_int_equal(migration_register_socket(SRC(&w), "m1", NULL), 0); /* not up: another */
        migration_on_transport(SRC(&w), true, NULL);
        assert_int_equal(migration_state(SRC(&w)), MIGRATION_TRANSFERRING);
        assert_int_equal(migration_register_socket(SRC(&w), "m1", NULL), -EEXIST);
        migration_on_transport(SRC(&w), false, NULL);
        assert_int_equal(migration_register_socket(SRC(&w), "m1", NULL), 0);
        o.bandwidth = 1;
        assert_int_equal(migration_transfer(SRC(&w), "m1", &o, NULL), -EINVAL);
        fake_world_done(&w);
}

static void test_no_transport(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive(&w, MIGRATION_TRANSPORT_WAITING, &o));
        for (int r = 0; r < 2; r++) {
                assert_true(fake_timer(&w.side[r], MIGRATION_TIMER_TRANSPORT));
                assert_int_equal(migration_state(w.side[r].m), MIGRATION_FAILED);
                assert_non_null(strstr(migration_error(w.side[r].m)->text, "no transport"));
        }
        assert_false(w.side[0].frozen);
        assert_false(w.side[1].tree);
        assert_non_null(strstr(migration_error(SRC(&w))->text, "the pod runs on at the source"));
        fake_world_done(&w);
}

static void test_limits(void **state) {
        MigrationOptions o = defaults();

        o.timeout_ms = 1000;
        o.timeout_per_gib_ms = 100;
        o.progress_timeout_ms = 50;
        for (int which = 0; which < 3; which++) {
                FakeWorld w;

                o.timeout_action =
                        which == 2 ? MIGRATION_TIMEOUT_FORCE_COMPLETE : MIGRATION_TIMEOUT_ABORT;
                fake_world_init(&w);
                assert_true(fake_until_transferring(&w, &o));
                assert_in_range(w.side[0].timer[MIGRATION_TIMER_LIMIT], 1090, 1100);
                assert_true(fake_timer(&w.side[0], which == 1 ? MIGRATION_TIMER_PROGRESS
                                                              : MIGRATION_TIMER_LIMIT));
                assert_int_equal(w.side[0].calls[FAKE_TUNE], which == 2);
                quiet_run(&w);
                assert_int_equal(migration_outcome(SRC(&w)),
                                 which == 2 ? MIGRATION_OUTCOME_MOVED : MIGRATION_OUTCOME_KEPT);
                if (which != 2)
                        assert_int_equal(migration_error(SRC(&w))->code, -ETIMEDOUT);
                fake_world_done(&w);
        }
}

static void test_blackout_limit(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        fake_world_init(&w);
        w.heeds_abort = true;
        assert_true(fake_until_transferring(&w, &o));
        w.side[1].mode[FAKE_RECEIVE] = FAKE_LATER;
        fake_link(&w, false);
        libvirt_until(&w, FAKE_FINISHED);
        assert_true(fake_timer(&w.side[0], MIGRATION_TIMER_HANDOVER));
        fake_link(&w, true);
        quiet_run(&w);
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_KEPT);
        assert_int_equal(w.s, MIGRATION_AT_RUNNING);
        assert_int_equal(w.d, MIGRATION_AT_NONE);
        assert_false(w.side[0].link_frozen);
        fake_world_done(&w);
}

/* -- cancel -- */

static void test_cancel(void **state) {
        static const MigrationState in[] = {
                MIGRATION_SOURCE_EXPORTED, MIGRATION_DESTINATION_PREPARED,
                MIGRATION_TRANSPORT_READY, MIGRATION_TRANSPORT_WAITING,
                MIGRATION_TRANSFERRING,    MIGRATION_SWITCHOVER,
        };
        MigrationOptions o = defaults();

        for (size_t i = 0; i < ELEMENTSOF(in); i++) {
                for (int role = 0; role < 2; role++) {
                        FakeWorld w;
                        Migration *m;
                        int r;

                        fake_world_init(&w);
                        w.heeds_abort = true;
                        assert_true(drive(&w, in[i], &o));
                        m = w.side[role].m;
                        r = migration_cancel(m, "m1", NULL);
                        assert_true(r == 0);
                        assert_int_equal(migration_cancel(m, "m1", NULL), 0);
                        if (in[i] >= MIGRATION_TRANSFERRING)
                                quiet_run(&w);
                        if (migration_outcome(m) == MIGRATION_OUTCOME_KEPT) {
                                assert_int_equal(migration_state(m), MIGRATION_CANCELLED);
                                assert_int_equal(w.s, MIGRATION_AT_RUNNING);
                                assert_int_equal(w.d, MIGRATION_AT_NONE);
                        } else { /* too late: READY was out */
                                assert_int_equal(migration_outcome(m), MIGRATION_OUTCOME_MOVED);
                                assert_int_equal(migration_state(m), MIGRATION_TRANSFERRED);
                        }
                        assert_string_equal(w.broken, "");
                        fake_world_done(&w);
                }
        }
}

static void test_cancel_too_late(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive(&w, MIGRATION_TRANSFERRED, &o));
        assert_int_equal(migration_cancel(SRC(&w), "m1", NULL), -EBADFD);
        assert_int_equal(migration_cancel(DST(&w), "m1", NULL), -EBADFD);
        fake_world_done(&w);
}

/* -- finalize and cleanup -- */

static void test_finalize(void **state) {
        static const struct {
                MigrationState in;
                bool source_resume;
        } rows[] = { { MIGRATION_TRANSFERRED, false },
                     { MIGRATION_FAILED, true },
                     { MIGRATION_CANCELLED, true } };
        MigrationOptions o = defaults();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                bool good = rows[i].source_resume;
                FakeWorld w;

                fake_world_init(&w);
                assert_true(drive(&w, rows[i].in, &o));
                assert_int_equal(migration_finalize(SRC(&w), "m1", !good, NULL, NULL, NULL),
                                 -EBADFD);
                assert_int_equal(migration_finalize(DST(&w), "m1", good, NULL, NULL, NULL),
                                 -EBADFD);
                for (int again = 0; again < 2; again++) {
                        assert_int_equal(migration_finalize(SRC(&w), "m1", good, NULL, NULL, NULL),
                                         0);
                        assert_int_equal(migration_finalize(DST(&w), "m1", !good, NULL, NULL, NULL),
                                         0);
                        assert_int_equal(migration_state(SRC(&w)), MIGRATION_FINALIZED);
                        assert_int_equal(migration_state(DST(&w)), MIGRATION_FINALIZED);
                }
                assert_int_equal(migration_finalize(SRC(&w), "m1", !good, NULL, NULL, NULL),
                                 -EBADFD);
                fake_world_done(&w);
        }
}

static void test_cleanup(void **state) {
        static const MigrationState in[] = { MIGRATION_FINALIZED, MIGRATION_FAILED,
                                             MIGRATION_CANCELLED };
        MigrationOptions o = defaults();

        for (size_t i = 0; i < ELEMENTSOF(in); i++) {
                for (int mode = FAKE_NOW; mode <= FAKE_FAIL_LATER; mode++) {
                        FakeSide *s;
                        FakeWorld w;
                        int r;

                        fake_world_init(&w);
                        assert_true(drive(&w, in[i], &o));
                        s = &w.side[MIGRATION_DESTINATION];
                        s->mode[FAKE_CLEANUP] = (FakeMode)mode;
                        endings = 0;
                        r = migration_cleanup(s->m, "m1", ended, NULL, NULL);
                        if (mode == FAKE_LATER || mode == FAKE_FAIL_LATER) {
                                assert_int_equal(r, 1);
                                assert_int_equal(migration_cleanup(s->m, "m1", ended, NULL, NULL),
                                                 -EBUSY);
                                assert_true(fake_complete(s, 0));
                                assert_int_equal(endings, 1);
                                r = ended_with;
                        }
                        if (mode == FAKE_REFUSE || mode == FAKE_FAIL_LATER) {
                                assert_int_equal(r, -EIO);
                                assert_int_equal(migration_state(s->m), in[i]);
                                s->mode[FAKE_CLEANUP] = FAKE_NOW;
                                r = migration_cleanup(s->m, "m1", ended, NULL, NULL);
                        }
                        assert_int_equal(r, 0);
                        assert_int_equal(migration_state(s->m), MIGRATION_IDLE);
                        assert_string_equal(migration_session(s->m), "");
                        for (int t = 0; t < _MIGRATION_TIMER_MAX; t++)
                                assert_int_equal(s->timer[t], 0);
                        assert_int_equal(migration_cleanup(s->m, "m1", ended, NULL, NULL), 0);
                        fake_world_done(&w);
                }
        }
}

/* There, and a second session of the same objects the other way round. */
static void test_and_again(void **state) {
        MigrationOptions o = defaults();
        _cleanup_buf_ Buf b = {};
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive(&w, MIGRATION_FINALIZED, &o));
        for (int r = 0; r < 2; r++)
                assert_int_equal(migration_cleanup(w.side[r].m, "m1", NULL, NULL, NULL), 0);
        assert_int_equal(migration_epoch(DST(&w)), 2);
        assert_int_equal(migration_export(DST(&w), "m2", &b, NULL), 0);
        assert_int_equal(migration_import(SRC(&w), "m2", "", b.data, b.len, NULL), 0);
        assert_int_equal(migration_role(SRC(&w)), MIGRATION_DESTINATION);
        fake_world_done(&w);
}

/* -- handover=runtime and handover=fast -- */

static void test_runtime(void **state) {
        MigrationOptions o = defaults();

        o.handover = MIGRATION_HANDOVER_RUNTIME;
        for (int back = 0; back < 2; back++) {
                FakeWorld w;

                fake_world_init(&w);
                w.heeds_abort = true;
                assert_true(fake_until_transferring(&w, &o));
                libvirt_until(&w, FAKE_FINISHED);
                while (fake_deliver(&w.side[0], 0) || fake_deliver(&w.side[1], 0))
                        ;
                assert_int_equal(migration_state(SRC(&w)), MIGRATION_TRANSFERRED);
                assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
                assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_NONE);
                assert_int_equal(w.s, MIGRATION_AT_PAUSED);
                endings = 0;
                assert_int_equal(migration_finalize(DST(&w), "m1", !back, ended, NULL, NULL), 1);
                assert_int_equal(migration_finalize(SRC(&w), "m1", back, ended, NULL, NULL), 1);
                assert_true(fake_run(&w, 300));
                assert_string_equal(w.broken, "");
                assert_int_equal(endings, 2);
                assert_int_equal(ended_with, 0);
                assert_int_equal(migration_state(SRC(&w)), MIGRATION_FINALIZED);
                assert_int_equal(migration_state(DST(&w)), MIGRATION_FINALIZED);
                assert_int_equal(back ? w.s : w.d, MIGRATION_AT_RUNNING);
                assert_int_equal(back ? w.d : w.s, MIGRATION_AT_NONE);
                fake_world_done(&w);
        }
}

static void test_runtime_timeout(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        o.handover = MIGRATION_HANDOVER_RUNTIME;
        fake_world_init(&w);
        w.heeds_abort = true;
        assert_true(fake_until_transferring(&w, &o));
        libvirt_until(&w, FAKE_FINISHED);
        while (fake_deliver(&w.side[0], 0) || fake_deliver(&w.side[1], 0))
                ;
        assert_true(fake_timer(&w.side[0], MIGRATION_TIMER_HANDOVER));
        assert_true(fake_run(&w, 300));
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_KEPT);
        assert_non_null(strstr(migration_error(SRC(&w))->text, "Finalize did not come"));
        fake_world_done(&w);
}

static void test_fast(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        o.handover = MIGRATION_HANDOVER_FAST;
        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        libvirt_until(&w, FAKE_FINISHED);
        /* libvirt lets the destination run by itself, then puts the source away. */
        w.d = MIGRATION_AT_RUNNING;
        migration_on_domain(DST(&w), MIGRATION_DOMAIN_RUNNING, NULL);
        assert_true(fake_run(&w, 300));
        assert_string_equal(w.broken, "");
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_MOVED);
        assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
        assert_int_equal(migration_state(SRC(&w)), MIGRATION_TRANSFERRED);
        assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
        assert_true(w.side[1].running_tree);
        fake_world_done(&w);
}

static void test_fast_fails(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        o.handover = MIGRATION_HANDOVER_FAST;
        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        libvirt_until(&w, FAKE_SWITCH);
        assert_true(fake_libvirt(&w, 1));
        assert_true(fake_run(&w, 300));
        assert_string_equal(w.broken, "");
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_KEPT);
        assert_int_equal(w.s, MIGRATION_AT_RUNNING);
        fake_world_done(&w);
}

/* -- extra calls -- */

static void test_tune(void **state) {
        MigrationOptions o = defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        assert_int_equal(
                migration_tune(SRC(&w), "m1", MIGRATION_CALL_SET_BANDWIDTH, 5, NULL, NULL, NULL),
                0);
        assert_int_equal(migration_tune(SRC(&w), "m1", MIGRATION_CALL_CANCEL, 5, NULL, NULL, NULL),
                         -EINVAL);
        assert_int_equal(migration_tune(SRC(&w), "m1", MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0, NULL,
                                        NULL, NULL),
                         -EBADFD);
        assert_int_equal(migration_tune(DST(&w), "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL),
                         -EBADFD);
        fake_world_done(&w);
}

/* -- a hostile peer -- */

typedef struct Podferry__Peer__V1__Peer PeerMessage;

static void hear(Migration *m, PeerMessage *p) {
        uint8_t buf[512];
        size_t n = protobuf_c_message_get_packed_size(&p->base);

        assert_true(n <= sizeof(buf));
        migration_on_peer(m, buf, protobuf_c_message_pack(&p->base, buf));
}

static PeerMessage word(uint64_t epoch) {
        static char pod[] = "p1", session[] = "m1";
        PeerMessage p = PODFERRY__PEER__V1__PEER__INIT;

        p.pod = pod;
        p.session = session;
        p.epoch = epoch;
        p.number = 1;
        return p;
}

static void test_hostile(void **state) {
        static char other[] = "other";
        Podferry__Peer__V1__Ready ready = PODFERRY__PEER__V1__READY__INIT;
        Podferry__Peer__V1__Released released = PODFERRY__PEER__V1__RELEASED__INIT;
        Podferry__Peer__V1__Running running = PODFERRY__PEER__V1__RUNNING__INIT;
        Podferry__Peer__V1__Kept kept = PODFERRY__PEER__V1__KEPT__INIT;
        MigrationOptions o = defaults();
        PeerMessage p;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        libvirt_until(&w, FAKE_FINISHED);
        /* READY that is not of this pod, session, epoch, or without a number. */
        for (int i = 0; i < 6; i++) {
                p = word(2);
                p.body_case = PODFERRY__PEER__V1__PEER__BODY_READY;
                p.ready = &ready;
                if (i == 0)
                        p.pod = other;
                else if (i == 1)
                        p.session = other;
                else if (i == 2)
                        p.epoch = 1;
                else if (i == 3)
                        p.epoch = 3;
                else if (i == 4)
                        p.number = 0;
                else
                        p.body_case = PODFERRY__PEER__V1__PEER__BODY__NOT_SET;
                hear(SRC(&w), &p);
                assert_int_equal(w.s, MIGRATION_AT_PAUSED);
                assert_int_equal(w.side[0].n_journal, 1);
        }
        /* RUNNING before RELEASED, words of the wrong side, rubbish. */
        p = word(2);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RUNNING;
        p.running = &running;
        hear(SRC(&w), &p);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RELEASED;
        p.released = &released;
        hear(SRC(&w), &p);
        migration_on_peer(SRC(&w), "\xff\xff\xff", 3);
        migration_on_peer(SRC(&w), "", 0);
        assert_int_equal(w.side[0].n_journal, 1);
        /* RELEASED before READY at the destination. */
        p = word(1);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RELEASED;
        p.released = &released;
        hear(DST(&w), &p);
        assert_int_equal(w.side[1].n_journal, 0);
        assert_int_equal(w.d, MIGRATION_AT_PAUSED);
        quiet_run(&w);
        /* KEPT after it runs at the destination. */
        p = word(1);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_KEPT;
        p.kept = &kept;
        hear(DST(&w), &p);
        assert_int_equal(w.d, MIGRATION_AT_RUNNING);
        assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
        assert_string_equal(w.broken, "");
        fake_world_done(&w);
}

/* What was decided is answered after the session is gone, from the journal. */
static void test_answers_later(void **state) {
        Podferry__Peer__V1__Query query = PODFERRY__PEER__V1__QUERY__INIT;
        MigrationOptions o = defaults();
        PeerMessage p;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive(&w, MIGRATION_FINALIZED, &o));
        assert_int_equal(migration_cleanup(SRC(&w), "m1", NULL, NULL, NULL), 0);
        p = word(2);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_QUERY;
        p.query = &query;
        hear(SRC(&w), &p);
        assert_int_equal(w.side[1].n_in, 1);
        p.epoch = 1;
        hear(SRC(&w), &p);
        assert_int_equal(w.side[1].n_in, 1);
        fake_world_done(&w);
}

/* -- options, history -- */

static int count_option(void *userdata, const char *name, const char *value, const char *help) {
        MigrationOptions *o = userdata;

        assert_true(strlen(help) > 5);
        assert_int_equal(migration_options_set(o, name, value, NULL), 0);
        return 0;
}

static void test_options(void **state) {
        static const struct {
                const char *name, *value;
                int want;
        } rows[] = {
                { "handover", "fast", 0 },
                { "handover", "quick", -EINVAL },
                { "max_downtime", "250", 0 },
                { "max_downtime", "-1", -EINVAL },
                { "max_downtime", "", -EINVAL },
                { "max_downtime", "99999999999999999999", -EINVAL },
                { "connections", "300", -EINVAL },
                { "connections", "4", 0 },
                { "auto_converge", "true", 0 },
                { "auto_converge", "yes", -EINVAL },
                { "compression", "zstd", 0 },
                { "nonsense", "1", -EINVAL },
                { "transport", "qemu+tcp://h2/system", 0 },
                { "transport", "a b", -EINVAL },
        };
        MigrationOptions o = defaults(), copy = defaults();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Error e = ERROR_INIT;

                assert_int_equal(migration_options_set(&o, rows[i].name, rows[i].value, &e),
                                 rows[i].want);
                if (rows[i].want < 0)
                        assert_non_null(strstr(e.text, rows[i].name));
        }
        assert_int_equal(o.handover, MIGRATION_HANDOVER_FAST);
        assert_int_equal(o.max_downtime_ms, 250);
        assert_int_equal(o.connections, 4);
        assert_true(o.auto_converge);
        assert_int_equal(migration_options_each(&o, count_option, &copy), 0);
        assert_memory_equal(&o, &copy, sizeof(o));
        assert_int_equal(migration_options_check(&o, NULL), 0);
        o.postcopy = true;
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL);
}

static int collect(void *userdata, const MigrationNotification *n) {
        uint64_t *last = userdata;

        assert_true(n->id > *last);
        *last = n->id;
        return 0;
}

static void test_history(void **state) {
        MigrationHistory *h = calloc(1, sizeof(*h));
        MigrationNotification n = { .result = MIGRATION_STARTED };
        uint64_t last = 0;
        bool gap;

        assert_non_null(h);
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(migration_history_add(h, &n)->id, i + 1);
        n.result = MIGRATION_PROGRESS;
        for (unsigned i = 0; i < 1000; i++)
                (void)migration_history_add(h, &n);
        assert_int_equal(h->len, 11);
        assert_int_equal(migration_history_since(h, 0, &gap, collect, &last), 0);
        assert_false(gap);
        assert_int_equal(last, 1010);
        n.result = MIGRATION_WARNING;
        for (unsigned i = 0; i < MIGRATION_HISTORY; i++)
                (void)migration_history_add(h, &n);
        last = 0;
        assert_int_equal(migration_history_since(h, 5, &gap, collect, &last), 0);
        assert_true(gap);
        assert_int_equal(last, 1010 + MIGRATION_HISTORY);
        last = 1100;
        assert_int_equal(migration_history_since(h, 1100, &gap, collect, &last), 0);
        assert_false(gap);
        free(h);
}

static void test_progress(void **state) {
        MigrationStatistics s = { .memory = { 100, 40, 60 } };
        MigrationDisk disk = { "c1 scratch", { 10, 5, 5 } };
        MigrationOptions o = defaults();
        MigrationProgress p;
        json_object *dump;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        migration_on_statistics(SRC(&w), &s, &disk, 1);
        migration_progress(SRC(&w), &p);
        assert_int_equal(p.percent, 40);
        assert_int_equal(p.phase, MIGRATION_PHASE_MEMORY);
        assert_string_equal(p.disks[0].name, "c1 scratch");
        s.memory =
                (MigrationBytes){ 100, 60, 80 }; /* dirtied again: the percentage does not fall */
        migration_on_statistics(SRC(&w), &s, NULL, 0);
        migration_progress(SRC(&w), &p);
        assert_int_equal(p.percent, 40);
        assert_int_equal(migration_dump(SRC(&w), &dump, NULL), 0);
        json_object_put(dump);
        quiet_run(&w);
        migration_progress(DST(&w), &p);
        assert_true(p.blackout_start_ns > 0 && p.blackout_end_ns > p.blackout_start_ns);
        assert_int_equal(p.percent, 100);
        migration_progress(SRC(&w), &p);
        assert_true(p.peer_blackout_ns > 0);
        fake_world_done(&w);
}

static void test_adopt_refuses(void **state) {
        static const JournalKind over[] = {
                JOURNAL_KEPT, JOURNAL_DONE, JOURNAL_REFUSED, JOURNAL_LOST, JOURNAL_RUNNING,
        };
        JournalRecord r = { .epoch = 2, .session = "m1", .pod = "p1" };
        FakeWorld w;

        fake_world_init(&w);
        for (size_t i = 0; i < ELEMENTSOF(over); i++) {
                r.kind = over[i];
                assert_int_equal(migration_adopt(SRC(&w), &r, NULL, 0, NULL), -EINVAL);
        }
        r.kind = JOURNAL_READY;
        assert_int_equal(migration_adopt(SRC(&w), &r, NULL, 0, NULL), -EINVAL);
        r.kind = JOURNAL_OWNED;
        r.epoch = 1;
        assert_int_equal(migration_adopt(SRC(&w), &r, "x", 1, NULL), -EINVAL);
        assert_int_equal(migration_state(SRC(&w)), MIGRATION_IDLE);
        fake_world_done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cells),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_repeated),
                cmocka_unit_test(test_export),
                cmocka_unit_test(test_import),
                cmocka_unit_test(test_stale_import),
                cmocka_unit_test(test_prepare),
                cmocka_unit_test(test_transport),
                cmocka_unit_test(test_no_transport),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_blackout_limit),
                cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_cancel_too_late),
                cmocka_unit_test(test_finalize),
                cmocka_unit_test(test_cleanup),
                cmocka_unit_test(test_and_again),
                cmocka_unit_test(test_runtime),
                cmocka_unit_test(test_runtime_timeout),
                cmocka_unit_test(test_fast),
                cmocka_unit_test(test_fast_fails),
                cmocka_unit_test(test_tune),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_answers_later),
                cmocka_unit_test(test_options),
                cmocka_unit_test(test_history),
                cmocka_unit_test(test_progress),
                cmocka_unit_test(test_adopt_refuses),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration", tests, NULL, NULL);
}
