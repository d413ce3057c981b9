/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/plan9/plan9.h"
#include "controllers/scsi/scsi.h"
#include "controllers/vpci/vpci.h"

/* The pod's virtual machine: what it is made of, whether it runs, and where it is in a migration.
 *
 * Root of the tree: it owns Scsi, Plan9 and Vpci, and pods are linked below it, so freezing it
 * freezes everything. libvirt's migration itself is driven by the migration controller; this one
 * follows it (vm_migration_started, ..._completed) so that every other call knows what is legal.
 * Loop thread only. Picture: docs/states/vm.md. */
typedef struct Vm Vm;

typedef enum VmState {
        VM_NOT_CREATED,
        VM_STARTING, /* domain and guest link are being made */
        VM_RUNNING,
        VM_STOPPING,
        VM_TERMINATED,           /* final */
        VM_INVALID,              /* start or stop failed half way: stop it */
        VM_SOURCE_INITIALIZED,   /* frozen; the domain runs */
        VM_SOURCE_STARTED,       /* frozen; libvirt is moving it */
        VM_DESTINATION_IMPORTED, /* from an envelope; no domain */
        VM_DESTINATION_PATCHED,  /* knows this host's paths */
        VM_DESTINATION_STARTED,  /* libvirt is receiving it */
        VM_TRANSFER_COMPLETED,   /* either side: memory has moved, nobody resumed yet */
        VM_SOURCE_MOVED,         /* the destination has it; the domain here is fenced */
        _VM_STATE_MAX,
} VmState;

typedef enum VmDomainType {
        VM_DOMAIN_KVM,
        VM_DOMAIN_QEMU,
        _VM_DOMAIN_TYPE_MAX,
} VmDomainType;

typedef struct VmFile {
        const char *path;   /* on this host */
        const char *digest; /* "sha256:<64 hex>", "" if not known */
} VmFile;

typedef struct VmSpec {
        const char *pod_id;      /* at the source; the domain name keeps it */
        const char *domain_name; /* "podferry-<pod>" */
        const char *uuid;        /* 36 characters, lower case */
        uint64_t memory_mib;
        uint32_t vcpus;
        VmDomainType domain_type;
        const char *machine; /* concrete: "pc-q35-7.2" */
        const char *cpu;     /* as the domain XML writer understands it */
        VmFile kernel, initrd;
        const char *cmdline;
        uint32_t n_scsi_controllers;
        const char *link_path;    /* this host's UNIX socket of the guest link */
        const char *console_path; /* this host's console log, "" if none */
} VmSpec;

#define VM_MEMORY_MIB_MIN 96U        /* what a new pod needs at least */
#define VM_MEMORY_MIB_MAX (1U << 24) /* 16 TiB */
#define VM_VCPUS_MAX      1024U

/* What travels about the guest link, beside the checkpoint in the handoff. */
typedef struct VmLink {
        uint8_t session_id[16];
        uint64_t epoch;
        uint64_t next_call_id; /* floors: the destination starts no lower */
        uint32_t next_channel;
} VmLink;

/* What the VM needs from the host (hostdev/libvirt, shim/guest). Convention of lib/task.h. */
typedef struct VmOps {
        int (*create)(void *userdata, const VmSpec *spec, OpDone done, void *job,
                      Error *reterr); /* the domain, running */
        int (*connect)(void *userdata, OpDone done, void *job,
                       Error *reterr); /* the guest link is up and the agent answers */
        /* Asks the guest to power off; done when the domain is down; -ETIMEDOUT. */
        int (*power_off)(void *userdata, uint32_t timeout_ms, OpDone done, void *job,
                         Error *reterr);
        /* Success also when there is no domain. Closes the guest link: outstanding calls end. */
        int (*destroy)(void *userdata, OpDone done, void *job, Error *reterr);
        void (*link)(void *userdata, VmLink *ret); /* for Save */
} VmOps;

/* The VM is no more on this host: it stopped, died, or moved ("moved"). Called once. Its owner then
 * calls pod_lost, or pod_moved. */
typedef void (*VmEnded)(void *userdata, Vm *vm, const char *reason);

/* Copies and checks the spec; -EINVAL names the field. */
int vm_new(const VmSpec *spec, Vm **ret, Error *reterr);
Vm *vm_free(Vm *vm); /* pods must be gone; not while a call is in flight */
DEFINE_CLEANUP(Vm *, vm_free);
void vm_bind(Vm *vm, const VmOps *ops, void *userdata, VmEnded ended, void *ended_userdata);
Controller *vm_controller(Vm *vm);
VmState vm_state(const Vm *vm);
const VmSpec *vm_spec(const Vm *vm);          /* borrowed; paths are this host's after vm_patch */
const VmLink *vm_imported_link(const Vm *vm); /* imported and not resumed yet, else NULL */
Scsi *vm_scsi(const Vm *vm);
Plan9 *vm_plan9(const Vm *vm);
Vpci *vm_vpci(const Vm *vm);
bool vm_is_migrating(const Vm *vm);      /* any migration state */
bool vm_is_gone(const Vm *vm);           /* Terminated, or moved away */
const char *vm_end_reason(const Vm *vm); /* "" while it lives */

/* NotCreated -> Running. Running: done, nothing to do. Failure: destroyed again, Invalid. */
int vm_start(Vm *vm, OpDone done, void *job, Error *reterr);
/* Powers off, and destroys after the timeout (0: at once). Ends in Terminated from any state;
 * NotCreated, Terminated: nothing to do. -EBUSY while starting or stopping. A failed destroy leaves
 * Invalid: call again. */
int vm_stop(Vm *vm, uint32_t timeout_ms, OpDone done, void *job, Error *reterr);
/* libvirt or the link says that it is gone. Legal in every state; also ends calls in flight later.
 * In a migration of the source after SOURCE_MOVED it is what is expected. */
void vm_died(Vm *vm, const char *reason);

/* Migration. Freeze: controller_freeze(vm_controller(vm)): Running -> SourceInitialized. */
typedef struct VmPatch {
        const char *kernel_path, *initrd_path;
        const char *link_path, *console_path;
} VmPatch;

int vm_save(const Vm *vm, Buf *ret, Error *reterr); /* SourceInitialized only; children within */
/* The children (scsi, plan9, vpci) come with it. */
int vm_import(const void *p, size_t n, Vm **ret, Error *reterr);
/* Imported or Patched; after the pods were imported: -EINVAL if a disk is nobody's. */
int vm_patch(Vm *vm, const VmPatch *patch, Error *reterr);
/* SourceInitialized -> SourceStarted; DestinationPatched -> DestinationStarted. */
int vm_migration_started(Vm *vm, Error *reterr);
/* SourceStarted, DestinationStarted -> TransferCompleted. */
int vm_migration_completed(Vm *vm, Error *reterr);
/* Source, after RELEASED: -> SourceMoved; ended is called with "moved". */
int vm_moved(Vm *vm, Error *reterr);
/* Source (any frozen state): the domain runs here again: Running, devices thawed. Destination
 * (DestinationStarted, TransferCompleted): the domain runs here now: binds ops, resumes devices.
 * Running: done. May be repeated. Pods: pod_resume or controller_thaw after it. */
int vm_resume(Vm *vm, const VmOps *ops, void *userdata, const ScsiOps *scsi_ops,
              void *scsi_userdata, Error *reterr);
/* Destination states only: Terminated with devices aborted; no-op otherwise. The caller has made
 * sure that no domain is left. */
int vm_abort_migrated(Vm *vm, Error *reterr);

extern const FsmTable vm_fsm;
extern const EnvelopeType vm_envelope;
