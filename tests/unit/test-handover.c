/* SPDX-License-Identifier: Apache-2.0 */
/* Two Migration objects over an in-memory link, with libvirt, crashes and a link that does what it
 * likes (tests/fakes/fake-migration.h). Every row and every random schedule must end, with the
 * guest on exactly one host or lost for a reason, and never on two.
 *
 * rows: F81 F82 F84 B2 B6 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "tests/fakes/fake-migration.h"

static FakeSide *source(FakeWorld *w) {
        return &w->side[MIGRATION_SOURCE];
}

static FakeSide *destination(FakeWorld *w) {
        return &w->side[MIGRATION_DESTINATION];
}

static void all_later(FakeWorld *w) {
        for (int r = 0; r < 2; r++)
                for (int v = 0; v < _FAKE_VERB_MAX; v++)
                        if (v != FAKE_PREPARE)
                                w->side[r].mode[v] = FAKE_LATER;
}

/* How it must look when it is over. */
static void check_end(FakeWorld *w, MigrationOutcome want) {
        Migration *s = source(w)->m, *d = destination(w)->m;

        assert_string_equal(w->broken, "");
        assert_int_equal(migration_outcome(s), want);
        switch (want) {
        case MIGRATION_OUTCOME_MOVED:
                assert_int_equal(w->s, MIGRATION_AT_NONE);
                assert_int_equal(w->d, MIGRATION_AT_RUNNING);
                assert_int_equal(migration_outcome(d), MIGRATION_OUTCOME_MOVED);
                assert_int_equal(migration_state(s), MIGRATION_TRANSFERRED);
                assert_int_equal(migration_state(d), MIGRATION_TRANSFERRED);
                assert_true(destination(w)->running_tree);
                break;
        case MIGRATION_OUTCOME_KEPT:
                assert_int_equal(w->s, MIGRATION_AT_RUNNING);
                assert_int_equal(w->d, MIGRATION_AT_NONE);
                assert_false(source(w)->frozen);
                assert_false(source(w)->link_frozen);
                assert_non_null(strstr(migration_error(s)->text, "the pod runs on at the source"));
                break;
        case MIGRATION_OUTCOME_LOST:
                assert_int_equal(w->s, MIGRATION_AT_NONE);
                assert_int_equal(w->d, MIGRATION_AT_NONE);
                assert_true(w->reason);
                break;
        case MIGRATION_OUTCOME_NONE:
        case _MIGRATION_OUTCOME_MAX:
                fail();
        }
}

/* -- the good way, operations at once and later -- */

static void test_success(void **state) {
        MigrationOptions o;
        FakeWorld w;

        migration_options_init(&o);
        for (int later = 0; later < 2; later++) {
                fake_world_init(&w);
                w.trace = getenv("TRACE") ? stderr : NULL;
                if (later)
                        all_later(&w);
                assert_true(fake_until_transferring(&w, &o));
                assert_true(fake_run(&w, 300));
                check_end(&w, MIGRATION_OUTCOME_MOVED);
                assert_int_equal(source(&w)->n_journal, 4);
                assert_int_equal(destination(&w)->n_journal, 3);
                assert_int_equal(migration_epoch(destination(&w)->m), 2);
                assert_int_equal(migration_finalize(source(&w)->m, "m1", false, NULL, NULL, NULL),
                                 0);
                assert_int_equal(
                        migration_finalize(destination(&w)->m, "m1", true, NULL, NULL, NULL), 0);
                fake_world_done(&w);
        }
}

/* -- what belongs to the pod is on disk late -- */

static void test_kept(void **state) {
        MigrationOptions o;
        FakeWorld w;

        migration_options_init(&o);
        for (int later = 0; later < 2; later++) {
                fake_world_init(&w);
                if (later)
                        all_later(&w);
                destination(&w)->unkept = true;
                assert_true(fake_until_transferring(&w, &o));
                for (int i = 0; i < 300 && destination(&w)->calls[FAKE_ADOPT] == 0; i++)
                        (void)fake_run(&w, 1);
                assert_int_equal(destination(&w)->calls[FAKE_ADOPT], 1);
                assert_int_equal(destination(&w)->n_journal, 0);
                fake_keep(destination(&w));
                assert_true(fake_run(&w, 300));
                check_end(&w, MIGRATION_OUTCOME_MOVED);
                fake_world_done(&w);
        }
}

