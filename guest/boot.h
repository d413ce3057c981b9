/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* What PID 1 does before anything else can run. */

/* Files, mounts, limits, log. Idle afterwards: proc, sys, dev, cgroup2 and /run are there. */
int boot_setup(Error *reterr);
/* Loads the modules of a stage ("link", "late") in the order of /lib/modules/order. */
int boot_load_modules(const char *stage, Error *reterr);
