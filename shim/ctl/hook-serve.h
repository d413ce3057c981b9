/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/hooks.h"

/* The command that runs the hooks of one event on its own host: `podferry hooks --run EVENT` where
 * podferry migrate runs, `podferry receive --hooks EVENT` on the other host. It is a process of its
 * own so that no hook outlives who asked for it: when that one is gone, `in` ends, and with it the
 * hook.
 *
 *      in    one line: {"pod", "type", "session", "from", "to"}; after a failure also "step",
 *            "error", "outcome"; with may_name also "hooks": what to run before the host's own
 *      out   {"begun": {"program", "attempt", "of", "timeout_ms"}}          each attempt begins
 *            {"hook": {... "result", "status", "ms", "output", "dropped", "ignored", "why"}}
 *            {"end": {"ok", "why"}}                                         the last one */
#define HOOK_REQUEST_MAX 32768U
#define HOOK_LINE_MAX    65536U /* of out */
#define HOOK_TEXT_MAX    1000U  /* each text of the request */

typedef struct HookServe {
        const Hooks *own;
        HookEvent event;
        const char *pod; /* as the command line has it; NULL: as the request says */
        const char *side;
        bool may_name;
        int in, out; /* borrowed; blocking */
        int signals; /* readable: stop; -1: none */
} HookServe;

/* 0: all has been said, whatever became of the hooks. -EINVAL, -EBADMSG: the request; -EPERM: it
 * names programs; -EPIPE and others: nobody listens. */
int hook_serve(const HookServe *s, Error *reterr);
/* The same on stdin and stdout, with signals watched. */
int hook_serve_standard(HookServe *s, Error *reterr);
