/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/migrate.h"

/* The driver's end of hook-serve.h: the hooks of one event, on this host or on the other one. */
typedef struct HookCall {
        HookEvent event;
        bool there;                         /* on the other host */
        const char *step, *error, *outcome; /* after a failure; NULL: not that */
} HookCall;

/* Until they have run; each is shown. 0: all went well, or what did not is to be ignored. -EIO: one
 * did not, -ECANCELED, -ETIMEDOUT: interrupted; others: they could not be run. What a hook still
 * does then is ended. */
int hook_link_run(Mover *m, const HookCall *call, Error *reterr);

/* What the other side says of an attempt, as it may be shown: known keys, of bounded size, clean.
 * The caller owns it; NULL: out of memory. */
json_object *hook_link_take(const HookCall *call, json_object *said, bool begun);
