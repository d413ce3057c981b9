/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F06 F52: every cell of what a migration does with a disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/storage.h"
#include "lib/cleanup.h"

typedef struct Row {
        const char *name;
        ScsiDiskKind kind;
        ScsiStorageMode mode;
        bool read_only;
        const char
                *plans[_MIGRATION_STORAGE_MAX]; /* auto, shared, copy; "!text": refused with it */
} Row;

#define LAYER   SCSI_DISK_LAYER
#define SCRATCH SCSI_DISK_SCRATCH
#define VOLUME  SCSI_DISK_VOLUME
#define COPY    SCSI_STORAGE_COPY
#define SHARED  SCSI_STORAGE_SHARED
#define SAME    SCSI_STORAGE_SAME
#define BOTH    "!on storage that both hosts share"
#define WRITTEN "!it can be written"

/* clang-format off */
static const Row rows[] = {
        { "layer",                    LAYER,   SAME,   true,  { "layer", "layer", "layer" } },
        { "layer that says copy",     LAYER,   COPY,   true,  { "layer", "layer", "layer" } },
        { "scratch",                  SCRATCH, COPY,   false, { "copy", "shared", "copy" } },
        { "scratch on shared storage", SCRATCH, SHARED, false, { "shared", "shared", BOTH } },
        { "volume",                   VOLUME,  COPY,   false, { "copy", "shared", "copy" } },
        { "shared volume",            VOLUME,  SHARED, false, { "shared", "shared", BOTH } },
        { "written and the same",     VOLUME,  SAME,   false, { WRITTEN, WRITTEN, WRITTEN } },
        { "read-only, to be copied",  VOLUME,  COPY,   true,  { "same", "same", "same" } },
        { "read-only and shared",     VOLUME,  SHARED, true,  { "shared", "shared", "shared" } },
        { "read-only and the same",   VOLUME,  SAME,   true,  { "same", "same", "same" } },
};
/* clang-format on */

static void test_row(void **state) {
        const Row *row = *state;
        ScsiDiskConfig disk = {
                .host_path = "/d", .kind = row->kind, .mode = row->mode, .read_only = row->read_only
        };

        for (int w = 0; w < _MIGRATION_STORAGE_MAX; w++) {
                const char *wanted = row->plans[w];
                Error e = ERROR_INIT;
                StoragePlan plan;
                int r = storage_plan(&disk, (MigrationStorage)w, &plan, &e);

                if (wanted[0] == '!') {
                        assert_int_equal(r, -EINVAL);
                        assert_non_null(strstr(e.text, wanted + 1));
                        assert_non_null(strstr(e.text, "/d"));
                } else {
                        assert_int_equal(r, 0);
                        assert_string_equal(storage_plan_name(plan), wanted);
                        assert_int_equal(storage_plan_from_name(wanted), plan);
                }
        }
}

static void test_names(void **state) {
        assert_int_equal(storage_plan_from_name(""), -EINVAL);
        assert_int_equal(storage_plan_from_name("Copy"), -EINVAL);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 1] = {};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                                .test_func = test_row,
                                                .initial_state = (void *)(uintptr_t)&rows[i] };
        tests[ELEMENTSOF(rows)] = (struct CMUnitTest)cmocka_unit_test(test_names);
        return cmocka_run_group_tests_name("storage-plan", tests, NULL, NULL);
}
