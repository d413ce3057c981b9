/* SPDX-License-Identifier: Apache-2.0 */
/* What the calls of a migration session do: export, import, prepare, transfer with its limits,
 * cancel, and Finalize and Cleanup after every outcome, for each way of handing over.
 *
 * rows: H2 H4 F81 F84 B8 */
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
        MigrationOptions o = migration_defaults();
        Error e = ERROR_INIT;
        FakeSide *d;
        FakeWorld w;

        fake_world_init(&w);
        d = &w.side[MIGRATION_DESTINATION];
        assert_true(drive_to(&w, MIGRATION_DESTINATION_IMPORTED, &o));
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
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive_to(&w, MIGRATION_TRANSPORT_WAITING, &o));
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
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive_to(&w, MIGRATION_TRANSPORT_WAITING, &o));
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
        MigrationOptions o = migration_defaults();

        o.timeout_ms = 1000;
        o.timeout_per_gib_ms = 100;
        o.progress_timeout_ms = 50;
        for (int which = 0; which < 3; which++) {
                FakeWorld w;

                o.timeout_action =
                        which == 2 ? MIGRATION_TIMEOUT_FORCE_COMPLETE : MIGRATION_TIMEOUT_ABORT;
                fake_world_init(&w);
                assert_true(fake_until_transferring(&w, &o));
                assert_in_range(w.side[0].timer[MIGRATION_TIMER_LIMIT], 990, 1000);
                migration_on_statistics(SRC(&w), &(MigrationStatistics){}, NULL, 0);
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
        MigrationOptions o = migration_defaults();
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
        MigrationOptions o = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(in); i++) {
                for (int role = 0; role < 2; role++) {
                        FakeWorld w;
                        Migration *m;
                        int r;

                        fake_world_init(&w);
                        w.heeds_abort = true;
                        assert_true(drive_to(&w, in[i], &o));
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
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive_to(&w, MIGRATION_TRANSFERRED, &o));
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
        MigrationOptions o = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                bool good = rows[i].source_resume;
                FakeWorld w;

                fake_world_init(&w);
                assert_true(drive_to(&w, rows[i].in, &o));
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
        MigrationOptions o = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(in); i++) {
                for (int mode = FAKE_NOW; mode <= FAKE_FAIL_LATER; mode++) {
                        FakeSide *s;
                        FakeWorld w;
                        int r;

                        fake_world_init(&w);
                        assert_true(drive_to(&w, in[i], &o));
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
        MigrationOptions o = migration_defaults();
        _cleanup_buf_ Buf b = {};
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive_to(&w, MIGRATION_FINALIZED, &o));
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
        MigrationOptions o = migration_defaults();

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
                /* stop may be done at once: it does not wait for the destination */
                if (migration_finalize(SRC(&w), "m1", back, ended, NULL, NULL) == 0)
                        endings++;
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
        MigrationOptions o = migration_defaults();
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
        MigrationOptions o = migration_defaults();
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
        MigrationOptions o = migration_defaults();
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

/* Held: whatever the source wants, and whatever becomes of the transport, its guest stands until
 * the destination has said which way it went. */
static void test_fast_held(void **state) {
        for (int runs = 0; runs < 2; runs++) {
                MigrationOptions o = migration_defaults();
                FakeWorld w;

                o.handover = MIGRATION_HANDOVER_FAST;
                fake_world_init(&w);
                w.heeds_abort = true;
                assert_true(fake_until_transferring(&w, &o));
                libvirt_until(&w, FAKE_FINISHED);
                migration_on_domain(SRC(&w), MIGRATION_DOMAIN_HELD, NULL);
                assert_int_equal(migration_cancel(SRC(&w), "m1", NULL), 0);
                fake_link(&w, false);
                (void)fake_timer(&w.side[0], MIGRATION_TIMER_TRANSPORT);
                (void)fake_timer(&w.side[0], MIGRATION_TIMER_HANDOVER);
                for (int i = 0; i < 5; i++)
                        (void)fake_timer(&w.side[0], MIGRATION_TIMER_REPEAT);
                assert_int_equal(w.side[0].calls[FAKE_MIGRATE_ABORT], 0);
                assert_int_equal(w.s, MIGRATION_AT_PAUSED);
                assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_NONE);
                if (runs) {
                        w.d = MIGRATION_AT_RUNNING;
                        migration_on_domain(DST(&w), MIGRATION_DOMAIN_RUNNING, NULL);
                } else {
                        fake_copy_dies(&w);
                }
                fake_link(&w, true);
                assert_true(fake_run(&w, 300));
                assert_string_equal(w.broken, "");
                assert_int_equal(migration_outcome(SRC(&w)),
                                 runs ? MIGRATION_OUTCOME_MOVED : MIGRATION_OUTCOME_KEPT);
                assert_int_equal(w.s, runs ? MIGRATION_AT_NONE : MIGRATION_AT_RUNNING);
                fake_world_done(&w);
        }
}

/* The guest stands still and the transport is gone: it does not wait for long. */
static void test_blackout_transport(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        w.heeds_abort = true;
        assert_true(fake_until_transferring(&w, &o));
        w.side[1].mode[FAKE_RECEIVE] = FAKE_LATER;
        libvirt_until(&w, FAKE_FINISHED);
        fake_link(&w, false);
        assert_int_equal(w.side[0].timer[MIGRATION_TIMER_TRANSPORT], 3000);
        assert_true(fake_timer(&w.side[0], MIGRATION_TIMER_TRANSPORT));
        fake_link(&w, true);
        quiet_run(&w);
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_KEPT);
        assert_non_null(strstr(migration_error(SRC(&w))->text, "no transport came in time"));
        fake_world_done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
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
                cmocka_unit_test(test_fast_held),
                cmocka_unit_test(test_blackout_transport),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration", tests, NULL, NULL);
}
