/* SPDX-License-Identifier: Apache-2.0 */
/* CreateContainer: specification -> scratch disk -> definition -> container. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controllers/ids.h"
#include "hostdev/image/disk.h"
#include "lib/log.h"
#include "shim/container-spec.h"
#include "shim/definition.h"
#include "shim/file-job.h"
#include "shim/volume-check.h"

typedef struct CreateCall {
        Shim *shim;
        struct CreateCall *next; /* all that are under way */
        char *id, *log_path;
        uint64_t made; /* 0: it is defined already */
        ParsedSpec parsed;
        char *scratch; /* the disk to make; NULL: none */
        uint64_t scratch_size;
        bool *held; /* by disk: this pod has it already */
        OpDone done;
        void *job;
} CreateCall;

static CreateCall *creating; /* of the loop */

static CreateCall *create_call_free(CreateCall *c) {
        if (!c)
                return NULL;
        for (CreateCall **at = &creating; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        container_spec_done(&c->parsed);
        free(c->id);
        free(c->log_path);
        free(c->scratch);
        free(c->held);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(CreateCall *, create_call_free);

typedef struct Undefine {
        char *state, *id;
} Undefine;

static int work_undefine(void *argument, Error *reterr) {
        const Undefine *u = argument;

        return definition_drop(u->state, u->id, reterr);
}

static void on_undefined(void *userdata, int r, const void *result, const Error *err) {
        Undefine *u = userdata;

        if (r < 0)
                log_warning("a deleted container may start again: %s", error_text(err, r));
        free(u->state);
        free(u->id);
        free(u);
}

void shim_undefine(Shim *s, const char *id) {
        Undefine *u = calloc(1, sizeof(*u));
        Error e = ERROR_INIT;
        int r;

        annotations_drop(&s->annotations, id);
        if (!u)
                return;
        u->state = strdup(s->state_path);
        u->id = strdup(id);
        r = u->state && u->id ? file_job(s, work_undefine, u, on_undefined, u, &e) : error_oom(&e);
        if (r < 0)
                on_undefined(u, r, NULL, &e);
}

static void on_created(void *userdata, int r, const void *result, const Error *err) {
        CreateCall *c = userdata;
        OpDone done = c->done;
        void *job = c->job;

        if (r < 0 && c->scratch)
                (void)unlink(c->scratch);
        if (r < 0)
                annotations_drop(&c->shim->annotations, c->id);
        if (r < 0 && c->made > 0)
                shim_undefine(c->shim, c->id);
        /* Its streams were opened before the guest refused it; left behind, they would be handed
         * over with the pod as those of a process that there is none of. */
        if (r < 0 && c->made > 0 && c->shim->pod && !pod_container(c->shim->pod, c->id))
                stdio_remove(c->shim->stdio, c->id, "");
        (void)create_call_free(c);
        done(job, r, NULL, err);
}

static int create_now(CreateCall *c, Error *reterr) {
        Shim *s = c->shim;

        if (!s->pod)
                return error_setf(reterr, -EBADFD, "the VM is gone");
        return pod_create_container(s->pod, &c->parsed.spec, NULL, on_created, c, reterr);
}

/* As it was asked for, with the disk that was made for it. */
static int define(const CreateCall *c, Error *reterr) {
        DefinitionContainer d = { .id = c->id, .made = c->made };
        const char *text = json_object_to_json_string_ext(
                c->parsed.json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        int r;

        d.spec = text ? strdup(text) : NULL;
        if (!d.spec)
                return error_oom(reterr);
        r = definition_put(c->shim->state_path, &d, reterr);
        free(d.spec);
        return r;
}

/* On the thread for files. A file of this name is left from a pod that is no more. */
static int prepare_disks(void *argument, Error *reterr) {
        CreateCall *c = argument;

        for (size_t i = 0; i < c->parsed.spec.n_disks; i++) {
                const ContainerDisk *d = &c->parsed.disks[i];
                int r = d->disk.kind == SCSI_DISK_VOLUME
                                ? volume_check(d, c->held[i], c->shim->config.backing_dir, reterr)
                                : 0;

                if (r < 0)
                        return r;
        }
        if (c->scratch && unlink(c->scratch) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "remove the old %s: %m", c->scratch);
        if (c->scratch) {
                int r = disk_make_scratch(c->scratch, c->scratch_size, reterr);

                if (r < 0)
                        return r;
        }
        return c->made > 0 ? define(c, reterr) : 0;
}

static void on_disks_ready(void *userdata, int r, const void *result, const Error *err) {
        CreateCall *c = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = create_now(c, &e);
                err = &e;
        }
        if (r <= 0)
                on_created(c, r, NULL, err);
}

static int plan_scratch(CreateCall *c, Error *reterr) {
        ContainerDisk *d = &c->parsed.disks[c->parsed.scratch];

        c->scratch = shim_scratch_path(c->shim, c->id);
        if (!c->scratch)
                return error_oom(reterr);
        if (d->disk.virtual_size == 0)
                d->disk.virtual_size = DISK_SCRATCH_SIZE_DEFAULT;
        if (d->disk.virtual_size < DISK_SCRATCH_SIZE_MIN || d->disk.virtual_size > DISK_SIZE_MAX)
                return error_setf(reterr, -EINVAL, "scratch disk of %llu bytes: from %llu to %llu",
                                  (unsigned long long)d->disk.virtual_size, DISK_SCRATCH_SIZE_MIN,
                                  DISK_SIZE_MAX);
        c->scratch_size = d->disk.virtual_size;
        d->disk.host_path = c->scratch;
        d->filesystem = "ext4";
        return container_spec_set_scratch(&c->parsed, c->scratch, c->scratch_size) < 0
                       ? error_oom(reterr)
                       : 0;
}

static int create_container(Shim *s, const char *id, const char *spec_json, uint64_t made,
                            OpDone done, void *job, Error *reterr) {
        _cleanup_(create_call_freep) CreateCall *c = NULL;
        int r;

        r = id_check("container id", id, reterr);
        if (r < 0)
                return r;
        if (!s->pod || vm_state(s->vm) != VM_RUNNING)
                return error_setf(reterr, -EBADFD, "CreateContainer: the VM is %s",
                                  s->vm ? fsm_state_name(&vm_fsm, (int)vm_state(s->vm))
                                        : "not started");
        for (const CreateCall *other = creating; other; other = other->next)
                if (strcmp(other->id, id) == 0)
                        return error_setf(reterr, -EEXIST, "container %s is being created", id);
        if (pod_container(s->pod, id))
                return error_setf(reterr, -EEXIST, "container %s exists", id);
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (CreateCall){ .shim = s, .next = creating, .made = made, .done = done, .job = job };
        creating = c;
        c->id = strdup(id);
        if (!c->id || asprintf(&c->log_path, "%s/logs/%s.log", s->dir.path, id) < 0) {
                c->log_path = NULL;
                return error_oom(reterr);
        }
        r = container_spec_parse(c->id, spec_json, &c->parsed, reterr);
        if (r < 0)
                return r;
        c->parsed.spec.log_path = c->log_path;
        c->held = calloc(c->parsed.spec.n_disks + 1, sizeof(*c->held));
        if (!c->held)
                return error_oom(reterr);
        for (size_t i = 0; i < c->parsed.spec.n_disks; i++)
                c->held[i] = volume_is_held(s, c->parsed.disks[i].disk.host_path);
        if (c->parsed.scratch != SIZE_MAX)
                r = plan_scratch(c, reterr);
        if (r == 0)
                r = annotations_take(&s->annotations, c->id,
                                     json_object_object_get(c->parsed.json, "config"),
                                     &s->config.migration, reterr);
        if (r < 0)
                return r;
        r = file_job(s, prepare_disks, c, on_disks_ready, c, reterr);
        if (r == 1)
                c = NULL;
        else
                annotations_drop(&s->annotations, id);
        return r;
}

int shim_create_container(Shim *s, const char *id, const char *spec_json, OpDone done, void *job,
                          Error *reterr) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        s->made = MAX_OF(s->made + 1,
                         (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U);
        return create_container(s, id, spec_json, s->made, done, job, reterr);
}

int shim_create_defined(Shim *s, const DefinitionContainer *c, OpDone done, void *job,
                        Error *reterr) {
        return create_container(s, c->id, c->spec, 0, done, job, reterr);
}
