/* SPDX-License-Identifier: Apache-2.0 */
/* What the destination of a cold move does with what it is sent: it believes nothing that it has
 * not checked, and writes to no path but those of the pod's own directory and of its volumes. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "hostdev/disk/content.h"
#include "hostdev/image/disk.h"
#include "lib/directory.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"

#define LOG_SIZE_MAX (4ULL << 30)

int cold_check_free(const ColdReceiver *c, Error *reterr) {
        _cleanup_free_ char *run = NULL;

        if (asprintf(&run, "%s/%s", c->ctl->config.run_dir, c->name) < 0) {
                run = NULL;
                return error_oom(reterr);
        }
        return access(run, F_OK) == 0
                       ? error_setf(reterr, -EEXIST,
                                    "pod %s is on this host already: take another --name", c->name)
                       : 0;
}

void cold_remove_tokens(const ColdReceiver *c) {
        for (size_t i = 0; i < c->plan.n_disks; i++)
                if (c->plan.disks[i].plan == STORAGE_PLAN_SHARED && c->plan.disks[i].there)
                        disk_token_remove(c->plan.disks[i].there, c->session, (uint32_t)i,
                                          TOKEN_DESTINATION);
}

/* -- the offer -- */

/* What an attempt before left half is no obstacle: an offer has removed it by then. */
static bool is_left(const ColdReceiver *c) {
        _cleanup_record_ OfflineRecord in = {};

        return c->findings && offline_read(c->state, OFFLINE_INCOMING, &in, NULL) == 0 &&
               (in.state == OFFLINE_FILLING || in.state == OFFLINE_READY ||
                in.state == OFFLINE_RETURNED) &&
               strcmp(in.session, c->session) == 0;
}

static int check_name(const ColdReceiver *c, Error *reterr) {
        int r = cold_check_free(c, reterr);

        if (r == 0 && definition_is_there(c->state))
                r = error_setf(reterr, -EEXIST,
                               "pod %s is on this host already, stopped: take another --name",
                               c->name);
        return r < 0 || is_left(c) ? r : offline_check(c->ctl->config.state_dir, c->name, reterr);
}

static int check_namespace(const Definition *d, Error *reterr) {
        if (strncmp(d->network, "ns:", 3) == 0 && access(d->network + 3, F_OK) < 0)
                return error_setf(reterr, -errno, "network namespace %s: %m: make it there",
                                  d->network + 3);
        return 0;
}

/* A volume is where the other side says; what is the pod's own is in its directory. */
static int place_disk(const ColdReceiver *c, ColdDisk *d, json_object *o, Error *reterr) {
        const char *there = json_get_text(o, "there");
        int r;

        if (d->spec->disk.kind == SCSI_DISK_SCRATCH) {
                /* Its directory is not made by a question: the one above it is as good. */
                bool above =
                        c->findings && d->plan == STORAGE_PLAN_COPY && access(c->state, F_OK) < 0;
                size_t n = above ? (size_t)(strrchr(c->state, '/') - c->state) : strlen(c->state);

                if (asprintf(&d->there, "%.*s/scratch-%s.raw", (int)n, c->state,
                             c->plan.definition.containers[d->container].id) < 0) {
                        d->there = NULL;
                        return error_oom(reterr);
                }
                return 0;
        }
        r = path_check("volume", there, reterr);
        if (r < 0)
                return r;
        d->there = strdup(there);
        return d->there ? 0 : error_oom(reterr);
}

static int take_disk(const ColdReceiver *c, ColdDisk *d, json_object *o, Error *reterr) {
        int64_t bytes = json_get_number(o, "bytes"), data = json_get_number(o, "data");

        if (storage_plan_from_name(json_get_text(o, "plan")) != (int)d->plan)
                return error_setf(reterr, -EBADMSG, "disk %s is another one for the source",
                                  d->spec->disk.host_path);
        if (d->plan == STORAGE_PLAN_LAYER)
                return 0;
        if (bytes < 0 || (uint64_t)bytes > DISK_SIZE_MAX || data < 0)
                return error_setf(reterr, -EBADMSG, "disk %s: no disk has %" PRId64 " bytes",
                                  d->spec->disk.host_path, bytes);
        d->bytes = (uint64_t)bytes;
        d->data = (uint64_t)data;
        (void)snprintf(d->token, sizeof(d->token), "%s", json_get_text(o, "token"));
        return place_disk(c, d, o, reterr);
}

/* What all copies on the file system of that one take. */
static uint64_t room_for(const ColdPlan *p, const ColdDisk *d) {
        uint64_t sum = 0;

        for (size_t i = 0; i < p->n_disks; i++) {
                const ColdDisk *other = &p->disks[i];

                if (cold_is_copy(other) &&
                    (other == d || disk_same_file_system(other->there, d->there)) &&
                    __builtin_add_overflow(sum, other->data, &sum))
                        return UINT64_MAX;
        }
        return sum;
}

