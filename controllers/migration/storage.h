/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/options.h"
#include "controllers/scsi/scsi.h"

/* What a migration does with one disk. */
typedef enum StoragePlan {
        STORAGE_PLAN_LAYER,  /* found by its digest over there, where it was sent before */
        STORAGE_PLAN_COPY,   /* its bytes travel */
        STORAGE_PLAN_SHARED, /* both hosts see the same file, which they prove to each other */
        STORAGE_PLAN_SAME,   /* read-only; both hosts have its content, which they compare */
        _STORAGE_PLAN_MAX,
} StoragePlan;

/* From what the disk is and what the whole migration was asked for. Pure. -EINVAL: the two
 * contradict each other; the text says why. docs/storage.md has it as a table. */
int storage_plan(const ScsiDiskConfig *disk, MigrationStorage wish, StoragePlan *ret,
                 Error *reterr);
const char *storage_plan_name(StoragePlan d); /* "layer", "copy", "shared", "same" */
int storage_plan_from_name(const char *name); /* -EINVAL */
