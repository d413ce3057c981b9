/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/directory.h"
#include "lib/log.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/paths.h"
#include "shim/keep.h"
#include "shim/migrate/migrate.h"
#include "shim/volume-move.h"
#include "shim/wiring/ops.h"

static void on_link_up(void *userdata) {
        Shim *s = userdata;

        log_debug("guest link: up");
        bus_server_changed(s->bus, BUS_ROOT "/vm", BUS_INTERFACE ".Vm", "LinkUp");
        shim_on_link_up(s);
}

static void on_link_down(void *userdata) {
        Shim *s = userdata;

        log_debug("guest link: down");
        bus_server_changed(s->bus, BUS_ROOT "/vm", BUS_INTERFACE ".Vm", "LinkUp");
}

static void on_link_lost(void *userdata, int code, const Error *err) {
        log_err("guest link: given up: %s", error_text(err, code));
        shim_vm_gone(userdata, code == -ESTALE ? "another host took the guest over"
                                               : "the guest link belongs to another pod");
}

static void on_link_sending(void *userdata) {
        const Shim *s = userdata;

        keep_now(s->keep);
}

static const GuestLinkOps link_ops = {
        .up = on_link_up,
        .down = on_link_down,
        .sending = on_link_sending,
        .lost = on_link_lost,
};

static void on_guest_event(void *userdata, const FromGuest *event) {
        Shim *s = userdata;

        if (event->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_OOM && event->oom && s->pod)
                pod_oom(s->pod, event->oom->container_id);
}

static void on_guest_broken(void *userdata, const Error *err) {
        log_err("the agent cannot be talked to any more: %s", error_text(err, 0));
}

static const GuestRpcOps rpc_ops = {
        .event = on_guest_event,
        .broken = on_guest_broken,
};

static void on_resized(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_debug("resize: %s", error_text(err, r));
}

static void on_resize(void *userdata, const char *guest_id, const char *exec_id, uint32_t rows,
                      uint32_t columns) {
        const Shim *s = userdata;
        const Container *c = s->pod ? pod_container_by_guest_id(s->pod, guest_id) : NULL;
        Process *p =
                c ? (exec_id[0] ? container_process(c, exec_id) : container_init_process(c)) : NULL;

        if (p)
                (void)process_resize(p, rows, columns, on_resized, NULL, NULL);
}

/* Life */

static int make_paths(Shim *s, Error *reterr) {
        s->link_path = run_dir_file(&s->dir, "link.sock");
        s->console_path = run_dir_file(&s->dir, "console.log");
        if (asprintf(&s->state_path, "%s/pods/%s", s->config.state_dir, s->pod_id) < 0)
                s->state_path = NULL;
        return s->link_path && s->console_path && s->state_path ? 0 : error_oom(reterr);
}

static int add_objects(sd_bus *bus, void *userdata) {
        return faces_add(bus, userdata);
}

static void on_bus_gone(const sd_bus *bus, void *userdata) {
        Shim *s = userdata;

        if (s->migrate)
                migrate_bus_gone(s->migrate, bus);
}

static int make_parts(Shim *s, Error *reterr) {
        _cleanup_free_ char *socket = run_dir_file(&s->dir, "bus.sock");
        _cleanup_free_ char *logs = run_dir_file(&s->dir, "logs");
        StdioConfig stdio = { .log_dir = logs,
                              .log_max_bytes = (uint64_t)s->config.log_max_mib << 20,
                              .resize = on_resize,
                              .userdata = s };
        int r;

        if (!socket || !logs)
                return error_oom(reterr);
        if ((r = guest_link_new(s->event, &link_ops, s, &s->link, reterr)) < 0 ||
            (r = guest_rpc_new(s->link, &rpc_ops, s, &s->rpc, reterr)) < 0 ||
            (r = stdio_hub_new(s->event, s->link, &stdio, &s->stdio, reterr)) < 0)
                return r;
        return bus_server_new(s->event, socket, add_objects, on_bus_gone, s, &s->bus, reterr);
}

int shim_new(sd_event *event, const char *pod_id, bool receive, Config *config, RunDir *dir,
             Shim **ret, Error *reterr) {
        _cleanup_(shim_freep) Shim *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return error_oom(reterr);
        *s = (Shim){ .event = sd_event_ref(event),
                     .config = *config,
                     .pod_id = pod_id,
                     .receive = receive,
                     .dir = *dir };
        *config = (Config){};
        *dir = RUN_DIR_INIT;
        lane_init(&s->files, "files", 64);
        lane_init(&s->namespaces, "namespaces", 64);
        /* QEMU, which may not be root, opens disks in the state directory by name. */
        if ((r = make_paths(s, reterr)) < 0 ||
            (r = directory_make(s->state_path, 0711, reterr)) < 0 ||
            (r = migrate_new(s, &s->migrate, reterr)) < 0 || (r = make_parts(s, reterr)) < 0 ||
            (r = keep_new(s, &s->keep, reterr)) < 0)
                return r;
        fsm_set_observer(shim_on_move, s);
        *ret = TAKE(s);
        return 0;
}

void shim_migration_options(const Shim *s, MigrationOptions *ret) {
        annotations_lay(&s->annotations, &s->config.migration, ret);
}

void shim_end_check(Shim *s) {
        if (migrate_check_end(s->migrate))
                lane_done(&s->files);
}

void shim_end_network(Shim *s) {
        lane_done(&s->namespaces);
}

