/* SPDX-License-Identifier: Apache-2.0 */
/* The model of a pre-copy. All in doubles: no sum of what hosts tell can overflow, and what comes
 * out is cut to what fits. */
#include "controllers/migration/forecast.h"

#include "controllers/migration/converge.h"
#include "lib/cleanup.h"

/* What is not measured, in milliseconds and bytes; docs/check.md has where each is from.
 * BEGIN: calls, connections, libvirt and an empty disk, until memory. HANDOVER: the blackout with
 * nothing left: libvirt's, and both shims'. ITERATE: QEMU looks at what is left no more often.
 * BUFFERED: between QEMU and the other host, in the ferry. COPY: what QEMU and two ferries do when
 * no link is in the way. ZERO: pages that were never touched, which are only looked at. */
#define BEGIN_MS     800.0
#define HANDOVER_MS  85.0
#define ITERATE_MS   50.0
#define BUFFERED     (0.5 * (1U << 20))
#define COPY_BPS     (400.0 * (1U << 20))
#define ZERO_BPS     (2048.0 * (1U << 20))
#define OWN_DOWNTIME 300.0 /* QEMU's, where max_downtime is 0 */

#define LINEAR         0.995 /* `keep` above it: as far as one can tell */
#define DOUBT          4.0   /* so many pages of a sample say as much as knowing nothing */
#define THROTTLE_FIRST 20U
#define THROTTLE_STEP  10U
#define THROTTLE_MAX   99U
#define THROTTLE_MS    1000.0 /* QEMU judges what the guest wrote no more often */
#define PASSES_MAX     200000U

const char *forecast_outcome_name(ForecastOutcome o) {
        static const char *const names[] = {
                [FORECAST_CONVERGES] = "converges", [FORECAST_ABORTS] = "aborts",
                [FORECAST_PAUSES] = "pauses",       [FORECAST_POST_COPY] = "post-copy",
                [FORECAST_ENDLESS] = "endless",
        };

        return o < _FORECAST_OUTCOME_MAX ? names[o] : "?";
}

/* -- how much is written within a time -- */

/* all * (1 - keep^(t / unit)): what is written tends to all that is written to at all, and of the
 * rest `keep` is still untouched after each unit; linear if keep is 1. */
typedef struct Curve {
        double unit_ms, first, keep, most;
        double all; /* distinct bytes, in the end */
} Curve;

typedef struct Writes {
        Curve near, far; /* far: for what is longer than its unit; none if that is 0 */
} Writes;

/* x to the power of n, from 0 to 1 and not negative. libm, for this alone, would cost every shim
 * memory and time to start. */
static double power(double x, double n) {
        uint32_t whole = (uint32_t)MIN_OF(n, 4096.0);
        double rest = n - whole, result = 1.0, base = x;

        if (x <= 0.0)
                return n > 0.0 ? 0.0 : 1.0;
        for (; whole > 0; whole >>= 1, base *= base)
                if (whole & 1U)
                        result *= base;
        base = x;
        for (int bit = 0; bit < 20 && rest > 0.0; bit++) {
                double root = 1.0;

                for (int i = 0; i < 40; i++) /* Newton's */
                        root = (root + base / root) / 2.0;
                base = root;
                rest *= 2.0;
                if (rest >= 1.0) {
                        rest -= 1.0;
                        result *= base;
                }
        }
        return result;
}

/* keep, if within n units so many times as much is written as within one: from 1 (nothing that was
 * not written to in the first) to n (as much in each). */
static double keep_of(double ratio, double n) {
        double low = 0.0, high = 1.0;

        if (ratio >= n)
                return 1.0;
        for (int i = 0; i < 30; i++) {
                double keep = (low + high) / 2.0;

                if ((1.0 - power(keep, n)) / (1.0 - keep) < ratio)
                        low = keep;
                else
                        high = keep;
        }
        return low;
}

/* From one look to a longer one. Few pages of a sample say little: then it is taken for a pod that
 * writes on and on, as most do that write little. */
