/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <handoff.pb-c.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/error.h"

/* The handoff as bytes: the envelope of kind "handoff" (proto/state/v1/handoff.proto). Knows no pod
 * and no link: what the message says of them is checked where it is applied (migrate-handoff.c). */
typedef Podferry__State__V1__Handoff Handoff;
typedef Podferry__State__V1__HandoffStdio HandoffStdio;
typedef Podferry__State__V1__HandoffExit HandoffExit;

Handoff *handoff_free(Handoff *h); /* all of it from malloc */
DEFINE_CLEANUP(Handoff *, handoff_free);

/* Sorts both lists, so that the same state is always the same bytes. */
int handoff_seal(Handoff *h, Buf *ret, Error *reterr);
/* -EINVAL what it says cannot be, with the field; -EBADMSG it does not parse; -EPROTONOSUPPORT. */
int handoff_open(const void *p, size_t n, Handoff **ret, Error *reterr);
