/* SPDX-License-Identifier: Apache-2.0 */
/* The disks' saved state (proto/state/v1/scsi.proto), and what a destination does with it.
 *
 * What follows from something else is not on the wire: the file name of a layer from its digest,
 * reference counts from the reservations, slots from the order. Import checks every index and every
 * cross-reference before the object leaves this file. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/scsi/scsi-internal.h"
#include "scsi.pb-c.h"

typedef Podferry__State__V1__Scsi PbScsi;
typedef Podferry__State__V1__ScsiDisk PbDisk;
typedef Podferry__State__V1__ScsiMount PbMount;

const EnvelopeType scsi_envelope = {
        .kind = "scsi",
        .type_url = "type.podferry.org/podferry.state.v1.Scsi",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__scsi__descriptor,
};

/* A digest as the name of the layer's file. */
#define LAYER_NAME_LEN (2U * DIGEST_BYTES + sizeof(".erofs"))

static const uint32_t mode_to_wire[_SCSI_STORAGE_MODE_MAX] = {
        [SCSI_STORAGE_SAME] = 0,
        [SCSI_STORAGE_COPY] = 1,
        [SCSI_STORAGE_SHARED] = 2,
};

static const char *default_filesystem(ScsiDiskKind kind) {
        return kind == SCSI_DISK_LAYER ? "erofs" : "ext4";
}

static bool name_follows_from_digest(const char *name, const char *digest) {
        return digest[0] && strlen(name) == LAYER_NAME_LEN - 1 &&
               strncmp(name, digest + 7, 2U * DIGEST_BYTES) == 0 &&
               strcmp(name + 2U * DIGEST_BYTES, ".erofs") == 0;
}

/* Everything that the packed message points at, released together. */
typedef struct Saver {
        PbScsi message;
        PbDisk *disks;
        PbDisk **disk_list;
        PbMount *mounts;
        PbMount **mount_list;
        uint64_t *reservations;
        uint8_t (*digests)[DIGEST_BYTES];
        char **directories; /* NULL-terminated */
} Saver;

static void saver_done(Saver *v) {
        free(v->disks);
        free(v->disk_list);
        free(v->mounts);
        free(v->mount_list);
        free(v->reservations);
        free(v->digests);
        strv_free(v->directories);
}

static int saver_init(Saver *v, size_t n_disks, size_t n_mounts, size_t n_reservations) {
        v->message = (PbScsi)PODFERRY__STATE__V1__SCSI__INIT;
        v->disks = calloc(n_disks + 1, sizeof(*v->disks));
        v->disk_list = calloc(n_disks + 1, sizeof(PbDisk *));
        v->mounts = calloc(n_mounts + 1, sizeof(*v->mounts));
        v->mount_list = calloc(n_mounts + 1, sizeof(PbMount *));
        v->reservations = calloc(n_reservations + 1, sizeof(*v->reservations));
        v->digests = calloc(n_disks + 1, sizeof(*v->digests));
        v->directories = calloc(n_disks + 1, sizeof(char *));
        if (!v->disks || !v->disk_list || !v->mounts || !v->mount_list || !v->reservations ||
            !v->digests || !v->directories)
                return -ENOMEM;
        v->message.disks = v->disk_list;
        v->message.directories = v->directories;
        return 0;
}

/* Index of the directory of the path; adds it. */
static int directory_index(Saver *v, const char *path, size_t len, uint32_t *ret) {
        uint32_t i = 0;

        len = MAX_OF(len, (size_t)1); /* "/" */
        for (; v->directories[i]; i++)
                if (strlen(v->directories[i]) == len && memcmp(v->directories[i], path, len) == 0)
                        break;
        if (!v->directories[i]) {
                v->directories[i] = strndup(path, len);
                if (!v->directories[i])
                        return -ENOMEM;
                v->message.n_directories++;
        }
        *ret = i;
        return 0;
}

