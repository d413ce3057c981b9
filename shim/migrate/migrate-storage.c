/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of the pod's disks in a migration, agreed on before anything moves.
 *
 *      source       offer: the plan of each disk, a token beside each shared one (facts, "storage")
 *      destination  prepare: sees the tokens, writes its own, makes the disks to be filled, takes
 *                   digests of what is to be the same; all of it goes into the ticket
 *      source       verify: sees the destination's tokens, compares the digests; then libvirt
 * starts
 *
 * Whatever does not fit ends the migration there, with the pod running where it was. What is done
 * with files is done on the thread for files, on a Storage of its own. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/ids.h"
#include "controllers/migration/storage.h"
#include "hostdev/disk/content.h"
#include "hostdev/disk/token.h"
#include "hostdev/image/cache.h"
#include "hostdev/image/disk.h"
#include "lib/log.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate-internal.h"

typedef struct StorageDisk {
        uint32_t slot;
        ScsiDiskKind kind;
        StoragePlan plan;
        char *path, *format;
        uint64_t size, allocated;
        char mine[DISK_TOKEN_SIZE], theirs[DISK_TOKEN_SIZE]; /* tokens; "": none */
        char digest[LAYER_DIGEST_SIZE], their_digest[LAYER_DIGEST_SIZE];
        char why[256]; /* no token could be made */
} StorageDisk;

struct Storage {
        const char *pod, *run_dir, *backing_dir; /* the shim's */
        const char *dir;                         /* of the transfer */
        const atomic_bool *stop;                 /* while the disks are looked at */
        char session[ID_MAX + 1];
        TokenSide side;
        StorageDisk *disks; /* those that are no layers */
        size_t n;
};

static Storage *storage_free(Storage *s) {
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n; i++) {
                free(s->disks[i].path);
                free(s->disks[i].format);
        }
        free(s->disks);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(Storage *, storage_free);

static void remove_tokens(const Storage *s) {
        for (size_t i = 0; i < s->n; i++)
                if (s->disks[i].plan == STORAGE_PLAN_SHARED)
                        disk_token_remove(s->disks[i].path, s->session, s->disks[i].slot, s->side);
}

void migrate_storage_forget(Migrate *m) {
        if (m->storage)
                remove_tokens(m->storage);
        m->storage = storage_free(m->storage);
}

/* -- the plan -- */

typedef struct Planner {
        Storage *storage;
        MigrationStorage wish;
        Error *reterr;
} Planner;

static int plan_disk(void *userdata, const ScsiDiskInfo *info) {
        Planner *p = userdata;
        StorageDisk *d = &p->storage->disks[p->storage->n];
        StoragePlan plan;
        int r;

        r = storage_plan(&info->config, p->wish, &plan, p->reterr);
        if (r < 0 || plan == STORAGE_PLAN_LAYER)
                return r;
        *d = (StorageDisk){ .slot = info->slot,
                            .kind = info->config.kind,
                            .plan = plan,
                            .size = info->config.virtual_size };
        d->path = strdup(info->config.host_path);
        d->format = strdup(info->config.format);
        p->storage->n++;
        return d->path && d->format ? 0 : error_oom(p->reterr);
}

