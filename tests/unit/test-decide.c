/* SPDX-License-Identifier: Apache-2.0 */
/* Every cell of the decisions: the matrix of two domains, and the next move of each side. The
 * expected tables are written out here a second time, by hand, from the rules and not from the
 * code.
 *
 * rows: F82 F84 B2 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/decide.h"
#include "lib/cleanup.h"

/* Verdicts, one letter each; columns: unknown none incoming paused running post-copy broken
 * migrated dead. ? blind, N not moved, A abandoned, C copying, S switching, M moved, P post-copy, B
 * broken, D guest died, ! split brain, L lost. */
static const char *const verdicts[2][_MIGRATION_AT_MAX] = {
        {
                /* libvirt's job is over */
                [MIGRATION_AT_UNKNOWN] = "?????????",
                [MIGRATION_AT_NONE] = "?LLSMBBLD",
                [MIGRATION_AT_INCOMING] = "?????????",
                [MIGRATION_AT_PAUSED] = "?NSSMBBNN",
                [MIGRATION_AT_RUNNING] = "?NAA!!!NN",
                [MIGRATION_AT_POSTCOPY] = "?LPPPPBLL",
                [MIGRATION_AT_POSTCOPY_BROKEN] = "?LBBBBBLL",
                [MIGRATION_AT_MIGRATED] = "?LLSMBBLD",
                [MIGRATION_AT_DEAD] = "?DDDMBBDD",
        },
        {
                /* active: copying goes on, the rest is the same */
                [MIGRATION_AT_UNKNOWN] = "?????????",
                [MIGRATION_AT_NONE] = "?LLSMBBLD",
                [MIGRATION_AT_INCOMING] = "?????????",
                [MIGRATION_AT_PAUSED] = "?NSSMBBNN",
                [MIGRATION_AT_RUNNING] = "?NCC!!!NN",
                [MIGRATION_AT_POSTCOPY] = "?LPPPPBLL",
                [MIGRATION_AT_POSTCOPY_BROKEN] = "?LBBBBBLL",
                [MIGRATION_AT_MIGRATED] = "?LLSMBBLD",
                [MIGRATION_AT_DEAD] = "?DDDMBBDD",
        },
};

static const char letters[_MIGRATION_VERDICT_MAX] = {
        [MIGRATION_VERDICT_BLIND] = '?',      [MIGRATION_VERDICT_NOT_MOVED] = 'N',
        [MIGRATION_VERDICT_COPYING] = 'C',    [MIGRATION_VERDICT_ABANDONED] = 'A',
        [MIGRATION_VERDICT_SWITCHING] = 'S',  [MIGRATION_VERDICT_MOVED] = 'M',
        [MIGRATION_VERDICT_POSTCOPY] = 'P',   [MIGRATION_VERDICT_POSTCOPY_BROKEN] = 'B',
        [MIGRATION_VERDICT_GUEST_DIED] = 'D', [MIGRATION_VERDICT_SPLIT_BRAIN] = '!',
        [MIGRATION_VERDICT_LOST] = 'L',
};

static MigrationDecision decide(int s, bool job, int d) {
        MigrationDomain source = { (MigrationDomainState)s, job, false };
        MigrationDomain destination = { (MigrationDomainState)d, false, false };

        return migration_decide(&source, &destination);
}

static void test_matrix(void **state) {
        for (int job = 0; job < 2; job++)
                for (int s = 0; s < _MIGRATION_AT_MAX; s++)
                        for (int d = 0; d < _MIGRATION_AT_MAX; d++)
                                if (letters[decide(s, job, d).verdict] != verdicts[job][s][d])
                                        fail_msg("source %s, destination %s, job %d: %s",
                                                 migration_domain_state_name(
                                                         (MigrationDomainState)s),
                                                 migration_domain_state_name(
                                                         (MigrationDomainState)d),
                                                 job,
                                                 migration_verdict_name(decide(s, job, d).verdict));
}

