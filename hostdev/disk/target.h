/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/image/disk.h"

/* Where a volume goes that moves to another place of this host: a file that is made for it, or a
 * block device that is there. All of it blocks. */

/* A path that does not exist is made, empty and marked incomplete, by disk_make_destination(), with
 * its codes. A block device (*ret_device) has no mark; it takes a raw volume only (-EINVAL), has to
 * be exactly as large (-ENOSPC, -EINVAL: QEMU does not copy else), and nobody's: -EBUSY if it is
 * mounted, part of something or another machine's, -EEXIST if there is a file system or an image on
 * it, for that would be overwritten. A name that says another format is -EINVAL. After a failure
 * nothing is there. */
int disk_make_target(const char *path, const char *format, uint64_t virtual_size, uint64_t room,
                     const DiskOwner *owner, bool *ret_device, Error *reterr);
/* All that was written to it so far lasts, and so does its name. */
int disk_sync(const char *path, Error *reterr);
