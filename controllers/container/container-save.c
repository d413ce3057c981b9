/* SPDX-License-Identifier: Apache-2.0 */
/* A container's saved state (proto/state/v1/container.proto), and Patch. */
#include <string.h>

#include "container.pb-c.h"
#include "controllers/checks.h"
#include "controllers/container/container-internal.h"
#include "controllers/ids.h"

typedef Podferry__State__V1__Container PbContainer;

const EnvelopeType container_envelope = {
        .kind = "container",
        .type_url = "type.podferry.org/podferry.state.v1.Container",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__container__descriptor,
};

enum { PHASE_RUNNING, PHASE_CREATED, PHASE_STOPPED, N_PHASES };

static const struct {
        ContainerState container;
        ProcessState init;
} phases[N_PHASES] = {
        [PHASE_RUNNING] = { CONTAINER_RUNNING, PROCESS_RUNNING },
        [PHASE_CREATED] = { CONTAINER_CREATED, PROCESS_CREATED },
        [PHASE_STOPPED] = { CONTAINER_STOPPED, PROCESS_TERMINATED },
};

typedef struct Saver {
        PbContainer message;
        uint64_t *reservations;
        char **destinations; /* borrowed strings */
        Buf *processes;
        size_t n_processes;
        ProtobufCBinaryData *process_list;
} Saver;

static void saver_done(Saver *v) {
        for (size_t i = 0; i < v->n_processes; i++)
                buf_done(&v->processes[i]);
        free(v->reservations);
        free(v->destinations);
        free(v->processes);
        free(v->process_list);
}

static int save_processes(const Container *c, Saver *v, Error *reterr) {
        int r;

        v->processes = calloc(c->n_execs + 1, sizeof(*v->processes));
        v->process_list = calloc(c->n_execs + 1, sizeof(*v->process_list));
        if (!v->processes || !v->process_list)
                return error_oom(reterr);
        v->n_processes = c->n_execs + 1;
        for (size_t i = 0; i < v->n_processes; i++) {
                r = process_save(i == 0 ? c->init : c->execs[i - 1], &v->processes[i], reterr);
                if (r < 0)
                        return r;
                v->process_list[i] = (ProtobufCBinaryData){ .len = v->processes[i].len,
                                                            .data = v->processes[i].data };
        }
        v->message.processes = v->process_list;
        v->message.n_processes = v->n_processes;
        return 0;
}

static int save_disks(const Container *c, Saver *v, Error *reterr) {
        v->reservations = calloc(c->n_disks + 1, sizeof(*v->reservations));
        v->destinations = calloc(c->n_disks + 1, sizeof(char *));
        if (!v->reservations || !v->destinations)
                return error_oom(reterr);
        for (size_t i = 0; i < c->n_disks; i++) {
                v->reservations[i] = c->disks[i].reservation;
                if (c->disks[i].kind == SCSI_DISK_VOLUME)
                        v->destinations[v->message.n_destinations++] = c->disks[i].destination;
        }
        v->message.reservations = v->reservations;
        v->message.n_reservations = c->n_disks;
        v->message.destinations = v->destinations;
        return 0;
}

int container_save(const Container *c, Buf *ret, Error *reterr) {
        _cleanup_(saver_done) Saver v = { .message = PODFERRY__STATE__V1__CONTAINER__INIT };
        int r;

        if (c->fsm.state != CONTAINER_SOURCE_MIGRATING)
                return fsm_refuse(&c->fsm, "save", reterr);
        v.message.container_id = c->id;
        if (strcmp(c->id, c->guest_id) != 0)
                v.message.guest_id = c->guest_id;
        while (phases[v.message.phase].container != c->before)
                v.message.phase++;
        r = save_disks(c, &v, reterr);
        if (r == 0)
                r = save_processes(c, &v, reterr);
        if (r < 0)
                return r;
        return envelope_seal(&container_envelope, &v.message.base, ret, reterr);
}

static int bad(const PbContainer *w, const char *what, Error *reterr) {
        return error_setf(reterr, -EINVAL, "container envelope: container \"%.80s\": %s",
                          w->container_id, what);
}

