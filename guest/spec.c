/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/spec.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <json-c/json.h>

enum { DEPTH_MAX = 64 };

static json_object *object_free(json_object *o) {
        (void)json_object_put(o);
        return NULL;
}
DEFINE_CLEANUP(json_object *, object_free);

static json_tokener *tokener_free(json_tokener *t) {
        json_tokener_free(t);
        return NULL;
}
DEFINE_CLEANUP(json_tokener *, tokener_free);

static int parse(const char *what, const void *json, size_t n, json_object **ret, Error *reterr) {
        _cleanup_(tokener_freep) json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
        _cleanup_(object_freep) json_object *o = NULL;

        if (!t)
                return error_oom(reterr);
        if (n > INT_MAX)
                return error_setf(reterr, -EINVAL, "%s is too long", what);
        json_tokener_set_flags(t, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(t, json, (int)n);
        if (!o)
                return error_setf(reterr, -EINVAL, "%s is not JSON: %s at byte %zu", what,
                                  json_tokener_error_desc(json_tokener_get_error(t)),
                                  json_tokener_get_parse_end(t));
        if (!json_object_is_type(o, json_type_object))
                return error_setf(reterr, -EINVAL, "%s is not a JSON object", what);
        if (memchr(json, '\0', n))
                return error_setf(reterr, -EINVAL, "%s has a zero byte", what);
        *ret = TAKE(o);
        return 0;
}

/* The object that is member `name` of o, made if it is not there. Borrowed. */
static int member_object(json_object *o, const char *name, json_object **ret, Error *reterr) {
        json_object *m = NULL;

        if (json_object_object_get_ex(o, name, &m) && m) {
                if (!json_object_is_type(m, json_type_object))
                        return error_setf(reterr, -EINVAL, "\"%s\" is not an object", name);
                *ret = m;
                return 0;
        }
        m = json_object_new_object();
        if (!m)
                return error_oom(reterr);
        if (json_object_object_add(o, name, m) < 0) {
                (void)json_object_put(m);
                return error_oom(reterr);
        }
        *ret = m;
        return 0;
}

/* Takes `value`, also when it fails. */
static int set_member(json_object *o, const char *name, json_object *value, Error *reterr) {
        if (!value || json_object_object_add(o, name, value) < 0) {
                (void)json_object_put(value);
                return error_oom(reterr);
        }
        return 0;
}

static int set_terminal(json_object *process, const StdioSpec *stdio, Error *reterr) {
        _cleanup_(object_freep) json_object *size = NULL;
        bool terminal = stdio && stdio->terminal;
        int r;

        r = set_member(process, "terminal", json_object_new_boolean(terminal), reterr);
        if (r < 0)
                return r;
        json_object_object_del(process, "consoleSize");
        if (!terminal || stdio->rows == 0 || stdio->columns == 0)
                return 0;
        size = json_object_new_object();
        if (!size)
                return error_oom(reterr);
        r = set_member(size, "height", json_object_new_int64(stdio->rows), reterr);
        if (r < 0)
                return r;
        r = set_member(size, "width", json_object_new_int64(stdio->columns), reterr);
        if (r < 0)
                return r;
        return set_member(process, "consoleSize", TAKE(size), reterr);
}

static int print(json_object *o, Buf *ret, Error *reterr) {
        size_t n = 0;
        const char *text = json_object_to_json_string_length(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

        if (!text || buf_append(ret, text, n) < 0)
                return error_oom(reterr);
        return 0;
}

int spec_make_config(const void *json, size_t n, const char *rootfs, const char *cgroup,
                     const StdioSpec *stdio, Buf *ret, Error *reterr) {
        _cleanup_(object_freep) json_object *o = NULL;
        json_object *root, *process, *linux_;
        int r;

        r = parse("config", json, n, &o, reterr);
        if (r < 0)
                return r;
        if ((r = member_object(o, "root", &root, reterr)) < 0 ||
            (r = member_object(o, "process", &process, reterr)) < 0 ||
            (r = member_object(o, "linux", &linux_, reterr)) < 0)
                return r;
        r = set_member(root, "path", json_object_new_string(rootfs), reterr);
        if (r < 0)
                return r;
        r = set_member(linux_, "cgroupsPath", json_object_new_string(cgroup), reterr);
        if (r < 0)
                return r;
        r = set_terminal(process, stdio, reterr);
        if (r < 0)
                return r;
        return print(o, ret, reterr);
}

static bool mounts_at(json_object *mounts, const char *path) {
        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *at = NULL;

                if (json_object_object_get_ex(json_object_array_get_idx(mounts, i), "destination",
                                              &at) &&
                    json_object_is_type(at, json_type_string) &&
                    strcmp(json_object_get_string(at), path) == 0)
                        return true;
        }
        return false;
}

static int add_bind(json_object *mounts, const char *path, Error *reterr) {
        static const char *const words[] = { "bind", "ro", "nosuid", "nodev", "noexec" };
        _cleanup_(object_freep) json_object *m = json_object_new_object(),
                                            *options = json_object_new_array();
        int r;

        for (size_t i = 0; options && i < ELEMENTSOF(words); i++)
                if (json_object_array_add(options, json_object_new_string(words[i])) < 0)
                        return error_oom(reterr);
        if (!m || !options)
                return error_oom(reterr);
        if ((r = set_member(m, "destination", json_object_new_string(path), reterr)) < 0 ||
            (r = set_member(m, "source", json_object_new_string(path), reterr)) < 0 ||
            (r = set_member(m, "type", json_object_new_string("bind"), reterr)) < 0 ||
            (r = set_member(m, "options", TAKE(options), reterr)) < 0)
                return r;
        if (json_object_array_add(mounts, m) < 0)
                return error_oom(reterr);
        (void)TAKE(m);
        return 0;
}

int spec_share_files(Buf *config, const char *const *files, size_t n_files, Error *reterr) {
        _cleanup_(object_freep) json_object *o = NULL;
        json_object *mounts = NULL;
        int r;

        r = parse("config", config->data, config->len, &o, reterr);
        if (r < 0)
                return r;
        if (!json_object_object_get_ex(o, "mounts", &mounts)) {
                mounts = json_object_new_array();
                r = set_member(o, "mounts", mounts, reterr);
        }
        if (r == 0 && !json_object_is_type(mounts, json_type_array))
                r = error_setf(reterr, -EINVAL, "\"mounts\" is not a list");
        for (size_t i = 0; r == 0 && i < n_files; i++)
                if (!mounts_at(mounts, files[i]))
                        r = add_bind(mounts, files[i], reterr);
        if (r < 0)
                return r;
        buf_consume(config, config->len);
        return print(o, config, reterr);
}

int spec_make_process(const void *json, size_t n, const StdioSpec *stdio, Buf *ret, Error *reterr) {
        _cleanup_(object_freep) json_object *o = NULL;
        json_object *args = NULL;
        int r;

        r = parse("process", json, n, &o, reterr);
        if (r < 0)
                return r;
        if (!json_object_object_get_ex(o, "args", &args) ||
            !json_object_is_type(args, json_type_array) || json_object_array_length(args) == 0)
                return error_setf(reterr, -EINVAL, "process has no \"args\"");
        r = set_terminal(o, stdio, reterr);
        if (r < 0)
                return r;
        return print(o, ret, reterr);
}

int spec_make_resources(const void *json, size_t n, Buf *ret, Error *reterr) {
        _cleanup_(object_freep) json_object *o = NULL;
        int r;

        r = parse("resources", json, n, &o, reterr);
        if (r < 0)
                return r;
        return print(o, ret, reterr);
}
