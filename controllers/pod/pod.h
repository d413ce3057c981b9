/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/container/container.h"
#include "controllers/network/network.h"

/* A pod: its containers and its network, in one VM.
 *
 * The pod is linked below its VM (vm_controller), so that freezing the VM's tree freezes
 * everything, all or nothing. It owns its containers and its network. Loop thread only. Picture:
 * docs/states/pod.md. */
typedef struct Pod Pod;

#define POD_CONTAINERS_MAX 256U

typedef enum PodState {
        POD_ACTIVE,
        POD_SOURCE_MIGRATING,
        POD_DESTINATION_MIGRATING,
        POD_STOPPED, /* the VM is gone, or it moved: containers can only be deleted */
        _POD_STATE_MAX,
} PodState;

int pod_new(Controller *parent, const char *id, Pod **ret, Error *reterr);
Pod *pod_free(Pod *p); /* frees its containers; not while a call is in flight */
DEFINE_CLEANUP(Pod *, pod_free);
void pod_bind(Pod *p, const PodOps *ops); /* copied */
Controller *pod_controller(Pod *p);
const char *pod_id(const Pod *p);
const char *pod_guest_id(const Pod *p);
PodState pod_state(const Pod *p);
Network *pod_network(const Pod *p);

/* Active only. Checks, adds and creates a container; -EEXIST for an id or a guest id that is taken,
 * -ENOSPC. On failure it is gone again (or Invalid, see container_create). *ret (may be NULL) is
 * borrowed and valid while the container exists. */
int pod_create_container(Pod *p, const ContainerSpec *spec, Container **ret, OpDone done, void *job,
                         Error *reterr);
/* Releases, removes and frees it. Result: const ProcessExit *, also through *ret. -ENOENT. */
int pod_delete_container(Pod *p, const char *id, ProcessExit *ret, OpDone done, void *job,
                         Error *reterr);
Container *pod_container(const Pod *p, const char *id); /* NULL: unknown */
Container *pod_container_by_guest_id(const Pod *p, const char *guest_id);
size_t pod_n_containers(const Pod *p);
typedef int (*ContainerVisitor)(void *userdata, Container *c);
int pod_each_container(const Pod *p, ContainerVisitor visit, void *userdata); /* by id */
bool pod_is_idle(const Pod *p); /* no call is in flight: it may be freed */
/* The guest ran out of memory in this container: publishes the event. */
void pod_oom(Pod *p, const char *guest_id);
/* The VM died (call it from VmEnded): every process ends with PROCESS_EXIT_UNKNOWN; containers can
 * be deleted. */
void pod_lost(Pod *p);

/* Migration. Freeze and thaw: controller_freeze(vm_controller(vm)), the whole tree. */
typedef struct PodPatch {
        const char *id;              /* on this host; may be the same */
        const NetworkPatch *network; /* NULL: as it is, on the host that it was saved on */
} PodPatch;

int pod_save(const Pod *p, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
/* The containers claim their reservations in scsi; several pods may share it. Bind it as well: an
 * AbortMigrated then publishes. */
int pod_import(Controller *parent, Scsi *scsi, const void *b, size_t n, Pod **ret, Error *reterr);
/* Call ids and channels of an imported pod are below the floors of the VM's link. -EINVAL. */
int pod_check_floors(const Pod *p, uint64_t next_call_id, uint32_t next_channel, Error *reterr);
int pod_patch(Pod *p, const PodPatch *patch, Error *reterr);
/* -ENOENT unknown source id, -EEXIST id taken by another container. */
int pod_patch_container(Pod *p, const ContainerPatch *patch, Error *reterr);
/* Source ids of the containers that still need a patch: visits them sorted. */
int pod_each_unpatched(const Pod *p, ContainerVisitor visit, void *userdata);
/* Destination: binds, adopts, opens stdio, announces every container. Source: thaws. A no-op when
 * nothing is migrating; walks all containers whatever the pod's own state; may be repeated. */
int pod_resume(Pod *p, const PodOps *ops, Error *reterr);
void pod_moved(Pod *p);                        /* source, after the destination runs */
int pod_abort_migrated(Pod *p, Error *reterr); /* no-op unless DestinationMigrating */

/* The handoff: exits that arrived at the source since the freeze. */
typedef struct PodExit {
        const char *guest_id, *exec_id; /* borrowed */
        ProcessExit exit;
} PodExit;
typedef int (*PodExitVisitor)(void *userdata, const PodExit *e);
int pod_each_pending_exit(const Pod *p, PodExitVisitor visit, void *userdata); /* source, frozen */
int pod_put_exit(Pod *p, const PodExit *e, Error *reterr); /* destination; -ENOENT */

extern const FsmTable pod_fsm;
extern const EnvelopeType pod_envelope;
