/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* What a migration is asked to be. Plain values; strings are fixed arrays, so it may be copied.
 *
 * Sources of rising strength (configuration, annotation, call) are laid over each other by calling
 * migration_options_set() once per name given: what nobody names keeps its default. */
typedef enum MigrationHandover {
        MIGRATION_HANDOVER_SHIMS,   /* the two shims decide, inside Transfer */
        MIGRATION_HANDOVER_RUNTIME, /* they wait for the runtime's Finalize before the point of no
                                       return */
        MIGRATION_HANDOVER_FAST,    /* libvirt resumes the destination by itself */
        _MIGRATION_HANDOVER_MAX,
} MigrationHandover;

typedef enum MigrationTimeoutAction {
        MIGRATION_TIMEOUT_ABORT,
        MIGRATION_TIMEOUT_FORCE_COMPLETE,
        _MIGRATION_TIMEOUT_ACTION_MAX,
} MigrationTimeoutAction;

typedef enum MigrationStorage {
        MIGRATION_STORAGE_AUTO, /* as each disk says */
        MIGRATION_STORAGE_SHARED,
        MIGRATION_STORAGE_COPY,
        _MIGRATION_STORAGE_MAX,
} MigrationStorage;

typedef enum MigrationCompression {
        MIGRATION_COMPRESSION_NONE,
        MIGRATION_COMPRESSION_ZSTD,
        MIGRATION_COMPRESSION_ZLIB,
        MIGRATION_COMPRESSION_XBZRLE,
        _MIGRATION_COMPRESSION_MAX,
} MigrationCompression;

typedef enum MigrationCutover {
        MIGRATION_CUTOVER_AUTO, /* as soon as the rest is small enough */
        MIGRATION_CUTOVER_HOLD, /* by the call Cutover, or at a time */
        _MIGRATION_CUTOVER_MAX,
} MigrationCutover;

typedef enum MigrationStallAction {
        MIGRATION_STALL_ADVISE, /* a warning, no more */
        MIGRATION_STALL_ABORT,
        MIGRATION_STALL_FORCE_COMPLETE,
        _MIGRATION_STALL_ACTION_MAX,
} MigrationStallAction;

/* Who said what an option is. */
typedef enum MigrationOrigin {
        MIGRATION_BY_DEFAULT,
        MIGRATION_BY_CONFIGURATION,
        MIGRATION_BY_ANNOTATION,
        MIGRATION_BY_CALL,
        _MIGRATION_ORIGIN_MAX,
} MigrationOrigin;

const char *migration_origin_name(MigrationOrigin o);

#define MIGRATION_URI_MAX     256U
#define MIGRATION_OPTIONS_MAX 48U /* rows of the table, at most */

typedef struct MigrationOptions {
        MigrationHandover handover;
        MigrationStorage storage;
        uint64_t timeout_ms;         /* of the whole transfer; 0: by its size */
        uint64_t timeout_per_gib_ms; /* per GiB of memory and disks to copy; 0: no limit */
        MigrationTimeoutAction timeout_action;
        uint64_t pause_timeout_ms; /* the second deadline, once completion is forced by a pause */
        uint64_t abort_timeout_ms; /* after which an abort that has no effect is reported */
        uint64_t progress_timeout_ms;  /* no byte moved for so long; 0: off */
        uint64_t transport_timeout_ms; /* wait for a transport */
        uint64_t handover_timeout_ms;  /* source, blackout: for READY, before it rolls back */
        uint64_t finalize_timeout_ms;  /* handover=runtime: for Finalize, before it rolls back */
        MigrationStallAction stall_action;
        uint64_t stall_window_ms;
        uint64_t max_downtime_ms;      /* the ceiling; 0: the hypervisor's default, no ramp */
        uint64_t downtime_start_ms;    /* where the ramp begins; 0: at the ceiling */
        uint64_t downtime_cooldown_ms; /* between two steps of it */
        uint32_t downtime_iteration;   /* of memory, from which it rises */
        MigrationCutover cutover;
        uint64_t cutover_at;         /* seconds since 1970; 0: no time */
        uint64_t bandwidth;          /* bytes a second; 0: not limited */
        uint64_t bandwidth_postcopy; /* the same, once it is post-copy */
        uint32_t connections;        /* parallel ones, for memory; 0: one stream */
        uint32_t auto_converge_initial, auto_converge_increment; /* %; 0: the hypervisor's */
        uint64_t compression_cache; /* bytes, of xbzrle; 0: the hypervisor's */
        MigrationCompression compression;
        bool auto_converge;
        bool postcopy; /* allowed */
        bool verify;   /* checksums of copied disks: refused */
        bool keep_source_disks;
        bool remove_source_volumes; /* those that were copied */
        bool abort_on_error;        /* an I/O error of the guest ends the transfer */
        bool synchronous_writes;    /* to copied disks: each waits for its copy */
        bool allow_plaintext;       /* of libvirt's own transport, off the loopback */
        /* libvirt's own transport between the hosts; "": over the shims' */
        char transport[MIGRATION_URI_MAX], migrate_uri[MIGRATION_URI_MAX];
        uint8_t origin[MIGRATION_OPTIONS_MAX]; /* MigrationOrigin of each, by row of the table */
} MigrationOptions;

void migration_options_init(MigrationOptions *o); /* the defaults */
/* By name ("handover", "max_downtime", ...: as on D-Bus), value as text; booleans are "true" and
 * "false". -EINVAL names the option and what it takes; *o is then unchanged. */
int migration_options_set(MigrationOptions *o, const char *name, const char *value, Error *reterr);
/* The same, said by somebody else than a call. */
int migration_options_set_by(MigrationOptions *o, MigrationOrigin by, const char *name,
                             const char *value, Error *reterr);
MigrationOrigin migration_options_origin(const MigrationOptions *o, const char *name);
/* What `below` has and nobody has said in *o with more right. Pure. */
void migration_options_lay_under(MigrationOptions *o, const MigrationOptions *below);
/* Options that contradict each other: -EINVAL names both. */
int migration_options_check(const MigrationOptions *o, Error *reterr);
/* What option transport is to libvirt: qemu+tls://HOST[:PORT]/system[?QUERY] for
 * libvirt+tls://HOST[:PORT][/system][?QUERY] (https://libvirt.org/uri.html has the queries).
 * -EINVAL: it is of another form. */
int migration_options_libvirt_uri(const MigrationOptions *o, char *to, size_t size, Error *reterr);
/* Visits every option: name, value as text, what it is for (help texts, Dump). */
typedef int (*MigrationOptionVisitor)(void *userdata, const char *name, const char *value,
                                      const char *help);
int migration_options_each(const MigrationOptions *o, MigrationOptionVisitor visit, void *userdata);
