/* SPDX-License-Identifier: Apache-2.0 */
/* A shim was killed while it moved a volume, and another one has its tree. QEMU says which file the
 * guest writes. */
#include <string.h>

#include "lib/log.h"
#include "shim/file-job.h"
#include "shim/keep.h"
#include "shim/volume-move-internal.h"

typedef struct Search {
        const char *from, *to;
        ContainerDiskInfo found;
        bool there;
} Search;

static int work_read(void *argument, Error *reterr) {
        VolumeMove *m = argument;

        return move_record_read(m->shim->state_path, &m->record, reterr);
}

static int adopt_read(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return file_job(m->shim, work_read, m, task_done, t, reterr);
}

static int match_record(void *userdata, const ContainerDiskInfo *info) {
        const char *path = info->disk.config.host_path;
        Search *x = userdata;

        if (strcmp(path, x->from) != 0 && strcmp(path, x->to) != 0)
                return 0;
        x->found = *info;
        x->there = true;
        return 1;
}

static int search_container(void *userdata, Container *c) {
        return container_each_disk(c, match_record, userdata);
}

static int adopt_look(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        Shim *s = m->shim;
        Search x = { .from = m->record.from, .to = m->record.to };

        if (!m->vm_gone)
                (void)pod_each_container(s->pod, search_container, &x);
        if (!x.there) { /* taken away since: the definition says so, too */
                m->vm_gone = true;
                return 0;
        }
        m->slot = x.found.disk.slot;
        m->reservation = x.found.reservation;
        return volume_move_ask_where(m, t);
}

static int adopt_end_job(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;

        return m->moved ? 0 : volume_move_undo_copy(m, t, reterr);
}

static int work_settle(void *argument, Error *reterr) {
        const VolumeMove *m = argument;
        const char *state = m->shim->state_path, *pod = m->shim->pod_id;
        int r;

        if (m->vm_gone)
                return move_record_settle(state, pod, reterr);
        if (!m->moved) {
                r = move_record_undefine(state, &m->record, reterr);
                return r < 0 ? r : move_record_undo(state, pod, &m->record, reterr);
        }
        r = move_record_define(state, &m->record, reterr);
        if (r == 0)
                r = move_record_complete(&m->record, false, reterr);
        return r < 0 ? r : move_record_remove(state, reterr);
}

static int adopt_settle(void *object, Task *t, Error *reterr) {
        VolumeMove *m = object;
        Shim *s = m->shim;
        int r = 0;

        if (m->moved && !m->vm_gone)
                r = scsi_move_end(vm_scsi(s->vm), m->reservation, m->record.to);
        if (r < 0)
                return error_oom(reterr);
        keep_tree_changed(s->keep);
        return file_job(s, work_settle, m, task_done, t, reterr);
}

static const TaskStep adopt_steps[] = {
        { .name = "read the record", .run = adopt_read },
        { .name = "look where the volume is", .run = adopt_look },
        { .name = "end the copy", .run = adopt_end_job },
        { .name = "settle it", .run = adopt_settle },
};

static void on_adopted(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(volume_move_freep) VolumeMove *m = userdata;

        m->shim->move = NULL;
        if (r < 0)
                log_err("a volume was being moved, and that could not be settled: %s",
                        error_text(err, r));
        else
                log_info("a volume was being moved: %s is %s", m->record.from,
                         m->moved && !m->vm_gone ? "where it was to go" : "settled");
}

void volume_move_adopt(Shim *s) {
        _cleanup_(volume_move_freep) VolumeMove *m = NULL;
        Error e = ERROR_INIT;
        int r;

        if (s->move || !move_record_is_there(s->state_path))
                return;
        m = calloc(1, sizeof(*m));
        if (!m) {
                log_err("a volume was being moved: no memory to look at that");
                return;
        }
        *m = (VolumeMove){ .shim = s,
                           .adopted = true,
                           .vm_gone = !s->vm || !s->virt || vm_state(s->vm) != VM_RUNNING };
        r = task_start(adopt_steps, ELEMENTSOF(adopt_steps), m, on_adopted, m, NULL, &e);
        if (r == 1)
                s->move = TAKE(m);
        else if (r < 0)
                log_err("a volume was being moved: %s", error_text(&e, r));
}
