/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"

/* The pod's SCSI disks: reservation, hot-plug, mount in the guest, reference counts.
 *
 * One Scsi per VM, with up to SCSI_CONTROLLERS_MAX virtio-scsi controllers of SCSI_TARGETS slots
 * each; slot = controller * SCSI_TARGETS + target, lun 0. A disk is known by its host path:
 * reserving the same path again shares the disk when the configuration is equal. A reservation is a
 * handle (id above 0, never reused) to one mount of one partition; containers hold reservations,
 * not disks, so that their state can travel. */
typedef struct Scsi Scsi;

typedef enum ScsiState {
        SCSI_ACTIVE,
        SCSI_SOURCE_MIGRATING,
        SCSI_DESTINATION_MIGRATING,
        SCSI_GONE, /* the VM is no more (or never was here): unmap only forgets */
        _SCSI_STATE_MAX,
} ScsiState;

typedef enum ScsiDiskState {
        SCSI_DISK_RESERVED,  /* slot taken, hypervisor not told */
        SCSI_DISK_ATTACHING, /* plug in flight */
        SCSI_DISK_ATTACHED,  /* the guest can see it */
        SCSI_DISK_DETACHING, /* unplug in flight */
        SCSI_DISK_FAILED,    /* plug was refused: every holder unmaps it */
        SCSI_DISK_GONE,      /* final */
        _SCSI_DISK_STATE_MAX,
} ScsiDiskState;

typedef enum ScsiMountState {
        SCSI_MOUNT_RESERVED,
        SCSI_MOUNT_MOUNTING,
        SCSI_MOUNT_MOUNTED,
        SCSI_MOUNT_UNMOUNTING,
        SCSI_MOUNT_FAILED, /* mount was refused: every holder unmaps it */
        SCSI_MOUNT_GONE,   /* final */
        _SCSI_MOUNT_STATE_MAX,
} ScsiMountState;

#define SCSI_CONTROLLERS_MAX 4U
#define SCSI_TARGETS         64U
#define SCSI_SLOTS_MAX       (SCSI_CONTROLLERS_MAX * SCSI_TARGETS)

typedef enum ScsiDiskKind {
        SCSI_DISK_LAYER,   /* read-only image layer (erofs), same content on both hosts, known by
                              digest */
        SCSI_DISK_SCRATCH, /* the container's writable layer; made and removed by podferry */
        SCSI_DISK_VOLUME,  /* the user's disk */
        _SCSI_DISK_KIND_MAX,
} ScsiDiskKind;

typedef enum ScsiStorageMode {
        SCSI_STORAGE_COPY,   /* its bytes move with the pod (NBD) */
        SCSI_STORAGE_SHARED, /* both hosts see the same file */
        SCSI_STORAGE_SAME,   /* read-only and equal on both hosts, compared by digest */
        _SCSI_STORAGE_MODE_MAX,
} ScsiStorageMode;

typedef struct ScsiDiskConfig {
        const char *host_path;
        ScsiDiskKind kind;
        ScsiStorageMode mode;
        bool read_only;
        const char *format;    /* "raw" or "qcow2" */
        const char *digest;    /* "sha256:..." of a layer, else "" */
        uint64_t virtual_size; /* bytes */
} ScsiDiskConfig;

#define SCSI_FILESYSTEM_AUTO "auto" /* the guest looks */

typedef struct ScsiMountConfig {
        uint32_t partition;     /* 0: the whole disk */
        const char *filesystem; /* "erofs", "ext4", SCSI_FILESYSTEM_AUTO; "" with block_device */
        bool read_only;
        bool block_device;
        const char *const *options; /* NULL-terminated, may be NULL; compared as sets */
} ScsiMountConfig;

/* What Scsi needs from the host (hostdev/libvirt) and from the guest (shim/guest). Convention of
 * lib/task.h. */
typedef struct ScsiOps {
        int (*plug)(void *userdata, uint32_t slot, const ScsiDiskConfig *disk, OpDone done,
                    void *job, Error *reterr);
        int (*unplug)(void *userdata, uint32_t slot, OpDone done, void *job, Error *reterr);
        int (*guest_mount)(void *userdata, uint32_t slot, const ScsiMountConfig *mount,
                           const char *guest_path, OpDone done, void *job, Error *reterr);
        /* last: no other mount of this disk is left, the guest lets go of the disk as well. Success
         * also when the guest is gone. */
        int (*guest_unmount)(void *userdata, uint32_t slot, const char *guest_path, bool last,
                             OpDone done, void *job, Error *reterr);
} ScsiOps;

