/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "lib/error.h"

/* {"type", "version", "payload": {...}} of an envelope; envelopes in it likewise. Default values
 * are shown too. -EBADMSG: no envelope, or damaged; -EOPNOTSUPP: of a type that is not known here.
 * The caller owns *ret. */
int decode_envelope(const void *p, size_t n, json_object **ret, Error *reterr);
