/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the migration controller share: a world of two sides (fakes/fake-migration.h),
 * brought to any state. */
#pragma once

#include "controllers/migration/internal.h"
#include "tests/fakes/fake-migration.h"

#define SRC(w) ((w)->side[MIGRATION_SOURCE].m)
#define DST(w) ((w)->side[MIGRATION_DESTINATION].m)

MigrationOptions migration_defaults(void);

/* Goes on with libvirt's part until it is at lv. */
void libvirt_until(FakeWorld *w, FakeLibvirt lv);

/* Runs both sides until nothing is left to do; the test fails if a rule of the world was broken. */
void quiet_run(FakeWorld *w);

/* Brings w to where both (or the one that can be) are in s; false: no side can be seen there. */
bool drive_to(FakeWorld *w, MigrationState s, const MigrationOptions *o);