static int make_plan(Migrate *m, const char *session, TokenSide side, MigrationStorage wish,
                     Storage **ret, Error *reterr) {
        _cleanup_(storage_freep) Storage *s = calloc(1, sizeof(*s));
        Planner p = { .storage = s, .wish = wish, .reterr = reterr };
        int r;

        if (!s)
                return error_oom(reterr);
        s->pod = m->shim->pod_id;
        s->dir = m->dir ?: "";
        s->run_dir = m->shim->dir.path;
        s->backing_dir = m->shim->config.backing_dir;
        s->stop = &m->storage_stop;
        s->side = side;
        (void)snprintf(s->session, sizeof(s->session), "%s", session);
        s->disks = calloc(SCSI_SLOTS_MAX, sizeof(*s->disks));
        if (!s->disks)
                return error_oom(reterr);
        r = scsi_each_disk(vm_scsi(m->shim->vm), plan_disk, &p);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

void migrate_storage_take_up(Migrate *m, const char *session, MigrationRole role) {
        Error e = ERROR_INIT;

        if (make_plan(m, session, role == MIGRATION_SOURCE ? TOKEN_SOURCE : TOKEN_DESTINATION,
                      m->options.storage, &m->storage, &e) < 0)
                log_warning("migration: tokens beside shared disks may be left: %s", e.text);
}

bool migrate_copies(const Migrate *m, const ScsiDiskConfig *disk) {
        StoragePlan plan;

        return storage_plan(disk, m->options.storage, &plan, NULL) == 0 &&
               plan == STORAGE_PLAN_COPY;
}

/* -- as JSON: {"slot", "plan", "token", "digest", "size", "allocated", "why"} each -- */

static void put_text(json_object *o, const char *key, const char *value) {
        if (value[0])
                (void)json_object_object_add(o, key, json_object_new_string(value));
}

static json_object *storage_json(const Storage *s) {
        json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < s->n; i++) {
                const StorageDisk *d = &s->disks[i];
                json_object *o = json_object_new_object();

                if (!o)
                        break;
                (void)json_object_object_add(o, "slot", json_object_new_int64(d->slot));
                put_text(o, "path", d->path);
                put_text(o, "plan", storage_plan_name(d->plan));
                put_text(o, "token", d->mine);
                put_text(o, "digest", d->digest);
                put_text(o, "why", d->why);
                (void)json_object_object_add(o, "size", json_object_new_uint64(d->size));
                (void)json_object_object_add(o, "allocated", json_object_new_uint64(d->allocated));
                (void)json_object_array_add(list, o);
        }
        return list;
}

static const char *get_text(json_object *o, const char *key) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
                       ? json_object_get_string(v)
                       : "";
}

static StorageDisk *find_slot(Storage *s, json_object *o) {
        json_object *v = NULL;

        if (!json_object_object_get_ex(o, "slot", &v) || !json_object_is_type(v, json_type_int))
                return NULL;
        for (size_t i = 0; i < s->n; i++)
                if (s->disks[i].slot == (uint64_t)json_object_get_int64(v))
                        return &s->disks[i];
        return NULL;
}

static int read_disk(Storage *s, json_object *o, Error *reterr) {
        StorageDisk *d = find_slot(s, o);
        json_object *v = NULL;

        if (!d)
                return error_setf(reterr, -EINVAL,
                                  "storage: the other host speaks of a disk that is not here");
        if (storage_plan_from_name(get_text(o, "plan")) != (int)d->plan)
                return error_setf(reterr, -EINVAL,
                                  "disk %s: here it is \"%s\", for the other host \"%.20s\": both "
                                  "must be given the same options",
                                  d->path, storage_plan_name(d->plan), get_text(o, "plan"));
        (void)snprintf(d->theirs, sizeof(d->theirs), "%s", get_text(o, "token"));
        (void)snprintf(d->their_digest, sizeof(d->their_digest), "%s", get_text(o, "digest"));
        (void)snprintf(d->why, sizeof(d->why), "%s", get_text(o, "why"));
        if (json_object_object_get_ex(o, "allocated", &v))
                d->allocated = json_object_get_uint64(v);
        return 0;
}

