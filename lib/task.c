/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/task.h"

#include <assert.h>

#include "lib/log.h"

struct Task {
        const TaskStep *steps;
        size_t n_steps;
        size_t at; /* step in flight; while undoing: the one being undone, plus one */
        void *object;
        OpDone done;
        void *userdata;
        bool undoing;
        bool cancelled;
        Error error; /* the first failure */
};

static int fail(Task *t, int r, const Error *err) {
        const char *name = t->steps[t->at].name;

        if (err)
                t->error = *err;
        (void)error_prefix(&t->error, r, "%s", name);
        t->undoing = true;
        return r;
}

/* Undoes until a step has to be waited for (1) or none is left (0). */
static int unwind(Task *t) {
        while (t->at > 0) {
                const TaskStep *s = &t->steps[--t->at];
                Error e = ERROR_INIT;
                int r;

                if (!s->undo)
                        continue;
                r = s->undo(t->object, t, &e);
                if (r > 0)
                        return 1;
                if (r < 0)
                        log_warning("undoing %s failed, going on: %s", s->name, error_text(&e, r));
        }
        return 0;
}

/* 0: all done; 1: waiting; < 0: failed and fully undone. */
static int advance(Task *t) {
        while (!t->undoing && t->at < t->n_steps) {
                Error e = ERROR_INIT;
                int r;

                if (t->cancelled)
                        r = error_setf(&e, -ECANCELED, "cancelled");
                else
                        r = t->steps[t->at].run(t->object, t, &e);
                if (r > 0)
                        return 1;
                if (r < 0)
                        (void)fail(t, r, &e);
                else
                        t->at++;
        }
        if (!t->undoing)
                return 0;
        return unwind(t) > 0 ? 1 : t->error.code;
}

int task_start(const TaskStep *steps, size_t n_steps, void *object, OpDone done, void *userdata,
               Task **ret_task, Error *reterr) {
        Task *t;
        int r;

        t = calloc(1, sizeof(*t));
        if (!t)
                return error_oom(reterr);
        *t = (Task){ .steps = steps,
                     .n_steps = n_steps,
                     .object = object,
                     .done = done,
                     .userdata = userdata };
        r = advance(t);
        if (r > 0) {
                if (ret_task)
                        *ret_task = t;
                return 1;
        }
        if (r < 0 && reterr)
                *reterr = t->error;
        free(t);
        return r;
}

void task_done(void *task, int r, const void *result, const Error *err) {
        Task *t = task;
        OpDone done;
        void *userdata;
        Error error;

        assert(r <= 0);
        if (t->undoing) {
                if (r < 0)
                        log_warning("undoing %s failed, going on: %s", t->steps[t->at].name,
                                    error_text(err, r));
        } else if (r < 0) {
                (void)fail(t, r, err);
        } else {
                t->at++;
        }
        r = advance(t);
        if (r > 0)
                return;
        done = t->done;
        userdata = t->userdata;
        error = t->error;
        free(t);
        if (done)
                done(userdata, r, NULL, &error);
}

void task_cancel(Task *t) {
        t->cancelled = true;
}

const char *task_step_name(const Task *t) {
        return t->at < t->n_steps ? t->steps[t->at].name : "";
}
