/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/process/process.h"
#include "controllers/scsi/scsi.h"

/* One container: its disks (reservations in Scsi), its overlay in the guest, its processes.
 *
 * Two identities: the id is host-facing and may change when the pod moves; the guest id is fixed at
 * creation and names everything in the guest. Making it is a chain of steps (reserve and map every
 * disk, overlay, stdio, guest create); taking it down is one release that clears a marker per step,
 * so that it can be called again after a failure and goes on where it failed. A failed creation
 * releases what it made. Owned by its pod. Loop thread only. Picture: docs/states/container.md. */
typedef struct Container Container;

#define CONTAINER_DISKS_MAX     128U
#define CONTAINER_PROCESSES_MAX 1024U
/* Of execs that have ended and that nobody deletes, so many are kept: the last ones. */
#define CONTAINER_ENDED_EXECS_MAX 64U

typedef enum ContainerState {
        CONTAINER_NOT_CREATED,
        CONTAINER_CREATING, /* steps in flight */
        CONTAINER_CREATED,
        CONTAINER_STARTING, /* start call in flight */
        CONTAINER_RUNNING,
        CONTAINER_STOPPED,  /* init has exited */
        CONTAINER_INVALID,  /* a release failed half way: delete it again */
        CONTAINER_DELETING, /* release in flight */
        CONTAINER_DELETED,  /* final */
        CONTAINER_SOURCE_MIGRATING,
        CONTAINER_DESTINATION_MIGRATING,
        _CONTAINER_STATE_MAX,
} ContainerState;

typedef struct ContainerDisk {
        ScsiDiskConfig disk;        /* its kind is the disk's role here */
        const char *filesystem;     /* "erofs", "ext4"; "" with block_device */
        bool block_device;          /* volumes only: the node is bound instead of a mount */
        uint32_t partition;         /* volumes only; 0: the whole disk */
        bool format_given;          /* volumes only: not told from the content */
        const char *destination;    /* volumes: path in the container */
        const char *const *options; /* mount options of a volume, NULL-terminated, may be NULL */
} ContainerDisk;

typedef struct ContainerSpec {
        const char *id;
        const char *guest_id;    /* NULL: as id */
        const char *config_json; /* OCI runtime spec, an object */
        const char *bundle;      /* host path, "" if none */
        const char *log_path;    /* host path of the init's log, "" if none */
        bool terminal, stdin_open;
        uint32_t rows, columns;
        const ContainerDisk *disks; /* layers lowest first; at most one scratch; volumes */
        size_t n_disks;
} ContainerSpec;

/* Strings are borrowed for the call. */
typedef struct ContainerOverlay {
        const char *guest_path;   /* the merged root */
        const char *const *lower; /* guest paths, top layer first, NULL-terminated */
        const char *upper;        /* guest path of the scratch mount; "": read-only root */
} ContainerOverlay;

typedef struct ContainerBind {
        const char *source;      /* guest path of the mount, or of the device node */
        const char *destination; /* in the container; made if it is not there */
        bool read_only, block_device;
} ContainerBind;

typedef struct ContainerPids {
        const uint32_t *pids;
        size_t n;
} ContainerPids;

/* What a container needs from the guest (shim/guest). Convention of lib/task.h. */
typedef struct ContainerOps {
        int (*overlay)(void *userdata, const char *guest_id, const ContainerOverlay *overlay,
                       OpDone done, void *job, Error *reterr);
        int (*remove_overlay)(void *userdata, const char *guest_id, const char *guest_path,
                              OpDone done, void *job, Error *reterr);
        /* Result: const uint32_t *pid of the init, through *ret_pid when done at once. */
        int (*create)(void *userdata, const ProcessKey *init, const char *rootfs,
                      const char *config_json, const ProcessSpec *spec,
                      const ProcessChannels *channels, uint32_t *ret_pid, OpDone done, void *job,
                      Error *reterr);
        /* The guest forgets the container and its execs. -ENOENT counts as done. */
        int (*delete)(void *userdata, const char *guest_id, bool force, OpDone done, void *job,
                      Error *reterr);
        int (*update)(void *userdata, const char *guest_id, const char *resources_json, OpDone done,
                      void *job, Error *reterr);
        /* Into the mount namespace of a container that runs, and out of it: -EBUSY while something
         * there uses it, -ENOENT if nothing is bound there. */
        int (*bind)(void *userdata, const char *guest_id, const ContainerBind *bind, OpDone done,
                    void *job, Error *reterr);
        int (*unbind)(void *userdata, const char *guest_id, const char *destination, OpDone done,
                      void *job, Error *reterr);
        /* Result: const ContainerPids *; always later (1) or refused. */
        int (*ps)(void *userdata, const char *guest_id, OpDone done, void *job, Error *reterr);
        /* True once the VM has died: then failures of release steps count as success. */
        bool (*gone)(void *userdata);
} ContainerOps;

/* Everything that a pod's tree is bound to. Borrowed; must outlive the tree. */
typedef struct PodOps {
        const ContainerOps *container;
        const ProcessOps *process;
        void *userdata; /* of both */
        Scsi *scsi;
        PodEvents events; /* event may be NULL */
} PodOps;

/* Checks the whole spec. -EINVAL names the field. Does nothing outside. */
int container_new(Controller *parent, const ContainerSpec *spec, Container **ret, Error *reterr);
Container *container_free(Container *c); /* not while a call is in flight */
DEFINE_CLEANUP(Container *, container_free);
void container_bind(Container *c, const PodOps *ops);
Controller *container_controller(Container *c);

