/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/plan/plan-show.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/plan/plan-driver.h"

#define REDRAW_MS  250U
#define BLOCK_MAX  20U
#define COLUMNS    100U
#define LEFT_STATE (1U << PLAN_QUEUED | 1U << PLAN_CHECKING)

void plan_show_init(PlanShow *s, bool json) {
        *s = (PlanShow){ .json = json, .started_ms = clock_ms() };
        s->terminal = !json && isatty(STDERR_FILENO);
}

static const char *host_name(const PlanRun *r, unsigned host) {
        return r->plan.hosts[host].name;
}

static void erase(PlanShow *s) {
        if (s->drawn > 0)
                (void)fprintf(stderr, "\033[%uA\r\033[J", s->drawn);
        s->drawn = 0;
}

/* -- the block on a terminal -- */

static void draw_entry(const PlanShow *s, size_t i, unsigned columns) {
        const PlanEntry *e = &s->run->engine.entries[i];
        const PlanLive *l = s->live ? s->live(s->userdata, i) : NULL;
        char line[256];
        int n;

        n = snprintf(line, sizeof(line), "  %-20.40s %-10s %.20s -> %.20s", e->pod->pod,
                     fsm_name(&e->fsm), host_name(s->run, e->from),
                     host_name(s->run, e->to[e->candidate]));
        if (n > 0 && (size_t)n < sizeof(line) && l && l->step[0])
                (void)snprintf(line + n, sizeof(line) - (size_t)n, "  %-10s %3u %%  %.1f MB/s",
                               l->step, l->percent, l->rate / 1e6);
        else if (n > 0 && (size_t)n < sizeof(line))
                (void)snprintf(line + n, sizeof(line) - (size_t)n, "  %.120s", e->reason);
        (void)fprintf(stderr, "%.*s\n", (int)columns - 1, line);
}

static void draw(PlanShow *s) {
        struct winsize w = {};
        unsigned columns, most = BLOCK_MAX;
        PlanCounts c;

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 4)
                most = MIN_OF(most, w.ws_row - 3U);
        columns = w.ws_col > 20 ? w.ws_col : COLUMNS;
        erase(s);
        for (size_t i = 0; i < s->run->engine.n_entries && s->drawn < most; i++) {
                const PlanEntry *e = &s->run->engine.entries[i];

                if (plan_entry_is_final(e) || LEFT_STATE & (1U << e->fsm.state))
                        continue;
                draw_entry(s, i, columns);
                s->drawn++;
        }
        plan_run_count(s->run, &c);
        (void)fprintf(stderr, "  %u of %u done: %u moved, %u failed; %u wait\n", c.final, c.all,
                      c.n[PLAN_MOVED], c.n[PLAN_FAILED], c.n[PLAN_QUEUED]);
        s->drawn++;
        (void)fflush(stderr);
        s->drawn_ms = clock_ms();
}

/* -- lines -- */

static void say(PlanShow *s, const char *pod, const char *text) {
        if (s->terminal)
                erase(s);
        (void)fprintf(stderr, "%8.2f s  %-20s %s\n", (double)(clock_ms() - s->started_ms) / 1000.0,
                      pod, text);
        if (s->terminal && s->run && !s->quiet)
                draw(s);
}

static bool begin_event(const PlanShow *s, const char *event, const char *pod, json_object **ret) {
        *ret = json_object_new_object();
        return *ret && json_add_string(*ret, "event", event) == 0 &&
               json_add(*ret, "elapsed_ms", json_object_new_uint64(clock_ms() - s->started_ms)) ==
                       0 &&
               (!pod || json_add_string(*ret, "pod", pod) == 0);
}

static void put(json_object *o) {
        json_print(o, false);
        (void)fflush(stdout);
}

static bool add_why(json_object *o, const PlanEntry *e) {
        return e->why == PLAN_CLASS_NONE ||
               (json_add_string(o, "class", plan_class_name(e->why)) == 0 &&
                json_add_string(o, "reason", e->reason) == 0);
}

static bool add_figures(json_object *o, const PlanFigures *f) {
        return !f->known ||
               (json_add(o, "ms", json_object_new_uint64(f->ms)) == 0 &&
                json_add(o, "blackout_ms", json_object_new_double((double)f->blackout_ns / 1e6)) ==
                        0 &&
                json_add(o, "memory_bytes", json_object_new_uint64(f->memory_bytes)) == 0 &&
                json_add(o, "disk_bytes", json_object_new_uint64(f->disk_bytes)) == 0);
}

