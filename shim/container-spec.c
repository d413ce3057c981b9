/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/container-spec.h"

#include <stdio.h>
#include <string.h>

/* One key of an object: where its value goes. */
typedef struct Field {
        const char *name;
        enum { FIELD_TEXT, FIELD_BOOL, FIELD_U32, FIELD_U64, FIELD_OBJECT, FIELD_ARRAY } kind;
        void *to;
} Field;

static bool is_text(json_object *v) {
        return json_object_is_type(v, json_type_string) &&
               strlen(json_object_get_string(v)) == (size_t)json_object_get_string_len(v);
}

/* 0, or -EINVAL if v is not what the field wants. */
static int take_field(const Field *f, json_object *v) {
        uint64_t n;

        switch (f->kind) {
        case FIELD_TEXT:
                if (!is_text(v))
                        return -EINVAL;
                *(const char **)f->to = json_object_get_string(v);
                return 0;
        case FIELD_BOOL:
                if (!json_object_is_type(v, json_type_boolean))
                        return -EINVAL;
                *(bool *)f->to = json_object_get_boolean(v);
                return 0;
        case FIELD_U32:
        case FIELD_U64:
                if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0)
                        return -EINVAL;
                n = json_object_get_uint64(v);
                if (f->kind == FIELD_U64)
                        *(uint64_t *)f->to = n;
                else if (n > UINT32_MAX)
                        return -EINVAL;
                else
                        *(uint32_t *)f->to = (uint32_t)n;
                return 0;
        case FIELD_OBJECT:
        case FIELD_ARRAY:
                if (!json_object_is_type(v, f->kind == FIELD_OBJECT ? json_type_object
                                                                    : json_type_array))
                        return -EINVAL;
                *(json_object **)f->to = v;
                return 0;
        }
        return -EINVAL;
}

static int take_object(const char *what, json_object *o, const Field *fields, size_t n,
                       Error *reterr) {
        if (!json_object_is_type(o, json_type_object))
                return error_setf(reterr, -EINVAL, "%s must be an object", what);
        json_object_object_foreach(o, key, value) {
                size_t i = 0;

                while (i < n && strcmp(fields[i].name, key) != 0)
                        i++;
                if (i == n)
                        return error_setf(reterr, -EINVAL, "%s: unknown key '%s'", what, key);
                if (take_field(&fields[i], value) < 0)
                        return error_setf(reterr, -EINVAL, "%s: '%s' has the wrong type or value",
                                          what, key);
        }
        return 0;
}

static int pick(const char *what, const char *key, const char *value, const char *const *names,
                size_t n, Error *reterr) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], value) == 0)
                        return (int)i;
        return error_setf(reterr, -EINVAL, "%s: %s cannot be '%s'", what, key, value);
}

static int take_options(const char *what, json_object *array, const char ***ret, Error *reterr) {
        size_t n = array ? json_object_array_length(array) : 0;
        const char **options = calloc(n + 1, sizeof(*options));

        if (!options)
                return error_oom(reterr);
        *ret = options; /* the caller's from here on */
        for (size_t i = 0; i < n; i++) {
                json_object *v = json_object_array_get_idx(array, i);

                if (!is_text(v))
                        return error_setf(reterr, -EINVAL, "%s: options must be texts", what);
                options[i] = json_object_get_string(v);
        }
        return 0;
}

static int take_disk(ParsedSpec *p, size_t i, json_object *o, Error *reterr) {
        static const char *const roles[] = { [SCSI_DISK_LAYER] = "layer",
                                             [SCSI_DISK_SCRATCH] = "scratch",
                                             [SCSI_DISK_VOLUME] = "volume" };
        static const char *const modes[] = { [SCSI_STORAGE_COPY] = "copy",
                                             [SCSI_STORAGE_SHARED] = "shared",
                                             [SCSI_STORAGE_SAME] = "same" };
        const char *role = "", *mode = NULL;
        ContainerDisk *d = &p->disks[i];
        json_object *options = NULL;
        char what[32];
        int r;

        (void)snprintf(what, sizeof(what), "disks[%zu]", i);
        d->disk = (ScsiDiskConfig){ .host_path = "", .format = "raw", .digest = "" };
        d->filesystem = d->destination = "";
        const Field fields[] = {
                { "role", FIELD_TEXT, &role },
                { "path", FIELD_TEXT, &d->disk.host_path },
                { "format", FIELD_TEXT, &d->disk.format },
                { "filesystem", FIELD_TEXT, &d->filesystem },
                { "read_only", FIELD_BOOL, &d->disk.read_only },
                { "digest", FIELD_TEXT, &d->disk.digest },
                { "size", FIELD_U64, &d->disk.virtual_size },
                { "mode", FIELD_TEXT, &mode },
                { "destination", FIELD_TEXT, &d->destination },
                { "block_device", FIELD_BOOL, &d->block_device },
                { "partition", FIELD_U32, &d->partition },
                { "format_given", FIELD_BOOL, &d->format_given },
                { "options", FIELD_ARRAY, &options },
        };
        r = take_object(what, o, fields, ELEMENTSOF(fields), reterr);
        if (r < 0)
                return r;
        r = pick(what, "role", role, roles, ELEMENTSOF(roles), reterr);
        if (r < 0)
                return r;
        d->disk.kind = (ScsiDiskKind)r;
        r = pick(what, "mode", mode ?: (d->disk.kind == SCSI_DISK_LAYER ? "same" : "copy"), modes,
                 ELEMENTSOF(modes), reterr);
        if (r < 0)
                return r;
        d->disk.mode = (ScsiStorageMode)r;
        if (d->disk.kind == SCSI_DISK_SCRATCH && !d->disk.host_path[0])
                p->scratch = i;
        r = take_options(what, options, &p->options[i], reterr);
        d->options = p->options[i];
        return r;
}

