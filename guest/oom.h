/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/loop.h"

/* Tells the host when the kernel kills in a container for want of memory. */
typedef struct Agent Agent;
typedef struct OomWatch OomWatch;

typedef struct Oom {
        Agent *agent;
        int fd; /* inotify; the kernel "modifies" memory.events at each change */
        Watch watch;
        OomWatch *first;
} Oom;

int oom_init(Oom *o, Agent *a, Error *reterr);
int oom_add(Oom *o, const char *container_id, const char *group, Error *reterr);
void oom_remove(Oom *o, const char *container_id);