/* What no cell may do, whatever it says. */
static void test_matrix_rules(void **state) {
        for (int job = 0; job < 2; job++) {
                for (int s = 0; s < _MIGRATION_AT_MAX; s++) {
                        for (int d = 0; d < _MIGRATION_AT_MAX; d++) {
                                MigrationAction a = decide(s, job, d).action;
                                bool running = d == MIGRATION_AT_RUNNING;

                                /* Nothing is done on what is not known. */
                                if (s == MIGRATION_AT_UNKNOWN || d == MIGRATION_AT_UNKNOWN)
                                        assert_int_equal(a, MIGRATION_ACTION_WAIT);
                                /* The source is never resumed beside a destination that runs or
                                 * may. */
                                if (running || d == MIGRATION_AT_PAUSED ||
                                    d == MIGRATION_AT_POSTCOPY)
                                        assert_int_not_equal(a, MIGRATION_ACTION_RESUME_SOURCE);
                                /* A copy that runs is never cleaned away. */
                                if (running)
                                        assert_int_not_equal(a, MIGRATION_ACTION_CLEAN_DESTINATION);
                                /* A whole copy is never cleaned away while no source runs. */
                                if (d == MIGRATION_AT_PAUSED && s != MIGRATION_AT_RUNNING)
                                        assert_int_not_equal(a, MIGRATION_ACTION_CLEAN_DESTINATION);
                                /* While libvirt works, at most an alarm. */
                                if (job)
                                        assert_true(a == MIGRATION_ACTION_WAIT ||
                                                    a == MIGRATION_ACTION_NOTHING ||
                                                    a == MIGRATION_ACTION_SUSPEND_NON_OWNER);
                                assert_non_null(migration_action_name(a));
                        }
                }
        }
}

/* The source's moves, one letter each: W wait, B roll back, K keep, H hand off, F fence, R release,
 * L lose, D done, ! alarm. Columns: unknown none incoming paused running post-copy broken migrated
 * dead. */
typedef struct SourceRow {
        JournalKind journal;
        MigrationPeerSays peer;
        bool out, job;
        const char *moves;
} SourceRow;

static const SourceRow source_rows[] = {
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, false, true, "WH!HWWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, false, false, "WH!HKWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, true, "WH!BBWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, false, "WH!KKWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_READY, false, true, "WF!FWWWFF" },
        { JOURNAL_PREPARED, MIGRATION_PEER_READY, false, false, "WF!FKWWFF" },
        { JOURNAL_PREPARED, MIGRATION_PEER_READY, true, true, "WF!BBWWFF" },
        { JOURNAL_PREPARED, MIGRATION_PEER_READY, true, false, "WF!KKWWFF" },
        { JOURNAL_PREPARED, MIGRATION_PEER_REFUSED, false, true, "WL!BBWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_REFUSED, false, false, "WL!KKWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_GONE, true, true, "WL!BBWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_GONE, false, false, "WL!KKWWLL" },
        { JOURNAL_FENCING, MIGRATION_PEER_SILENT, false, false, "FFFFKFFFF" },
        { JOURNAL_FENCING, MIGRATION_PEER_READY, true, true, "FFFFWFFFF" },
        { JOURNAL_FENCING, MIGRATION_PEER_REFUSED, true, false, "FFFFKFFFF" },
        { JOURNAL_RELEASED, MIGRATION_PEER_SILENT, true, false, "RRRR!RRRR" },
        { JOURNAL_RELEASED, MIGRATION_PEER_READY, false, true, "RRRR!RRRR" },
        { JOURNAL_RELEASED, MIGRATION_PEER_RUNNING, false, false, "DDDD!DDDD" },
        { JOURNAL_RELEASED, MIGRATION_PEER_GONE, false, false, "LLLL!LLLL" },
        { JOURNAL_KEPT, MIGRATION_PEER_READY, false, false, "KKKKKKKKK" },
        { JOURNAL_KEPT, MIGRATION_PEER_GONE, false, false, "DDDDDDDDD" },
        { JOURNAL_LOST, MIGRATION_PEER_READY, false, false, "LLLLLLLLL" },
        { JOURNAL_DONE, MIGRATION_PEER_SILENT, true, false, "DDDDDDDDD" },
        { JOURNAL_NONE, MIGRATION_PEER_READY, true, false, "WWWWWWWWW" },
        { JOURNAL_READY, MIGRATION_PEER_READY, false, false, "!!!!!!!!!" },
        { JOURNAL_OWNED, MIGRATION_PEER_SILENT, false, false, "!!!!!!!!!" },
};

static const char move_letters[_MIGRATION_MOVE_MAX] = {
        [MIGRATION_MOVE_WAIT] = 'W',    [MIGRATION_MOVE_ROLL_BACK] = 'B',
        [MIGRATION_MOVE_KEEP] = 'K',    [MIGRATION_MOVE_HAND_OFF] = 'H',
        [MIGRATION_MOVE_FENCE] = 'F',   [MIGRATION_MOVE_RELEASE] = 'R',
        [MIGRATION_MOVE_LOSE] = 'L',    [MIGRATION_MOVE_FINISH] = 'D',
        [MIGRATION_MOVE_READY] = 'Y',   [MIGRATION_MOVE_OWN] = 'O',
        [MIGRATION_MOVE_RESUME] = 'G',  [MIGRATION_MOVE_REFUSE] = 'X',
        [MIGRATION_MOVE_DISCARD] = 'T', [MIGRATION_MOVE_ALARM] = '!',
};

