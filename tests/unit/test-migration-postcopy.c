/* SPDX-License-Identifier: Apache-2.0 */
/* A post-copy whose transport and driver are gone: what is on its way is kept, nothing is rolled
 * back or killed, a new transport goes on with it, and neither side ends before all has arrived.
 *
 * rows: F43 F70 F82 B6 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "tests/unit/migration-rig.h"

static FakeSide *side(FakeWorld *w, MigrationRole role) {
        return &w->side[role];
}

/* All that is to be done at once, on both sides: words first. */
static void talk(FakeWorld *w) {
        for (bool more = true; more;) {
                more = false;
                for (size_t i = 0; i < ELEMENTSOF(w->side); i++) {
                        FakeSide *s = &w->side[i];

                        while (s->n_in > 0 && fake_deliver(s, 0))
                                more = true;
                        for (unsigned k = 0; k < s->n_jobs; k++)
                                more |= fake_complete(s, k);
                }
        }
}

/* Memory begins to move, and post-copy was asked for. */
static void begin(FakeWorld *w) {
        MigrationOptions o = migration_defaults();
        MigrationStatistics st = { .memory = { 256 << 20, 1 << 20, 255 << 20 } };

        o.postcopy = true;
        o.handover = MIGRATION_HANDOVER_FAST;
        fake_world_init(w);
        assert_true(fake_until_transferring(w, &o));
        migration_on_streams(SRC(w), true);
        migration_on_streams(DST(w), true);
        migration_on_statistics(SRC(w), &st, NULL, 0);
        assert_int_equal(migration_tune(SRC(w), "m1", MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0, NULL,
                                        NULL, NULL),
                         0);
        w->d = MIGRATION_AT_INCOMING;
        migration_on_domain(DST(w), MIGRATION_DOMAIN_INCOMING, "");
        w->s = MIGRATION_AT_POSTCOPY;
        migration_on_domain(SRC(w), MIGRATION_DOMAIN_POSTCOPY, "");
        talk(w);
}

static void destination_runs(FakeWorld *w) {
        w->d = MIGRATION_AT_RUNNING;
        migration_on_domain(DST(w), MIGRATION_DOMAIN_POSTCOPY, "");
        talk(w);
}

static void assert_untouched(const FakeWorld *w) {
        for (size_t i = 0; i < ELEMENTSOF(w->side); i++) {
                const unsigned *calls = w->side[i].calls;

                assert_int_equal(calls[FAKE_FENCE] + calls[FAKE_MIGRATE_ABORT] +
                                         calls[FAKE_SUSPEND_DOMAIN] + calls[FAKE_RESUME_DOMAIN] +
                                         calls[FAKE_DESTROY_DOMAIN] + calls[FAKE_ABORT_TREE] +
                                         calls[FAKE_CLEANUP],
                                 0);
        }
        assert_int_equal(migration_outcome(w->side[MIGRATION_SOURCE].m), MIGRATION_OUTCOME_NONE);
}

/* What both shims do by themselves when their driver is gone: a cancel. */
static void driver_gone(FakeWorld *w) {
        fake_link(w, false);
        assert_int_equal(migration_cancel(SRC(w), "m1", NULL), -EBADFD);
        (void)migration_cancel(DST(w), "m1", NULL);
        talk(w);
}

static void source_completes(FakeWorld *w) {
        w->s = MIGRATION_AT_NONE;
        w->lv = FAKE_OK;
        migration_on_domain(DST(w), MIGRATION_DOMAIN_RUNNING, "");
        migration_on_streams(SRC(w), false);
        migration_on_domain(SRC(w), MIGRATION_DOMAIN_GONE, "");
        talk(w);
}

static void assert_moved(FakeWorld *w) {
        migration_on_streams(DST(w), false);
        talk(w);
        assert_int_equal(migration_state(SRC(w)), MIGRATION_TRANSFERRED);
        assert_int_equal(migration_state(DST(w)), MIGRATION_TRANSFERRED);
        assert_int_equal(migration_outcome(SRC(w)), MIGRATION_OUTCOME_MOVED);
        assert_int_equal(migration_outcome(DST(w)), MIGRATION_OUTCOME_MOVED);
        assert_int_equal(migration_finalize(DST(w), "m1", true, NULL, NULL, NULL), 0);
}

/* The destination's part is over when the memory is there, not when the guest runs. */
static void test_destination_waits(void **state) {
        FakeWorld w;

        begin(&w);
        assert_false(migration_carries_postcopy(DST(&w)));
        destination_runs(&w);
        assert_true(side(&w, MIGRATION_DESTINATION)->running_tree);
        assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
        assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
        assert_true(migration_carries_postcopy(SRC(&w)));
        assert_true(migration_carries_postcopy(DST(&w)));
        assert_int_equal(migration_finalize(DST(&w), "m1", true, NULL, NULL, NULL), -EBADFD);
        assert_int_equal(migration_cleanup(DST(&w), "m1", NULL, NULL, NULL), -EBADFD);
        migration_on_domain(DST(&w), MIGRATION_DOMAIN_RUNNING, "");
        /* libvirt's answer may still be on its way to the source's */
        assert_false(migration_carries_postcopy(DST(&w)));
        assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
        source_completes(&w);
        assert_moved(&w);
        fake_world_done(&w);
}

