/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"

/* The pod's network: a namespace of the host and the interfaces in it. Interfaces are not supported
 * yet: a pod has either no network or is refused. Owned by the pod; loop thread only. Picture:
 * docs/states/network.md. */
typedef struct Network Network;

typedef enum NetworkState {
        NETWORK_NOT_CONFIGURED,
        NETWORK_CONFIGURED,
        NETWORK_INVALID, /* set-up or teardown failed half way: tear down again */
        NETWORK_TORN_DOWN,
        NETWORK_SOURCE_MIGRATING,
        NETWORK_DESTINATION_MIGRATING,
        _NETWORK_STATE_MAX,
} NetworkState;

int network_new(Controller *parent, Network **ret, Error *reterr);
Network *network_free(Network *n);
DEFINE_CLEANUP(Network *, network_free);
Controller *network_controller(Network *n);
NetworkState network_state(const Network *n);

/* NotConfigured only. "" configures a pod without network; a namespace is -EOPNOTSUPP. */
int network_setup(Network *n, const char *network_namespace, Error *reterr);
int network_teardown(Network *n, Error *reterr); /* idempotent */

int network_save(const Network *n, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
int network_import(Controller *parent, const void *p, size_t n, Network **ret, Error *reterr);
int network_patch(Network *n, const char *network_namespace, Error *reterr); /* as setup */
int network_resume(Network *n, Error *reterr); /* no-op when not migrating */
int network_abort_migrated(Network *n, Error *reterr);

extern const FsmTable network_fsm;
extern const EnvelopeType network_envelope;
