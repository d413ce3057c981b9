/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/pace.h"

#include "lib/cleanup.h"

#define BURST_PART 20U           /* of a second, that may be taken at once */
#define BURST_MIN  (64ULL << 10) /* of bytes */
#define SIP        (16ULL << 10) /* less than this is not worth a wake-up */
#define US_PER_S   1000000ULL

static uint64_t burst_of(const Pace *p) {
        return MAX_OF(p->rate / BURST_PART, BURST_MIN);
}

static void fill(Pace *p, uint64_t now_us) {
        uint64_t gone = now_us - p->at_us, most = burst_of(p), millionths;

        p->at_us = now_us;
        if (gone / US_PER_S > most / p->rate) { /* full, and no overflow below */
                p->room = most;
                p->part = 0;
                return;
        }
        millionths = gone * p->rate + p->part;
        p->part = millionths % US_PER_S;
        p->room = MIN_OF(p->room + millionths / US_PER_S, most);
}

void pace_set(Pace *p, uint64_t rate, uint64_t now_us) {
        /* A second of it is counted in microseconds and bytes: beyond this it would overflow, and
         * nothing is that fast. */
        *p = (Pace){ .rate = rate >= UINT64_MAX / US_PER_S ? 0 : rate, .at_us = now_us };
}

size_t pace_room(Pace *p, size_t max, uint64_t now_us) {
        if (p->rate == 0)
                return max;
        fill(p, now_us);
        return p->room < SIP ? 0 : (size_t)MIN_OF((uint64_t)max, p->room);
}

void pace_took(Pace *p, size_t n) {
        if (p->rate > 0)
                p->room -= MIN_OF((uint64_t)n, p->room);
}

uint64_t pace_wait_us(const Pace *p) {
        return p->rate > 0 ? (SIP - MIN_OF(p->room, SIP - 1)) * US_PER_S / p->rate + 1 : 0;
}
