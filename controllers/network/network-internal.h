/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/network/network.h"

typedef struct Interface {
        NetInterface *config;
        NetInterface *next; /* destination, rebind: what it becomes at resume */
        Fsm fsm;
} Interface;

struct Network {
        Controller controller;
        Fsm fsm;
        NetworkState before; /* frozen: where thaw and resume lead */
        NetworkKind kind;
        char *path;
        Interface interfaces[NET_INTERFACES_MAX];
        size_t n_interfaces;
        NetNames *names;
        NetworkPort ports[NETWORK_PORTS_MAX]; /* kind user: published */
        size_t n_ports;
        const NetworkOps *ops;
        void *userdata;
        bool lost;      /* torn down while a call was in flight */
        bool stays_cut; /* network_stay_cut() */

        char *next_path; /* destination: after a patch */
        NetNames *next_names;
        NetworkMode mode;
        bool arrived; /* came here by a migration, and the guest was not told yet */
};

int network_alloc(Controller *parent, NetworkState state, Network **ret, Error *reterr);
Interface *network_find(Network *n, const char *name);
int network_put(Network *n, const NetInterface *config, NetworkInterfaceState state, Error *reterr);
void network_drop(Network *n, Interface *i);
/* In one state only: plan and import. */
int network_check(const Network *n, Error *reterr);
