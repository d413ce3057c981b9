/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/image/files.h"
#include "shim/ctl/json.h"
#include "shim/ctl/oci.h"

/* A bundle as other runtimes' users have it: what is checked is what cannot mean the same in a
 * virtual machine. The rest is checked by the runtime in there. */
#define CONFIG_MAX (1U << 20)

static int read_config(int dir_fd, const char *directory, json_object **ret, Error *reterr) {
        _cleanup_buf_ Buf text = {};
        int r;

        r = files_read(dir_fd, "config.json", CONFIG_MAX, &text, reterr);
        if (r == 0)
                r = json_read((const char *)text.data, text.len, ret, reterr);
        if (r == 0 && !json_object_is_type(*ret, json_type_object)) {
                (void)json_object_put(*ret);
                *ret = NULL;
                r = error_setf(reterr, -EBADMSG, "not an object");
        }
        return r < 0 ? error_prefix(reterr, r, "%s/config.json", directory) : 0;
}

static int strings_only(json_object *array) {
        if (!json_object_is_type(array, json_type_array))
                return -EINVAL;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                json_object *s = json_object_array_get_idx(array, i);

                /* "\u0000" is JSON, but would cut the string off. */
                if (!json_object_is_type(s, json_type_string) ||
                    strlen(json_object_get_string(s)) != (size_t)json_object_get_string_len(s))
                        return -EINVAL;
        }
        return 0;
}

/* What is read or changed here must have the type that it has in every bundle: `linux` as a list
 * would be asked for its members. */
static int check_types(json_object *config, Error *reterr) {
        static const struct {
                const char *name;
                json_type type;
                const char *text;
        } members[] = {
                { "process", json_type_object, "an object" },
                { "root", json_type_object, "an object" },
                { "mounts", json_type_array, "an array" },
                { "linux", json_type_object, "an object" },
                { "hooks", json_type_object, "an object" },
                { "annotations", json_type_object, "an object" },
        };
        json_object *value;

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (json_object_object_get_ex(config, members[i].name, &value) &&
                    !json_object_is_type(value, members[i].type))
                        return error_setf(reterr, -EINVAL, "%s must be %s", members[i].name,
                                          members[i].text);
        value = json_get(json_get(config, "linux"), "namespaces");
        if (value && !json_object_is_type(value, json_type_array))
                return error_setf(reterr, -EINVAL, "linux.namespaces must be an array");
        return 0;
}

static int check_process(json_object *config, Error *reterr) {
        json_object *process = json_get(config, "process");
        json_object *args = json_get(process, "args"), *env = json_get(process, "env");

        if (strncmp(json_get_text(config, "ociVersion"), "1.", 2) != 0)
                return error_setf(reterr, -EINVAL, "ociVersion is \"%.20s\", 1.x is expected",
                                  json_get_text(config, "ociVersion"));
        if (!json_object_is_type(process, json_type_object))
                return error_setf(reterr, -EINVAL, "process is missing");
        if (strings_only(args) < 0 || json_object_array_length(args) == 0)
                return error_setf(reterr, -EINVAL,
                                  "process.args must be an array of strings without a zero byte, "
                                  "not empty");
        if (env && strings_only(env) < 0)
                return error_setf(reterr, -EINVAL,
                                  "process.env must be an array of strings without a zero byte");
        for (size_t i = 0; env && i < json_object_array_length(env); i++) {
                const char *s = json_object_get_string(json_object_array_get_idx(env, i));

                if (*s == '=' || !strchr(s, '='))
                        return error_setf(reterr, -EINVAL,
                                          "process.env: \"%.60s\" is no variable: NAME=VALUE", s);
        }
        if (json_get_text(process, "cwd")[0] != '/')
                return error_setf(reterr, -EINVAL, "process.cwd must be an absolute path");
        return 0;
}

static bool is_bind(json_object *mount) {
        json_object *options = json_get_array(mount, "options"), *option;

        if (strcmp(json_get_text(mount, "type"), "bind") == 0)
                return true;
        for (JSON_EACH(i, options, option)) {
                const char *s = json_object_get_string(option);

                if (s && (strcmp(s, "bind") == 0 || strcmp(s, "rbind") == 0))
                        return true;
        }
        return false;
}

static int check_host(json_object *config, Error *reterr) {
        json_object *mounts = json_get_array(config, "mounts");
        json_object *namespaces = json_get_array(json_get(config, "linux"), "namespaces"), *e;

        for (JSON_EACH(i, mounts, e))
                if (is_bind(e))
                        return error_setf(reterr, -EOPNOTSUPP,
                                          "mounts: %.100s is a bind mount of %.100s of this host, "
                                          "which the virtual machine does not see: give a disk "
                                          "image with --volume",
                                          json_get_text(e, "destination"),
                                          json_get_text(e, "source"));
        for (JSON_EACH(k, namespaces, e))
                if (*json_get_text(e, "path"))
                        return error_setf(reterr, -EOPNOTSUPP,
                                          "linux.namespaces: %.100s is a namespace of this host, "
                                          "which the virtual machine does not see",
                                          json_get_text(e, "path"));
        e = json_get(config, "process");
        if (*json_get_text(e, "apparmorProfile"))
                return error_setf(reterr, -EOPNOTSUPP,
                                  "process.apparmorProfile: %.100s is a profile of this host, and "
                                  "the virtual machine has no AppArmor",
                                  json_get_text(e, "apparmorProfile"));
        if (json_get(json_get(config, "linux"), "intelRdt"))
                return error_setf(reterr, -EOPNOTSUPP,
                                  "linux.intelRdt is of this host's processor, which the virtual "
                                  "machine cannot divide");
        e = json_get(config, "hooks");
        if (e && json_object_is_type(e, json_type_object) && json_object_object_length(e) > 0)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "hooks are programs of this host, which the "
                                  "virtual machine does not see");
        return 0;
}

