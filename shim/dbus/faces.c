/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/dbus/faces.h"

#include <string.h>

#include "shim/dbus/paths.h"

int faces_add(sd_bus *bus, Shim *s) {
        static int (*const add[])(sd_bus *, Shim *) = {
                face_shim_add,      face_vm_add,        face_pod_add,
                face_container_add, face_process_add,   face_devices_add,
                face_network_add,   face_migration_add, face_tools_add,
        };

        for (size_t i = 0; i < ELEMENTSOF(add); i++) {
                int r = add[i](bus, s);

                if (r < 0)
                        return r;
        }
        return 0;
}

Container *face_container(const Shim *s, const char *path) {
        _cleanup_free_ char *id = NULL, *exec = NULL;

        if (!s->pod || bus_path_ids(path, &id, &exec) != 1)
                return NULL;
        return pod_container(s->pod, id);
}

Process *face_process(const Shim *s, const char *path) {
        _cleanup_free_ char *id = NULL, *exec = NULL;
        Container *c;

        if (!s->pod || bus_path_ids(path, &id, &exec) != 2)
                return NULL;
        c = pod_container(s->pod, id);
        if (!c)
                return NULL;
        return strcmp(exec, BUS_INIT) == 0 ? container_init_process(c) : container_process(c, exec);
}

int reply_pid(sd_bus_message *reply, const void *result, const char *text) {
        const uint32_t *pid = result;

        return sd_bus_message_append(reply, "u", pid ? *pid : 0);
}

int reply_exit(sd_bus_message *reply, const void *result, const char *text) {
        const ProcessExit *exit = result;

        return sd_bus_message_append(reply, "ut", exit ? exit->code : PROCESS_EXIT_UNKNOWN,
                                     exit ? exit->exited_at_ns : 0);
}

int reply_path(sd_bus_message *reply, const void *result, const char *text) {
        return sd_bus_message_append(reply, "o", text);
}
