/* SPDX-License-Identifier: Apache-2.0 */
/* MigrationOps of the destination, and those that either side has. */
#include <string.h>
#include <sys/stat.h>

#include "hostdev/image/disk.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/migrate/migrate-options.h"
#include "shim/wiring/ops.h"

#define LAST_WORDS_USEC (2U * 1000U * 1000U)

Relay *relay_new(Migrate *m, OpDone done, void *job) {
        Relay *r = calloc(1, sizeof(*r));

        if (r)
                *r = (Relay){ .migrate = m, .done = done, .job = job };
        return r;
}

void relay_done(Relay *r, int code, const void *result, const Error *err) {
        Relay copy = *r;

        free(r);
        copy.done(copy.job, code, result, err);
}

/* Disks that the transfer fills. */
typedef struct EachCopied {
        Migrate *migrate;
        int (*act)(Migrate *m, const ScsiDiskConfig *disk, Error *reterr);
        Error *reterr;
} EachCopied;

static int on_disk(void *userdata, const ScsiDiskInfo *info) {
        EachCopied *e = userdata;

        return migrate_copies(e->migrate, &info->config)
                       ? e->act(e->migrate, &info->config, e->reterr)
                       : 0;
}

static int each_copied(Migrate *m, int (*act)(Migrate *, const ScsiDiskConfig *, Error *),
                       Error *reterr) {
        EachCopied e = { .migrate = m, .act = act, .reterr = reterr };

        return m->shim->vm ? scsi_each_disk(vm_scsi(m->shim->vm), on_disk, &e) : 0;
}

static int commit_disk(Migrate *m, const ScsiDiskConfig *disk, Error *reterr) {
        return disk_commit(disk->host_path, reterr);
}

int migrate_commit_disks(Migrate *m, Error *reterr) {
        int r = each_copied(m, commit_disk, reterr);

        if (r == 0)
                migrate_filling_end(m->shim, false);
        return r;
}

static int discard_disk(Migrate *m, const ScsiDiskConfig *disk, Error *reterr) {
        Error err = ERROR_INIT;
        int r = disk_discard(disk->host_path, m->shim->pod_id, &err);

        if (r < 0)
                log_warning("migration: %s", error_text(&err, r));
        return 0; /* the others as well */
}

void migrate_discard_disks(Migrate *m) {
        (void)each_copied(m, discard_disk, NULL);
}

static int make_ticket(Migrate *m, Error *reterr) {
        _cleanup_free_ char *xml = NULL;
        json_object *o;
        int r;

        r = shim_domain_xml(m->shim, true, &xml, reterr);
        if (r < 0)
                return r;
        o = json_object_new_object();
        if (!o)
                return error_oom(reterr);
        (void)json_object_object_add(o, "dir", json_object_new_string(m->dir));
        (void)json_object_object_add(o, "dest_xml", json_object_new_string(xml));
        (void)json_object_object_add(o, "storage", migrate_storage_answer(m));
        (void)json_object_object_add(o, "options", migrate_options_json(&m->options));
        free(m->ticket);
        m->ticket = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return m->ticket ? 0 : error_oom(reterr);
}

static void undo_prepare(Migrate *m) {
        migrate_discard_disks(m);
        migrate_storage_forget(m);
        migrate_remove_dir(m);
}

static void on_prepared(void *userdata, int r, const void *result, const Error *err) {
        const VirtDomain *d = result;
        Relay *relay = userdata;
        Migrate *m = relay->migrate;
        Error e = ERROR_INIT;

        if (r == 0 && d->state != VIRT_NONE) {
                r = error_setf(&e, -EEXIST, "libvirt of this host has a domain %s already",
                               vm_spec(m->shim->vm)->domain_name);
                err = &e;
        }
        if (r < 0)
                undo_prepare(m);
        relay_done(relay, r, NULL, err);
}

static void on_disks_ready(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Migrate *m = relay->migrate;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = make_ticket(m, &e);
                if (r == 0)
                        r = virt_query(m->shim->virt, on_prepared, relay, &e); /* connects too */
                if (r >= 0)
                        return;
                err = &e;
        }
        undo_prepare(m);
        relay_done(relay, r, NULL, err);
}

