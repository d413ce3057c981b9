/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1: the shim itself. */
#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(reply, "s", PODFERRY_VERSION);
}

static int get_pod_id(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "s", s->pod_id);
}

static int get_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(reply, "u", (uint32_t)getpid());
}

static int get_run_dir(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "s", s->dir.path ?: "");
}

static int on_ping(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return sd_bus_reply_method_return(m, "");
}

static int on_dump(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_free_ char *text = NULL;
        Error err = ERROR_INIT;
        int r;

        r = shim_dump(userdata, &text, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, "s", text);
}

typedef int ShimCall(Shim *s, OpDone done, void *job, Error *reterr);

static int run_job(sd_bus_message *m, Shim *s, ShimCall *call, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        int r;

        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = call(s, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return run_job(m, userdata, shim_shutdown, reterr);
}

static int on_leave(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return run_job(m, userdata, shim_leave, reterr);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("PodId", "s", get_pod_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Pid", "u", get_pid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("RunDir", "s", get_run_dir, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_METHOD_WITH_ARGS("Ping", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_ping, 0),
        SD_BUS_METHOD_WITH_ARGS("Dump", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), on_dump, 0),
        SD_BUS_METHOD_WITH_ARGS("Shutdown", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_shutdown, 0),
        SD_BUS_METHOD_WITH_ARGS("Leave", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_leave, 0),
        SD_BUS_VTABLE_END,
};

int face_shim_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_object_vtable(bus, NULL, BUS_ROOT, BUS_INTERFACE, vtable, s);
}
