/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

#include "lib/error.h"

/* Makes the directory `path` (absolute) and what is missing above it. What is made has `mode`,
 * whatever the umask; what is there already is left as it is. Negative errno of mkdir(2) or
 * chmod(2). */
int directory_make(const char *path, mode_t mode, Error *reterr);
