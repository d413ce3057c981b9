/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/shim.h"

/* A shim that was killed is started again: takes its pod over from what keep.h saved, with a higher
 * epoch of the guest link.
 *
 *   VM runs                             the pod goes on
 *   VM is gone                          the pod is reported ended
 *   a migration from here had begun     rolled back: the VM runs on here, and the journal says KEPT
 *   ... and the VM was being fenced     runs: as above. Else the hand-over goes on from the journal
 *
 * Returns 1, and `done` comes once, result NULL; or < 0, also -ENOENT: nothing was saved. */
int shim_adopt(Shim *s, OpDone done, void *job, Error *reterr);
