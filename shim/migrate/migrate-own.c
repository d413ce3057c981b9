/* SPDX-License-Identifier: Apache-2.0 */
/* A shim that was killed starts again: its own tree comes back as an import would, with the paths
 * that it had, and the journal says what became of a migration that was under way. */
#include <string.h>

#include "hostdev/libvirt/virt.h"
#include "lib/log.h"
#include "shim/adopt.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/wiring/ops.h"

typedef struct OwnPaths {
        char **paths;
        size_t n;
} OwnPaths;

static int add_path(void *userdata, const ContainerDiskInfo *info) {
        OwnPaths *own = userdata;

        own->paths[own->n] = strdup(info->disk.config.host_path);
        return own->paths[own->n++] ? 0 : -ENOMEM;
}

static int patch_container(void *userdata, Container *c) {
        OwnPaths own = {};
        Error err = ERROR_INIT;
        int r;

        own.paths = calloc(MAX_OF(container_n_disks(c), (size_t)1), sizeof(*own.paths));
        if (!own.paths)
                return -ENOMEM;
        r = container_each_disk(c, add_path, &own);
        if (r == 0) {
                ContainerPatch patch = { .source_id = container_id(c),
                                         .id = container_id(c),
                                         .bundle = "",
                                         .log_path = "",
                                         .disk_paths = (const char *const *)own.paths,
                                         .n_disks = own.n };

                r = container_patch(c, &patch, &err);
                if (r < 0)
                        log_err("container %s: %s", container_id(c), error_text(&err, r));
        }
        for (size_t i = 0; i < own.n; i++)
                free(own.paths[i]);
        free(own.paths);
        return r;
}

int migrate_import_own(Migrate *m, const Buf *vm, const Buf *pod, Error *reterr) {
        Shim *s = m->shim;
        const VmSpec *spec;
        PodPatch to;
        VmPatch patch;
        int r;

        r = migrate_import_tree(s, vm, pod, reterr);
        if (r < 0)
                return r;
        r = pod_each_container(s->pod, patch_container, NULL);
        if (r < 0)
                return error_setf(reterr, r, "the saved containers do not fit their disks");
        spec = vm_spec(s->vm);
        patch = (VmPatch){ .kernel_path = spec->kernel.path,
                           .initrd_path = spec->initrd.path,
                           .link_path = spec->link_path,
                           .console_path = spec->console_path };
        to = (PodPatch){ .id = s->pod_id };
        r = vm_patch(s->vm, &patch, reterr);
        if (r == 0)
                r = pod_patch(s->pod, &to, reterr);
        return r < 0 ? r : vm_migration_started(s->vm, reterr);
}

const JournalRecord *migrate_journal_last(const Migrate *m) {
        return m->journal ? journal_last(m->journal) : NULL;
}

const void *migrate_journal_handoff(const Migrate *m, size_t *ret_len) {
        *ret_len = 0;
        return m->journal ? journal_handoff(m->journal, ret_len) : NULL;
}

/* The sockets of the session; nobody is left to use them. */
static void remove_old_dir(Migrate *m, const char *session) {
        if (!m->dir && asprintf(&m->dir, "%s/.migrate-%s", m->shim->config.run_dir, session) < 0)
                m->dir = NULL;
        if (m->dir && access(m->dir, F_OK) == 0)
                migrate_remove_dir(m);
        free(TAKE(m->dir));
}

int migrate_keep_own(Migrate *m, Error *reterr) {
        JournalRecord kept = *journal_last(m->journal);
        Migration *fresh;
        int r;

        remove_old_dir(m, kept.session);
        migrate_storage_take_up(m, kept.session, MIGRATION_SOURCE);
        migrate_storage_forget(m);
        kept.kind = JOURNAL_KEPT;
        kept.payload = NULL;
        kept.payload_len = 0;
        r = journal_append(m->journal, &kept, reterr);
        if (r < 0)
                return r;
        r = migration_new(m->shim->pod_id, journal_last(m->journal), &migrate_ops, m, &fresh,
                          reterr);
        if (r < 0)
                return r;
        (void)migration_free(m->migration);
        m->migration = fresh;
        migrate_forget_kept(m);
        return 0;
}

static void on_network(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = vm_migration_started(relay->migrate->shim->vm, &e);
                err = &e;
        }
        relay_done(relay, r, NULL, err);
}

