/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/container/<id>/process/<exec id, or "init">: one process, to look at. What
 * can be done with it is done by its container. */
#include <string.h>

#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"

#define INTERFACE BUS_INTERFACE ".Process"

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret_found, sd_bus_error *reterr) {
        Shim *s = userdata;

        if (!face_process(s, path))
                return 0;
        *ret_found = s;
        return 1;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Process *p = face_process(userdata, path);

        if (!p)
                return -ENOENT;
        if (strcmp(property, "ExecId") == 0)
                return sd_bus_message_append(reply, "s", process_exec_id(p));
        return sd_bus_message_append(reply, "s",
                                     fsm_state_name(&process_fsm, (int)process_state(p)));
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Process *p = face_process(userdata, path);
        const ProcessExit *exit = p ? process_exit(p) : NULL;

        if (!p)
                return -ENOENT;
        if (strcmp(property, "Pid") == 0)
                return sd_bus_message_append(reply, "u", process_pid(p));
        if (strcmp(property, "ExitCode") == 0)
                return sd_bus_message_append(reply, "u", exit ? exit->code : 0);
        return sd_bus_message_append(reply, "t", exit ? exit->exited_at_ns : 0);
}

static int get_flag(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Process *p = face_process(userdata, path);

        if (!p)
                return -ENOENT;
        return sd_bus_message_append(reply, "b",
                                     strcmp(property, "Terminal") == 0 ? process_terminal(p)
                                                                       : process_exit(p) != NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("ExecId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Pid", "u", get_number, 0, 0),
        SD_BUS_PROPERTY("Terminal", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HasExited", "b", get_flag, 0, 0),
        SD_BUS_PROPERTY("ExitCode", "u", get_number, 0, 0),
        SD_BUS_PROPERTY("ExitedAt", "t", get_number, 0, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_VTABLE_END,
};

int face_process_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_fallback_vtable(bus, NULL, BUS_CONTAINERS, INTERFACE, vtable, find, s);
}
