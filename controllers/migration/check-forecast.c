/* SPDX-License-Identifier: Apache-2.0 */
/* The rules that tell what a forecast says: at most one of them finds something, and none blocks,
 * since a forecast may be wrong. */
#include <stdio.h>

#include "controllers/migration/check-rules.h"

static void add_disks(const CheckInput *in, ForecastLoad *l) {
        for (size_t i = 0; i < in->source->n_disks; i++) {
                const CheckDisk *d = &in->source->disks[i];
                uint64_t size = UNKNOWN(d->size) ? 0 : d->size;
                uint64_t data = !UNKNOWN(d->data)       ? d->data
                                : UNKNOWN(d->allocated) ? size
                                                        : d->allocated;

                if (!is(d->plan, "copy"))
                        continue;
                l->disks += MIN_OF(data, UINT64_MAX - l->disks);
                l->disks_size += MIN_OF(size, UINT64_MAX - l->disks_size);
                l->largest_disk = MAX_OF(l->largest_disk, size);
        }
}

static uint64_t known(uint64_t n) {
        return UNKNOWN(n) ? 0 : n;
}

static int read_load(const CheckInput *in, ForecastLoad *l, Error *reterr) {
        const CheckFacts *s = in->source, *d = in->destination;
        const CheckWishes *w = in->wishes;
        uint64_t mib = known(s->memory_mib);

        if (w->options->transport[0])
                return error_setf(
                        reterr, -ENODATA,
                        "with --transport memory does not take the way that was measured");
        if (w->link_error && w->link_error[0])
                return error_setf(reterr, -ENODATA, "the link: %.200s", w->link_error);
        if (s->load_error[0])
                return error_setf(reterr, -ENODATA, "%.250s", s->load_error);
        *l = (ForecastLoad){ .memory = mib > UINT64_MAX >> 20 ? UINT64_MAX : mib << 20,
                             .link = w->link,
                             .connect_ms = w->connect_ms,
                             .grain = known(s->grain),
                             .layers = d ? known(d->layers_bytes) : 0,
                             .looks = { { known(s->short_ms), known(s->short_bytes) },
                                        { known(s->long_ms), known(s->long_bytes) },
                                        { known(s->far_ms), known(s->far_bytes) } } };
        l->used = UNKNOWN(s->memory_used) ? l->memory : MIN_OF(s->memory_used, l->memory);
        add_disks(in, l);
        return 0;
}

void check_forecast_make(CheckInput *in) {
        CheckForecast *f = &in->report->forecast;
        Error e = ERROR_INIT;
        int r;

        if (!in->wishes->forecast || !in->source)
                return;
        r = read_load(in, &f->load, &e);
        if (r == 0)
                r = migration_forecast(&f->load, in->wishes->options, &f->made, &e);
        f->state = r == 0 ? CHECK_FORECAST_MADE : CHECK_FORECAST_FAILED;
        (void)snprintf(f->error, sizeof(f->error), "%.250s", r < 0 ? error_text(&e, r) : "");
}

/* "350 ms", "12.5 s", "21 min". */
static const char *time_text(uint64_t ms, char ret[static 32]) {
        if (ms < 1000)
                (void)snprintf(ret, 32, "%llu ms", ULL(ms));
        else if (ms < 120000)
                (void)snprintf(ret, 32, "%.1f s", (double)ms / 1000.0);
        else
                (void)snprintf(ret, 32, "%llu min", ULL(ms / 60000));
        return ret;
}

/* Below 10 MiB with a digit after the point. */
static const char *size_text(uint64_t bytes, char ret[static 32]) {
        double mib = (double)bytes / 1048576.0;

        (void)snprintf(ret, 32, mib < 10.0 ? "%.1f MiB" : "%.0f MiB", mib);
        return ret;
}

/* Whether a rule of the forecast is about this one. */
static bool is_outcome(const CheckInput *in, ForecastOutcome o, CheckVerdict *ret) {
        const CheckForecast *f = &in->report->forecast;

        *ret = f->state == CHECK_FORECAST_MADE   ? CHECK_RULE_PASSES
               : f->state == CHECK_FORECAST_NONE ? CHECK_RULE_NOT_NEEDED
               : o == FORECAST_CONVERGES         ? CHECK_RULE_UNKNOWN
                                                 : CHECK_RULE_NOT_NEEDED;
        return f->state == CHECK_FORECAST_MADE && f->made.outcome == o;
}

/* lead TOTAL middle BLACKOUT; lead NULL: there is no end, and so no time. */
static CheckVerdict tell(const CheckInput *in, ForecastOutcome o, const char *lead,
                         const char *middle) {
        const CheckForecast *f = &in->report->forecast;
        char total[32], down[32], link[32], writes[32];
        CheckVerdict v;

        if (!is_outcome(in, o, &v))
                return v;
        return check_found(in, in->source,
                           "%s%s%s%s (it writes %s a second, the link carries %s; passes over "
                           "memory: %u)",
                           lead ?: "", lead ? time_text(f->made.total_ms, total) : "", middle,
                           time_text(f->made.downtime_ms, down), size_text(f->made.writes, writes),
                           size_text(f->load.link, link), f->made.passes);
}

CheckVerdict check_forecast_converges(const CheckInput *in) {
        return tell(in, FORECAST_CONVERGES, "it converges: about ", " in all, with a blackout of ");
}

CheckVerdict check_forecast_aborts(const CheckInput *in) {
        return tell(in, FORECAST_ABORTS, "it would be given up after about ",
                    ", since it would take a blackout of ");
}

CheckVerdict check_forecast_pauses(const CheckInput *in) {
        return tell(in, FORECAST_PAUSES, "it would be forced, about ",
                    " in all, and stand meanwhile for ");
}

CheckVerdict check_forecast_post_copy(const CheckInput *in) {
        return tell(in, FORECAST_POST_COPY, "it would be forced to post-copy, about ",
                    " in all, with a blackout of ");
}

CheckVerdict check_forecast_endless(const CheckInput *in) {
        return tell(in, FORECAST_ENDLESS, NULL,
                    "it would be copied without end, since no limit ends it and it would take a "
                    "blackout of ");
}

CheckVerdict check_forecast_fails(const CheckInput *in) {
        const CheckForecast *f = &in->report->forecast;

        return f->state == CHECK_FORECAST_NONE ? CHECK_RULE_NOT_NEEDED
               : f->state == CHECK_FORECAST_MADE
                       ? CHECK_RULE_PASSES
                       : check_found(in, in->source, "no forecast: %s", f->error);
}

static bool put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

json_object *check_forecast_json(const CheckForecast *f) {
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "total_ms", f->made.total_ms }, { "downtime_ms", f->made.downtime_ms },
                { "passes", f->made.passes },     { "throttle", f->made.throttle },
                { "rate", f->made.rate },         { "writes", f->made.writes },
                { "link", f->load.link },         { "memory", f->load.memory },
                { "used", f->load.used },         { "disks", f->load.disks },
        };
        json_object *o = json_object_new_object();
        bool good = o && put(o, "outcome",
                             json_object_new_string(forecast_outcome_name(f->made.outcome)));

        for (size_t i = 0; good && i < ELEMENTSOF(numbers); i++)
                good = put(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
        if (good)
                return o;
        json_object_put(o);
        return NULL;
}
