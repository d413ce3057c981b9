/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F16: the forecast of a move. A row is a pod, a link and options, and says how it ends and
 * between which times; what else there is holds for all: no load makes a number that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/forecast.h"
#include "lib/cleanup.h"

#define MIB  (1ULL << 20)
#define GIB  (1ULL << 30)
#define MANY UINT64_MAX

typedef struct Row {
        const char *name;
        ForecastLoad load;
        const char *options; /* "name=value name=value" */
        ForecastOutcome outcome;
        uint64_t total[2], downtime[2]; /* from, to */
        uint64_t passes[2];
} Row;

#define GUEST .memory = 256 * MIB, .used = 96 * MIB
/* Of so many MiB in one second, and in two. */
#define WRITES(one, two) .looks = { { 1000, (one)*MIB }, { 2000, (two)*MIB } }
#define LINK(mib)        .link = (mib)*MIB
#define ANY                                                                                        \
        { 0, MANY }

/* clang-format off */
static const Row rows[] = {
        { "one that does nothing, fast link", { GUEST, LINK(1000), WRITES(0, 0) }, "", FORECAST_CONVERGES, { 1000, 1400 }, { 85, 150 }, { 1, 1 } },
        { "one that does nothing, 1 Gbit/s", { GUEST, LINK(112), WRITES(0, 0) }, "", FORECAST_CONVERGES, { 1500, 2100 }, { 85, 200 }, { 1, 1 } },
        { "memory in use counts, not memory", { .memory = 64 * GIB, .used = GIB, LINK(100), WRITES(0, 0) }, "", FORECAST_CONVERGES, { 11000, 45000 }, { 85, 250 }, { 1, 1 } },
        { "all of it in use", { .memory = 4 * GIB, .used = 4 * GIB, LINK(100), WRITES(0, 0) }, "", FORECAST_CONVERGES, { 40000, 43000 }, { 85, 250 }, { 1, 1 } },
        { "more used than there is", { .memory = 100 * MIB, .used = MANY, LINK(100), WRITES(0, 0) }, "", FORECAST_CONVERGES, { 1500, 2200 }, ANY, { 1, 1 } },
        { "a third of the link", { GUEST, LINK(30), WRITES(10, 20) }, "", FORECAST_CONVERGES, { 4000, 8000 }, { 85, 400 }, { 2, 40 } },
        { "nine tenths of the link", { GUEST, LINK(30), WRITES(27, 54) }, "", FORECAST_CONVERGES, { 5000, 60000 }, { 85, 800 }, { 3, 400 } },
        { "more than the link carries", { GUEST, LINK(30), WRITES(45, 90) }, "", FORECAST_ABORTS, { 300000, 302000 }, { 2000, 5000 }, { 3, 100000 } },
        { "the same few pages, as fast as it can", { GUEST, LINK(100), WRITES(32, 32) }, "", FORECAST_CONVERGES, { 40000, 90000 }, { 300, 600 }, { 10, 5000 } },
        { "and fewer of them: they fit into the blackout", { GUEST, LINK(100), WRITES(2, 2) }, "", FORECAST_CONVERGES, { 1500, 3000 }, { 85, 200 }, { 1, 4 } },
        { "the same few pages do not fit into the blackout", { GUEST, LINK(100), WRITES(64, 64) }, "", FORECAST_ABORTS, { 300000, 302000 }, { 600, 1500 }, ANY },
        { "but into a longer one", { GUEST, LINK(100), WRITES(64, 64) }, "max_downtime=2000", FORECAST_CONVERGES, { 30000, 90000 }, { 600, 1500 }, ANY },
        { "and at once without a ramp", { GUEST, LINK(100), WRITES(64, 64) }, "max_downtime=2000 downtime_start=0", FORECAST_CONVERGES, { 800, 4000 }, { 600, 2300 }, { 1, 3 } },
        { "the hypervisor's own blackout", { GUEST, LINK(100), WRITES(25, 25) }, "max_downtime=0 downtime_start=0", FORECAST_CONVERGES, { 800, 5000 }, { 250, 700 }, { 1, 60 } },
        { "a time limit of its own", { GUEST, LINK(30), WRITES(45, 90) }, "completion_timeout=20000", FORECAST_ABORTS, { 20000, 22000 }, ANY, ANY },
        { "forced by it", { GUEST, LINK(30), WRITES(45, 90) }, "completion_timeout=20000 timeout_action=force-complete", FORECAST_PAUSES, { 22000, 27000 }, { 2000, 5000 }, ANY },
        { "forced, and stands too long", { GUEST, LINK(30), WRITES(45, 90) }, "completion_timeout=20000 timeout_action=force-complete pause_timeout=1000", FORECAST_ABORTS, { 22000, 27000 }, { 2000, 5000 }, ANY },
        { "to post-copy", { GUEST, LINK(30), WRITES(45, 90) }, "completion_timeout=20000 timeout_action=force-complete handover=fast post_copy=true", FORECAST_POST_COPY, { 20000, 27000 }, { 50, 200 }, ANY },
        { "post-copy, but the limit aborts", { GUEST, LINK(30), WRITES(45, 90) }, "completion_timeout=20000 handover=fast post_copy=true", FORECAST_ABORTS, { 20000, 22000 }, ANY, ANY },
        { "no limit", { GUEST, LINK(30), WRITES(45, 90) }, "timeout_per_gib=0", FORECAST_ENDLESS, { 0, 0 }, { 2000, 5000 }, ANY },
        { "a stall that aborts, without a limit", { GUEST, LINK(30), WRITES(45, 90) }, "timeout_per_gib=0 stall_action=abort", FORECAST_ABORTS, { 80000, 200000 }, ANY, ANY },
        { "a stall that is forced", { GUEST, LINK(30), WRITES(45, 90) }, "stall_action=force-complete", FORECAST_PAUSES, { 80000, 200000 }, { 2000, 5000 }, ANY },
        { "slowed down until it fits", { GUEST, LINK(30), WRITES(45, 90) }, "auto_converge=true", FORECAST_CONVERGES, { 10000, 150000 }, { 85, 900 }, ANY },
        { "bandwidth is the link", { GUEST, LINK(1000), WRITES(45, 90) }, "bandwidth=31457280", FORECAST_ABORTS, { 300000, 302000 }, ANY, ANY },
        { "which does not hold in the blackout", { GUEST, LINK(1000), WRITES(0, 0) }, "bandwidth=10485760", FORECAST_CONVERGES, { 9000, 12000 }, { 85, 95 }, { 1, 1 } },
        { "disks go first", { GUEST, LINK(100), WRITES(0, 0), .disks = 10 * GIB, .disks_size = 20 * GIB, .largest_disk = 20 * GIB }, "", FORECAST_CONVERGES, { 102000, 106000 }, { 85, 200 }, { 1, 1 } },
        { "with bandwidth disks take longer", { GUEST, LINK(100), WRITES(0, 0), .disks = GIB, .disks_size = 4 * GIB, .largest_disk = 4 * GIB }, "bandwidth=52428800", FORECAST_CONVERGES, { 20500, 24000 }, ANY, ANY },
        { "holes take no time", { GUEST, LINK(100), WRITES(0, 0), .disks = MIB, .disks_size = 4 * GIB, .largest_disk = 4 * GIB }, "bandwidth=104857600", FORECAST_CONVERGES, { 100, 4000 }, ANY, ANY },
        { "but by libvirt's transport as long as data", { GUEST, LINK(100), WRITES(0, 0), .disks = MIB, .disks_size = 4 * GIB, .largest_disk = 4 * GIB }, "bandwidth=104857600 transport=libvirt+tls://h2", FORECAST_CONVERGES, { 41000, 44000 }, ANY, ANY },
        { "disks use up the time limit", { GUEST, LINK(1), WRITES(2, 4), .disks = 100 * MIB, .disks_size = 100 * MIB, .largest_disk = 100 * MIB }, "completion_timeout=50000", FORECAST_ABORTS, { 50800, 50800 }, ANY, { 0, 0 } },
        { "the first pass alone takes longer", { GUEST, LINK(4), WRITES(0, 0) }, "completion_timeout=20000", FORECAST_ABORTS, { 20800, 20800 }, ANY, { 1, 1 } },
        { "layers and a slow start over there", { GUEST, LINK(100), WRITES(0, 0), .layers = GIB, .connect_ms = 3000 }, "", FORECAST_CONVERGES, { 14000, 17000 }, ANY, ANY },
        { "it writes on for a second, and to the same pages in the next", { GUEST, LINK(20), .looks = { { 100, 3 * MIB }, { 1000, 30 * MIB }, { 3000, 48 * MIB } } }, "completion_timeout=20000 timeout_action=force-complete", FORECAST_PAUSES, { 22000, 24500 }, { 2000, 3000 }, ANY },
        { "without that look, to all of its memory", { GUEST, LINK(20), .looks = { { 100, 3 * MIB }, { 1000, 30 * MIB } } }, "completion_timeout=20000 timeout_action=force-complete", FORECAST_PAUSES, { 22000, 27000 }, { 4000, 5500 }, ANY },
        { "one look only: linear", { GUEST, LINK(30), .looks = { { 1000, 10 * MIB } } }, "", FORECAST_CONVERGES, { 4000, 8000 }, ANY, ANY },
        { "the longer look sees less: no pages but those", { GUEST, LINK(100), WRITES(4, 2) }, "", FORECAST_CONVERGES, ANY, { 85, 250 }, ANY },
        { "no memory at all", { LINK(100), WRITES(10, 20) }, "", FORECAST_CONVERGES, { 800, 1500 }, { 85, 150 }, { 1, 1 } },
        { "a link of one byte a second", { GUEST, .link = 1, WRITES(0, 0) }, "timeout_per_gib=0", FORECAST_CONVERGES, { 100 * MIB, MANY }, ANY, ANY },
        { "everything is huge", { .memory = MANY, .used = MANY, .disks = MANY, .disks_size = MANY, .largest_disk = MANY, .layers = MANY, .link = MANY, .connect_ms = MANY, .looks = { { MANY, MANY }, { MANY, MANY } } }, "timeout_per_gib=0", FORECAST_CONVERGES, { MANY, MANY }, ANY, ANY },
        { "huge, and a link of one byte", { .memory = MANY, .used = MANY, .disks = MANY, .layers = MANY, .link = 1, .looks = { { 1, MANY }, { 2, MANY } } }, "timeout_per_gib=0", FORECAST_ENDLESS, { 0, 0 }, { MANY, MANY }, ANY },
};
/* clang-format on */

