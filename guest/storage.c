/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent.h"
#include "guest/handlers.h"
#include "guest/mount.h"
#include "guest/scsi.h"

/* Requests about disks: checked here, done on the worker's thread, which sees the request and
 * nothing else of the agent. */

typedef struct StorageJob {
        WorkerJob job;
        Call *call;
} StorageJob;

static int unmount(const UnmountRequest *q, Error *reterr) {
        int r = q->guest_path[0] == '\0' ? 0 : mount_undo(q->guest_path, reterr);

        return r < 0 || !q->disk ? r : scsi_remove(q->disk, reterr);
}

static int run(WorkerJob *job, Error *reterr) {
        const ToGuest *m = container_of(job, StorageJob, job)->call->request;

        switch ((int)m->body_case) {
        case TO_GUEST(MOUNT):
                return mount_disk(m->mount, reterr);
        case TO_GUEST(UNMOUNT):
                return unmount(m->unmount, reterr);
        case TO_GUEST(OVERLAY):
                return mount_overlay(m->overlay, reterr);
        case TO_GUEST(REMOVE_OVERLAY):
                return unmount(m->remove_overlay, reterr);
        default:
                return error_setf(reterr, -EOPNOTSUPP, "not a request about disks");
        }
}

static void done(WorkerJob *job) {
        StorageJob *s = container_of(job, StorageJob, job);

        call_finish(s->call, job->code, &job->err, NULL);
        free(s);
}

static int submit(Agent *a, Call *call, Error *reterr) {
        StorageJob *s = malloc(sizeof(*s));
        int r = power_check(&a->power, reterr);

        if (!s || r < 0) {
                free(s);
                return r < 0 ? r : error_oom(reterr);
        }
        *s = (StorageJob){ .job = { .run = run, .done = done }, .call = call };
        worker_submit(&a->worker, &s->job);
        return 1;
}

int handle_mount(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const MountRequest *q = m->mount;
        int r;

        if ((r = check_path("guest path", q->guest_path, reterr)) < 0 ||
            (r = check_disk(q->disk, reterr)) < 0)
                return r;
        if (q->n_options > CHECK_OPTIONS_MAX)
                return error_setf(reterr, -EINVAL, "%zu mount options", q->n_options);
        if (q->block_device && (q->filesystem[0] != '\0' || q->n_options > 0))
                return error_setf(reterr, -EINVAL, "a device node has no filesystem and options");
        if (!q->block_device && q->filesystem[0] == '\0')
                return error_setf(reterr, -EINVAL, "no filesystem is given");
        for (size_t i = 0; i < q->n_options; i++) {
                r = check_option(q->options[i], reterr);
                if (r < 0)
                        return r;
        }
        return submit(a, call, reterr);
}

static int check_unmount(const UnmountRequest *q, Error *reterr) {
        int r;

        if (q->guest_path[0] == '\0' && !q->disk)
                return error_setf(reterr, -EINVAL, "neither a path nor a disk is given");
        if (q->guest_path[0] != '\0' && (r = check_path("guest path", q->guest_path, reterr)) < 0)
                return r;
        return q->disk ? check_disk(q->disk, reterr) : 0;
}

int handle_unmount(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        int r = check_unmount(m->unmount, reterr);

        return r < 0 ? r : submit(a, call, reterr);
}

int handle_overlay(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const OverlayRequest *q = m->overlay;
        int r;

        r = check_path("guest path", q->guest_path, reterr);
        if (r < 0)
                return r;
        if (q->n_lower == 0 || q->n_lower > CHECK_LAYERS_MAX)
                return error_setf(reterr, -EINVAL, "%zu layers, 1 to %d allowed", q->n_lower,
                                  CHECK_LAYERS_MAX);
        for (size_t i = 0; i < q->n_lower; i++) {
                r = check_path("layer", q->lower[i], reterr);
                if (r < 0)
                        return r;
        }
        if (q->upper[0] != '\0' && (r = check_path("upper directory", q->upper, reterr)) < 0)
                return r;
        return submit(a, call, reterr);
}

int handle_remove_overlay(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        int r = check_unmount(m->remove_overlay, reterr);

        return r < 0 ? r : submit(a, call, reterr);
}
