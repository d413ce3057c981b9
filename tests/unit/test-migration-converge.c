/* SPDX-License-Identifier: Apache-2.0 */
/* When a busy pod goes over: the pure functions on recorded series, and what a transfer makes of
 * them: ramp, limit, forced completion, stall, cutover, abort watchdog.
 *
 * rows: F38 F39 F40 F43 F44 F45 F46 F47 F49 F69 F70 F80 F87 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "tests/unit/migration-rig.h"

#define MS  1000000ULL
#define MIB (1ULL << 20)

/* -- ramp and limit -- */

static void test_ramp(void **state) {
        static const struct {
                uint64_t ceiling, start, now, since, want;
                uint32_t iteration;
        } rows[] = {
                { 500, 50, 50, 10000, 50, 2 }, /* not before the third iteration */
                { 500, 50, 50, 9999, 50, 3 },  /* nor before the cool-down is over */
                { 500, 50, 50, 10000, 100, 3 },  { 500, 50, 480, 10000, 500, 9 },
                { 500, 50, 500, 99999, 500, 9 }, { 500, 50, 800, 99999, 800, 9 },
                { 0, 50, 0, 99999, 0, 9 },       { 5, 1, 1, 10000, 2, 3 },
        };
        static const struct {
                uint64_t ceiling, start, want;
                bool held;
        } first[] = {
                { 500, 50, 50, false }, { 500, 0, 500, false }, { 20, 50, 20, false },
                { 0, 50, 0, false },    { 500, 50, 1, true },   { 0, 50, 1, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MigrationOptions o = migration_defaults();

                o.max_downtime_ms = rows[i].ceiling;
                o.downtime_start_ms = rows[i].start;
                assert_int_equal(
                        migration_downtime_next(&o, rows[i].now, rows[i].iteration, rows[i].since),
                        rows[i].want);
        }
        for (size_t i = 0; i < ELEMENTSOF(first); i++) {
                MigrationOptions o = migration_defaults();

                o.max_downtime_ms = first[i].ceiling;
                o.downtime_start_ms = first[i].start;
                assert_int_equal(migration_downtime_first(&o, first[i].held), first[i].want);
        }
}

static void test_time_limit(void **state) {
        static const struct {
                uint64_t absolute, per_gib, mib, disk, want;
        } rows[] = {
                { 0, 300000, 256, 0, 300000 },
                { 0, 300000, 4096, 0, 1200000 },
                { 0, 300000, 4097, 0, 1500000 },
                { 0, 300000, 1024, 1, 600000 },
                { 0, 300000, 1024, 10240 * MIB, 3300000 },
                { 20000, 300000, 4096, 1, 20000 }, /* alone */
                { 20000, 0, 4096, 1, 20000 },
                { 0, 0, 4096, 1, 0 },
                { 0, 300000, 1, UINT64_MAX, 300000 * ((1ULL << 34) + 1) },
                { 0, UINT64_MAX / 4, 1 << 20, UINT64_MAX, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MigrationOptions o = migration_defaults();

                o.timeout_ms = rows[i].absolute;
                o.timeout_per_gib_ms = rows[i].per_gib;
                assert_int_equal(migration_time_limit(&o, rows[i].mib, rows[i].disk), rows[i].want);
        }
}

/* -- the stall: what was left when each iteration began, MiB, so many seconds apart -- */

static void test_stall(void **state) {
        static const struct {
                const char *name;
                unsigned seconds;
                int left[16]; /* -1 ends */
                int stalls;   /* at which sample it is said, -1: never */
                int acts;     /* and when somebody may act, -1: never */
        } rows[] = {
                { "halves each time", 10, { 1024, 512, 256, 128, 64, 32, 16, 8, -1 }, -1, -1 },
                { "less by 5 % in 40 s, always",
                  40,
                  { 1000, 940, 893, 848, 806, 766, -1 },
                  -1,
                  -1 },
                { "rises and falls, and falls further",
                  10,
                  { 500, 700, 450, 690, 410, 680, 370, 600, 330, 590, 300, -1 },
                  -1,
                  -1 },
                { "the guest writes as fast as the link",
                  10,
                  { 200, 201, 199, 200, 200, 201, 200, 200, -1 },
                  5,
                  6 },
                { "a burst, when nobody should act",
                  10,
                  { 200, 200, 200, 200, 200, 400, 400, 400, 201, -1 },
                  5,
                  8 },
                { "it grows and stays", 20, { 100, 120, 140, 160, 180, 200, 220, -1 }, 3, 5 },
                { "one long iteration after the other", 60, { 300, 299, 300, -1 }, 1, 2 },
                { "too few to tell", 10, { 300, 300, 300, 300, -1 }, -1, -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MigrationStall s = {};
                int stalls = -1, acts = -1;

                for (int k = 0; rows[i].left[k] >= 0; k++) {
                        MigrationStallVerdict v = migration_stall_sample(
                                &s, 40000, (uint64_t)k * rows[i].seconds * 1000,
                                (uint64_t)rows[i].left[k] * MIB);

                        if (v == MIGRATION_STALL_BEGINS && stalls < 0)
                                stalls = k;
                        if (v == MIGRATION_STALL_ACT_NOW && acts < 0)
                                acts = k;
                }
                if (stalls != rows[i].stalls || acts != rows[i].acts)
                        fail_msg("%s: stalls at %d, acts at %d", rows[i].name, stalls, acts);
        }
}

/* Iterations of a few milliseconds, for hours: bounded, and the same verdict. */
static void test_stall_many(void **state) {
        MigrationStall s = {};
        bool stalled = false;

        for (uint64_t t = 0; t < 3600 * 1000; t += 50) {
                stalled |= migration_stall_sample(&s, 40000, t, 100 * MIB) != MIGRATION_STALL_NO;
                assert_true(s.n <= MIGRATION_STALL_SAMPLES);
        }
        assert_true(stalled);
        s = (MigrationStall){};
        for (uint64_t t = 0; t < 400 * 1000; t += 50)
                assert_int_equal(migration_stall_sample(&s, 40000, t, (1ULL << 40) >> (t / 20000)),
                                 MIGRATION_STALL_NO);
        assert_int_equal(migration_stall_sample(&s, 0, 1, 1), MIGRATION_STALL_NO);
}

/* -- what a transfer makes of it -- */

static FakeSide *begin(FakeWorld *w, const MigrationOptions *o) {
        fake_world_init(w);
        w->heeds_abort = true;
        assert_true(fake_until_transferring(w, o));
        return &w->side[MIGRATION_SOURCE];
}

static void left(FakeSide *s, uint32_t iteration, uint64_t memory, uint64_t disk) {
        static uint64_t moved;
        MigrationStatistics st = {
                .memory = { 256 * MIB, moved += MIB, memory * MIB },
                .disks = { disk * MIB, 0, disk * MIB },
                .memory_bps = 10 * MIB,
                .iteration = iteration,
        };

        migration_on_statistics(s->m, &st, NULL, 0);
}

static void test_ramp_lives(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);

        assert_int_equal(migration_downtime_allowed(s->m), 50);
        migration_on_iteration(s->m, 2);
        w.now_ns += 10000 * MS;
        migration_on_iteration(s->m, 2);
        assert_int_equal(s->calls[FAKE_TUNE], 0);
        for (uint64_t want = 100; want <= 500; want += 50) {
                migration_on_iteration(s->m, 3);
                migration_on_iteration(s->m, 3);
                assert_int_equal(s->tuned, MIGRATION_CALL_SET_MAX_DOWNTIME);
                assert_int_equal(s->tuned_value, want);
                w.now_ns += 10000 * MS;
        }
        migration_on_iteration(s->m, 99);
        assert_int_equal(s->calls[FAKE_TUNE], 9);
        /* Said by people: now, and no ramp any more. */
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_MAX_DOWNTIME, 80, NULL, NULL, NULL),
                0);
        w.now_ns += 99999 * MS;
        migration_on_iteration(s->m, 100);
        assert_int_equal(s->tuned_value, 80);
        assert_int_equal(migration_options_origin(migration_live_options(s->m), "max_downtime"),
                         MIGRATION_BY_CALL);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_MAX_DOWNTIME, 0, NULL, NULL, NULL),
                -EINVAL);
        quiet_run(&w);
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_MOVED);
        fake_world_done(&w);
}

