/* SPDX-License-Identifier: Apache-2.0 */
/* MigrationOps on the tree of controllers: one VM with one pod below it. */
#include <string.h>

#include "hostdev/image/layer.h"
#include "lib/log.h"
#include "shim/keep.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/volume-move.h"
#include "shim/wiring/ops.h"

int migrate_op_freeze(void *u, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;
        int r;

        if (!s->vm || !s->pod)
                return error_setf(reterr, -EBADFD, "pod %s has no VM: it was not started",
                                  s->pod_id);
        if (s->restarting || s->stops)
                return error_setf(reterr, -EBUSY, "pod %s is being %s", s->pod_id,
                                  s->stops ? "stopped" : "started");
        r = volume_move_check_none(s, "migration", reterr);
        return r < 0 ? r : controller_freeze(vm_controller(s->vm), reterr);
}

void migrate_op_thaw(void *u) {
        Migrate *m = u;

        controller_thaw(vm_controller(m->shim->vm));
}

int migrate_op_save(void *u, MigrationTree *ret, Error *reterr) {
        Migrate *m = u;
        int r;

        r = vm_save(m->shim->vm, &ret->vm, reterr);
        if (r < 0)
                return r;
        ret->n_pods = 1;
        return pod_save(m->shim->pod, &ret->pods[0], reterr);
}

int migrate_import_tree(Shim *s, const Buf *vm_bytes, const Buf *pod_bytes, Error *reterr) {
        _cleanup_(vm_freep) Vm *vm = NULL;
        _cleanup_(pod_freep) Pod *p = NULL; /* goes before its VM */
        int r;

        r = vm_import(vm_bytes->data, vm_bytes->len, &vm, reterr);
        if (r < 0)
                return r;
        r = pod_import(vm_controller(vm), vm_scsi(vm), pod_bytes->data, pod_bytes->len, &p, reterr);
        if (r == 0)
                r = pod_check_floors(p, vm_imported_link(vm)->next_call_id,
                                     vm_imported_link(vm)->next_channel, reterr);
        if (r == 0)
                r = scsi_check_claims(vm_scsi(vm), reterr);
        if (r < 0)
                return r;
        s->vm = TAKE(vm);
        s->pod = TAKE(p);
        shim_bind_tree(s);
        return 0;
}

int migrate_op_import(void *u, const char *pod, const MigrationTree *t, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;

        if (!s->receive || s->vm)
                return error_setf(reterr, -EBADFD, "this shim serves a pod: it cannot receive one");
        if (pod[0] && strcmp(pod, s->pod_id) != 0)
                return error_setf(reterr, -EINVAL, "this shim is for pod %s, not %s", s->pod_id,
                                  pod);
        if (t->n_pods != 1)
                return error_setf(reterr, -EOPNOTSUPP, "a VM with %u pods: not supported yet",
                                  t->n_pods);
        migrate_check_forget(m);
        migrate_forget_kept(m); /* of an attempt before */
        if (buf_append(&m->imported[0], t->vm.data, t->vm.len) < 0 ||
            buf_append(&m->imported[1], t->pods[0].data, t->pods[0].len) < 0)
                return error_oom(reterr);
        return migrate_import_tree(s, &t->vm, &t->pods[0], reterr);
}

/* Where each disk of a container is on this host. */
typedef struct DiskPaths {
        Migrate *migrate;
        const MigratePatch *patch;
        const char *id; /* of the container, here */
        char **paths;
        size_t n;
        Error *reterr;
} DiskPaths;

static char *default_path(DiskPaths *d, const ContainerDiskInfo *info, int *ret_code) {
        const ScsiDiskConfig *disk = &info->disk.config;
        _cleanup_layer_ Layer layer = LAYER_INIT;
        Shim *s = d->migrate->shim;

        *ret_code = 0;
        switch (disk->kind) {
        case SCSI_DISK_LAYER:
                *ret_code = layer_find(s->config.state_dir, disk->digest, &layer, d->reterr);
                return *ret_code < 0 ? NULL : TAKE(layer.path);
        case SCSI_DISK_SCRATCH:
                return shim_scratch_path(s, d->id);
        case SCSI_DISK_VOLUME:
        case _SCSI_DISK_KIND_MAX:
                break;
        }
        return strdup(disk->host_path);
}

static int patch_disk(void *userdata, const ContainerDiskInfo *info) {
        DiskPaths *d = userdata;
        json_object *given = NULL;
        int r = 0;

        if (d->patch->disks)
                (void)json_object_object_get_ex(d->patch->disks, info->disk.config.host_path,
                                                &given);
        if (given)
                d->paths[d->n] = strdup(json_object_get_string(given));
        else
                d->paths[d->n] = default_path(d, info, &r);
        if (r < 0)
                return r;
        if (!d->paths[d->n])
                return error_oom(d->reterr);
        d->n++;
        return 0;
}

int migrate_op_patch(void *u, const char *container, const void *patch, OpDone done, void *job,
                     Error *reterr) {
        Migrate *m = u;
        const MigratePatch *p = patch;
        Container *c = pod_container(m->shim->pod, container);
        DiskPaths d = { .migrate = m, .patch = p, .reterr = reterr };
        int r;

        if (!c)
                return error_setf(reterr, -ENOENT, "container %s is not in the import", container);
        d.id = p->new_id[0] ? p->new_id : container;
        d.paths = calloc(MAX_OF(container_n_disks(c), (size_t)1), sizeof(*d.paths));
        if (!d.paths)
                return error_oom(reterr);
        r = container_each_disk(c, patch_disk, &d);
        if (r == 0) {
                ContainerPatch cp = { .source_id = container,
                                      .id = d.id,
                                      .bundle = "",
                                      .log_path = "",
                                      .disk_paths = (const char *const *)d.paths,
                                      .n_disks = d.n };

                r = pod_patch_container(m->shim->pod, &cp, reterr);
                if (r == 0)
                        r = migrate_note_patch(m, &cp, reterr);
        }
        for (size_t i = 0; i < d.n; i++)
                free(d.paths[i]);
        free(d.paths);
        return r;
}

