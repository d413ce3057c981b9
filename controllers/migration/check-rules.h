/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <string.h>

#include "controllers/migration/check.h"

/* Shared by check.c, check-rules.c and check-disks.c only. */
typedef struct CheckRule CheckRule;

typedef struct CheckInput {
        const CheckFacts *source, *destination; /* NULL: not known yet */
        const CheckWishes *wishes;
        const CheckRule *rule; /* the one that is asked */
        CheckReport *report;
} CheckInput;

struct CheckRule {
        const char *code; /* API: scripts go by it */
        const char *row;  /* of docs/features.md */
        CheckSeverity severity;
        bool overridable; /* by --unsafe */
        unsigned needs;   /* CHECK_NEEDS_...: without these facts it is unknown */
        CheckVerdict (*ask)(const CheckInput *in);
        const char *mend;
};

enum {
        CHECK_NEEDS_SOURCE = 1U << 0,
        CHECK_NEEDS_DESTINATION = 1U << 1,
        CHECK_NEEDS_BOTH = CHECK_NEEDS_SOURCE | CHECK_NEEDS_DESTINATION,
};

extern const CheckRule check_rules[];
extern const size_t check_rules_n;

/* Adds a finding of in->rule about this host; CHECK_RULE_FIRES. */
CheckVerdict check_found(const CheckInput *in, const CheckFacts *host, const char *fmt, ...)
        _printf_(3, 4);

#define UNKNOWN(n) ((n) == CHECK_NUMBER_UNKNOWN)
#define MIB(bytes) ((unsigned long long)(((bytes) + 1048575U) >> 20))
#define ULL(n)     ((unsigned long long)(n))

static inline bool is(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* check-forecast.c */
void check_forecast_make(CheckInput *in); /* before any rule is asked */
CheckVerdict check_forecast_converges(const CheckInput *in);
CheckVerdict check_forecast_aborts(const CheckInput *in);
CheckVerdict check_forecast_pauses(const CheckInput *in);
CheckVerdict check_forecast_post_copy(const CheckInput *in);
CheckVerdict check_forecast_endless(const CheckInput *in);
CheckVerdict check_forecast_fails(const CheckInput *in);
json_object *check_forecast_json(const CheckForecast *f); /* NULL: out of memory */

/* check-disks.c */
CheckVerdict check_space_allocated(const CheckInput *in);
CheckVerdict check_space_virtual(const CheckInput *in);
CheckVerdict check_space_virtual_blocks(const CheckInput *in);
CheckVerdict check_storage_options(const CheckInput *in);
CheckVerdict check_shared(const CheckInput *in);
CheckVerdict check_onto_itself(const CheckInput *in);
CheckVerdict check_in_the_way(const CheckInput *in);
CheckVerdict check_missing(const CheckInput *in);
CheckVerdict check_cache(const CheckInput *in);
CheckVerdict check_layers(const CheckInput *in);
CheckVerdict check_layers_space(const CheckInput *in);