/* rows: what is forced, in which way, by whom; what libvirt says to it; how it ends */
static void test_force(void **state) {
        static const struct {
                const char *name;
                bool postcopy, memory_begun, by_limit;
                FakeMode mode;
                MigrationCall tuned;
                int r;
                bool forced;
        } rows[] = {
                { "limit", false, true, true, FAKE_NOW, MIGRATION_CALL_SET_MAX_DOWNTIME, 0, true },
                { "call", false, true, false, FAKE_NOW, MIGRATION_CALL_SET_MAX_DOWNTIME, 0, true },
                { "answers later", false, true, false, FAKE_LATER, MIGRATION_CALL_SET_MAX_DOWNTIME,
                  1, true },
                { "refused", false, true, false, FAKE_REFUSE, MIGRATION_CALL_SET_MAX_DOWNTIME, -EIO,
                  false },
                { "fails later", false, true, false, FAKE_FAIL_LATER,
                  MIGRATION_CALL_SET_MAX_DOWNTIME, 1, false },
                { "post-copy", true, true, true, FAKE_NOW, MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0,
                  true },
                { "only disks yet", true, false, true, FAKE_NOW, MIGRATION_CALL_SET_MAX_DOWNTIME, 0,
                  true },
                { "post-copy refused: neither", true, true, false, FAKE_REFUSE,
                  MIGRATION_CALL_SET_MAX_DOWNTIME, -EIO, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MigrationOptions o = migration_defaults();
                FakeWorld w;
                FakeSide *s;
                int r = rows[i].r;

                o.timeout_action = MIGRATION_TIMEOUT_FORCE_COMPLETE;
                o.handover = rows[i].postcopy ? MIGRATION_HANDOVER_FAST : MIGRATION_HANDOVER_SHIMS;
                o.postcopy = rows[i].postcopy;
                s = begin(&w, &o);
                s->mode[FAKE_TUNE] = rows[i].mode;
                if (rows[i].memory_begun)
                        left(s, 1, 100, 0);
                if (rows[i].by_limit)
                        assert_true(fake_timer(s, MIGRATION_TIMER_LIMIT));
                else
                        r = migration_tune(s->m, "m1", MIGRATION_CALL_FORCE_COMPLETE, 0, NULL, NULL,
                                           NULL);
                while (s->n_jobs > 1 && fake_complete(s, 1)) /* the first is the migration */
                        ;
                if (r != rows[i].r || s->tuned != rows[i].tuned || s->m->forced != rows[i].forced)
                        fail_msg("%s: %d, %s, forced %d", rows[i].name, r,
                                 migration_call_name(s->tuned), s->m->forced);
                assert_int_equal(s->m->tunes, 0);
                if (rows[i].tuned == MIGRATION_CALL_SET_MAX_DOWNTIME && rows[i].forced) {
                        assert_int_equal(s->tuned_value, MIGRATION_DOWNTIME_ANY);
                        assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 60000);
                } else if (rows[i].forced) { /* post-copy ends by itself */
                        assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 0);
                } else { /* as before */
                        assert_in_range(s->timer[MIGRATION_TIMER_LIMIT], 299000, 300000);
                }
                fake_world_done(&w);
        }
}

