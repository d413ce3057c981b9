/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/run-disks.h"

#include "shim/ctl/json.h"

json_object *run_layer_json(const Layer *l) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "role", "layer") < 0 ||
            json_add_string(o, "path", l->path) < 0 || json_add_string(o, "format", "raw") < 0 ||
            json_add_string(o, "filesystem", l->filesystem) < 0 ||
            json_add(o, "read_only", json_object_new_boolean(true)) < 0 ||
            json_add_string(o, "digest", l->digest) < 0 ||
            json_add(o, "size", json_object_new_uint64(l->size)) < 0 ||
            json_add_string(o, "mode", "same") < 0)
                return NULL;
        return TAKE(o);
}

json_object *run_scratch_json(uint64_t size) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "role", "scratch") < 0 || json_add_string(o, "path", "") < 0 ||
            json_add_string(o, "format", "raw") < 0 ||
            json_add_string(o, "filesystem", "ext4") < 0 ||
            json_add(o, "size", json_object_new_uint64(size)) < 0 ||
            json_add_string(o, "mode", "copy") < 0)
                return NULL;
        return TAKE(o);
}
