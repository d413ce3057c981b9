/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/buf.h"
#include "shim/shim.h"

/* What survives a shim that is killed: the tree, and where the guest link and the logs are.
 *
 * It is written before bytes go out to the guest, so that whatever the guest was told or had
 * acknowledged is known afterwards: each byte of output is in the log once, and no request is made
 * twice. The tree is written again only after it changed, as soon as nothing in it is in flight.
 * Kept in the run directory: it means nothing without the kernel that runs the VM. */
int keep_new(Shim *s, Keep **ret, Error *reterr);
Keep *keep_free(Keep *k);
void keep_now(Keep *k);
/* A state has changed. false: only because the tree is being saved; nobody is to hear of it. */
bool keep_saw_move(Keep *k);
/* A call may have changed what has no state. */
void keep_tree_changed(Keep *k);

/* Is the tree that is kept the one that there is? */
bool keep_is_current(const Keep *k);

typedef struct KeptState {
        Buf vm, pod, handoff; /* handoff: of link and logs; empty if the guest was not spoken to */
        Buf session;          /* of a migration; see migrate_read_kept() */
} KeptState;
void kept_state_done(KeptState *state);
/* What another shim of this pod kept; -ENOENT: nothing. Goes on from there. */
int keep_read(Keep *k, KeptState *ret, Error *reterr);
/* That tree, of this host's own pod, counts until it could be saved again. */
void keep_go_on(Keep *k, const KeptState *state);