/* What the other side said of the same disks. */
static int read_storage(Storage *s, json_object *list, Error *reterr) {
        size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

        if (n > SCSI_SLOTS_MAX)
                return error_setf(reterr, -EINVAL, "storage: %zu disks", n);
        for (size_t i = 0; i < n; i++) {
                json_object *o = json_object_array_get_idx(list, i);
                int r;

                if (!json_object_is_type(o, json_type_object))
                        return error_setf(reterr, -EINVAL, "storage: not a list of objects");
                r = read_disk(s, o, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* -- source, first -- */

/* Only where the source then removes it would something be lost. */
static int offer_copy(StorageDisk *d, bool removed, Error *reterr) {
        DiskInfo info;
        int r;

        r = strcmp(d->format, "raw") == 0 ? disk_probe_raw(d->path, false, &info, NULL)
                                          : disk_probe_header(d->path, &info, NULL);
        if (r < 0)
                return 0; /* deleted, or no longer ours to open: its machine has it */
        d->allocated = info.allocated;
        if (removed && info.more && d->kind == SCSI_DISK_VOLUME)
                return error_setf(
                        reterr, -EINVAL,
                        "disk %s: the snapshots or bitmaps in it would be lost, a copy has "
                        "none: leave out --remove-source-volumes",
                        d->path);
        return 0;
}

int migrate_storage_offer(Migrate *m, const MigrationOptions *o, json_object **ret, Error *reterr) {
        _cleanup_(storage_freep) Storage *s = NULL;
        int r;

        r = make_plan(m, migration_session(m->migration), TOKEN_SOURCE, o->storage, &s, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n; i++) {
                StorageDisk *d = &s->disks[i];
                Error e = ERROR_INIT;

                if (d->plan == STORAGE_PLAN_COPY &&
                    (r = offer_copy(d, o->remove_source_volumes, reterr)) < 0) {
                        remove_tokens(s);
                        return r;
                }
                if (d->plan == STORAGE_PLAN_SHARED &&
                    disk_token_make(d->path, s->session, d->slot, s->side, d->mine, &e) < 0) {
                        d->mine[0] = '\0';
                        (void)snprintf(d->why, sizeof(d->why), "%.250s", e.text);
                }
        }
        migrate_storage_forget(m);
        m->storage = TAKE(s);
        *ret = storage_json(m->storage);
        return *ret ? 0 : error_oom(reterr);
}

/* -- work with files, on their thread -- */

typedef struct StorageJob {
        Migrate *migrate;
        Storage *storage;
        OpDone done;
        void *job;
} StorageJob;

static int take_digest(const Storage *s, StorageDisk *d, Error *reterr) {
        int r = disk_content_digest(d->path, d->format, s->backing_dir, s->stop, d->digest, reterr);

        return r == -ENOENT ? error_setf(reterr, r,
                                         "%s: not on this host; it is read-only and not copied: "
                                         "put it there first, or share it",
                                         d->path)
                            : r;
}

static int prepare_shared(const Storage *s, StorageDisk *d, Error *reterr) {
        int r;

        if (!d->theirs[0])
                return error_setf(reterr, -EREMOTE, "%s: the source has no token for it: %s",
                                  d->path, d->why[0] ? d->why : "none was passed on");
        r = disk_token_check(d->path, s->session, d->slot, TOKEN_SOURCE, d->theirs, reterr);
        return r < 0 ? r : disk_token_make(d->path, s->session, d->slot, s->side, d->mine, reterr);
}

/* What the copy of a disk takes: its data, and a qcow2 image its tables, which are whole. */
static uint64_t room_of(const StorageDisk *d) {
        uint64_t tables = strcmp(d->format, "qcow2") == 0 ? d->size / (64 << 10) * 8 : 0;

        return d->allocated > UINT64_MAX - tables ? UINT64_MAX : d->allocated + tables;
}

/* What all copies on the file system of that one take. */
static uint64_t room_for(const Storage *s, const StorageDisk *d) {
        uint64_t sum = 0;

        for (size_t i = 0; i < s->n; i++)
                if (s->disks[i].plan == STORAGE_PLAN_COPY &&
                    (&s->disks[i] == d || disk_same_file_system(s->disks[i].path, d->path)) &&
                    __builtin_add_overflow(sum, room_of(&s->disks[i]), &sum))
                        return UINT64_MAX;
        return sum;
}

static int prepare_disk(const Storage *s, StorageDisk *d, Error *reterr) {
        const DiskOwner owner = { s->pod, s->session };

        switch (d->plan) {
        case STORAGE_PLAN_COPY:
                return disk_make_destination(d->path, d->format, d->size, room_for(s, d), &owner,
                                             reterr);
        case STORAGE_PLAN_SHARED:
                return prepare_shared(s, d, reterr);
        case STORAGE_PLAN_SAME:
                return take_digest(s, d, reterr);
        case STORAGE_PLAN_LAYER:
        case _STORAGE_PLAN_MAX:
                break;
        }
        return 0;
}

static int note_filling(const Storage *s, Error *reterr) {
        _cleanup_buf_ Buf paths = {};

        if (s->dir[0] && (buf_printf(&paths, "%s", s->dir) < 0 || buf_append(&paths, "", 1) < 0))
                return error_oom(reterr);
        for (size_t i = 0; i < s->n; i++)
                if (s->disks[i].plan == STORAGE_PLAN_COPY &&
                    buf_append(&paths, s->disks[i].path, strlen(s->disks[i].path) + 1) < 0)
                        return error_oom(reterr);
        return migrate_filling_write(s->run_dir, &paths, reterr);
}

static int work_prepare(void *argument, Error *reterr) {
        const StorageJob *j = argument;
        int k = note_filling(j->storage, reterr);

        if (k < 0)
                return k;
        for (size_t i = 0; i < j->storage->n; i++) {
                int r = prepare_disk(j->storage, &j->storage->disks[i], reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "storage");
        }
        return 0;
}

static int verify_disk(const Storage *s, StorageDisk *d, Error *reterr) {
        int r = 0;

        if (d->plan == STORAGE_PLAN_SHARED)
                return disk_token_check(d->path, s->session, d->slot, TOKEN_DESTINATION, d->theirs,
                                        reterr);
        if (d->plan == STORAGE_PLAN_SAME) {
                r = take_digest(s, d, reterr);
                if (r == 0 && strcmp(d->digest, d->their_digest) != 0)
                        r = error_setf(reterr, -EREMOTE,
                                       "%s: it is read-only and not copied, but it is not the same "
                                       "on both hosts",
                                       d->path);
        }
        return r;
}

static int work_verify(void *argument, Error *reterr) {
        const StorageJob *j = argument;

        for (size_t i = 0; i < j->storage->n; i++) {
                int r = verify_disk(j->storage, &j->storage->disks[i], reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "storage");
        }
        return 0;
}

static void on_worked(void *userdata, int r, const void *result, const Error *err) {
        StorageJob j = *(StorageJob *)userdata;

        free(userdata);
        migrate_storage_forget(j.migrate);
        j.migrate->storage = j.storage;
        j.done(j.job, r, NULL, err);
}

/* Takes s. */
static int work(Migrate *m, Storage *s, int (*run)(void *, Error *), OpDone done, void *job,
                Error *reterr) {
        StorageJob *j = malloc(sizeof(*j));
        int r;

        if (!j) {
                (void)storage_free(s);
                return error_oom(reterr);
        }
        *j = (StorageJob){ .migrate = m, .storage = s, .done = done, .job = job };
        r = file_job(m->shim, run, j, on_worked, j, reterr);
        if (r < 0) {
                (void)storage_free(s);
                free(j);
        }
        return r;
}

/* -- destination -- */

int migrate_storage_prepare(Migrate *m, const char *offer, OpDone done, void *job, Error *reterr) {
        _cleanup_(storage_freep) Storage *s = NULL;
        json_object *list;
        int r;

        r = make_plan(m, migration_session(m->migration), TOKEN_DESTINATION, m->options.storage, &s,
                      reterr);
        if (r < 0)
                return r;
        atomic_store(&m->storage_stop, false);
        list = offer[0] ? json_tokener_parse(offer) : NULL;
        if (offer[0] && !list)
                return error_setf(reterr, -EINVAL, "storage: not JSON");
        r = read_storage(s, list, reterr);
        (void)json_object_put(list);
        return r < 0 ? r : work(m, TAKE(s), work_prepare, done, job, reterr);
}

json_object *migrate_storage_answer(const Migrate *m) {
        return m->storage ? storage_json(m->storage) : json_object_new_array();
}

/* -- source, then -- */

int migrate_storage_read_answer(Migrate *m, json_object *list, Error *reterr) {
        if (!m->storage)
                return error_setf(reterr, -EBADFD, "storage: nothing was offered");
        return read_storage(m->storage, list, reterr);
}

int migrate_storage_verify(Migrate *m, OpDone done, void *job, Error *reterr) {
        if (!m->storage)
                return error_setf(reterr, -EBADFD, "storage: nothing was offered");
        return work(m, TAKE(m->storage), work_verify, done, job, reterr);
}
