/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/shim.h"

/* The operations that controllers declare, made of libvirt, calls to the agent, stdio and files.
 * The userdata of all of them is the Shim. */
extern const VmOps shim_vm_ops;
extern const ScsiOps shim_scsi_ops;
extern const ContainerOps shim_container_ops;
extern const ProcessOps shim_process_ops;
extern const ProcessOps
        shim_process_again_ops; /* of a shim that was killed: it asks for exits anew */

/* wiring/events.c: what the tree tells the world: signals, attached clients, files that go. */
void shim_on_pod_event(void *userdata, const PodEvent *e);
void shim_on_vm_ended(void *userdata, Vm *vm, const char *reason);
void shim_on_move(void *userdata, const Fsm *f, int from); /* FsmObserver */

/* wiring/vm-ops.c: what libvirt and the guest link tell. */
void shim_on_virt_event(void *userdata, const VirtEvent *e);
void shim_on_link_up(Shim *s);
void shim_vm_calls_end(Shim *s, const char *reason);
/* The domain's XML with this host's paths; the caller owns *ret. */
int shim_domain_xml(Shim *s, bool with_disks, char **ret, Error *reterr);
#define SHIM_SPARE_PORTS 4U /* root ports for devices that come later; the same on every host */

/* wiring/scsi-ops.c */
DiskSpec shim_disk_spec(uint32_t slot, const ScsiDiskConfig *disk);

/* wiring/guest-call.c: a call to the agent whose end is that of an operation. `request` has its
 * body. */
int guest_call(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr);
/* -ENOENT counts as done. */
int guest_call_forget(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr);
/* Result: const uint32_t *, the pid of a CreateReply, or `pid` if the reply has none. */
int guest_call_pid(Shim *s, ToGuest *request, uint32_t pid, OpDone done, void *job, Error *reterr);
/* Result: const FromGuest *. */
int guest_call_reply(Shim *s, ToGuest *request, OpDone done, void *job, Error *reterr);
#define TO_GUEST_INIT       PODFERRY__GUEST__V1__TO_GUEST__INIT
#define TO_GUEST_BODY(name) PODFERRY__GUEST__V1__TO_GUEST__BODY_##name

/* wiring/guest-wait.c: ProcessOps.wait, adopt_wait and drop_wait. */
int guest_wait(void *userdata, const ProcessKey *key, uint64_t *ret_call_id, OpDone done, void *job,
               Error *reterr);
int guest_adopt_wait(void *userdata, const ProcessKey *key, uint64_t call_id, OpDone done,
                     void *job, Error *reterr);
void guest_drop_wait(void *userdata, uint64_t call_id);
