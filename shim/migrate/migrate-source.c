/* SPDX-License-Identifier: Apache-2.0 */
/* MigrationOps of the source: libvirt's migration over the ferry, and the fence. */
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/migrate/migrate-options.h"

#define STATISTICS_USEC (250U * 1000U)

int migrate_make_dir(Migrate *m, Error *reterr) {
        int r;

        if (m->dir)
                return 0;
        if (asprintf(&m->dir, "%s/.migrate-%s", m->shim->config.run_dir,
                     migration_session(m->migration)) < 0) {
                m->dir = NULL;
                return error_oom(reterr);
        }
        r = run_dir_own_sockets(&m->shim->dir, migration_session(m->migration), reterr);
        if (r < 0) {
                free(TAKE(m->dir));
                return r;
        }
        /* QEMU binds sockets of its own there, and may not be root. */
        if ((mkdir(m->dir, 0700) < 0 && errno != EEXIST) ||
            (m->qemu_gid != 0 && (chown(m->dir, 0, m->qemu_gid) < 0 || chmod(m->dir, 03770) < 0))) {
                r = error_setf(reterr, -errno, "%s: %m", m->dir);
                free(m->dir);
                m->dir = NULL;
                return r;
        }
        return 0;
}

void migrate_remove_dir(Migrate *m) {
        static const char *const names[] = { "libvirt.sock", "memory.sock", "disk.sock" };
        char path[256];

        if (!m->dir)
                return;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", m->dir, names[i]);
                (void)unlink(path);
        }
        if (rmdir(m->dir) < 0 && errno != ENOENT)
                log_warning("%s: %m", m->dir);
        else
                run_dir_disown_sockets(&m->shim->dir);
        free(m->dir);
        m->dir = NULL;
}

/* The destination's word about its own paths. It is taken for what libvirt is told about the other
 * host, never for a path on this one: those are derived here, and must be the same. */
int migrate_read_ticket(Migrate *m, const char *ticket, const MigrationOptions *options,
                        Error *reterr) {
        json_object *o, *xml = NULL, *dir = NULL, *storage = NULL, *theirs = NULL;
        int r = 0;

        o = json_tokener_parse(ticket);
        if (!o || !json_object_is_type(o, json_type_object) ||
            !json_object_object_get_ex(o, "dest_xml", &xml) ||
            !json_object_object_get_ex(o, "dir", &dir) ||
            !json_object_is_type(xml, json_type_string) ||
            !json_object_is_type(dir, json_type_string))
                r = error_setf(reterr, -EINVAL,
                               "Transfer at the source needs the ticket that Prepare returned");
        if (r == 0)
                r = migrate_make_dir(m, reterr);
        if (r == 0 && strcmp(json_object_get_string(dir), m->dir) != 0)
                r = error_setf(
                        reterr, -EINVAL,
                        "the other host uses %s, this one %s: run_dir must be the same on both",
                        json_object_get_string(dir), m->dir);
        if (r == 0) {
                (void)json_object_object_get_ex(o, "options", &theirs);
                r = migrate_options_agree(options, theirs, reterr);
        }
        if (r == 0) {
                (void)json_object_object_get_ex(o, "storage", &storage);
                r = migrate_storage_read_answer(m, storage, reterr);
        }
        if (r == 0) {
                free(m->dest_xml);
                m->dest_xml = strdup(json_object_get_string(xml));
                r = m->dest_xml ? 0 : error_oom(reterr);
        }
        if (o)
                json_object_put(o);
        return r;
}

typedef struct Slots {
        Migrate *migrate;
        uint32_t slots[SCSI_SLOTS_MAX];
        size_t n;
} Slots;

static int add_slot(void *userdata, const ScsiDiskInfo *info) {
        Slots *s = userdata;

        if (migrate_copies(s->migrate, &info->config) && s->n < ELEMENTSOF(s->slots))
                s->slots[s->n++] = info->slot;
        return 0;
}

typedef struct Addresses {
        char libvirt[384], memory[256], disk[256]; /* URIs */
} Addresses;

