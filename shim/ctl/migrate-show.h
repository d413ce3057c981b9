/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/ctl/pipeline.h"

/* What a person, or a program, sees of a migration: a line that moves on a terminal, plain lines
 * elsewhere, or one JSON object a line on stdout ({"event": "step" | "progress" | "phase" |
 * "note" | "change" | "result", ...}). */
typedef struct Show {
        bool json, terminal, line_open;
        char phase[32]; /* last one shown */
        unsigned percent;
        uint64_t started_ms;
        uint64_t since_1970_ms; /* the same moment: a clock that is set later changes nothing */
        Pipeline pipeline;      /* told with the result, to programs */
} Show;

void show_init(Show *s, bool json);
void show_done(Show *s);
void show_step(Show *s, const char *step, const char *text); /* text NULL: for programs only */
void show_phase(Show *s, const char *phase);                 /* of the transfer; for programs */
void show_progress(Show *s, json_object *progress);
/* An attempt of a hook, as hook_link_take() made it: it begins, or has ended. */
void show_hook(Show *s, json_object *hook);
void show_note(Show *s, const char *text);
void show_trouble(Show *s, const char *text); /* the same of what went wrong, and goes on */
/* It goes on the other way: "live", "cold". */
void show_change(Show *s, const char *to, const char *text);
/* source and destination: what their Finished said; either may be NULL. */
void show_result(Show *s, const char *pod, const char *host, json_object *source,
                 json_object *destination);
/* Of a cold move: {"type", "disk_bytes", "stopped_ms"}, of a warm one also {"passes",
 * "last_bytes"};
 * {"host", "state": "stopped" | "running" | "known"}. */
void show_cold_result(Show *s, const char *pod, const char *host, json_object *source,
                      json_object *destination);
void show_failure(Show *s, const char *step, const char *why, const char *after);
