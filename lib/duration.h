/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "lib/error.h"

/* "90", "90s", "500ms", "2m", "1h": milliseconds. -EINVAL with a text that shows the value. */
int duration_parse(const char *text, uint64_t *ret_ms, Error *reterr);
