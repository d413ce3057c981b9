/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* So many bytes a second at most: a bucket that fills with time, up to a burst. */
typedef struct Pace {
        uint64_t rate; /* bytes a second; 0: no limit */
        uint64_t room; /* bytes that may be taken now */
        uint64_t part; /* of a byte more: millionths */
        uint64_t at_us;
} Pace;

/* From now on; the bucket is empty. now_us: clock_us(), here and below. */
void pace_set(Pace *p, uint64_t rate, uint64_t now_us);
/* How many bytes may be taken now, at most `max`. 0: too few to be worth it. */
size_t pace_room(Pace *p, size_t max, uint64_t now_us);
void pace_took(Pace *p, size_t n);
/* After pace_room() was 0: when to ask again, in microseconds from its time on. */
uint64_t pace_wait_us(const Pace *p);