Shim *shim_free(Shim *s) {
        if (!s)
                return NULL;
        fsm_set_observer(NULL, NULL);
        s->keep = keep_free(s->keep);
        s->move = volume_move_free(s->move);
        s->migrate = migrate_free(s->migrate);
        if (s->pod)
                (void)pod_free(s->pod);
        if (s->vm)
                (void)vm_free(s->vm);
        (void)virt_free(s->virt);
        (void)stdio_hub_free(s->stdio);
        (void)guest_rpc_free(s->rpc);
        (void)guest_link_free(s->link);
        (void)bus_server_free(s->bus);
        lane_done(&s->files);
        lane_done(&s->namespaces);
        if (s->files_ready)
                mailbox_done(&s->mailbox);
        annotations_done(&s->annotations);
        free(s->link_path);
        free(s->console_path);
        free(s->state_path);
        run_dir_done(&s->dir);
        config_done(&s->config);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

int shim_virt(Shim *s, Virt **ret, Error *reterr) {
        int r = 0;

        if (!s->virt)
                r = virt_new(s->event, s->config.libvirt_uri, shim_on_virt_event, s, &s->virt,
                             reterr);
        *ret = s->virt;
        return r;
}

void shim_bind_tree(Shim *s) {
        s->pod_ops = (PodOps){ .container = &shim_container_ops,
                               .process = &shim_process_ops,
                               .userdata = s,
                               .scsi = vm_scsi(s->vm),
                               .events = { .event = shim_on_pod_event, .userdata = s } };
        vm_bind(s->vm, &shim_vm_ops, s, shim_on_vm_ended, s);
        scsi_bind(vm_scsi(s->vm), &shim_scsi_ops, s);
        pod_bind(s->pod, &s->pod_ops);
        network_bind(pod_network(s->pod), &shim_network_ops, s);
}

char *shim_scratch_path(const Shim *s, const char *container_id) {
        char *path;

        return asprintf(&path, "%s/scratch-%s.raw", s->state_path, container_id) < 0 ? NULL : path;
}

/* The dump */

static json_object *dump_link(Shim *s) {
        Session *session = guest_link_session(s->link);
        json_object *o = json_object_new_object();
        SessionStats st = {};

        if (session)
                session_stats(session, &st);
        json_object_object_add(o, "connected",
                               json_object_new_boolean(guest_link_is_connected(s->link)));
        json_object_object_add(o, "up", json_object_new_boolean(st.up));
        json_object_object_add(o, "frozen", json_object_new_boolean(st.frozen));
        json_object_object_add(o, "epoch", json_object_new_uint64(st.epoch));
        json_object_object_add(o, "bytes_in", json_object_new_uint64(st.bytes_in));
        json_object_object_add(o, "bytes_out", json_object_new_uint64(st.bytes_out));
        json_object_object_add(o, "resent_frames", json_object_new_uint64(st.resent_frames));
        json_object_object_add(o, "resyncs", json_object_new_uint64(st.resyncs));
        json_object_object_add(o, "attaches", json_object_new_uint64(st.attaches));
        json_object_object_add(o, "channels", json_object_new_uint64(st.channels));
        json_object_object_add(o, "unacked_bytes", json_object_new_uint64(st.unacked_bytes));
        json_object_object_add(o, "undelivered_bytes",
                               json_object_new_uint64(st.undelivered_bytes));
        json_object_object_add(o, "calls", json_object_new_uint64(guest_rpc_pending(s->rpc)));
        json_object_object_add(o, "next_call", json_object_new_uint64(guest_rpc_next_call(s->rpc)));
        return o;
}

static int dump_stdio(void *userdata, const StdioState *state) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "guest_id", json_object_new_string(state->guest_id));
        json_object_object_add(o, "exec_id", json_object_new_string(state->exec_id));
        json_object_object_add(o, "log_start", json_object_new_uint64(state->log_start));
        json_object_object_add(o, "log_end", json_object_new_uint64(state->log_end));
        json_object_object_add(o, "stdin_taken", json_object_new_uint64(state->stdin_taken));
        return json_object_array_add(userdata, o);
}

int shim_dump(Shim *s, char **ret, Error *reterr) {
        json_object *o = json_object_new_object(), *stdio = json_object_new_array(), *tree = NULL;
        const char *text;
        int r = 0;

        json_object_object_add(o, "version", json_object_new_string(PODFERRY_VERSION));
        json_object_object_add(o, "pod", json_object_new_string(s->pod_id));
        json_object_object_add(o, "pid", json_object_new_int(getpid()));
        json_object_object_add(o, "run_dir", json_object_new_string(s->dir.path));
        json_object_object_add(o, "receive", json_object_new_boolean(s->receive));
        if (s->vm)
                r = controller_dump(vm_controller(s->vm), &tree, reterr);
        if (r == 0) {
                json_object_object_add(o, "tree", tree);
                json_object_object_add(o, "link", dump_link(s));
                (void)stdio_each(s->stdio, dump_stdio, stdio);
                if (s->migrate)
                        r = migrate_dump(s->migrate, o, reterr);
        }
        if (r == 0) {
                json_object_object_add(o, "stdio", json_object_get(stdio));
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);
                *ret = text ? strdup(text) : NULL;
                if (!*ret)
                        r = error_oom(reterr);
        }
        json_object_put(stdio);
        json_object_put(o);
        return r;
}
