/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/move-record.h"
#include "shim/volume-move.h"

/* Of the files volume-move*.c only. */
struct VolumeMove {
        Shim *shim;
        MoveRecord record;
        char *container_id, *destination, *path; /* path: the container's object on the bus */
        char format[8], session[24];
        uint64_t size, reservation, bandwidth_mib;
        uint32_t slot;
        ScsiStorageMode mode;
        bool remove_source, adopted;
        bool vm_gone;
        const char *cancelled; /* why; NULL: it is not */

        Task *task;   /* whose step waits */
        bool begun;   /* libvirt has accepted the copy */
        bool copying; /* step_copy waits for one of these: */
        bool ready, failed;
        bool job_there;    /* libvirt may have a copy job for the disk */
        bool moved;        /* QEMU has the new file */
        uint64_t free_mib; /* where a copy failed */
        Error why;         /* the pivot did not work out */
        void (*again)(VolumeMove *m);
        sd_event_source *look, *retry;
        OpDone done;
        void *job;
};

DEFINE_CLEANUP(VolumeMove *, volume_move_free);

extern const TaskStep volume_move_steps[];
extern const size_t volume_move_n_steps;

/* volume-move-steps.c. Looks whether the copy that is under way has come to its end. */
void volume_move_check_copy(VolumeMove *m);
/* It may have: libvirt is asked. */
void volume_move_inspect(VolumeMove *m);
/* What waited for libvirt is tried again. */
void volume_move_call_again(VolumeMove *m);
/* Step and undo that the adoption has in common with a move. m->moved says where QEMU has the disk;
 * m->vm_gone: nowhere. */
int volume_move_ask_where(VolumeMove *m, Task *t);
int volume_move_undo_copy(void *object, Task *t, Error *reterr);
