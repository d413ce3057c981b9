/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/plan/plan-run.h"

/* What people and programs see of a run: on a terminal a block that is drawn again below the lines
 * of what has happened, elsewhere those lines alone (stderr), or one JSON object a line on stdout
 * ({"event": "state" | "progress" | "note" | "end", ...}). */
typedef struct PlanLive {
        char step[24]; /* of the move that is under way; "": none */
        unsigned percent;
        double rate; /* bytes a second */
} PlanLive;

typedef struct PlanShow {
        bool json, terminal;
        bool quiet;         /* of states: only notes */
        const PlanRun *run; /* NULL until it is known */
        const PlanLive *(*live)(void *userdata, size_t entry);
        void *userdata;
        unsigned drawn; /* lines of the block that stand there */
        uint64_t started_ms, drawn_ms;
} PlanShow;

void plan_show_init(PlanShow *s, bool json);
void plan_show_state(PlanShow *s, size_t entry, int from);
void plan_show_live(PlanShow *s, size_t entry); /* its PlanLive has changed */
void plan_show_note(PlanShow *s, const char *pod, const char *fmt, ...) _printf_(3, 4);
void plan_show_end(PlanShow *s); /* counts and figures */

/* For status: a table, or an object a line, of a run that was read. */
void plan_show_table(const PlanRun *r);
json_object *plan_show_json(const PlanRun *r);
void plan_show_history(const PlanRun *r, bool json); /* a line */
