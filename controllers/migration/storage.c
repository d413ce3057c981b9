/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/migration/storage.h"

#include <assert.h>
#include <string.h>

/* By what the disk says, and whether it can be written. A layer is a layer whatever it says. */
enum { REFUSED = _STORAGE_PLAN_MAX };

/* clang-format off */
#define COPY   STORAGE_PLAN_COPY
#define SHARED STORAGE_PLAN_SHARED
#define SAME   STORAGE_PLAN_SAME
static const int plans[_SCSI_STORAGE_MODE_MAX][2][_MIGRATION_STORAGE_MAX] = {
        /*                        written: auto, all shared, all copied    read-only: the same */
        [SCSI_STORAGE_COPY]   = { { COPY,    SHARED,  COPY },    { SAME,   SAME,   SAME } },
        [SCSI_STORAGE_SHARED] = { { SHARED,  SHARED,  REFUSED }, { SHARED, SHARED, SHARED } },
        [SCSI_STORAGE_SAME]   = { { REFUSED, REFUSED, REFUSED }, { SAME,   SAME,   SAME } },
};
#undef COPY
#undef SHARED
#undef SAME
/* clang-format on */

static const char *const names[_STORAGE_PLAN_MAX] = {
        [STORAGE_PLAN_LAYER] = "layer",
        [STORAGE_PLAN_COPY] = "copy",
        [STORAGE_PLAN_SHARED] = "shared",
        [STORAGE_PLAN_SAME] = "same",
};

const char *storage_plan_name(StoragePlan d) {
        assert((unsigned)d < _STORAGE_PLAN_MAX);
        return names[d];
}

int storage_plan_from_name(const char *name) {
        for (int i = 0; i < _STORAGE_PLAN_MAX; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        return -EINVAL;
}

int storage_plan(const ScsiDiskConfig *disk, MigrationStorage wish, StoragePlan *ret,
                 Error *reterr) {
        int plan;

        assert((unsigned)disk->mode < _SCSI_STORAGE_MODE_MAX);
        assert((unsigned)wish < _MIGRATION_STORAGE_MAX);
        plan = disk->kind == SCSI_DISK_LAYER ? (int)STORAGE_PLAN_LAYER
                                             : plans[disk->mode][disk->read_only][wish];
        if (plan == REFUSED && disk->mode == SCSI_STORAGE_SAME)
                return error_setf(reterr, -EINVAL,
                                  "disk %s: it can be written, so it cannot stay the same on both "
                                  "hosts: copy it or share it",
                                  disk->host_path);
        if (plan == REFUSED)
                return error_setf(reterr, -EINVAL,
                                  "disk %s: it is on storage that both hosts share, so a copy "
                                  "would overwrite it: leave out --storage copy",
                                  disk->host_path);
        *ret = (StoragePlan)plan;
        return 0;
}