static void set_options(MigrationOptions *o, const char *text) {
        char copy[200], *save = NULL;
        Error e = ERROR_INIT;

        migration_options_init(o);
        (void)snprintf(copy, sizeof(copy), "%s", text);
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                char *equals = strchr(w, '=');

                assert_non_null(equals);
                *equals = '\0';
                if (migration_options_set(o, w, equals + 1, &e) < 0)
                        fail_msg("%s", e.text);
        }
        if (migration_options_check(o, &e) < 0)
                fail_msg("%s", e.text);
}

static void between(const char *what, uint64_t value, const uint64_t *range) {
        if (value < range[0] || value > range[1])
                fail_msg("%s is %llu, not from %llu to %llu", what, (unsigned long long)value,
                         (unsigned long long)range[0], (unsigned long long)range[1]);
}

static void test_row(void **state) {
        const Row *row = *state;
        MigrationOptions o;
        Forecast f, again;

        set_options(&o, row->options);
        assert_int_equal(migration_forecast(&row->load, &o, &f, NULL), 0);
        if (f.outcome != row->outcome)
                fail_msg("it %s (%llu ms, %llu ms, %u passes)", forecast_outcome_name(f.outcome),
                         (unsigned long long)f.total_ms, (unsigned long long)f.downtime_ms,
                         f.passes);
        between("the total time", f.total_ms, row->total);
        between("the blackout", f.downtime_ms, row->downtime);
        between("the number of passes", f.passes, row->passes);
        assert_int_equal(migration_forecast(&row->load, &o, &again, NULL), 0);
        assert_memory_equal(&f, &again, sizeof(f));
}

