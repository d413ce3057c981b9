/* SPDX-License-Identifier: Apache-2.0 */
/* What the other shim hands over, from anywhere. First byte: 0 the export envelope, else the
 * handoff. Nothing may crash, hang or leak. */
#include <stdlib.h>

#include "controllers/migration/internal.h"
#include "shim/migrate/handoff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(handoff_freep) Handoff *h = NULL;
        MigrationExport *e;

        if (size == 0)
                return 0;
        if (data[0] != 0) {
                (void)handoff_open(data + 1, size - 1, &h, NULL);
                return 0;
        }
        e = calloc(1, sizeof(*e));
        if (e && migration_export_open(data + 1, size - 1, e, NULL) == 0)
                migration_export_done(e);
        free(e);
        return 0;
}