static int check(const PbContainer *w, Error *reterr) {
        int r;

        r = id_check("container envelope: container_id", w->container_id, reterr);
        if (r == 0 && w->guest_id[0])
                r = id_check("container envelope: guest_id", w->guest_id, reterr);
        if (r < 0)
                return r;
        if (strcmp(w->guest_id, w->container_id) == 0)
                return bad(w, "guest_id repeats container_id", reterr);
        if (w->phase >= N_PHASES)
                return bad(w, "phase is unknown", reterr);
        if (w->n_reservations == 0 || w->n_reservations > CONTAINER_DISKS_MAX)
                return bad(w, "its number of reservations is out of range", reterr);
        if (w->n_processes == 0 || w->n_processes > CONTAINER_PROCESSES_MAX + 1)
                return bad(w, "its number of processes is out of range", reterr);
        if (w->phase == PHASE_CREATED && w->n_processes > 1)
                return bad(w, "it has execs but was not started", reterr);
        return 0;
}

/* Every reservation exists, once, mounted, and in the order that a container has. */
static int import_disks(Container *c, Scsi *scsi, const PbContainer *w, Error *reterr) {
        ScsiDiskKind before = SCSI_DISK_LAYER;
        size_t n_volumes = 0;
        int r;

        for (size_t i = 0; i < w->n_reservations; i++) {
                ContainerDiskRef *d = &c->disks[i];
                ScsiDiskInfo info;

                for (size_t j = 0; j < i; j++)
                        if (w->reservations[j] == w->reservations[i])
                                return bad(w, "a reservation is there twice", reterr);
                if (scsi_disk_of(scsi, w->reservations[i], &info) < 0)
                        return bad(w, "a reservation is not among the disks", reterr);
                if (!scsi_is_mapped(scsi, w->reservations[i]))
                        return bad(w, "a reservation is not mounted", reterr);
                r = container_disk_order_check(info.config.kind, i, before, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "container envelope: container \"%.80s\"",
                                            w->container_id);
                before = d->kind = info.config.kind;
                d->reservation = w->reservations[i];
                d->read_only = info.config.read_only;
                if (d->kind == SCSI_DISK_VOLUME) {
                        if (n_volumes >= w->n_destinations)
                                return bad(w, "destinations are fewer than its volumes", reterr);
                        r = container_destination_check(w->destinations[n_volumes], reterr);
                        if (r < 0)
                                return error_prefix(reterr, r,
                                                    "container envelope: container \"%.80s\"",
                                                    w->container_id);
                }
                if (container_set_string(&d->destination, d->kind == SCSI_DISK_VOLUME
                                                                  ? w->destinations[n_volumes++]
                                                                  : "") < 0)
                        return error_oom(reterr);
        }
        if (n_volumes < w->n_destinations)
                return bad(w, "destinations are more than its volumes", reterr);
        return 0;
}

/* All or none. */
static int claim_disks(Container *c, Scsi *scsi, Error *reterr) {
        for (size_t i = 0; i < c->n_disks; i++) {
                int r;

                r = scsi_claim(scsi, c->disks[i].reservation, reterr);
                if (r == 0)
                        continue;
                while (i-- > 0)
                        scsi_unclaim(scsi, c->disks[i].reservation);
                return error_prefix(reterr, r, "container envelope: container \"%.80s\"", c->id);
        }
        c->ops.scsi = scsi;
        c->claims = true;
        return 0;
}

static int import_processes(Container *c, const PbContainer *w, Error *reterr) {
        for (size_t i = 0; i < w->n_processes; i++) {
                _cleanup_(process_freep) Process *p = NULL;
                int r;

                r = process_import(&c->controller, c->id, c->guest_id, w->processes[i].data,
                                   w->processes[i].len, &p, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "container \"%s\"", c->id);
                if (process_is_init(p) != (i == 0))
                        return bad(w,
                                   i == 0 ? "its first process is not an init"
                                          : "it has a second init",
                                   reterr);
                if (i == 0) {
                        c->init = TAKE(p);
                        continue;
                }
                if (i > 1 && strcmp(process_exec_id(c->execs[i - 2]), process_exec_id(p)) >= 0)
                        return bad(w, "exec ids are not sorted or not unique", reterr);
                if (container_add_exec(c, p) < 0)
                        return error_oom(reterr);
                (void)TAKE(p);
        }
        if (process_state_before(c->init) != phases[w->phase].init)
                return bad(w, "its phase and that of its init contradict each other", reterr);
        return 0;
}