int migrate_import_received(Migrate *m, const Buf *vm, const Buf *pod, OpDone done, void *job,
                            Error *reterr) {
        Relay *relay;
        int r;

        if ((r = migrate_import_tree(m->shim, vm, pod, reterr)) < 0 ||
            (r = migrate_replay_patches(m, reterr)) < 0 || (r = migrate_patch_vm(m, reterr)) < 0)
                return r;
        relay = relay_new(m, done, job);
        if (!relay || buf_append(&m->imported[0], vm->data, vm->len) < 0 ||
            buf_append(&m->imported[1], pod->data, pod->len) < 0) {
                free(relay);
                return error_oom(reterr);
        }
        m->network.again = true;
        r = migrate_prepare_network(m, on_network, relay, reterr);
        if (r == 0)
                r = vm_migration_started(m->shim->vm, reterr);
        if (r <= 0)
                free(relay);
        return r;
}

int migrate_save_link(Migrate *m, Buf *ret, Error *reterr) {
        bool inert = m->shim->vm && vm_imported_link(m->shim->vm);

        if (!inert)
                return migrate_save_own(m, ret, reterr);
        return buf_append(ret, m->own_handoff.data, m->own_handoff.len) < 0 ? error_oom(reterr) : 0;
}

int migrate_own_fence(Migrate *m, Error *reterr) {
        const VmSpec *spec = vm_spec(m->shim->vm);
        pid_t pid = 0;
        int r;

        if (m->fence)
                return 0;
        r = virt_qemu_pid(spec->domain_name, spec->uuid, &pid, reterr);
        if (r == -ENOENT && m->qemu_pid > 0) { /* libvirt has put it away, if it could */
                pid = m->qemu_pid;
                r = 0;
        }
        if (r == 0)
                r = fence_open(m->shim->event, pid, spec->uuid, NULL, NULL, &m->fence, reterr);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                fence_inherit_stop(m->fence);
        return r;
}

/* Decided: the pod stays after all. Its tree comes to life as that of any adopted pod. */
int migrate_own_resume_source(Migrate *m, Error *reterr) {
        return shim_adopt_tree(m->shim, &m->own_handoff, true, reterr);
}

void migrate_own_report_lost(Migrate *m) {
        const char *gone = migration_guest_ended(m->migration)
                                   ? "the VM ended by itself while the pod was being moved"
                                   : "the pod was lost in a migration: no host has it";
        Shim *s = m->shim;
        Error e = ERROR_INIT;
        int r;

        s->given_away = false; /* what is left of it is here: it may be started again */
        if (!s->vm)
                return;
        if (!vm_imported_link(s->vm)) {
                shim_vm_calls_end(s, gone);
                vm_died(s->vm, gone);
                return;
        }
        r = shim_adopt_tree(s, &m->own_handoff, false, &e);
        if (r < 0)
                log_err("the pod is lost, and cannot be shown: %s", error_text(&e, r));
        else
                shim_vm_gone(s, gone);
}

/* What a destination needs beside its tree: the mailbox of the guest, connected and not spoken to.
 */
static void open_link(Migrate *m) {
        Error e = ERROR_INIT;
        int r = guest_link_open(m->shim->link, vm_spec(m->shim->vm)->link_path, true, &e);

        if (r < 0)
                log_warning("migration: guest link: %s", error_text(&e, r));
}

bool migrate_allows_postcopy(const Migrate *m) {
        return m->options.postcopy;
}

bool migrate_relays(const Migrate *m) {
        return !m->options.transport[0];
}

int migrate_go_on(Migrate *m, const JournalRecord *from, const Buf *handoff, Error *reterr) {
        bool source = from->kind == JOURNAL_PREPARED || from->kind == JOURNAL_FENCING ||
                      from->kind == JOURNAL_RELEASED || from->kind == JOURNAL_DONE;
        const void *saved = NULL;
        size_t n = 0;

        if (from->kind == JOURNAL_NONE && !from->session[0])
                return error_setf(reterr, -EBADFD,
                                  "the VM is in a migration that the journal does "
                                  "not know");
        if (buf_append(&m->own_handoff, handoff->data, handoff->len) < 0 ||
            asprintf(&m->dir, "%s/.migrate-%s", m->shim->config.run_dir, from->session) < 0)
                return error_oom(reterr);
        if (from->kind == JOURNAL_READY || from->kind == JOURNAL_OWNED)
                saved = journal_handoff(m->journal, &n);
        migrate_storage_take_up(m, from->session,
                                source ? MIGRATION_SOURCE : MIGRATION_DESTINATION);
        m->adopted = true;
        m->adopted_at = from->kind;
        if (!source) {
                m->shim->receive = true;
                open_link(m);
        }
        return migration_adopt(m->migration, from, m->options.postcopy, saved, n, reterr);
}
