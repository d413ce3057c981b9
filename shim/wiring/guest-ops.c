/* SPDX-License-Identifier: Apache-2.0 */
/* ContainerOps and ProcessOps: calls to the agent, and stdio. */
#include "shim/wiring/ops.h"

#include <string.h>

#include "lib/log.h"

typedef Podferry__Guest__V1__Stdio GuestStdio;

/* protobuf-c has no const strings; packing does not write to them. */
static char *text(const char *s) {
        union {
                const char *in;
                char *out;
        } u = { .in = s };

        return u.out;
}

static ProtobufCBinaryData bytes(const char *s) {
        return (ProtobufCBinaryData){ strlen(s), (uint8_t *)text(s) };
}

static GuestStdio stdio_message(const ProcessSpec *spec, const ProcessChannels *channels) {
        GuestStdio m = PODFERRY__GUEST__V1__STDIO__INIT;

        m.terminal = spec->terminal;
        m.stdin_channel = channels->in;
        m.stdout_channel = channels->out;
        m.stderr_channel = channels->err;
        m.rows = spec->rows;
        m.columns = spec->columns;
        return m;
}

/* Containers */

static int op_overlay(void *userdata, const char *guest_id, const ContainerOverlay *overlay,
                      OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__OverlayRequest body = PODFERRY__GUEST__V1__OVERLAY_REQUEST__INIT;
        _cleanup_free_ char **lower = NULL;
        ToGuest request = TO_GUEST_INIT;
        size_t n = 0;

        while (overlay->lower[n])
                n++;
        lower = calloc(n + 1, sizeof(*lower));
        if (!lower)
                return error_oom(reterr);
        for (size_t i = 0; i < n; i++)
                lower[i] = text(overlay->lower[i]);
        body.guest_path = text(overlay->guest_path);
        body.lower = lower;
        body.n_lower = n;
        body.upper = text(overlay->upper);
        request.body_case = TO_GUEST_BODY(OVERLAY);
        request.overlay = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_remove_overlay(void *userdata, const char *guest_id, const char *guest_path,
                             OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__UnmountRequest body = PODFERRY__GUEST__V1__UNMOUNT_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.guest_path = text(guest_path);
        request.body_case = TO_GUEST_BODY(REMOVE_OVERLAY);
        request.remove_overlay = &body;
        return guest_call_forget(userdata, &request, done, job, reterr);
}

static int op_create(void *userdata, const ProcessKey *init, const char *rootfs,
                     const char *config_json, const ProcessSpec *spec,
                     const ProcessChannels *channels, uint32_t *ret_pid, OpDone done, void *job,
                     Error *reterr) {
        Podferry__Guest__V1__CreateRequest body = PODFERRY__GUEST__V1__CREATE_REQUEST__INIT;
        GuestStdio io = stdio_message(spec, channels);
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(init->guest_id);
        body.rootfs = text(rootfs);
        body.config_json = bytes(config_json);
        body.stdio = &io;
        request.body_case = TO_GUEST_BODY(CREATE);
        request.create = &body;
        return guest_call_pid(userdata, &request, 0, done, job, reterr);
}

static int op_delete(void *userdata, const char *guest_id, bool force, OpDone done, void *job,
                     Error *reterr) {
        Podferry__Guest__V1__DeleteRequest body = PODFERRY__GUEST__V1__DELETE_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(guest_id);
        body.force = force;
        request.body_case = TO_GUEST_BODY(DELETE);
        request.delete_ = &body;
        return guest_call_forget(userdata, &request, done, job, reterr);
}

static int op_update(void *userdata, const char *guest_id, const char *resources_json, OpDone done,
                     void *job, Error *reterr) {
        Podferry__Guest__V1__UpdateRequest body = PODFERRY__GUEST__V1__UPDATE_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(guest_id);
        body.resources_json = bytes(resources_json);
        request.body_case = TO_GUEST_BODY(UPDATE);
        request.update = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_bind(void *userdata, const char *guest_id, const ContainerBind *bind, OpDone done,
                   void *job, Error *reterr) {
        Podferry__Guest__V1__BindRequest body = PODFERRY__GUEST__V1__BIND_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(guest_id);
        body.source = text(bind->source);
        body.destination = text(bind->destination);
        body.read_only = bind->read_only;
        body.block_device = bind->block_device;
        request.body_case = TO_GUEST_BODY(BIND);
        request.bind = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_unbind(void *userdata, const char *guest_id, const char *destination, OpDone done,
                     void *job, Error *reterr) {
        Podferry__Guest__V1__UnbindRequest body = PODFERRY__GUEST__V1__UNBIND_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(guest_id);
        body.destination = text(destination);
        request.body_case = TO_GUEST_BODY(UNBIND);
        request.unbind = &body;
        return guest_call_forget(userdata, &request, done, job, reterr);
}

typedef struct PsCall {
        OpDone done;
        void *job;
} PsCall;

static void on_ps(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_free_ PsCall *c = userdata;
        const FromGuest *reply = result;
        ContainerPids pids = {};

        if (r == 0 && reply->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_PS && reply->ps)
                pids = (ContainerPids){ reply->ps->pids, reply->ps->n_pids };
        c->done(c->job, r, r == 0 ? &pids : NULL, err);
}

static int op_ps(void *userdata, const char *guest_id, OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__PsRequest body = PODFERRY__GUEST__V1__PS_REQUEST__INIT;
        _cleanup_free_ PsCall *c = malloc(sizeof(*c));
        ToGuest request = TO_GUEST_INIT;
        int r;

        if (!c)
                return error_oom(reterr);
        *c = (PsCall){ done, job };
        body.container_id = text(guest_id);
        request.body_case = TO_GUEST_BODY(PS);
        request.ps = &body;
        r = guest_call_reply(userdata, &request, on_ps, c, reterr);
        if (r == 1)
                c = NULL;
        return r;
}

static bool op_gone(void *userdata) {
        const Shim *s = userdata;

        return vm_is_gone(s->vm);
}

const ContainerOps shim_container_ops = {
        .overlay = op_overlay,
        .remove_overlay = op_remove_overlay,
        .create = op_create,
        .delete = op_delete,
        .update = op_update,
        .ps = op_ps,
        .bind = op_bind,
        .unbind = op_unbind,
        .gone = op_gone,
};

/* Processes */

static int op_io_open(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                      ProcessChannels *channels, Error *reterr) {
        Shim *s = userdata;

        return stdio_open(s->stdio, key, spec, channels, reterr);
}

static void op_io_close(void *userdata, const ProcessKey *key, const ProcessChannels *channels) {
        Shim *s = userdata;

        stdio_close(s->stdio, key);
}

/* The guest told it when it made the container. */
static uint32_t pid_of_init(const Shim *s, const ProcessKey *key) {
        const Container *c = pod_container_by_guest_id(s->pod, key->guest_id);

        return c && !key->exec_id[0] ? process_pid(container_init_process(c)) : 0;
}

static int op_start(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                    const ProcessChannels *channels, uint32_t *ret_pid, OpDone done, void *job,
                    Error *reterr) {
        Podferry__Guest__V1__StartRequest start = PODFERRY__GUEST__V1__START_REQUEST__INIT;
        Podferry__Guest__V1__ExecRequest exec = PODFERRY__GUEST__V1__EXEC_REQUEST__INIT;
        GuestStdio io = stdio_message(spec, channels);
        ToGuest request = TO_GUEST_INIT;

        if (!key->exec_id[0]) {
                start.container_id = text(key->guest_id);
                request.body_case = TO_GUEST_BODY(START);
                request.start = &start;
        } else {
                exec.container_id = text(key->guest_id);
                exec.exec_id = text(key->exec_id);
                exec.process_json = bytes(spec->process_json);
                exec.stdio = &io;
                request.body_case = TO_GUEST_BODY(EXEC);
                request.exec = &exec;
        }
        return guest_call_pid(userdata, &request, pid_of_init(userdata, key), done, job, reterr);
}

static int op_kill(void *userdata, const ProcessKey *key, uint32_t signal, bool all, OpDone done,
                   void *job, Error *reterr) {
        Podferry__Guest__V1__KillRequest body = PODFERRY__GUEST__V1__KILL_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(key->guest_id);
        body.exec_id = text(key->exec_id);
        body.signal = signal;
        body.all = all;
        request.body_case = TO_GUEST_BODY(KILL);
        request.kill = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_resize(void *userdata, const ProcessKey *key, uint32_t rows, uint32_t columns,
                     OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__ResizeRequest body = PODFERRY__GUEST__V1__RESIZE_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(key->guest_id);
        body.exec_id = text(key->exec_id);
        body.rows = rows;
        body.columns = columns;
        request.body_case = TO_GUEST_BODY(RESIZE);
        request.resize = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_close_stdin(void *userdata, const ProcessKey *key, const ProcessChannels *channels,
                          Error *reterr) {
        Shim *s = userdata;
        Stdio *io = stdio_find(s->stdio, key->guest_id, key->exec_id);

        return io ? stdio_close_stdin(io, reterr) : 0;
}

static int op_delete_exec(void *userdata, const ProcessKey *key, OpDone done, void *job,
                          Error *reterr) {
        Podferry__Guest__V1__DeleteRequest body = PODFERRY__GUEST__V1__DELETE_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;

        body.container_id = text(key->guest_id);
        body.exec_id = text(key->exec_id);
        request.body_case = TO_GUEST_BODY(DELETE);
        request.delete_ = &body;
        return guest_call_forget(userdata, &request, done, job, reterr);
}

const ProcessOps shim_process_ops = {
        .io_open = op_io_open,
        .io_close = op_io_close,
        .start = op_start,
        .kill = op_kill,
        .resize = op_resize,
        .close_stdin = op_close_stdin,
        .delete = op_delete_exec,
        .wait = guest_wait,
        .adopt_wait = guest_adopt_wait,
        .drop_wait = guest_drop_wait,
};

const ProcessOps shim_process_again_ops = {
        .io_open = op_io_open,
        .io_close = op_io_close,
        .start = op_start,
        .kill = op_kill,
        .resize = op_resize,
        .close_stdin = op_close_stdin,
        .delete = op_delete_exec,
        .wait = guest_wait,
        .drop_wait = guest_drop_wait,
};