/* -- what has to go before the handoff is long -- */

static void test_checkpoint_waits(void **state) {
        MigrationOptions o;
        FakeWorld w;

        migration_options_init(&o);
        for (int cancels = 0; cancels < 2; cancels++) {
                fake_world_init(&w);
                w.heeds_abort = true;
                source(&w)->unkept = true;
                assert_true(fake_until_transferring(&w, &o));
                for (int i = 0; i < 300 && !source(&w)->link_frozen; i++)
                        (void)fake_run(&w, 1);
                assert_true(source(&w)->link_frozen);
                assert_int_equal(w.s, MIGRATION_AT_PAUSED);
                assert_string_equal(migration_error(source(&w)->m)->text, "");
                if (cancels)
                        assert_int_equal(migration_cancel(source(&w)->m, "m1", NULL), 0);
                else
                        fake_keep(source(&w));
                assert_true(fake_run(&w, 300));
                check_end(&w, cancels ? MIGRATION_OUTCOME_KEPT : MIGRATION_OUTCOME_MOVED);
                fake_world_done(&w);
        }
}

/* -- each operation fails once, on each side -- */

typedef struct FailRow {
        const char *name;
        MigrationRole role;
        FakeVerb verb;
        unsigned times;
        MigrationOutcome want;
        const char *text; /* in the source's error */
} FailRow;

static const FailRow fail_rows[] = {
        { "migrate refused", MIGRATION_SOURCE, FAKE_MIGRATE, 1, MIGRATION_OUTCOME_KEPT, "migrate" },
        { "journal of the source: PREPARED", MIGRATION_SOURCE, FAKE_JOURNAL, 1,
          MIGRATION_OUTCOME_KEPT, "journal" },
        { "transfer begins at the source", MIGRATION_SOURCE, FAKE_TRANSFER_BEGINS, 1,
          MIGRATION_OUTCOME_KEPT, "transfer_begins" },
        { "checkpoint", MIGRATION_SOURCE, FAKE_CHECKPOINT, 1, MIGRATION_OUTCOME_KEPT,
          "checkpoint" },
        { "fence is not certain at once", MIGRATION_SOURCE, FAKE_FENCE, 3, MIGRATION_OUTCOME_MOVED,
          NULL },
        { "receive", MIGRATION_DESTINATION, FAKE_RECEIVE, 1, MIGRATION_OUTCOME_KEPT, "receive" },
        { "adopt", MIGRATION_DESTINATION, FAKE_ADOPT, 1, MIGRATION_OUTCOME_KEPT, "adopt" },
        { "journal of the destination: READY", MIGRATION_DESTINATION, FAKE_JOURNAL, 1,
          MIGRATION_OUTCOME_KEPT, "journal" },
        { "resume of the guest fails three times", MIGRATION_DESTINATION, FAKE_RESUME_DOMAIN, 3,
          MIGRATION_OUTCOME_MOVED, NULL },
        { "resume of the tree fails three times", MIGRATION_DESTINATION, FAKE_RESUME_TREE, 3,
          MIGRATION_OUTCOME_MOVED, NULL },
        { "moved is only a warning", MIGRATION_SOURCE, FAKE_MOVED, 1, MIGRATION_OUTCOME_MOVED,
          NULL },
        { "libvirt cannot be asked for a while", MIGRATION_SOURCE, FAKE_DOMAIN, 5,
          MIGRATION_OUTCOME_MOVED, NULL },
};

static void test_fail_row(void **state) {
        const FailRow *row = *state;
        MigrationOptions o;
        FakeWorld w;

        migration_options_init(&o);
        for (int later = 0; later < 2; later++) {
                fake_world_init(&w);
                w.trace = getenv("TRACE") ? stderr : NULL;
                if (later)
                        all_later(&w);
                w.side[row->role].fail[row->verb] = row->times;
                /* READY refused is a declaration that D cannot go on: libvirt may be quicker. */
                w.reason = row->role == MIGRATION_DESTINATION;
                w.heeds_abort = true;
                assert_true(fake_until_transferring(&w, &o));
                (void)fake_run(&w, 500);
                check_end(&w, row->want);
                if (row->text)
                        assert_non_null(strstr(migration_error(source(&w)->m)->text, row->text));
                fake_world_done(&w);
        }
}

