/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "controllers/migration/migration.h"
#include "shim/shim.h"

/* org.podferry.Shim1.Migration at /org/podferry/Shim1/migration. What each member means:
 * shim/data/org.podferry.Shim1.Migration.xml. */
int face_migration_add(sd_bus *bus, Shim *s);

void migration_face_notify(Shim *s, const MigrationNotification *n);
/* State, outcome or progress changed: PropertiesChanged, StateChanged, and Finished once a session.
 */
void migration_face_changed(Shim *s);