static void test_source(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(source_rows); i++) {
                const SourceRow *row = &source_rows[i];

                for (int s = 0; s < _MIGRATION_AT_MAX; s++) {
                        MigrationDomain d = { (MigrationDomainState)s, row->job, false };
                        MigrationMove m =
                                migration_source_move(row->journal, &d, row->peer, row->out);

                        if (move_letters[m] != row->moves[s])
                                fail_msg("row %zu, %s: %s", i, migration_domain_state_name(d.state),
                                         migration_move_name(m));
                }
        }
}

/* The destination's: Y ready, O own, G resume, X refuse, T discard. */
typedef struct DestinationRow {
        JournalKind journal;
        MigrationPeerSays peer;
        bool handoff, cannot;
        const char *moves;
} DestinationRow;

static const DestinationRow destination_rows[] = {
        { JOURNAL_NONE, MIGRATION_PEER_SILENT, false, false, "WWWW!!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_SILENT, true, false, "WWWY!!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_SILENT, true, true, "WXXX!!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_RELEASED, true, false, "WWWY!!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_KEPT, true, false, "TTTTTTTTT" },
        { JOURNAL_READY, MIGRATION_PEER_SILENT, true, false, "WX!Y!!!XX" },
        { JOURNAL_READY, MIGRATION_PEER_RELEASED, true, false, "WX!O!!!XX" },
        { JOURNAL_READY, MIGRATION_PEER_RELEASED, true, true, "WX!X!!!XX" },
        { JOURNAL_READY, MIGRATION_PEER_KEPT, true, false, "TTTTTTTTT" },
        { JOURNAL_OWNED, MIGRATION_PEER_SILENT, true, false, "WX!GD!!XX" },
        { JOURNAL_OWNED, MIGRATION_PEER_KEPT, true, false, "WX!GD!!XX" },
        { JOURNAL_RUNNING, MIGRATION_PEER_KEPT, true, false, "DDDDDDDDD" },
        { JOURNAL_REFUSED, MIGRATION_PEER_SILENT, true, false, "XTXXXXXTT" },
        { JOURNAL_REFUSED, MIGRATION_PEER_KEPT, true, false, "TTTTTTTTT" },
        { JOURNAL_REFUSED, MIGRATION_PEER_RELEASED, true, false, "TTTTTTTTT" },
        { JOURNAL_LOST, MIGRATION_PEER_SILENT, true, false, "WWWWWWWWW" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, false, "!!!!!!!!!" },
        { JOURNAL_RELEASED, MIGRATION_PEER_RELEASED, true, false, "!!!!!!!!!" },
};

static void test_destination(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(destination_rows); i++) {
                const DestinationRow *row = &destination_rows[i];

                for (int s = 0; s < _MIGRATION_AT_MAX; s++) {
                        MigrationDomain d = { (MigrationDomainState)s, false, false };
                        MigrationMove m = migration_destination_move(row->journal, &d, row->peer,
                                                                     row->handoff, row->cannot);

                        if (move_letters[m] != row->moves[s])
                                fail_msg("row %zu, %s: %s", i, migration_domain_state_name(d.state),
                                         migration_move_name(m));
                }
        }
}

/* The same with handover=fast: RUNNING takes the place of READY, and what is held waits for it or
 * for GONE. */
typedef struct FastRow {
        JournalKind journal;
        MigrationPeerSays peer;
        bool out, job, held;
        const char *moves;
} FastRow;

static const FastRow fast_rows[] = {
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, false, true, false, "WH!HWWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, true, false, "WH!BBWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, false, false, "WH!KKWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_READY, false, true, false, "WH!HWWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_REFUSED, true, true, false, "WL!BBWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, true, true, "WH!HBWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_SILENT, true, false, true, "WH!HKWWHH" },
        { JOURNAL_PREPARED, MIGRATION_PEER_REFUSED, true, true, true, "WL!HBWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_GONE, true, true, true, "WL!BBWWLL" },
        { JOURNAL_PREPARED, MIGRATION_PEER_RUNNING, true, true, true, "WF!F!WWFF" },
        { JOURNAL_PREPARED, MIGRATION_PEER_RUNNING, true, false, false, "WF!F!WWFF" },
        { JOURNAL_FENCING, MIGRATION_PEER_RUNNING, true, true, true, "FFFFWFFFF" },
        { JOURNAL_RELEASED, MIGRATION_PEER_RUNNING, false, false, false, "DDDD!DDDD" },
};

static void test_fast_source(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(fast_rows); i++) {
                const FastRow *row = &fast_rows[i];

                for (int s = 0; s < _MIGRATION_AT_MAX; s++) {
                        MigrationDomain d = { (MigrationDomainState)s, row->job, row->held };
                        MigrationMove m =
                                migration_fast_source_move(row->journal, &d, row->peer, row->out);

                        if (move_letters[m] != row->moves[s])
                                fail_msg("row %zu, %s: %s", i, migration_domain_state_name(d.state),
                                         migration_move_name(m));
                }
        }
}

