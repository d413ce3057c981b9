/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/migration/converge.h"

#include <string.h>

#include "lib/cleanup.h"

#define STEPS       10U
#define MIB_PER_GIB 1024U
#define GIB         (1ULL << 30)

uint64_t migration_downtime_first(const MigrationOptions *o, bool held) {
        if (held)
                return MIGRATION_DOWNTIME_HELD;
        if (o->max_downtime_ms == 0 || o->downtime_start_ms == 0)
                return o->max_downtime_ms;
        return MIN_OF(o->downtime_start_ms, o->max_downtime_ms);
}

uint64_t migration_downtime_next(const MigrationOptions *o, uint64_t now_ms, uint32_t iteration,
                                 uint64_t since_ms) {
        uint64_t step = MAX_OF(o->max_downtime_ms / STEPS, (uint64_t)1);

        if (o->max_downtime_ms == 0 || now_ms >= o->max_downtime_ms ||
            iteration < o->downtime_iteration || since_ms < o->downtime_cooldown_ms)
                return now_ms;
        return MIN_OF(now_ms + step, o->max_downtime_ms);
}

uint64_t migration_time_limit(const MigrationOptions *o, uint64_t guest_mib, uint64_t disk_bytes) {
        uint64_t gib = guest_mib / MIB_PER_GIB + (guest_mib % MIB_PER_GIB > 0);

        if (o->timeout_ms > 0)
                return o->timeout_ms;
        gib += disk_bytes / GIB + (disk_bytes % GIB > 0);
        if (o->timeout_per_gib_ms > 0 && gib > UINT64_MAX / 2 / o->timeout_per_gib_ms)
                return 0; /* longer than anybody waits */
        return gib * o->timeout_per_gib_ms;
}

/* At least 4 % less. Both fit: no memory is that large. */
static bool is_less(uint64_t left, uint64_t best) {
        return left <= best - best / 25;
}

static void leave_window(MigrationStall *s, uint32_t n) {
        for (uint32_t i = 0; i < n; i++)
                if (s->best == 0 || s->in[i].left < s->best)
                        s->best = MAX_OF(s->in[i].left, (uint64_t)1);
        s->n -= n;
        memmove(s->in, s->in + n, s->n * sizeof(s->in[0]));
}

static uint64_t least(const MigrationStall *s) {
        uint64_t min = UINT64_MAX;

        for (uint32_t i = 0; i < s->n; i++)
                min = MIN_OF(min, s->in[i].left);
        return min;
}

MigrationStallVerdict migration_stall_sample(MigrationStall *s, uint64_t window_ms, uint64_t at_ms,
                                             uint64_t left) {
        uint32_t old = 0;

        if (window_ms == 0)
                return MIGRATION_STALL_NO;
        while (old < s->n && s->in[old].at_ms + window_ms < at_ms)
                old++;
        leave_window(s, old);
        /* Short iterations are taken together, so that there are never too many. */
        if (s->n > 0 &&
            at_ms - s->in[s->n - 1].at_ms <= window_ms / (MIGRATION_STALL_SAMPLES / 2)) {
                s->in[s->n - 1].left = MIN_OF(s->in[s->n - 1].left, left);
        } else if (s->n < MIGRATION_STALL_SAMPLES) {
                s->in[s->n].at_ms = at_ms;
                s->in[s->n++].left = left;
        }
        if (s->best == 0 || is_less(least(s), s->best)) {
                s->stalled = false;
                return MIGRATION_STALL_NO;
        }
        if (!s->stalled) {
                s->stalled = true;
                s->since_ms = at_ms;
                return MIGRATION_STALL_BEGINS;
        }
        return left <= s->best + s->best / 25 || at_ms - s->since_ms >= window_ms
                       ? MIGRATION_STALL_ACT_NOW
                       : MIGRATION_STALL_LASTS;
}
