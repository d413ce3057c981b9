/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/vm: the pod's virtual machine. */
#include <string.h>

#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"
#include "shim/wiring/ops.h"

static const char *state_name(const Shim *s) {
        return fsm_state_name(&vm_fsm, s->vm ? (int)vm_state(s->vm) : VM_NOT_CREATED);
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;
        const char *value = "";

        if (strcmp(property, "State") == 0)
                value = state_name(s);
        else if (s->vm && strcmp(property, "DomainName") == 0)
                value = vm_spec(s->vm)->domain_name;
        else if (s->vm && strcmp(property, "DomainUuid") == 0)
                value = vm_spec(s->vm)->uuid;
        return sd_bus_message_append(reply, "s", value);
}

static int get_memory(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "t", s->vm ? vm_spec(s->vm)->memory_mib : 0);
}

static int get_vcpus(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "u", s->vm ? vm_spec(s->vm)->vcpus : 0);
}

static int get_link_up(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Shim *s = userdata;

        return sd_bus_message_append(reply, "b", guest_link_is_up(s->link));
}

static int get_epoch(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Shim *s = userdata;
        Session *session = guest_link_session(s->link);

        return sd_bus_message_append(reply, "t", session ? session_epoch(session) : 0);
}

static int read_option(sd_bus_message *m, ShimVmOptions *o, sd_bus_error *reterr) {
        const char *name, *contents;
        uint64_t wide = 0;
        uint32_t narrow = 0;
        char type;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (strcmp(name, "network") == 0 || strcmp(name, "publish") == 0)
                return strcmp(contents, "s") == 0
                               ? sd_bus_message_read(m, "v", "s",
                                                     name[0] == 'n' ? &o->network : &o->publish)
                               : api_error_setf(reterr, -EINVAL, "option %s must be a string",
                                                name);
        if (strcmp(contents, "u") != 0 && strcmp(contents, "t") != 0)
                return api_error_setf(reterr, -EINVAL, "option %s must be a number (u or t)", name);
        if (contents[0] == 'u')
                r = sd_bus_message_read(m, "v", "u", &narrow);
        else
                r = sd_bus_message_read(m, "v", "t", &wide);
        if (r < 0)
                return r;
        wide += narrow;
        if (strcmp(name, "memory_mib") == 0 && wide >= VM_MEMORY_MIB_MIN &&
            wide <= VM_MEMORY_MIB_MAX)
                o->memory_mib = wide;
        else if (strcmp(name, "vcpus") == 0 && wide >= 1 && wide <= DOMAIN_VCPUS_MAX)
                o->vcpus = (uint32_t)wide;
        else if (strcmp(name, "memory_mib") != 0 && strcmp(name, "vcpus") != 0)
                return api_error_setf(reterr, -EINVAL, "unknown option '%s'", name);
        else
                return api_error_setf(reterr, -EINVAL, "%s cannot be %llu, %u to %u are possible",
                                      name, (unsigned long long)wide,
                                      name[0] == 'm' ? VM_MEMORY_MIB_MIN : 1U,
                                      name[0] == 'm' ? VM_MEMORY_MIB_MAX : DOMAIN_VCPUS_MAX);
        return 0;
}

static int read_options(sd_bus_message *m, ShimVmOptions *o, sd_bus_error *reterr) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_option(m, o, reterr);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int on_start(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        ShimVmOptions options = {};
        Error err = ERROR_INIT;
        int r;

        r = read_options(m, &options, reterr);
        if (r < 0)
                return r;
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = shim_start_vm(userdata, &options, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_stop(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        Shim *s = userdata;
        uint32_t timeout_ms;
        int r;

        r = sd_bus_message_read(m, "u", &timeout_ms);
        if (r < 0)
                return r;
        if (s->starting)
                return api_error_setf(reterr, -EBUSY, "Stop: the VM is being started");
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = s->vm ? vm_stop(s->vm, timeout_ms, bus_job_done, job, &err) : 0;
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int reply_run(sd_bus_message *reply, const void *result, const char *text) {
        const FromGuest *m = result;
        int r;

        if (m->body_case != PODFERRY__GUEST__V1__FROM_GUEST__BODY_RUN || !m->run)
                return -EBADMSG;
        r = sd_bus_message_append(reply, "u", m->run->code);
        if (r < 0)
                return r;
        return sd_bus_message_append_array(reply, 'y', m->run->output.data, m->run->output.len);
}

static int on_run(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Podferry__Guest__V1__RunRequest body = PODFERRY__GUEST__V1__RUN_REQUEST__INIT;
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        ToGuest request = TO_GUEST_INIT;
        Error err = ERROR_INIT;
        Shim *s = userdata;
        char **args = NULL;
        int r;

        r = sd_bus_message_read_strv(m, &args);
        if (r < 0)
                return r;
        body.args = args;
        for (; args && args[body.n_args]; body.n_args++)
                ;
        request.body_case = TO_GUEST_BODY(RUN);
        request.run = &body;
        if (body.n_args == 0)
                r = error_setf(&err, -EINVAL, "Run: no program");
        else if (!s->vm || vm_state(s->vm) != VM_RUNNING)
                r = error_setf(&err, -EBADFD, "Run: the VM is %s", state_name(s));
        else
                r = 0;
        if (r == 0)
                r = bus_job_new(m, 0, reply_run, &job, reterr);
        else
                (void)api_error_set(reterr, r, &err);
        if (r >= 0)
                r = bus_job_settle(job, guest_call_reply(s, &request, bus_job_done, job, &err),
                                   NULL, &err, reterr);
        for (char **at = args; at && *at; at++)
                free(*at);
        free(args);
        return r;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("DomainName", "s", get_text, 0, 0),
        SD_BUS_PROPERTY("DomainUuid", "s", get_text, 0, 0),
        SD_BUS_PROPERTY("MemoryMib", "t", get_memory, 0, 0),
        SD_BUS_PROPERTY("Vcpus", "u", get_vcpus, 0, 0),
        SD_BUS_PROPERTY("LinkUp", "b", get_link_up, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Epoch", "t", get_epoch, 0, 0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, on_start,
                                0),
        SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("u", timeout_ms), SD_BUS_NO_RESULT, on_stop, 0),
        SD_BUS_METHOD_WITH_ARGS("Run", SD_BUS_ARGS("as", args),
                                SD_BUS_RESULT("u", code, "ay", output), on_run, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_VTABLE_END,
};

int face_vm_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_object_vtable(bus, NULL, BUS_ROOT "/vm", BUS_INTERFACE ".Vm", vtable, s);
}
