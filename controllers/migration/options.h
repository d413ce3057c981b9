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

#define MIGRATION_URI_MAX 256U

typedef struct MigrationOptions {
        MigrationHandover handover;
        MigrationStorage storage;
        uint64_t timeout_ms;         /* of the whole transfer; 0: none */
        uint64_t timeout_per_gib_ms; /* added per GiB of memory and disks to copy */
        MigrationTimeoutAction timeout_action;
        uint64_t progress_timeout_ms;  /* no byte moved for so long; 0: off */
        uint64_t transport_timeout_ms; /* wait for a transport */
        uint64_t handover_timeout_ms;  /* source, blackout: for READY, before it rolls back */
        uint64_t finalize_timeout_ms;  /* handover=runtime: for Finalize, before it rolls back */
        uint64_t max_downtime_ms;      /* 0: the hypervisor's default */
        uint64_t bandwidth;            /* bytes a second; 0: not limited */
        uint32_t connections;          /* parallel ones, for memory; 0: one stream */
        MigrationCompression compression;
        bool auto_converge;
        bool postcopy; /* allowed */
        bool verify;   /* checksums of copied disks */
        bool keep_source_disks;
        bool remove_source_volumes; /* those that were copied */
        /* libvirt's own transport between the hosts; "": over the shims' */
        char transport[MIGRATION_URI_MAX], migrate_uri[MIGRATION_URI_MAX];
} MigrationOptions;

void migration_options_init(MigrationOptions *o); /* the defaults */
/* By name ("handover", "max_downtime", ...: as on D-Bus), value as text; booleans are "true" and
 * "false". -EINVAL names the option and what it takes; *o is then unchanged. */
int migration_options_set(MigrationOptions *o, const char *name, const char *value, Error *reterr);
/* Options that contradict each other: -EINVAL names both. */
int migration_options_check(const MigrationOptions *o, Error *reterr);
/* Visits every option: name, value as text, what it is for (help texts, Dump). */
typedef int (*MigrationOptionVisitor)(void *userdata, const char *name, const char *value,
                                      const char *help);
int migration_options_each(const MigrationOptions *o, MigrationOptionVisitor visit, void *userdata);
