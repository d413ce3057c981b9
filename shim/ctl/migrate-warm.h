/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/migrate-cold.h"
#include "shim/ctl/warm-stream.h"

/* A warm move: a cold one, before which the disks are copied while the pod still runs, in passes
 * that send what was written since. The pass of the cold move's own step "copy" is then the last
 * one: over disks at rest, and it alone decides what is in them over there.
 *
 *      migrate-warm.c        the table of steps
 *      migrate-warm-pass.c   the passes, and when there are enough of them */
struct Warm {
        unsigned passes_max;
        bool hold;     /* until it is told */
        uint64_t at;   /* or until then: seconds since 1970; 0: not given */
        bool told;     /* podferry migration cutover */
        WarmPass pass; /* the present one */
        WarmTables *tables;
        unsigned passes; /* while the pod ran */
        uint64_t ahead;  /* bytes that were sent in them */
};

extern const Itinerary itinerary_warm;

ColdStep warm_look, warm_ahead;
/* Of a live move's options: has a warm one it too? */
bool warm_has_option(const Mover *m, const char *name);
Warm *warm_free(Warm *w);
/* Was something copied ahead? Then warm_send_disk() sends the rest, of each disk in their order. */
bool warm_has_begun(const Cold *c);
void warm_begin_pass(Mover *m, bool moving);
int warm_send_disk(Mover *m, const ColdDisk *d, uint64_t which, Error *reterr);

/* After a pass: is it worth another one? */
typedef struct WarmFacts {
        unsigned passes, passes_max;
        uint64_t sent, before; /* bytes in this pass, and in the one before it */
        bool held;             /* it must not go over yet */
        bool due;              /* it must */
} WarmFacts;

#define WARM_PASSES_DEFAULT 8U
#define WARM_PASSES_MAX     1000U
#define WARM_LITTLE         (16U << 20) /* bytes that take no time to speak of */

bool warm_is_enough(const WarmFacts *f);