/* Both sides wait, for ever if need be, and say so once; another transport goes on. */
static void test_driver_dies(void **state) {
        for (int early = 0; early < 2; early++) {
                Migration *m[2];
                FakeWorld w;

                begin(&w);
                if (!early) /* else it dies before the destination's guest runs */
                        destination_runs(&w);
                m[0] = SRC(&w), m[1] = DST(&w);
                assert_int_equal(migration_register_socket(m[0], "m1", NULL), -EEXIST);
                driver_gone(&w);
                assert_untouched(&w);
                assert_int_equal(migration_state(m[0]), MIGRATION_SWITCHOVER);
                for (int i = 0; i < 2 - early; i++) {
                        FakeSide *s = &w.side[m[i] == DST(&w)];
                        Error e = ERROR_INIT;

                        assert_true(migration_carries_postcopy(m[i]));
                        assert_true(fake_timer(s, MIGRATION_TIMER_TRANSPORT));
                        assert_non_null(strstr(s->warned, "podferry adopt"));
                        assert_false(fake_timer(s, MIGRATION_TIMER_TRANSPORT)); /* once */
                        if (i == 0) {
                                assert_int_equal(migration_reconnect(m[i], "m1", &e), -EBADFD);
                                assert_non_null(strstr(e.text, "RegisterSocket"));
                        }
                        assert_int_equal(migration_register_socket(m[i], "m1", NULL), 0);
                }
                assert_untouched(&w);
                fake_link(&w, true);
                talk(&w);
                if (early)
                        destination_runs(&w);
                assert_untouched(&w);
                source_completes(&w);
                assert_moved(&w);
                fake_world_done(&w);
        }
}

/* The source has ended, and its last words may be lost with the transport: the pod is whole. */
static void test_last_words(void **state) {
        for (int lost = 0; lost < 2; lost++) {
                FakeWorld w;

                begin(&w);
                destination_runs(&w);
                w.d = MIGRATION_AT_RUNNING;
                migration_on_domain(DST(&w), MIGRATION_DOMAIN_RUNNING, "");
                if (lost) {
                        fake_link(&w, false);
                        assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
                        assert_true(fake_timer(side(&w, MIGRATION_DESTINATION),
                                               MIGRATION_TIMER_TRANSPORT));
                } else {
                        source_completes(&w); /* RELEASED */
                }
                assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
                assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
                fake_world_done(&w);
        }
}

/* No timer fires while there is a transport. */
static void test_no_false_alarm(void **state) {
        FakeWorld w;
        FakeSide *s;

        begin(&w);
        destination_runs(&w);
        s = side(&w, MIGRATION_SOURCE);
        s->warned[0] = '\0';
        migration_on_timer(SRC(&w), MIGRATION_TIMER_TRANSPORT);
        assert_string_equal(s->warned, "");
        fake_world_done(&w);
}

/* libvirt gives it up when its peer was silent for 30 s; QEMU goes on with the next transport. */
static void test_libvirt_gives_up(void **state) {
        FakeWorld w;

        begin(&w);
        destination_runs(&w);
        driver_gone(&w);
        w.s = MIGRATION_AT_POSTCOPY_BROKEN;
        w.lv = FAKE_FAILED;
        talk(&w);
        assert_int_equal(SRC(&w)->domain.state, MIGRATION_AT_POSTCOPY_BROKEN);
        assert_int_equal(migration_state(SRC(&w)), MIGRATION_SWITCHOVER);
        assert_true(migration_carries_postcopy(SRC(&w)));
        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), -EBADFD);
        assert_int_equal(migration_register_socket(SRC(&w), "m1", NULL), 0);
        assert_untouched(&w);
        fake_link(&w, true);
        talk(&w);
        assert_untouched(&w);
        source_completes(&w);
        assert_moved(&w);
        fake_world_done(&w);
}

/* But if QEMU's stream ends, and libvirt still says so after a moment, it is broken. */
static void test_stream_ends(void **state) {
        for (int completes = 0; completes < 2; completes++) {
                FakeWorld w;

                begin(&w);
                destination_runs(&w);
                w.s = MIGRATION_AT_POSTCOPY_BROKEN;
                w.lv = FAKE_FAILED;
                talk(&w);
                migration_on_streams(SRC(&w), false);
                assert_int_equal(migration_state(SRC(&w)), MIGRATION_SWITCHOVER);
                if (completes)
                        w.s = MIGRATION_AT_MIGRATED;
                assert_true(fake_timer(side(&w, MIGRATION_SOURCE), MIGRATION_TIMER_REPEAT));
                talk(&w);
                if (completes) {
                        assert_moved(&w);
                } else {
                        assert_int_equal(migration_state(SRC(&w)), MIGRATION_POSTCOPY_BROKEN);
                        assert_untouched(&w);
                        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), 0);
                }
                fake_world_done(&w);
        }
}

