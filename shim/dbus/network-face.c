/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/network, interface org.podferry.Shim1.Interfaces: the pod's interfaces come
 * and go. */
#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"
#include "shim/wiring/ops.h"

typedef int (*Change)(Network *n, const char *name, OpDone done, void *job, Error *reterr);

static int change(sd_bus_message *m, Shim *s, Change verb, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *name;
        Error err = ERROR_INIT;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (!s->pod || vm_state(s->vm) != VM_RUNNING)
                return api_error_setf(reterr, -EBADFD, "the VM does not run, or is being moved");
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = verb(pod_network(s->pod), name, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_add(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return change(m, userdata, network_add, reterr);
}

static int on_remove(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return change(m, userdata, network_remove, reterr);
}

static int reply_statistics(sd_bus_message *reply, const void *result, const char *text) {
        const ShimNetStatistics *s = result;
        int r = sd_bus_message_open_container(reply, 'a', "(stttttt)");

        for (size_t i = 0; r >= 0 && s && i < s->n; i++)
                r = sd_bus_message_append(reply, "(stttttt)", s->of[i].name, s->of[i].all.rx_bytes,
                                          s->of[i].all.rx_packets, s->of[i].all.rx_dropped,
                                          s->of[i].all.tx_bytes, s->of[i].all.tx_packets,
                                          s->of[i].all.tx_dropped);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int on_statistics(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        int r;

        r = bus_job_new(m, 0, reply_statistics, &job, reterr);
        if (r < 0)
                return r;
        r = shim_net_statistics(userdata, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Add", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, on_add, 0),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, on_remove, 0),
        SD_BUS_METHOD_WITH_ARGS("Statistics", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(stttttt)", interfaces), on_statistics, 0),
        SD_BUS_VTABLE_END,
};

int face_network_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_object_vtable(bus, NULL, BUS_ROOT "/network", BUS_INTERFACE ".Interfaces",
                                        vtable, s);
}
