/* SPDX-License-Identifier: Apache-2.0 */
/* A pace: never more than its rate allows, and all of that, whenever it is asked.
 * rows: F34 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/pace.h"

#define S 1000000ULL /* a second, in the clock's microseconds */

/* What is taken in so many seconds by one who wants all that there is, and waits as he is told. */
static uint64_t take_all(uint64_t rate, uint64_t seconds, size_t at_once) {
        uint64_t now = 77 * S, end = now + seconds * S, taken = 0;
        Pace p;

        pace_set(&p, rate, now);
        while (now < end) {
                size_t n = pace_room(&p, at_once, now);

                assert_true(n <= at_once);
                if (n == 0)
                        now += pace_wait_us(&p);
                pace_took(&p, n);
                taken += n;
        }
        return taken;
}

static void test_rate(void **state) {
        static const uint64_t rates[] = {
                1, 10000, 20000, 1 << 20, 1234567, 100 << 20, 10ULL << 30
        };

        for (size_t i = 0; i < ELEMENTSOF(rates); i++) {
                uint64_t burst = MAX_OF(rates[i] / 20, 64ULL << 10);
                uint64_t taken = take_all(rates[i], 10, 128 << 10);

                if (taken > 10 * rates[i] + burst || taken + burst < 10 * rates[i])
                        fail_msg("%llu bytes in 10 s, %llu a second", (unsigned long long)taken,
                                 (unsigned long long)rates[i]);
        }
}

static void test_burst(void **state) {
        uint64_t now = 500 * S;
        Pace p;

        pace_set(&p, 1 << 20, 5 * S);
        assert_int_equal(pace_room(&p, 4096, 5 * S), 0);           /* it begins empty */
        assert_int_equal(pace_room(&p, SIZE_MAX, 5 * S + 100), 0); /* too little */
        assert_int_equal(pace_room(&p, SIZE_MAX, now), 64 << 10);  /* not all that time */
        pace_took(&p, 60 << 10);
        assert_int_equal(pace_room(&p, SIZE_MAX, now), 0);
        assert_true(pace_wait_us(&p) > 0 && pace_wait_us(&p) < S);
        now += pace_wait_us(&p);
        assert_int_equal(pace_room(&p, 100, now), 100);
        pace_took(&p, 1 << 20); /* more than there was: no debt, no overflow */
        assert_int_equal(pace_room(&p, 100, now), 0);
}

/* Looking often loses nothing: what is less than a byte stays in the clock. */
static void test_often(void **state) {
        uint64_t now = S;
        Pace p;

        pace_set(&p, 100000, now);
        for (unsigned i = 0; i < 400000; i++) /* 0.4 s */
                (void)pace_room(&p, 1, ++now);
        assert_true(pace_room(&p, SIZE_MAX, now) >= 39999);
}

static void test_none(void **state) {
        static const uint64_t rates[] = { 0, UINT64_MAX };

        for (size_t i = 0; i < ELEMENTSOF(rates); i++) {
                Pace p;

                pace_set(&p, rates[i], 0);
                assert_int_equal(pace_room(&p, 1 << 30, 0), 1 << 30);
                pace_took(&p, 1 << 30);
                assert_int_equal(pace_wait_us(&p), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rate),
                cmocka_unit_test(test_burst),
                cmocka_unit_test(test_often),
                cmocka_unit_test(test_none),
        };

        return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
