/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* Writable disks of a pod: scratch disks, which podferry makes and removes, and volumes, which are
 * the user's. Paths are absolute. Functions block for a few milliseconds (they may run mkfs.ext4 or
 * qemu-img), so a caller with a loop uses a job lane.
 *
 * A disk that a migration fills has a mark beside it, <path>.incomplete, from before it exists
 * until disk_commit(). It names the pod, whose disk_discard() may remove both, and nobody else's;
 * nothing ever runs on a marked disk. */

typedef struct DiskInfo {
        const char *format; /* "raw", "qcow2"; static */
        const char
                *filesystem;   /* "ext4", "xfs", "erofs", "squashfs", "" if none is known; static */
        uint64_t virtual_size; /* bytes the guest sees */
        uint64_t allocated;    /* bytes of the file that hold data */
        bool backed;           /* a qcow2 image with a backing file: see hostdev/disk/inspect.h */
        bool more;             /* snapshots or bitmaps are in it, which no copy has */
        bool incomplete;       /* see above */
} DiskInfo;

/* Looks at a file or block device by its content. A qcow2 image whose data is in another file is
 * refused, and so are formats that podferry does not use (vmdk, vdi, ...), which would pass for
 * raw. `writable`: it must be. -ENOENT, -EACCES, -EINVAL (neither a file nor a device, damaged,
 * empty, or not a multiple of 512 bytes). */
int disk_probe(const char *path, bool writable, DiskInfo *ret, Error *reterr);
/* The same, but whatever is in it, it is raw. */
int disk_probe_raw(const char *path, bool writable, DiskInfo *ret, Error *reterr);
/* Without the file system in a qcow2 image: runs no program, so it does not block. */
int disk_probe_header(const char *path, DiskInfo *ret, Error *reterr);

#define DISK_SCRATCH_SIZE_DEFAULT (4ULL << 30)
#define DISK_SCRATCH_SIZE_MIN     (16ULL << 20)
#define DISK_SIZE_MAX             (64ULL << 40)

/* A sparse raw file with an empty ext4 in it. The directory must be there. -EEXIST. */
int disk_make_scratch(const char *path, uint64_t size, Error *reterr);

/* Are two files to be on one file system? True, too, if neither can be asked yet. */
bool disk_same_file_system(const char *path, const char *other);

/* For whom a disk is filled. */
typedef struct DiskOwner {
        const char *pod, *session;
} DiskOwner;

/* An empty disk for a migration to fill, marked incomplete. A marked one of an earlier session of
 * the same pod is replaced. -EEXIST: any other file there, or one that this session has made;
 * -EBUSY: it is marked for another pod; -ENOSPC also when fewer than `room` bytes are free, those
 * that this disk and what else comes to its file system will take. Missing directories above it are
 * not made. */
int disk_make_destination(const char *path, const char *format, uint64_t virtual_size,
                          uint64_t room, const DiskOwner *owner, Error *reterr);
/* Would that be refused? The same rules and codes; makes nothing, removes nothing. */
int disk_check_destination(const char *path, uint64_t room, const DiskOwner *owner, Error *reterr);
/* That there is a file at the path lasts from now on. */
int disk_sync_entry(const char *path, Error *reterr);
/* It is complete now: removes the mark, durably. Idempotent. */
int disk_commit(const char *path, Error *reterr);
/* Removes the disk and its mark if it is marked for that pod; does nothing otherwise. Idempotent.
 */
int disk_discard(const char *path, const char *pod, Error *reterr);