static Curve curve_of(const ForecastLoad *l, const ForecastLook *a, const ForecastLook *b) {
        double n = b->ms > a->ms ? (double)b->ms / (double)a->ms : 1.0;
        double one = (double)a->bytes, many = n > 1.0 ? (double)b->bytes : one, doubt;
        Curve c = { .unit_ms = (double)a->ms, .keep = 1.0 };

        c.most = (double)MIN_OF(l->used, l->memory);
        if (n > 1.0 && one > 0.0) {
                doubt = DOUBT * (double)l->grain;
                doubt = doubt > 0.0 ? doubt / (doubt + many) : 0.0;
                c.keep = keep_of(many / one, n);
                c.keep += (1.0 - c.keep) * doubt;
        }
        /* Both looks count, as far as the curve is from one to the other. */
        c.first = (one + many) /
                  (1.0 + (c.keep >= 1.0 ? n : (1.0 - power(c.keep, n)) / (1.0 - c.keep)));
        c.first = MIN_OF(c.first, c.most);
        c.all = c.first > 0.0 ? c.most : 0.0;
        if (c.keep > LINEAR)
                c.keep = 1.0;
        else
                c.all = MIN_OF(c.first / (1.0 - c.keep), c.most);
        return c;
}

static Writes writes_of(const ForecastLoad *l) {
        const ForecastLook *looks = l->looks;
        Writes w = { .near = curve_of(l, &looks[0], &looks[1]) };

        if (looks[1].ms > looks[0].ms && looks[2].ms > looks[1].ms)
                w.far = curve_of(l, &looks[1], &looks[2]);
        return w;
}

static double all_of(const Writes *w) {
        return w->far.unit_ms > 0.0 ? w->far.all : w->near.all;
}

static double written(const Writes *w, double ms) {
        const Curve *c = w->far.unit_ms > 0.0 && ms >= w->far.unit_ms ? &w->far : &w->near;
        double units = ms / c->unit_ms;

        if (ms <= 0.0 || c->first <= 0.0)
                return 0.0;
        if (c->keep >= 1.0)
                return MIN_OF(c->first * units, c->most);
        return MIN_OF(c->all * (1.0 - power(c->keep, units)), c->most);
}

/* -- the passes -- */

typedef struct Walk {
        const MigrationOptions *o;
        const ForecastLoad *load;
        Writes writes;
        double link, rate; /* bytes a millisecond; rate: with `bandwidth` */
        double now_ms, limit_ms, stepped_ms, judged_ms, judged_bytes, judged_sent;
        double downtime_ms, left; /* allowed; what is left when a pass begins */
        uint64_t allowed_ms;
        uint32_t passes, throttle, high;
        double least, least_ms; /* of `left`, and since when it has not become less */
} Walk;

static double share(const Walk *w) {
        return 1.0 - w->throttle / 100.0;
}

/* What may be left when the guest is stopped. */
static double threshold(const Walk *w) {
        return w->rate * w->downtime_ms;
}

/* QEMU sends until that is left, as far as it looks: on average half a look too much. */
static double rest_of_pass(const Walk *w) {
        return MAX_OF(threshold(w) - w->rate * ITERATE_MS / 2.0, 0.0);
}

static double blackout(const Walk *w) {
        /* `bandwidth` does not hold while the pod stands, and with it nothing waits in buffers. */
        double waiting = w->rate < w->link ? 0.0 : BUFFERED;

        return HANDOVER_MS + (w->left + waiting) / w->link;
}

static void rise(Walk *w) {
        uint64_t since = (uint64_t)MIN_OF(w->now_ms - w->stepped_ms, 1e15), next;

        next = migration_downtime_next(w->o, w->allowed_ms, w->passes, since);
        if (next == w->allowed_ms)
                return;
        w->allowed_ms = next;
        w->downtime_ms = (double)next;
        w->stepped_ms = w->now_ms;
}