static const DestinationRow fast_destination_rows[] = {
        { JOURNAL_NONE, MIGRATION_PEER_SILENT, true, false, "WWWWO!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_SILENT, true, true, "WXTTO!!XX" },
        { JOURNAL_NONE, MIGRATION_PEER_KEPT, true, false, "TTTT!TTTT" },
        { JOURNAL_READY, MIGRATION_PEER_SILENT, true, true, "WXTTO!!XX" },
        { JOURNAL_REFUSED, MIGRATION_PEER_SILENT, true, false, "XTTTTXXTT" },
        { JOURNAL_OWNED, MIGRATION_PEER_SILENT, true, false, "WX!GD!!XX" },
};

static void test_fast_destination(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(fast_destination_rows); i++) {
                const DestinationRow *row = &fast_destination_rows[i];

                for (int s = 0; s < _MIGRATION_AT_MAX; s++) {
                        MigrationDomain d = { (MigrationDomainState)s, false, false };
                        MigrationMove m = migration_fast_destination_move(
                                row->journal, &d, row->peer, row->handoff, row->cannot);

                        if (move_letters[m] != row->moves[s])
                                fail_msg("row %zu, %s: %s", i, migration_domain_state_name(d.state),
                                         migration_move_name(m));
                }
        }
}

/* Over everything that can be put in: what no move may be, in words of the design. */
static void test_rules(void **state) {
        for (int j = 0; j < _JOURNAL_KIND_MAX; j++)
                for (int s = 0; s < _MIGRATION_AT_MAX; s++)
                        for (int p = 0; p < _MIGRATION_PEER_MAX; p++)
                                for (int f = 0; f < 8; f++) {
                                        MigrationDomain d = { (MigrationDomainState)s, f & 4,
                                                              false };
                                        MigrationMove a = migration_source_move(
                                                (JournalKind)j, &d, (MigrationPeerSays)p, f & 1);
                                        MigrationMove b = migration_destination_move(
                                                (JournalKind)j, &d, (MigrationPeerSays)p, f & 1,
                                                f & 2);

                                        /* No fence without READY; no KEEP after RELEASED; never
                                         * while libvirt works, unless it is journalled. */
                                        if (a == MIGRATION_MOVE_FENCE && j == JOURNAL_PREPARED)
                                                assert_int_equal(p, MIGRATION_PEER_READY);
                                        if (a == MIGRATION_MOVE_KEEP) {
                                                assert_true(j == JOURNAL_PREPARED ||
                                                            j == JOURNAL_FENCING ||
                                                            j == JOURNAL_KEPT);
                                                if (j != JOURNAL_KEPT)
                                                        assert_false(d.job_active);
                                        }
                                        /* It runs after OWNED, which needs READY and RELEASED. */
                                        if (b == MIGRATION_MOVE_OWN)
                                                assert_true(j == JOURNAL_READY &&
                                                            p == MIGRATION_PEER_RELEASED);
                                        if (b == MIGRATION_MOVE_RESUME)
                                                assert_int_equal(j, JOURNAL_OWNED);
                                        /* A whole copy is dropped on KEPT or after refusing only.
                                         */
                                        if (b == MIGRATION_MOVE_DISCARD && s == MIGRATION_AT_PAUSED)
                                                assert_true(p == MIGRATION_PEER_KEPT ||
                                                            j == JOURNAL_REFUSED);
                                }
}

static void test_may_start(void **state) {
        static const struct {
                JournalKind last;
                bool shims, fast;
        } rows[] = {
                { JOURNAL_NONE, true, true },      { JOURNAL_PREPARED, true, false },
                { JOURNAL_FENCING, false, false }, { JOURNAL_RELEASED, false, false },
                { JOURNAL_KEPT, true, true },      { JOURNAL_READY, false, false },
                { JOURNAL_REFUSED, false, false }, { JOURNAL_OWNED, true, true },
                { JOURNAL_RUNNING, true, true },   { JOURNAL_LOST, true, true },
                { JOURNAL_DONE, false, false },
        };

        assert_int_equal(ELEMENTSOF(rows), _JOURNAL_KIND_MAX);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_int_equal(migration_may_start(rows[i].last, false), rows[i].shims);
                assert_int_equal(migration_may_start(rows[i].last, true), rows[i].fast);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_matrix),      cmocka_unit_test(test_matrix_rules),
                cmocka_unit_test(test_source),      cmocka_unit_test(test_destination),
                cmocka_unit_test(test_fast_source), cmocka_unit_test(test_fast_destination),
                cmocka_unit_test(test_rules),       cmocka_unit_test(test_may_start),
        };

        return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