int container_import(Controller *parent, Scsi *scsi, const void *p, size_t n, Container **ret,
                     Error *reterr) {
        _cleanup_(container_freep) Container *c = NULL;
        ProtobufCMessage *m;
        const PbContainer *w;
        int r;

        r = envelope_open(&container_envelope, p, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        w = (PbContainer *)m;
        r = check(w, reterr);
        if (r == 0)
                r = container_alloc(parent, w->container_id, w->guest_id,
                                    CONTAINER_DESTINATION_MIGRATING, w->n_reservations, &c, reterr);
        if (r == 0 && container_set_string(&c->source_id, w->container_id) < 0)
                r = error_oom(reterr);
        if (r == 0)
                r = import_disks(c, scsi, w, reterr);
        if (r == 0)
                r = import_processes(c, w, reterr);
        if (r == 0)
                r = claim_disks(c, scsi, reterr);
        if (r == 0) {
                c->before = phases[w->phase].container;
                c->overlay_on = c->guest_has_it = true;
                *ret = TAKE(c);
        }
        protobuf_c_message_free_unpacked(m, NULL);
        return r;
}

/* Paths of one patch must not contradict each other: a disk has one path, a path is of one disk. */
static int check_paths(const Container *c, const ContainerPatch *patch, Error *reterr) {
        for (size_t i = 0; i < c->n_disks; i++) {
                const char *path = patch->disk_paths[i];
                ScsiDiskInfo a, b;
                int r;

                r = scsi_can_patch(c->ops.scsi, c->disks[i].reservation, path, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "disk %zu", i);
                (void)scsi_disk_of(c->ops.scsi, c->disks[i].reservation, &a);
                for (size_t j = 0; j < i; j++) {
                        bool same_path = strcmp(patch->disk_paths[j], path) == 0;

                        (void)scsi_disk_of(c->ops.scsi, c->disks[j].reservation, &b);
                        if ((a.slot == b.slot) != same_path)
                                return error_setf(reterr, -EINVAL,
                                                  "disks %zu and %zu: one disk has one path, and "
                                                  "one path is of one disk",
                                                  j, i);
                }
        }
        return 0;
}

int container_patch(Container *c, const ContainerPatch *patch, Error *reterr) {
        _cleanup_free_ char *id = NULL, *bundle = NULL, *log_path = NULL;
        int r;

        if (c->fsm.state != CONTAINER_DESTINATION_MIGRATING)
                return fsm_refuse(&c->fsm, "patch", reterr);
        r = id_check("container id", patch->id, reterr);
        if (r == 0)
                r = path_check_or_empty("bundle", patch->bundle, reterr);
        if (r == 0)
                r = path_check_or_empty("log path", patch->log_path, reterr);
        if (r < 0)
                return r;
        if (patch->n_disks != c->n_disks)
                return error_setf(reterr, -EINVAL,
                                  "container %s has %zu disks, %zu paths were given", c->id,
                                  c->n_disks, patch->n_disks);
        r = check_paths(c, patch, reterr);
        if (r < 0)
                return r;
        if (container_set_string(&id, patch->id) < 0 ||
            container_set_string(&bundle, patch->bundle) < 0 ||
            container_set_string(&log_path, patch->log_path) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < c->n_disks; i++) {
                r = scsi_patch(c->ops.scsi, c->disks[i].reservation, patch->disk_paths[i], reterr);
                if (r < 0)
                        return r;
        }
        process_rename(c->init, id);
        for (size_t i = 0; i < c->n_execs; i++)
                process_rename(c->execs[i], id);
        free(c->id);
        free(c->bundle);
        free(c->log_path);
        c->fsm.id = c->controller.id = c->id = TAKE(id);
        c->bundle = TAKE(bundle);
        c->log_path = TAKE(log_path);
        c->patched = true;
        return 0;
}

size_t container_n_disks(const Container *c) {
        return c->n_disks;
}

int container_each_disk(const Container *c, ContainerDiskVisitor visit, void *userdata) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < c->n_disks; i++) {
                ContainerDiskInfo info = { .index = i,
                                           .reservation = c->disks[i].reservation,
                                           .destination = c->disks[i].destination };

                if (info.reservation == 0 ||
                    scsi_disk_of(c->ops.scsi, info.reservation, &info.disk) < 0)
                        continue;
                r = visit(userdata, &info);
        }
        return r;
}