/* Local ends of the relayed connections, and the URIs by which libvirt finds them. */
static int listen_for_libvirt(Migrate *m, Addresses *a, Error *reterr) {
        static const struct {
                FerryKind kind;
                const char *name;
        } ends[] = { { FERRY_LIBVIRT, "libvirt.sock" },
                     { FERRY_MEMORY, "memory.sock" },
                     { FERRY_DISK, "disk.sock" } };
        char path[256];
        Ferry *ferry;
        int r;

        r = migrate_ferry(m, &ferry, reterr);
        if (r == 0 && m->options.handover == MIGRATION_HANDOVER_FAST && !m->options.postcopy)
                r = ferry_gate(ferry, true, reterr);
        if (r == 0 && migration_is_held(m->migration))
                r = ferry_stall(ferry, FERRY_MEMORY, true, reterr);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(ends); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", m->dir, ends[i].name);
                r = ferry_listen(ferry, ends[i].kind, path, reterr);
        }
        (void)snprintf(a->libvirt, sizeof(a->libvirt), "qemu+unix:///system?socket=%s/libvirt.sock",
                       m->dir);
        (void)snprintf(a->memory, sizeof(a->memory), "unix://%s/memory.sock", m->dir);
        (void)snprintf(a->disk, sizeof(a->disk), "unix://%s/disk.sock", m->dir);
        return r;
}

static unsigned flags_of(const MigrationOptions *o, size_t n_copy) {
        unsigned flags =
                o->handover == MIGRATION_HANDOVER_FAST ? 0U : (unsigned)VIRT_MIGRATE_PAUSED;

        if (n_copy > 0)
                flags |= VIRT_MIGRATE_COPY_DISKS |
                         (o->synchronous_writes ? (unsigned)VIRT_MIGRATE_SYNCHRONOUS_WRITES : 0U);
        if (o->postcopy)
                flags |= VIRT_MIGRATE_POSTCOPY;
        if (o->auto_converge)
                flags |= VIRT_MIGRATE_AUTO_CONVERGE;
        if (o->compression != MIGRATION_COMPRESSION_NONE)
                flags |= VIRT_MIGRATE_COMPRESS;
        if (o->abort_on_error)
                flags |= VIRT_MIGRATE_ABORT_ON_ERROR;
        if (strncmp(o->transport, "libvirt+tls:", strlen("libvirt+tls:")) == 0)
                flags |= VIRT_MIGRATE_TLS; /* memory and disks as well as what libvirt says */
        return flags |
               VIRT_MIGRATE_UNSAFE; /* which disks are the same there, we know and it does not */
}

/* Before anything moves: a guest that could not be fenced must not be handed over. */
static int open_fence(Migrate *m, Error *reterr) {
        const VmSpec *spec = vm_spec(m->shim->vm);
        pid_t pid;
        int r;

        /* An adoption may have left one, and the pod been stopped and started again since then. */
        if (m->fence && fence_is_dead(m->fence))
                m->fence = fence_free(m->fence);
        if (m->fence)
                return 0;
        r = virt_qemu_pid(spec->domain_name, spec->uuid, &pid, reterr);
        if (r == 0)
                r = fence_open(m->shim->event, pid, spec->uuid, NULL, NULL, &m->fence, reterr);
        if (r == 0) {
                m->qemu_pid = pid;
                r = migrate_keep_session(m, reterr);
        }
        return r < 0 ? error_prefix(reterr, r, "the source's QEMU could not be fenced later") : 0;
}

static void on_migrated(void *userdata, int r, const void *result, const Error *err) {
        const VirtJob *job = result;
        Relay *relay = userdata;

        if (r == 0 && job && job->kind != VIRT_JOB_NONE && !relay->migrate->ferry) {
                relay->migrate->memory_bytes = job->memory_processed;
                relay->migrate->disk_bytes = job->disk_processed;
        }
        relay_done(relay, r, NULL, err);
}

