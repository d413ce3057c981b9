/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/pod: the pod and the list of its containers. */
#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
                  sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "s", s->pod ? pod_id(s->pod) : s->pod_id);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "s",
                                     s->pod ? fsm_state_name(&pod_fsm, (int)pod_state(s->pod))
                                            : "not-created");
}

static int get_stopping(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "b", s->stops != NULL);
}

static int get_starting(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "b", s->starting || s->restarting);
}

static int append_id(void *userdata, Container *c) {
        int r = sd_bus_message_append(userdata, "s", container_id(c));

        return r < 0 ? r : 0; /* anything else would end the visit */
}

static int get_containers(sd_bus *bus, const char *path, const char *interface,
                          const char *property, sd_bus_message *reply, void *userdata,
                          sd_bus_error *reterr) {
        const Shim *s = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        if (r >= 0 && s->pod)
                r = pod_each_container(s->pod, append_id, reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int on_create_container(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *id, *spec;
        Error err = ERROR_INIT;
        char *path;
        int r;

        r = sd_bus_message_read(m, "ss", &id, &spec);
        if (r < 0)
                return r;
        r = bus_job_new(m, 0, reply_path, &job, reterr);
        if (r < 0)
                return r;
        path = bus_container_path(id);
        if (!path)
                return -ENOMEM;
        bus_job_keep_text(job, path);
        r = shim_create_container(userdata, id, spec, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_start(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        int r;

        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = shim_start_pod(userdata, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_stop(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        uint32_t timeout_ms;
        int r;

        r = sd_bus_message_read(m, "u", &timeout_ms);
        if (r < 0)
                return r;
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = shim_stop_pod(userdata, timeout_ms, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", get_id, 0, 0),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Starting", "b", get_starting, 0, 0),
        SD_BUS_PROPERTY("Stopping", "b", get_stopping, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Containers", "as", get_containers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD_WITH_ARGS("CreateContainer", SD_BUS_ARGS("s", id, "s", spec_json),
                                SD_BUS_RESULT("o", container), on_create_container, 0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_start, 0),
        SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("u", timeout_ms), SD_BUS_NO_RESULT, on_stop, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_VTABLE_END,
};

int face_pod_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_object_vtable(bus, NULL, BUS_ROOT "/pod", BUS_INTERFACE ".Pod", vtable,
                                        s);
}