static void test_unknown(void **state) {
        ForecastLoad l = { GUEST, WRITES(1, 2) };
        Error e = ERROR_INIT;
        MigrationOptions o;
        Forecast f;

        migration_options_init(&o);
        assert_int_equal(migration_forecast(&l, &o, &f, &e), -ENODATA);
        assert_non_null(strstr(e.text, "link"));
        l.link = MIB;
        l.looks[0].ms = 0;
        assert_int_equal(migration_forecast(&l, &o, &f, &e), -ENODATA);
        assert_non_null(strstr(e.text, "writes"));
}

/* A pod that writes more takes longer, and so does a slower link: as long as it converges. */
static void test_monotonous(void **state) {
        MigrationOptions o;

        migration_options_init(&o);
        for (uint64_t link = 20; link <= 300; link += 40) {
                uint64_t before = 0;

                for (uint64_t mib = 0; mib < link / 2; mib += 5) {
                        const ForecastLoad l = { GUEST, LINK(link), WRITES(mib, 2 * mib) };
                        Forecast f;

                        assert_int_equal(migration_forecast(&l, &o, &f, NULL), 0);
                        assert_int_equal(f.outcome, FORECAST_CONVERGES);
                        if (f.total_ms + 60 < before)
                                fail_msg("link %llu, writes %llu: %llu ms after %llu ms",
                                         (unsigned long long)link, (unsigned long long)mib,
                                         (unsigned long long)f.total_ms,
                                         (unsigned long long)before);
                        before = f.total_ms;
                }
        }
}