static int start_libvirt(Migrate *m, Relay *relay, Error *reterr) {
        const MigrationOptions *o = &m->options;
        Slots slots = { .migrate = m };
        Addresses a = {};
        char direct[MIGRATION_URI_MAX + 16];
        VirtMigrate v;
        int r;

        (void)scsi_each_disk(vm_scsi(m->shim->vm), add_slot, &slots);
        v = (VirtMigrate){ .dest_xml = m->dest_xml,
                           .copy_slots = slots.slots,
                           .n_copy_slots = slots.n,
                           .flags = flags_of(o, slots.n),
                           .bandwidth_mib = migrate_mib_of(o->bandwidth),
                           .bandwidth_postcopy_mib = migrate_mib_of(o->bandwidth_postcopy),
                           .max_downtime_ms = migration_downtime_allowed(m->migration),
                           .compression_cache = o->compression_cache,
                           .throttle_initial = o->auto_converge_initial,
                           .throttle_increment = o->auto_converge_increment,
                           .parallel_connections = o->connections };
        m->pace = (MigratePace){};
        if (o->transport[0]) {
                r = migration_options_libvirt_uri(o, direct, sizeof(direct), reterr);
                if (r < 0)
                        return r;
                v.dest_uri = direct;
                v.migrate_uri = o->migrate_uri[0] ? o->migrate_uri : NULL;
        } else {
                r = listen_for_libvirt(m, &a, reterr);
                if (r == 0)
                        r = migrate_pace_begin(m, slots.n, reterr);
                if (r < 0)
                        return r;
                if (m->pace.disks)
                        v.bandwidth_mib = 0;
                v.dest_uri = a.libvirt;
                v.migrate_uri = a.memory;
                v.disks_uri = slots.n > 0 ? a.disk : NULL;
        }
        return virt_migrate(m->shim->virt, &v, on_migrated, relay, reterr);
}

/* A guest that stands already has no blackout by which it could be handed over, and would run over
 * there. */
static void on_source_state(void *userdata, int r, const void *result, const Error *err) {
        const VirtDomain *d = result;
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0 && relay->migrate->aborted)
                r = error_setf(&e, -ECANCELED, "cancelled");
        else if (r == 0 && d->state == VIRT_PAUSED)
                r = error_setf(&e, -EBADFD, "the pod's domain is paused: resume it first");
        if (r == 0)
                r = start_libvirt(relay->migrate, relay, &e);
        if (r <= 0)
                relay_done(relay, r, NULL, e.code < 0 ? &e : err);
}

static void on_storage_verified(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Migrate *m = relay->migrate;
        Error e = ERROR_INIT;

        if (r == 0 && m->aborted) {
                r = error_setf(&e, -ECANCELED, "cancelled");
                err = &e;
        }
        if (r == 0) {
                r = virt_query(m->shim->virt, on_source_state, relay, &e);
                if (r > 0)
                        return;
                err = &e;
        }
        relay_done(relay, r, NULL, err);
}