/* Once: a second one changes nothing, and what would weaken it is refused. */
static void test_latch(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);

        left(s, 1, 100, 0);
        assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL), 0);
        assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL), 0);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_FORCE_COMPLETE, 0, NULL, NULL, NULL), 0);
        assert_int_equal(s->calls[FAKE_TUNE], 1);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_MAX_DOWNTIME, 5, NULL, NULL, NULL),
                -EBADFD);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_TIMEOUT, 5, NULL, NULL, NULL),
                -EBADFD);
        w.now_ns += 60000 * MS;
        migration_on_iteration(s->m, 7); /* no ramp */
        left(s, 7, 100, 0);
        assert_int_equal(s->calls[FAKE_TUNE], 1);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_BANDWIDTH, 5, NULL, NULL, NULL), 0);
        quiet_run(&w);
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_MOVED);
        fake_world_done(&w);
}

/* The pod stands and the rest does not go over in time: back to where it was. Nothing of it is the
 * blackout's own limit, which is far shorter. */
static void test_pause_deadline(void **state) {
        for (int blackout = 0; blackout < 2; blackout++) {
                MigrationOptions o = migration_defaults();
                FakeWorld w;
                FakeSide *s = begin(&w, &o);

                left(s, 1, 100, 0);
                w.side[1].mode[FAKE_RECEIVE] = FAKE_LATER;
                assert_int_equal(
                        migration_tune(s->m, "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL), 0);
                if (blackout) {
                        libvirt_until(&w, FAKE_SWITCH); /* it stands; memory goes over */
                        assert_int_equal(s->timer[MIGRATION_TIMER_HANDOVER], 0);
                }
                assert_true(fake_timer(s, MIGRATION_TIMER_LIMIT));
                quiet_run(&w);
                assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_KEPT);
                assert_int_equal(migration_error(s->m)->code, -ETIMEDOUT);
                assert_non_null(strstr(migration_error(s->m)->text, "pause_timeout"));
                assert_int_equal(w.s, MIGRATION_AT_RUNNING);
                assert_int_equal(w.d, MIGRATION_AT_NONE);
                fake_world_done(&w);
        }
}

static void test_timeout_lives(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);

        left(s, 1, 100, 2048); /* 256 MiB of memory are one GiB, and two of disk */
        assert_in_range(s->timer[MIGRATION_TIMER_LIMIT], 899000, 900000);
        w.now_ns += 5000 * MS;
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_TIMEOUT, 20000, NULL, NULL, NULL), 0);
        assert_in_range(s->timer[MIGRATION_TIMER_LIMIT], 14990, 15000); /* from the beginning */
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_TIMEOUT, 1000, NULL, NULL, NULL), 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 1); /* it is over */
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_TIMEOUT, 0, NULL, NULL, NULL), 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 0);
        assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_SET_TIMEOUT, UINT64_MAX, NULL,
                                        NULL, NULL),
                         -EINVAL);
        left(s, 2, 90, 2048);
        assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 0);
        fake_world_done(&w);
}

