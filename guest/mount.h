/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/wire.h"
#include "lib/error.h"

/* What the agent has mounted, and the directories that it made for it. Worker thread only. */

/* A disk at a path, or its device node there. -EEXIST: something of ours is there. */
int mount_disk(const MountRequest *q, Error *reterr);
int mount_overlay(const OverlayRequest *q, Error *reterr);
/* Undoes one of these. -ENOENT: not ours; -EBUSY: in use. */
int mount_undo(const char *path, Error *reterr);
/* All of them, last one first; goes on after a failure and returns the first. */
int mount_undo_all(Error *reterr);