int scsi_new(Controller *parent, uint32_t n_controllers, Scsi **ret, Error *reterr);
Scsi *scsi_free(Scsi *s); /* not while a job is in flight */
DEFINE_CLEANUP(Scsi *, scsi_free);
bool scsi_is_idle(const Scsi *s); /* no call is in flight: it may be freed */
void scsi_bind(Scsi *s, const ScsiOps *ops, void *userdata);
Controller *scsi_controller(Scsi *s);
ScsiState scsi_state(const Scsi *s);
/* The VM is gone for good: disks and mounts went with it, reservations can be unmapped without a
 * call to anyone. */
void scsi_lost(Scsi *s);

/* No I/O. Host paths are absolute and normalised ("/a/b": no "//", "." or ".." in it). -EINVAL bad
 * configuration, -EEXIST same path with another configuration, -ENOSPC no slot, -EBADFD frozen,
 * -EBUSY the same disk has failed and is still held. */
int scsi_reserve(Scsi *s, const ScsiDiskConfig *disk, const ScsiMountConfig *mount,
                 uint64_t *ret_reservation, Error *reterr);
/* The checks of scsi_reserve that need no Scsi: -EINVAL. */
int scsi_check(const ScsiDiskConfig *disk, const ScsiMountConfig *mount, Error *reterr);
/* Plugs the disk if needed and mounts it; idempotent. -ENOENT unknown reservation. After a failure
 * the reservation is good for scsi_unmap only. */
int scsi_map(Scsi *s, uint64_t reservation, OpDone done, void *job, Error *reterr);
/* Where it is mounted in the guest; borrowed; NULL if unknown. */
const char *scsi_guest_path(const Scsi *s, uint64_t reservation);
/* Unmounts, unplugs when the last mount goes, frees the slot, drops the reservation last. After a
 * failure it may be called again and goes on where it failed. Legal for a reservation that was
 * never mapped. */
int scsi_unmap(Scsi *s, uint64_t reservation, OpDone done, void *job, Error *reterr);

/* The volume behind a reservation goes to another file while it stays plugged: its slot and its
 * mounts stay. Until the end no reservation of the disk comes or goes. The path is the new one's.
 * -ENOENT unknown reservation, -EINVAL no volume, or read-only, -EEXIST a disk has that path,
 * -EBUSY it is being moved, -EBADFD frozen, or not plugged. */
int scsi_move_begin(Scsi *s, uint64_t reservation, const char *host_path, Error *reterr);
bool scsi_is_moving(const Scsi *s, uint64_t reservation);
/* host_path NULL: it stays where it was. Else it is there now. -ENOMEM: it counts as being moved
 * still. Also while frozen, and when the VM is gone. */
int scsi_move_end(Scsi *s, uint64_t reservation, const char *host_path);

/* For the domain XML and for a migration: every disk that holds a slot. */
typedef struct ScsiDiskInfo {
        uint32_t slot;
        ScsiDiskConfig config; /* borrowed */
        const char *state;
        uint32_t mounts;
} ScsiDiskInfo;
typedef int (*ScsiDiskVisitor)(void *userdata, const ScsiDiskInfo *info);
int scsi_each_disk(const Scsi *s, ScsiDiskVisitor visit, void *userdata);
uint32_t scsi_n_controllers(const Scsi *s);
int scsi_disk_of(const Scsi *s, uint64_t reservation, ScsiDiskInfo *ret);

int scsi_save(const Scsi *s, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
int scsi_import(Controller *parent, const void *p, size_t n, Scsi **ret, Error *reterr);
/* Repoints the disk behind a reservation to this host's path. DestinationMigrating only. Shared
 * layers: several reservations may do it, equally (-EINVAL if not); the same one may do it again.
 * -EEXIST: that path was given to another disk. */
int scsi_can_patch(const Scsi *s, uint64_t reservation, const char *host_path, Error *reterr);
int scsi_patch(Scsi *s, uint64_t reservation, const char *host_path, Error *reterr);
/* Destination: binds; -EBADFD while a disk has no path of this host. Source: thaws. No-op when not
 * migrating. */
int scsi_resume(Scsi *s, const ScsiOps *ops, void *userdata, Error *reterr);
int scsi_abort_migrated(Scsi *s, Error *reterr); /* DestinationMigrating -> Gone, else a no-op */
bool scsi_has_reservation(const Scsi *s, uint64_t reservation);
bool scsi_is_mapped(const Scsi *s, uint64_t reservation); /* mounted */
/* Destination: each imported reservation belongs to one container, which claims it when it is
 * imported. -EINVAL: unknown, or claimed by another. */
int scsi_claim(Scsi *s, uint64_t reservation, Error *reterr);
void scsi_unclaim(Scsi *s, uint64_t reservation);
/* After all containers were imported: -EINVAL if a reservation is nobody's. */
int scsi_check_claims(const Scsi *s, Error *reterr);

extern const FsmTable scsi_fsm, scsi_disk_fsm, scsi_mount_fsm;
extern const EnvelopeType scsi_envelope;
