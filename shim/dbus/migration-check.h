/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/ids.h"
#include "controllers/migration/migration.h"
#include "shim/dbus/job.h"
#include "shim/shim.h"

/* A call that first has to learn what this host is. */
typedef struct FactsCall {
        Shim *shim;
        BusJob *job;
        sd_bus *bus; /* PrepareAndExport: the session is bound to it; or NULL */
        char session[ID_MAX + 1];
        MigrationRole role;
        MigrationOptions options;
} FactsCall;

FactsCall *facts_call_free(FactsCall *c);
DEFINE_CLEANUP(FactsCall *, facts_call_free);

/* Check and MissingLayers of the Migration interface. */
int migration_face_check(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int migration_face_missing_layers(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