/* A saw-tooth: what is left falls and jumps up, less far each time. Then it goes on as it is. */
static void test_stall_lives(void **state) {
        for (int action = 0; action < _MIGRATION_STALL_ACTION_MAX; action++) {
                MigrationOptions o = migration_defaults();
                uint32_t iteration = 1;
                FakeWorld w;
                FakeSide *s;

                o.stall_action = (MigrationStallAction)action;
                s = begin(&w, &o);
                for (uint64_t top = 200; top > 20; top -= 10) {
                        migration_on_iteration(s->m, ++iteration);
                        for (uint64_t rest = top; rest > 2;
                             rest -= MIN_OF(rest - 1, (uint64_t)20)) {
                                left(s, iteration, rest, 0);
                                w.now_ns += 1000 * MS;
                        }
                }
                assert_string_equal(s->warned, "");
                for (int i = 0; i < 20 && !s->m->wants_out && !s->m->forced; i++) {
                        migration_on_iteration(s->m, ++iteration);
                        left(s, iteration, 10, 20); /* the disk is what is written to */
                        w.now_ns += 10000 * MS;
                        left(s, iteration, 1, 20);
                }
                assert_non_null(strstr(s->warned, action == 2 ? "forcing completion" : "stalled"));
                assert_int_equal(s->m->wants_out, action == MIGRATION_STALL_ABORT);
                assert_int_equal(s->m->forced, action == MIGRATION_STALL_FORCE_COMPLETE);
                quiet_run(&w);
                assert_int_equal(migration_outcome(s->m), action == MIGRATION_STALL_ABORT
                                                                  ? MIGRATION_OUTCOME_KEPT
                                                                  : MIGRATION_OUTCOME_MOVED);
                fake_world_done(&w);
        }
}

