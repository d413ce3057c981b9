/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations, and the calls that map and unmap them.
 *
 * Every call advances on its own: it looks at its mount and its disk, starts the next job if nobody
 * is at work there, and else waits. When a job completes its call goes on, then every waiting call
 * is looked at again in order of arrival. So two containers that share a layer plug it once. */
#include "controllers/scsi/scsi.h"

#include <assert.h>
#include <string.h>

#include "controllers/scsi/scsi-internal.h"

/* clang-format off */
#define TO(s) (1U << SCSI_##s)
static const FsmRow rows[_SCSI_STATE_MAX] = {
        [SCSI_ACTIVE]                = { "active",                TO(SOURCE_MIGRATING) | TO(GONE), FSM_FIRST },
        [SCSI_SOURCE_MIGRATING]      = { "source-migrating",      TO(ACTIVE) | TO(GONE),           FSM_FROZEN },
        [SCSI_DESTINATION_MIGRATING] = { "destination-migrating", TO(ACTIVE) | TO(GONE),           FSM_FIRST | FSM_FROZEN },
        [SCSI_GONE]                  = { "gone",                  0,                               FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable scsi_fsm = { "scsi", rows, _SCSI_STATE_MAX };

static Scsi *scsi_of(Controller *c) {
        return container_of(c, Scsi, controller);
}

static const Scsi *const_scsi_of(const Controller *c) {
        return (const Scsi *)c; /* its first member */
}

static int scsi_can_freeze(const Controller *c, Error *reterr) {
        const Scsi *s = const_scsi_of(c);

        if (s->fsm.state != SCSI_ACTIVE)
                return fsm_refuse(&s->fsm, "freeze", reterr);
        if (s->calls)
                return error_setf(reterr, -EBUSY, "a disk is being mapped or unmapped");
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++) {
                const ScsiDisk *d = s->slots[i];

                if (!d)
                        continue;
                if (d->fsm.state == SCSI_DISK_FAILED)
                        return error_setf(reterr, -EBADFD, "disk %s could not be attached",
                                          d->host_path);
                for (const ScsiMount *m = d->mounts; m; m = m->next)
                        if (m->fsm.state == SCSI_MOUNT_FAILED)
                                return error_setf(reterr, -EBADFD, "disk %s could not be mounted",
                                                  d->host_path);
        }
        return 0;
}

static void scsi_freeze(Controller *c) {
        fsm_must(&scsi_of(c)->fsm, SCSI_SOURCE_MIGRATING);
}

static void scsi_thaw(Controller *c) {
        Scsi *s = scsi_of(c);

        if (s->fsm.state == SCSI_SOURCE_MIGRATING)
                fsm_must(&s->fsm, SCSI_ACTIVE);
}

static int dump_disk(void *array, const ScsiDiskInfo *info) {
        static const char *const kinds[_SCSI_DISK_KIND_MAX] = { [SCSI_DISK_LAYER] = "layer",
                                                                [SCSI_DISK_SCRATCH] = "scratch",
                                                                [SCSI_DISK_VOLUME] = "volume" };
        static const char *const modes[_SCSI_STORAGE_MODE_MAX] = {
                [SCSI_STORAGE_COPY] = "copy",
                [SCSI_STORAGE_SHARED] = "shared",
                [SCSI_STORAGE_SAME] = "same",
        };
        json_object *o;

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        json_object_object_add(o, "slot", json_object_new_int64(info->slot));
        json_object_object_add(o, "path", json_object_new_string(info->config.host_path));
        json_object_object_add(o, "kind", json_object_new_string(kinds[info->config.kind]));
        json_object_object_add(o, "mode", json_object_new_string(modes[info->config.mode]));
        json_object_object_add(o, "format", json_object_new_string(info->config.format));
        json_object_object_add(o, "digest", json_object_new_string(info->config.digest));
        json_object_object_add(o, "size",
                               json_object_new_int64((int64_t)info->config.virtual_size));
        json_object_object_add(o, "read_only", json_object_new_boolean(info->config.read_only));
        json_object_object_add(o, "state", json_object_new_string(info->state));
        json_object_object_add(o, "mounts", json_object_new_int64(info->mounts));
        if (json_object_array_add(array, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        return 0;
}

static int scsi_dump(const Controller *c, json_object *o) {
        const Scsi *s = const_scsi_of(c);
        json_object *disks;

        disks = json_object_new_array();
        if (!disks)
                return -ENOMEM;
        json_object_object_add(o, "controllers", json_object_new_int64(s->n_controllers));
        json_object_object_add(o, "reservations",
                               json_object_new_int64((int64_t)s->n_reservations));
        json_object_object_add(o, "disks", disks);
        return scsi_each_disk(s, dump_disk, disks);
}

static const ControllerVtable vtable = {
        .kind = "scsi",
        .can_freeze = scsi_can_freeze,
        .freeze = scsi_freeze,
        .thaw = scsi_thaw,
        .dump = scsi_dump,
};

int scsi_alloc(Controller *parent, uint32_t n_controllers, ScsiState state, Scsi **ret,
               Error *reterr) {
        Scsi *s;

        if (n_controllers > SCSI_CONTROLLERS_MAX)
                return error_setf(reterr, -EINVAL, "n_controllers is %u, at most %u allowed",
                                  n_controllers, SCSI_CONTROLLERS_MAX);
        s = calloc(1, sizeof(*s));
        if (!s)
                return error_oom(reterr);
        s->n_controllers = n_controllers;
        s->next_reservation = 1;
        s->fsm = FSM_INIT(&scsi_fsm, (int)state, "scsi");
        controller_init(&s->controller, &vtable, parent, "scsi", &s->fsm);
        *ret = s;
        return 0;
}

int scsi_new(Controller *parent, uint32_t n_controllers, Scsi **ret, Error *reterr) {
        return scsi_alloc(parent, n_controllers, SCSI_ACTIVE, ret, reterr);
}

Scsi *scsi_free(Scsi *s) {
        if (!s)
                return NULL;
        assert(!s->calls);
        assert(!s->pumping);
        for (uint32_t i = 0; i < SCSI_SLOTS_MAX; i++)
                s->slots[i] = scsi_disk_free(s->slots[i]);
        free(s->reservations);
        controller_done(&s->controller);
        free(s);
        return NULL;
}

bool scsi_is_idle(const Scsi *s) {
        return !s->calls && !s->pumping;
}

void scsi_bind(Scsi *s, const ScsiOps *ops, void *userdata) {
        s->ops = ops;
        s->userdata = userdata;
}

Controller *scsi_controller(Scsi *s) {
        return &s->controller;
}

ScsiState scsi_state(const Scsi *s) {
        return (ScsiState)s->fsm.state;
}

void scsi_lost(Scsi *s) {
        if (s->fsm.state != SCSI_GONE)
                fsm_must(&s->fsm, SCSI_GONE);
}

uint32_t scsi_n_controllers(const Scsi *s) {
        return s->n_controllers;
}

ScsiReservation *scsi_find_reservation(const Scsi *s, uint64_t id) {
        size_t low = 0, high = s->n_reservations;

        while (low < high) {
                size_t mid = low + (high - low) / 2;

                if (s->reservations[mid].id == id)
                        return &s->reservations[mid];
                if (s->reservations[mid].id < id)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

bool scsi_has_reservation(const Scsi *s, uint64_t reservation) {
        return scsi_find_reservation(s, reservation);
}

bool scsi_is_mapped(const Scsi *s, uint64_t reservation) {
        const ScsiReservation *r = scsi_find_reservation(s, reservation);

        return r && r->mount->fsm.state == SCSI_MOUNT_MOUNTED;
}

int scsi_room_for_reservations(Scsi *s, size_t more) {
        size_t want = s->n_reservations + more, cap = MAX_OF(s->cap_reservations, (size_t)16);
        ScsiReservation *p;

        if (want <= s->cap_reservations)
                return 0;
        while (cap < want)
                cap *= 2;
        p = reallocarray(s->reservations, cap, sizeof(*p));
        if (!p)
                return -ENOMEM;
        s->reservations = p;
        s->cap_reservations = cap;
        return 0;
}

void scsi_append_reservation(Scsi *s, uint64_t id, ScsiDisk *d, ScsiMount *m) {
        assert(s->n_reservations < s->cap_reservations);
        m->refs++;
        s->reservations[s->n_reservations++] = (ScsiReservation){ .id = id, .disk = d, .mount = m };
}

void scsi_forget_reservation(Scsi *s, ScsiReservation *r) {
        size_t i = (size_t)(r - s->reservations);
        ScsiMount *m = r->mount;
        ScsiDisk *d = r->disk;

        memmove(r, r + 1, (s->n_reservations - i - 1) * sizeof(*r));
        s->n_reservations--;
        if (--m->refs > 0)
                return;
        fsm_must(&m->fsm, SCSI_MOUNT_GONE);
        scsi_disk_remove_mount(d, m);
        if (d->mounts)
                return;
        fsm_must(&d->fsm, SCSI_DISK_GONE);
        s->slots[d->slot] = NULL;
        scsi_disk_free(d);
}

static ScsiDisk *find_path(const Scsi *s, const char *host_path) {
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++)
                if (s->slots[i] && strcmp(s->slots[i]->host_path, host_path) == 0)
                        return s->slots[i];
        return NULL;
}

static int free_slot(const Scsi *s, uint32_t *ret, Error *reterr) {
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++)
                if (!s->slots[i]) {
                        *ret = i;
                        return 0;
                }
        return error_setf(reterr, -ENOSPC, "no free slot: %u SCSI controllers hold %u disks",
                          s->n_controllers, s->n_controllers * SCSI_TARGETS);
}

static int is_moving(const ScsiDisk *d, Error *reterr) {
        return error_setf(reterr, -EBUSY,
                          "disk %s is being moved to another file: wait for the end of that, or "
                          "cancel it",
                          d->host_path);
}

static int reserve_shared(ScsiDisk *d, const ScsiDiskConfig *disk, const ScsiMountConfig *mount,
                          ScsiMount **ret, Error *reterr) {
        ScsiMount *m;

        if (d->moving)
                return is_moving(d, reterr);
        if (!scsi_disk_config_equal(&d->config, disk))
                return error_setf(reterr, -EEXIST, "disk %s is in use with another configuration",
                                  disk->host_path);
        m = scsi_disk_find_mount(d, mount->partition);
        if (m && !scsi_mount_config_equal(&m->config, mount))
                return error_setf(reterr, -EEXIST,
                                  "partition %u of disk %s is in use with another configuration",
                                  mount->partition, disk->host_path);
        if (d->fsm.state == SCSI_DISK_FAILED || (m && m->fsm.state == SCSI_MOUNT_FAILED))
                return error_setf(reterr, -EBUSY, "disk %s has failed and is still held",
                                  disk->host_path);
        if (m && m->refs >= SCSI_HOLDERS_MAX)
                return error_setf(reterr, -ENOSPC, "disk %s has %u holders", disk->host_path,
                                  m->refs);
        if (!m && scsi_disk_add_mount(d, mount, SCSI_MOUNT_RESERVED, &m) < 0)
                return error_oom(reterr);
        *ret = m;
        return 0;
}

static int reserve_new(Scsi *s, const ScsiDiskConfig *disk, const ScsiMountConfig *mount,
                       ScsiDisk **ret, ScsiMount **ret_mount, Error *reterr) {
        _cleanup_(scsi_disk_freep) ScsiDisk *d = NULL;
        uint32_t slot = 0;
        int r;

        r = free_slot(s, &slot, reterr);
        if (r < 0)
                return r;
        if (scsi_disk_new(disk, slot, SCSI_DISK_RESERVED, &d) < 0 ||
            scsi_disk_add_mount(d, mount, SCSI_MOUNT_RESERVED, ret_mount) < 0)
                return error_oom(reterr);
        s->slots[slot] = d;
        *ret = TAKE(d);
        return 0;
}

int scsi_check(const ScsiDiskConfig *disk, const ScsiMountConfig *mount, Error *reterr) {
        int r;

        r = scsi_disk_config_check(disk, reterr);
        return r < 0 ? r : scsi_mount_config_check(mount, disk, reterr);
}

int scsi_reserve(Scsi *s, const ScsiDiskConfig *disk, const ScsiMountConfig *mount,
                 uint64_t *ret_reservation, Error *reterr) {
        ScsiMount *m = NULL;
        ScsiDisk *d;
        int r;

        if (s->fsm.state != SCSI_ACTIVE)
                return fsm_refuse(&s->fsm, "reserve", reterr);
        r = scsi_check(disk, mount, reterr);
        if (r < 0)
                return r;
        if (scsi_room_for_reservations(s, 1) < 0)
                return error_oom(reterr);
        d = find_path(s, disk->host_path);
        if (d)
                r = reserve_shared(d, disk, mount, &m, reterr);
        else
                r = reserve_new(s, disk, mount, &d, &m, reterr);
        if (r < 0)
                return r;
        *ret_reservation = s->next_reservation++;
        scsi_append_reservation(s, *ret_reservation, d, m);
        return 0;
}

/* A job has answered: its disk or mount leaves the waiting state. */
static void settle(ScsiCall *c, int r) {
        Fsm *f = c->mount ? &c->mount->fsm : &c->disk->fsm;
        bool ok = r == 0;

        c->in_flight = false;
        if (c->mount && !c->unmap)
                fsm_must(f, ok ? SCSI_MOUNT_MOUNTED : SCSI_MOUNT_FAILED);
        else if (c->mount)
                fsm_must(f, ok ? SCSI_MOUNT_RESERVED : SCSI_MOUNT_MOUNTED);
        else if (!c->unmap)
                fsm_must(f, ok ? SCSI_DISK_ATTACHED : SCSI_DISK_FAILED);
        else
                fsm_must(f, ok ? SCSI_DISK_RESERVED : SCSI_DISK_ATTACHED);
}

static void job_done(void *userdata, int r, const void *result, const Error *err);

static bool has_other_mounted(const ScsiDisk *d, const ScsiMount *m) {
        for (const ScsiMount *o = d->mounts; o; o = o->next)
                if (o != m && o->fsm.state != SCSI_MOUNT_RESERVED &&
                    o->fsm.state != SCSI_MOUNT_FAILED)
                        return true;
        return false;
}

/* The next job of the call, on its mount or (mount NULL) on its disk. 0: done and settled. */
static int start_job(ScsiCall *c, ScsiDisk *d, ScsiMount *m, Error *reterr) {
        const Scsi *s = c->scsi;
        int r;

        c->disk = d;
        c->mount = m;
        c->in_flight = true;
        if (m && !c->unmap) {
                fsm_must(&m->fsm, SCSI_MOUNT_MOUNTING);
                r = s->ops->guest_mount(s->userdata, d->slot, &m->config, m->guest_path, job_done,
                                        c, reterr);
        } else if (m) {
                fsm_must(&m->fsm, SCSI_MOUNT_UNMOUNTING);
                r = s->ops->guest_unmount(s->userdata, d->slot, m->guest_path,
                                          !has_other_mounted(d, m), job_done, c, reterr);
        } else if (!c->unmap) {
                fsm_must(&d->fsm, SCSI_DISK_ATTACHING);
                r = s->ops->plug(s->userdata, d->slot, &d->config, job_done, c, reterr);
        } else {
                fsm_must(&d->fsm, SCSI_DISK_DETACHING);
                r = s->ops->unplug(s->userdata, d->slot, job_done, c, reterr);
        }
        if (r != 1)
                settle(c, r);
        return r;
}

static bool somebody_at_work(const ScsiReservation *r) {
        return (fsm_flags(&r->disk->fsm) | fsm_flags(&r->mount->fsm)) & FSM_WAITING;
}

static int advance_map(ScsiCall *c, ScsiReservation *res, Error *reterr) {
        ScsiDisk *d = res->disk;
        ScsiMount *m = res->mount;
        int r;

        for (;;) {
                if (m->fsm.state == SCSI_MOUNT_MOUNTED)
                        return 0;
                if (somebody_at_work(res))
                        return 1;
                if (m->fsm.state == SCSI_MOUNT_FAILED || d->fsm.state == SCSI_DISK_FAILED)
                        return error_setf(reterr, -EBADFD,
                                          "disk %s has failed before: it can only be unmapped",
                                          d->host_path);
                if (c->scsi->fsm.state != SCSI_ACTIVE)
                        return fsm_refuse(&c->scsi->fsm, "map", reterr);
                r = start_job(c, d, d->fsm.state == SCSI_DISK_ATTACHED ? m : NULL, reterr);
                if (r != 0)
                        return r;
        }
}

static int advance_unmap(ScsiCall *c, ScsiReservation *res, Error *reterr) {
        Scsi *s = c->scsi;
        ScsiDisk *d = res->disk;
        ScsiMount *m = res->mount;
        int r;

        for (;;) {
                bool only_mount = d->mounts == m && !m->next;
                bool live = s->fsm.state != SCSI_GONE;

                if (m->refs == 1 && somebody_at_work(res))
                        return 1;
                if (live && m->refs == 1 && m->fsm.state == SCSI_MOUNT_MOUNTED)
                        r = start_job(c, d, m, reterr);
                else if (live && m->refs == 1 && only_mount && d->fsm.state == SCSI_DISK_ATTACHED)
                        r = start_job(c, d, NULL, reterr);
                else {
                        scsi_forget_reservation(s, res);
                        return 0;
                }
                if (r != 0)
                        return r;
        }
}

static int advance(ScsiCall *c, Error *reterr) {
        ScsiReservation *res = scsi_find_reservation(c->scsi, c->reservation);

        if (c->unmap)
                return res ? advance_unmap(c, res, reterr) : 0;
        if (!res)
                return error_setf(reterr, -ECANCELED, "reservation %llu was unmapped meanwhile",
                                  (unsigned long long)c->reservation);
        return advance_map(c, res, reterr);
}

static void finish(ScsiCall *c, int r, const Error *err) {
        ScsiCall **at = &c->scsi->calls;
        OpDone done = c->done;
        void *job = c->job;

        while (*at != c)
                at = &(*at)->next;
        *at = c->next;
        free(c);
        if (done)
                done(job, r, NULL, err);
}

/* Looks at every waiting call until none can advance any further. */
static void pump(Scsi *s) {
        ScsiCall *c = s->calls;

        while (c) {
                Error e = ERROR_INIT;
                int r;

                r = c->in_flight ? 1 : advance(c, &e);
                if (r > 0) {
                        c = c->next;
                        continue;
                }
                finish(c, r, &e);
                c = s->calls;
        }
}

static void job_done(void *userdata, int r, const void *result, const Error *err) {
        ScsiCall *c = userdata;
        Scsi *s = c->scsi;
        bool outer = !s->pumping;

        assert(c->in_flight);
        assert(r <= 0);
        settle(c, r);
        s->pumping = true;
        if (r < 0)
                finish(c, r, err);
        pump(s);
        if (outer)
                s->pumping = false;
}

static int start_call(Scsi *s, uint64_t reservation, bool unmap, OpDone done, void *job,
                      Error *reterr) {
        ScsiCall *c, **at = &s->calls;
        int r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (ScsiCall){
                .scsi = s, .reservation = reservation, .unmap = unmap, .done = done, .job = job
        };
        r = advance(c, reterr);
        if (r != 1) {
                free(c);
                return r;
        }
        while (*at)
                at = &(*at)->next;
        *at = c;
        return 1;
}

static int unknown(uint64_t reservation, Error *reterr) {
        return error_setf(reterr, -ENOENT, "there is no disk reservation %llu",
                          (unsigned long long)reservation);
}

int scsi_map(Scsi *s, uint64_t reservation, OpDone done, void *job, Error *reterr) {
        if (s->fsm.state != SCSI_ACTIVE)
                return fsm_refuse(&s->fsm, "map", reterr);
        if (!s->ops)
                return error_setf(reterr, -EBADFD, "map: the disks are not bound to a VM");
        if (!scsi_has_reservation(s, reservation))
                return unknown(reservation, reterr);
        return start_call(s, reservation, false, done, job, reterr);
}

int scsi_unmap(Scsi *s, uint64_t reservation, OpDone done, void *job, Error *reterr) {
        const ScsiReservation *r;

        if (s->fsm.state != SCSI_ACTIVE && s->fsm.state != SCSI_GONE)
                return fsm_refuse(&s->fsm, "unmap", reterr);
        r = scsi_find_reservation(s, reservation);
        if (!r)
                return unknown(reservation, reterr);
        if (r->disk->moving && s->fsm.state == SCSI_ACTIVE)
                return is_moving(r->disk, reterr);
        return start_call(s, reservation, true, done, job, reterr);
}

const char *scsi_guest_path(const Scsi *s, uint64_t reservation) {
        const ScsiReservation *r = scsi_find_reservation(s, reservation);

        return r ? r->mount->guest_path : NULL;
}

static void fill_info(const ScsiDisk *d, ScsiDiskInfo *ret) {
        *ret = (ScsiDiskInfo){ .slot = d->slot, .config = d->config, .state = fsm_name(&d->fsm) };
        for (const ScsiMount *m = d->mounts; m; m = m->next)
                ret->mounts++;
}

int scsi_each_disk(const Scsi *s, ScsiDiskVisitor visit, void *userdata) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < s->n_controllers * SCSI_TARGETS; i++) {
                ScsiDiskInfo info;

                if (!s->slots[i])
                        continue;
                fill_info(s->slots[i], &info);
                r = visit(userdata, &info);
        }
        return r;
}

int scsi_disk_of(const Scsi *s, uint64_t reservation, ScsiDiskInfo *ret) {
        const ScsiReservation *r = scsi_find_reservation(s, reservation);

        if (!r)
                return -ENOENT;
        fill_info(r->disk, ret);
        return 0;
}
