/* SPDX-License-Identifier: Apache-2.0 */
/* The steps:
 *
 *      make the new file      record, mark, file                    shim/move-record.h
 *      copy                   libvirt; both get what the guest writes, until they are the same
 *      define                 from now on a start takes the new file
 *      go over                QEMU lets go of the old one
 *      finish                 the tree, the mark, the record
 *
 * What libvirt does not answer is asked again until it does, since only QEMU knows which file the
 * guest writes; if QEMU is gone the definition is right (shim/move-record.h). */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "hostdev/libvirt/domain-look.h"
#include "lib/log.h"
#include "shim/dbus/paths.h"
#include "shim/file-job.h"
#include "shim/keep.h"
#include "shim/volume-move-internal.h"
#include "shim/wiring/ops.h"

#define LOOK_USEC  (500U * 1000U)       /* libvirt has no event for how far a copy is */
#define AGAIN_USEC (5U * 1000U * 1000U) /* and may fail without going away */

/* -- libvirt that does not answer -- */

void volume_move_call_again(VolumeMove *m) {
        void (*again)(VolumeMove * m) = m->again;

        m->again = NULL;
        m->retry = sd_event_source_disable_unref(m->retry);
        if (again)
                again(m);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        volume_move_call_again(userdata);
        return 0;
}

/* When libvirt is back, when the VM is gone, or after a while. */
static void later(VolumeMove *m, void (*again)(VolumeMove *m), int r, const Error *err) {
        log_warning("volume move: %s; asking again", error_text(err, r));
        m->again = again;
        r = sd_event_add_time_relative(m->shim->event, &m->retry, CLOCK_MONOTONIC, AGAIN_USEC, 0,
                                       on_retry, m);
        if (r < 0) /* the events are left */
                log_warning("volume move: no timer: %s", strerrordesc_np(-r));
}

static bool is_silent(int r) {
        return r == -EBUSY || r == -ECONNRESET || r == -ETIMEDOUT;
}

static int cancel_error(const VolumeMove *m, Error *reterr) {
        return error_setf(reterr, -ECANCELED, "%s", m->cancelled ?: "the VM has ended");
}

/* -- make the new file -- */

static int work_begin(void *argument, Error *reterr) {
        VolumeMove *m = argument;

        MoveBegin b = { .pod = m->shim->pod_id,
                        .session = m->session,
                        .format = m->format,
                        .size = m->size,
                        .with_source = m->remove_source };

        return move_record_begin(m->shim->state_path, &b, &m->record, reterr);
}

static int step_begin(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return file_job(m->shim, work_begin, m, task_done, t, reterr);
}

static int work_undo(void *argument, Error *reterr) {
        VolumeMove *m = argument;
        struct statvfs fs;

        if (statvfs(m->record.to, &fs) == 0)
                m->free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
        return move_record_undo(m->shim->state_path, m->shim->pod_id, &m->record, reterr);
}

static int undo_begin(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return file_job(m->shim, work_undo, m, task_done, t, reterr);
}

/* -- copy -- */

static void end_job(VolumeMove *m);

static void on_job_ended(void *userdata, int r, const void *result, const Error *err) {
        VolumeMove *m = userdata;

        if (r < 0 && is_silent(r) && !m->vm_gone) {
                later(m, end_job, r, err);
                return;
        }
        if (r < 0) /* it had ended by itself, or the VM is gone */
                log_debug("volume move: %s", error_text(err, r));
        m->job_there = false;
        task_done(m->task, 0, NULL, NULL);
}

static void end_job(VolumeMove *m) {
        Error e = ERROR_INIT;
        int r = m->vm_gone ? -ENOENT
                           : virt_copy_end(m->shim->virt, m->slot, false, on_job_ended, m, &e);

        if (r < 0)
                on_job_ended(m, r, NULL, &e);
}

/* Nothing yet: the next step's failure is undone here. */
static int step_hold(void *object, Task *t, Error *reterr) {
        return 0;
}

int volume_move_undo_copy(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        Error e = ERROR_INIT;
        int r;

        if (!m->job_there || m->vm_gone)
                return 0;
        m->task = t;
        r = virt_copy_end(m->shim->virt, m->slot, false, on_job_ended, m, &e);
        if (r < 0)
                later(m, end_job, r, &e);
        return 1;
}

