/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/shim.h"

/* A shim that was killed is started again: takes its pod over from what keep.h saved, with a higher
 * epoch of the guest link.
 *
 *   no migration, VM runs               the pod goes on
 *   ... and VM is gone                  the pod is reported ended
 *   source, before FENCING              rolled back: the VM runs on here, and the journal says KEPT
 *   source from FENCING on, destination the hand-over goes on from the journal: migrate_go_on()
 *
 * Returns 1, and `done` comes once, result NULL; or < 0, also -ENOENT: nothing was saved. */
int shim_adopt(Shim *s, OpDone done, void *job, Error *reterr);
/* The imported tree of this host's own pod comes to life, from what was kept of link and logs;
 * open_link: the guest is there to be spoken to. */
int shim_adopt_tree(Shim *s, const Buf *handoff, bool open_link, Error *reterr);
