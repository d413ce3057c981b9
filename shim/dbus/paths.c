/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/dbus/paths.h"

#include <stdio.h>
#include <string.h>

#include <systemd/sd-bus.h>

char *bus_container_path(const char *container_id) {
        char *path;

        return sd_bus_path_encode(BUS_CONTAINERS, container_id, &path) < 0 ? NULL : path;
}

char *bus_process_path(const char *container_id, const char *exec_id) {
        char *path;

        if (sd_bus_path_encode_many(&path, BUS_CONTAINERS "/%/process/%", container_id,
                                    exec_id[0] ? exec_id : BUS_INIT) < 0)
                return NULL;
        return path;
}

int bus_path_ids(const char *path, char **ret_container, char **ret_exec) {
        int r;

        *ret_container = *ret_exec = NULL;
        r = sd_bus_path_decode_many(path, BUS_CONTAINERS "/%/process/%", ret_container, ret_exec);
        if (r != 0)
                return r < 0 ? r : 2;
        r = sd_bus_path_decode_many(path, BUS_CONTAINERS "/%", ret_container);
        return r;
}

char *bus_name_of_pod(const char *pod_id) {
        _cleanup_free_ char *path = NULL;
        char *name;

        if (sd_bus_path_encode("/p", pod_id, &path) < 0)
                return NULL;
        return asprintf(&name, BUS_NAME_PREFIX "%s", path + strlen("/p/")) < 0 ? NULL : name;
}
