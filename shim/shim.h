/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-event.h>

#include "controllers/pod/pod.h"
#include "controllers/vm/vm.h"
#include "hostdev/libvirt/lane.h"
#include "hostdev/libvirt/virt.h"
#include "shim/annotations.h"
#include "shim/config.h"
#include "shim/dbus/server.h"
#include "shim/guest/rpc.h"
#include "shim/rundir.h"
#include "shim/stdio/stdio.h"

/* One pod's shim: the loop, the tree of controllers and everything they are wired to.
 *
 *      bus -> faces (shim/dbus) -> controllers -> ops (shim/wiring) -> libvirt, guest, files
 *
 * One thread owns all of it. The tree is there from Start (or Import) on; before, the shim only
 * answers. Ends in shim_shutdown(), which takes the pod with it, or when the loop is left, which
 * does not. */
typedef struct Shim Shim;
typedef struct GuestWait GuestWait;
typedef struct VmCall VmCall;
typedef struct Migrate Migrate;
typedef struct Keep Keep;
typedef struct StopCall StopCall;
typedef struct VolumeMove VolumeMove;
typedef struct DefinitionContainer DefinitionContainer;

struct Shim {
        sd_event *event;
        Config config;
        const char *pod_id; /* borrowed from the command line */
        bool receive;       /* the destination of a migration: no Start, only Import */
        bool discard;       /* made only to remove what a shim before it left */
        bool starting, ending;
        bool restarting; /* shim_start_pod() is at work, up to its last container */
        StopCall *stops; /* shim/stop-pod.c: those under way */
        sd_event_source *stops_look;
        bool elsewhere;  /* ending, and the pod runs on another host */
        bool given_away; /* it does, and what is left here is to be removed */
        RunDir dir;
        char *link_path, *console_path, *state_path; /* of this pod */

        BusServer *bus;
        GuestLink *link;
        GuestRpc *rpc;
        StdioHub *stdio;
        Virt *virt; /* from the first use on */

        uint64_t made; /* of the last container: shim/definition.h */
        Annotations annotations;

        Vm *vm;   /* NULL: not started, not imported */
        Pod *pod; /* below vm */
        PodOps pod_ops;
        Migrate *migrate; /* shim/migrate: moving the pod, here or away */
        VolumeMove *move; /* shim/volume-move.c: the one under way */
        Keep *keep;       /* shim/keep.c: what a shim that is started again will need */

        NetWiring wiring; /* of interfaces that are made; known once one was */

        VmCall *connecting, *powering_off; /* shim/wiring/vm-ops.c */
        GuestWait *waits;                  /* shim/wiring/guest-wait.c */
        Mailbox mailbox;                   /* of the lanes for files and namespaces */
        Lane files, namespaces;
        bool files_ready;
};

/* The run directory is open and locked; takes config and dir. */
int shim_new(sd_event *event, const char *pod_id, bool receive, Config *config, RunDir *dir,
             Shim **ret, Error *reterr);
/* Leaves VM, run directory and state as they are. */
Shim *shim_free(Shim *s);
DEFINE_CLEANUP(Shim *, shim_free);

/* What Vm.Start may say; 0: as configured. */
typedef struct ShimVmOptions {
        uint64_t memory_mib;
        uint32_t vcpus;
        const char *network; /* "none", "user", "ns:PATH"; NULL: none */
        const char *publish; /* with "user": [ADDRESS:]HOST_PORT:POD_PORT[/udp] ...; NULL: none */
        bool defined;        /* as the definition on disk says, which stays as it is */
} ShimVmOptions;

/* Makes the tree and starts the VM. Running already: done. -EBADFD: it has ended, is being started,
 * or this shim is to receive a pod. Result NULL. */
int shim_start_vm(Shim *s, const ShimVmOptions *options, OpDone done, void *job, Error *reterr);
/* Starts a stopped pod again, as its definition on disk says; also in a shim that has no tree yet.
 * Its containers are new processes on the disks that they had. When it fails the pod is stopped,
 * and may be started again. Result NULL. -ENOENT: there is no definition. */
int shim_start_pod(Shim *s, OpDone done, void *job, Error *reterr);
/* Frees a tree whose VM has ended, or was not started. */
void shim_drop_tree(Shim *s);
/* Makes a container, as the JSON of Pod.CreateContainer. Result NULL. */
int shim_create_container(Shim *s, const char *id, const char *spec_json, OpDone done, void *job,
                          Error *reterr);
/* The same for one that has been made before: its scratch disk is there. */
int shim_create_defined(Shim *s, const DefinitionContainer *c, OpDone done, void *job,
                        Error *reterr);
/* It was deleted, and is not to start again. In order with all that writes the definition. */
void shim_undefine(Shim *s, const char *id);
/* SIGTERM to every process, SIGKILL after the timeout; when no container runs, the VM is powered
 * off. Result NULL. A migration of the pod to another host is cancelled first; -EBADFD: too late
 * for that, also as the result. */
int shim_stop_pod(Shim *s, uint32_t timeout_ms, OpDone done, void *job, Error *reterr);
/* A migration has changed: may stops go on that wait for it? */
void shim_stops_look(Shim *s);
/* Is the pod stopped, with nothing of it under way? -EBADFD, -EBUSY; `call` is for the text. */
int shim_check_stopped(const Shim *s, const char *call, Error *reterr);
/* The shim of a stopped pod ends; definition, disks and logs stay, in the state directory, and
 * another shim may start it. Result NULL. Codes of shim_check_stopped(); -EBADFD: it has no
 * definition. */
int shim_leave(Shim *s, OpDone done, void *job, Error *reterr);
/* Ends the pod on this host and removes all of it, then leaves the loop. Result NULL; the answer is
 * sent before the loop ends. */
int shim_shutdown(Shim *s, OpDone done, void *job, Error *reterr);
/* SIGTERM and a broken loop: leaves the loop, ends the pod only if the configuration says so. */
void shim_stop(Shim *s);

/* The loop has ended, and the process is about to: no tokens of a check are left beside disks. */
void shim_end_check(Shim *s);
/* The same for the network: waits until the namespace has back what it is to get back. */
void shim_end_network(Shim *s);

/* The whole shim as JSON; the caller owns *ret. */
int shim_dump(Shim *s, char **ret, Error *reterr);
/* The options of a migration that no call has touched: annotations over the configuration. */
void shim_migration_options(const Shim *s, MigrationOptions *ret);
/* The libvirt backend, made on first use (no connection yet). */
int shim_virt(Shim *s, Virt **ret, Error *reterr);
/* <state_dir>/pods/<pod>/scratch-<container>.raw; the caller owns it; NULL: out of memory. */
char *shim_scratch_path(const Shim *s, const char *container_id);
/* The VM is gone: every call to the guest ends, stdio is closed, the tree hears of it. */
void shim_vm_gone(Shim *s, const char *reason);
/* Binds a new tree (after vm_new or vm_import) to everything. */
void shim_bind_tree(Shim *s);
