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

#define MIGRATION_URI_MAX 256U

typedef struct MigrationOptions {
        MigrationHandover handover;
        uint64_t timeout_ms;         /* of the whole transfer; 0: none */
        uint64_t timeout_per_gib_ms; /* added per GiB of memory and disks to copy */
        MigrationTimeoutAction timeout_action;
        uint64_t progress_timeout_ms;  /* no byte moved for so long; 0: off */
        uint64_t transport_timeout_ms; /* wait for a transport (first, or after a break) */
        uint64_t handover_timeout_ms;  /* source, blackout: for READY, before it rolls back */
        uint64_t finalize_timeout_ms;  /* handover=runtime: for Finalize, before it rolls back */
        uint64_t max_downtime_ms;      /* 0: the hypervisor's default */
        uint64_t bandwidth_mib;        /* per second; 0: not limited */
        uint32_t parallel;             /* connections for memory; 0: one stream */
        bool auto_converge;
        bool compress;
        bool postcopy; /* allowed */
        bool verify;   /* checksums of copied disks */
        bool keep_source_disks;
        MigrationStorage storage;
        char direct_uri[MIGRATION_URI_MAX]; /* "libvirt+tcp://host", "": over the shims' transport
                                             */
} MigrationOptions;

void migration_options_init(MigrationOptions *o); /* the defaults */
/* By name ("handover", "max-downtime-ms", ...), value as text; booleans are "true" and "false".
 * -EINVAL names the option and what it takes; *o is then unchanged. */
int migration_options_set(MigrationOptions *o, const char *name, const char *value, Error *reterr);
/* Options that contradict each other: -EINVAL names both. */
int migration_options_check(const MigrationOptions *o, Error *reterr);
/* Visits every option: name, value as text, what it is for (help texts, Dump). */
typedef int (*MigrationOptionVisitor)(void *userdata, const char *name, const char *value,
                                      const char *help);
int migration_options_each(const MigrationOptions *o, MigrationOptionVisitor visit, void *userdata);
