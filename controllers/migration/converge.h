/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/options.h"

/* When a busy pod is to go over, and when it will not: pure functions of options and figures, so
 * that recorded series are their tests. docs/policies.md says why each is as it is. */

/* The blackout to allow at first, in ms; 0: the hypervisor's own. Held: next to nothing. */
uint64_t migration_downtime_first(const MigrationOptions *o, bool held);
/* The blackout to allow from now on, when a new iteration of memory begins; the same: no step.
 * since_ms: since the last step. A tenth of the ceiling at a time. */
uint64_t migration_downtime_next(const MigrationOptions *o, uint64_t now_ms, uint32_t iteration,
                                 uint64_t since_ms);
/* What completes whatever is left, as far as the hypervisor allows. */
#define MIGRATION_DOWNTIME_ANY  2000000U
#define MIGRATION_DOWNTIME_HELD 1U

/* Time for the whole transfer, in ms; 0: no limit. What is said absolutely counts alone. */
uint64_t migration_time_limit(const MigrationOptions *o, uint64_t guest_mib, uint64_t disk_bytes);

/* Does the rest get less? What is left falls in each iteration and jumps up with the next one, and
 * how far it falls says nothing: QEMU begins a new one when it is small enough. So what counts is
 * what is left when an iteration begins: all that the guest wrote during the one before, plus what
 * is left of the disks. It converges if the least of that, within the window, is 4 % below the
 * least before it. */
#define MIGRATION_STALL_SAMPLES 64U
typedef struct MigrationStall {
        struct {
                uint64_t at_ms, left;
        } in[MIGRATION_STALL_SAMPLES]; /* within the window, oldest first */
        uint32_t n;
        uint64_t best; /* before it; 0: nothing was */
        bool stalled;
        uint64_t since_ms; /* stalled: since when */
} MigrationStall;

typedef enum MigrationStallVerdict {
        MIGRATION_STALL_NO,
        MIGRATION_STALL_BEGINS,  /* tell people */
        MIGRATION_STALL_LASTS,   /* no good moment to act */
        MIGRATION_STALL_ACT_NOW, /* what is left is about as little as it ever was, or it is too
                                    long ago that it was */
} MigrationStallVerdict;

/* One sample at the beginning of an iteration. window_ms = 0: NO. */
MigrationStallVerdict migration_stall_sample(MigrationStall *s, uint64_t window_ms, uint64_t at_ms,
                                             uint64_t left);
