/* SPDX-License-Identifier: Apache-2.0 */
/* How a container is made and taken down, step by step (lib/task.h).
 *
 * Creation has no undo functions: whatever step fails, the markers tell what there is, and the one
 * release below takes it down. Disks are mapped and unmapped all at once. */
#include <assert.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/container/container-internal.h"

static void gather_begin(ContainerGather *g, Task *t) {
        *g = (ContainerGather){ .task = t };
}

static void gather_note(ContainerGather *g, int r, const Error *err) {
        if (r < 0 && g->r == 0) {
                g->r = r;
                g->error = err ? *err : ERROR_INIT;
        }
}

/* All were started: the step's result. */
static int gather_end(const ContainerGather *g, Error *reterr) {
        if (g->pending > 0)
                return 1;
        if (g->r < 0 && reterr)
                *reterr = g->error;
        return g->r;
}

static void gather_arrived(ContainerGather *g, int r, const Error *err) {
        assert(g->pending > 0);
        gather_note(g, r, err);
        if (--g->pending == 0)
                task_done(g->task, g->r, NULL, &g->error);
}

static int step_reserve(void *object, Task *t, Error *reterr) {
        Container *c = object;

        for (size_t i = 0; i < c->n_disks; i++) {
                ContainerDiskRef *d = &c->disks[i];
                int r;

                r = scsi_reserve(c->ops.scsi, &d->config, &d->mount, &d->reservation, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void disk_mapped(void *userdata, int r, const void *result, const Error *err) {
        ContainerDiskRef *d = userdata;

        gather_arrived(&d->container->gather, r, err);
}

static int step_map(void *object, Task *t, Error *reterr) {
        Container *c = object;
        ContainerGather *g = &c->gather;

        gather_begin(g, t);
        for (size_t i = 0; g->r == 0 && i < c->n_disks; i++) {
                Error e = ERROR_INIT;
                int r;

                r = scsi_map(c->ops.scsi, c->disks[i].reservation, disk_mapped, &c->disks[i], &e);
                if (r > 0)
                        g->pending++;
                gather_note(g, r, &e);
        }
        return gather_end(g, reterr);
}

static int step_overlay(void *object, Task *t, Error *reterr) {
        Container *c = object;
        _cleanup_free_ const char **lower = NULL;
        ContainerOverlay overlay = { .guest_path = c->rootfs, .upper = "" };
        size_t n = 0;

        lower = calloc(c->n_disks + 1, sizeof(*lower));
        if (!lower)
                return error_oom(reterr);
        for (size_t i = c->n_disks; i-- > 0;) {
                const ContainerDiskRef *d = &c->disks[i];

                if (d->kind == SCSI_DISK_LAYER)
                        lower[n++] = scsi_guest_path(c->ops.scsi, d->reservation);
                else if (d->kind == SCSI_DISK_SCRATCH)
                        overlay.upper = scsi_guest_path(c->ops.scsi, d->reservation);
        }
        overlay.lower = lower;
        c->overlay_on = true; /* even if it fails: removing what is not there is harmless */
        return c->ops.container->overlay(c->ops.userdata, c->guest_id, &overlay, task_done, t,
                                         reterr);
}

static int step_stdio(void *object, Task *t, Error *reterr) {
        Container *c = object;

        return process_open_io(c->init, reterr);
}

static int guest_created(Container *c, int r, uint32_t pid, Error *reterr) {
        if (r == 0)
                r = process_created(c->init, pid, reterr);
        return r;
}

static void guest_create_done(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;
        Error e = err ? *err : ERROR_INIT;

        r = guest_created(c, r, r == 0 && result ? *(const uint32_t *)result : 0, &e);
        task_done(c->gather.task, r, NULL, &e);
}

static int step_guest_create(void *object, Task *t, Error *reterr) {
        Container *c = object;
        _cleanup_free_ char *config = NULL;
        ProcessKey key = { c->id, c->guest_id, "" };
        ProcessSpec spec;
        uint32_t pid = 0;
        int r;

        r = container_guest_config(c, &config, reterr);
        if (r < 0)
                return r;
        process_spec(c->init, &spec);
        gather_begin(&c->gather, t);
        c->guest_has_it = true; /* even if it fails: see above */
        r = c->ops.container->create(c->ops.userdata, &key, c->rootfs, config, &spec,
                                     process_channels(c->init), &pid, guest_create_done, c, reterr);
        return r == 1 ? 1 : guest_created(c, r, pid, reterr);
}

static const TaskStep create_steps[] = {
        { .name = "reserve disks", .run = step_reserve },
        { .name = "map disks", .run = step_map },
        { .name = "overlay", .run = step_overlay },
        { .name = "stdio", .run = step_stdio },
        { .name = "create in the guest", .run = step_guest_create },
};

int container_run_create(Container *c, OpDone done, Error *reterr) {
        return task_start(create_steps, ELEMENTSOF(create_steps), c, done, c, NULL, reterr);
}

static bool gone(const Container *c) {
        return c->vm_gone || (c->ops.container->gone && c->ops.container->gone(c->ops.userdata));
}

static void exec_ended(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;

        gather_arrived(&c->gather, 0, NULL);
}

/* Execs may outlive their init by a moment: they are killed, and their exits are waited for, so
 * that each is reported. */
static int step_execs(void *object, Task *t, Error *reterr) {
        Container *c = object;
        ContainerGather *g = &c->gather;

        gather_begin(g, t);
        for (size_t i = 0; i < c->n_execs; i++) {
                Process *p = c->execs[i];
                Error e = ERROR_INIT;
                int r;

                if (process_state(p) == PROCESS_RUNNING)
                        (void)process_kill(p, 9, false, NULL, NULL, NULL);
                if (process_state(p) != PROCESS_RUNNING && process_state(p) != PROCESS_STARTING)
                        continue;
                r = process_wait(p, NULL, exec_ended, c, &e);
                if (r > 0)
                        g->pending++;
                gather_note(g, r, &e);
        }
        return gather_end(g, reterr);
}

static int marker_cleared(bool *marker, const Container *c, int r) {
        if (r == -ENOENT || (r < 0 && gone(c)))
                r = 0;
        if (r == 0)
                *marker = false;
        return r;
}

static void guest_deleted(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;

        task_done(c->gather.task, marker_cleared(&c->guest_has_it, c, r), NULL, err);
}

static int step_guest_delete(void *object, Task *t, Error *reterr) {
        Container *c = object;
        int r = 0;

        if (!c->guest_has_it)
                return 0;
        gather_begin(&c->gather, t);
        if (!gone(c))
                r = c->ops.container->delete (c->ops.userdata, c->guest_id, true, guest_deleted, c,
                                              reterr);
        return r == 1 ? 1 : marker_cleared(&c->guest_has_it, c, r);
}

static void overlay_removed(void *userdata, int r, const void *result, const Error *err) {
        Container *c = userdata;

        task_done(c->gather.task, marker_cleared(&c->overlay_on, c, r), NULL, err);
}

static int step_remove_overlay(void *object, Task *t, Error *reterr) {
        Container *c = object;
        int r = 0;

        if (!c->overlay_on)
                return 0;
        gather_begin(&c->gather, t);
        if (!gone(c))
                r = c->ops.container->remove_overlay(c->ops.userdata, c->guest_id, c->rootfs,
                                                     overlay_removed, c, reterr);
        return r == 1 ? 1 : marker_cleared(&c->overlay_on, c, r);
}

static void disk_unmapped(void *userdata, int r, const void *result, const Error *err) {
        ContainerDiskRef *d = userdata;

        if (r == 0)
                d->reservation = 0;
        gather_arrived(&d->container->gather, r, err);
}

static int step_unmap(void *object, Task *t, Error *reterr) {
        Container *c = object;
        ContainerGather *g = &c->gather;

        gather_begin(g, t);
        for (size_t i = c->n_disks; i-- > 0;) {
                ContainerDiskRef *d = &c->disks[i];
                Error e = ERROR_INIT;
                int r;

                if (d->reservation == 0)
                        continue;
                r = scsi_unmap(c->ops.scsi, d->reservation, disk_unmapped, d, &e);
                if (r > 0)
                        g->pending++;
                if (r == 0)
                        d->reservation = 0;
                gather_note(g, r, &e);
        }
        return gather_end(g, reterr);
}

static const TaskStep release_steps[] = {
        { .name = "end execs", .run = step_execs },
        { .name = "delete in the guest", .run = step_guest_delete },
        { .name = "remove the overlay", .run = step_remove_overlay },
        { .name = "unmap disks", .run = step_unmap },
};

int container_run_release(Container *c, OpDone done, Error *reterr) {
        return task_start(release_steps, ELEMENTSOF(release_steps), c, done, c, NULL, reterr);
}
