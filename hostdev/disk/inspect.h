/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/image/disk.h"

/* Whether a user's disk may be given to a machine: what it is by its content, that it is complete,
 * that it refers to no file it may not, that no other machine has it.
 *
 * An image may have been written by a guest, so it is hostile: its header is read here first, and
 * qemu-img is then told the format, never asked to guess it, with limits on its time and memory.
 * Blocks for some 20 ms with a qcow2 image. */
typedef struct DiskWants {
        const char *format;      /* "raw", "qcow2": it must be that; "": by its content */
        const char *backing_dir; /* backing files may be below this directory; "": none may be */
        bool writable;
        bool held; /* this pod has it already, so its lock is ours */
} DiskWants;

/* -ENOENT, -EACCES; -EBUSY: a migration has not filled it to its end, or another machine uses it;
 * -EINVAL: anything else about it, with the reason. */
int disk_inspect(const char *path, const DiskWants *wants, DiskInfo *ret, Error *reterr);

/* -EINVAL: the name promises a format (it ends in .raw or .qcow2) that is not this one. */
int disk_check_name(const char *path, const char *format, Error *reterr);

#define DISK_BACKING_DEPTH_MAX 16U

/* The file behind an image, which the caller frees; NULL: there is none, or it is no qcow2 image.
 * -EINVAL: it is not where backing files may be, or not what the image says it is. */
int disk_backing(const char *path, const char *backing_dir, char **ret, Error *reterr);