static void end_copying(VolumeMove *m, int r, const Error *err) {
        m->copying = false;
        m->look = sd_event_source_disable_unref(m->look);
        task_done(m->task, r, NULL, err);
}

/* Has step_copy come to its end? */
void volume_move_check_copy(VolumeMove *m) {
        Error e = ERROR_INIT;
        int r = 0;

        if (!m->copying || !m->begun)
                return;
        if (m->vm_gone)
                r = error_setf(&e, -ENOTCONN, "the VM has ended");
        else if (m->failed)
                r = error_setf(&e, -EIO, "QEMU could not read %s or write %s", m->record.from,
                               m->record.to);
        else if (m->cancelled)
                r = cancel_error(m, &e);
        else if (!m->ready)
                return;
        end_copying(m, r, &e);
}

/* From here on the move may have ended meanwhile, or be another one. */
static void on_copied(void *userdata, int r, const void *result, const Error *err) {
        const VirtCopy *copy = result;
        Shim *s = userdata;

        if (r == 0 && copy->total > 0 && s->move && s->move->copying)
                bus_server_emit(s->bus, s->move->path, BUS_INTERFACE ".Container", "VolumeMoving",
                                "stt", s->move->destination, copy->copied, copy->total);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        VolumeMove *m = userdata;

        (void)virt_copy_look(m->shim->virt, m->slot, on_copied, m->shim, NULL);
        if (sd_event_source_set_time_relative(source, LOOK_USEC) < 0 ||
            sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) < 0)
                log_debug("volume move: no timer");
        return 0;
}

static bool find_disk(const VolumeMove *m, const VirtInspect *seen, DomainLookDisk *ret) {
        char target[DISK_TARGET_SIZE];

        disk_target(m->slot, target);
        domain_look_disk(seen->xml, target, ret);
        return ret->source[0];
}

/* After an outage, or when somebody else has ended the job: what the events did not tell. */
static void on_inspected(void *userdata, int r, const void *result, const Error *err) {
        Shim *s = userdata;
        VolumeMove *m = s->move;
        DomainLookDisk *disk;

        if (r < 0 || !m || !m->copying || !m->begun)
                return; /* no libvirt: it will be back */
        disk = malloc(sizeof(*disk));
        if (disk && find_disk(m, result, disk)) {
                m->ready = m->ready || disk->ready || strcmp(disk->source, m->record.to) == 0;
                m->failed = m->failed || (!m->ready && !disk->copying);
                m->job_there = disk->copying;
        }
        free(disk);
        volume_move_check_copy(m);
}

void volume_move_inspect(VolumeMove *m) {
        Error e = ERROR_INIT;
        int r = virt_inspect(m->shim->virt, on_inspected, m->shim, &e);

        if (r < 0)
                log_warning("volume move: %s", error_text(&e, r));
}

static void on_begun(void *userdata, int r, const void *result, const Error *err) {
        VolumeMove *m = userdata;

        m->begun = true;
        if (r < 0) {
                m->job_there = r == -ECONNRESET;
                end_copying(m, r, err);
                return;
        }
        r = sd_event_add_time_relative(m->shim->event, &m->look, CLOCK_MONOTONIC, LOOK_USEC, 0,
                                       on_look, m);
        if (r < 0)
                log_debug("volume move: no timer");
        volume_move_check_copy(m);
}

static int step_copy(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        ScsiDiskConfig to = { .host_path = m->record.to, .format = m->format, .mode = m->mode };
        DiskSpec spec = shim_disk_spec(m->slot, &to);
        int r;

        if (m->cancelled || m->vm_gone)
                return cancel_error(m, reterr);
        m->task = t;
        r = virt_copy_disk(m->shim->virt, &spec, m->bandwidth_mib, on_begun, m, reterr);
        m->copying = m->job_there = r == 1;
        return r;
}

/* -- define -- */

static int work_define(void *argument, Error *reterr) {
        const VolumeMove *m = argument;

        return move_record_define(m->shim->state_path, &m->record, reterr);
}

static int step_define(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return m->cancelled ? cancel_error(m, reterr)
                            : file_job(m->shim, work_define, m, task_done, t, reterr);
}

static int work_undefine(void *argument, Error *reterr) {
        const VolumeMove *m = argument;

        return move_record_undefine(m->shim->state_path, &m->record, reterr);
}

static int undo_define(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return file_job(m->shim, work_undefine, m, task_done, t, reterr);
}

