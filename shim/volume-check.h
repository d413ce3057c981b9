/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/container/container.h"
#include "shim/shim.h"

/* What a caller says of a volume against what the disk is (hostdev/disk/inspect.h). */

/* Adds the volume that the JSON describes (shim/container-spec.h) to a container that runs. Result
 * NULL. Codes of container_add_volume() and volume_check(). */
int volume_add(Shim *s, const char *container_id, const char *json, OpDone done, void *job,
               Error *reterr);
/* The other way; codes of container_remove_volume(). Result NULL. */
int volume_remove(Shim *s, const char *container_id, const char *destination, OpDone done,
                  void *job, Error *reterr);
/* Has this pod the file already? Loop thread. */
bool volume_is_held(const Shim *s, const char *path);
/* -EINVAL: it is not what was said, or must not be used; -EBUSY: it is not complete, or another
 * machine has it. Blocks: for the thread of files. */
int volume_check(const ContainerDisk *d, bool held, const char *backing_dir, Error *reterr);
