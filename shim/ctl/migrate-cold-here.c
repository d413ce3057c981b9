/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a cold move at the source. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/checks.h"
#include "hostdev/image/disk.h"
#include "lib/clock.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/rundir.h"

static int state_of(const Ctl *ctl, const char *pod, char **ret) {
        if (asprintf(ret, "%s/pods/%s", ctl->config.state_dir, pod) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
}

/* Of its machine; "" without a shim. */
static int machine_state(const Mover *m, char **ret, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r = pod_connect(m->ctl->config.run_dir, m->pod, &bus, reterr);

        return r < 0 ? r : pod_get_string(bus, BUS_VM, BUS_INTERFACE ".Vm", "State", ret, reterr);
}

bool cold_pod_rests(const Mover *m) {
        _cleanup_free_ char *state = NULL, *vm = NULL;
        _cleanup_record_ OfflineRecord out = {};

        if (state_of(m->ctl, m->pod, &state) < 0)
                return false;
        if (pod_is_stopped(m->ctl, m->pod) ||
            (offline_read(state, OFFLINE_OUTGOING, &out, NULL) == 0 && out.state == OFFLINE_GIVEN))
                return true;
        return machine_state(m, &vm, NULL) == 0 && definition_is_there(state) &&
               (strcmp(vm, "terminated") == 0 || strcmp(vm, "not-created") == 0);
}

int cold_admit_live(const Mover *m, Error *reterr) {
        _cleanup_free_ char *state = NULL;

        if (state_of(m->ctl, m->pod, &state) < 0)
                return error_oom(reterr);
        return definition_is_there(state) ? offline_admit(m->ctl->config.state_dir, m->pod, reterr)
                                          : 0;
}

Cold *cold_free(Cold *c) {
        if (!c)
                return NULL;
        (void)cold_link_close(&c->link);
        offline_unlock(&c->lock);
        offline_record_done(&c->record);
        cold_plan_done(&c->plan);
        c->warm = warm_free(c->warm);
        (void)words_free(c->missing);
        free(c->state);
        free(c);
        return NULL;
}

int cold_record(Mover *m, OfflineState state, Error *reterr) {
        Cold *c = m->cold;
        OfflineRecord next = c->record;
        int r;

        next.state = state;
        r = offline_write(c->state, OFFLINE_OUTGOING, &next, reterr);
        if (r == 0)
                c->record.state = state;
        return r;
}

/* -- what there is -- */

/* The shims' options have no meaning where no shim takes part. */
static bool is_taken(const char *option) {
        static const char *const names[] = { "storage", "keep_source_disks",
                                             "remove_source_volumes", "transport_timeout",
                                             "bandwidth" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(names[i], option) == 0)
                        return true;
        return false;
}

static int take_call(Mover *m, MigrationOptions *ret, Error *reterr) {
        const Itinerary *way = m->journey.itinerary; /* NULL: it is only asked */
        bool meant = m->change.n == 0; /* else it was to move live, and they are for that */
        int r = 0;

        migration_options_init(ret);
        if (meant && m->network_mode && strcmp(m->network_mode, "keep") == 0)
                r = cold_heed(m, "cold-option",
                              error_setf(reterr, -EINVAL,
                                         "--net-mode keep is for a live move: a pod that starts "
                                         "anew has the addresses of its namespace"),
                              reterr);
        for (size_t i = 0; r == 0 && i < m->n_options; i++) {
                const char *name = m->options[i].name;

                if (is_taken(name) || warm_has_option(m, name))
                        r = migration_options_set(ret, name, m->options[i].value, reterr);
                else if (meant)
                        r = cold_heed(m, "cold-option",
                                      error_setf(reterr, -EINVAL,
                                                 "option %.40s is for a live move, and this one is "
                                                 "%s",
                                                 name, way ? way->type : "cold"),
                                      reterr);
        }
        return r;
}

/* As with a live move, the call is over the pod's annotations, and these over the configuration. */
static int take_options(Mover *m, MigrationOptions *o, Error *reterr) {
        _cleanup_annotations_ Annotations annotations = {};
        Cold *c = m->cold;
        MigrationOptions below;
        int r;

        r = definition_annotations(&c->plan.definition, &annotations, reterr);
        if (r < 0)
                return r;
        annotations_lay(&annotations, &m->ctl->config.migration, &below);
        migration_options_lay_under(o, &below);
        if (o->keep_source_disks && o->remove_source_volumes)
                return error_setf(reterr, -EINVAL,
                                  "options keep_source_disks and remove_source_volumes exclude "
                                  "each other");
        c->storage = o->storage;
        c->bandwidth = o->bandwidth;
        c->keep_scratch = o->keep_source_disks;
        c->remove_volumes = o->remove_source_volumes;
        return 0;
}

/* An attempt that was cut off goes on under its name; one that gave the pod away, only that. */
static int take_record(Mover *m, Error *reterr) {
        OfflineRecord *o = &m->cold->record;
        bool same;
        int r;

        r = text_check("--to", m->to, OFFLINE_PEER_MAX, reterr);
        if (r == 0)
                r = offline_read(m->cold->state, OFFLINE_OUTGOING, o, reterr);
        if (r < 0)
                return r;
        same = strcmp(o->peer, m->to) == 0 && strcmp(o->name, m->new_name) == 0;
        m->cold->resumed = o->state == OFFLINE_GIVEN;
        if (o->state == OFFLINE_GIVEN && !same)
                return error_setf(reterr, -EBADFD,
                                  "pod %s was given to the host %s as %s: podferry migrate with "
                                  "--to and --name as then sees that to its end",
                                  m->pod, o->peer, o->name);
        if (o->state != OFFLINE_NONE && same) {
                (void)snprintf(m->session, sizeof(m->session), "%.31s", o->session);
                m->cold->start = o->state == OFFLINE_GIVEN && o->start;
                return 0;
        }
        (void)snprintf(o->session, sizeof(o->session), "%s", m->session);
        (void)snprintf(o->pod, sizeof(o->pod), "%s", m->pod);
        (void)snprintf(o->name, sizeof(o->name), "%s", m->new_name);
        (void)snprintf(o->peer, sizeof(o->peer), "%s", m->to);
        return 0;
}

static int check_network(const Mover *m, Error *reterr) {
        const char *network = m->cold->plan.definition.network;
        bool named = strncmp(network, "ns:", 3) == 0;

        if (named == (m->network != NULL))
                return 0;
        return error_setf(reterr, -EINVAL,
                          named ? "the pod's network is the namespace %s: --net ns:PATH names the "
                                  "one over there"
                                : "the pod's network is no namespace (%s): leave out --net",
                          named ? network + 3 : network);
}

static int look_at_copy(Mover *m, ColdDisk *d, Error *reterr) {
        const ScsiDiskConfig *disk = &d->spec->disk;
        bool raw = strcmp(disk->format, "raw") == 0;
        struct stat st;
        DiskInfo info;
        int r;

        r = raw ? disk_probe_raw(disk->host_path, false, &info, reterr)
                : disk_probe_header(disk->host_path, &info, reterr);
        if (r == 0 && stat(disk->host_path, &st) < 0)
                r = error_setf(reterr, -errno, "%s: %m", disk->host_path);
        if (r == 0 && info.incomplete)
                r = error_setf(reterr, -EBUSY, "%s: a migration has not filled it to its end",
                               disk->host_path);
        if (r < 0)
                return cold_heed(m, "disk-unreadable", r, reterr);
        if (!raw && (strcmp(info.format, "qcow2") != 0 || info.backed))
                r = cold_heed(m, "disk-backed",
                              error_setf(reterr, -EINVAL,
                                         "%s: an image with another one behind it only moves live: "
                                         "podferry start %s first, or make it one with qemu-img "
                                         "rebase -b ''",
                                         disk->host_path, m->pod),
                              reterr);
        if (r < 0)
                return r;
        d->bytes = raw ? info.virtual_size : (uint64_t)st.st_size;
        d->data = m->virtual_size ? MAX_OF(info.virtual_size, d->bytes) : info.allocated;
        return 0;
}

/* The disks as a live move's facts have them, for what reads those: layers, --disk. */
static int make_facts(Mover *m, Error *reterr) {
        const ColdPlan *p = &m->cold->plan;
        json_object *list = json_object_new_array();

        (void)json_object_put(m->facts);
        m->facts = json_object_new_object();
        if (!m->facts || json_add(m->facts, "containers", list) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < p->definition.n_containers; i++) {
                json_object *disks = json_get_array(p->specs[i].json, "disks");
                json_object *o = json_object_new_object();

                if (json_append(list, o) < 0 ||
                    (disks && json_add(o, "disks", json_object_get(disks)) < 0))
                        return error_oom(reterr);
        }
        return 0;
}

static int place_disks(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *map = NULL;
        ColdPlan *p = &m->cold->plan;
        int r = mover_map_disks(m, &map, reterr);

        for (size_t i = 0; r == 0 && i < p->n_disks; i++) {
                ColdDisk *d = &p->disks[i];
                const char *path = d->spec->disk.host_path;
                const char *there = json_get_text(json_get(map, "disks"), path);

                d->there = strdup(*there ? there : path);
                r = !d->there                      ? error_oom(reterr)
                    : d->plan == STORAGE_PLAN_COPY ? look_at_copy(m, d, reterr)
                                                   : 0;
        }
        return r;
}

static int read_pod(Mover *m, Error *reterr) {
        Cold *c = m->cold;
        MigrationOptions options;
        int r;

        r = take_call(m, &options, reterr);
        if (r < 0)
                return r;
        r = definition_read(c->state, &c->plan.definition, reterr);
        if (r == -ENOENT && c->resumed) /* all but the record was removed */
                return 0;
        if (r < 0)
                return cold_heed(m, "definition", r, reterr);
        r = take_options(m, &options, reterr);
        if (r == 0)
                r = cold_plan_make(&c->plan, options.storage, reterr);
        if (r < 0)
                return cold_heed(m, r == -EINVAL ? "storage-options" : "definition", r, reterr);
        c->planned = !c->resumed;
        if (c->resumed)
                return 0;
        r = cold_heed(m, "network-option", check_network(m, reterr), reterr);
        if (r == 0)
                r = make_facts(m, reterr);
        return r < 0 ? r : place_disks(m, reterr);
}

/* A pod that runs is stopped only if that was asked for. */
int cold_look_at_shim(Mover *m, Error *reterr) {
        _cleanup_free_ char *vm = NULL;
        int r = machine_state(m, &vm, reterr);

        if (r == -ENOENT && pod_is_stopped(m->ctl, m->pod)) {
                m->cold->start = false;
                return 0;
        }
        if (r < 0)
                return r;
        m->cold->start =
                strcmp(vm, "running") == 0 && (!m->live || m->change.mode == CHANGE_OFFLINE_ONLY);
        return strcmp(vm, "running") != 0 || m->cold->start
                       ? 0
                       : error_setf(reterr, -EBUSY, "pod %s was started meanwhile", m->pod);
}

/* Alone, with what an attempt before has written. */
static int begin(Mover *m, Error *reterr) {
        static const char busy[] = "session-unfinished";
        Cold *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return error_oom(reterr);
        *c = (Cold){ .lock = OFFLINE_LOCK_INIT,
                     .link = { .mover = m, .fd = -EBADF, .run = REMOTE_RUN_INIT } };
        m->cold = c;
        if (state_of(m->ctl, m->pod, &c->state) < 0)
                return error_oom(reterr);
        r = offline_lock(m->ctl->config.state_dir, m->pod, &c->lock, reterr);
        r = cold_heed(m, busy, r, reterr);
        return r < 0 ? r : cold_heed(m, busy, take_record(m, reterr), reterr);
}

int cold_drop_offer(Mover *m, Error *reterr) {
        _cleanup_record_ OfflineRecord out = {};
        _cleanup_free_ char *state = NULL;
        char session[sizeof(m->session)];
        int r;

        memcpy(session, m->session, sizeof(session));
        if (state_of(m->ctl, m->pod, &state) < 0)
                return error_oom(reterr);
        r = offline_read(state, OFFLINE_OUTGOING, &out, reterr);
        if (r < 0 || out.state != OFFLINE_OFFERED || strcmp(out.peer, m->to) != 0 ||
            strcmp(out.name, m->new_name) != 0)
                return r;
        r = begin(m, reterr); /* goes on under the name of that attempt */
        if (r == 0)
                r = wishes_open(&m->wishes, m->ctl->config.run_dir, m->pod, reterr);
        wishes_close(&m->wishes); /* that one may have left its socket */
        if (r == 0)
                r = cold_connect(m, reterr);
        if (r == 0)
                r = cold_ask(&m->cold->link, "discard", NULL, NULL, reterr);
        if (r == 0)
                r = cold_record(m, OFFLINE_NONE, reterr);
        m->cold = cold_free(m->cold);
        memcpy(m->session, session, sizeof(session));
        return r < 0 ? error_prefix(reterr, r, "what an earlier attempt has left there") : 0;
}

int cold_look(Mover *m, Error *reterr) {
        static const char busy[] = "session-unfinished";
        int r = begin(m, reterr);
        Cold *c = m->cold;

        if (r == 0 && !c->resumed && m->live) /* else it is only asked */
                r = wishes_open(&m->wishes, m->ctl->config.run_dir, m->pod, reterr);
        if (r == 0 && !c->resumed)
                r = cold_heed(m, busy, offline_check(m->ctl->config.state_dir, m->pod, reterr),
                              reterr);
        if (r == 0 && !c->resumed)
                r = cold_heed(m, busy, offline_check_journal(c->state, m->pod, reterr), reterr);
        if (r == 0 && !c->resumed)
                r = cold_look_at_shim(m, reterr);
        if (r == 0)
                r = read_pod(m, reterr);
        if (r == 0)
                c->record.start = c->start;
        return r;
}

/* -- stop, and the way back -- */

static int call_shim(const Mover *m, uint64_t deadline, const char *path, const char *interface,
                     const char *member, const char *types, uint32_t value, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r = pod_connect(m->ctl->config.run_dir, m->pod, &bus, reterr);

        return r < 0 ? r
                     : pod_call(bus, deadline, NULL, reterr, path, interface, member, types, value);
}

int cold_stop(Mover *m, Error *reterr) {
        if (m->stop_ms > UINT32_MAX)
                return error_setf(reterr, -EINVAL, "--stop-timeout: too long");
        m->cold->stopped = true;
        m->cold->stopped_ms = clock_ms();
        return call_shim(m, m->stop_ms * 1000 + WORK_DEADLINE, BUS_POD, BUS_INTERFACE ".Pod",
                         "Stop", "u", (uint32_t)m->stop_ms, reterr);
}

/* A stop that failed may have stopped some of it only: then the machine runs still. */
int cold_start_again(Mover *m, Error *reterr) {
        _cleanup_free_ char *vm = NULL;
        Cold *c = m->cold;

        wishes_close(&m->wishes); /* from here on its name may be another one's */
        offline_unlock(&c->lock); /* it keeps a shim out */
        /* One that died in the stop has left the pod as it was: another one finds out how. */
        if (machine_state(m, &vm, NULL) == -ECONNREFUSED)
                (void)shim_start_again(m->ctl, m->pod, NULL);
        free(TAKE(vm));
        if (machine_state(m, &vm, NULL) == 0 && strcmp(vm, "running") == 0)
                c->stopped = false; /* it never was */
        else
                c->restarted = pod_start(m->ctl, m->pod, &c->why_not) == 0;
        /* What the other host has goes all the same; without the lock the record stays. */
        (void)offline_lock(m->ctl->config.state_dir, m->pod, &c->lock, NULL);
        return 0;
}

/* From here on no shim can come: we have the lock, and see none. */
int cold_leave(Mover *m, Error *reterr) {
        int r = call_shim(m, WORK_DEADLINE, BUS_ROOT, BUS_INTERFACE, "Leave", "", 0, reterr);

        if (r < 0 && r != -ENOENT)
                return r;
        return pod_is_stopped(m->ctl, m->pod)
                       ? 0
                       : error_setf(reterr, -EBUSY, "pod %s is being started, or removed", m->pod);
}

/* -- the decision -- */

int cold_give(Mover *m, Error *reterr) {
        m->ending = true; /* Ctrl-C came in time, or not at all; and so did a wish to start it */
        wishes_close(&m->wishes);
        return cold_record(m, OFFLINE_GIVEN, reterr);
}

/* -- what is left here -- */

static int remove_disk(const Cold *c, const ColdDisk *d, Error *reterr) {
        bool scratch = d->spec->disk.kind == SCSI_DISK_SCRATCH;
        struct stat st;

        if (!cold_is_copy(d) || (scratch ? c->keep_scratch : !c->remove_volumes))
                return 0;
        if (lstat(d->spec->disk.host_path, &st) < 0 || !S_ISREG(st.st_mode))
                return 0; /* a device stays, and so does what a link leads to */
        return unlink(d->spec->disk.host_path) < 0 && errno != ENOENT
                       ? error_setf(reterr, -errno, "cannot remove %s: %m", d->spec->disk.host_path)
                       : 0;
}

/* The record goes last: until then the command can be given again. */
int cold_remove(Mover *m, Error *reterr) {
        static const char *const rest[] = { "definition", "logs", "journal", "incoming" };
        _cleanup_close_ int dir = -EBADF;
        Cold *c = m->cold;
        int r = 0;

        c->moved = true;
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                r = remove_disk(c, &c->plan.disks[i], reterr);
        if (r < 0)
                return r;
        dir = open(c->state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0)
                return error_setf(reterr, -errno, "%s: %m", c->state);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(rest); i++) {
                r = files_remove_tree(dir, rest[i]);
                if (r < 0)
                        return error_setf(reterr, r, "%s/%s: %s", c->state, rest[i],
                                          strerrordesc_np(-r));
        }
        r = cold_record(m, OFFLINE_NONE, reterr);
        if (r == 0)
                (void)rmdir(c->state); /* unless disks are kept in it */
        return r;
}
