/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "controllers/migration/options.h"

/* Options of a call that are texts for the caller itself; ended by a NULL name. What is found is
 * borrowed from the message. */
typedef struct MigrationTexts {
        const char *name;
        const char **ret;
} MigrationTexts;

/* Reads a{sv}: what the message says over `below`: shim_migration_options(). With source_options
 * (the list in the facts of Check at the source) in it, that is in the place of `below`: a pod
 * goes by the rules of the host that it leaves. Unknown names, wrong types and contradictions are
 * refused by name. */
int migration_read_options(sd_bus_message *m, const MigrationOptions *below,
                           const MigrationTexts *texts, MigrationOptions *ret,
                           sd_bus_error *reterr);
