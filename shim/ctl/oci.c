/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/oci.h"

#include <stdio.h>
#include <string.h>

#include "shim/ctl/json.h"
#include "shim/ctl/values.h"

#define OCI_VERSION "1.0.2"

static const char *const default_env[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
};

/* Docker's set without MKNOD, which would reach the pod's disks. */
static const char *const capabilities[] = {
        "CAP_AUDIT_WRITE", "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER", "CAP_FSETID",
        "CAP_KILL",        "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETFCAP",
        "CAP_SETPCAP",     "CAP_SETUID",  "CAP_SYS_CHROOT",
};

static const char *const masked_paths[] = {
        "/proc/acpi",          "/proc/asound",      "/proc/kcore", "/proc/keys",
        "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",  "/proc/timer_list",
        "/proc/timer_stats",   "/sys/firmware",
};

static const char *const readonly_paths[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* The network is the pod's: its containers share the virtual machine's. */
static const char *const namespaces[] = { "pid", "ipc", "uts", "mount", "cgroup" };

typedef struct MountRow {
        const char *destination, *type, *source;
        const char *options[8];
} MountRow;

/* clang-format off */
static const MountRow mounts[] = {
        { "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
        { "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
        { "/dev/pts", "devpts", "devpts",
          { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
        { "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
        { "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
        { "/sys/fs/cgroup", "cgroup", "cgroup", { "nosuid", "noexec", "nodev", "relatime", "ro" } },
};
/* clang-format on */

static json_object *string_array(const char *const *strings, size_t n) {
        json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < n; i++)
                if (json_append(a, json_object_new_string(strings[i])) < 0) {
                        (void)json_object_put(a);
                        return NULL;
                }
        return a;
}

/* -- process -- */

static int make_args(char *const *args, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *a = json_object_new_array();

        if (!a)
                return error_oom(reterr);
        for (size_t i = 0; args[i]; i++) {
                if (!text_is_utf8(args[i]))
                        return error_setf(reterr, -EINVAL,
                                          "argument %zu of the command is not UTF-8", i);
                if (json_append(a, json_object_new_string(args[i])) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(a);
        return 0;
}

static size_t key_length(const char *variable) {
        return strcspn(variable, "=");
}

/* Replaces the variable of the same name, or appends. */
static int put_variable(json_object *env, const char *variable) {
        size_t n = key_length(variable);
        json_object *value = json_object_new_string(variable);

        if (!value)
                return -ENOMEM;
        for (size_t i = 0; i < json_object_array_length(env); i++) {
                const char *old = json_object_get_string(json_object_array_get_idx(env, i));

                if (key_length(old) == n && strncmp(old, variable, n) == 0) {
                        if (json_object_array_put_idx(env, i, value) < 0) {
                                (void)json_object_put(value);
                                return -ENOMEM;
                        }
                        return 0;
                }
        }
        return json_append(env, value);
}

/* "K=V", or "K" alone for the caller's own value (nothing if it has none). */
static int put_option(json_object *env, const char *option, Error *reterr) {
        _cleanup_free_ char *joined = NULL;
        const char *own;

        if (option[0] == '=' || option[0] == '\0' || !text_is_utf8(option))
                return error_setf(reterr, -EINVAL,
                                  "\"%.100s\" is no variable: NAME=VALUE, in UTF-8", option);
        if (!strchr(option, '=')) {
                own = getenv(option);
                if (!own)
                        return 0;
                if (!text_is_utf8(own))
                        return error_setf(reterr, -EINVAL, "the variable %.100s is not UTF-8",
                                          option);
                if (asprintf(&joined, "%s=%s", option, own) < 0) {
                        joined = NULL;
                        return error_oom(reterr);
                }
                option = joined;
        }
        return put_variable(env, option) < 0 ? error_oom(reterr) : 0;
}

static int make_env(const OciOptions *o, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *env = string_array(default_env, ELEMENTSOF(default_env));
        _cleanup_free_ char *hostname = NULL;
        int r = 0;

        if (!env || (o->terminal && put_variable(env, "TERM=xterm") < 0))
                return error_oom(reterr);
        if (o->hostname) {
                if (asprintf(&hostname, "HOSTNAME=%s", o->hostname) < 0) {
                        hostname = NULL;
                        return error_oom(reterr);
                }
                if (put_variable(env, hostname) < 0)
                        return error_oom(reterr);
        }
        for (size_t i = 0; o->env && o->env[i] && r == 0; i++)
                r = put_option(env, o->env[i], reterr);
        if (r < 0)
                return r;
        *ret = TAKE(env);
        return 0;
}

static json_object *make_capabilities(void) {
        static const char *const sets[] = { "bounding", "effective", "permitted" };
        _cleanup_json_ json_object *o = json_object_new_object();

        for (size_t i = 0; o && i < ELEMENTSOF(sets); i++)
                if (json_add(o, sets[i], string_array(capabilities, ELEMENTSOF(capabilities))) < 0)
                        return NULL;
        return TAKE(o);
}

static json_object *make_user(uint32_t uid, uint32_t gid) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add(o, "uid", json_object_new_int64(uid)) < 0 ||
            json_add(o, "gid", json_object_new_int64(gid)) < 0)
                return NULL;
        return TAKE(o);
}

static json_object *make_rlimits(void) {
        _cleanup_json_ json_object *a = json_object_new_array(), *o = json_object_new_object();

        if (!a || !o || json_add_string(o, "type", "RLIMIT_NOFILE") < 0 ||
            json_add(o, "hard", json_object_new_int64(65536)) < 0 ||
            json_add(o, "soft", json_object_new_int64(65536)) < 0 || json_append(a, TAKE(o)) < 0)
                return NULL;
        return TAKE(a);
}

int oci_process_make(const OciOptions *o, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *p = json_object_new_object(), *args = NULL, *env = NULL;
        const char *cwd = o->cwd ?: "/";
        int r;

        if (!o->args || !o->args[0])
                return error_setf(reterr, -EINVAL, "no command");
        if (cwd[0] != '/' || !text_is_utf8(cwd))
                return error_setf(reterr, -EINVAL, "\"%.200s\" is no absolute path", cwd);
        r = make_args(o->args, &args, reterr);
        if (r == 0)
                r = make_env(o, &env, reterr);
        if (r < 0)
                return r;
        if (!p || json_add(p, "terminal", json_object_new_boolean(o->terminal)) < 0 ||
            json_add(p, "user", make_user(o->uid, o->gid)) < 0 ||
            json_add(p, "args", TAKE(args)) < 0 || json_add(p, "env", TAKE(env)) < 0 ||
            json_add_string(p, "cwd", cwd) < 0 ||
            json_add(p, "capabilities", make_capabilities()) < 0 ||
            json_add(p, "rlimits", make_rlimits()) < 0)
                return error_oom(reterr);
        *ret = TAKE(p);
        return 0;
}

/* -- the rest of the specification -- */

static json_object *make_mount(const MountRow *row) {
        _cleanup_json_ json_object *o = json_object_new_object();
        size_t n = 0;

        while (n < ELEMENTSOF(row->options) && row->options[n])
                n++;
        if (!o || json_add_string(o, "destination", row->destination) < 0 ||
            json_add_string(o, "type", row->type) < 0 ||
            json_add_string(o, "source", row->source) < 0 ||
            json_add(o, "options", string_array(row->options, n)) < 0)
                return NULL;
        return TAKE(o);
}

static json_object *make_mounts(void) {
        _cleanup_json_ json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < ELEMENTSOF(mounts); i++)
                if (json_append(a, make_mount(&mounts[i])) < 0)
                        return NULL;
        return TAKE(a);
}

static json_object *make_namespaces(void) {
        _cleanup_json_ json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < ELEMENTSOF(namespaces); i++) {
                _cleanup_json_ json_object *o = json_object_new_object();

                if (!o || json_add_string(o, "type", namespaces[i]) < 0 ||
                    json_append(a, TAKE(o)) < 0)
                        return NULL;
        }
        return TAKE(a);
}

static json_object *make_linux(void) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add(o, "namespaces", make_namespaces()) < 0 ||
            json_add(o, "maskedPaths", string_array(masked_paths, ELEMENTSOF(masked_paths))) < 0 ||
            json_add(o, "readonlyPaths", string_array(readonly_paths, ELEMENTSOF(readonly_paths))) <
                    0)
                return NULL;
        return TAKE(o);
}

static json_object *make_root(bool read_only) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "path", "rootfs") < 0 ||
            json_add(o, "readonly", json_object_new_boolean(read_only)) < 0)
                return NULL;
        return TAKE(o);
}

