/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <time.h>

/* Times as one number. A clock that the kernel does not know is our own mistake: none can fail that
 * is asked for here. */
static inline uint64_t clock_ns(clockid_t which) {
        struct timespec t = {};

        (void)clock_gettime(which, &t);
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Monotonic: for deadlines and differences. */
static inline uint64_t clock_us(void) {
        return clock_ns(CLOCK_MONOTONIC) / 1000U;
}

static inline uint64_t clock_ms(void) {
        return clock_ns(CLOCK_MONOTONIC) / 1000000U;
}
