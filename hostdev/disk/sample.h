/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "lib/error.h"

/* How many bytes of a file or device are not zero, by a sample of what has data: a copy sends those
 * only. Blocks for as long as some hundred small reads take. */
int disk_sample_data(const char *path, uint64_t *ret, Error *reterr);