static int take_disks(ParsedSpec *p, json_object *array, Error *reterr) {
        size_t n = array ? json_object_array_length(array) : 0;
        int r = 0;

        if (n > CONTAINER_DISKS_MAX)
                return error_setf(reterr, -ENOSPC, "%zu disks, at most %u are possible", n,
                                  CONTAINER_DISKS_MAX);
        p->disks = calloc(n + 1, sizeof(*p->disks));
        p->options = calloc(n + 1, sizeof(*p->options));
        if (!p->disks || !p->options)
                return error_oom(reterr);
        p->spec.disks = p->disks;
        p->spec.n_disks = n;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = take_disk(p, i, json_object_array_get_idx(array, i), reterr);
        return r;
}

static json_object *parse_json(const char *text, Error *reterr) {
        size_t n = strlen(text);
        json_tokener *t;
        json_object *o;

        if (n > CONTAINER_SPEC_MAX) {
                (void)error_setf(reterr, -EINVAL, "the specification is larger than %u bytes",
                                 CONTAINER_SPEC_MAX);
                return NULL;
        }
        t = json_tokener_new();
        if (!t) {
                (void)error_oom(reterr);
                return NULL;
        }
        json_tokener_set_flags(t, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(t, text, (int)n + 1);
        if (json_tokener_get_error(t) != json_tokener_success)
                (void)error_setf(reterr, -EINVAL, "the specification is not JSON: %s at byte %zu",
                                 json_tokener_error_desc(json_tokener_get_error(t)),
                                 json_tokener_get_parse_end(t));
        else if (!o)
                (void)error_setf(reterr, -EINVAL, "the specification must be an object");
        json_tokener_free(t);
        return o;
}

int container_spec_parse(const char *id, const char *text, ParsedSpec *ret, Error *reterr) {
        _cleanup_spec_ ParsedSpec p = { .scratch = SIZE_MAX };
        json_object *config = NULL, *disks = NULL;
        Error err = ERROR_INIT;
        int r;

        p.spec.id = id;
        p.spec.bundle = p.spec.log_path = "";
        p.json = parse_json(text, &err);
        if (!p.json) {
                if (reterr)
                        *reterr = err;
                return err.code;
        }
        const Field fields[] = {
                { "config", FIELD_OBJECT, &config },
                { "terminal", FIELD_BOOL, &p.spec.terminal },
                { "stdin", FIELD_BOOL, &p.spec.stdin_open },
                { "rows", FIELD_U32, &p.spec.rows },
                { "columns", FIELD_U32, &p.spec.columns },
                { "guest_id", FIELD_TEXT, &p.spec.guest_id },
                { "bundle", FIELD_TEXT, &p.spec.bundle },
                { "disks", FIELD_ARRAY, &disks },
        };
        r = take_object("the specification", p.json, fields, ELEMENTSOF(fields), reterr);
        if (r < 0)
                return r;
        if (!config)
                return error_setf(reterr, -EINVAL, "the specification has no 'config'");
        if (p.spec.guest_id && !p.spec.guest_id[0])
                p.spec.guest_id = NULL;
        p.spec.config_json = json_object_to_json_string_ext(config, JSON_C_TO_STRING_PLAIN);
        if (!p.spec.config_json)
                return error_oom(reterr);
        r = take_disks(&p, disks, reterr);
        if (r < 0)
                return r;
        *ret = p;
        p = (ParsedSpec){};
        return 0;
}

int container_spec_set_scratch(ParsedSpec *p, const char *path, uint64_t size) {
        json_object *disks, *disk, *values[2];
        int r = 0;

        if (!json_object_object_get_ex(p->json, "disks", &disks))
                return -EINVAL;
        disk = json_object_array_get_idx(disks, p->scratch);
        values[0] = json_object_new_string(path);
        values[1] = json_object_new_uint64(size);
        if (!values[0] || json_object_object_add(disk, "path", values[0]) < 0) {
                json_object_put(values[0]);
                r = -ENOMEM;
        }
        if (!values[1] || json_object_object_add(disk, "size", values[1]) < 0) {
                json_object_put(values[1]);
                r = -ENOMEM;
        }
        return r;
}

int container_volume_parse(const char *text, ParsedSpec *ret, Error *reterr) {
        _cleanup_spec_ ParsedSpec p = { .scratch = SIZE_MAX };
        json_object *disk, *disks;
        int r;

        disk = parse_json(text, reterr);
        if (!disk)
                return -EINVAL;
        p.json = disks = json_object_new_array();
        if (!disks || json_object_array_add(disks, disk) < 0) {
                json_object_put(disk);
                return error_oom(reterr);
        }
        r = take_disks(&p, disks, reterr);
        if (r < 0)
                return r;
        if (p.disks[0].disk.kind != SCSI_DISK_VOLUME)
                return error_setf(reterr, -EINVAL, "role: only a volume can be added");
        *ret = p;
        p = (ParsedSpec){};
        return 0;
}

void container_spec_done(ParsedSpec *p) {
        for (size_t i = 0; p->options && i < p->spec.n_disks; i++)
                free(p->options[i]);
        free(p->options);
        free(p->disks);
        json_object_put(p->json);
        *p = (ParsedSpec){};
}
