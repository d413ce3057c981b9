/* SPDX-License-Identifier: Apache-2.0 */
/* What the tree tells: to the bus, to attached clients, and to the files of what is deleted. */
#include <string.h>

#include "lib/log.h"
#include "shim/dbus/paths.h"
#include "shim/keep.h"
#include "shim/wiring/ops.h"

typedef struct Search {
        const Fsm *fsm;
        const Controller *found;
} Search;

static int find_by_fsm(Controller *c, void *userdata) {
        Search *search = userdata;

        if (c->fsm != search->fsm)
                return 0;
        search->found = c;
        return 1;
}

static void emit_moved(Shim *s, const char *path, const char *interface, const char *from,
                       const char *to) {
        if (!path)
                return;
        bus_server_emit(s->bus, path, interface, "StateChanged", "ss", from, to);
        bus_server_changed(s->bus, path, interface, "State");
}

/* The bus object of a controller; NULL if it has none (disks and mounts). */
static char *path_of(const Controller *c) {
        const char *kind = c->vtable->kind;

        if (strcmp(kind, "container") == 0)
                return bus_container_path(c->id);
        if (strcmp(kind, "process") == 0)
                return c->parent ? bus_process_path(c->parent->id, c->id) : NULL;
        return NULL;
}

void shim_on_move(void *userdata, const Fsm *f, int from) {
        static const struct {
                const char *kind, *path, *interface;
        } fixed[] = {
                { "vm", BUS_ROOT "/vm", BUS_INTERFACE ".Vm" },
                { "pod", BUS_ROOT "/pod", BUS_INTERFACE ".Pod" },
                { "network", BUS_ROOT "/network", BUS_INTERFACE ".Network" },
                { "scsi", BUS_ROOT "/scsi", BUS_INTERFACE ".Scsi" },
                { "plan9", BUS_ROOT "/plan9", BUS_INTERFACE ".Plan9" },
                { "vpci", BUS_ROOT "/vpci", BUS_INTERFACE ".Vpci" },
                { "migration", BUS_ROOT "/migration", BUS_INTERFACE ".Migration" },
        };
        const char *kind = f->table->kind, *name_from = fsm_state_name(f->table, from);
        _cleanup_free_ char *path = NULL;
        Search search = { .fsm = f };
        Shim *s = userdata;

        if (!keep_saw_move(s->keep) || !s->bus)
                return;
        for (size_t i = 0; i < ELEMENTSOF(fixed); i++)
                if (strcmp(fixed[i].kind, kind) == 0) {
                        emit_moved(s, fixed[i].path, fixed[i].interface, name_from, fsm_name(f));
                        return;
                }
        if (!s->vm || (strcmp(kind, "container") != 0 && strcmp(kind, "process") != 0))
                return;
        if (controller_walk(vm_controller(s->vm), find_by_fsm, &search) != 1)
                return;
        path = path_of(search.found);
        emit_moved(s, path,
                   strcmp(kind, "container") == 0 ? BUS_INTERFACE ".Container"
                                                  : BUS_INTERFACE ".Process",
                   name_from, fsm_name(f));
}

static void log_event(const PodEvent *e) {
        log_fields(LOG_INFO,
                   (LogField[]){ { "CONTAINER", e->container_id }, { "EXEC", e->exec_id } }, 2,
                   "%s%s%s %s%s", e->container_id, e->exec_id[0] ? "/" : "", e->exec_id,
                   pod_event_name(e->kind), e->migrated ? " (came from another host)" : "");
}

static void emit_exit(Shim *s, const PodEvent *e) {
        _cleanup_free_ char *path = bus_container_path(e->container_id);

        if (path)
                bus_server_emit(s->bus, path, BUS_INTERFACE ".Container", "Exited", "sut",
                                e->exec_id, e->exit.code, e->exit.exited_at_ns);
}

static void tell_clients(Shim *s, const PodEvent *e) {
        const Container *c = s->pod ? pod_container(s->pod, e->container_id) : NULL;
        Stdio *io = c ? stdio_find(s->stdio, container_guest_id(c), e->exec_id) : NULL;

        if (io)
                stdio_exited(io, e->exit.code);
}

typedef struct Telling {
        Shim *shim;
        const Container *container;
} Telling;

static int tell_exit(void *userdata, Process *p) {
        const Telling *t = userdata;
        Stdio *io = stdio_find(t->shim->stdio, container_guest_id(t->container),
                               process_is_init(p) ? "" : process_exec_id(p));

        if (io && process_state(p) == PROCESS_TERMINATED && process_exit(p))
                stdio_exited(io, process_exit(p)->code);
        return 0;
}

static int tell_exits(void *userdata, Container *c) {
        return container_each_process(c, tell_exit, &(Telling){ userdata, c });
}

void shim_tell_exits(Shim *s) {
        (void)pod_each_container(s->pod, tell_exits, s);
}

static void remove_files(Shim *s, const PodEvent *e) {
        _cleanup_free_ char *scratch = NULL;

        stdio_remove(s->stdio, e->container_id, e->exec_id);
        if (e->exec_id[0] || s->given_away) /* what is on disk is the other host's, or Cleanup's */
                return;
        shim_undefine(s, e->container_id);
        scratch = shim_scratch_path(s, e->container_id);
        if (scratch && unlink(scratch) < 0 && errno != ENOENT)
                log_warning("%s could not be removed: %m", scratch);
}

void shim_on_pod_event(void *userdata, const PodEvent *e) {
        Shim *s = userdata;

        log_event(e);
        switch (e->kind) {
        case POD_EVENT_EXITED:
                if (e->exit.moved) /* it has not ended: the other host will tell when it does */
                        break;
                tell_clients(s, e);
                emit_exit(s, e);
                break;
        case POD_EVENT_DELETED:
                remove_files(s, e);
                break;
        case POD_EVENT_CREATED:
        case POD_EVENT_STARTED:
        case POD_EVENT_EXEC_ADDED:
        case POD_EVENT_EXEC_STARTED:
        case POD_EVENT_OOM:
        case _POD_EVENT_KIND_MAX:
                break;
        }
        if (e->kind == POD_EVENT_CREATED || (e->kind == POD_EVENT_DELETED && !e->exec_id[0]))
                bus_server_changed(s->bus, BUS_ROOT "/pod", BUS_INTERFACE ".Pod", "Containers");
}

void shim_on_vm_ended(void *userdata, Vm *vm, const char *reason) {
        Shim *s = userdata;

        log_info("the VM has ended: %s", reason);
        if (s->pod && vm_state(vm) != VM_SOURCE_MOVED)
                pod_lost(s->pod);
}
