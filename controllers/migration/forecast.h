/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/options.h"

/* What would become of a live move, before it is begun: pass by pass over memory, as QEMU copies
 * it, by the rules of converge.h. A pure function of what was measured and of the options;
 * docs/check.md says how good it is, and what it does not see. */

/* How much a pod writes, looked at for a short time and, where ms is not 0, for longer ones that
 * began with it: distinct bytes, since a page that is written to twice in a pass goes over once.
 * More than one look tells a pod that writes everywhere from one that writes to the same pages
 * again and again, as fast as one likes. */
typedef struct ForecastLook {
        uint64_t ms, bytes;
} ForecastLook;

typedef struct ForecastLoad {
        uint64_t memory; /* of the guest, bytes */
        uint64_t used;   /* of these: the rest has never been touched, and goes as zeroes */
        uint64_t disks;  /* bytes with data in them, of disks that are copied */
        uint64_t disks_size, largest_disk; /* all of it; that of the largest one */
        uint64_t layers;                   /* bytes of image layers that are sent first */
        uint64_t link;                     /* bytes a second between the hosts */
        uint64_t connect_ms;               /* to start something on the other host */
        uint64_t grain;                    /* bytes that one page that was looked at stands for */
        ForecastLook looks[3];
} ForecastLoad;

typedef enum ForecastOutcome {
        FORECAST_CONVERGES,
        FORECAST_ABORTS,    /* the time limit, the stall or pause_timeout ends it */
        FORECAST_PAUSES,    /* it is forced: the pod stands for longer than was allowed */
        FORECAST_POST_COPY, /* it is forced: the pod goes on over there with what there is */
        FORECAST_ENDLESS,   /* and no rule ends it */
        _FORECAST_OUTCOME_MAX,
} ForecastOutcome;

const char *forecast_outcome_name(ForecastOutcome o); /* "converges", "aborts", ... */

typedef struct Forecast {
        ForecastOutcome outcome;
        uint64_t total_ms;    /* of the whole command; of one that aborts: until then; ENDLESS: 0 */
        uint64_t downtime_ms; /* the blackout; of one that does not converge: which it would take */
        uint32_t passes;      /* over memory */
        uint32_t throttle;    /* auto-converge: %, at the end */
        uint64_t rate;        /* bytes a second, of memory */
        uint64_t writes;      /* bytes that the pod writes within a second */
} Forecast;

/* 0, or -ENODATA with what is missing: a link or a look of no length. Any other numbers give a
 * forecast, however large they are: what does not fit is UINT64_MAX. */
int migration_forecast(const ForecastLoad *load, const MigrationOptions *o, Forecast *ret,
                       Error *reterr);
