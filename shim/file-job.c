/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/file-job.h"

typedef struct FileJob {
        Note note;
        Mailbox *mailbox;
        int (*run)(void *argument, Error *reterr);
        void *argument;
        OpDone done;
        void *job;
        int r;
        Error err;
} FileJob;

static void work(Note *note) {
        FileJob *j = container_of(note, FileJob, note);

        j->r = j->run(j->argument, &j->err);
        mailbox_put(j->mailbox, note);
}

static void deliver(Note *note) {
        _cleanup_free_ FileJob *j = container_of(note, FileJob, note);

        j->done(j->job, j->r, NULL, &j->err);
}

static void drop(Note *note) {
        free(container_of(note, FileJob, note));
}

static int lane_job(Shim *s, Lane *lane, int (*run)(void *argument, Error *reterr), void *argument,
                    OpDone done, void *job, Error *reterr) {
        _cleanup_free_ FileJob *j = calloc(1, sizeof(*j));
        int r;

        if (!j)
                return error_oom(reterr);
        if (!s->files_ready) {
                r = mailbox_init(&s->mailbox, s->event, reterr);
                if (r < 0)
                        return r;
                s->files_ready = true;
        }
        *j = (FileJob){ .note = { .work = work, .deliver = deliver, .drop = drop },
                        .mailbox = &s->mailbox,
                        .run = run,
                        .argument = argument,
                        .done = done,
                        .job = job };
        r = lane_put(lane, &j->note, reterr);
        if (r < 0)
                return r;
        j = NULL;
        return 1;
}

int file_job(Shim *s, int (*run)(void *argument, Error *reterr), void *argument, OpDone done,
             void *job, Error *reterr) {
        return lane_job(s, &s->files, run, argument, done, job, reterr);
}

int net_job(Shim *s, int (*run)(void *argument, Error *reterr), void *argument, OpDone done,
            void *job, Error *reterr) {
        return lane_job(s, &s->namespaces, run, argument, done, job, reterr);
}