int migrate_patch_vm(Migrate *m, Error *reterr) {
        _cleanup_free_ char *kernel = NULL, *initrd = NULL;
        Shim *s = m->shim;
        const VmSpec *spec = vm_spec(s->vm);
        VmPatch patch;

        if (asprintf(&kernel, "%s/vmlinux", s->config.guest_dir) < 0 ||
            asprintf(&initrd, "%s/initrd", s->config.guest_dir) < 0)
                return error_oom(reterr);
        patch = (VmPatch){ .kernel_path = kernel,
                           .initrd_path = initrd,
                           .link_path = s->link_path,
                           .console_path = spec->console_path[0] ? s->console_path : "" };
        return vm_patch(s->vm, &patch, reterr);
}

/* The rest of Prepare, after the network's part. */
static int prepare_host(Relay *relay, Error *reterr) {
        Migrate *m = relay->migrate;
        Shim *s = m->shim;
        Virt *virt;
        int r;

        if ((r = migrate_make_dir(m, reterr)) < 0 || (r = shim_virt(s, &virt, reterr)) < 0 ||
            (r = virt_set_domain(virt, vm_spec(s->vm)->domain_name, vm_spec(s->vm)->uuid, reterr)) <
                    0)
                return r;
        r = migrate_storage_prepare(m, m->offer ?: "", on_disks_ready, relay, reterr);
        if (r < 0)
                undo_prepare(m);
        return r;
}

static void on_network(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = prepare_host(relay, &e);
                if (r > 0)
                        return;
                err = &e;
        }
        relay_done(relay, r, NULL, err);
}

int migrate_op_prepare(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Relay *relay;
        int r;

        r = migrate_patch_vm(m, reterr);
        if (r < 0)
                return r;
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        r = migrate_prepare_network(m, on_network, relay, reterr);
        if (r == 0)
                r = prepare_host(relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}

static int remove_source_disk(Migrate *m, const ScsiDiskConfig *disk, Error *reterr) {
        struct stat st;

        if (stat(disk->host_path, &st) == 0 && S_ISBLK(st.st_mode))
                return 0; /* a device is not a file of ours */
        if (unlink(disk->host_path) < 0 && errno != ENOENT)
                log_warning("migration: %s could not be removed: %m", disk->host_path);
        return 0;
}

/* Scratch disks are ours to remove; a volume is the user's, and stays where it was copied from
 * unless he wants it gone. */
static int remove_source_scratch(Migrate *m, const ScsiDiskConfig *disk, Error *reterr) {
        return disk->kind == SCSI_DISK_SCRATCH ? remove_source_disk(m, disk, reterr) : 0;
}

static void end_transport(Migrate *m) {
        migrate_ferry_stop(m);
        migrate_remove_dir(m);
        migrate_forget_network(m);
}

void migrate_said_all(Migrate *m) {
        Relay *relay = TAKE(m->last_words);

        m->last_words_timer = sd_event_source_disable_unref(m->last_words_timer);
        if (!relay)
                return;
        end_transport(m);
        relay_done(relay, 0, NULL, NULL);
}

static int on_last_words_late(sd_event_source *source, uint64_t usec, void *userdata) {
        migrate_said_all(userdata);
        return 0;
}

/* The destination of a post-copy waits until it hears that the source has ended its half. 1: the
 * transport is there until it has; 0: there is none, or nothing to say. */
static int say_all(Migrate *m, OpDone done, void *job) {
        FerryCounters c = {};

        if (m->ferry)
                ferry_counters(m->ferry, &c);
        if (!c.up || !(m->last_words = relay_new(m, done, job)))
                return 0;
        if (sd_event_add_time_relative(m->shim->event, &m->last_words_timer, CLOCK_MONOTONIC,
                                       LAST_WORDS_USEC, 0, on_last_words_late, m) < 0) {
                free(TAKE(m->last_words));
                return 0;
        }
        ferry_finish(m->ferry);
        return 1;
}

int migrate_op_cleanup(void *u, MigrationRole role, MigrationOutcome outcome,
                       const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        bool moved = outcome == MIGRATION_OUTCOME_MOVED;
        Migrate *m = u;

        if (role == MIGRATION_DESTINATION && !moved) {
                migrate_discard_disks(m);
                guest_link_close(m->shim->link);
        } else if (role == MIGRATION_SOURCE && moved) {
                if (!o->keep_source_disks)
                        (void)each_copied(m,
                                          o->remove_source_volumes ? remove_source_disk
                                                                   : remove_source_scratch,
                                          NULL);
                if (m->shim->vm && vm_imported_link(m->shim->vm)) {
                        network_stay_cut(pod_network(m->shim->pod));
                        (void)migrate_op_abort_tree(m, "the other host has the pod", NULL);
                }
        } else if (role == MIGRATION_SOURCE && outcome == MIGRATION_OUTCOME_LOST) {
                migrate_own_report_lost(m);
        }
        migrate_storage_forget(m);
        if (role == MIGRATION_SOURCE && moved && o->postcopy && say_all(m, done, job) > 0)
                return 1;
        end_transport(m);
        return 0;
}

/* The socket of this host's libvirtd: as the configured URI says, else the usual one. */
static void libvirt_socket(const Migrate *m, char *path, size_t n) {
        const char *at = strstr(m->shim->config.libvirt_uri, "socket=");

        if (at) {
                at += strlen("socket=");
                (void)snprintf(path, n, "%.*s", (int)strcspn(at, "&"), at);
        } else {
                (void)snprintf(path, n, "/run/libvirt/libvirt-sock");
        }
}

/* Where the connections that the source makes come out. */
int migrate_take_connections(Migrate *m, Error *reterr) {
        char path[256];
        Ferry *ferry;
        int r;

        if (m->options.transport[0] || !m->dir)
                return 0;
        r = migrate_ferry(m, &ferry, reterr);
        if (r < 0)
                return r;
        libvirt_socket(m, path, sizeof(path));
        r = ferry_rule(ferry, FERRY_LIBVIRT, path, reterr);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "%s/memory.sock", m->dir);
        r = ferry_rule(ferry, FERRY_MEMORY, path, reterr);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "%s/disk.sock", m->dir);
        return ferry_rule(ferry, FERRY_DISK, path, reterr);
}