static int annotate(json_object *annotations, const char *text, Error *reterr) {
        const char *equals = strchr(text, '=');
        _cleanup_free_ char *key = NULL;

        if (!equals || equals == text || !text_is_utf8(text))
                return error_setf(reterr, -EINVAL, "--annotation \"%.200s\" is not K=V", text);
        key = strndup(text, (size_t)(equals - text));
        return !key || json_add_string(annotations, key, equals + 1) < 0 ? error_oom(reterr) : 0;
}

int oci_annotate(const OciOptions *o, json_object *config, Error *reterr) {
        json_object *annotations = json_get(config, "annotations");
        int r = 0;

        if (!o->annotations || !o->annotations[0])
                return 0;
        if (!annotations) {
                annotations = json_object_new_object();
                if (json_add(config, "annotations", annotations) < 0)
                        return error_oom(reterr);
        }
        for (size_t i = 0; r == 0 && o->annotations[i]; i++)
                r = annotate(annotations, o->annotations[i], reterr);
        return r;
}

int oci_spec_make(const OciOptions *o, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *spec = json_object_new_object(), *process = NULL;
        int r;

        r = oci_process_make(o, &process, reterr);
        if (r < 0)
                return r;
        if (!spec || json_add_string(spec, "ociVersion", OCI_VERSION) < 0 ||
            json_add(spec, "process", TAKE(process)) < 0 ||
            json_add(spec, "root", make_root(o->read_only)) < 0 ||
            (o->hostname && json_add_string(spec, "hostname", o->hostname) < 0) ||
            json_add(spec, "mounts", make_mounts()) < 0 ||
            json_add(spec, "linux", make_linux()) < 0)
                return error_oom(reterr);
        r = oci_annotate(o, spec, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(spec);
        return 0;
}
