/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "controllers/container/container.h"

/* The JSON of Pod.CreateContainer as a ContainerSpec:
 *
 *      {"config": {OCI runtime specification}, "terminal": false, "stdin": false,
 *       "rows": 0, "columns": 0, "guest_id": "", "bundle": "",
 *       "disks": [{"role": "layer"|"scratch"|"volume", "path": "", "format": "raw",
 *                  "filesystem": "erofs", "read_only": true, "digest": "", "size": 0,
 *                  "mode": "same"|"copy"|"shared", "destination": "", "options": [],
 *                  "block_device": false, "partition": 0, "format_given": false}]}
 *
 * format_given: the user says so, against what the disk may look like. Layers lowest first. A
 * scratch disk without a path is made by the shim. Strict: an unknown key or a wrong type is
 * -EINVAL and named; what the values mean is checked by the container. */
typedef struct ParsedSpec {
        ContainerSpec spec; /* points into the rest */
        json_object *json;
        ContainerDisk *disks;
        const char ***options; /* per disk */
        size_t scratch;        /* index of the disk that the shim makes; SIZE_MAX: none */
} ParsedSpec;

#define CONTAINER_SPEC_MAX (2U << 20)

/* The scratch disk that the shim makes, in the JSON: as if the caller had named it. -ENOMEM. */
int container_spec_set_scratch(ParsedSpec *p, const char *path, uint64_t size);
/* One entry of "disks", a volume, as ret->disks[0]; the rest of ret->spec is empty. */
int container_volume_parse(const char *text, ParsedSpec *ret, Error *reterr);
int container_spec_parse(const char *id, const char *text, ParsedSpec *ret, Error *reterr);
void container_spec_done(ParsedSpec *p);
#define _cleanup_spec_ _cleanup_(container_spec_done)
