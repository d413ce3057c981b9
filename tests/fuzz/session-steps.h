/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/session.h"

/* Runs an endpoint of that role through what the input says: bytes and frames from the peer (with
 * their sums put right, so that they get past the first check), and calls of its owner. Aborts when
 * a promise of lib/session.h does not hold. */
int session_steps(SessionRole role, const uint8_t *data, size_t size);
