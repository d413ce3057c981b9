/* SPDX-License-Identifier: Apache-2.0 */
/* The private socket leads to the shim itself, not to a bus; but busctl, gdbus and every binding
 * that only knows buses begin with a greeting to one. It is answered here, as far as a peer can: so
 * that the usual tools work, and nothing needs a bus daemon. Signals go to every client that is
 * connected; what it asks to match is its own filter. */
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"

#define DRIVER_PATH      "/org/freedesktop/DBus"
#define DRIVER_INTERFACE "org.freedesktop.DBus"
#define OWNER            ":1.0" /* the shim */
#define CLIENT           ":1.1" /* on its own connection, each is the first */

static int on_hello(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "s", CLIENT);
}

static int on_match(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "");
}

/* There is nobody else: whatever the name, it is the shim that answers. */
static int on_get_name_owner(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "s", OWNER);
}

static int on_name_has_owner(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "b", true);
}

static int on_list_names(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "as", 1, BUS_INTERFACE);
}

static int on_list_activatable_names(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "as", 0);
}

static const sd_bus_vtable driver_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", name), on_hello, 0),
        SD_BUS_METHOD_WITH_ARGS("AddMatch", SD_BUS_ARGS("s", rule), SD_BUS_NO_RESULT, on_match, 0),
        SD_BUS_METHOD_WITH_ARGS("RemoveMatch", SD_BUS_ARGS("s", rule), SD_BUS_NO_RESULT, on_match,
                                0),
        SD_BUS_METHOD_WITH_ARGS("GetNameOwner", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", owner),
                                on_get_name_owner, 0),
        SD_BUS_METHOD_WITH_ARGS("NameHasOwner", SD_BUS_ARGS("s", name),
                                SD_BUS_RESULT("b", has_owner), on_name_has_owner, 0),
        SD_BUS_METHOD_WITH_ARGS("ListNames", SD_BUS_NO_ARGS, SD_BUS_RESULT("as", names),
                                on_list_names, 0),
        SD_BUS_METHOD_WITH_ARGS("ListActivatableNames", SD_BUS_NO_ARGS, SD_BUS_RESULT("as", names),
                                on_list_activatable_names, 0),
        SD_BUS_VTABLE_END,
};

int face_tools_add(sd_bus *bus, Shim *s) {
        if (sd_bus_is_bus_client(bus) > 0)
                return 0; /* a real bus */
        return sd_bus_add_object_vtable(bus, NULL, DRIVER_PATH, DRIVER_INTERFACE, driver_vtable, s);
}