/* The source has ended, or its QEMU has: which, the destination's libvirt knows, after a while. */
static void test_torn(void **state) {
        static const struct {
                MigrationMemory first, last;
                bool torn;
        } rows[] = {
                { MIGRATION_MEMORY_COMING, MIGRATION_MEMORY_ALL, false },
                { MIGRATION_MEMORY_TORN, MIGRATION_MEMORY_ALL, false },
                { MIGRATION_MEMORY_COMING, MIGRATION_MEMORY_TORN, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                unsigned looks = 0;
                FakeWorld w;

                begin(&w);
                destination_runs(&w);
                w.memory = rows[i].first;
                w.s = MIGRATION_AT_NONE;
                w.lv = FAKE_FAILED;
                migration_on_streams(SRC(&w), false);
                migration_on_streams(DST(&w), false);
                migration_on_domain(SRC(&w), MIGRATION_DOMAIN_GONE, "");
                talk(&w);
                assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
                for (int k = 0; k < 3; k++) {
                        assert_true(fake_timer(side(&w, MIGRATION_DESTINATION),
                                               MIGRATION_TIMER_REPEAT));
                        talk(&w);
                        assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
                }
                w.memory = rows[i].last;
                while (migration_state(DST(&w)) == MIGRATION_SWITCHOVER) {
                        assert_true(looks++ < 5);
                        assert_true(fake_timer(side(&w, MIGRATION_DESTINATION),
                                               MIGRATION_TIMER_REPEAT));
                        talk(&w);
                }
                assert_int_equal(looks, rows[i].torn ? 5 : 1);
                assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
                assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
                assert_int_equal(migration_error(DST(&w))->code, rows[i].torn ? -EIO : 0);
                fake_world_done(&w);
        }
}

/* Its QEMU stands, as it needs a page itself: for libvirt the rest still comes, and the streams
 * stay open. Nothing comes from a source that has ended; one that has not may only be slow. */
static void test_silent(void **state) {
        FakeWorld w;

        for (int ended = 0; ended < 2; ended++) {
                unsigned looks = 0;

                begin(&w);
                destination_runs(&w);
                w.memory = MIGRATION_MEMORY_SILENT;
                if (ended) {
                        w.s = MIGRATION_AT_NONE;
                        w.lv = FAKE_FAILED;
                        migration_on_streams(SRC(&w), false);
                        migration_on_domain(SRC(&w), MIGRATION_DOMAIN_GONE, "");
                }
                talk(&w);
                while (migration_state(DST(&w)) == MIGRATION_SWITCHOVER && looks++ < 20 &&
                       fake_timer(side(&w, MIGRATION_DESTINATION), MIGRATION_TIMER_REPEAT))
                        talk(&w);
                assert_int_equal(migration_state(DST(&w)),
                                 ended ? MIGRATION_TRANSFERRED : MIGRATION_SWITCHOVER);
                if (ended) {
                        assert_int_equal(migration_error(DST(&w))->code, -EIO);
                        assert_true(looks >= 5);
                }
                fake_world_done(&w);
        }
}

/* The guest ends at the destination before all of it has come. */
static void test_ends_there(void **state) {
        FakeWorld w;

        begin(&w);
        destination_runs(&w);
        w.d = MIGRATION_AT_NONE;
        migration_on_domain(DST(&w), MIGRATION_DOMAIN_GONE, "");
        talk(&w);
        assert_int_equal(migration_state(DST(&w)), MIGRATION_SWITCHOVER);
        migration_on_streams(DST(&w), false);
        talk(&w);
        assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
        assert_non_null(strstr(migration_error(DST(&w))->text, "the guest has ended here"));
        assert_int_equal(side(&w, MIGRATION_SOURCE)->calls[FAKE_FENCE], 0);
        fake_world_done(&w);
}

/* Where post-copy is not allowed, what is carried does not matter. */
static void test_other_moves(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        migration_on_streams(SRC(&w), true);
        migration_on_streams(DST(&w), true);
        quiet_run(&w);
        assert_false(migration_carries_postcopy(SRC(&w)));
        assert_int_equal(migration_state(DST(&w)), MIGRATION_TRANSFERRED);
        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), 0);
        fake_world_done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_destination_waits),
                cmocka_unit_test(test_driver_dies),
                cmocka_unit_test(test_last_words),
                cmocka_unit_test(test_no_false_alarm),
                cmocka_unit_test(test_libvirt_gives_up),
                cmocka_unit_test(test_stream_ends),
                cmocka_unit_test(test_torn),
                cmocka_unit_test(test_silent),
                cmocka_unit_test(test_ends_there),
                cmocka_unit_test(test_other_moves),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration-postcopy", tests, NULL, NULL);
}
