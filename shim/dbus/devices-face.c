/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/{network,scsi,plan9,vpci}: the pod's devices, to look at. */
#include <string.h>

#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"

static Controller *device_of(const Shim *s, const char *path) {
        const char *name = path + strlen(BUS_ROOT "/");

        if (!s->vm)
                return NULL;
        if (strcmp(name, "network") == 0)
                return s->pod ? network_controller(pod_network(s->pod)) : NULL;
        if (strcmp(name, "scsi") == 0)
                return scsi_controller(vm_scsi(s->vm));
        if (strcmp(name, "plan9") == 0)
                return plan9_controller(vm_plan9(s->vm));
        return vpci_controller(vm_vpci(s->vm));
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Controller *c = device_of(userdata, path);

        return sd_bus_message_append(reply, "s", c ? fsm_name(c->fsm) : "not-created");
}

static int on_dump(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const Controller *c = device_of(userdata, sd_bus_message_get_path(m));
        json_object *o = NULL;
        Error err = ERROR_INIT;
        int r;

        if (!c)
                return api_error_setf(reterr, -EBADFD, "Dump: the VM is not started");
        r = controller_dump(c, &o, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        r = sd_bus_reply_method_return(m, "s",
                                       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return r;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD_WITH_ARGS("Dump", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), on_dump, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_VTABLE_END,
};

int face_devices_add(sd_bus *bus, Shim *s) {
        static const struct {
                const char *path, *interface;
        } devices[] = {
                { BUS_ROOT "/network", BUS_INTERFACE ".Network" },
                { BUS_ROOT "/scsi", BUS_INTERFACE ".Scsi" },
                { BUS_ROOT "/plan9", BUS_INTERFACE ".Plan9" },
                { BUS_ROOT "/vpci", BUS_INTERFACE ".Vpci" },
        };

        for (size_t i = 0; i < ELEMENTSOF(devices); i++) {
                int r = sd_bus_add_object_vtable(bus, NULL, devices[i].path, devices[i].interface,
                                                 vtable, s);

                if (r < 0)
                        return r;
        }
        return 0;
}
