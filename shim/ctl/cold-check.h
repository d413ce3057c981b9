/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

/* What may be in the way of a cold move. There is no second set of rules: the steps of the move are
 * run as far as they only look, and where the move would end, a check notes why and goes on. */
typedef struct ColdRule {
        const char *code; /* API, as those of controllers/migration/check.h */
        const char *row;  /* of docs/features.md */
        const char *severity, *mend;
        bool there; /* of the destination: not known until that has answered */
} ColdRule;

extern const ColdRule cold_rules[];
extern const size_t cold_rules_n;
const ColdRule *cold_rule(const char *code); /* NULL: another version knows it */

/* At the destination: {"code", "text"} into list. -ENOMEM. */
int cold_note(json_object *list, const char *code, const char *text);
/* At the source: a finding as a live check's report has it. What the text says is of another host,
 * perhaps: it is cleaned. -ENOMEM. */
int cold_finding(json_object *report, const char *code, bool there, const char *host,
                 const char *text);
/* Once all findings are in it: "ok", which rules found nothing, and which could not be asked. */
int cold_report_end(json_object *report, bool answered);
