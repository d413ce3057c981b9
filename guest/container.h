/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/process.h"

/* The containers of the pod, with their processes. */
enum {
        CONTAINERS_MAX = 1024,
        PROCESSES_MAX = 4096,
};

struct Container {
        Agent *agent;
        char id[CHECK_ID_MAX + 1];
        char directory[128]; /* the bundle, and what crun and we exchange */
        char cgroup[128];    /* as in OCI: from the root of the hierarchy */
        Process *processes;  /* init is among them, and goes last */
        unsigned verbs;      /* of crun that run now */
        Call *delete;        /* the call that waits for all to end, to be answered then */
        bool deleting;       /* crun is at it */
        struct Container *next;
};

typedef struct Containers {
        Container *first;
        unsigned n, n_processes;
        unsigned n_unsettled; /* processes that are PROCESS_EXITED */
} Containers;

/* Makes the container's directory too. -EEXIST, -ENOSPC. */
int container_new(Agent *a, const char *id, Container **ret, Error *reterr);
Container *container_free(Container *c); /* and all its processes */
DEFINE_CLEANUP(Container *, container_free);

/* -EINVAL: no id; -ENOENT. */
int container_find(Agent *a, const char *id, Container **ret, Error *reterr);
Process *container_init_process(const Container *c);
/* exec_id "": init. -ENOENT. */
int container_find_process(Container *c, const char *exec_id, Process **ret, Error *reterr);
/* Both at once, for requests that name a process. */
int containers_find_process(Agent *a, const char *id, const char *exec_id, Process **ret,
                            Error *reterr);
int container_add_process(Container *c, const char *exec_id, Process **ret, Error *reterr);
void container_remove_process(Container *c, Process *p);
bool container_has_ended(const Container *c); /* no process of it that we know is alive */

/* Path of a file in the container's directory. */
void container_path(const Container *c, const char *prefix, const char *name, const char *suffix,
                    char *ret, size_t size);

/* SIGKILL for all that is in the container's cgroup, known to us or not. */
int container_kill_all(Container *c, unsigned sig, Error *reterr);
/* The pids in its cgroup and those below. */
int container_pids(Container *c, uint32_t **ret, size_t *ret_n, Error *reterr);

void container_process_ended(Container *c, Process *p);
/* After each event: answers what can be answered. */
void containers_service(Containers *all);

/* guest/lifecycle.c: goes on with a deletion that waits for ends. */
void container_continue_delete(Container *c);