/* One entry, as status and events show it. */
static json_object *entry_json(const PlanRun *r, size_t i) {
        const PlanEntry *e = &r->engine.entries[i];
        _cleanup_json_ json_object *o = json_object_new_object();
        const char *limit = "";
        unsigned before;

        if (!o || json_add_string(o, "pod", e->pod->pod) < 0 ||
            json_add_string(o, "state", fsm_name(&e->fsm)) < 0 ||
            json_add_string(o, "from", host_name(r, e->from)) < 0 ||
            json_add_string(o, "to", host_name(r, e->to[e->candidate])) < 0 ||
            (plan_entry_is_final(e) && json_add_string(o, "host", host_name(r, e->host)) < 0) ||
            json_add(o, "tries", json_object_new_uint64(e->tries)) < 0 || !add_why(o, e) ||
            !add_figures(o, &r->figures[i]))
                return NULL;
        if (e->fsm.state == PLAN_QUEUED) {
                before = plan_engine_position(&r->engine, (unsigned)i, &limit);
                if (json_add(o, "before", json_object_new_uint64(before)) < 0 ||
                    json_add_string(o, "limit", limit) < 0)
                        return NULL;
        }
        return TAKE(o);
}

static void describe(const PlanRun *r, size_t i, char *ret, size_t size) {
        const PlanEntry *e = &r->engine.entries[i];
        const PlanFigures *f = &r->figures[i];
        const char *why = plan_class_name(e->why);

        if (e->fsm.state == PLAN_MOVED && f->known)
                (void)snprintf(ret, size, "to %.60s: %.2f s, blackout %.1f ms, %.1f MB",
                               host_name(r, e->host), (double)f->ms / 1000.0,
                               (double)f->blackout_ns / 1e6,
                               (double)(f->memory_bytes + f->disk_bytes) / 1e6);
        else if (e->fsm.state == PLAN_MOVED)
                (void)snprintf(ret, size, "is on %.60s", host_name(r, e->host));
        else if (e->fsm.state == PLAN_MOVING)
                (void)snprintf(ret, size, "%.60s -> %.60s", host_name(r, e->from),
                               host_name(r, e->to[e->candidate]));
        else if (e->reason[0])
                (void)snprintf(ret, size, "%s: %s", why, e->reason);
        else
                ret[0] = '\0';
}

void plan_show_state(PlanShow *s, size_t entry, int from) {
        const PlanEntry *e = &s->run->engine.entries[entry];
        char text[420], more[380];

        if (s->quiet)
                return;
        if (s->json) {
                _cleanup_json_ json_object *o = NULL, *more_json = entry_json(s->run, entry);

                if (!begin_event(s, "state", NULL, &o) || !more_json ||
                    json_add_string(o, "was", fsm_state_name(&plan_entry_fsm, from)) < 0)
                        return;
                json_object_object_foreach(more_json, key, value) {
                        if (json_add(o, key, json_object_get(value)) < 0)
                                return;
                }
                put(o);
                return;
        }
        /* Of no use to people: each pod passes them in no time. */
        if (e->fsm.state == PLAN_CHECKING || (e->fsm.state == PLAN_QUEUED && !e->reason[0])) {
                if (s->terminal)
                        draw(s);
                return;
        }
        describe(s->run, entry, more, sizeof(more));
        (void)snprintf(text, sizeof(text), "%-10s %s", fsm_name(&e->fsm), more);
        say(s, e->pod->pod, text);
}

void plan_show_live(PlanShow *s, size_t entry) {
        const PlanLive *l = s->live(s->userdata, entry);
        _cleanup_json_ json_object *o = NULL;

        if (s->terminal && clock_ms() - s->drawn_ms >= REDRAW_MS)
                draw(s);
        if (s->json && begin_event(s, "progress", s->run->engine.entries[entry].pod->pod, &o) &&
            json_add_string(o, "step", l->step) == 0 &&
            json_add(o, "percent", json_object_new_uint64(l->percent)) == 0 &&
            json_add(o, "throughput", json_object_new_double(l->rate)) == 0)
                put(o);
}

void plan_show_note(PlanShow *s, const char *pod, const char *fmt, ...) {
        _cleanup_json_ json_object *o = NULL;
        char text[512];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (!s->json)
                say(s, pod ?: "-", text);
        else if (begin_event(s, "note", pod, &o) && json_add_string(o, "text", text) == 0)
                put(o);
}

static bool add_counts(json_object *o, const PlanRun *r) {
        PlanCounts c;

        plan_run_count(r, &c);
        for (int i = 0; i < _PLAN_ENTRY_STATE_MAX; i++)
                if (c.n[i] > 0 && json_add(o, fsm_state_name(&plan_entry_fsm, i),
                                           json_object_new_uint64(c.n[i])) < 0)
                        return false;
        return true;
}

static void counts_text(const PlanRun *r, char *ret, size_t size) {
        size_t used = 0;
        PlanCounts c;

        plan_run_count(r, &c);
        ret[0] = '\0';
        for (int i = 0; i < _PLAN_ENTRY_STATE_MAX && used < size; i++)
                if (c.n[i] > 0)
                        used += (size_t)snprintf(ret + used, size - used, "%s%u %s",
                                                 used > 0 ? ", " : "", c.n[i],
                                                 fsm_state_name(&plan_entry_fsm, i));
}