/* Result NULL. NotCreated only. On failure everything is released again; if that fails too the
 * container is Invalid and container_delete drains it, else it is Deleted and good for free only.
 */
int container_create(Container *c, OpDone done, void *job, Error *reterr);
/* Created only. Result: const uint32_t *pid, also through *ret_pid (may be NULL). A failed start
 * leaves it Stopped, as if init had exited with 1. */
int container_start(Container *c, uint32_t *ret_pid, OpDone done, void *job, Error *reterr);
/* exec_id "" is the init, and every exec as well when all. -EBADFD: not created, frozen, or all
 * with an exec id; -ENOENT unknown exec; -EINVAL signal. Nothing to do once stopped. */
int container_kill(Container *c, const char *exec_id, uint32_t signal, bool all, OpDone done,
                   void *job, Error *reterr);
/* Adds an exec in state Created. Running only. -EEXIST; *ret is borrowed. */
int container_exec(Container *c, const ProcessSpec *spec, Process **ret, Error *reterr);
int container_start_exec(Container *c, const char *exec_id, uint32_t *ret_pid, OpDone done,
                         void *job, Error *reterr);
/* Removes an exec that is not running. Result: const ProcessExit *, also through *ret. */
int container_delete_exec(Container *c, const char *exec_id, ProcessExit *ret, OpDone done,
                          void *job, Error *reterr);
/* Sends the signal to every process and completes when the init has exited (at once if it has).
 * Result: const ProcessExit *, also through *ret. The caller has the timer. */
int container_stop(Container *c, uint32_t signal, ProcessExit *ret, OpDone done, void *job,
                   Error *reterr);
/* Takes down a container whose init does not run (Created, Stopped, Invalid): execs that still run
 * are killed and waited for, then the guest forgets it, then overlay and disks go. Result: const
 * ProcessExit * of the init, also through *ret. After a failure it is Invalid: call it again.
 * -EBUSY: an exec is being deleted. pod_delete_container also removes it from the pod. */
int container_delete(Container *c, ProcessExit *ret, OpDone done, void *job, Error *reterr);
int container_update(Container *c, const char *resources_json, OpDone done, void *job,
                     Error *reterr); /* Running, Created */
/* Running only. A volume comes or goes; what fails on the way is undone (a removal is not: do it
 * again). -EEXIST: there is one at that destination; -ENOENT: there is none; -EBUSY: another call
 * is in flight, or the guest uses it; else as scsi_reserve() and scsi_map(). */
int container_add_volume(Container *c, const ContainerDisk *disk, OpDone done, void *job,
                         Error *reterr);
int container_remove_volume(Container *c, const char *destination, OpDone done, void *job,
                            Error *reterr);
int container_ps(Container *c, OpDone done, void *job,
                 Error *reterr); /* Running; result: const ContainerPids * */

bool container_is_idle(const Container *c); /* no call is in flight: it may be freed */
const char *container_id(const Container *c);
const char *container_guest_id(const Container *c);
const char *container_bundle(const Container *c);
const char *container_log_path(const Container *c);
const char *container_rootfs(const Container *c); /* guest path */
ContainerState container_state(const Container *c);
ContainerState container_state_before(const Container *c); /* frozen: what it was */
Process *container_init_process(const Container *c);
Process *container_process(const Container *c, const char *exec_id); /* NULL: unknown */
typedef int (*ProcessVisitor)(void *userdata, Process *p);
int container_each_process(const Container *c, ProcessVisitor visit,
                           void *userdata); /* init first, then by exec id */

/* Its disks, in the order of the spec: layers lowest first, scratch, volumes. */
typedef struct ContainerDiskInfo {
        size_t index; /* place in ContainerPatch.disk_paths */
        uint64_t reservation;
        const char *destination; /* volumes, else "" */
        ScsiDiskInfo disk;       /* borrowed */
} ContainerDiskInfo;
typedef int (*ContainerDiskVisitor)(void *userdata, const ContainerDiskInfo *info);
int container_each_disk(const Container *c, ContainerDiskVisitor visit, void *userdata);
size_t container_n_disks(const Container *c);

/* Migration. */
typedef struct ContainerPatch {
        const char *source_id;         /* as it was imported */
        const char *id;                /* on this host; may be the same */
        const char *bundle, *log_path; /* "" if none */
        const char *const *disk_paths; /* this host's path of every disk, none missing */
        size_t n_disks;
} ContainerPatch;

int container_save(const Container *c, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
/* scsi is the imported one: every reservation is looked up in it. */
int container_import(Controller *parent, Scsi *scsi, const void *p, size_t n, Container **ret,
                     Error *reterr);
/* DestinationMigrating only. Checks all of it before anything changes; may be repeated. */
int container_patch(Container *c, const ContainerPatch *patch, Error *reterr);
bool container_is_patched(const Container *c);
const char *container_source_id(const Container *c); /* as it was imported, else its id */
/* Destination, first half of resume: binds, opens stdio, adopts waits; -EBADFD while not patched.
 * Changes no state and tells nobody; may be repeated after a failure. */
int container_adopt(Container *c, const PodOps *ops, Error *reterr);
/* Destination: adopts, announces the container, and reports exits that were put. Source: thaws. A
 * no-op when not migrating. */
int container_resume(Container *c, const PodOps *ops, Error *reterr);
void container_moved(Container *c);            /* source: see process_moved; then delete works */
bool container_vm_is_gone(const Container *c); /* moved, lost or aborted */
void container_lost(Container *c); /* the VM died: see process_lost; then delete works */
int container_abort_migrated(Container *c, Error *reterr); /* then kill and delete work */

extern const FsmTable container_fsm;
extern const EnvelopeType container_envelope;
