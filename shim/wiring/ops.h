/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/net/net.h"
#include "shim/shim.h"

/* The operations that controllers declare, made of libvirt, calls to the agent, stdio and files.
 * The userdata of all of them is the Shim. */
extern const VmOps shim_vm_ops;
extern const ScsiOps shim_scsi_ops;
extern const NetworkOps shim_network_ops;
extern const ContainerOps shim_container_ops;
extern const ProcessOps shim_process_ops;
extern const ProcessOps
        shim_process_again_ops; /* of a shim that was killed: it asks for exits anew */

/* wiring/events.c: what the tree tells the world: signals, attached clients, files that go. */
void shim_on_pod_event(void *userdata, const PodEvent *e);
/* What came from another host, or another shim of this one, with its exit told already: whoever
 * attaches asks for the code. */
void shim_tell_exits(Shim *s);
void shim_on_vm_ended(void *userdata, Vm *vm, const char *reason);
void shim_on_move(void *userdata, const Fsm *f, int from); /* FsmObserver */

/* wiring/vm-ops.c: what libvirt and the guest link tell. */
void shim_on_virt_event(void *userdata, const VirtEvent *e);
void shim_on_link_up(Shim *s);
void shim_vm_calls_end(Shim *s, const char *reason);
/* The domain's XML with this host's paths; the caller owns *ret. */
int shim_domain_xml(Shim *s, bool with_disks, char **ret, Error *reterr);
#define SHIM_SPARE_PORTS NET_INTERFACES_MAX /* root ports; the same on every host */

/* wiring/scsi-ops.c */
DiskSpec shim_disk_spec(uint32_t slot, const ScsiDiskConfig *disk);

/* wiring/network-ops.c */
typedef struct ShimNic {
        NicSpec spec; /* its tap, if it has one, is the one below; so are its forwards */
        ForwardSpec forwards[NETWORK_PORTS_MAX];
        char tap[16];
} ShimNic;
void shim_nic(Shim *s, const NetInterface *i, ShimNic *ret); /* not to be copied */
size_t shim_nics(Shim *s, ShimNic ret[NET_INTERFACES_MAX]);
size_t shim_interfaces(Shim *s, NetworkInterfaceInfo ret[NET_INTERFACES_MAX]);
/* One interface with a MAC of its own, as the hypervisor serves it (wiring/user-net.c); the caller
 * owns it; NULL: out of memory. */
NetFacts *shim_user_facts(void);
/* Ports by their texts, with spaces in between, before the VM is there: free on this host, or
 * refused. */
int shim_publish(Shim *s, const char *list, Error *reterr);
int shim_ports_check(Shim *s, Error *reterr); /* what the pod publishes is free on this host */
/* Result: const NetFacts *. */
int shim_net_read(Shim *s, const char *path, OpDone done, void *job, Error *reterr);
/* With every interface of the pod at once, in its namespace on this host. 0: it has none. In the
 * order of the calls, also when nobody waits for them. Result NULL. */
enum {
        SHIM_NET_CUT = 1U << 0,    /* the namespace's own stack does not hear or answer any more */
        SHIM_NET_JOIN = 1U << 1,   /* tap and namespace belong together; nothing passes yet */
        SHIM_NET_OPEN = 1U << 2,   /* frames pass */
        SHIM_NET_CLOSE = 1U << 3,  /* none does */
        SHIM_NET_UNCUT = 1U << 4,  /* the namespace is its owner's again */
        SHIM_NET_ALONE = 1U << 5,  /* refused if somebody else here has a MAC address of the pod */
        SHIM_NET_MAKE = 1U << 6,   /* what QEMU will open is there; all of it, or the call fails */
        SHIM_NET_UNMAKE = 1U << 7, /* and is not any more: QEMU did not come, or does without */
};
typedef struct ShimNetStatistics {
        struct {
                char name[16];
                NetStatistics all;
        } of[NET_INTERFACES_MAX];
        size_t n;
} ShimNetStatistics;
/* Result: const ShimNetStatistics *; NULL when it is done at once: there are none. */
int shim_net_statistics(Shim *s, OpDone done, void *job, Error *reterr);
int shim_net_all(Shim *s, unsigned what, OpDone done, void *job, Error *reterr);

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
