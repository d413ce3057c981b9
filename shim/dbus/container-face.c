/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/container/<id>: one container. exec_id "" is its init. */
#include <stdarg.h>
#include <string.h>

#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"
#include "shim/volume-check.h"
#include "shim/volume-move.h"

#define INTERFACE BUS_INTERFACE ".Container"

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret_found, sd_bus_error *reterr) {
        Shim *s = userdata;

        if (!face_container(s, path))
                return 0;
        *ret_found = s;
        return 1;
}

/* The container of a call; sd-bus has found it just before. */
static Container *container_of_call(const Shim *s, sd_bus_message *m) {
        return face_container(s, sd_bus_message_get_path(m));
}

static Process *process_of(Container *c, const char *exec_id, Error *reterr) {
        Process *p = exec_id[0] ? container_process(c, exec_id) : container_init_process(c);

        if (!p)
                (void)error_setf(reterr, -ENOENT, "container %s has no process '%s'",
                                 container_id(c), exec_id);
        return p;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Container *c = face_container(userdata, path);
        const char *value = "";

        if (!c)
                return -ENOENT;
        if (strcmp(property, "Id") == 0)
                value = container_id(c);
        else if (strcmp(property, "GuestId") == 0)
                value = container_guest_id(c);
        else if (strcmp(property, "LogPath") == 0)
                value = container_log_path(c);
        else
                value = fsm_state_name(&container_fsm, (int)container_state(c));
        return sd_bus_message_append(reply, "s", value);
}

static int get_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const Container *c = face_container(userdata, path);

        if (!c)
                return -ENOENT;
        return sd_bus_message_append(reply, "u", process_pid(container_init_process(c)));
}

/* Reads the arguments of a call, and makes the job that answers it. */
static int begin(sd_bus_message *m, BusJobReply reply, BusJob **ret, sd_bus_error *reterr,
                 const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = sd_bus_message_readv(m, types, ap);
        va_end(ap);
        return r < 0 ? r : bus_job_new(m, 0, reply, ret, reterr);
}

static int on_start(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        uint32_t pid = 0;
        int r;

        r = bus_job_new(m, 0, reply_pid, &job, reterr);
        if (r < 0)
                return r;
        r = container_start(container_of_call(userdata, m), &pid, bus_job_done, job, &err);
        return bus_job_settle(job, r, &pid, &err, reterr);
}