int migrate_op_migrate(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Relay *relay;
        int r;

        if (!m->dest_xml)
                return error_setf(reterr, -EINVAL,
                                  "Transfer at the source needs the ticket that Prepare returned");
        r = open_fence(m, reterr);
        if (r < 0)
                return r;
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        m->aborted = false;
        atomic_store(&m->storage_stop, false);
        r = migrate_storage_verify(m, on_storage_verified, relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}

/* libvirt's protocol ends in a window in which neither side knows of the other: the source kills
 * its guest as soon as the destination's libvirt says that it has it, whether the shim there can go
 * on or not. All that they say goes through our hands, so that answer is kept back from the
 * blackout on. Once the guest is fenced it may come; if it was decided otherwise the connection is
 * cut, and libvirt takes the guest for its own. */
void migrate_hold_libvirt(Migrate *m) {
        if (m->ferry && !m->options.postcopy && !m->holding)
                m->holding = ferry_hold(m->ferry, FERRY_LIBVIRT, true, NULL) == 0;
}

void migrate_let_libvirt_go(Migrate *m) {
        if (m->ferry && m->holding)
                (void)ferry_hold(m->ferry, FERRY_LIBVIRT, false, NULL);
        m->holding = false;
}

/* An abort has to reach QEMU, whose main loop waits for answers to what it has written to the disks
 * over there, and libvirt, which waits for the libvirt there: with the transport gone neither would
 * ever come. So all of them see their peers go, and find nobody if they try again.
 *
 * QEMU goes first, and libvirt only once QEMU has closed its stream, when its part is over, which
 * way ever. libvirt answers an abort, and the loss of its peer, with migrate_cancel; and a QEMU
 * (7.2 for one) that hears it while it gives its disks away lets the guest go on without having
 * taken all of them back: the guest's next write, or the next migration, ends it with an assertion.
 * A stream that breaks does no harm. */
#define ABORT_PATIENCE_USEC (5 * 1000000ULL) /* a QEMU that writes nothing notices nothing */

static void on_aborted(void *userdata, int r, const void *result, const Error *err) {
        relay_done(userdata, r, NULL, err);
}

void migrate_abort_libvirt(Migrate *m) {
        Relay *relay = TAKE(m->abort);
        Error e = ERROR_INIT;
        int r;

        m->abort_timer = sd_event_source_disable_unref(m->abort_timer);
        if (!relay)
                return;
        if (m->ferry)
                (void)ferry_refuse(m->ferry, FERRY_LIBVIRT, NULL);
        m->holding = false;
        r = virt_abort_job(m->shim->virt, on_aborted, relay, &e);
        if (r <= 0)
                on_aborted(relay, r, NULL, &e);
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata) {
        log_warning("migration: QEMU keeps its connection: libvirt is told to abort all the same");
        migrate_abort_libvirt(userdata);
        return 0;
}

int migrate_op_migrate_abort(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;

        m->aborted = true;
        atomic_store(&m->storage_stop, true);
        migrate_let_source_go(m);
        m->abort = relay_new(m, done, job);
        if (!m->abort)
                return error_oom(reterr);
        if (!m->ferry || ferry_refuse(m->ferry, FERRY_DISK, NULL) < 0 ||
            ferry_deafen(m->ferry, FERRY_MEMORY, NULL) < 0 ||
            sd_event_add_time_relative(m->shim->event, &m->abort_timer, CLOCK_MONOTONIC,
                                       ABORT_PATIENCE_USEC, 0, on_patience, m) < 0)
                migrate_abort_libvirt(m);
        return 1;
}

/* The fence: has the guest stood still since the blackout, and if so, never again. As one act: QEMU
 * is stopped whole; its vCPUs have not run since the mark; libvirt, asked now, has not let it run
 * either (it answers from its memory); killed. Whatever libvirt may want from QEMU in between comes
 * too late. */
static void fence_end(Relay *relay, int r, const Error *err) {
        Migrate *m = relay->migrate;

        if (r == 0)
                migrate_let_libvirt_go(m);
        else if (!m->held)
                fence_continue(m->fence);
        relay_done(relay, r, NULL, err);
}

static void on_fenced(void *userdata, int r, const void *result, const Error *err) {
        fence_end(userdata, r, err);
}

static void on_fence_state(void *userdata, int r, const void *result, const Error *err) {
        const VirtDomain *d = result;
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0 && (d->state == VIRT_RUNNING || d->state == VIRT_SHUTTING_DOWN)) {
                r = error_setf(&e, -EALREADY, "the source domain runs again");
                err = &e;
        }
        if (r == 0) {
                r = fence_kill(relay->migrate->fence, on_fenced, relay, &e);
                if (r > 0)
                        return;
                err = &e;
        }
        fence_end(relay, r, err);
}

static void on_fence_stopped(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = virt_query(relay->migrate->shim->virt, on_fence_state, relay, &e);
                if (r >= 0)
                        return;
                err = &e;
        }
        fence_end(relay, r, err);
}

/* The guest has stopped for the migration. */
void migrate_mark_fence(Migrate *m) {
        Error e = ERROR_INIT;

        if (m->fence && fence_mark(m->fence, &e) < 0)
                log_warning("migration: the fence will go by libvirt's word alone: %s", e.text);
}

static int stop_and_fence(Relay *relay, Error *reterr) {
        Migrate *m = relay->migrate;
        int r = fence_stop(m->fence, on_fence_stopped, relay, reterr);

        if (r == 0) {
                r = virt_query(m->shim->virt, on_fence_state, relay, reterr);
                if (r < 0)
                        fence_continue(m->fence);
        }
        return r;
}

/* A QEMU that stands answers nobody, and a question of ours that it has not answered would keep
 * libvirt's answers to all that we ask after it. The last one about statistics was put before the
 * blackout. */
static void fence_that_waits(Migrate *m) {
        Relay *relay = TAKE(m->fence_waits);
        Error e = ERROR_INIT;
        int r;

        if (!relay)
                return;
        r = stop_and_fence(relay, &e);
        if (r < 0)
                relay_done(relay, r, NULL, &e);
}

