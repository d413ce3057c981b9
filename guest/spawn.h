/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

#include "lib/error.h"

/* Starts a program with exactly these three files, default signals, in a session of its own, as
 * killable as any other (the agent itself is not: see boot.h). Takes no copy of the agent's memory.
 * fds are borrowed and must be above 2; a negative one is /dev/null. */
int spawn(const char *const argv[], const int fds[3], pid_t *ret, Error *reterr);
