/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "shim/ctl/json.h"

static const struct {
        const char *name, *description;
} coarse[_PIPELINE_STEP_MAX] = {
        [PIPELINE_CHECK] = { "check", "both hosts are asked whether it can move" },
        [PIPELINE_PREPARE] = { "prepare", "layers, disks and machine are made over there" },
        [PIPELINE_PRE_HOOK] = { "pre-hook", "programs that run before it" },
        [PIPELINE_TRANSFER] = { "transfer", "memory and disks go over" },
        [PIPELINE_HAND_OVER] = { "hand-over", "the pod becomes the other host's" },
        [PIPELINE_POST_HOOK] = { "post-hook", "programs that run after it" },
        [PIPELINE_CLEAN_UP] = { "clean-up", "what is not needed any more goes" },
};

static const struct {
        const char *fine;
        PipelineStepId step;
} parts[] = {
        { "queue", PIPELINE_CHECK },           { "preflight", PIPELINE_CHECK },
        { "resume", PIPELINE_CHECK },          { "layers", PIPELINE_PREPARE },
        { "offer", PIPELINE_PREPARE },         { "export", PIPELINE_PREPARE },
        { "import", PIPELINE_PREPARE },        { "patch", PIPELINE_PREPARE },
        { "prepare", PIPELINE_PREPARE },       { "pre-source", PIPELINE_PRE_HOOK },
        { "pre-target", PIPELINE_PRE_HOOK },   { "transfer", PIPELINE_TRANSFER },
        { "storage", PIPELINE_TRANSFER },      { "memory", PIPELINE_TRANSFER },
        { "ahead", PIPELINE_TRANSFER },        { "stop", PIPELINE_TRANSFER },
        { "copy", PIPELINE_TRANSFER },         { "switchover", PIPELINE_HAND_OVER },
        { "handoff", PIPELINE_HAND_OVER },     { "hand-over", PIPELINE_HAND_OVER },
        { "commit", PIPELINE_HAND_OVER },      { "start", PIPELINE_HAND_OVER },
        { "post-source", PIPELINE_POST_HOOK }, { "post-target", PIPELINE_POST_HOOK },
        { "finalize", PIPELINE_CLEAN_UP },     { "cleanup", PIPELINE_CLEAN_UP },
};

static PipelineStepId find(const char *fine) {
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (strcmp(parts[i].fine, fine) == 0)
                        return parts[i].step;
        return _PIPELINE_STEP_MAX;
}

void pipeline_enter(Pipeline *p, const char *fine, uint64_t now_ms) {
        PipelineStepId id = find(fine);

        if (strcmp(fine, "connect") == 0 && !p->begun) /* later it is part of what is under way */
                id = PIPELINE_CHECK;
        if (id == _PIPELINE_STEP_MAX || (p->begun && p->at == id))
                return;
        if (p->begun)
                p->steps[p->at].completed_ms = now_ms;
        if (p->steps[id].started_ms == 0)
                p->steps[id].started_ms = now_ms;
        p->steps[id].completed_ms = 0;
        p->at = id;
        p->begun = true;
}

void pipeline_progress(Pipeline *p, uint64_t done, uint64_t total) {
        PipelineStep *s = &p->steps[PIPELINE_TRANSFER];

        if (s->started_ms == 0 || total == 0)
                return;
        s->total = total;
        s->done = MIN_OF(done, total);
}

void pipeline_trouble(Pipeline *p, const char *text) {
        PipelineStep *s = &p->steps[p->at];

        if (!p->begun)
                return;
        if (s->n_errors < PIPELINE_ERRORS_MAX)
                s->errors[s->n_errors] = strdup(text); /* NULL: counted all the same */
        s->n_errors++;
}

void pipeline_end(Pipeline *p, const char *fine, const char *why, uint64_t now_ms) {
        PipelineStepId id = fine ? find(fine) : _PIPELINE_STEP_MAX;

        if (!p->begun)
                pipeline_enter(p, "preflight", now_ms);
        p->steps[p->at].completed_ms = now_ms;
        if (!why) {
                p->steps[PIPELINE_TRANSFER].done = p->steps[PIPELINE_TRANSFER].total;
                return;
        }
        if (id != _PIPELINE_STEP_MAX && p->steps[id].started_ms > 0)
                p->at = id;
        free(p->steps[p->at].reason);
        p->steps[p->at].reason = strdup(why);
        pipeline_trouble(p, why);
}

/* RFC 3339, UTC. */
static int add_time(json_object *o, const char *key, uint64_t ms) {
        time_t t = (time_t)(ms / 1000);
        char seconds[32], text[48];
        struct tm tm;

        if (ms == 0)
                return 0;
        if (!gmtime_r(&t, &tm) || strftime(seconds, sizeof(seconds), "%FT%T", &tm) == 0)
                return -EINVAL;
        (void)snprintf(text, sizeof(text), "%s.%03uZ", seconds, (unsigned)(ms % 1000));
        return json_add_string(o, key, text);
}

static int add_errors(json_object *o, const PipelineStep *s) {
        json_object *errors = json_object_new_array();
        int r = json_add(o, "errors", errors);

        for (unsigned i = 0; r == 0 && i < MIN_OF(s->n_errors, PIPELINE_ERRORS_MAX); i++)
                if (s->errors[i])
                        r = json_append(errors, json_object_new_string(s->errors[i]));
        return r == 0 && s->n_errors > PIPELINE_ERRORS_MAX
                       ? json_add(o, "more_errors",
                                  json_object_new_uint64(s->n_errors - PIPELINE_ERRORS_MAX))
                       : r;
}

static json_object *step_json(PipelineStepId id, const PipelineStep *s) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *progress = json_object_new_object();

        if (!o || json_add(o, "progress", progress) < 0 ||
            json_add_string(o, "name", coarse[id].name) < 0 ||
            json_add_string(o, "description", coarse[id].description) < 0 ||
            add_time(o, "started", s->started_ms) < 0 ||
            add_time(o, "completed", s->completed_ms) < 0 ||
            json_add(progress, "completed", json_object_new_uint64(s->done)) < 0 ||
            json_add(progress, "total", json_object_new_uint64(s->total)) < 0 ||
            (s->reason && json_add_string(o, "reason", s->reason) < 0) || add_errors(o, s) < 0)
                return NULL;
        return TAKE(o);
}

json_object *pipeline_json(const Pipeline *p) {
        _cleanup_json_ json_object *all = json_object_new_array();

        for (PipelineStepId i = 0; all && i < _PIPELINE_STEP_MAX; i++)
                if (p->steps[i].started_ms > 0 && json_append(all, step_json(i, &p->steps[i])) < 0)
                        return NULL;
        return TAKE(all);
}

void pipeline_done(Pipeline *p) {
        for (PipelineStepId i = 0; i < _PIPELINE_STEP_MAX; i++) {
                for (unsigned k = 0; k < PIPELINE_ERRORS_MAX; k++)
                        free(p->steps[i].errors[k]);
                free(p->steps[i].reason);
        }
        *p = (Pipeline){};
}
