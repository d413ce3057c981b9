/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "controllers/migration/options.h"

/* What the containers of a pod say of its migrations, in the annotations of their OCI documents:
 *
 *      "org.podferry.migration.max_downtime": "200"
 *
 * name and value as in the configuration, which is the weaker of the two; a call is stronger. They
 * go where the pod goes, as part of its definition. */
typedef struct Annotation {
        char *container, *name, *value;
} Annotation;

typedef struct Annotations {
        Annotation *list;
        size_t n;
} Annotations;

#define ANNOTATIONS_MAX 256U /* of a pod */

/* Those of the OCI document of a container, instead of what it said before. All or nothing.
 * `below` is the configuration that they are laid over, NULL: not known. -EINVAL: no such option,
 * one that is the host's to say, a bad value, one that contradicts another container or option;
 * -ENOSPC: too many; -ENOMEM. */
int annotations_take(Annotations *a, const char *container, json_object *config,
                     const MigrationOptions *below, Error *reterr);
void annotations_drop(Annotations *a, const char *container);
/* What `from` says of containers that *a knows nothing of. Empties `from`. */
void annotations_merge(Annotations *a, Annotations *from);
/* The options of a migration that no call has touched. */
void annotations_lay(const Annotations *a, const MigrationOptions *below, MigrationOptions *ret);
void annotations_done(Annotations *a);
#define _cleanup_annotations_ _cleanup_(annotations_done)
