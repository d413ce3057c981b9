/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* Waits for a device. `there` looks (> 0: it is there, < 0: give up) at first and after each of the
 * kernel's device events; nothing is missed in between. Blocks its thread. -ETIMEDOUT after
 * timeout_ms (negative: never). */
typedef int (*UeventLook)(void *userdata, Error *reterr);
int uevent_wait(UeventLook there, void *userdata, int timeout_ms, Error *reterr);