static int take_digest(const ColdReceiver *c, ColdDisk *d, Error *reterr) {
        atomic_bool stop = false;
        int r = disk_content_digest(d->there, d->spec->disk.format, c->ctl->config.backing_dir,
                                    &stop, d->digest, reterr);

        return r == -ENOENT ? error_setf(reterr, r,
                                         "%s: not on that host; it is read-only and not copied: "
                                         "put it there first, or share it",
                                         d->there)
                            : r;
}

/* Two disks that would become one file: an offer sees it by the mark of the first. */
static int check_other_disks(const ColdReceiver *c, size_t i, Error *reterr) {
        const ColdDisk *d = &c->plan.disks[i];

        for (size_t k = 0; k < i; k++)
                if (cold_is_copy(&c->plan.disks[k]) &&
                    strcmp(c->plan.disks[k].there, d->there) == 0)
                        return error_setf(reterr, -EEXIST,
                                          "%s would be the copy of two disks of the pod", d->there);
        return 0;
}

/* One before it has told of the room that all of them need there. */
static bool is_told(const ColdReceiver *c, size_t i) {
        for (size_t k = 0; k < i; k++)
                if (cold_is_copy(&c->plan.disks[k]) &&
                    disk_same_file_system(c->plan.disks[k].there, c->plan.disks[i].there))
                        return true;
        return false;
}

/* As prepare_disk(), but nothing is made, and bytes are not compared. */
static int check_disk(ColdReceiver *c, size_t i, Error *reterr) {
        const DiskOwner owner = { c->name, "" }; /* what this session has left, too, is replaced */
        ColdDisk *d = &c->plan.disks[i];
        int r = 0;

        if (d->spec->disk.kind == SCSI_DISK_SCRATCH && definition_is_there(c->state))
                return 0; /* its place is taken by the pod of that name, which is told already */
        if (cold_is_copy(d)) {
                r = check_other_disks(c, i, reterr);
                if (r == 0)
                        r = disk_check_destination(d->there, room_for(&c->plan, d), &owner, reterr);
                if (r == -ENOSPC && is_told(c, i))
                        return 0;
                return cold_heed_here(c,
                                      r == -EEXIST || r == -EBUSY ? "disk-exists"
                                      : r == -ENOSPC              ? "disk-space"
                                                                  : "disk-place",
                                      r, reterr);
        }
        if (d->same_as != SIZE_MAX)
                return 0;
        if (d->plan == STORAGE_PLAN_SHARED && d->token[0]) { /* without one the source says why */
                r = disk_token_check(d->there, c->session, (uint32_t)i, TOKEN_SOURCE, d->token,
                                     reterr);
                if (r == 0)
                        r = disk_token_make(d->there, c->session, (uint32_t)i, TOKEN_DESTINATION,
                                            d->token, reterr);
                else
                        d->token[0] = '\0'; /* it is not ours */
                return cold_heed_here(c, "storage-not-shared", r, reterr);
        }
        if (d->plan == STORAGE_PLAN_SAME && access(d->there, R_OK) < 0)
                r = error_setf(reterr, -errno, "%s: %m; it is read-only and not copied", d->there);
        return cold_heed_here(c, "disk-missing", r, reterr);
}

static int prepare_disk(const ColdReceiver *c, size_t i, Error *reterr) {
        const DiskOwner owner = { c->name, c->session };
        ColdDisk *d = &c->plan.disks[i];
        int r;

        if (d->same_as != SIZE_MAX)
                return 0;
        switch (d->plan) {
        case STORAGE_PLAN_COPY: /* an image is bytes of a file like any other here */
                return disk_make_destination(d->there, "raw", (d->bytes + 511) / 512 * 512,
                                             room_for(&c->plan, d), &owner, reterr);
        case STORAGE_PLAN_SHARED:
                if (!d->token[0])
                        return error_setf(reterr, -EREMOTE, "%s: the source has no token for it",
                                          d->there);
                r = disk_token_check(d->there, c->session, (uint32_t)i, TOKEN_SOURCE, d->token,
                                     reterr);
                return r < 0 ? r
                             : disk_token_make(d->there, c->session, (uint32_t)i, TOKEN_DESTINATION,
                                               d->token, reterr);
        case STORAGE_PLAN_SAME:
                return take_digest(c, d, reterr);
        case STORAGE_PLAN_LAYER:
        case _STORAGE_PLAN_MAX:
                break;
        }
        return 0;
}

