/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/ctl.h"

#define HAND_OVER_SAID 256U

/* A hand-over that was cut off, because a shim of one side was killed or nobody drives it any more:
 * gives both shims a transport, waits until both have decided, and ends the session on both. In
 * post-copy the transport resumes what is on its way, and it takes as long as memory goes over;
 * -EEXIST: whoever drives it lives, and nothing was changed.
 *
 * to, program: as of migrate. name: of the pod over there. *ret_said: where the pod runs. */
int hand_over_go_on(const Ctl *ctl, const char *pod, const char *to, const char *program,
                    const char *name, char ret_said[static HAND_OVER_SAID], Error *reterr);
/* A note for people if the pod here, whose shim was just started, waits for the other host. */
void hand_over_hint(const Ctl *ctl, const char *pod);