typedef struct Unpatched {
        Buf *names;
        int n;
} Unpatched;

static int add_unpatched(void *userdata, Container *c) {
        Unpatched *x = userdata;

        (void)buf_printf(x->names, "%s%s", x->n++ ? ", " : "", container_id(c));
        return 0;
}

int migrate_op_unpatched(void *u, Buf *ret) {
        Migrate *m = u;
        Unpatched x = { .names = ret };

        (void)pod_each_unpatched(m->shim->pod, add_unpatched, &x);
        return x.n;
}

int migrate_resume_destination(Migrate *m, Error *reterr) {
        Shim *s = m->shim;
        int r;

        if (m->resumed)
                return 0;
        if (m->handoff.len == 0)
                return error_setf(reterr, -EAGAIN, "the handoff is not here yet");
        r = vm_resume(s->vm, &shim_vm_ops, s, &shim_scsi_ops, s, reterr);
        if (r < 0)
                return r;
        r = pod_resume(s->pod, &s->pod_ops, reterr);
        if (r < 0)
                return r;
        shim_tell_exits(s);
        r = guest_rpc_start(s->rpc, reterr);
        if (r < 0)
                return r;
        r = guest_link_release(s->link, reterr);
        if (r < 0)
                return r;
        m->resumed = true;
        keep_now(s->keep); /* from here on the link is this host's */
        migrate_publish_definition(m, migration_epoch(m->migration), true);
        migrate_reset_network(m);
        if (m->ended)
                shim_vm_gone(s, m->ended);
        return 0;
}

void migrate_guest_ended(Migrate *m, const char *reason) {
        const JournalRecord *last = migrate_journal_last(m);

        if (migration_role(m->migration) != MIGRATION_DESTINATION || !last ||
            last->kind != JOURNAL_RUNNING ||
            strcmp(last->session, migration_session(m->migration)) != 0)
                return;
        if (m->resumed)
                shim_vm_gone(m->shim, reason);
        else if (!m->ended)
                m->ended = strdup(reason); /* NULL: doctor finds it */
}

int migrate_op_resume_tree(void *u, MigrationRole role, OpDone done, void *job, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;
        int r;

        if (role == MIGRATION_DESTINATION) { /* with handover=fast it runs by itself */
                r = migrate_commit_disks(m, reterr);
                return r < 0 ? r : migrate_resume_destination(m, reterr);
        }
        if (vm_imported_link(s->vm)) /* of a shim that was killed in between */
                return migrate_own_resume_source(m, reterr);
        migrate_logs_end(m);
        r = vm_resume(s->vm, &shim_vm_ops, s, &shim_scsi_ops, s, reterr);
        if (r < 0)
                return r;
        r = pod_resume(s->pod, &s->pod_ops, reterr);
        if (r == 0)
                controller_thaw(vm_controller(s->vm));
        migrate_network_stays(m);
        return r;
}

int migrate_op_moved(void *u, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;
        int r;

        s->given_away = true;
        if (!s->vm || vm_imported_link(s->vm)) { /* of a shim that was killed in between: inert */
                stdio_hub_moved(s->stdio, "");
                return 0;
        }
        r = vm_moved(s->vm, reterr);
        if (r < 0)
                return r;
        migrate_tell_clients(m);
        pod_moved(s->pod);
        guest_link_close(s->link);
        migrate_logs_end(m);
        return 0;
}

int migrate_op_abort_tree(void *u, const char *reason, Error *reterr) {
        Migrate *m = u;
        Shim *s = m->shim;

        if (!s->vm)
                return 0;
        log_info("migration: the import is given up: %s", reason);
        if (migration_role(m->migration) == MIGRATION_DESTINATION)
                migrate_discard_disks(m); /* while it is known which */
        if (m->resumed) {                 /* it had come to life for a guest that then never ran */
                shim_vm_gone(s, reason);
                return 0;
        }
        if (s->ending)
                return 0; /* whoever ends the shim has the VM stopped, and all of it goes then */
        (void)pod_abort_migrated(s->pod, NULL);
        (void)vm_abort_migrated(s->vm, NULL);
        guest_link_close(s->link);
        stdio_hub_discard(s->stdio);
        s->pod = pod_free(s->pod);
        s->vm = vm_free(s->vm);
        migrate_forget_kept(m);
        return 0;
}

int migrate_op_transfer_begins(void *u, MigrationRole role, Error *reterr) {
        Migrate *m = u;
        int r;

        r = vm_migration_started(m->shim->vm, reterr);
        if (r == 0)
                r = migrate_keep_session(m, reterr);
        if (r == 0 && role == MIGRATION_SOURCE)
                r = migrate_logs_begin(m, reterr);
        if (r == 0 && role == MIGRATION_SOURCE)
                (void)migrate_logs_pump(m);
        if (r == 0 && role == MIGRATION_SOURCE)
                migrate_send_definition(m);
        return r;
}

int migrate_op_transfer_ends(void *u, MigrationRole role, Error *reterr) {
        Migrate *m = u;

        return vm_migration_completed(m->shim->vm, reterr);
}
