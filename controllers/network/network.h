/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"
#include "controllers/network/network-ports.h"
#include "lib/net-message.h"

/* The pod's network: a namespace of the host, and the interfaces in it, each of which the guest has
 * under the same name. Owned by the pod; loop thread only. Picture: docs/states/network.md.
 *
 * Which interfaces there are is planned before the VM starts, because their devices are part of it;
 * set-up then joins them to the namespace and has the guest configure them. In a migration the
 * destination is told its namespace by Patch, in one of two modes: the pod keeps its addresses, or
 * takes over those of the namespace (docs/network.md). */
typedef struct Network Network;

typedef enum NetworkState {
        NETWORK_NOT_CONFIGURED,
        NETWORK_SETTING_UP, /* a call is in flight */
        NETWORK_CONFIGURED,
        NETWORK_CHANGING, /* an interface comes or goes, or is configured anew */
        NETWORK_INVALID,  /* set-up failed half way: tear it down */
        NETWORK_TORN_DOWN,
        NETWORK_SOURCE_MIGRATING,
        NETWORK_DESTINATION_MIGRATING,
        _NETWORK_STATE_MAX,
} NetworkState;

typedef enum NetworkInterfaceState {
        NETWORK_INTERFACE_PLANNED, /* nothing is joined yet */
        NETWORK_INTERFACE_JOINING, /* a call is in flight */
        NETWORK_INTERFACE_UP,
        NETWORK_INTERFACE_LEAVING, /* a call is in flight */
        NETWORK_INTERFACE_FAILED,  /* half gone: remove it again */
        NETWORK_INTERFACE_GONE,
        _NETWORK_INTERFACE_STATE_MAX,
} NetworkInterfaceState;

typedef enum NetworkKind {
        NETWORK_NONE,
        NETWORK_NAMESPACE, /* of the host, by path */
        NETWORK_USER,      /* outbound by the hypervisor's own means */
        _NETWORK_KIND_MAX,
} NetworkKind;

typedef enum NetworkMode {
        NETWORK_KEEP,   /* same addresses on the other host */
        NETWORK_REBIND, /* those of the other host's namespace; connections end */
        _NETWORK_MODE_MAX,
} NetworkMode;

const char *network_kind_name(NetworkKind k);
const char *network_mode_name(NetworkMode m);
int network_mode_from_name(const char *name); /* -EINVAL */

/* A request to the guest. All of it is borrowed for the time of the call that makes it. */
typedef struct NetworkGuest {
        NetInterface **interfaces; /* to be as described */
        size_t n_interfaces;
        NetInterface *remove; /* to be taken down; NULL: none */
        NetNames *names;      /* NULL: as they are */
        bool announce, only_announce;
} NetworkGuest;

/* What it needs from the host and the guest; convention of lib/task.h. Strings and messages are
 * borrowed for the time of the call: whoever goes on later makes a copy. */
typedef struct NetworkOps {
        /* Result: const NetFacts *. */
        int (*read)(void *userdata, const char *path, OpDone done, void *job, Error *reterr);
        int (*plug)(void *userdata, const NetInterface *i, OpDone done, void *job, Error *reterr);
        int (*unplug)(void *userdata, const NetInterface *i, OpDone done, void *job, Error *reterr);
        /* The device's tap and the namespace's interface of this name are one from now on. */
        int (*join)(void *userdata, const char *path, const NetInterface *i, OpDone done, void *job,
                    Error *reterr);
        /* Not any more. stays_cut: the namespace is not to get its addresses back. */
        int (*leave)(void *userdata, const char *path, const NetInterface *i, bool stays_cut,
                     OpDone done, void *job, Error *reterr);
        int (*guest)(void *userdata, const NetworkGuest *g, OpDone done, void *job, Error *reterr);
} NetworkOps;

int network_new(Controller *parent, Network **ret, Error *reterr);
Network *network_free(Network *n); /* not while a call is in flight */
DEFINE_CLEANUP(Network *, network_free);
void network_bind(Network *n, const NetworkOps *ops, void *userdata); /* borrowed */
Controller *network_controller(Network *n);
NetworkState network_state(const Network *n);
NetworkKind network_kind(const Network *n);
const char *network_path(const Network *n); /* of the namespace on this host; "" if none */

typedef struct NetworkInterfaceInfo {
        const NetInterface *config;
        NetworkInterfaceState state;
} NetworkInterfaceInfo;
typedef int (*NetworkVisitor)(void *userdata, const NetworkInterfaceInfo *i);
int network_each_interface(const Network *n, NetworkVisitor visit, void *userdata); /* by slot */

/* NotConfigured only; again replaces what was planned. facts: of that namespace (kind namespace),
 * or of the hypervisor's network (kind user); NULL with kind none. Copied. */
int network_plan(Network *n, NetworkKind kind, const char *path, const NetFacts *facts,
                 Error *reterr);
/* NotConfigured, after a plan of kind user: these ports of the host lead to the pod. -EINVAL: of
 * another kind, or a port that is none; -EEXIST, -ENOSPC. Copied. */
int network_publish(Network *n, const NetworkPort *ports, size_t n_ports, Error *reterr);
const NetworkPort *network_ports(const Network *n, size_t *ret_n);
/* NotConfigured -> Configured. The VM runs and its agent answers. Failure: Invalid, all left. */
int network_setup(Network *n, OpDone done, void *job, Error *reterr);
/* Configured, kind namespace only: an interface that has come up in the namespace, or one that is
 * to go. -EEXIST, -ENOENT, -ENOSPC. A failed remove may be repeated. */
int network_add(Network *n, const char *name, OpDone done, void *job, Error *reterr);
int network_remove(Network *n, const char *name, OpDone done, void *job, Error *reterr);
/* Any state; idempotent; the VM is gone. Leaves the namespace to its owner, at a source of a
 * migration cut off. What that needs of the host goes on by itself. */
void network_teardown(Network *n);
/* The pod runs on another host, whatever state the network is in here: its namespace stays cut off
 * when it is torn down. For a source whose shim was started anew. */
void network_stay_cut(Network *n);

typedef struct NetworkPatch {
        const char *path; /* of the namespace here; "" with kinds none and user */
        NetworkMode mode;
        const NetFacts *facts; /* of that namespace; NULL with path "" */
} NetworkPatch;

int network_save(const Network *n, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
int network_import(Controller *parent, const void *p, size_t n, Network **ret, Error *reterr);
/* DestinationMigrating only; may be repeated. -EINVAL: a path where none belongs, or none where one
 * does; -ENOENT: an interface that the namespace does not have; -EEXIST: its MAC is taken there. */
int network_patch(Network *n, const NetworkPatch *patch, Error *reterr);
int network_resume(Network *n, Error *reterr); /* no-op when not migrating */
/* After a migration, once the guest link is up: announces the addresses, and before it (rebind) has
 * the guest take over the new ones. Configured only. A failure may be repeated. */
int network_reset(Network *n, OpDone done, void *job, Error *reterr);
int network_abort_migrated(Network *n, Error *reterr);

extern const FsmTable network_fsm, network_interface_fsm;
extern const EnvelopeType network_envelope;
