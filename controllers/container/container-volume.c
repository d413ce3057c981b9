/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that come and go while the container runs: a disk is plugged and mounted as for a
 * creation, then bound into the container's own mount namespace; and back.
 *
 * A volume is among the container's disks from the end of its addition to the end of its removal.
 * In between the call has it, and counts as one of the container's (`calls`): no freeze and no
 * deletion starts meanwhile. */
#include <string.h>

#include "controllers/container/container-internal.h"

typedef struct VolumeCall {
        Container *container;
        ContainerDiskRef disk; /* add: the new one; remove: a copy, borrowing the strings */
        OpDone done;
        void *job;
} VolumeCall;

static int start(VolumeCall *call, const TaskStep *steps, size_t n, OpDone ended, Error *reterr) {
        Container *c = call->container;
        int r;

        c->calls++;
        r = task_start(steps, n, call, ended, call, NULL, reterr);
        if (r <= 0)
                c->calls--;
        return r;
}

static ContainerDiskRef *find_volume(Container *c, const char *destination) {
        for (size_t i = 0; i < c->n_disks; i++)
                if (c->disks[i].kind == SCSI_DISK_VOLUME &&
                    strcmp(c->disks[i].destination, destination) == 0)
                        return &c->disks[i];
        return NULL;
}

/* -- add -- */

static int step_reserve(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;
        ContainerDiskRef *d = &call->disk;

        return scsi_reserve(call->container->ops.scsi, &d->config, &d->mount, &d->reservation,
                            reterr);
}

static int undo_reserve(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;

        return scsi_unmap(call->container->ops.scsi, call->disk.reservation, task_done, t, reterr);
}

static int step_map(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;

        return scsi_map(call->container->ops.scsi, call->disk.reservation, task_done, t, reterr);
}

static int step_bind(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;
        const ContainerDiskRef *d = &call->disk;
        Container *c = call->container;
        ContainerBind bind = { .source = scsi_guest_path(c->ops.scsi, d->reservation),
                               .destination = d->destination,
                               .read_only = d->read_only,
                               .block_device = d->block_device };

        return c->ops.container->bind(c->ops.userdata, c->guest_id, &bind, task_done, t, reterr);
}

static const TaskStep add_steps[] = {
        { .name = "reserve the disk", .run = step_reserve, .undo = undo_reserve },
        { .name = "plug and mount the disk", .run = step_map },
        { .name = "bind it into the container", .run = step_bind },
};

/* What could not be undone stays among the disks, for the container's release. */
static void add_settled(VolumeCall *call, int r) {
        Container *c = call->container;

        if (r == 0 || scsi_has_reservation(c->ops.scsi, call->disk.reservation)) {
                c->disks[c->n_disks++] = call->disk;
        } else {
                container_disk_done(&call->disk);
        }
        free(call);
}

static void add_done(void *userdata, int r, const void *result, const Error *err) {
        VolumeCall *call = userdata;
        OpDone done = call->done;
        void *job = call->job;

        call->container->calls--;
        add_settled(call, r);
        if (done)
                done(job, r, NULL, err);
}

static int can_add(Container *c, const ContainerDisk *d, Error *reterr) {
        ContainerDiskRef *more;

        if (c->fsm.state != CONTAINER_RUNNING)
                return fsm_refuse(&c->fsm, "add volume", reterr);
        if (d->disk.kind != SCSI_DISK_VOLUME)
                return error_setf(reterr, -EINVAL, "only volumes are added to a container");
        if (find_volume(c, d->destination))
                return error_setf(reterr, -EEXIST, "container %s has a volume at %s", c->id,
                                  d->destination);
        if (c->calls > 0) /* the place that it checked must still be free at its end */
                return error_setf(reterr, -EBUSY, "a call to container %s is in flight", c->id);
        if (c->n_disks >= CONTAINER_DISKS_MAX)
                return error_setf(reterr, -ENOSPC, "container %s has %zu disks", c->id, c->n_disks);
        more = reallocarray(c->disks, c->n_disks + 1, sizeof(*more));
        if (!more)
                return error_oom(reterr);
        c->disks = more;
        return 0;
}

