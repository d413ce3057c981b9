/* SPDX-License-Identifier: Apache-2.0 */
/* What the D-Bus face tells as JSON: facts, progress, result. */
#include <string.h>

#include "hostdev/image/disk.h"
#include "shim/api-error.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/migrate/migrate-options.h"

static void put_string(json_object *o, const char *key, const char *value) {
        (void)json_object_object_add(o, key, json_object_new_string(value ?: ""));
}

static void put_number(json_object *o, const char *key, uint64_t value) {
        (void)json_object_object_add(o, key, json_object_new_uint64(value));
}

static int add_disk(void *userdata, const ContainerDiskInfo *info) {
        static const char *const kinds[] = { "layer", "scratch", "volume" };
        static const char *const modes[] = { "copy", "shared", "same" };
        const ScsiDiskConfig *d = &info->disk.config;
        json_object *list = userdata, *o = json_object_new_object();
        DiskInfo probe;

        if (!o)
                return -ENOMEM;
        put_string(o, "role", kinds[d->kind]);
        put_string(o, "path", d->host_path);
        put_string(o, "format", d->format);
        put_string(o, "digest", d->digest);
        put_number(o, "size", d->virtual_size);
        put_string(o, "mode", modes[d->mode]);
        if (disk_probe(d->host_path, false, &probe, NULL) == 0)
                put_number(o, "allocated", probe.allocated);
        return json_object_array_add(list, o);
}

static int add_container(void *userdata, Container *c) {
        json_object *list = userdata, *o = json_object_new_object();
        json_object *disks = json_object_new_array();

        if (!o || !disks) {
                json_object_put(o);
                json_object_put(disks);
                return -ENOMEM;
        }
        put_string(o, "id", container_id(c));
        put_string(o, "guest_id", container_guest_id(c));
        (void)container_each_disk(c, add_disk, disks);
        (void)json_object_object_add(o, "disks", disks);
        return json_object_array_add(list, o);
}

static void add_pod(Migrate *m, json_object *o) {
        const VmSpec *spec = vm_spec(m->shim->vm);
        json_object *domain = json_object_new_object(), *image = json_object_new_object();
        json_object *containers = json_object_new_array();

        put_string(domain, "name", spec->domain_name);
        put_string(domain, "uuid", spec->uuid);
        put_string(domain, "type", spec->domain_type == VM_DOMAIN_KVM ? "kvm" : "qemu");
        put_string(domain, "machine", spec->machine);
        put_string(domain, "cpu", spec->cpu);
        put_number(domain, "memory_mib", spec->memory_mib);
        put_number(domain, "vcpus", spec->vcpus);
        put_string(image, "kernel", spec->kernel.digest);
        put_string(image, "initrd", spec->initrd.digest);
        (void)pod_each_container(m->shim->pod, add_container, containers);
        (void)json_object_object_add(o, "domain", domain);
        (void)json_object_object_add(o, "image", image);
        (void)json_object_object_add(o, "containers", containers);
}

json_object *migrate_facts_json(Migrate *m, MigrationRole role) {
        json_object *o = json_object_new_object(), *host = json_object_new_object();

        if (!o || !host) {
                json_object_put(o);
                json_object_put(host);
                return NULL;
        }
        put_string(o, "pod", m->shim->pod_id);
        put_string(o, "podferry", PODFERRY_VERSION);
        put_number(o, "epoch", migration_epoch(m->migration));
        put_string(host, "uuid", m->facts.host_uuid);
        put_string(host, "name", m->facts.hostname);
        put_string(host, "arch", m->facts.arch);
        put_string(host, "hypervisor", m->facts.hypervisor);
        put_string(host, "machine", m->facts.machine);
        (void)json_object_object_add(o, "host", host);
        if (role == MIGRATION_SOURCE && m->shim->vm && m->shim->pod) {
                if (vm_spec(m->shim->vm)->domain_type == VM_DOMAIN_KVM)
                        put_string(host, "cpu", m->facts.cpu_xml);
                add_pod(m, o);
        }
        return o;
}

static json_object *count(const MigrationBytes *b) {
        json_object *o = json_object_new_object();

        put_number(o, "total", b->total);
        put_number(o, "processed", b->processed);
        put_number(o, "remaining", b->remaining);
        return o;
}