static int write_record(ColdReceiver *c, json_object *request, Error *reterr) {
        const char *pod = json_get_text(request, "pod");
        int r = id_check("pod name", pod, reterr);

        if (r < 0)
                return r;
        offline_record_done(&c->record);
        c->record.state = OFFLINE_FILLING;
        (void)snprintf(c->record.session, sizeof(c->record.session), "%s", c->session);
        (void)snprintf(c->record.pod, sizeof(c->record.pod), "%s", pod);
        (void)snprintf(c->record.name, sizeof(c->record.name), "%s", c->name);
        for (size_t i = 0; i < c->plan.n_disks; i++)
                if (cold_is_copy(&c->plan.disks[i]) &&
                    words_add(&c->record.files, c->plan.disks[i].there) < 0)
                        return error_oom(reterr);
        r = directory_make(c->state, 0711, reterr);
        return r < 0 ? r : offline_write(c->state, OFFLINE_INCOMING, &c->record, reterr);
}

static int add_missing(const ColdReceiver *c, json_object *list, const ColdDisk *d) {
        _cleanup_layer_ Layer l = LAYER_INIT;

        return layer_find(c->ctl->config.state_dir, d->spec->disk.digest, &l, NULL) == 0
                       ? 0
                       : json_append(list, json_object_new_string(d->spec->disk.digest));
}

/* The layers that are missing, and the token or digest of each disk. */
static int answer_offer(const ColdReceiver *c, json_object *answer, Error *reterr) {
        json_object *missing = json_object_new_array(), *disks = json_object_new_array();

        if (json_add(answer, "missing", missing) < 0) {
                (void)json_object_put(disks);
                return error_oom(reterr);
        }
        if (json_add(answer, "disks", disks) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < c->plan.n_disks; i++) {
                const ColdDisk *d = &c->plan.disks[i];
                json_object *o = json_object_new_object();

                if (json_append(disks, o) < 0 || json_add_string(o, "token", d->token) < 0 ||
                    json_add_string(o, "digest", d->digest) < 0 ||
                    (d->plan == STORAGE_PLAN_LAYER && add_missing(c, missing, d) < 0))
                        return error_oom(reterr);
        }
        return 0;
}

int cold_take_offer(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        json_object *disks = json_get_array(request, "disks");
        MigrationStorage wish;
        int r;

        cold_plan_done(&c->plan);
        c->warm = warm_tables_free(c->warm);
        r = cold_heed_here(c, "pod-exists", check_name(c, reterr), reterr);
        if (r == 0)
                r = cold_wish(json_get_text(request, "storage"), &wish, reterr);
        if (r == 0)
                r = cold_definition_parse(json_get(request, "definition"), &c->plan.definition,
                                          reterr);
        if (r == 0)
                r = cold_heed_here(c, "namespace", check_namespace(&c->plan.definition, reterr),
                                   reterr);
        if (r == 0)
                r = cold_plan_make(&c->plan, wish, reterr);
        if (r == 0 && (!disks || json_object_array_length(disks) != c->plan.n_disks))
                r = error_setf(reterr, -EBADMSG, "the source has other disks than its definition");
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                r = take_disk(c, &c->plan.disks[i], json_object_array_get_idx(disks, i), reterr);
        for (size_t i = 0; r == 0 && c->findings && i < c->plan.n_disks; i++)
                r = check_disk(c, i, reterr);
        if (r < 0 || c->findings)
                return r < 0 ? r : answer_offer(c, answer, reterr);
        r = write_record(c, request, reterr);
        if (r == 0) /* a shim that came since: the record keeps out any later one */
                r = cold_check_free(c, reterr);
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                r = prepare_disk(c, i, reterr);
        c->offered = r == 0;
        return r < 0 ? r : answer_offer(c, answer, reterr);
}

/* -- the files -- */