/* -- a crash of each side after every number of steps -- */

static void test_crash_everywhere(void **state) {
        MigrationOptions o;

        migration_options_init(&o);
        for (int role = 0; role < 2; role++) {
                for (unsigned at = 0; at < 60; at++) {
                        FakeWorld w;

                        fake_world_init(&w);
                        w.trace = getenv("TRACE") ? stderr : NULL;
                        all_later(&w);
                        assert_true(fake_until_transferring(&w, &o));
                        (void)fake_run(&w, at);
                        fake_crash(&w.side[role]);
                        if (!fake_run(&w, 2000) || w.broken[0])
                                fail_msg("crash of %s after %u steps: %s (%s, %s; journals %u, %u)",
                                         migration_role_name((MigrationRole)role), at, w.broken,
                                         fsm_name(migration_get_fsm(w.side[0].m)),
                                         fsm_name(migration_get_fsm(w.side[1].m)),
                                         w.side[0].n_journal, w.side[1].n_journal);
                        if (!(w.s == MIGRATION_AT_RUNNING || w.d == MIGRATION_AT_RUNNING))
                                fail_msg("crash of %s after %u steps: runs nowhere",
                                         migration_role_name((MigrationRole)role), at);
                        fake_world_done(&w);
                }
        }
}

/* -- random schedules -- */

static uint64_t rng;

static unsigned random_below(unsigned n) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (unsigned)((rng >> 33) % n);
}

typedef struct Budget {
        unsigned loss, repeat, crash, cancel, death, link, fail;
} Budget;

static void random_fault(FakeWorld *w, Budget *b) {
        FakeSide *s = &w->side[random_below(2)];

        switch (random_below(8)) {
        case 0:
                if (b->loss && s->n_in) {
                        b->loss--;
                        fake_lose(s, random_below(s->n_in));
                }
                break;
        case 1:
                if (b->repeat && s->n_in) {
                        b->repeat--;
                        fake_repeat(s, random_below(s->n_in));
                }
                break;
        case 2:
                if (b->crash) {
                        b->crash--;
                        fake_crash(s);
                }
                break;
        case 3:
                if (b->cancel) {
                        b->cancel--;
                        (void)migration_cancel(s->m, "m1", NULL);
                }
                break;
        case 4:
                if (b->death && w->d == MIGRATION_AT_PAUSED) {
                        b->death--;
                        fake_copy_dies(w);
                }
                break;
        case 5:
                if (b->link) {
                        b->link--;
                        fake_link(w, false);
                }
                break;
        case 6:
                if (b->fail) {
                        FakeVerb v = (FakeVerb)random_below(_FAKE_VERB_MAX);

                        b->fail--;
                        s->fail[v]++;
                        /* These make a destination declare that it cannot go on. */
                        w->reason |= s->role == MIGRATION_DESTINATION && v == FAKE_ADOPT;
                }
                break;
        case 7:
                (void)fake_libvirt(w, (int)random_below(3));
                break;
        }
}

static void random_step(FakeWorld *w) {
        FakeSide *s = &w->side[random_below(2)];

        switch (random_below(6)) {
        case 0:
        case 1:
                if (s->n_jobs)
                        (void)fake_complete(s, random_below(s->n_jobs));
                break;
        case 2:
        case 3:
                if (s->n_in)
                        (void)fake_deliver(s, random_below(s->n_in));
                break;
        case 4:
                (void)fake_libvirt(w, 0);
                break;
        case 5:
                if (random_below(8) == 0)
                        fake_keep(s);
                else if (random_below(4) == 0)
                        (void)fake_timer(s, (MigrationTimer)random_below(_MIGRATION_TIMER_MAX));
                break;
        }
}