json_object *migrate_progress_json(const Migrate *m) {
        json_object *o = json_object_new_object();
        MigrationProgress p;

        if (!o || migration_state(m->migration) == MIGRATION_IDLE)
                return o;
        migration_progress(m->migration, &p);
        put_string(o, "phase", migration_phase_name(p.phase));
        put_number(o, "step", p.step);
        put_number(o, "steps", p.n_steps);
        put_number(o, "percent", p.percent);
        put_number(o, "elapsed_ms", p.elapsed_ns / 1000000U);
        (void)json_object_object_add(o, "memory", count(&p.now.memory));
        (void)json_object_object_add(o, "disk", count(&p.now.disks));
        put_number(o, "dirty_rate", p.now.dirty_bps);
        put_number(o, "iteration", p.now.iteration);
        put_number(o, "throttle", p.now.throttle);
        if (p.now.compressed_pages > 0) {
                put_number(o, "compressed_pages", p.now.compressed_pages);
                put_number(o, "compressed_bytes", p.now.compressed_bytes);
        }
        put_number(o, "downtime_ms", migration_downtime_allowed(m->migration));
        put_number(o, "throughput", p.now.memory_bps + p.now.disk_bps);
        put_number(o, "expected_downtime_ms", p.now.expected_downtime_us / 1000U);
        put_number(o, "blackout_start_ns", p.blackout_start_ns);
        put_number(o, "blackout_end_ns", p.blackout_end_ns);
        if (m->ferry) {
                FerryCounters c;

                ferry_counters(m->ferry, &c);
                put_number(o, "carried", c.kind[FERRY_MEMORY].sent + c.kind[FERRY_MEMORY].received);
        }
        return o;
}

int migrate_dump(const Migrate *m, json_object *o, Error *reterr) {
        const MigrationOptions *options = migration_live_options(m->migration);
        json_object *session, *list;
        MigrationOptions idle;
        int r;

        if (migration_state(m->migration) == MIGRATION_IDLE) {
                shim_migration_options(m->shim, &idle);
                options = &idle;
        } else if (migration_state(m->migration) < MIGRATION_TRANSPORT_WAITING) {
                options = &m->options;
        }
        list = migrate_options_json(options);
        if (!list)
                return error_oom(reterr);
        r = migration_dump(m->migration, &session, reterr);
        if (r < 0) {
                json_object_put(list);
                return r;
        }
        if (migration_state(m->migration) != MIGRATION_IDLE)
                put_string(session, "driver", migrate_driver_name(m));
        (void)json_object_object_add(o, "migration", session);
        (void)json_object_object_add(o, "migration_options", list);
        return 0;
}

static json_object *phases(const MigrationProgress *p) {
        json_object *list = json_object_new_array();

        for (int i = 0; list && i < _MIGRATION_PHASE_MAX; i++) {
                json_object *o;

                if (p->phase_started_ns[i] == 0)
                        continue;
                o = json_object_new_object();
                put_string(o, "name", migration_phase_name(i));
                put_number(o, "us",
                           p->phase_ended_ns[i] > p->phase_started_ns[i]
                                   ? (p->phase_ended_ns[i] - p->phase_started_ns[i]) / 1000U
                                   : 0);
                put_number(o, "ms",
                           p->phase_ended_ns[i] > p->phase_started_ns[i]
                                   ? (p->phase_ended_ns[i] - p->phase_started_ns[i]) / 1000000U
                                   : 0);
                (void)json_object_array_add(list, o);
        }
        return list;
}

static const char *outcome_word(const Migrate *m) {
        switch (migration_outcome(m->migration)) {
        case MIGRATION_OUTCOME_MOVED:
                return "moved";
        case MIGRATION_OUTCOME_LOST:
                return "lost";
        case MIGRATION_OUTCOME_KEPT:
        case MIGRATION_OUTCOME_NONE:
        case _MIGRATION_OUTCOME_MAX:
                break;
        }
        return migration_state(m->migration) == MIGRATION_CANCELLED ? "cancelled" : "kept";
}

json_object *migrate_result_json(const Migrate *m) {
        const Error *err = migration_error(m->migration);
        json_object *o = json_object_new_object();
        MigrationProgress p;

        if (!o)
                return NULL;
        migration_progress(m->migration, &p);
        put_string(o, "outcome", outcome_word(m));
        if (migration_guest_ended(m->migration)) /* and was not lost on the way */
                (void)json_object_object_add(o, "ended", json_object_new_boolean(true));
        put_string(o, "host", m->facts.hostname);
        put_string(o, "side", migration_role_name(migration_role(m->migration)));
        put_string(o, "session", migration_session(m->migration));
        put_string(o, "step", err->code < 0 ? migration_phase_name(p.phase) : "");
        put_string(o, "code", err->code < 0 ? api_error_name(err->code) : "");
        put_string(o, "reason", err->code < 0 ? error_text(err, err->code) : "");
        (void)json_object_object_add(o, "phases", phases(&p));
        put_number(o, "elapsed_us", p.elapsed_ns / 1000U);
        put_number(o, "blackout_ns",
                   p.blackout_end_ns > p.blackout_start_ns ? p.blackout_end_ns - p.blackout_start_ns
                                                           : 0);
        put_number(o, "peer_blackout_ns", p.peer_blackout_ns);
        put_number(o, "memory_bytes", m->memory_bytes ?: p.now.memory.processed);
        put_number(o, "disk_bytes", m->disk_bytes ?: p.now.disks.processed);
        return o;
}