int migrate_op_receive(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        return migrate_take_connections(u, reterr);
}

/* A guest runs on complete disks only: the marks go first, and are gone for good. While libvirt
 * lets it run, the tree comes to life and the link says HELLO: the guest finds it when it wakes,
 * and its output goes on one round trip earlier. What fails of that is tried again, and told, when
 * the guest runs. */
int migrate_op_resume_domain(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Error e = ERROR_INIT;
        int r, k;

        if (migration_role(m->migration) != MIGRATION_DESTINATION) {
                migrate_let_source_go(m);
                return virt_resume(m->shim->virt, done, job, reterr);
        }
        r = migrate_commit_disks(m, reterr);
        if (r == 0)
                r = migrate_resume_with_network(m, done, job, reterr);
        if (r == 1 && !m->adopted) {
                k = migrate_resume_destination(m, &e);
                if (k < 0)
                        log_info("migration: before the guest runs: %s", error_text(&e, k));
        }
        return r;
}

int migrate_op_destroy_domain(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;

        return m->shim->virt ? virt_destroy(m->shim->virt, done, job, reterr) : 0;
}

static void on_unwanted_destroyed(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_warning("migration: the incoming guest: %s", error_text(err, r));
}

/* libvirt had been asked to receive before the session was called off, and has only now begun. */
static void refuse_incoming(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        log_info("migration: a guest comes in that was called off");
        r = virt_destroy(m->shim->virt, on_unwanted_destroyed, m, &e);
        if (r < 0)
                log_warning("migration: the incoming guest: %s", error_text(&e, r));
}

void migrate_on_incoming(Migrate *m, const char *reason) {
        Error e = ERROR_INIT;
        int r;

        if (!m->shim->vm) {
                refuse_incoming(m);
                return;
        }
        r = guest_link_open(m->shim->link, vm_spec(m->shim->vm)->link_path, true, &e);
        if (r < 0)
                log_warning("migration: guest link: %s", error_text(&e, r));
        migration_on_domain(m->migration, MIGRATION_DOMAIN_INCOMING, reason);
        migrate_join_network(m);
}

MigrationDomainState migrate_domain_state(const VirtDomain *d, MigrationRole role) {
        switch (d->state) {
        case VIRT_NONE:
                return MIGRATION_AT_NONE;
        case VIRT_RUNNING:
        case VIRT_SHUTTING_DOWN:
                /* Here it runs, whatever of it is still at the source. */
                return d->reason == VIRT_REASON_POSTCOPY && role == MIGRATION_SOURCE
                               ? MIGRATION_AT_POSTCOPY
                               : MIGRATION_AT_RUNNING;
        case VIRT_PAUSED:
                if (d->reason == VIRT_REASON_POSTCOPY)
                        return MIGRATION_AT_POSTCOPY;
                if (d->reason == VIRT_REASON_POSTCOPY_FAILED)
                        return MIGRATION_AT_POSTCOPY_BROKEN;
                /* libvirt says "paused, migration" of an incoming domain until it is complete. */
                if (role == MIGRATION_DESTINATION &&
                    (d->reason == VIRT_REASON_STARTING || d->reason == VIRT_REASON_MIGRATION))
                        return MIGRATION_AT_INCOMING;
                return MIGRATION_AT_PAUSED;
        case VIRT_SHUTOFF:
                return d->reason == VIRT_REASON_MIGRATED ? MIGRATION_AT_MIGRATED
                                                         : MIGRATION_AT_DEAD;
        case VIRT_CRASHED:
                return MIGRATION_AT_DEAD;
        case _VIRT_STATE_MAX:
                break;
        }
        return MIGRATION_AT_UNKNOWN;
}