static void save_mount(const Scsi *s, const ScsiDisk *d, const ScsiMount *m, PbMount *w,
                       uint64_t *reservations) {
        *w = (PbMount)PODFERRY__STATE__V1__SCSI_MOUNT__INIT;
        w->partition = m->config.partition;
        if (!m->config.block_device &&
            strcmp(m->filesystem, default_filesystem(d->config.kind)) != 0)
                w->filesystem = m->filesystem;
        w->read_only = m->config.read_only && !d->config.read_only;
        w->block_device = m->config.block_device;
        w->options = m->options;
        w->n_options = strv_len(m->config.options);
        w->unmounted = m->fsm.state != SCSI_MOUNT_MOUNTED;
        w->reservations = reservations;
        w->n_reservations = m->refs;
}

static int save_disk(Saver *v, const ScsiDisk *d, uint32_t skip, PbDisk *w,
                     uint8_t digest[DIGEST_BYTES]) {
        char *slash = strrchr(d->host_path, '/'), *name = slash + 1;
        int r;

        *w = (PbDisk)PODFERRY__STATE__V1__SCSI_DISK__INIT;
        w->skip = skip;
        w->kind = (uint32_t)d->config.kind;
        w->mode = mode_to_wire[d->config.mode];
        w->read_only = d->config.read_only && d->config.kind != SCSI_DISK_LAYER;
        r = directory_index(v, d->host_path, (size_t)(slash - d->host_path), &w->directory);
        if (r < 0)
                return r;
        if (!name_follows_from_digest(name, d->digest))
                w->name = name;
        if (d->digest[0]) {
                digest_to_bytes(d->digest, digest);
                w->digest = (ProtobufCBinaryData){ .len = DIGEST_BYTES, .data = digest };
        }
        w->virtual_size = d->config.virtual_size;
        if (strcmp(d->format, "raw") != 0)
                w->format = d->format;
        w->unplugged = d->fsm.state != SCSI_DISK_ATTACHED;
        return 0;
}

/* The reservations of each mount, rising, one run after another in v->reservations. */
static uint64_t *save_reservations(const Scsi *s, const ScsiMount *m, uint64_t *at) {
        for (size_t i = 0; i < s->n_reservations; i++)
                if (s->reservations[i].mount == m)
                        *at++ = s->reservations[i].id;
        return at;
}

static int save_all(const Scsi *s, Saver *v) {
        uint64_t *reservations = v->reservations;
        size_t n_mounts = 0;
        uint32_t skip = 0;
        int r;

        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++) {
                const ScsiDisk *d = s->slots[i];
                size_t n = v->message.n_disks;
                PbDisk *w = &v->disks[n];

                if (!d) {
                        skip++;
                        continue;
                }
                r = save_disk(v, d, skip, w, v->digests[n]);
                if (r < 0)
                        return r;
                skip = 0;
                w->mounts = &v->mount_list[n_mounts];
                for (const ScsiMount *m = d->mounts; m; m = m->next) {
                        save_mount(s, d, m, &v->mounts[n_mounts], reservations);
                        reservations = save_reservations(s, m, reservations);
                        v->mount_list[n_mounts] = &v->mounts[n_mounts];
                        n_mounts++;
                        w->n_mounts++;
                }
                v->disk_list[n] = w;
                v->message.n_disks++;
        }
        v->message.n_controllers = s->n_controllers;
        v->message.next_reservation = s->next_reservation;
        return 0;
}

int scsi_save(const Scsi *s, Buf *ret, Error *reterr) {
        _cleanup_(saver_done) Saver v = {};
        size_t n_disks = 0, n_mounts = 0;

        if (s->fsm.state != SCSI_SOURCE_MIGRATING)
                return fsm_refuse(&s->fsm, "save", reterr);
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++) {
                if (!s->slots[i])
                        continue;
                n_disks++;
                for (const ScsiMount *m = s->slots[i]->mounts; m; m = m->next)
                        n_mounts++;
        }
        if (saver_init(&v, n_disks, n_mounts, s->n_reservations) < 0 || save_all(s, &v) < 0)
                return error_oom(reterr);
        return envelope_seal(&scsi_envelope, &v.message.base, ret, reterr);
}