int container_add_volume(Container *c, const ContainerDisk *disk, OpDone done, void *job,
                         Error *reterr) {
        VolumeCall *call;
        int r;

        r = container_destination_check(disk->destination, reterr);
        if (r == 0)
                r = can_add(c, disk, reterr);
        if (r < 0)
                return r;
        call = calloc(1, sizeof(*call));
        if (!call)
                return error_oom(reterr);
        *call = (VolumeCall){ .container = c, .done = done, .job = job };
        call->disk.container = c;
        if (container_copy_disk(&call->disk, disk) < 0)
                r = error_oom(reterr);
        if (r == 0)
                r = scsi_check(&call->disk.config, &call->disk.mount, reterr);
        if (r < 0) {
                container_disk_done(&call->disk);
                free(call);
                return r;
        }
        r = start(call, add_steps, ELEMENTSOF(add_steps), add_done, reterr);
        if (r <= 0)
                add_settled(call, r);
        return r;
}

/* -- remove -- */

static void unbound(void *task, int r, const void *result, const Error *err) {
        task_done(task, r == -ENOENT ? 0 : r, NULL, err); /* by a removal that failed later */
}

static int step_unbind(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;
        Container *c = call->container;
        int r;

        r = c->ops.container->unbind(c->ops.userdata, c->guest_id, call->disk.destination, unbound,
                                     t, reterr);
        return r == -ENOENT ? 0 : r;
}

static int step_unmap(void *object, Task *t, Error *reterr) {
        VolumeCall *call = object;

        return scsi_unmap(call->container->ops.scsi, call->disk.reservation, task_done, t, reterr);
}

static const TaskStep remove_steps[] = {
        { .name = "take it out of the container", .run = step_unbind },
        { .name = "unmount and unplug the disk", .run = step_unmap },
};

static void remove_settled(VolumeCall *call, int r) {
        Container *c = call->container;
        ContainerDiskRef *d = r == 0 ? find_volume(c, call->disk.destination) : NULL;

        if (d) {
                size_t i = (size_t)(d - c->disks);

                container_disk_done(d);
                memmove(d, d + 1, (c->n_disks - i - 1) * sizeof(*d));
                c->n_disks--;
        }
        free(call);
}

static void remove_done(void *userdata, int r, const void *result, const Error *err) {
        VolumeCall *call = userdata;
        OpDone done = call->done;
        void *job = call->job;

        call->container->calls--;
        remove_settled(call, r);
        if (done)
                done(job, r, NULL, err);
}

int container_remove_volume(Container *c, const char *destination, OpDone done, void *job,
                            Error *reterr) {
        ContainerDiskRef *d;
        VolumeCall *call;
        int r;

        if (c->fsm.state != CONTAINER_RUNNING)
                return fsm_refuse(&c->fsm, "remove volume", reterr);
        d = find_volume(c, destination);
        if (!d)
                return error_setf(reterr, -ENOENT, "container %s has no volume at %.200s", c->id,
                                  destination);
        if (c->calls > 0)
                return error_setf(reterr, -EBUSY, "a call to container %s is in flight", c->id);
        if (scsi_is_moving(c->ops.scsi, d->reservation))
                return error_setf(reterr, -EBUSY,
                                  "the volume at %.200s is being moved to another file: wait for "
                                  "the end of that, or cancel it",
                                  destination);
        call = calloc(1, sizeof(*call));
        if (!call)
                return error_oom(reterr);
        *call = (VolumeCall){ .container = c, .disk = *d, .done = done, .job = job };
        r = start(call, remove_steps, ELEMENTSOF(remove_steps), remove_done, reterr);
        if (r <= 0)
                remove_settled(call, r);
        return r;
}
