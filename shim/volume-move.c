/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning and end of a move, and what comes from outside meanwhile. */
#include "shim/volume-move.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "shim/dbus/paths.h"
#include "shim/migrate/migrate.h"
#include "shim/volume-move-internal.h"

VolumeMove *volume_move_free(VolumeMove *m) {
        if (!m)
                return NULL;
        sd_event_source_disable_unref(m->look);
        sd_event_source_disable_unref(m->retry);
        move_record_done(&m->record);
        free(m->container_id);
        free(m->destination);
        free(m->path);
        free(m);
        return NULL;
}

int volume_move_check_none(const Shim *s, const char *call, Error *reterr) {
        if (!s->move)
                return 0;
        if (s->move->adopted) /* its record is being read */
                return error_setf(reterr, -EBUSY,
                                  "%s: a volume was being moved when the shim before was killed; "
                                  "that is being settled",
                                  call);
        return error_setf(reterr, -EBUSY,
                          "%s: volume %s of the pod is being moved to another file; wait for the "
                          "end of that, or cancel it",
                          call, s->move->record.from);
}

static void on_ended(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(volume_move_freep) VolumeMove *m = userdata;
        Error e = err ? *err : ERROR_INIT;
        Shim *s = m->shim;

        s->move = NULL;
        if (r < 0) {
                if (s->vm)
                        (void)scsi_move_end(vm_scsi(s->vm), m->reservation, NULL);
                if (m->failed)
                        r = error_setf(&e, r,
                                       "copy: QEMU could not read %s or write %s (%llu MiB are "
                                       "free there)",
                                       m->record.from, m->record.to,
                                       (unsigned long long)m->free_mib);
                log_warning("volume %s stays where it is: %s", m->record.from, error_text(&e, r));
        } else {
                log_info("volume %s is at %s now", m->record.from, m->record.to);
        }
        if (m->done)
                m->done(m->job, r, NULL, &e);
}

/* -- beginning -- */

typedef struct Search {
        const char *destination;
        ContainerDiskInfo found;
        bool there;
} Search;

static int match_destination(void *userdata, const ContainerDiskInfo *info) {
        Search *x = userdata;

        if (info->disk.config.kind != SCSI_DISK_VOLUME ||
            strcmp(info->destination, x->destination) != 0)
                return 0;
        x->found = *info;
        x->there = true;
        return 1;
}

static int check_pod(Shim *s, Error *reterr) {
        int r = volume_move_check_none(s, "MoveVolume", reterr);

        if (r < 0)
                return r;
        if (!s->vm || !s->pod || vm_state(s->vm) != VM_RUNNING ||
            controller_is_frozen(pod_controller(s->pod)) ||
            migration_is_active(migrate_controller(s->migrate)))
                return error_setf(reterr,
                                  s->vm && s->pod && vm_state(s->vm) != VM_TERMINATED ? -EBUSY
                                                                                      : -EBADFD,
                                  "MoveVolume: the pod does not run here, or is being migrated");
        if (s->stops || s->ending || s->starting || s->restarting)
                return error_setf(reterr, -EBUSY,
                                  "MoveVolume: the pod is being stopped or started");
        return 0;
}

static VolumeMove *new_move(Shim *s, const ContainerDiskInfo *disk, const VolumeMoveWish *wish) {
        const ScsiDiskConfig *config = &disk->disk.config;
        VolumeMove *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        *m = (VolumeMove){ .shim = s,
                           .record = { .from = strdup(config->host_path), .to = strdup(wish->to) },
                           .size = config->virtual_size,
                           .container_id = strdup(wish->container_id),
                           .destination = strdup(wish->destination),
                           .path = bus_container_path(wish->container_id),
                           .reservation = disk->reservation,
                           .slot = disk->disk.slot,
                           .mode = config->mode,
                           .bandwidth_mib = wish->bandwidth_mib,
                           .remove_source = wish->remove_source };
        (void)snprintf(m->format, sizeof(m->format), "%s", config->format);
        (void)snprintf(m->session, sizeof(m->session), "v%llx", (unsigned long long)clock_us());
        return m->record.from && m->record.to && m->container_id && m->destination && m->path
                       ? m
                       : volume_move_free(m);
}

int volume_move(Shim *s, const VolumeMoveWish *wish, OpDone done, void *job, Error *reterr) {
        _cleanup_(volume_move_freep) VolumeMove *m = NULL;
        Search x = { .destination = wish->destination };
        Container *c;
        Virt *virt;
        int r;

        r = check_pod(s, reterr);
        if (r < 0)
                return r;
        c = pod_container(s->pod, wish->container_id);
        if (c)
                (void)container_each_disk(c, match_destination, &x);
        if (!x.there)
                return error_setf(reterr, -ENOENT, "container %s has no volume at %.200s",
                                  wish->container_id, wish->destination);
        if (wish->bandwidth_mib > VIRT_COPY_BANDWIDTH_MAX)
                return error_setf(reterr, -EINVAL, "bandwidth: at most %u MiB/s",
                                  VIRT_COPY_BANDWIDTH_MAX);
        m = new_move(s, &x.found, wish);
        if (!m)
                return error_oom(reterr);
        r = shim_virt(s, &virt, reterr);
        if (r == 0)
                r = scsi_move_begin(vm_scsi(s->vm), m->reservation, m->record.to, reterr);
        if (r < 0)
                return r;
        m->done = done;
        m->job = job;
        r = task_start(volume_move_steps, volume_move_n_steps, m, on_ended, m, NULL, reterr);
        if (r == 1)
                s->move = TAKE(m);
        else
                (void)scsi_move_end(vm_scsi(s->vm), m->reservation, NULL);
        return r;
}

void volume_move_cancel(Shim *s, const char *why) {
        if (!s->move || s->move->adopted)
                return;
        s->move->cancelled = why;
        volume_move_check_copy(s->move);
}

void volume_move_forget(void *shim, void *job) {
        Shim *s = shim;

        if (!s->move || s->move->job != job)
                return;
        s->move->done = NULL;
        s->move->job = NULL;
        log_info("nobody waits for the move of volume %s any more: it is cancelled",
                 s->move->record.from);
        volume_move_cancel(s, "the caller is gone");
}

/* -- what comes from outside -- */

static void on_copy_event(VolumeMove *m, const VirtEvent *e) {
        char target[DISK_TARGET_SIZE];

        disk_target(m->slot, target);
        if (strcmp(e->alias, target) != 0)
                return;
        switch (e->copy) {
        case VIRT_COPY_READY:
                m->ready = true;
                break;
        case VIRT_COPY_FAILED:
                m->failed = true;
                m->job_there = false;
                break;
        case VIRT_COPY_ENDED: /* not by us, or we wait for the call */
                if (m->copying && m->begun)
                        volume_move_inspect(m);
                return;
        }
        volume_move_check_copy(m);
}

void volume_move_on_virt_event(Shim *s, const VirtEvent *e) {
        VolumeMove *m = s->move;

        if (!m)
                return;
        if (e->kind == VIRT_EVENT_COPY)
                on_copy_event(m, e);
        else if (e->kind == VIRT_EVENT_BACK && m->again)
                volume_move_call_again(m);
        else if (e->kind == VIRT_EVENT_BACK && m->copying && m->begun)
                volume_move_inspect(m);
}

void volume_move_vm_gone(Shim *s) {
        VolumeMove *m = s->move;

        if (!m || m->vm_gone)
                return;
        m->vm_gone = true;
        if (m->again)
                volume_move_call_again(m);
        else
                volume_move_check_copy(m);
}
