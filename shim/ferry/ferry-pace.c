/* SPDX-License-Identifier: Apache-2.0 */
/* A kind of connections that takes so many bytes a second at most, and a timer that wakes the
 * thread when there is something in a bucket that was empty. */
#include <sys/timerfd.h>

#include "lib/clock.h"
#include "shim/ferry/ferry-internal.h"

#define US_PER_S 1000000ULL

void ferry_set_pace(Ferry *f, FerryKind kind, uint64_t rate) {
        pace_set(&f->paces[kind], rate, clock_us());
}

size_t ferry_pace_room(Ferry *f, FerryKind kind, size_t max) {
        Pace *p = &f->paces[kind];
        size_t room = pace_room(p, max, clock_us());

        if (room == 0 && max > 0) {
                uint64_t us = pace_wait_us(p);
                struct itimerspec once = { .it_value = { .tv_sec = (time_t)(us / US_PER_S),
                                                         .tv_nsec =
                                                                 (long)(us % US_PER_S * 1000U) } };

                (void)timerfd_settime(f->pacer.fd, 0, &once, NULL);
        }
        return room;
}

void ferry_pace_took(Ferry *f, FerryKind kind, size_t n) {
        pace_took(&f->paces[kind], n);
}

void ferry_pacer_read(Ferry *f) {
        uint64_t expirations;

        if (!f->pacer.ready)
                return;
        f->pacer.ready = 0;
        if (read(f->pacer.fd, &expirations, sizeof(expirations)) < 0)
                return; /* set anew meanwhile */
}
