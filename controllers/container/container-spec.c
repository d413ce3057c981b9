/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller asks for: checked whole before anything is made; and the OCI document that the
 * guest gets. Pure functions. */
#include <string.h>

#include "controllers/checks.h"
#include "controllers/container/container-internal.h"
#include "controllers/ids.h"

#define CONFIG_JSON_MAX (1U << 20)

int container_disk_order_check(ScsiDiskKind kind, size_t index, ScsiDiskKind before,
                               Error *reterr) {
        if (index == 0 && kind != SCSI_DISK_LAYER)
                return error_setf(reterr, -EINVAL, "disks: the first one is not a layer");
        if (index > 0 && (kind < before || (kind == SCSI_DISK_SCRATCH && kind == before)))
                return error_setf(reterr, -EINVAL,
                                  "disks: disk %zu is out of order: layers come first, then at "
                                  "most one scratch, then volumes",
                                  index);
        return 0;
}

int container_destination_check(const char *destination, Error *reterr) {
        int r;

        r = path_check("volume destination", destination, reterr);
        if (r < 0)
                return r;
        if (strcmp(destination, "/") == 0)
                return error_setf(reterr, -EINVAL, "volume destination is the root");
        return 0;
}

static int disk_check(const ContainerDisk *d, size_t index, const ContainerDisk *before,
                      Error *reterr) {
        int r;

        if ((unsigned)d->disk.kind >= _SCSI_DISK_KIND_MAX)
                return error_setf(reterr, -EINVAL, "disks: kind of disk %zu is unknown", index);
        r = container_disk_order_check(d->disk.kind, index,
                                       before ? before->disk.kind : SCSI_DISK_LAYER, reterr);
        if (r < 0)
                return r;
        if (d->disk.kind == SCSI_DISK_VOLUME)
                return container_destination_check(d->destination, reterr);
        if (d->block_device || d->partition > 0 || (d->destination && d->destination[0]))
                return error_setf(reterr, -EINVAL,
                                  "disks: disk %zu is no volume but has a destination", index);
        return 0;
}

static int config_check(const char *json, Error *reterr) {
        json_object *o, *mounts = NULL;
        int r;

        r = json_object_check("config", json, CONFIG_JSON_MAX, reterr);
        if (r < 0)
                return r;
        o = json_tokener_parse(json);
        if (!o)
                return error_oom(reterr);
        if (json_object_object_get_ex(o, "mounts", &mounts) &&
            !json_object_is_type(mounts, json_type_array))
                r = error_setf(reterr, -EINVAL, "config: mounts is not an array");
        json_object_put(o);
        return r;
}

int container_spec_check(const ContainerSpec *spec, Error *reterr) {
        int r;

        r = id_check("container id", spec->id, reterr);
        if (r == 0 && spec->guest_id)
                r = id_check("guest id", spec->guest_id, reterr);
        if (r == 0)
                r = config_check(spec->config_json, reterr);
        if (r == 0)
                r = path_check_or_empty("bundle", spec->bundle, reterr);
        if (r == 0)
                r = path_check_or_empty("log path", spec->log_path, reterr);
        if (r < 0)
                return r;
        if (spec->n_disks == 0 || spec->n_disks > CONTAINER_DISKS_MAX)
                return error_setf(reterr, -EINVAL, "disks: %zu given, 1 to %u allowed",
                                  spec->n_disks, CONTAINER_DISKS_MAX);
        for (size_t i = 0; r == 0 && i < spec->n_disks; i++)
                r = disk_check(&spec->disks[i], i, i > 0 ? &spec->disks[i - 1] : NULL, reterr);
        return r;
}

static int add_string(json_object *o, const char *key, const char *value) {
        json_object *s;

        s = json_object_new_string(value);
        if (!s)
                return -ENOMEM;
        if (json_object_object_add(o, key, s) < 0) {
                json_object_put(s);
                return -ENOMEM;
        }
        return 0;
}

static int array_add(json_object *array, json_object *item) {
        if (!item)
                return -ENOMEM;
        if (json_object_array_add(array, item) < 0) {
                json_object_put(item);
                return -ENOMEM;
        }
        return 0;
}

static json_object *bind_mount(const ContainerDiskRef *d, const char *source) {
        json_object *o, *options;

        o = json_object_new_object();
        if (!o)
                return NULL;
        if (add_string(o, "destination", d->destination) < 0 || add_string(o, "type", "bind") < 0 ||
            add_string(o, "source", source) < 0)
                goto fail;
        options = json_object_new_array();
        if (!options || json_object_object_add(o, "options", options) < 0) {
                json_object_put(options);
                goto fail;
        }
        if (array_add(options, json_object_new_string("rbind")) < 0 ||
            array_add(options, json_object_new_string(d->read_only ? "ro" : "rw")) < 0)
                goto fail;
        return o;
fail:
        json_object_put(o);
        return NULL;
}

static int add_volumes(const Container *c, json_object *config) {
        json_object *mounts = NULL;

        for (size_t i = 0; i < c->n_disks; i++) {
                const ContainerDiskRef *d = &c->disks[i];

                if (d->kind != SCSI_DISK_VOLUME)
                        continue;
                if (!mounts && !json_object_object_get_ex(config, "mounts", &mounts)) {
                        mounts = json_object_new_array();
                        if (!mounts || json_object_object_add(config, "mounts", mounts) < 0) {
                                json_object_put(mounts);
                                return -ENOMEM;
                        }
                }
                if (array_add(mounts, bind_mount(d, scsi_guest_path(c->ops.scsi, d->reservation))) <
                    0)
                        return -ENOMEM;
        }
        return 0;
}

int container_guest_config(const Container *c, char **ret, Error *reterr) {
        json_object *config;
        const char *text;
        char *copy = NULL;

        config = json_tokener_parse(c->config_json);
        if (config && add_volumes(c, config) == 0) {
                text = json_object_to_json_string_ext(
                        config, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
                copy = text ? strdup(text) : NULL;
        }
        json_object_put(config);
        if (!copy)
                return error_oom(reterr);
        *ret = copy;
        return 0;
}
