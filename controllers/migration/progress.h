/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* How far a migration is, for people and programs: one record of the present, and a bounded history
 * of notifications with rising ids, so that who subscribes late, or was away, misses nothing. */
typedef enum MigrationRole {
        MIGRATION_SOURCE,
        MIGRATION_DESTINATION,
        _MIGRATION_ROLE_MAX,
} MigrationRole;

typedef enum MigrationPhase {
        MIGRATION_PHASE_PREFLIGHT,
        MIGRATION_PHASE_EXPORT,
        MIGRATION_PHASE_IMPORT,
        MIGRATION_PHASE_PATCH,
        MIGRATION_PHASE_PREPARE,
        MIGRATION_PHASE_CONNECT,
        MIGRATION_PHASE_STORAGE,
        MIGRATION_PHASE_MEMORY,
        MIGRATION_PHASE_SWITCHOVER, /* begins with the blackout */
        MIGRATION_PHASE_HANDOFF,
        MIGRATION_PHASE_RESUME,
        MIGRATION_PHASE_FINALIZE,
        MIGRATION_PHASE_CLEANUP,
        _MIGRATION_PHASE_MAX,
        _MIGRATION_PHASE_INVALID = -1,
} MigrationPhase;

typedef enum MigrationResult {
        MIGRATION_STARTED,  /* the phase begins */
        MIGRATION_PROGRESS, /* figures changed */
        MIGRATION_SUCCEEDED,
        MIGRATION_FAILED_HERE, /* on the side that `origin` names */
        MIGRATION_FAILED_PEER,
        MIGRATION_CANCELLED_BY_CALL,
        MIGRATION_WARNING, /* it goes on, but somebody should know */
        _MIGRATION_RESULT_MAX,
} MigrationResult;

const char *migration_role_name(MigrationRole r);
const char *migration_phase_name(MigrationPhase p);
const char *migration_result_name(MigrationResult r);

#define MIGRATION_DISKS_MAX 256U

typedef struct MigrationBytes {
        uint64_t total, processed, remaining;
} MigrationBytes;

/* What hostdev measures of a running transfer, handed to migration_on_statistics(). */
typedef struct MigrationStatistics {
        MigrationBytes memory;
        MigrationBytes disks;                     /* all together */
        uint64_t memory_bps, disk_bps, dirty_bps; /* bytes a second */
        uint32_t iteration;
        uint32_t throttle; /* % by which auto-converge slows the guest down */
        uint64_t compressed_bytes, compressed_pages; /* what xbzrle made of so many pages */
        uint64_t expected_downtime_us;
        uint64_t downtime_us; /* of the completed job; 0: not known */
} MigrationStatistics;

typedef struct MigrationDisk {
        char name[80]; /* as a user knows it: "c1 scratch", "c1:/data" */
        MigrationBytes bytes;
} MigrationDisk;

typedef struct MigrationProgress {
        MigrationPhase phase;
        uint32_t step, n_steps; /* 1.. of the phases that this side goes through */
        uint32_t percent;       /* of the transfer, never falls within one migration */
        MigrationStatistics now;
        const MigrationDisk *disks; /* borrowed */
        uint32_t n_disks;
        uint64_t started_ns, elapsed_ns; /* CLOCK_MONOTONIC; elapsed stops at the end */
        uint64_t phase_started_ns[_MIGRATION_PHASE_MAX]; /* 0: not yet */
        uint64_t phase_ended_ns[_MIGRATION_PHASE_MAX];
        uint64_t blackout_start_ns, blackout_end_ns; /* as this side saw it; 0: not yet */
        uint64_t peer_blackout_ns; /* source: what the destination reported with RUNNING */
} MigrationProgress;

#define MIGRATION_DETAILS_MAX 400U

typedef struct MigrationNotification {
        uint64_t id;    /* from 1, rising by 1 within the life of the shim */
        uint64_t at_ns; /* CLOCK_REALTIME */
        char session[80];
        MigrationRole origin;
        MigrationPhase phase;
        MigrationResult result;
        uint32_t percent;
        char details[MIGRATION_DETAILS_MAX]; /* for people; "" if there is nothing to say */
} MigrationNotification;

#define MIGRATION_HISTORY 256U

/* The history. Zero-initialised is empty; it is part of the Migration object. */
typedef struct MigrationHistory {
        MigrationNotification ring[MIGRATION_HISTORY];
        uint32_t start, len;
        uint64_t last_id, dropped_id; /* highest id given out; highest id that was pushed out */
} MigrationHistory;

/* Copies *n with the next id; returns the copy, borrowed until the next add. */
const MigrationNotification *migration_history_add(MigrationHistory *h,
                                                   const MigrationNotification *n);
/* Visits those with an id above `after`, oldest first. *ret_gap (may be NULL): some of them are no
 * longer kept. A PROGRESS replaces the one before it if that was PROGRESS too, so that figures push
 * nothing out. */
typedef int (*MigrationNotificationVisitor)(void *userdata, const MigrationNotification *n);
int migration_history_since(const MigrationHistory *h, uint64_t after, bool *ret_gap,
                            MigrationNotificationVisitor visit, void *userdata);
