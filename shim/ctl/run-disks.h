/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "hostdev/image/layer.h"

/* The root of a container as disks, in the JSON of Pod.CreateContainer (shim/container-spec.h). The
 * caller owns what is returned; NULL: out of memory. */
json_object *run_layer_json(const Layer *l);
json_object *run_scratch_json(uint64_t size); /* bytes; 0: as the shim sees fit */
