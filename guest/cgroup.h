/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* Control groups (v2). `group` is as in OCI: a path from the root of the hierarchy. */
#define CGROUP_ROOT "/sys/fs/cgroup"

int cgroup_kill(const char *group, Error *reterr);
int cgroup_freeze(const char *group, bool frozen, Error *reterr);
/* All pids of the group and of those below; at most CGROUP_PIDS_MAX. */
int cgroup_pids(const char *group, uint32_t **ret, size_t *ret_n, Error *reterr);
/* How many processes the kernel has killed in it for want of memory. */
int cgroup_oom_kills(const char *group, uint64_t *ret, Error *reterr);

enum { CGROUP_PIDS_MAX = 65536 };
