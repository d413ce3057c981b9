/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "controllers/migration/options.h"

/* The options of a migration as one host tells them to the other: a list of {name, value, from},
 * every option of the table. The host that the pod leaves says what they are; what is configured
 * where it goes does not count, since some must be known alike on both sides. */
#define MIGRATE_OPTIONS_MAX 16384U /* bytes of its text */

json_object *migrate_options_json(const MigrationOptions *o); /* NULL: out of memory */
/* From outside: strict. Sets each with the right that the list names; an option that is not known
 * here is passed over as long as it has its default there. -EINVAL names what is wrong. */
int migrate_options_read(const char *text, MigrationOptions *o, Error *reterr);
/* The list of the other side, which prepared by it, says the same of what both must know alike.
 * NULL: it did not tell, which is no contradiction. -EINVAL. */
int migrate_options_agree(const MigrationOptions *mine, json_object *theirs, Error *reterr);
