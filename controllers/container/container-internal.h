/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/container/container.h"

/* Inside controllers/container only.
 *
 * What has to be released is known by markers alone: a disk with a reservation, overlay_on,
 * guest_has_it. Creation sets them as it goes, release clears them as it goes, so that the same
 * release serves a failed creation, a delete, and a delete that failed before. */
typedef struct ContainerDiskRef {
        Container *container;
        uint64_t reservation; /* 0: none (any more) */
        ScsiDiskKind kind;
        char *destination; /* volumes, else "" */
        bool read_only, block_device;
        ScsiDiskConfig config; /* strings below; only until they are reserved */
        ScsiMountConfig mount;
        char *host_path, *format, *digest, *filesystem;
        char **options;
} ContainerDiskRef;

/* Several calls at once, of which a task's step waits for the last. */
typedef struct ContainerGather {
        Task *task;
        unsigned pending;
        int r; /* the first failure */
        Error error;
} ContainerGather;

struct Container {
        Controller controller;
        Fsm fsm;
        ContainerState before; /* frozen: where thaw and resume lead */

        char *id, *guest_id, *bundle, *log_path, *rootfs;
        char *config_json; /* until the guest has it */
        ContainerDiskRef *disks;
        size_t n_disks;
        bool overlay_on, guest_has_it;
        bool vm_gone;    /* nothing in the guest or on the VM is left to be released */
        char *source_id; /* destination: as it was imported */
        bool claims;     /* destination: its reservations are claimed in scsi for it */
        bool patched;    /* destination */

        PodOps ops;
        bool bound;

        Process *init;
        Process **execs; /* by exec id */
        size_t n_execs, cap_execs;

        unsigned calls; /* updates, ps, deletions of execs in flight */
        OpDone done;    /* of the create, start or delete in flight */
        void *job;
        ContainerGather gather;
        Error error; /* why creation failed, while its release runs */
};

int container_alloc(Controller *parent, const char *id, const char *guest_id, ContainerState state,
                    size_t n_disks, Container **ret, Error *reterr);
/* Checks the order layers, scratch, volumes: `before` is the kind of the disk before. */
int container_disk_order_check(ScsiDiskKind kind, size_t index, ScsiDiskKind before, Error *reterr);
int container_destination_check(const char *destination, Error *reterr);
int container_add_exec(Container *c, Process *p); /* takes p; -ENOMEM leaves it to the caller */
void container_bind_process(Container *c, Process *p);
/* Also after a failure container_disk_done() releases what was copied. -ENOMEM. */
int container_copy_disk(ContainerDiskRef *ref, const ContainerDisk *d);
void container_disk_done(ContainerDiskRef *d);
int container_set_string(char **field, const char *value); /* -ENOMEM leaves the field */

/* The OCI config with every volume as a bind mount (container-spec.c). The caller frees *ret. */
int container_guest_config(const Container *c, char **ret, Error *reterr);
int container_spec_check(const ContainerSpec *spec, Error *reterr);

/* Steps (container-steps.c), as tasks on the container. */
int container_run_create(Container *c, OpDone done, Error *reterr);
int container_run_release(Container *c, OpDone done, Error *reterr);
