/* SPDX-License-Identifier: Apache-2.0 */
/* A job: one libvirt call as a value that goes to a lane and comes back. */
#include <assert.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"

static int run_on_domain(Job *job, virConnectPtr conn) {
        virDomainPtr domain;
        int r;

        domain = job->v->lv->virDomainLookupByUUIDString(conn, job->v->uuid);
        if (!domain)
                return libvirt_error(job->v->lv, &job->error);
        r = job->run(job, conn, domain, &job->error);
        (void)job->v->lv->virDomainFree(domain);
        return r;
}

/* Lane thread. The identity does not change while a job is under way, so it is read without a lock.
 */
static void work(Note *note) {
        Job *job = container_of(note, Job, note);
        virConnectPtr conn;
        Virt *v = job->v;
        int r;

        r = connection_get(v, job->lane, &conn, &job->error);
        if (r >= 0) {
                r = job->needs_domain && !job->of_host ? run_on_domain(job, conn)
                                                       : job->run(job, conn, NULL, &job->error);
                if (r < 0 && connection_is_dead(v, job->lane, conn))
                        r = error_prefix(&job->error, -ECONNRESET,
                                         "the connection to libvirt was lost during the call");
                (void)v->lv->virConnectClose(conn);
        }
        job->r = r;
        mailbox_put(&v->mailbox, &job->note);
}

/* Loop. */
static void deliver(Note *note) {
        Job *job = container_of(note, Job, note);

        if (job->r < 0)
                (void)error_prefix(&job->error, job->r, "%s%s%s", job->step,
                                   job->of_host ? "" : " of ", job->of_host ? "" : job->v->name);
        if (job->finish)
                job->finish(job); /* completes it now or later */
        else
                job_complete(job);
}

static void forget(Job *job) {
        unsigned *n = job->internal ? &job->v->n_internal : &job->v->n_jobs;

        assert(*n > 0);
        (*n)--;
}

static void drop(Note *note) {
        Job *job = container_of(note, Job, note);

        forget(job);
        (void)job_free(job);
}

void job_complete(Job *job) {
        Virt *v = job->v;
        bool outer = v->delivering;

        forget(job);
        v->delivering = true;
        if (job->done)
                job->done(job->userdata, job->r, job->r < 0 ? NULL : job->result,
                          job->r < 0 ? &job->error : NULL);
        v->delivering = outer;
        (void)job_free(job);
}

int job_new(Virt *v, const char *step, JobRun run, OpDone done, void *userdata, Job **ret,
            Error *reterr) {
        Job *job = malloc(sizeof(*job));

        if (!job)
                return error_oom(reterr);
        *job = (Job){
                .note = { .work = work, .deliver = deliver, .drop = drop },
                .v = v,
                .step = step,
                .run = run,
                .needs_domain = true,
                .done = done,
                .userdata = userdata,
        };
        *ret = job;
        return 0;
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;
        free(job->xml);
        free(job->result_text);
        if (job->free_input)
                job->free_input(job->input);
        free(job);
        return NULL;
}

int job_submit(Job *job, LaneId lane, Error *reterr) {
        Virt *v = job->v;
        int r = 0;

        job->lane = lane;
        if (!v->uuid[0] && !job->of_host)
                r = error_setf(reterr, -EINVAL, "%s: no domain is set", job->step);
        if (r >= 0) {
                job->internal ? v->n_internal++ : v->n_jobs++;
                r = lane_put(&v->lanes[lane], &job->note, reterr);
                if (r < 0)
                        forget(job);
        }
        if (r < 0) {
                (void)job_free(job);
                return r;
        }
        return 1;
}