static void test_cutover(void **state) {
        for (int by_time = 0; by_time < 2; by_time++) {
                MigrationOptions o = migration_defaults();
                FakeWorld w;
                FakeSide *s;

                o.cutover = MIGRATION_CUTOVER_HOLD;
                if (by_time)
                        o.cutover_at = 150; /* the clock of the world begins near 0 */
                s = begin(&w, &o);
                assert_int_equal(migration_downtime_allowed(s->m), 1);
                left(s, 1, 100, 0);
                w.now_ns += 90000 * MS;
                migration_on_iteration(s->m, 9);
                assert_int_equal(s->calls[FAKE_TUNE], 0);
                assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 0); /* it may take long */
                assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_SET_MAX_DOWNTIME, 40,
                                                NULL, NULL, NULL),
                                 0);
                assert_int_equal(s->calls[FAKE_TUNE], 0);                /* for later */
                assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 0); /* nor does it hang */
                assert_true(migration_is_held(s->m) && s->let_go == 0);
                if (by_time) {
                        assert_int_equal(s->timer[MIGRATION_TIMER_CUTOVER], 60000);
                        assert_true(fake_timer(s, MIGRATION_TIMER_CUTOVER)); /* too early */
                        assert_true(s->m->held);
                        w.now_ns += 60000 * MS;
                        assert_true(fake_timer(s, MIGRATION_TIMER_CUTOVER));
                } else {
                        assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_CUTOVER, 0, NULL,
                                                        NULL, NULL),
                                         0);
                }
                assert_true(!migration_is_held(s->m) && s->let_go == 1);
                assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], o.progress_timeout_ms);
                assert_int_equal(s->tuned_value, 40);
                assert_in_range(s->timer[MIGRATION_TIMER_LIMIT], 299000, 300000);
                assert_int_equal(
                        migration_tune(s->m, "m1", MIGRATION_CALL_CUTOVER, 0, NULL, NULL, NULL), 0);
                assert_int_equal(s->calls[FAKE_TUNE], 1);
                quiet_run(&w);
                assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_MOVED);
                assert_int_equal(s->let_go, 1);
                fake_world_done(&w);
        }
}

/* Nothing of its memory is over there: standing for all of it is not what was meant. Post-copy
 * needs none of it there. */
static void test_force_held(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s;

        o.cutover = MIGRATION_CUTOVER_HOLD;
        s = begin(&w, &o);
        left(s, 1, 100, 0);
        assert_int_equal(migration_tune(s->m, "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL),
                         -EBADFD);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_FORCE_COMPLETE, 0, NULL, NULL, NULL),
                -EBADFD);
        assert_true(migration_is_held(s->m) && s->let_go == 0 && s->calls[FAKE_TUNE] == 0);
        fake_world_done(&w);

        o.handover = MIGRATION_HANDOVER_FAST;
        o.postcopy = true;
        s = begin(&w, &o);
        left(s, 1, 100, 0);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_FORCE_COMPLETE, 0, NULL, NULL, NULL), 0);
        assert_true(!migration_is_held(s->m) && s->let_go == 1);
        assert_int_equal(s->tuned, MIGRATION_CALL_SWITCH_TO_POSTCOPY);
        fake_world_done(&w);
}

