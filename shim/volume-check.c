/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/volume-check.h"

#include <inttypes.h>
#include <string.h>

#include "hostdev/disk/inspect.h"
#include "lib/log.h"
#include "shim/container-spec.h"
#include "shim/definition.h"
#include "shim/file-job.h"

static int same_path(void *path, const ScsiDiskInfo *info) {
        return strcmp(info->config.host_path, path) == 0;
}

bool volume_is_held(const Shim *s, const char *path) {
        union {
                const char *in;
                void *out;
        } u = { .in = path };

        return s->vm && scsi_each_disk(vm_scsi(s->vm), same_path, u.out) != 0;
}

int volume_check(const ContainerDisk *d, bool held, const char *backing_dir, Error *reterr) {
        const ScsiDiskConfig *c = &d->disk;
        DiskWants wants = { .format = d->format_given ? c->format : "",
                            .backing_dir = backing_dir,
                            .writable = !c->read_only,
                            .held = held };
        DiskInfo info;
        int r;

        r = disk_inspect(c->host_path, &wants, &info, reterr);
        if (r < 0)
                return r;
        if (strcmp(info.format, c->format) != 0 || info.virtual_size != c->virtual_size)
                return error_setf(reterr, -EINVAL,
                                  "%s: it is %s with %" PRIu64 " bytes, not %s with %" PRIu64,
                                  c->host_path, info.format, info.virtual_size, c->format,
                                  c->virtual_size);
        return 0;
}

typedef struct AddCall {
        Shim *shim;
        char *container_id, *text;
        ParsedSpec parsed;
        bool held;
        OpDone done;
        void *job;
} AddCall;

static AddCall *add_call_free(AddCall *c) {
        if (!c)
                return NULL;
        container_spec_done(&c->parsed);
        free(c->container_id);
        free(c->text);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(AddCall *, add_call_free);

static int work_check(void *argument, Error *reterr) {
        const AddCall *c = argument;

        return volume_check(&c->parsed.disks[0], c->held, c->shim->config.backing_dir, reterr);
}

static int work_record(void *argument, Error *reterr) {
        const AddCall *c = argument;

        return definition_add_disk(c->shim->state_path, c->container_id, c->text, reterr);
}

/* The pod has it; that it would not have it again once it was stopped is no reason to fail. */
static void on_recorded(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(add_call_freep) AddCall *c = userdata;

        if (r < 0)
                log_warning("the volume will be missing when the pod is stopped and started: %s",
                            error_text(err, r));
        c->done(c->job, 0, NULL, NULL);
}

static void on_added(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(add_call_freep) AddCall *c = userdata;
        Error e = ERROR_INIT;

        if (r < 0) {
                c->done(c->job, r, NULL, err);
                return;
        }
        r = file_job(c->shim, work_record, c, on_recorded, c, &e);
        if (r < 0)
                on_recorded(c, r, NULL, &e);
        (void)TAKE(c);
}

static void on_checked(void *userdata, int r, const void *result, const Error *err) {
        AddCall *call = userdata;
        Container *c = call->shim->pod ? pod_container(call->shim->pod, call->container_id) : NULL;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = c ? container_add_volume(c, &call->parsed.disks[0], on_added, call, &e)
                      : error_setf(&e, -ENOENT, "container %s is gone", call->container_id);
                if (r > 0)
                        return;
                err = &e;
        }
        on_added(call, r, NULL, err);
}

int volume_add(Shim *s, const char *container_id, const char *json, OpDone done, void *job,
               Error *reterr) {
        _cleanup_(add_call_freep) AddCall *call = calloc(1, sizeof(*call));
        int r;

        if (!call)
                return error_oom(reterr);
        *call = (AddCall){ .shim = s, .done = done, .job = job };
        call->container_id = strdup(container_id);
        call->text = strdup(json);
        if (!call->container_id || !call->text)
                return error_oom(reterr);
        r = container_volume_parse(json, &call->parsed, reterr);
        if (r < 0)
                return r;
        call->held = volume_is_held(s, call->parsed.disks[0].disk.host_path);
        r = file_job(s, work_check, call, on_checked, call, reterr);
        if (r == 1)
                (void)TAKE(call);
        return r;
}

typedef struct RemoveCall {
        Shim *shim;
        char *container_id, *destination;
        OpDone done;
        void *job;
} RemoveCall;

static RemoveCall *remove_call_free(RemoveCall *c) {
        if (c) {
                free(c->container_id);
                free(c->destination);
        }
        free(c);
        return NULL;
}
DEFINE_CLEANUP(RemoveCall *, remove_call_free);

static int work_forget(void *argument, Error *reterr) {
        const RemoveCall *c = argument;

        return definition_remove_disk(c->shim->state_path, c->container_id, c->destination, reterr);
}

static void on_forgotten(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(remove_call_freep) RemoveCall *c = userdata;

        if (r < 0)
                log_warning("the volume will be there again when the pod is stopped and started: "
                            "%s",
                            error_text(err, r));
        c->done(c->job, 0, NULL, NULL);
}

/* 1: on_forgotten() comes. */
static int record_removal(RemoveCall *c) {
        Error e = ERROR_INIT;
        int r = file_job(c->shim, work_forget, c, on_forgotten, c, &e);

        if (r == 1)
                return 1;
        log_warning("%s", error_text(&e, r));
        return 0;
}

static void on_removed(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(remove_call_freep) RemoveCall *c = userdata;

        if (r == 0 && record_removal(c) == 1)
                (void)TAKE(c);
        else
                c->done(c->job, r, NULL, err);
}

int volume_remove(Shim *s, const char *container_id, const char *destination, OpDone done,
                  void *job, Error *reterr) {
        _cleanup_(remove_call_freep) RemoveCall *call = calloc(1, sizeof(*call));
        Container *c = s->pod ? pod_container(s->pod, container_id) : NULL;
        int r;

        if (!c)
                return error_setf(reterr, -ENOENT, "container %s is gone", container_id);
        if (!call)
                return error_oom(reterr);
        *call = (RemoveCall){ .shim = s, .done = done, .job = job };
        call->container_id = strdup(container_id);
        call->destination = strdup(destination);
        if (!call->container_id || !call->destination)
                return error_oom(reterr);
        r = container_remove_volume(c, destination, on_removed, call, reterr);
        if (r == 0)
                r = record_removal(call);
        if (r == 1)
                (void)TAKE(call);
        return r;
}
