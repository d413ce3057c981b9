/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/migrate-show.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"

#define BAR_WIDTH 24U

void show_init(Show *s, bool json) {
        *s = (Show){ .json = json,
                     .started_ms = clock_ms(),
                     .since_1970_ms = clock_ns(CLOCK_REALTIME) / 1000000U };
        s->terminal = !json && isatty(STDERR_FILENO);
}

void show_done(Show *s) {
        pipeline_done(&s->pipeline);
}

static uint64_t now_ms(const Show *s) {
        return s->since_1970_ms + clock_ms() - s->started_ms;
}

static void close_line(Show *s) {
        if (s->line_open)
                (void)fputs("\r\033[K", stderr);
        s->line_open = false;
}

static void put_event(Show *s, const char *event, const char *key, const char *value,
                      const char *text, json_object *more) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "event", event) < 0 ||
            json_add(o, "elapsed_ms", json_object_new_uint64(clock_ms() - s->started_ms)) < 0 ||
            (key && json_add_string(o, key, value) < 0) ||
            (text && json_add_string(o, "text", text) < 0) ||
            (more && json_add(o, event, json_object_get(more)) < 0))
                return;
        json_print(o, false);
        (void)fflush(stdout);
}

void show_step(Show *s, const char *step, const char *text) {
        pipeline_enter(&s->pipeline, step, now_ms(s));
        if (s->json) {
                put_event(s, "step", "step", step, text, NULL);
                return;
        }
        if (!text)
                return;
        close_line(s);
        (void)fprintf(stderr, "%7.2f s  %-10s %s\n", (double)(clock_ms() - s->started_ms) / 1000.0,
                      step, text);
}

void show_phase(Show *s, const char *phase) {
        pipeline_enter(&s->pipeline, phase, now_ms(s));
        if (s->json)
                put_event(s, "phase", "phase", phase, NULL, NULL);
}

static unsigned percent_of(json_object *count) {
        int64_t total = json_get_number(count, "total"), done = json_get_number(count, "processed");

        if (total <= 0)
                return 0; /* not known yet */
        return done >= total ? 100 : (unsigned)(done * 100 / total);
}

static void print_bar(const char *name, json_object *count) {
        unsigned percent = percent_of(count), filled = percent * BAR_WIDTH / 100;

        (void)fprintf(stderr, "%s [", name);
        for (unsigned i = 0; i < BAR_WIDTH; i++)
                (void)fputc(i < filled ? '#' : '.', stderr);
        (void)fprintf(stderr, "] %3u %%  ", percent);
}

static void print_moving_line(Show *s, json_object *p) {
        close_line(s);
        (void)fprintf(stderr, "%7.2f s  %-10s ", (double)(clock_ms() - s->started_ms) / 1000.0,
                      json_get_text(p, "phase"));
        if (json_get(p, "memory"))
                print_bar("memory", json_get(p, "memory"));
        if (json_get_number(json_get(p, "disk"), "total") > 0)
                print_bar("disks", json_get(p, "disk"));
        (void)fprintf(stderr, "%.1f MB/s", (double)json_get_number(p, "throughput") / 1e6);
        (void)fflush(stderr);
        s->line_open = true;
}

static void note_progress(Show *s, json_object *p) {
        json_object *memory = json_get(p, "memory"), *disk = json_get(p, "disk");
        int64_t total = json_get_number(memory, "total") + json_get_number(disk, "total");
        int64_t done = json_get_number(memory, "processed") + json_get_number(disk, "processed");

        if (total > 0 && done >= 0)
                pipeline_progress(&s->pipeline, (uint64_t)done, (uint64_t)total);
}

void show_progress(Show *s, json_object *p) {
        const char *phase = json_get_text(p, "phase");
        unsigned percent = (unsigned)json_get_number(p, "percent");
        char text[160];

        if (!*phase)
                return;
        note_progress(s, p);
        if (s->json) {
                put_event(s, "progress", NULL, NULL, NULL, p);
                return;
        }
        if (s->terminal) {
                print_moving_line(s, p);
                return;
        }
        if (strcmp(phase, s->phase) == 0 && percent / 25 == s->percent / 25)
                return;
        (void)snprintf(s->phase, sizeof(s->phase), "%s", phase);
        s->percent = percent;
        if (!json_get(p, "memory"))
                (void)snprintf(text, sizeof(text), "disks %u %%", percent_of(json_get(p, "disk")));
        else if (json_get_number(json_get(p, "disk"), "total") > 0)
                (void)snprintf(text, sizeof(text), "memory %u %%, disks %u %%",
                               percent_of(json_get(p, "memory")), percent_of(json_get(p, "disk")));
        else
                (void)snprintf(text, sizeof(text), "memory %u %%",
                               percent_of(json_get(p, "memory")));
        show_step(s, phase, text);
}

void show_note(Show *s, const char *text) {
        if (s->json)
                put_event(s, "note", NULL, NULL, text, NULL);
        else
                show_step(s, "note", text);
}

void show_trouble(Show *s, const char *text) {
        pipeline_trouble(&s->pipeline, text);
        show_note(s, text);
}

#define HOOK_LINES 10U /* of what it said, for people */

