/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/pod/pod.h"

/* Inside controllers/pod only. */
struct Pod {
        Controller controller;
        Fsm fsm;
        char *id, *guest_id;
        Network *network;
        Container **containers; /* by id */
        size_t n_containers;
        PodOps ops;
        bool bound;
        unsigned calls; /* creations and deletions in flight */
};

int pod_alloc(Controller *parent, const char *id, const char *guest_id, PodState state, Pod **ret,
              Error *reterr);
int pod_add(Pod *p, Container *c); /* takes c; -ENOMEM leaves it to the caller */
void pod_sort(Pod *p);             /* after an id has changed */