int migrate_op_fence(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Relay *relay;
        int r;

        if (!m->fence && m->adopted) {
                r = migrate_own_fence(m, reterr);
                if (r < 0 || !m->fence)
                        return r;
        }
        if (!m->fence)
                return error_setf(reterr, -EIO,
                                  "the source's QEMU was never found: it cannot be fenced");
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        if (m->held) { /* it has stood since before anything could run at the other side */
                r = fence_kill(m->fence, on_fenced, relay, reterr);
                if (r == 0)
                        migrate_let_libvirt_go(m);
                if (r <= 0)
                        free(relay);
                return r;
        }
        if (m->statistics_in_flight) {
                m->fence_waits = relay;
                return 1;
        }
        r = stop_and_fence(relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}

/* What is told to libvirt here, libvirt tells QEMU: as with statistics, nobody stops QEMU before.
 */
static void on_tuned(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Migrate *m = relay->migrate;

        m->tunes--;
        relay_done(relay, r, NULL, err);
        migrate_stop_source(m);
}

static int tell_virt(Migrate *m, MigrationCall what, uint64_t value, Relay *relay, Error *reterr) {
        Virt *v = m->shim->virt;

        if (what == MIGRATION_CALL_SET_BANDWIDTH)
                return migrate_pace_set(m, value, on_tuned, relay, reterr);
        if (what == MIGRATION_CALL_SET_MAX_DOWNTIME)
                return virt_set_max_downtime(v, value, on_tuned, relay, reterr);
        if (what == MIGRATION_CALL_SWITCH_TO_POSTCOPY)
                return virt_start_postcopy(v, on_tuned, relay, reterr);
        return error_setf(reterr, -EOPNOTSUPP, "%s is not supported", migration_call_name(what));
}

int migrate_op_tune(void *u, MigrationCall what, uint64_t value, OpDone done, void *job,
                    Error *reterr) {
        Migrate *m = u;
        Relay *relay = relay_new(m, done, job);
        int r;

        if (!relay)
                return error_oom(reterr);
        if (m->gate_waits || m->stopping || m->held) { /* QEMU answers nobody any more */
                free(relay);
                return error_setf(reterr, -EBADFD, "too late: the pod is being handed over");
        }
        m->tunes++;
        r = tell_virt(m, what, value, relay, reterr);
        if (r <= 0) {
                m->tunes--;
                free(relay);
        }
        return r;
}

void migrate_op_let_go(void *u) {
        Migrate *m = u;
        Error e = ERROR_INIT;
        int r = migrate_flow_memory(m, &e);

        if (r < 0)
                migration_on_host_failed(m->migration, "cutover", r, &e);
}

/* Statistics: libvirt has no event for them, so while memory moves it is asked four times a second.
 */
static void on_statistics(void *userdata, int r, const void *result, const Error *err) {
        const VirtJob *job = result;
        Migrate *m = userdata;
        MigrationStatistics st;

        m->statistics_in_flight = false;
        migrate_stop_source(m);
        fence_that_waits(m);
        if (r < 0 || job->kind != VIRT_JOB_ACTIVE || !m->statistics)
                return;
        st = (MigrationStatistics){
                .memory = { job->memory_total, job->memory_processed, job->memory_remaining },
                .disks = { job->disk_total, job->disk_processed, job->disk_remaining },
                .memory_bps = job->memory_bps,
                .disk_bps = job->disk_bps,
                .dirty_bps = job->dirty_pages_per_s * job->page_size,
                .iteration = (uint32_t)job->iteration,
                .throttle = job->throttle,
                .compressed_bytes = job->compressed_bytes,
                .compressed_pages = job->compressed_pages,
                .expected_downtime_us = job->has_downtime ? job->downtime_ms * 1000U : 0,
        };
        migration_on_statistics(m->migration, &st, NULL, 0);
}

static void ask_statistics(Migrate *m) {
        if (!m->statistics_in_flight && virt_job(m->shim->virt, on_statistics, m, NULL) == 1)
                m->statistics_in_flight = true;
}

/* What is left at its beginning is what tells whether the transfer converges. */
void migrate_on_iteration(Migrate *m, unsigned n) {
        migration_on_iteration(m->migration, n);
        if (m->statistics)
                ask_statistics(m);
}

static int on_statistics_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Migrate *m = userdata;

        ask_statistics(m);
        (void)sd_event_source_set_time(source, usec + STATISTICS_USEC);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

void migrate_poll_statistics(Migrate *m, bool on) {
        if (!on) {
                m->statistics = sd_event_source_disable_unref(m->statistics);
                return;
        }
        if (!m->statistics &&
            sd_event_add_time_relative(m->shim->event, &m->statistics, CLOCK_MONOTONIC,
                                       STATISTICS_USEC, 0, on_statistics_timer, m) < 0)
                log_warning("migration: no timer, so no progress will be shown");
}