/* Zero bytes of memory and disks, not a rest that stays. */
static void test_no_progress(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);

        assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 0); /* nothing is measured yet */
        left(s, 1, 100, 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 150000);
        s->timer[MIGRATION_TIMER_PROGRESS] = 1;
        left(s, 1, 100, 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 150000);
        s->timer[MIGRATION_TIMER_PROGRESS] = 1;
        migration_on_statistics(s->m, &s->m->progress.now, NULL, 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 1);
        fake_link(&w, false); /* that has a limit of its own */
        assert_int_equal(s->timer[MIGRATION_TIMER_PROGRESS], 0);
        fake_link(&w, true);
        left(s, 1, 100, 0);
        assert_true(fake_timer(s, MIGRATION_TIMER_PROGRESS));
        quiet_run(&w);
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_KEPT);
        fake_world_done(&w);
}

static void test_abort_watchdog(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);

        s->mode[FAKE_MIGRATE_ABORT] = FAKE_LATER; /* libvirt hangs */
        assert_int_equal(migration_cancel(s->m, "m1", NULL), 0);
        assert_int_equal(s->timer[MIGRATION_TIMER_ABORT], 30000);
        assert_true(fake_timer(s, MIGRATION_TIMER_ABORT));
        assert_non_null(strstr(s->warned, "abort failed"));
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_NONE); /* not known */
        assert_int_equal(migration_state(s->m), MIGRATION_CANCELLING);
        quiet_run(&w); /* it answers after all */
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_KEPT);
        assert_false(s->m->deaf);
        fake_world_done(&w);
}

/* The fence asks libvirt with QEMU stopped: nothing that QEMU has to answer may be before it. */
static void test_fence_waits(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;
        FakeSide *s = begin(&w, &o);
        unsigned i;

        s->mode[FAKE_TUNE] = FAKE_LATER;
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SET_BANDWIDTH, 5, NULL, NULL, NULL), 1);
        libvirt_until(&w, FAKE_FINISHED);
        for (int k = 0; k < 50; k++)
                for (int role = 0; role < 2; role++) {
                        (void)fake_deliver(&w.side[role], 0);
                        for (i = 0; i < w.side[role].n_jobs; i++)
                                if (w.side[role].jobs[i].verb != FAKE_TUNE)
                                        (void)fake_complete(&w.side[role], i);
                }
        assert_int_equal(s->m->journal, JOURNAL_FENCING);
        assert_int_equal(s->calls[FAKE_FENCE], 0);
        quiet_run(&w);
        assert_int_equal(s->calls[FAKE_FENCE], 1);
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_MOVED);
        fake_world_done(&w);
}

/* -- post-copy -- */

/* Whatever else is known, the half at the source is neither killed nor resumed before libvirt's
 * call is over. */
static void test_postcopy_moves(void **state) {
        static const MigrationDomainState at[] = { MIGRATION_AT_POSTCOPY,
                                                   MIGRATION_AT_POSTCOPY_BROKEN };

        for (size_t i = 0; i < ELEMENTSOF(at); i++)
                for (int peer = 0; peer < _MIGRATION_PEER_MAX; peer++)
                        for (int out = 0; out < 2; out++)
                                for (int job = 0; job < 2; job++) {
                                        MigrationDomain d = { at[i], job };
                                        MigrationMove m = migration_postcopy_source_move(
                                                JOURNAL_PREPARED, &d, (MigrationPeerSays)peer, out);

                                        if (m == MIGRATION_MOVE_HAND_OFF)
                                                assert_true(at[i] == MIGRATION_AT_POSTCOPY &&
                                                            peer != MIGRATION_PEER_RUNNING);
                                        else
                                                assert_int_equal(m, MIGRATION_MOVE_WAIT);
                                }
}

static FakeSide *begin_postcopy(FakeWorld *w) {
        MigrationOptions o = migration_defaults();
        FakeSide *s;

        o.postcopy = true;
        o.handover = MIGRATION_HANDOVER_FAST;
        s = begin(w, &o);
        left(s, 1, 100, 0);
        assert_int_equal(
                migration_tune(s->m, "m1", MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0, NULL, NULL, NULL),
                0);
        return s;
}

