/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/scsi/scsi.h"

/* Inside controllers/scsi only: the controller's data, and disks and mounts as values.
 *
 * A Disk lives in its slot while any reservation names it; a Mount lives on its disk while any
 * reservation names it. States are written through their machines only. */

#define SCSI_OPTIONS_MAX    32U
#define SCSI_OPTION_LEN_MAX 256U
#define SCSI_PARTITION_MAX  128U
#define SCSI_HOLDERS_MAX    65536U

typedef struct ScsiMount {
        Fsm fsm;
        ScsiMountConfig config;
        char *filesystem;
        char **options; /* sorted */
        uint32_t refs;  /* reservations */
        char guest_path[48];
        struct ScsiMount *next; /* of the disk, by partition */
} ScsiMount;

typedef struct ScsiDisk {
        Fsm fsm;
        ScsiDiskConfig config; /* points at the strings below */
        char *host_path, *format, *digest;
        uint32_t slot;
        uint64_t patched_by; /* reservation that gave it this host's path, 0: none yet */
        bool moving;         /* between scsi_move_begin() and scsi_move_end() */
        ScsiMount *mounts;
} ScsiDisk;

typedef struct ScsiReservation {
        uint64_t id;
        ScsiDisk *disk;
        ScsiMount *mount;
        bool claimed; /* destination: a container has it */
} ScsiReservation;

/* One map or unmap call that is not finished. It advances when nobody else is at work on its disk.
 */
typedef struct ScsiCall {
        Scsi *scsi;
        uint64_t reservation;
        bool unmap;
        bool in_flight;   /* this call's own job: its completion comes to scsi_job_done */
        ScsiDisk *disk;   /* of the job */
        ScsiMount *mount; /* of the job, NULL: the disk itself */
        OpDone done;
        void *job;
        struct ScsiCall *next;
} ScsiCall;

struct Scsi {
        Controller controller;
        Fsm fsm;
        const ScsiOps *ops;
        void *userdata;
        uint32_t n_controllers;
        uint64_t next_reservation;
        ScsiDisk *slots[SCSI_SLOTS_MAX];
        ScsiReservation *reservations; /* by id */
        size_t n_reservations, cap_reservations;
        ScsiCall *calls; /* in order of arrival */
        bool pumping;
};

/* Values (scsi-disk.c). */
int scsi_disk_config_check(const ScsiDiskConfig *d, Error *reterr);
int scsi_mount_config_check(const ScsiMountConfig *m, const ScsiDiskConfig *d, Error *reterr);
bool scsi_disk_config_equal(const ScsiDiskConfig *a, const ScsiDiskConfig *b);
bool scsi_mount_config_equal(const ScsiMountConfig *a, const ScsiMountConfig *b);
int scsi_disk_new(const ScsiDiskConfig *config, uint32_t slot, ScsiDiskState state, ScsiDisk **ret);
ScsiDisk *scsi_disk_free(ScsiDisk *d); /* with its mounts */
DEFINE_CLEANUP(ScsiDisk *, scsi_disk_free);
int scsi_disk_set_path(ScsiDisk *d, const char *host_path);
/* Adds the mount in its place; partition must be free. */
int scsi_disk_add_mount(ScsiDisk *d, const ScsiMountConfig *config, ScsiMountState state,
                        ScsiMount **ret);
ScsiMount *scsi_disk_find_mount(const ScsiDisk *d, uint32_t partition);
void scsi_disk_remove_mount(ScsiDisk *d, ScsiMount *m);

/* Table of reservations (scsi.c). */
ScsiReservation *scsi_find_reservation(const Scsi *s, uint64_t id);
int scsi_room_for_reservations(Scsi *s, size_t more);
void scsi_append_reservation(Scsi *s, uint64_t id, ScsiDisk *d, ScsiMount *m); /* id above all */
int scsi_alloc(Controller *parent, uint32_t n_controllers, ScsiState state, Scsi **ret,
               Error *reterr);
void scsi_forget_reservation(Scsi *s, ScsiReservation *r); /* frees what nobody holds any more */