static void print_output(const char *event, const char *text) {
        const char *at = text + strlen(text);
        unsigned lines = 0;

        while (at > text && at[-1] == '\n')
                at--;
        for (const char *end = at; at > text; at--)
                if (at < end && at[-1] == '\n' && ++lines >= HOOK_LINES)
                        break;
        if (at > text)
                (void)fprintf(stderr, "%9s  %-10s | ...\n", "", event);
        while (*at) {
                size_t n = strcspn(at, "\n");

                (void)fprintf(stderr, "%9s  %-10s | %.*s\n", "", event, (int)MIN_OF(n, 200UL), at);
                at += n + (at[n] == '\n');
        }
}

static void print_hook(Show *s, json_object *hook) {
        const char *event = json_get_text(hook, "event"), *result = json_get_text(hook, "result");
        int64_t attempt = json_get_number(hook, "attempt"), of = json_get_number(hook, "of");
        char text[700];

        if (strcmp(result, "begun") == 0) {
                (void)snprintf(text, sizeof(text), "%.400s", json_get_text(hook, "program"));
                if (attempt == 1)
                        show_step(s, event, text);
                return;
        }
        close_line(s);
        if (json_get_number(hook, "dropped") > 0)
                (void)fprintf(stderr, "%9s  %-10s | ... %lld bytes before this were dropped\n", "",
                              event, (long long)json_get_number(hook, "dropped"));
        print_output(event, json_get_text(hook, "output"));
        if (strcmp(result, "done") == 0)
                return;
        (void)snprintf(text, sizeof(text), "%s: %.400s%s", event, json_get_text(hook, "why"),
                       json_object_get_boolean(json_get(hook, "ignored")) ? " (ignored)"
                       : attempt < of                                     ? "; once more"
                                                                          : "");
        show_step(s, "note", text);
}

void show_hook(Show *s, json_object *hook) {
        if (s->json)
                put_event(s, "hook", NULL, NULL, NULL, hook);
        else
                print_hook(s, hook);
}

void show_change(Show *s, const char *to, const char *text) {
        pipeline_done(&s->pipeline); /* that way is over, and another begins */
        if (s->json)
                put_event(s, "change", "to", to, text, NULL);
        else
                show_step(s, "change", text);
}

static void print_phases(json_object *result) {
        json_object *phases = json_get_array(result, "phases"), *p;

        for (JSON_EACH(i, phases, p))
                (void)fprintf(stderr, "  %-12s %8lld ms\n", json_get_text(p, "name"),
                              (long long)json_get_number(p, "ms"));
}

static void put_moved(Show *s, json_object *source, json_object *destination) {
        _cleanup_json_ json_object *o = json_object_new_object();

        pipeline_end(&s->pipeline, NULL, NULL, now_ms(s));
        if (o && json_add(o, "pipeline", pipeline_json(&s->pipeline)) == 0 &&
            json_add(o, "source", json_object_get(source) ?: json_object_new_object()) == 0 &&
            json_add(o, "destination", json_object_get(destination) ?: json_object_new_object()) ==
                    0)
                put_event(s, "result", "outcome", "moved", NULL, o);
}

void show_cold_result(Show *s, const char *pod, const char *host, json_object *source,
                      json_object *destination) {
        const char *state = json_get_text(destination, "state");
        bool runs = strcmp(state, "running") == 0;
        const char *name = json_get_text(destination, "host");

        if (s->json) {
                put_moved(s, source, destination);
                return;
        }
        close_line(s);
        (void)fprintf(stderr, "%s %s %s now%s: %.2f s in all, ", pod, runs ? "runs on" : "is on",
                      *name ? name : host, strcmp(state, "stopped") == 0 ? ", stopped" : "",
                      (double)(clock_ms() - s->started_ms) / 1000.0);
        if (json_get_number(source, "stopped_ms") > 0)
                (void)fprintf(stderr, "stopped for %.2f s, ",
                              (double)json_get_number(source, "stopped_ms") / 1000.0);
        (void)fprintf(stderr, "%.1f MB of disks",
                      (double)json_get_number(source, "disk_bytes") / 1e6);
        if (json_get_number(source, "passes") > 0)
                (void)fprintf(stderr, ", %.1f MB of them in that time",
                              (double)json_get_number(source, "last_bytes") / 1e6);
        (void)fputc('\n', stderr);
}

void show_result(Show *s, const char *pod, const char *host, json_object *source,
                 json_object *destination) {
        double blackout = (double)json_get_number(source, "blackout_ns") / 1e6;
        const char *name = json_get_text(destination, "host");

        if (s->json) {
                put_moved(s, source, destination);
                return;
        }
        close_line(s);
        print_phases(source);
        (void)fprintf(stderr,
                      "%s runs on %s now: %.2f s in all, blackout %.1f ms, %.1f MB of memory, "
                      "%.1f MB of disks\n",
                      pod, *name ? name : host, (double)(clock_ms() - s->started_ms) / 1000.0,
                      blackout, (double)json_get_number(source, "memory_bytes") / 1e6,
                      (double)json_get_number(source, "disk_bytes") / 1e6);
}

void show_failure(Show *s, const char *step, const char *why, const char *after) {
        if (s->json) {
                _cleanup_json_ json_object *o = json_object_new_object();

                pipeline_end(&s->pipeline, step, why, now_ms(s));
                if (o && json_add(o, "pipeline", pipeline_json(&s->pipeline)) == 0 &&
                    json_add_string(o, "step", step) == 0 &&
                    json_add_string(o, "reason", why) == 0 &&
                    json_add_string(o, "after", after) == 0)
                        put_event(s, "result", "outcome", "failed", NULL, o);
        }
        close_line(s);
        (void)fprintf(stderr, "podferry: migrate: %s: %s; %s\n", step, why, after);
}