/* No byte of memory since the first look of those that found no other number, for as long as a
 * transfer may stand. */
static bool is_silent(Migrate *m) {
        uint64_t bytes, now = clock_ms();
        FerryCounters c;

        if (!m->ferry || m->options.progress_timeout_ms == 0)
                return false;
        ferry_counters(m->ferry, &c);
        bytes = c.kind[FERRY_MEMORY].received;
        if (m->silent_since_ms == 0 || bytes != m->silent_bytes) {
                m->silent_bytes = bytes;
                m->silent_since_ms = now;
        }
        return now - m->silent_since_ms >= m->options.progress_timeout_ms;
}

static MigrationMemory memory_of(Migrate *m, const VirtDomain *d) {
        if (migration_role(m->migration) == MIGRATION_SOURCE)
                return MIGRATION_MEMORY_ALL;
        if (d->reason == VIRT_REASON_POSTCOPY && is_silent(m))
                return MIGRATION_MEMORY_SILENT;
        return d->reason == VIRT_REASON_POSTCOPY          ? MIGRATION_MEMORY_COMING
               : d->reason == VIRT_REASON_POSTCOPY_FAILED ? MIGRATION_MEMORY_TORN
                                                          : MIGRATION_MEMORY_ALL;
}

/* No domain has no job. */
static void on_domain_job(void *userdata, int r, const void *result, const Error *err) {
        const VirtJob *job = result;
        Relay *relay = userdata;
        MigrationDomain d = relay->domain;

        if (r < 0 && r != -ENOENT && r != -EBADFD) {
                relay_done(relay, r, NULL, err);
                return;
        }
        d.job_active = r == 0 && job->kind == VIRT_JOB_ACTIVE;
        relay_done(relay, 0, &d, NULL);
}

/* libvirt's call is known to this process as long as it is the one that made it; after a start in
 * the middle of a session only libvirt knows. */
static void on_domain(void *userdata, int r, const void *result, const Error *err) {
        const VirtDomain *vd = result;
        Relay *relay = userdata;
        Migrate *m = relay->migrate;
        MigrationDomain d = {};
        Error e = ERROR_INIT;

        if (r < 0) {
                relay_done(relay, r, NULL, err);
                return;
        }
        d.state = migrate_domain_state(result, migration_role(m->migration));
        d.memory = memory_of(m, vd);
        d.by_user = migration_role(m->migration) == MIGRATION_SOURCE && vd->state == VIRT_PAUSED &&
                    vd->reason == VIRT_REASON_USER;
        if (m->adopted && m->adopted_at == JOURNAL_PREPARED && d.state == MIGRATION_AT_PAUSED &&
            migrate_journal_last(m)->mode == MIGRATION_HANDOVER_FAST &&
            (r = migrate_find_held(m, &e)) < 0) {
                relay_done(relay, r, NULL, &e);
                return;
        }
        d.held = m->held && d.state == MIGRATION_AT_PAUSED;
        if (d.held) { /* it answers no question about a job; nor is the job over */
                d.job_active = true;
                relay_done(relay, 0, &d, NULL);
                return;
        }
        /* A QEMU that the shim before had stopped to kill it answers no question about a job. */
        if (!m->adopted || (m->adopted_at == JOURNAL_FENCING && d.state != MIGRATION_AT_RUNNING)) {
                relay_done(relay, 0, &d, NULL);
                return;
        }
        if (m->adopted_at == JOURNAL_FENCING && migrate_own_fence(m, &e) == 0 && m->fence)
                fence_continue(m->fence);
        relay->domain = d;
        r = virt_job(m->shim->virt, on_domain_job, relay, &e);
        if (r < 0)
                relay_done(relay, r, NULL, &e);
}

int migrate_op_domain(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Relay *relay = relay_new(m, done, job);
        Virt *virt;
        int r;

        if (!relay)
                return error_oom(reterr);
        r = shim_virt(m->shim, &virt, reterr);
        if (r == 0)
                r = virt_query(virt, on_domain, relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}