/* As QEMU does it: twice in a row the guest wrote more than half of what was sent. */
static void slow_down(Walk *w, double sent, double wrote) {
        uint32_t first = w->o->auto_converge_initial ?: THROTTLE_FIRST;
        uint32_t step = w->o->auto_converge_increment ?: THROTTLE_STEP;

        w->judged_sent += sent;
        w->judged_bytes += wrote;
        if (!w->o->auto_converge || w->now_ms - w->judged_ms < THROTTLE_MS)
                return;
        if (w->judged_bytes > w->judged_sent / 2.0 && ++w->high >= 2) {
                w->high = 0;
                w->throttle = MIN_OF(w->throttle ? w->throttle + step : first, THROTTLE_MAX);
        }
        w->judged_ms = w->now_ms;
        w->judged_bytes = w->judged_sent = 0.0;
}

/* rest: what was not sent in it. */
static void pass(Walk *w, double sent, double rest, double ms) {
        double all = all_of(&w->writes), wrote = written(&w->writes, ms * share(w));

        w->now_ms += ms;
        w->passes++;
        /* From the second pass on only pages are left that are written to again and again: some of
         * those that were not sent are written to once more, and go once. */
        if (w->passes > 1)
                wrote *= rest < all ? 1.0 - rest / all : 0.0;
        w->left = MIN_OF(rest + wrote, (double)MIN_OF(w->load->used, w->load->memory));
        slow_down(w, sent, wrote);
        rise(w);
        if (w->passes == 1 || w->left < w->least * 0.96) {
                w->least = w->left;
                w->least_ms = w->now_ms;
        }
}

static void first_pass(Walk *w) {
        double memory = (double)(w->load->memory ?: 1);
        double used = (double)MIN_OF(w->load->used, w->load->memory);
        double rest = MIN_OF(rest_of_pass(w) / memory, 1.0) * used; /* the others are zeroes */

        pass(w, used - rest, rest, (used - rest) / w->rate + (memory - used) / (ZERO_BPS / 1000.0));
}

static void next_pass(Walk *w) {
        double rest = MIN_OF(rest_of_pass(w), w->left);
        double sent = MAX_OF(w->left - rest, w->rate * ITERATE_MS);

        pass(w, sent, rest, sent / w->rate);
}

static bool has_stalled(const Walk *w) {
        return w->o->stall_action != MIGRATION_STALL_ADVISE && w->o->stall_window_ms > 0 &&
               w->now_ms - w->least_ms >= 2.0 * (double)w->o->stall_window_ms;
}

/* Nothing changes any more: the blackout is at its ceiling, the guest as slow as it gets, and as
 * much is left as before. */
static bool is_steady(const Walk *w, double before) {
        bool ramp = w->o->max_downtime_ms > 0 && w->allowed_ms < w->o->max_downtime_ms;
        bool slower = w->o->auto_converge && w->throttle < THROTTLE_MAX;

        return !ramp && !slower && w->left >= before * 0.999 && w->left <= before * 1.001;
}

static bool is_late(const Walk *w) {
        return w->limit_ms > 0.0 && w->now_ms >= w->limit_ms;
}

/* True: it converged. */
static bool walk(Walk *w) {
        w->left = (double)MIN_OF(w->load->used, w->load->memory);
        if (is_late(w)) /* disks alone take longer */
                return false;
        first_pass(w);
        while (w->left > threshold(w)) {
                double before = w->left;

                if (w->passes >= PASSES_MAX || is_late(w) || has_stalled(w))
                        return false;
                next_pass(w);
                if (w->left > threshold(w) && is_steady(w, before)) {
                        if (w->o->stall_action != MIGRATION_STALL_ADVISE)
                                w->now_ms =
                                        MAX_OF(w->now_ms,
                                               w->least_ms + 2.0 * (double)w->o->stall_window_ms);
                        else
                                w->now_ms = MAX_OF(w->now_ms, w->limit_ms);
                        return false;
                }
        }
        return !is_late(w);
}

/* -- the answer -- */

static uint64_t cut(double x) {
        return !(x > 0.0) ? 0 : x >= 1.8e19 ? UINT64_MAX : (uint64_t)(x + 0.5);
}