/* -- go over -- */

static void ask_where(VolumeMove *m);

static void on_where(void *userdata, int r, const void *result, const Error *err) {
        DomainLookDisk *disk = malloc(sizeof(*disk));
        VolumeMove *m = userdata;
        Error e = m->why;

        if (m->vm_gone || r == -ENOENT) { /* the definition is right */
                m->vm_gone = true;
                m->moved = !m->adopted && !m->failed;
                if (!m->moved && e.code == 0)
                        (void)error_setf(&e, -ENOTCONN, "the VM has ended");
        } else if (r < 0 || !disk || !find_disk(m, result, disk) || disk->ending) {
                free(disk);
                later(m, ask_where, r < 0 ? r : -ENODEV, err);
                return;
        } else {
                m->moved = strcmp(disk->source, m->record.to) == 0;
                m->job_there = disk->copying;
        }
        free(disk);
        task_done(m->task, m->moved || m->adopted ? 0 : e.code, NULL, &e);
}

static void ask_where(VolumeMove *m) {
        Error e = ERROR_INIT;
        int r = m->vm_gone ? -ENOENT : virt_inspect(m->shim->virt, on_where, m, &e);

        if (r < 0)
                on_where(m, r, NULL, &e);
}

int volume_move_ask_where(VolumeMove *m, Task *t) {
        Error e = ERROR_INIT;
        int r;

        m->task = t;
        r = virt_inspect(m->shim->virt, on_where, m, &e);
        if (r < 0)
                later(m, ask_where, r, &e);
        return 1;
}

static void on_pivoted(void *userdata, int r, const void *result, const Error *err) {
        VolumeMove *m = userdata;

        if (r < 0) { /* which does not say where it is */
                m->why = *err;
                m->why.code = r;
                ask_where(m);
                return;
        }
        m->job_there = false;
        m->moved = true;
        task_done(m->task, 0, NULL, NULL);
}

static int step_pivot(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        if (m->failed) /* since it was ready */
                return error_setf(reterr, -EIO, "the copy has failed");
        if (m->vm_gone) {
                m->moved = true;
                return 0;
        }
        if (m->cancelled)
                return cancel_error(m, reterr);
        m->task = t;
        return virt_copy_end(m->shim->virt, m->slot, true, on_pivoted, m, reterr);
}

/* -- finish: nothing of it makes the move fail -- */

static int work_finish(void *argument, Error *reterr) {
        const VolumeMove *m = argument;
        Error e = ERROR_INIT;
        int r = move_record_complete(&m->record, m->remove_source, &e);

        if (r < 0)
                log_warning("the volume has moved, but: %s", error_text(&e, r));
        return 0;
}

static int work_forget(void *argument, Error *reterr) {
        const VolumeMove *m = argument;

        return move_record_remove(m->shim->state_path, reterr);
}

static int step_tree(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        Error e = ERROR_INIT;
        int r;

        r = scsi_move_end(vm_scsi(m->shim->vm), m->reservation, m->record.to);
        if (r < 0) /* the record stays, for the shim that comes after */
                log_err("the volume has moved, but this shim does not know: %s",
                        error_text(NULL, r));
        keep_tree_changed(m->shim->keep);
        keep_now(m->shim->keep);
        r = file_job(m->shim, work_finish, m, task_done, t, &e);
        if (r < 0)
                log_warning("%s", error_text(&e, r));
        return MAX_OF(r, 0);
}

/* The record stays as long as a shim that is killed now would leave the tree from before. */
static int step_forget(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        Error e = ERROR_INIT;
        int r = keep_is_current(m->shim->keep) ? file_job(m->shim, work_forget, m, task_done, t, &e)
                                               : 0;

        if (r < 0)
                log_warning("%s", error_text(&e, r));
        return MAX_OF(r, 0);
}

const TaskStep volume_move_steps[] = {
        { .name = "make the new file", .run = step_begin, .undo = undo_begin },
        { .name = "copy", .run = step_hold, .undo = volume_move_undo_copy },
        { .name = "copy", .run = step_copy },
        { .name = "define", .run = step_define, .undo = undo_define },
        { .name = "go over", .run = step_pivot },
        { .name = "finish", .run = step_tree },
        { .name = "finish", .run = step_forget },
};
const size_t volume_move_n_steps = ELEMENTSOF(volume_move_steps);