static int on_kill(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        const char *exec_id;
        uint32_t number;
        int all, r;

        r = begin(m, NULL, &job, reterr, "sub", &exec_id, &number, &all);
        if (r < 0)
                return r;
        r = container_kill(container_of_call(userdata, m), exec_id, number, all, bus_job_done, job,
                           &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_delete(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Container *c = container_of_call(userdata, m);
        Error err = ERROR_INIT;
        const char *exec_id;
        ProcessExit exit = {};
        Shim *s = userdata;
        int r;

        r = begin(m, reply_exit, &job, reterr, "s", &exec_id);
        if (r < 0)
                return r;
        if (exec_id[0])
                r = container_delete_exec(c, exec_id, &exit, bus_job_done, job, &err);
        else
                r = pod_delete_container(s->pod, container_id(c), &exit, bus_job_done, job, &err);
        return bus_job_settle(job, r, &exit, &err, reterr);
}

static int on_exec(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Container *c = container_of_call(userdata, m);
        _cleanup_free_ char *path = NULL;
        ProcessSpec spec = { .stdin_open = true };
        Error err = ERROR_INIT;
        int terminal, r;

        r = sd_bus_message_read(m, "ssbuu", &spec.exec_id, &spec.process_json, &terminal,
                                &spec.rows, &spec.columns);
        if (r < 0)
                return r;
        spec.terminal = terminal;
        if (!spec.exec_id[0] || strcmp(spec.exec_id, BUS_INIT) == 0)
                return api_error_setf(reterr, -EINVAL, "an exec cannot be called '%s'",
                                      spec.exec_id);
        path = bus_process_path(container_id(c), spec.exec_id);
        if (!path)
                return -ENOMEM;
        r = container_exec(c, &spec, NULL, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, "o", path);
}

static int on_start_exec(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        const char *exec_id;
        uint32_t pid = 0;
        int r;

        r = begin(m, reply_pid, &job, reterr, "s", &exec_id);
        if (r < 0)
                return r;
        r = container_start_exec(container_of_call(userdata, m), exec_id, &pid, bus_job_done, job,
                                 &err);
        return bus_job_settle(job, r, &pid, &err, reterr);
}

static void unwait(void *object, void *job) {
        process_unwait(object, job);
}

static int on_wait(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        ProcessExit exit = {};
        const char *exec_id;
        Process *p;
        int r;

        r = sd_bus_message_read(m, "s", &exec_id);
        if (r < 0)
                return r;
        p = process_of(container_of_call(userdata, m), exec_id, &err);
        if (!p)
                return api_error_set(reterr, -ENOENT, &err);
        r = bus_job_new(m, 0, reply_exit, &job, reterr);
        if (r < 0)
                return r;
        r = process_wait(p, &exit, bus_job_done, job, &err);
        if (r == 1)
                bus_job_on_cancel(job, unwait, p);
        return bus_job_settle(job, r, &exit, &err, reterr);
}

static int read_attach_options(sd_bus_message *m, AttachWishes *w, sd_bus_error *reterr) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name, *contents;
                int flag = 0;
                char type;

                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0)
                        r = sd_bus_message_peek_type(m, &type, &contents);
                if (r < 0)
                        return r;
                if (strcmp(name, "stdin") == 0 && strcmp(contents, "b") == 0) {
                        r = sd_bus_message_read(m, "v", "b", &flag);
                        w->with_stdin = flag;
                } else if (strcmp(name, "lines") == 0 && strcmp(contents, "b") == 0) {
                        r = sd_bus_message_read(m, "v", "b", &flag);
                        w->lines = flag;
                } else if (strcmp(name, "offset") == 0 && strcmp(contents, "t") == 0)
                        r = sd_bus_message_read(m, "v", "t", &w->offset);
                else
                        return api_error_setf(reterr, -EINVAL,
                                              "unknown option '%s' of type '%s'; there are stdin "
                                              "(b), lines (b) and offset (t)",
                                              name, contents);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int on_attach(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Container *c = container_of_call(userdata, m);
        _cleanup_close_ int fd = -EBADF;
        Error err = ERROR_INIT;
        AttachWishes wishes = {};
        const char *exec_id;
        Shim *s = userdata;
        Stdio *io;
        int r;

        r = sd_bus_message_read(m, "s", &exec_id);
        if (r >= 0)
                r = read_attach_options(m, &wishes, reterr);
        if (r < 0)
                return r;
        if (!process_of(c, exec_id, &err))
                return api_error_set(reterr, -ENOENT, &err);
        io = stdio_find(s->stdio, container_guest_id(c), exec_id);
        if (!io)
                return api_error_setf(reterr, -EBADFD, "process '%s' of container %s has no stdio",
                                      exec_id, container_id(c));
        r = stdio_attach(io, &wishes, &fd, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, "h", fd); /* duplicates it */
}

static int on_resize(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        uint32_t rows, columns;
        const char *exec_id;
        Process *p;
        int r;

        r = sd_bus_message_read(m, "suu", &exec_id, &rows, &columns);
        if (r < 0)
                return r;
        if (rows > UINT16_MAX || columns > UINT16_MAX)
                return api_error_setf(reterr, -EINVAL, "%u rows, %u columns: at most %u", rows,
                                      columns, UINT16_MAX);
        p = process_of(container_of_call(userdata, m), exec_id, &err);
        if (!p)
                return api_error_set(reterr, -ENOENT, &err);
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = process_resize(p, rows, columns, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_close_stdin(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Error err = ERROR_INIT;
        const char *exec_id;
        Process *p;
        int r;

        r = sd_bus_message_read(m, "s", &exec_id);
        if (r < 0)
                return r;
        p = process_of(container_of_call(userdata, m), exec_id, &err);
        r = p ? process_close_stdin(p, &err) : -ENOENT;
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, "");
}

static int on_update(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        const char *resources;
        int r;

        r = begin(m, NULL, &job, reterr, "s", &resources);
        if (r < 0)
                return r;
        r = container_update(container_of_call(userdata, m), resources, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_add_volume(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        const char *json;
        int r;

        r = begin(m, NULL, &job, reterr, "s", &json);
        if (r < 0)
                return r;
        r = volume_add(userdata, container_id(container_of_call(userdata, m)), json, bus_job_done,
                       job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_remove_volume(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        const char *path;
        int r;

        r = begin(m, NULL, &job, reterr, "s", &path);
        if (r < 0)
                return r;
        r = volume_remove(userdata, container_id(container_of_call(userdata, m)), path,
                          bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_move_volume(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        VolumeMoveWish wish = {};
        Error err = ERROR_INIT;
        int remove_source, r;

        r = begin(m, NULL, &job, reterr, "sstb", &wish.destination, &wish.to, &wish.bandwidth_mib,
                  &remove_source);
        if (r < 0)
                return r;
        wish.container_id = container_id(container_of_call(userdata, m));
        wish.remove_source = remove_source;
        r = volume_move(userdata, &wish, bus_job_done, job, &err);
        if (r == 1)
                bus_job_on_cancel(job, volume_move_forget, userdata);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_cancel_volume_move(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        volume_move_cancel(userdata, "cancelled");
        return sd_bus_reply_method_return(m, "");
}

static int reply_pids(sd_bus_message *reply, const void *result, const char *text) {
        const ContainerPids *pids = result;

        return sd_bus_message_append_array(reply, 'u', pids->pids, pids->n * sizeof(*pids->pids));
}

static int on_ps(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Error err = ERROR_INIT;
        int r;

        r = bus_job_new(m, 0, reply_pids, &job, reterr);
        if (r < 0)
                return r;
        r = container_ps(container_of_call(userdata, m), bus_job_done, job, &err);
        return bus_job_settle(job, r, &(ContainerPids){}, &err, reterr);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", get_text, 0, 0),
        SD_BUS_PROPERTY("GuestId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LogPath", "s", get_text, 0, 0),
        SD_BUS_PROPERTY("Pid", "u", get_pid, 0, 0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", pid), on_start, 0),
        SD_BUS_METHOD_WITH_ARGS("AddVolume", SD_BUS_ARGS("s", volume_json), SD_BUS_NO_RESULT,
                                on_add_volume, 0),
        SD_BUS_METHOD_WITH_ARGS("RemoveVolume", SD_BUS_ARGS("s", destination), SD_BUS_NO_RESULT,
                                on_remove_volume, 0),
        SD_BUS_METHOD_WITH_ARGS(
                "MoveVolume",
                SD_BUS_ARGS("s", destination, "s", to, "t", bandwidth_mib, "b", remove_source),
                SD_BUS_NO_RESULT, on_move_volume, 0),
        SD_BUS_METHOD_WITH_ARGS("CancelVolumeMove", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                                on_cancel_volume_move, 0),
        SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("s", exec_id, "u", signal, "b", all),
                                SD_BUS_NO_RESULT, on_kill, 0),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("s", exec_id),
                                SD_BUS_RESULT("u", code, "t", exited_at_ns), on_delete, 0),
        SD_BUS_METHOD_WITH_ARGS("Exec",
                                SD_BUS_ARGS("s", exec_id, "s", process_json, "b", terminal, "u",
                                            rows, "u", columns),
                                SD_BUS_RESULT("o", process), on_exec, 0),
        SD_BUS_METHOD_WITH_ARGS("StartExec", SD_BUS_ARGS("s", exec_id), SD_BUS_RESULT("u", pid),
                                on_start_exec, 0),
        SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_ARGS("s", exec_id),
                                SD_BUS_RESULT("u", code, "t", exited_at_ns), on_wait, 0),
        SD_BUS_METHOD_WITH_ARGS("Attach", SD_BUS_ARGS("s", exec_id, "a{sv}", options),
                                SD_BUS_RESULT("h", socket), on_attach, 0),
        SD_BUS_METHOD_WITH_ARGS("Resize", SD_BUS_ARGS("s", exec_id, "u", rows, "u", columns),
                                SD_BUS_NO_RESULT, on_resize, 0),
        SD_BUS_METHOD_WITH_ARGS("CloseStdin", SD_BUS_ARGS("s", exec_id), SD_BUS_NO_RESULT,
                                on_close_stdin, 0),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("s", resources_json), SD_BUS_NO_RESULT,
                                on_update, 0),
        SD_BUS_METHOD_WITH_ARGS("Ps", SD_BUS_NO_ARGS, SD_BUS_RESULT("au", pids), on_ps, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_SIGNAL_WITH_ARGS("VolumeMoving",
                                SD_BUS_ARGS("s", destination, "t", copied, "t", total), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Exited", SD_BUS_ARGS("s", exec_id, "u", code, "t", exited_at_ns),
                                0),
        SD_BUS_VTABLE_END,
};

typedef struct PathList {
        char **paths;
        size_t n;
} PathList;

static int add_process(void *userdata, Process *p) {
        const Controller *c = process_controller(p);
        PathList *list = userdata;
        char **grown = reallocarray(list->paths, list->n + 2, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        list->paths = grown;
        grown[list->n] = bus_process_path(c->parent->id, process_exec_id(p));
        if (!grown[list->n])
                return -ENOMEM;
        grown[++list->n] = NULL;
        return 0;
}

static int add_container(void *userdata, Container *c) {
        PathList *list = userdata;
        char **grown = reallocarray(list->paths, list->n + 2, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        list->paths = grown;
        grown[list->n] = bus_container_path(container_id(c));
        if (!grown[list->n])
                return -ENOMEM;
        grown[++list->n] = NULL;
        return container_each_process(c, add_process, list);
}

/* For introspection: containers and their processes. */
static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *reterr) {
        const Shim *s = userdata;
        PathList list = {};
        int r;

        r = s->pod ? pod_each_container(s->pod, add_container, &list) : 0;
        if (r < 0) {
                for (size_t i = 0; i < list.n; i++)
                        free(list.paths[i]);
                free(list.paths);
                return r;
        }
        *ret_nodes = list.paths;
        return 0;
}

int face_container_add(sd_bus *bus, Shim *s) {
        int r;

        r = sd_bus_add_fallback_vtable(bus, NULL, BUS_CONTAINERS, INTERFACE, vtable, find, s);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(bus, NULL, BUS_CONTAINERS, enumerate, s);
}
