/* SPDX-License-Identifier: Apache-2.0 */
/* A shim that was killed starts again: its own tree comes back as an import would, with the paths
 * that it had, and the journal says what became of a migration that was under way. */
#include <string.h>

#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

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
        return 0;
}

int migrate_go_on(Migrate *m, Error *reterr) {
        const void *handoff;
        size_t n;

        if (!m->journal)
                return error_setf(reterr, -EBADFD,
                                  "the VM is in a migration that the journal does "
                                  "not know");
        handoff = journal_handoff(m->journal, &n);
        m->adopted = true;
        return migration_adopt(m->migration, journal_last(m->journal), handoff, n, reterr);
}