/* libvirt says that the guest stands before it says that this is post-copy. */
static void test_postcopy_lives(void **state) {
        for (int paused_first = 0; paused_first < 2; paused_first++) {
                Error e = ERROR_INIT;
                FakeWorld w;
                FakeSide *s = begin_postcopy(&w);

                w.s = MIGRATION_AT_POSTCOPY;
                if (paused_first)
                        migration_on_domain(s->m, MIGRATION_DOMAIN_BLACKOUT, "");
                else
                        migration_on_domain(s->m, MIGRATION_DOMAIN_POSTCOPY, "");
                assert_int_equal(s->m->domain.state, MIGRATION_AT_POSTCOPY);
                assert_int_equal(migration_state(s->m), MIGRATION_SWITCHOVER);
                assert_int_equal(s->calls[FAKE_CHECKPOINT], 1);
                assert_int_equal(s->timer[MIGRATION_TIMER_LIMIT], 0);
                assert_int_equal(s->timer[MIGRATION_TIMER_HANDOVER], 0);
                assert_int_equal(migration_cancel(s->m, "m1", &e), -EBADFD);
                assert_non_null(strstr(e.text, "post-copy"));
                assert_int_equal(migration_reconnect(s->m, "m1", NULL), -EBADFD);
                /* Somebody wants out all the same, and libvirt was away for a moment. */
                migration_out(s->m);
                migration_on_host_back(s->m);
                while (s->n_jobs > 1 && fake_complete(s, 1))
                        ;
                assert_int_equal(s->m->domain.state, MIGRATION_AT_POSTCOPY);
                assert_int_equal(s->calls[FAKE_FENCE] + s->calls[FAKE_MIGRATE_ABORT] +
                                         s->calls[FAKE_RESUME_DOMAIN],
                                 0);
                assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_NONE);
                fake_world_done(&w);
        }
}

static void test_postcopy_breaks(void **state) {
        FakeWorld w;
        FakeSide *s = begin_postcopy(&w);

        migration_on_domain(s->m, MIGRATION_DOMAIN_POSTCOPY, "");
        w.s = MIGRATION_AT_POSTCOPY_BROKEN;
        w.lv = FAKE_FAILED;
        for (int i = 0; i < 10; i++)
                for (unsigned k = 0; k < s->n_jobs; k++)
                        (void)fake_complete(s, k);
        assert_int_equal(migration_state(s->m), MIGRATION_POSTCOPY_BROKEN);
        assert_non_null(strstr(s->warned, "both are kept"));
        assert_int_equal(s->calls[FAKE_FENCE] + s->calls[FAKE_MIGRATE_ABORT] +
                                 s->calls[FAKE_RESUME_DOMAIN],
                         0);
        assert_int_equal(migration_cancel(s->m, "m1", NULL), -EBADFD);
        assert_int_equal(migration_outcome(s->m), MIGRATION_OUTCOME_NONE);
        fake_world_done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ramp),           cmocka_unit_test(test_time_limit),
                cmocka_unit_test(test_stall),          cmocka_unit_test(test_stall_many),
                cmocka_unit_test(test_ramp_lives),     cmocka_unit_test(test_force),
                cmocka_unit_test(test_latch),          cmocka_unit_test(test_pause_deadline),
                cmocka_unit_test(test_timeout_lives),  cmocka_unit_test(test_stall_lives),
                cmocka_unit_test(test_cutover),        cmocka_unit_test(test_force_held),
                cmocka_unit_test(test_no_progress),    cmocka_unit_test(test_abort_watchdog),
                cmocka_unit_test(test_fence_waits),    cmocka_unit_test(test_postcopy_moves),
                cmocka_unit_test(test_postcopy_lives), cmocka_unit_test(test_postcopy_breaks),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration-converge", tests, NULL, NULL);
}
