/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/migrate/migrate.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "shim/dbus/migration-face.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/wiring/ops.h"

static uint64_t op_now_ns(void *u) {
        return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t op_clock_ns(void *u) {
        return clock_ns(CLOCK_REALTIME);
}

/* Journal: opened when there is one, made with the first record: a pod that never moves has none.
 */
static int open_journal(Migrate *m, bool make, Error *reterr) {
        _cleanup_free_ char *path = NULL;

        if (m->journal)
                return 0;
        if (asprintf(&path, "%s/journal", m->shim->state_path) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        if (!make && access(path, F_OK) < 0)
                return 0;
        return journal_open(path, &m->journal, reterr);
}

static int op_journal(void *u, const JournalRecord *r, Error *reterr) {
        Migrate *m = u;
        int k;

        k = open_journal(m, true, reterr);
        return k < 0 ? k : journal_append(m->journal, r, reterr);
}

/* What the world is told */

static void op_notify(void *u, const MigrationNotification *n) {
        Migrate *m = u;

        log_fields(n->result == MIGRATION_WARNING ? LOG_WARNING : LOG_INFO,
                   (LogField[]){ { "SESSION", n->session },
                                 { "PHASE", migration_phase_name(n->phase) },
                                 { "RESULT", migration_result_name(n->result) } },
                   3, "migration: %s %s%s%s", migration_phase_name(n->phase),
                   migration_result_name(n->result), n->details[0] ? ": " : "", n->details);
        migration_face_notify(m->shim, n);
}

/* What really crossed: libvirt counts a sparse disk by its size. */
static void count_bytes(Migrate *m) {
        FerryCounters c;

        if (!m->ferry)
                return;
        ferry_counters(m->ferry, &c);
        m->memory_bytes = MAX_OF(c.kind[FERRY_MEMORY].sent, c.kind[FERRY_MEMORY].received);
        m->disk_bytes = MAX_OF(c.kind[FERRY_DISK].sent, c.kind[FERRY_DISK].received);
}

static void op_changed(void *u) {
        Migrate *m = u;

        count_bytes(m);
        migrate_poll_statistics(m,
                                migration_in_postcopy(m->migration) ||
                                        (migration_role(m->migration) == MIGRATION_SOURCE &&
                                         migration_state(m->migration) == MIGRATION_TRANSFERRING));
        migration_face_changed(m->shim);
        if (migration_state(m->migration) == MIGRATION_IDLE) {
                migrate_ferry_stop(m);
                migrate_remove_dir(m);
                migrate_logs_end(m);
                m->fence = fence_free(m->fence);
                m->holding = m->gate_waits = m->stopping = m->held = false;
                m->adopted = false;
                buf_done(&m->own_handoff);
                if (m->imported[0].len == 0)
                        migrate_forget_kept(m);
        } else if (m->adopted) {
                migrate_end_alone(m);
        }
        migrate_driver_changed(m);
        shim_stops_look(m->shim);
}

/* Preflight */

static void on_facts(void *userdata, int r, const void *result, const Error *err) {
        const VirtFacts *f = result;
        Relay *relay = userdata;
        Migrate *m = relay->migrate;

        if (r == 0) {
                MigrationFacts *to = &m->facts;

                (void)snprintf(to->host_uuid, sizeof(to->host_uuid), "%s", f->host_uuid);
                (void)gethostname(to->hostname, sizeof(to->hostname) - 1);
                (void)snprintf(to->version, sizeof(to->version), "%s", PODFERRY_VERSION);
                (void)snprintf(to->hypervisor, sizeof(to->hypervisor),
                               "QEMU %u.%u.%u, libvirt %u.%u.%u",
                               (unsigned)(f->hypervisor_version / 1000000),
                               (unsigned)(f->hypervisor_version / 1000 % 1000),
                               (unsigned)(f->hypervisor_version % 1000),
                               (unsigned)(f->libvirt_version / 1000000),
                               (unsigned)(f->libvirt_version / 1000 % 1000),
                               (unsigned)(f->libvirt_version % 1000));
                (void)snprintf(to->arch, sizeof(to->arch), "%s", f->arch);
                (void)snprintf(to->machine, sizeof(to->machine), "%s", f->machine);
                (void)snprintf(to->cpu_xml, sizeof(to->cpu_xml), "%s", f->cpu_xml ?: "");
                m->has_kvm = f->has_kvm;
                m->qemu_gid = f->qemu_gid;
                m->qemu_version = f->hypervisor_version;
                m->libvirt_version = f->libvirt_version;
                m->facts_known = true;
        }
        relay_done(relay, r, NULL, err);
}

int migrate_learn_facts(Migrate *m, OpDone done, void *job, Error *reterr) {
        Relay *relay;
        Virt *virt;
        int r;

        if (m->facts_known)
                return 0;
        r = shim_virt(m->shim, &virt, reterr);
        if (r < 0)
                return r;
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        r = virt_facts(virt, DOMAIN_QEMU, on_facts, relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}

uint64_t migrate_available_mib(void) {
        unsigned long long kib = 0;
        char line[128];
        FILE *f = fopen("/proc/meminfo", "re");

        if (!f)
                return 0;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
                        break;
        (void)fclose(f);
        return kib / 1024;
}

int migrate_op_facts(void *u, MigrationFacts *ret, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;

        *ret = m->facts;
        if (s->vm) {
                const VmSpec *spec = vm_spec(s->vm);

                ret->memory_mib = spec->memory_mib;
                (void)snprintf(ret->machine, sizeof(ret->machine), "%s", spec->machine);
                (void)snprintf(ret->domain_type, sizeof(ret->domain_type), "%s",
                               spec->domain_type == VM_DOMAIN_KVM ? "kvm" : "qemu");
        } else {
                ret->memory_mib = migrate_available_mib();
        }
        return 0;
}

static int op_suspend_domain(void *u, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;

        return virt_suspend(m->shim->virt, done, job, reterr);
}

const MigrationOps migrate_ops = {
        .freeze = migrate_op_freeze,
        .thaw = migrate_op_thaw,
        .save = migrate_op_save,
        .import = migrate_op_import,
        .patch = migrate_op_patch,
        .unpatched = migrate_op_unpatched,
        .resume_tree = migrate_op_resume_tree,
        .moved = migrate_op_moved,
        .abort_tree = migrate_op_abort_tree,
        .transfer_begins = migrate_op_transfer_begins,
        .transfer_ends = migrate_op_transfer_ends,
        .facts = migrate_op_facts,
        .prepare = migrate_op_prepare,
        .cleanup = migrate_op_cleanup,
        .migrate = migrate_op_migrate,
        .migrate_abort = migrate_op_migrate_abort,
        .receive = migrate_op_receive,
        .domain = migrate_op_domain,
        .fence = migrate_op_fence,
        .suspend_domain = op_suspend_domain,
        .resume_domain = migrate_op_resume_domain,
        .destroy_domain = migrate_op_destroy_domain,
        .tune = migrate_op_tune,
        .let_go = migrate_op_let_go,
        .kept = migrate_op_kept,
        .checkpoint = migrate_op_checkpoint,
        .uncheckpoint = migrate_op_uncheckpoint,
        .adopt = migrate_op_adopt,
        .send = migrate_op_send,
        .journal = op_journal,
        .timer = migrate_op_timer,
        .now_ns = op_now_ns,
        .clock_ns = op_clock_ns,
        .notify = op_notify,
        .changed = op_changed,
};

int migrate_new(Shim *s, Migrate **ret, Error *reterr) {
        _cleanup_(migrate_freep) Migrate *m = NULL;
        int r;

        m = calloc(1, sizeof(*m));
        if (!m)
                return error_oom(reterr);
        m->shim = s;
        migration_options_init(&m->options);
        r = open_journal(m, false, reterr);
        if (r < 0)
                return r;
        r = migration_new(s->pod_id, m->journal ? journal_last(m->journal) : NULL, &migrate_ops, m,
                          &m->migration, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(m);
        return 0;
}

Migrate *migrate_free(Migrate *m) {
        if (!m)
                return NULL;
        (void)migrate_check_end(m);
        /* The process ends in the middle of a session: completions still point here, and the
         * journal says what to do when it starts again. */
        if (m->migration && migration_in_flight(m->migration)) {
                log_warning("migration %s is cut short", migration_session(m->migration));
                return NULL;
        }
        migrate_poll_statistics(m, false);
        m->quiet_timer = sd_event_source_disable_unref(m->quiet_timer);
        for (size_t i = 0; i < ELEMENTSOF(m->timers); i++)
                m->timers[i] = sd_event_source_disable_unref(m->timers[i]);
        migrate_forget_driver(m);
        m->migration = migration_free(m->migration);
        m->fence = fence_free(m->fence);
        migrate_ferry_stop(m);
        migrate_remove_dir(m);
        migrate_logs_end(m);
        m->journal = journal_free(m->journal);
        buf_done(&m->handoff);
        migrate_storage_forget(m);
        free(m->offer);
        buf_done(&m->own_handoff);
        migrate_forget_kept(m);
        free(m->ticket);
        free(m->dest_xml);
        free(m->ended);
        migrate_forget_network(m);
        migrate_forget_way(m);
        free(m);
        return NULL;
}

Migration *migrate_controller(Migrate *m) {
        return m->migration;
}

MigrateFace *migrate_face(Migrate *m) {
        return &m->face;
}

const char *migrate_ticket(const Migrate *m) {
        return m->ticket;
}

bool migrate_owns_domain(const Migrate *m) {
        return migration_is_active(m->migration);
}

void migrate_on_virt_event(Migrate *m, const VirtEvent *e) {
        bool destination = migration_role(m->migration) == MIGRATION_DESTINATION;
        const char *reason = virt_reason_name(e->reason);
        Migration *g = m->migration;

        if (!migration_is_active(g))
                return;
        switch (e->kind) {
        case VIRT_EVENT_STARTED:
                if (destination)
                        migrate_on_incoming(m, reason);
                break;
        case VIRT_EVENT_SUSPENDED:
                if (!destination && e->reason == VIRT_REASON_POSTCOPY) {
                        migrate_pace_lift(m);
                        migrate_gates(m, false);
                        migration_on_domain(g, MIGRATION_DOMAIN_POSTCOPY, reason);
                } else if (!destination && e->reason == VIRT_REASON_POSTCOPY_FAILED) {
                        migration_on_host_back(g); /* look at it */
                } else if (!destination && e->reason == VIRT_REASON_MIGRATION) {
                        migrate_mark_fence(m);
                        migrate_hold_libvirt(m);
                        migrate_pace_lift(m);
                        migrate_gates(m, false);
                        migration_on_domain(g, MIGRATION_DOMAIN_BLACKOUT, reason);
                } else if (destination && (e->reason == VIRT_REASON_MIGRATED ||
                                           e->reason == VIRT_REASON_USER)) /* paused as asked */
                        migrate_guest_complete(m);
                break;
        case VIRT_EVENT_RESUMED:
                if (destination)
                        migrate_guest_runs(m);
                migration_on_domain(g,
                                    destination && (e->reason == VIRT_REASON_POSTCOPY ||
                                                    e->reason == VIRT_REASON_POSTCOPY_FAILED)
                                            ? MIGRATION_DOMAIN_POSTCOPY
                                            : MIGRATION_DOMAIN_RUNNING,
                                    reason);
                break;
        case VIRT_EVENT_STOPPED:
        case VIRT_EVENT_CRASHED:
                migration_on_domain(g,
                                    !destination && (e->reason == VIRT_REASON_GUEST ||
                                                     e->reason == VIRT_REASON_CRASHED)
                                            ? MIGRATION_DOMAIN_DIED
                                            : MIGRATION_DOMAIN_GONE,
                                    reason);
                break;
        case VIRT_EVENT_BACK:
                migration_on_host_back(g);
                break;
        case VIRT_EVENT_ITERATION:
                migrate_on_iteration(m, e->iteration);
                break;
        case VIRT_EVENT_JOB_DONE:
        case VIRT_EVENT_DEVICE_REMOVED:
        case VIRT_EVENT_COPY:
        case VIRT_EVENT_LOST:
        case _VIRT_EVENT_KIND_MAX:
                break;
        }
}

int migrate_register_socket(Migrate *m, const char *session, int fd, Error *reterr) {
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        Ferry *ferry;
        int r;

        r = migration_register_socket(m->migration, session, reterr);
        if (r < 0)
                return r;
        in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (in < 0)
                return error_setf(reterr, -errno, "the socket could not be duplicated: %m");
        r = migrate_ferry(m, &ferry, reterr);
        /* The source may have seen the transport come up, and libvirt there have made its
         * connection, before this loop hears of either. */
        if (r == 0 && migration_role(m->migration) == MIGRATION_DESTINATION)
                r = migrate_take_connections(m, reterr);
        if (r < 0)
                return r;
        out = in; /* one socket, given twice */
        return ferry_set_transport(ferry, TAKE_FD(in), TAKE_FD(out), reterr);
}

int migrate_reconnect(Migrate *m, const char *session, int fd, Error *reterr) {
        _cleanup_close_ int in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        Ferry *ferry;
        int out, r;

        if (in < 0)
                return error_setf(reterr, -errno, "the socket could not be duplicated: %m");
        r = migration_reconnect(m->migration, session, reterr);
        if (r < 0)
                return r;
        migrate_ferry_stop(m);
        m->holding = false;
        r = migrate_ferry(m, &ferry, reterr);
        if (r < 0)
                return r;
        out = in; /* one socket, given twice */
        return ferry_set_transport(ferry, TAKE_FD(in), out, reterr);
}

static void on_prepared(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;

        relay_done(relay, r, r == 0 ? relay->migrate->ticket : NULL, err);
}

int migrate_prepare(Migrate *m, const char *session, const MigrationOptions *o, const char *storage,
                    OpDone done, void *job, Error *reterr) {
        MigrationOptions before = m->options;
        char *offer = strdup(storage);
        Relay *relay = relay_new(m, done, job);
        int r;

        if (!relay || !offer) {
                free(relay);
                free(offer);
                return error_oom(reterr);
        }
        free(m->offer);
        m->offer = offer;
        m->options = *o;
        r = migration_prepare(m->migration, session, on_prepared, relay, reterr);
        if (r <= 0)
                free(relay);
        if (r < 0)
                m->options = before;
        return r;
}

int migrate_transfer(Migrate *m, const char *session, const MigrationOptions *o, const char *ticket,
                     const MigrateWay *way, Error *reterr) {
        MigrationOptions before = m->options;
        int r;

        if (migration_role(m->migration) == MIGRATION_SOURCE &&
            strcmp(session, migration_session(m->migration)) == 0) {
                r = migrate_read_ticket(m, ticket, o, reterr);
                if (r == 0)
                        r = migrate_set_way(m, way, reterr);
                if (r < 0)
                        return r;
                m->options = *o;
        }
        r = migration_transfer(m->migration, session, o, reterr);
        if (r < 0) /* refused: what was said before counts */
                m->options = before;
        return r;
}

/* The last call of a session. What it leaves this host with decides whether the shim is needed any
 * more. */
typedef struct Cleanup {
        Migrate *migrate;
        OpDone done;
        void *job;
        bool ends;
} Cleanup;

static void shutdown_done(void *userdata, int r, const void *result, const Error *err) {
        Cleanup copy = *(Cleanup *)userdata;

        free(userdata);
        copy.done(copy.job, r, NULL, err);
}

/* As every operation: 1 if shutdown_done() comes, which then frees c. */
static int cleanup_end(Cleanup *c, Error *reterr) {
        if (!c->ends)
                return 0;
        log_info("migration: nothing of the pod is left on this host");
        return shim_shutdown(c->migrate->shim, shutdown_done, c, reterr);
}

static void on_cleaned_up(void *userdata, int r, const void *result, const Error *err) {
        Error e = ERROR_INIT;

        if (r == 0) {
                err = &e;
                r = cleanup_end(userdata, &e);
                if (r > 0)
                        return;
        }
        shutdown_done(userdata, r, NULL, err);
}

int migrate_cleanup(Migrate *m, const char *session, OpDone done, void *job, Error *reterr) {
        bool moved = migration_outcome(m->migration) == MIGRATION_OUTCOME_MOVED;
        bool destination = migration_role(m->migration) == MIGRATION_DESTINATION;
        Cleanup *c;
        int r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (Cleanup){ .migrate = m, .done = done, .job = job };
        c->ends = migration_state(m->migration) != MIGRATION_IDLE
                          ? moved != destination
                          : m->shim->receive && !m->shim->vm;
        r = migration_cleanup(m->migration, session, on_cleaned_up, c, reterr);
        if (r > 0) {
                /* It waits for libvirt's call, which may wait for the peer's libvirt: nobody needs
                 * that any more. */
                if (!m->last_words)
                        migrate_ferry_stop(m);
                return r;
        }
        if (r == 0)
                r = cleanup_end(c, reterr);
        if (r <= 0)
                free(c);
        return r;
}