/* Whatever hosts say, there is an answer, and soon. */
static void test_any_numbers(void **state) {
        static const uint64_t some[] = { 0, 1, 1000, 50 * MIB, GIB, 1ULL << 40, MANY / 2, MANY };
        static const char *const options[] = { "",
                                               "auto_converge=true",
                                               "timeout_per_gib=0",
                                               "max_downtime=2000000",
                                               "stall_action=force-complete",
                                               "bandwidth=1048576 auto_converge=true" };
        uint64_t n = 0;

        for (size_t k = 0; k < ELEMENTSOF(options); k++)
                for (size_t i = 0; i < 8 * 8 * 8 * 8; i++) {
                        const ForecastLoad l = {
                                .memory = some[i % 8],
                                .used = some[i / 8 % 8],
                                .link = some[1 + i / 64 % 7],
                                .disks = some[i % 8],
                                .looks = { { 1000, some[i / 512 % 8] },
                                           { 2000, some[(i / 512 + k) % 8] } },
                        };
                        MigrationOptions o;
                        Forecast f;

                        set_options(&o, options[k]);
                        assert_int_equal(migration_forecast(&l, &o, &f, NULL), 0);
                        assert_true(f.outcome < _FORECAST_OUTCOME_MAX);
                        n += f.passes;
                }
        assert_true(n > 0);
}

static void test_names(void **state) {
        for (int i = 0; i < _FORECAST_OUTCOME_MAX; i++)
                for (int k = 0; k < i; k++)
                        assert_string_not_equal(forecast_outcome_name(i), forecast_outcome_name(k));
        assert_string_equal(forecast_outcome_name(_FORECAST_OUTCOME_MAX), "?");
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 4] = {
                { .name = "F16 without a link or a look there is none", .test_func = test_unknown },
                { .name = "F16 more to do takes longer", .test_func = test_monotonous },
                { .name = "F16 any numbers", .test_func = test_any_numbers },
                { .name = "F16 names", .test_func = test_names },
        };
        static char names[ELEMENTSOF(rows)][96];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                (void)snprintf(names[i], sizeof(names[i]), "F16 %s", rows[i].name);
                tests[4 + i] = (struct CMUnitTest){ .name = names[i],
                                                    .test_func = test_row,
                                                    .initial_state = (void *)(uintptr_t)&rows[i] };
        }
        return cmocka_run_group_tests_name("forecast", tests, NULL, NULL);
}