static void run_seed(uint64_t seed, MigrationOutcome *ret) {
        Budget b = { 3, 3, 3, 1, 0, 2, 2 };
        MigrationOptions o;
        FakeWorld w;

        rng = seed * 0x9e3779b97f4a7c15ULL + 1;
        b.death = random_below(8) == 0;
        b.fail = random_below(3);
        migration_options_init(&o);
        fake_world_init(&w);
        w.trace = getenv("TRACE") ? stderr : NULL;
        all_later(&w);
        if (random_below(2))
                w.side[0].mode[FAKE_FENCE] = FAKE_NOW;
        destination(&w)->unkept = random_below(4) == 0;
        source(&w)->unkept = random_below(4) == 0;
        assert_true(fake_until_transferring(&w, &o));
        for (unsigned i = 0; i < 200 && !w.broken[0]; i++) {
                if (random_below(8) == 0)
                        random_fault(&w, &b);
                else
                        random_step(&w);
                fake_check(&w);
        }
        /* Faults are finite: from here on link and hosts stay up. */
        fake_keep(source(&w));
        fake_keep(destination(&w));
        fake_link(&w, true);
        if (!fake_run(&w, 3000) || w.broken[0])
                fail_msg("seed %llu: %s (S %s, D %s; domains %s, %s; journals %s, %s)",
                         (unsigned long long)seed, w.broken[0] ? w.broken : "does not end",
                         fsm_name(migration_get_fsm(w.side[0].m)),
                         fsm_name(migration_get_fsm(w.side[1].m)), migration_domain_state_name(w.s),
                         migration_domain_state_name(w.d),
                         journal_kind_name(w.side[0].n_journal
                                                   ? w.side[0].journal[w.side[0].n_journal - 1].kind
                                                   : JOURNAL_NONE),
                         journal_kind_name(w.side[1].n_journal
                                                   ? w.side[1].journal[w.side[1].n_journal - 1].kind
                                                   : JOURNAL_NONE));
        if (w.s != MIGRATION_AT_RUNNING && w.d != MIGRATION_AT_RUNNING && !w.reason)
                fail_msg("seed %llu: runs nowhere, without a reason", (unsigned long long)seed);
        *ret = migration_outcome(w.side[0].m);
        fake_world_done(&w);
}

/* Schedules that did not end once: 99027, a shim adopted at FENCING that finds its guest running
 * while libvirt's job has not ended yet. */
static void test_found(void **state) {
        static const uint64_t seeds[] = { 99027 };
        MigrationOutcome o;

        for (size_t i = 0; i < ELEMENTSOF(seeds); i++)
                run_seed(seeds[i], &o);
}

static void test_random(void **state) {
        const char *first = getenv("PODFERRY_SEED"), *runs = getenv("PODFERRY_RUNS");
        uint64_t seed = first ? strtoull(first, NULL, 10) : 1;
        uint64_t n = runs ? strtoull(runs, NULL, 10) : first ? 1 : 20000;
        unsigned seen[_MIGRATION_OUTCOME_MAX] = {};

        for (uint64_t i = 0; i < n; i++) {
                MigrationOutcome o = MIGRATION_OUTCOME_NONE;

                run_seed(seed + i, &o);
                seen[o]++;
        }
        print_message("# seeds %llu..%llu: moved %u, kept %u, lost %u\n", (unsigned long long)seed,
                      (unsigned long long)(seed + n - 1), seen[MIGRATION_OUTCOME_MOVED],
                      seen[MIGRATION_OUTCOME_KEPT], seen[MIGRATION_OUTCOME_LOST]);
}

int main(void) {
        struct CMUnitTest tests[6 + ELEMENTSOF(fail_rows)] = {
                { "both shims, at once and later", test_success, NULL, NULL, NULL },
                { "not ready before the pod is on disk", test_kept, NULL, NULL, NULL },
                { "no handoff before what goes before it", test_checkpoint_waits, NULL, NULL,
                  NULL },
                { "a crash after every step", test_crash_everywhere, NULL, NULL, NULL },
                { "schedules that were found", test_found, NULL, NULL, NULL },
                { "random schedules", test_random, NULL, NULL, NULL },
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        for (size_t i = 0; i < ELEMENTSOF(fail_rows); i++)
                tests[6 + i] = (struct CMUnitTest){ fail_rows[i].name, test_fail_row, NULL, NULL,
                                                    (void *)(uintptr_t)&fail_rows[i] };
        return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
