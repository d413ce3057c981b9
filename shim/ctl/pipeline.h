/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* A move as a person follows it: seven coarse steps, each of many fine ones and phases, with when
 * it began and ended, how far it is, and what went wrong in it. The same for all ways to move; a
 * step that a way does not have never begins. One that is come back to is open again. */
typedef enum PipelineStepId {
        PIPELINE_CHECK,
        PIPELINE_PREPARE,
        PIPELINE_PRE_HOOK,
        PIPELINE_TRANSFER,
        PIPELINE_HAND_OVER,
        PIPELINE_POST_HOOK,
        PIPELINE_CLEAN_UP,
        _PIPELINE_STEP_MAX,
} PipelineStepId;

#define PIPELINE_ERRORS_MAX 8U /* of one step; more are counted */

typedef struct PipelineStep {
        uint64_t started_ms, completed_ms; /* since 1970; 0: not yet */
        uint64_t done, total;              /* bytes; 0 of 0: not known, or not counted */
        char *errors[PIPELINE_ERRORS_MAX];
        unsigned n_errors; /* also those that are not kept */
        char *reason;      /* why it failed; NULL: it has not */
} PipelineStep;

typedef struct Pipeline {
        PipelineStep steps[_PIPELINE_STEP_MAX];
        PipelineStepId at; /* meaningless before the first */
        bool begun;
} Pipeline;

/* A fine step, or a phase of the transfer, begins; one that is not known changes nothing. */
void pipeline_enter(Pipeline *p, const char *fine, uint64_t now_ms);
void pipeline_progress(Pipeline *p, uint64_t done, uint64_t total);
/* Something went wrong in what is under way, and it goes on. */
void pipeline_trouble(Pipeline *p, const char *text);
/* All is over; `why` NULL: well. Else it ended in the step that `fine` is of, or, if that is not
 * known, in the one under way. */
void pipeline_end(Pipeline *p, const char *fine, const char *why, uint64_t now_ms);
/* An array of those that have begun, in their order: {"name", "description", "started",
 * "completed", "progress": {"completed", "total"}, "errors"}, and of one that failed "reason". The
 * caller owns it; NULL: no memory. */
json_object *pipeline_json(const Pipeline *p);
void pipeline_done(Pipeline *p); /* and it is as new */