static int bad(Error *reterr, uint32_t slot, const char *what) {
        return error_setf(reterr, -EINVAL, "scsi envelope: disk in slot %u: %s", slot, what);
}

static int import_path(const PbScsi *w, const PbDisk *d, const char *digest, uint32_t slot,
                       char **ret, Error *reterr) {
        char layer[LAYER_NAME_LEN];
        const char *directory, *name = d->name;

        if (d->directory >= w->n_directories)
                return bad(reterr, slot, "directory is out of range");
        directory = w->directories[d->directory];
        if (!name[0] && !digest[0])
                return bad(reterr, slot, "it has neither name nor digest");
        if (!name[0]) {
                (void)snprintf(layer, sizeof(layer), "%.64s.erofs", digest + 7);
                name = layer;
        }
        if (strchr(name, '/'))
                return bad(reterr, slot, "its name has a slash in it");
        if (asprintf(ret, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name) < 0) {
                *ret = NULL;
                return error_oom(reterr);
        }
        return 0;
}

static int mode_from_wire(uint32_t wire, ScsiStorageMode *ret) {
        for (unsigned i = 0; i < _SCSI_STORAGE_MODE_MAX; i++)
                if (mode_to_wire[i] == wire) {
                        *ret = (ScsiStorageMode)i;
                        return 0;
                }
        return -EINVAL;
}

static int import_mount(Scsi *s, ScsiDisk *d, const PbMount *w, const ScsiMount *before,
                        ScsiMount **ret, Error *reterr) {
        _cleanup_free_ const char **options = NULL;
        ScsiMountConfig config = {
                .partition = w->partition,
                .filesystem = w->block_device    ? w->filesystem
                              : w->filesystem[0] ? w->filesystem
                                                 : default_filesystem(d->config.kind),
                .read_only = w->read_only || d->config.read_only,
                .block_device = w->block_device,
        };
        int r;

        if (before && w->partition <= before->config.partition)
                return bad(reterr, d->slot, "partitions do not rise");
        if (w->read_only && d->config.read_only)
                return bad(reterr, d->slot, "read_only is said twice");
        if (!w->unmounted && d->fsm.state != SCSI_DISK_ATTACHED)
                return bad(reterr, d->slot, "it is mounted but not plugged");
        if (w->n_reservations == 0 || w->n_reservations > SCSI_HOLDERS_MAX)
                return bad(reterr, d->slot, "its number of reservations is out of range");
        if (w->n_options > SCSI_OPTIONS_MAX)
                return bad(reterr, d->slot, "it has too many options");
        options = calloc(w->n_options + 1, sizeof(*options));
        if (!options)
                return error_oom(reterr);
        for (size_t i = 0; i < w->n_options; i++) {
                options[i] = w->options[i];
                if (i > 0 && strcmp(options[i - 1], options[i]) > 0)
                        return bad(reterr, d->slot, "its options are not sorted");
        }
        config.options = options;
        r = scsi_mount_config_check(&config, &d->config, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "scsi envelope: slot %u", d->slot);
        if (scsi_disk_add_mount(d, &config, w->unmounted ? SCSI_MOUNT_RESERVED : SCSI_MOUNT_MOUNTED,
                                ret) < 0 ||
            scsi_room_for_reservations(s, w->n_reservations) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < w->n_reservations; i++) {
                if (i > 0 && w->reservations[i] <= w->reservations[i - 1])
                        return bad(reterr, d->slot, "its reservations do not rise");
                if (w->reservations[i] == 0 || w->reservations[i] >= s->next_reservation)
                        return bad(reterr, d->slot, "a reservation is out of range");
                scsi_append_reservation(s, w->reservations[i], d, *ret);
        }
        return 0;
}

