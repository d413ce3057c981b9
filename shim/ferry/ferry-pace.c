/* SPDX-License-Identifier: Apache-2.0 */
/* A kind of connections that takes so many bytes a second at most: a bucket that fills with time,
 * and a timer that wakes the thread when there is something in one that was empty. */
#include <sys/timerfd.h>

#include "lib/clock.h"
#include "shim/ferry/ferry-internal.h"

#define BURST_PART 20U           /* of a second, that may be taken at once */
#define BURST_MIN  (64ULL << 10) /* of bytes */
#define SIP        (16ULL << 10) /* less than this is not worth a wake-up */
#define US_PER_S   1000000ULL

static uint64_t burst_of(const Pace *p) {
        return MAX_OF(p->rate / BURST_PART, BURST_MIN);
}

/* Time that is worth less than a byte is not lost: the clock moves on by what was given. */
static void fill(Pace *p, uint64_t now_us) {
        uint64_t gone = now_us - p->at_us, most = burst_of(p), more;

        if (gone >= US_PER_S) { /* more than any burst, and no overflow below */
                p->room = most;
                p->at_us = now_us;
                return;
        }
        more = gone * p->rate / US_PER_S;
        if (more == 0)
                return;
        p->at_us += more * US_PER_S / p->rate;
        p->room = MIN_OF(p->room + more, most);
}

void ferry_set_pace(Ferry *f, FerryKind kind, uint64_t rate) {
        /* A second of it is counted in microseconds and bytes: beyond this it would overflow, and
         * nothing is that fast. */
        f->paces[kind] =
                (Pace){ .rate = rate > UINT64_MAX / US_PER_S ? 0 : rate, .at_us = clock_us() };
}

static void wake_later(Ferry *f, const Pace *p) {
        uint64_t us = (SIP - MIN_OF(p->room, SIP - 1)) * US_PER_S / p->rate + 1;
        struct itimerspec once = { .it_value = { .tv_sec = (time_t)(us / US_PER_S),
                                                 .tv_nsec = (long)(us % US_PER_S * 1000U) } };

        (void)timerfd_settime(f->pacer.fd, 0, &once, NULL);
}

size_t ferry_pace_room(Ferry *f, FerryKind kind, size_t max) {
        Pace *p = &f->paces[kind];

        if (p->rate == 0)
                return max;
        fill(p, clock_us());
        if (p->room < SIP) {
                wake_later(f, p);
                return 0;
        }
        return (size_t)MIN_OF((uint64_t)max, p->room);
}

void ferry_pace_took(Ferry *f, FerryKind kind, size_t n) {
        Pace *p = &f->paces[kind];

        if (p->rate > 0)
                p->room -= MIN_OF((uint64_t)n, p->room);
}

void ferry_pacer_read(Ferry *f) {
        uint64_t expirations;

        if (!f->pacer.ready)
                return;
        f->pacer.ready = 0;
        if (read(f->pacer.fd, &expirations, sizeof(expirations)) < 0)
                return; /* set anew meanwhile */
}
