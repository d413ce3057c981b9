/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "guest/wire.h"
#include "lib/error.h"

/* Disks by their address on the virtio-scsi controllers. The names sdX say nothing: they are given
 * out in the order in which probes happen to finish. Worker thread only (these calls block). */

/* Looks for the disk on its bus (nobody else does: scsi_mod is loaded with scan=manual) and waits
 * until its block device is there. The name in /sys/class/block. -ENOENT: there is no disk. */
int scsi_find(const ScsiAddress *disk, char *ret_name, size_t size, Error *reterr);
/* Lets go of the disk, so that the host may unplug it. Nothing there is success. */
int scsi_remove(const ScsiAddress *disk, Error *reterr);
