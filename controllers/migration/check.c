/* SPDX-License-Identifier: Apache-2.0 */
/* Asks every rule, and puts what they found into one report. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controllers/migration/check-rules.h"

const char *check_severity_name(CheckSeverity s) {
        static const char *const names[] = { "advises", "warns", "blocks" };

        return s < _CHECK_SEVERITY_MAX ? names[s] : "?";
}

size_t check_n_rules(void) {
        return check_rules_n;
}

const char *check_rule_code(size_t i) {
        return check_rules[i].code;
}

CheckVerdict check_found(const CheckInput *in, const CheckFacts *host, const char *fmt, ...) {
        CheckReport *report = in->report;
        CheckFinding *f;
        va_list ap;

        if (report->n_findings == CHECK_FINDINGS_MAX) {
                report->more = true;
                return CHECK_RULE_FIRES;
        }
        f = &report->findings[report->n_findings++];
        *f = (CheckFinding){ .code = in->rule->code,
                             .row = in->rule->row,
                             .mend = in->rule->mend,
                             .severity = in->rule->severity };
        if (in->rule->overridable && in->wishes->unsafe && f->severity == CHECK_BLOCKS) {
                f->severity = CHECK_WARNS;
                f->overridden = true;
        }
        f->side = host == in->source ? "source" : "destination";
        (void)snprintf(f->host, sizeof(f->host), "%s", host->host);
        va_start(ap, fmt);
        (void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
        text_clean(f->host);
        text_clean(f->text);
        return CHECK_RULE_FIRES;
}

/* Those that block first, else in the order of the rules: stable, and few. */
static void sort(CheckReport *r) {
        for (size_t i = 1; i < r->n_findings; i++) {
                CheckFinding f = r->findings[i];
                size_t k = i;

                for (; k > 0 && r->findings[k - 1].severity < f.severity; k--)
                        r->findings[k] = r->findings[k - 1];
                r->findings[k] = f;
        }
}

int check_decide(const CheckFacts *source, const CheckFacts *destination, const CheckWishes *w,
                 CheckReport **ret, Error *reterr) {
        _cleanup_(check_report_freep) CheckReport *report = calloc(1, sizeof(*report));
        CheckInput in = { .source = source, .destination = destination, .wishes = w };

        if (!report || !(report->verdicts = calloc(check_rules_n, sizeof(*report->verdicts))))
                return error_oom(reterr);
        in.report = report;
        check_forecast_make(&in);
        for (size_t i = 0; i < check_rules_n; i++) {
                const CheckRule *rule = &check_rules[i];

                if (((rule->needs & CHECK_NEEDS_SOURCE) && !source) ||
                    ((rule->needs & CHECK_NEEDS_DESTINATION) && !destination))
                        continue; /* CHECK_RULE_UNKNOWN */
                in.rule = rule;
                report->verdicts[i] = (uint8_t)rule->ask(&in);
        }
        sort(report);
        *ret = TAKE(report);
        return 0;
}

CheckReport *check_report_free(CheckReport *r) {
        if (r)
                free(r->verdicts);
        free(r);
        return NULL;
}

bool check_report_blocks(const CheckReport *r) {
        return r->n_findings > 0 && r->findings[0].severity == CHECK_BLOCKS;
}

/* Takes value; false: out of memory. */
static bool add(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static json_object *finding_json(const CheckFinding *f) {
        json_object *o = json_object_new_object();

        if (o && add(o, "code", json_object_new_string(f->code)) &&
            add(o, "row", json_object_new_string(f->row)) &&
            add(o, "severity", json_object_new_string(check_severity_name(f->severity))) &&
            add(o, "overridden", json_object_new_boolean(f->overridden)) &&
            add(o, "side", json_object_new_string(f->side)) &&
            add(o, "host", json_object_new_string(f->host)) &&
            add(o, "text", json_object_new_string(f->text)) &&
            add(o, "mend", json_object_new_string(f->mend)))
                return o;
        json_object_put(o);
        return NULL;
}

static bool append(json_object *list, json_object *value) {
        if (value && json_object_array_add(list, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static bool add_verdicts(json_object *o, const CheckReport *r, const char *key, CheckVerdict v) {
        json_object *list = json_object_new_array();

        if (!add(o, key, list))
                return false;
        for (size_t i = 0; i < check_rules_n; i++)
                if (r->verdicts[i] == v &&
                    !append(list, json_object_new_string(check_rules[i].code)))
                        return false;
        return true;
}

json_object *check_report_json(const CheckReport *r) {
        json_object *o = json_object_new_object(), *list = json_object_new_array();
        bool good = o && add(o, "ok", json_object_new_boolean(!check_report_blocks(r)));

        good = good && add(o, "more", json_object_new_boolean(r->more));
        for (size_t i = 0; good && list && i < r->n_findings; i++)
                good = append(list, finding_json(&r->findings[i]));
        if (good && add(o, "findings", list) && add_verdicts(o, r, "passed", CHECK_RULE_PASSES) &&
            add_verdicts(o, r, "unknown", CHECK_RULE_UNKNOWN) &&
            add_verdicts(o, r, "not_needed", CHECK_RULE_NOT_NEEDED) &&
            (r->forecast.state != CHECK_FORECAST_MADE ||
             add(o, "forecast", check_forecast_json(&r->forecast))))
                return o;
        if (!good)
                json_object_put(list);
        json_object_put(o);
        return NULL;
}
