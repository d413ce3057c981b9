/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/network/network.h"

/* A namespace, a hypervisor and a guest, for the network: records what it was asked ("join /n
 * eth0;"), answers as told. */
typedef enum FakeNetworkOp {
        FAKE_NETWORK_READ,
        FAKE_NETWORK_PLUG,
        FAKE_NETWORK_UNPLUG,
        FAKE_NETWORK_JOIN,
        FAKE_NETWORK_LEAVE,
        FAKE_NETWORK_GUEST,
        _FAKE_NETWORK_OP_MAX,
} FakeNetworkOp;

typedef struct FakeNetwork {
        bool later;                       /* answers come by fake_network_fire() */
        int refuse[_FAKE_NETWORK_OP_MAX]; /* < 0: that is the answer */
        char trace[1024];
        struct {
                FakeNetworkOp op;
                OpDone done;
                void *job;
        } pending[16];
        size_t n_pending;
        NetFacts *facts; /* what read finds; borrowed */
} FakeNetwork;

extern const NetworkOps fake_network_ops;
/* Answers the oldest call; false if there is none. */
bool fake_network_fire(FakeNetwork *f, int r);

/* Interfaces eth0, eth1 .. with addresses of both families, routes and neighbours, whose last byte
 * is `seed`; always the same bytes. Free with net_facts_free(). */
NetFacts *fake_network_facts(size_t n, uint8_t seed);