static int find_root(int dir_fd, const char *directory, json_object *config, char **ret,
                     Error *reterr) {
        const char *path = json_get_text(json_get(config, "root"), "path");
        _cleanup_free_ char *joined = NULL;
        struct stat st;

        if (!*path)
                return error_setf(reterr, -EINVAL, "root.path is missing");
        if (asprintf(&joined, "%s%s%s", *path == '/' ? "" : directory, *path == '/' ? "" : "/",
                     path) < 0) {
                joined = NULL;
                return error_oom(reterr);
        }
        if (stat(joined, &st) < 0)
                return error_setf(reterr, -errno, "root.path: %s: %m", joined);
        if (!S_ISDIR(st.st_mode))
                return error_setf(reterr, -ENOTDIR, "root.path: %s is no directory", joined);
        *ret = TAKE(joined);
        return 0;
}

/* A name of its own is only for a container that does not share the machine's. */
static bool has_uts_namespace(json_object *config) {
        json_object *list = json_get_array(json_get(config, "linux"), "namespaces"), *ns;

        for (JSON_EACH(i, list, ns))
                if (strcmp(json_get_text(ns, "type"), "uts") == 0)
                        return true;
        return false;
}

/* What the command line says over what the bundle says. */
static int override(json_object *config, const OciOptions *o, Error *reterr) {
        json_object *process = json_get(config, "process"), *linux_part = json_get(config, "linux");
        _cleanup_json_ json_object *made = NULL;
        char *const nothing[] = { (char[]){ "x" }, NULL };
        OciOptions wanted = *o;
        int r;

        if (!o->args || !o->args[0])
                wanted.args = nothing;
        r = oci_process_make(&wanted, &made, reterr);
        if (r < 0)
                return r;
        if (o->args && o->args[0] &&
            json_add(process, "args", json_object_get(json_get(made, "args"))) < 0)
                return error_oom(reterr);
        if (o->env && o->env[0]) {
                json_object *env = json_get(process, "env"), *more = json_get(made, "env");

                if (!env) {
                        env = json_object_new_array();
                        if (json_add(process, "env", env) < 0)
                                return error_oom(reterr);
                }
                /* the last one of a name counts */
                for (size_t i = 1; i < json_object_array_length(more); i++)
                        if (json_append(env, json_object_get(json_object_array_get_idx(more, i))) <
                            0)
                                return error_oom(reterr);
        }
        if (o->cwd && json_add_string(process, "cwd", o->cwd) < 0)
                return error_oom(reterr);
        if (o->user_given && json_add(process, "user", json_object_get(json_get(made, "user"))) < 0)
                return error_oom(reterr);
        if (o->read_only &&
            json_add(json_get(config, "root"), "readonly", json_object_new_boolean(true)) < 0)
                return error_oom(reterr);
        /* optional by the specification, but not for crun */
        if (!json_get(config, "mounts") && json_add(config, "mounts", json_object_new_array()) < 0)
                return error_oom(reterr);
        r = oci_annotate(o, config, reterr);
        if (r < 0)
                return r;
        if (o->terminal && json_add(process, "terminal", json_object_new_boolean(true)) < 0)
                return error_oom(reterr);
        if (o->hostname && has_uts_namespace(config) && !json_get(config, "hostname") &&
            json_add_string(config, "hostname", o->hostname) < 0)
                return error_oom(reterr);
        json_object_object_del(config, "hooks");
        if (linux_part)
                json_object_object_del(linux_part, "cgroupsPath");
        return 0;
}

int oci_bundle_load(const char *directory, const OciOptions *o, json_object **ret_config,
                    char **ret_root, Error *reterr) {
        _cleanup_json_ json_object *config = NULL;
        _cleanup_free_ char *root = NULL, *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        path = realpath(directory, NULL);
        fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
        if (fd < 0)
                return error_setf(reterr, -errno, "bundle %s: %m", directory);
        r = read_config(fd, path, &config, reterr);
        if (r < 0)
                return r;
        r = check_types(config, reterr);
        if (r == 0)
                r = check_process(config, reterr);
        if (r == 0)
                r = check_host(config, reterr);
        if (r == 0)
                r = find_root(fd, path, config, &root, reterr);
        if (r == 0)
                r = override(config, o, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s/config.json", path);
        *ret_config = TAKE(config);
        *ret_root = TAKE(root);
        return 0;
}
