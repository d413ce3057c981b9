/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/shim.h"

/* A volume goes to another file or block device of this host while the pod works: a table of steps
 * with undo, of which libvirt's block copy is one. One at a time (Shim.move). Loop thread. */
typedef struct VolumeMoveWish {
        const char *container_id, *destination; /* the path in the container */
        const char *to;                         /* absolute */
        uint64_t bandwidth_mib;                 /* 0: not limited */
        bool remove_source;                     /* the old file goes once the pod has the new one */
} VolumeMoveWish;

/* Result NULL, once the guest is on the new place. Signals VolumeMoving tell how far it is.
 * -ENOENT: no such container or volume; -EINVAL: read-only, or not a disk that moves; -EBUSY:
 * another move, a migration, a stop is under way; -EBADFD: the pod does not run; codes of
 * disk_make_target(); -ECANCELED: by volume_move_cancel(); -EIO: QEMU could not read the one or
 * write the other. After any failure the pod has the volume where it was, and nothing of the new
 * one is left. */
int volume_move(Shim *s, const VolumeMoveWish *wish, OpDone done, void *job, Error *reterr);
/* Asks it to end, unless the guest is going over already; a no-op if there is none. The call gets
 * its answer, with `why` (static), once all is undone. */
void volume_move_cancel(Shim *s, const char *why);
/* Whoever has called is gone: done() will not be called, and it is cancelled. */
void volume_move_forget(void *shim, void *job);
/* -EBUSY with the reason: something that a move of a volume does not bear is wanted. */
int volume_move_check_none(const Shim *s, const char *call, Error *reterr);

void volume_move_on_virt_event(Shim *s, const VirtEvent *e);
void volume_move_vm_gone(Shim *s);
/* The tree of a shim that was killed is there again: if it moved a volume, QEMU is asked where that
 * is, and the move is finished or undone. */
void volume_move_adopt(Shim *s);
VolumeMove *volume_move_free(VolumeMove *m); /* of a shim whose loop has ended */