static int import_disk(Scsi *s, const PbScsi *w, const PbDisk *wd, uint32_t slot, Error *reterr) {
        char digest[7 + 64 + 1] = "";
        _cleanup_free_ char *path = NULL;
        ScsiMount *m = NULL;
        ScsiDiskConfig c;
        int r;

        if (wd->kind >= _SCSI_DISK_KIND_MAX)
                return bad(reterr, slot, "kind is unknown");
        if (wd->kind == SCSI_DISK_LAYER && wd->read_only)
                return bad(reterr, slot, "read_only is said of a layer");
        if (wd->digest.len != 0 && wd->digest.len != DIGEST_BYTES)
                return bad(reterr, slot, "digest is not 32 bytes long");
        if (wd->digest.len > 0)
                digest_from_bytes(wd->digest.data, digest);
        r = import_path(w, wd, digest, slot, &path, reterr);
        if (r < 0)
                return r;
        c = (ScsiDiskConfig){ .host_path = path,
                              .kind = (ScsiDiskKind)wd->kind,
                              .read_only = wd->read_only || wd->kind == SCSI_DISK_LAYER,
                              .format = wd->format[0] ? wd->format : "raw",
                              .digest = digest,
                              .virtual_size = wd->virtual_size };
        if (mode_from_wire(wd->mode, &c.mode) < 0)
                return bad(reterr, slot, "mode is unknown");
        r = scsi_disk_config_check(&c, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "scsi envelope: slot %u", slot);
        for (uint32_t i = 0; i < slot; i++)
                if (s->slots[i] && strcmp(s->slots[i]->host_path, path) == 0)
                        return bad(reterr, slot, "another disk has its path");
        if (scsi_disk_new(&c, slot, wd->unplugged ? SCSI_DISK_RESERVED : SCSI_DISK_ATTACHED,
                          &s->slots[slot]) < 0)
                return error_oom(reterr);
        if (wd->n_mounts == 0)
                return bad(reterr, slot, "it has no mounts");
        for (size_t i = 0; i < wd->n_mounts; i++) {
                r = import_mount(s, s->slots[slot], wd->mounts[i], m, &m, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int import_directories(const PbScsi *w, Error *reterr) {
        int r;

        if (w->n_directories > w->n_disks)
                return error_setf(reterr, -EINVAL, "scsi envelope: %zu directories for %zu disks",
                                  w->n_directories, w->n_disks);
        for (size_t i = 0; i < w->n_directories; i++) {
                r = path_check("scsi envelope: directory", w->directories[i], reterr);
                if (r < 0)
                        return r;
                for (size_t j = 0; j < i; j++)
                        if (strcmp(w->directories[i], w->directories[j]) == 0)
                                return error_setf(reterr, -EINVAL,
                                                  "scsi envelope: directory %zu is there twice", i);
        }
        return 0;
}

static int compare_reservations(const void *a, const void *b) {
        const ScsiReservation *x = a, *y = b;

        return x->id < y->id ? -1 : x->id > y->id;
}

static int import_all(Scsi *s, const PbScsi *w, Error *reterr) {
        uint32_t slots = s->n_controllers * SCSI_TARGETS, slot = 0;
        int r;

        if (w->n_disks > slots)
                return error_setf(reterr, -EINVAL, "scsi envelope: %zu disks in %u slots",
                                  w->n_disks, slots);
        if (w->next_reservation == 0)
                return error_setf(reterr, -EINVAL, "scsi envelope: next_reservation is 0");
        s->next_reservation = w->next_reservation;
        r = import_directories(w, reterr);
        for (size_t i = 0; r == 0 && i < w->n_disks; i++, slot++) {
                if (w->disks[i]->skip >= slots - slot)
                        return error_setf(reterr, -EINVAL,
                                          "scsi envelope: slot of disk %zu is out of range", i);
                slot += w->disks[i]->skip;
                r = import_disk(s, w, w->disks[i], slot, reterr);
        }
        if (r < 0)
                return r;
        if (s->n_reservations > 1)
                qsort(s->reservations, s->n_reservations, sizeof(*s->reservations),
                      compare_reservations);
        for (size_t i = 1; i < s->n_reservations; i++)
                if (s->reservations[i].id == s->reservations[i - 1].id)
                        return error_setf(reterr, -EINVAL,
                                          "scsi envelope: reservation %llu is there twice",
                                          (unsigned long long)s->reservations[i].id);
        return 0;
}

int scsi_import(Controller *parent, const void *p, size_t n, Scsi **ret, Error *reterr) {
        _cleanup_(scsi_freep) Scsi *s = NULL;
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&scsi_envelope, p, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        r = scsi_alloc(parent, ((PbScsi *)m)->n_controllers, SCSI_DESTINATION_MIGRATING, &s,
                       reterr);
        if (r == 0)
                r = import_all(s, (PbScsi *)m, reterr);
        protobuf_c_message_free_unpacked(m, NULL);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

int scsi_claim(Scsi *s, uint64_t reservation, Error *reterr) {
        ScsiReservation *r = scsi_find_reservation(s, reservation);

        if (!r || r->claimed)
                return error_setf(reterr, -EINVAL, "disk reservation %llu %s",
                                  (unsigned long long)reservation,
                                  r ? "is claimed twice" : "does not exist");
        r->claimed = true;
        return 0;
}

void scsi_unclaim(Scsi *s, uint64_t reservation) {
        ScsiReservation *r = scsi_find_reservation(s, reservation);

        if (r)
                r->claimed = false;
}

int scsi_check_claims(const Scsi *s, Error *reterr) {
        for (size_t i = 0; i < s->n_reservations; i++)
                if (!s->reservations[i].claimed)
                        return error_setf(reterr, -EINVAL, "disk reservation %llu is nobody's",
                                          (unsigned long long)s->reservations[i].id);
        return 0;
}

int scsi_can_patch(const Scsi *s, uint64_t reservation, const char *host_path, Error *reterr) {
        const ScsiReservation *res;
        const ScsiDisk *d;
        int r;

        if (s->fsm.state != SCSI_DESTINATION_MIGRATING)
                return fsm_refuse(&s->fsm, "patch", reterr);
        res = scsi_find_reservation(s, reservation);
        if (!res)
                return error_setf(reterr, -ENOENT, "there is no disk reservation %llu",
                                  (unsigned long long)reservation);
        r = path_check("disk path", host_path, reterr);
        if (r < 0)
                return r;
        d = res->disk;
        if (d->patched_by != 0 && d->patched_by != reservation &&
            strcmp(d->host_path, host_path) != 0)
                return error_setf(reterr, -EINVAL,
                                  "disk %.200s is shared and was not given the path %.200s before",
                                  d->host_path, host_path);
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++)
                if (s->slots[i] && s->slots[i] != d && s->slots[i]->patched_by != 0 &&
                    strcmp(s->slots[i]->host_path, host_path) == 0)
                        return error_setf(reterr, -EEXIST, "path %.200s was given to another disk",
                                          host_path);
        return 0;
}

int scsi_patch(Scsi *s, uint64_t reservation, const char *host_path, Error *reterr) {
        ScsiDisk *d;
        int r;

        r = scsi_can_patch(s, reservation, host_path, reterr);
        if (r < 0)
                return r;
        d = scsi_find_reservation(s, reservation)->disk;
        if (scsi_disk_set_path(d, host_path) < 0)
                return error_oom(reterr);
        if (d->patched_by == 0)
                d->patched_by = reservation;
        return 0;
}

int scsi_resume(Scsi *s, const ScsiOps *ops, void *userdata, Error *reterr) {
        if (s->fsm.state == SCSI_SOURCE_MIGRATING)
                fsm_must(&s->fsm, SCSI_ACTIVE);
        if (s->fsm.state != SCSI_DESTINATION_MIGRATING)
                return 0;
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++)
                if (s->slots[i] && s->slots[i]->patched_by == 0)
                        return error_setf(reterr, -EBADFD,
                                          "resume: disk %s (slot %u) was not given a path of "
                                          "this host",
                                          s->slots[i]->host_path, i);
        scsi_bind(s, ops, userdata);
        fsm_must(&s->fsm, SCSI_ACTIVE);
        return 0;
}

int scsi_abort_migrated(Scsi *s, Error *reterr) {
        if (s->fsm.state == SCSI_DESTINATION_MIGRATING)
                fsm_must(&s->fsm, SCSI_GONE);
        return 0;
}