void plan_show_end(PlanShow *s) {
        _cleanup_json_ json_object *o = NULL;
        char text[300];

        if (s->json) {
                if (begin_event(s, "end", NULL, &o) && add_counts(o, s->run))
                        put(o);
                return;
        }
        erase(s);
        s->terminal = false;
        counts_text(s->run, text, sizeof(text));
        say(s, s->run->plan.name, text);
}

/* -- status -- */

static void when(int64_t ms, char ret[static 32]) {
        time_t t = (time_t)(ms / 1000);
        struct tm tm;

        if (ms <= 0 || !localtime_r(&t, &tm) || strftime(ret, 32, "%F %T", &tm) == 0)
                (void)snprintf(ret, 32, "-");
}

static const char *status_of(const PlanRun *r) {
        return r->busy       ? "running"
               : r->finished ? "finished"
                             : "not finished, and nobody drives it";
}

/* In a journal nothing is queued: what is not begun may be anything before that. */
static const char *state_of(const PlanRun *r, const PlanEntry *e) {
        if (e->fsm.state != PLAN_CHECKING)
                return fsm_name(&e->fsm);
        return !e->doubt ? (e->wish == PLAN_GO ? "queued" : "cancelling")
               : r->busy ? (e->wish == PLAN_GO ? "moving" : "cancelling")
                         : "interrupted";
}

void plan_show_table(const PlanRun *r) {
        char text[400], began[32];

        when(r->began_at, began);
        (void)printf("plan %s, %s %u of %s: %s\n", r->plan.name, r->rollback ? "rollback" : "run",
                     r->number, began, status_of(r));
        (void)printf("%-20s %-12s %-16s %-16s %5s  %s\n", "POD", "STATE", "FROM", "TO", "TRIES",
                     "WHAT");
        for (size_t i = 0; i < r->engine.n_entries; i++) {
                const PlanEntry *e = &r->engine.entries[i];

                describe(r, i, text, sizeof(text));
                (void)printf("%-20s %-12s %-16s %-16s %5u  %s%s\n", e->pod->pod, state_of(r, e),
                             host_name(r, e->from), host_name(r, e->to[e->candidate]), e->tries,
                             r->carried[i] ? "by an earlier run: " : "", text);
        }
        if (!r->busy && !r->finished)
                (void)printf("podferry plan resume goes on with it\n");
        else if (r->driver[0])
                (void)printf("%s runs it\n", r->driver);
}

json_object *plan_show_json(const PlanRun *r) {
        _cleanup_json_ json_object *o = json_object_new_object(), *pods = json_object_new_array();

        if (!o || !pods || json_add_string(o, "plan", r->plan.name) < 0 ||
            json_add(o, "run", json_object_new_uint64(r->number)) < 0 ||
            json_add_string(o, "kind", r->rollback ? "rollback" : "run") < 0 ||
            json_add(o, "busy", json_object_new_boolean(r->busy)) < 0 ||
            (r->driver[0] && json_add_string(o, "driver", r->driver) < 0) ||
            json_add(o, "finished", json_object_new_boolean(r->finished)) < 0 ||
            json_add(o, "began_at", json_object_new_int64(r->began_at)) < 0 ||
            json_add(o, "ended_at", json_object_new_int64(r->ended_at)) < 0)
                return NULL;
        for (size_t i = 0; i < r->engine.n_entries; i++) {
                json_object *e = entry_json(r, i);

                if (e && json_add_string(e, "state", state_of(r, &r->engine.entries[i])) < 0) {
                        (void)json_object_put(e);
                        e = NULL;
                }
                if (json_append(pods, e) < 0)
                        return NULL;
        }
        return json_add(o, "pods", TAKE(pods)) < 0 ? NULL : TAKE(o);
}

void plan_show_history(const PlanRun *r, bool json) {
        uint64_t worst = 0, bytes = 0;
        char began[32], text[300];

        if (json) {
                _cleanup_json_ json_object *o = plan_show_json(r);

                if (o)
                        json_print(o, false);
                return;
        }
        for (size_t i = 0; i < r->engine.n_entries; i++) {
                worst = MAX_OF(worst, r->figures[i].blackout_ns);
                bytes += r->figures[i].memory_bytes + r->figures[i].disk_bytes;
        }
        when(r->began_at, began);
        counts_text(r, text, sizeof(text));
        (void)printf("%4u  %-8s  %s  %8.1f s  %10.1f ms  %9.1f MB  %s%s\n", r->number,
                     r->rollback ? "rollback" : "run", began,
                     r->finished ? (double)(r->ended_at - r->began_at) / 1000.0 : 0.0,
                     (double)worst / 1e6, (double)bytes / 1e6, text,
                     r->finished ? "" : " (not finished)");
}