/* With `bandwidth` they share it, and holes cost nothing; but where libvirt has the transport, each
 * disk has it for itself, and a hole takes as long as data. */
static double disks_ms(const ForecastLoad *l, const MigrationOptions *o, double link) {
        double rate = (double)o->bandwidth / 1000.0;

        if (o->bandwidth == 0)
                return (double)l->disks / link;
        return o->transport[0] ? MAX_OF((double)l->disks / link, (double)l->largest_disk / rate)
                               : (double)l->disks / MIN_OF(link, rate);
}

static ForecastOutcome forced(Walk *w, Forecast *ret) {
        double pause = blackout(w);

        if (w->o->postcopy) {
                ret->downtime_ms = cut(HANDOVER_MS);
                w->now_ms += w->left / w->rate;
                return FORECAST_POST_COPY;
        }
        w->now_ms += pause;
        return w->o->pause_timeout_ms > 0 && pause > (double)w->o->pause_timeout_ms
                       ? FORECAST_ABORTS
                       : FORECAST_PAUSES;
}

/* It did not converge: which rule ends it, if any. */
static ForecastOutcome ended(Walk *w, Forecast *ret) {
        bool stalled = w->o->stall_action != MIGRATION_STALL_ADVISE &&
                       (w->limit_ms <= 0.0 || w->now_ms < w->limit_ms);
        bool force = stalled ? w->o->stall_action == MIGRATION_STALL_FORCE_COMPLETE
                             : w->o->timeout_action == MIGRATION_TIMEOUT_FORCE_COMPLETE;

        if (!stalled && w->limit_ms <= 0.0)
                return FORECAST_ENDLESS;
        return force ? forced(w, ret) : FORECAST_ABORTS;
}

static int need(const ForecastLoad *l, Error *reterr) {
        if (l->link == 0)
                return error_setf(reterr, -ENODATA, "the speed of the link is not known");
        if (l->looks[0].ms == 0)
                return error_setf(reterr, -ENODATA, "how much the pod writes is not known");
        return 0;
}

int migration_forecast(const ForecastLoad *load, const MigrationOptions *o, Forecast *ret,
                       Error *reterr) {
        double link = MIN_OF((double)load->link, COPY_BPS) / 1000.0;
        double before = BEGIN_MS + (double)load->connect_ms +
                        (double)load->layers / ((double)(load->link ?: 1) / 1000.0);
        Walk w = { .o = o, .load = load, .link = link, .rate = link };
        int r = need(load, reterr);

        if (r < 0)
                return r;
        if (o->bandwidth > 0)
                w.rate = MIN_OF(link, (double)o->bandwidth / 1000.0);
        w.writes = writes_of(load);
        w.allowed_ms = migration_downtime_first(o, false);
        w.downtime_ms = w.allowed_ms > 0 ? (double)w.allowed_ms : OWN_DOWNTIME;
        w.limit_ms = (double)migration_time_limit(o, load->memory >> 20, load->disks_size);
        w.now_ms = disks_ms(load, o, link);
        w.stepped_ms = 0.0;
        w.judged_ms = w.now_ms;
        *ret = (Forecast){ .outcome = FORECAST_CONVERGES };
        if (!walk(&w)) {
                if (w.limit_ms > 0.0) /* it comes in the middle of a pass */
                        w.now_ms = MIN_OF(w.now_ms, w.limit_ms);
                ret->downtime_ms = cut(blackout(&w));
                ret->outcome = ended(&w, ret);
        } else {
                ret->downtime_ms = cut(blackout(&w));
                w.now_ms += blackout(&w);
        }
        ret->total_ms = ret->outcome == FORECAST_ENDLESS ? 0 : cut(before + w.now_ms);
        ret->passes = w.passes;
        ret->throttle = w.throttle;
        ret->rate = cut(w.rate * 1000.0);
        ret->writes = cut(written(&w.writes, 1000.0));
        return 0;
}