static int fill_disk(const ColdReceiver *c, const ColdDisk *d, uint64_t which, Error *reterr) {
        _cleanup_close_ int fd = open(d->there, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        bool raw = strcmp(d->spec->disk.format, "raw") == 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", d->there);
        /* An image may have grown since it was offered. */
        if (!raw && ftruncate(fd, 0) < 0)
                return error_setf(reterr, -errno, "%s: %m", d->there);
        return cold_receive_file(c->pipe, fd, d->there, which, raw ? d->bytes : 1,
                                 raw ? d->bytes : DISK_SIZE_MAX, reterr);
}

static int receive_disk(const ColdReceiver *c, const ColdDisk *d, uint64_t which, Error *reterr) {
        DiskInfo info;
        int r = c->warm ? warm_take_disk(c, d, which, reterr) : fill_disk(c, d, which, reterr);

        if (r == 0)
                r = disk_sync_entry(d->there, reterr);
        if (r < 0 || strcmp(d->spec->disk.format, "raw") == 0)
                return r;
        r = disk_probe_header(d->there, &info, reterr);
        if (r == 0 && (strcmp(info.format, "qcow2") != 0 || info.backed))
                r = error_setf(reterr, -EBADMSG, "%s: what came is no image of its own", d->there);
        return r;
}

/* "CONTAINER.log" or "CONTAINER.log.1" of a container of the pod. */
static int check_log_name(const ColdReceiver *c, const char *name, Error *reterr) {
        static const char *const ends[] = { ".log", ".log.1" };

        for (size_t i = 0; i < c->plan.definition.n_containers; i++)
                for (size_t k = 0; k < ELEMENTSOF(ends); k++) {
                        const char *id = c->plan.definition.containers[i].id;

                        if (strncmp(name, id, strlen(id)) == 0 &&
                            strcmp(name + strlen(id), ends[k]) == 0)
                                return 0;
                }
        return error_setf(reterr, -EBADMSG, "log \"%.100s\" is of no container of the pod", name);
}

static int receive_log(const ColdReceiver *c, int dir, const char *name, uint64_t which,
                       Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r = check_log_name(c, name, reterr);

        if (r < 0)
                return r;
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_setf(reterr, -errno, "log %s: %m", name);
        return cold_receive_file(c->pipe, fd, name, which, 0, LOG_SIZE_MAX, reterr);
}

static int receive_logs(const ColdReceiver *c, json_object *logs, uint64_t which, Error *reterr) {
        _cleanup_close_ int state = -EBADF, dir = -EBADF;
        size_t n = logs ? json_object_array_length(logs) : 0;
        int r;

        if (n > 2 * c->plan.definition.n_containers)
                return error_setf(reterr, -EBADMSG, "%zu logs", n);
        if (n == 0)
                return 0;
        r = files_open_directory(c->state, &state, reterr);
        if (r == 0)
                r = files_sub_directory(state, "logs", 0700, &dir, reterr);
        for (size_t i = 0; r == 0 && i < n; i++) {
                json_object *name = json_object_array_get_idx(logs, i);

                r = json_object_is_type(name, json_type_string)
                            ? receive_log(c, dir, json_object_get_string(name), which + i, reterr)
                            : error_setf(reterr, -EBADMSG, "a log without a name");
        }
        if (r == 0 && fsync(dir) < 0)
                r = error_setf(reterr, -errno, "%s/logs: %m", c->state);
        return r;
}

/* The files follow the request: each disk to be copied (the rest of it, if that was begun ahead),
 * then the logs. */
int cold_take_files(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        uint64_t which = 0;
        int r;

        if (!c->offered)
                return error_setf(reterr, -EBADFD, "nothing was offered");
        r = copy_begin(&c->copy, reterr);
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                if (cold_is_copy(&c->plan.disks[i]))
                        r = receive_disk(c, &c->plan.disks[i], which++, reterr);
        return r < 0 ? r : receive_logs(c, json_get_array(request, "logs"), which, reterr);
}

/* -- the seal -- */

static int place_layers(ColdReceiver *c, Error *reterr) {
        for (size_t i = 0; i < c->plan.n_disks; i++) {
                ColdDisk *d = &c->plan.disks[i];
                _cleanup_layer_ Layer l = LAYER_INIT;
                int r;

                if (d->plan != STORAGE_PLAN_LAYER)
                        continue;
                r = layer_find(c->ctl->config.state_dir, d->spec->disk.digest, &l, reterr);
                if (r < 0)
                        return r;
                free(d->there);
                d->there = strdup(l.path);
                if (!d->there)
                        return error_oom(reterr);
        }
        return 0;
}

static int write_definition(const ColdReceiver *c, Error *reterr) {
        _cleanup_free_ char *staging = offline_staging(c->state);
        const Definition *d = &c->plan.definition;
        _cleanup_close_ int dir = -EBADF;
        int r;

        if (!staging)
                return error_oom(reterr);
        r = definition_begin(staging, d, reterr);
        for (size_t i = 0; r == 0 && i < d->n_containers; i++)
                r = definition_put(staging, &d->containers[i], reterr);
        if (r < 0)
                return r;
        dir = open(staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0 || fsync(dir) < 0 ? error_setf(reterr, -errno, "%s: %m", staging) : 0;
}

/* All of it is on disk, with marks that keep it from being started. */
int cold_take_seal(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        int r;

        if (!c->offered)
                return error_setf(reterr, -EBADFD, "nothing was offered");
        cold_remove_tokens(c);
        r = place_layers(c, reterr);
        if (r == 0)
                r = cold_plan_adapt(&c->plan, reterr);
        if (r == 0)
                r = write_definition(c, reterr);
        if (r == 0) /* the pod's own directory may be new */
                r = disk_sync_entry(c->state, reterr);
        c->record.state = OFFLINE_READY;
        if (r == 0)
                r = offline_write(c->state, OFFLINE_INCOMING, &c->record, reterr);
        copy_leave(&c->copy);
        return r;
}
