/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as a table of keys: each row says where the value goes and what it may be. */
#include "shim/config.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "controllers/vm/vm.h"
#include "hostdev/libvirt/domain-xml.h"
#include "lib/buf.h"

typedef enum KeyKind {
        KEY_PATH, /* an absolute path */
        KEY_TEXT, /* any text that is not empty */
        KEY_NAME, /* one of `names` */
        KEY_UINT, /* min..max */
        KEY_BOOL,
        KEY_OPTIONS, /* an object of migration options */
        KEY_HOOKS,   /* an object of lists of hooks */
        KEY_PLANS,   /* where plans are kept */
        KEY_NETWORK, /* how a pod's namespace is wired */
} KeyKind;

typedef struct Key {
        const char *name;
        KeyKind kind;
        size_t offset;
        const char *text; /* the default of a text */
        const char *const *names;
        uint32_t number, min, max; /* default and range; of a boolean: the default */
} Key;

static const char *const domain_types[] = { "auto", "kvm", "qemu", NULL };
static const char *const handovers[] = { "shims", "fast", "runtime", NULL };
static const char *const log_levels[] = { "debug", "info", "warning", "error", NULL };

#define AT(field) offsetof(Config, field)
static const Key keys[] = {
        { "run_dir", KEY_PATH, AT(run_dir), .text = "/run/podferry" },
        { "state_dir", KEY_PATH, AT(state_dir), .text = "/var/lib/podferry" },
        { "backing_dir", KEY_PATH, AT(backing_dir), .text = "" },
        { "guest_dir", KEY_PATH, AT(guest_dir), .text = "/usr/lib/podferry/guest" },
        { "libvirt_uri", KEY_TEXT, AT(libvirt_uri), .text = "qemu:///system" },
        { "domain_type", KEY_NAME, AT(domain_type), .text = "auto", .names = domain_types },
        { "handover", KEY_NAME, AT(handover), .text = "shims", .names = handovers },
        { "log_level", KEY_NAME, AT(log_level), .text = "info", .names = log_levels },
        { "memory_mib", KEY_UINT, AT(memory_mib), .number = 256, .min = VM_MEMORY_MIB_MIN,
          .max = VM_MEMORY_MIB_MAX },
        { "vcpus", KEY_UINT, AT(vcpus), .number = 1, .min = 1, .max = DOMAIN_VCPUS_MAX },
        { "log_max_mib", KEY_UINT, AT(log_max_mib), .number = 64, .min = 1, .max = 1U << 20 },
        { "migration", KEY_OPTIONS, AT(migration) },
        { "hooks", KEY_HOOKS, AT(hooks) },
        { "plans", KEY_PLANS, AT(plans) },
        { "network", KEY_NETWORK, AT(wiring) },
        { "stop_pod_on_term", KEY_BOOL, AT(stop_pod_on_term), .number = 0 },
};
#undef AT

static bool key_is_text(const Key *k) {
        return k->kind <= KEY_NAME;
}

static char **text_of(Config *c, const Key *k) {
        return (char **)(void *)((char *)c + k->offset);
}

static const Key *key_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        return NULL;
}

void config_done(Config *c) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (key_is_text(&keys[i]))
                        freep(text_of(c, &keys[i]));
        hooks_done(&c->hooks);
        (void)plans_config_free(c->plans);
        *c = (Config){};
}

static int set_text(Config *c, const Key *k, const char *value, Error *reterr) {
        char *copy = strdup(value);

        if (!copy)
                return error_oom(reterr);
        free(*text_of(c, k));
        *text_of(c, k) = copy;
        return 0;
}

static void set_number(Config *c, const Key *k, uint32_t value) {
        void *at = (char *)c + k->offset;

        if (k->kind == KEY_PLANS || k->kind == KEY_NETWORK) /* files; auto */
                return;
        if (k->kind == KEY_OPTIONS)
                migration_options_init(at);
        else if (k->kind == KEY_HOOKS)
                *(Hooks *)at = (Hooks){};
        else if (k->kind == KEY_BOOL)
                *(bool *)at = value;
        else
                *(uint32_t *)at = value;
}

static int set_defaults(Config *c, Error *reterr) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                if (!key_is_text(&keys[i])) {
                        set_number(c, &keys[i], keys[i].number);
                        continue;
                }
                r = set_text(c, &keys[i], keys[i].text, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool name_allowed(const char *const *names, const char *value) {
        for (; *names; names++)
                if (strcmp(*names, value) == 0)
                        return true;
        return false;
}

static int take_text(Config *c, const char *file, const Key *k, json_object *v, Error *reterr) {
        const char *text = json_object_get_string(v);

        if (!json_object_is_type(v, json_type_string) ||
            strlen(text) != (size_t)json_object_get_string_len(v) || !text[0])
                return error_setf(reterr, -EINVAL, "%s: %s must be a text", file, k->name);
        if (k->kind == KEY_PATH && text[0] != '/')
                return error_setf(reterr, -EINVAL, "%s: %s must be an absolute path, not '%s'",
                                  file, k->name, text);
        if (k->kind == KEY_NAME && !name_allowed(k->names, text))
                return error_setf(reterr, -EINVAL, "%s: %s cannot be '%s'", file, k->name, text);
        return set_text(c, k, text, reterr);
}

/* "migration": {NAME: VALUE, ...}, as the option is typed on the bus. */
static int take_options(Config *c, const char *file, const Key *k, json_object *v, Error *reterr) {
        MigrationOptions *o = (MigrationOptions *)(void *)((char *)c + k->offset);

        if (!json_object_is_type(v, json_type_object))
                return error_setf(reterr, -EINVAL, "%s: %s must be an object", file, k->name);
        json_object_object_foreach(v, name, value) {
                const char *text = json_object_get_string(value);
                int r;

                if (!json_object_is_type(value, json_type_string) &&
                    !json_object_is_type(value, json_type_int) &&
                    !json_object_is_type(value, json_type_boolean))
                        return error_setf(reterr, -EINVAL,
                                          "%s: %s: %s must be a text, a number, true or false",
                                          file, k->name, name);
                if (!text || (json_object_is_type(value, json_type_string) &&
                              strlen(text) != (size_t)json_object_get_string_len(value)))
                        return error_setf(reterr, -EINVAL, "%s: %s: %s", file, k->name, name);
                r = migration_options_set_by(o, MIGRATION_BY_CONFIGURATION, name, text, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "%s: %s", file, k->name);
        }
        return 0;
}

/* "network": {"wiring": NAME} */
static int take_network(Config *c, const char *file, const Key *k, json_object *v, Error *reterr) {
        if (!json_object_is_type(v, json_type_object))
                return error_setf(reterr, -EINVAL, "%s: %s must be an object", file, k->name);
        c->wiring = NET_WIRING_AUTO; /* the last one of the same name counts */
        json_object_object_foreach(v, name, value) {
                const char *text = json_object_get_string(value);
                int wiring;

                if (strcmp(name, "wiring") != 0)
                        return error_setf(reterr, -EINVAL, "%s: %s: unknown key '%s'", file,
                                          k->name, name);
                wiring = json_object_is_type(value, json_type_string) &&
                                         strlen(text) == (size_t)json_object_get_string_len(value)
                                 ? net_wiring_from_name(text)
                                 : -EINVAL;
                if (wiring < 0)
                        return error_setf(reterr, -EINVAL,
                                          "%s: %s: wiring must be auto, redirect or macvtap", file,
                                          k->name);
                c->wiring = (NetWiring)wiring;
        }
        return 0;
}

static int take_value(Config *c, const char *file, const Key *k, json_object *v, Error *reterr) {
        int64_t n;

        if (key_is_text(k))
                return take_text(c, file, k, v, reterr);
        if (k->kind == KEY_OPTIONS)
                return take_options(c, file, k, v, reterr);
        if (k->kind == KEY_HOOKS) {
                int r = hooks_parse(&c->hooks, v, reterr);

                return r < 0 ? error_prefix(reterr, r, "%s: %s", file, k->name) : 0;
        }
        if (k->kind == KEY_NETWORK)
                return take_network(c, file, k, v, reterr);
        if (k->kind == KEY_PLANS) {
                c->plans = plans_config_free(c->plans); /* the last one of the same name counts */
                return plans_config_read(file, v, &c->plans, reterr);
        }
        if (k->kind == KEY_BOOL) {
                if (!json_object_is_type(v, json_type_boolean))
                        return error_setf(reterr, -EINVAL, "%s: %s must be true or false", file,
                                          k->name);
                set_number(c, k, json_object_get_boolean(v) ? 1 : 0);
                return 0;
        }
        n = json_object_get_int64(v);
        if (!json_object_is_type(v, json_type_int) || n < k->min || n > k->max)
                return error_setf(reterr, -EINVAL, "%s: %s must be a number from %u to %u", file,
                                  k->name, k->min, k->max);
        set_number(c, k, (uint32_t)n);
        return 0;
}

static void json_tokener_freep(json_tokener **t) {
        if (*t)
                json_tokener_free(*t);
}

static void json_putp(json_object **o) {
        json_object_put(*o);
}

static int parse_object(const char *file, const char *text, json_object **ret, Error *reterr) {
        _cleanup_(json_tokener_freep) json_tokener *tokener = json_tokener_new();
        _cleanup_(json_putp) json_object *o = NULL;

        if (!tokener)
                return error_oom(reterr);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
        if (json_tokener_get_error(tokener) != json_tokener_success)
                return error_setf(reterr, -EINVAL, "%s: not JSON: %s at byte %zu", file,
                                  json_tokener_error_desc(json_tokener_get_error(tokener)),
                                  json_tokener_get_parse_end(tokener));
        if (!json_object_is_type(o, json_type_object))
                return error_setf(reterr, -EINVAL, "%s: must be one JSON object", file);
        *ret = TAKE(o);
        return 0;
}

int config_parse(Config *c, const char *name, const char *text, Error *reterr) {
        _cleanup_(json_putp) json_object *o = NULL;
        _cleanup_config_ Config fresh = {};
        int r;

        *c = (Config){};
        r = set_defaults(&fresh, reterr);
        if (r < 0)
                return r;
        r = parse_object(name, text, &o, reterr);
        if (r < 0)
                return r;
        json_object_object_foreach(o, key, value) {
                const Key *k = key_find(key);

                if (!k)
                        return error_setf(reterr, -EINVAL, "%s: unknown key '%s'", name, key);
                r = take_value(&fresh, name, k, value, reterr);
                if (r < 0)
                        return r;
        }
        /* The older key of the same; "migration" has the last word. */
        if (migration_options_origin(&fresh.migration, "handover") == MIGRATION_BY_DEFAULT &&
            strcmp(fresh.handover, "shims") != 0)
                r = migration_options_set_by(&fresh.migration, MIGRATION_BY_CONFIGURATION,
                                             "handover", fresh.handover, reterr);
        if (r == 0)
                r = migration_options_check(&fresh.migration, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s: migration", name);
        *c = fresh;
        fresh = (Config){};
        return 0;
}

static int read_text(const char *path, Buf *ret, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        for (;;) {
                ssize_t n;

                if (buf_reserve(ret, 4096) < 0)
                        return error_oom(reterr);
                n = read(fd, ret->data + ret->len, 4095);
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", path);
                ret->len += (size_t)n;
                ret->data[ret->len] = '\0';
                if (n == 0)
                        break;
                if (ret->len > CONFIG_SIZE_MAX)
                        return error_setf(reterr, -EINVAL, "%s: larger than %u bytes", path,
                                          CONFIG_SIZE_MAX);
        }
        if (strlen((char *)ret->data) != ret->len)
                return error_setf(reterr, -EINVAL, "%s: not a text file", path);
        return 0;
}

int config_load(Config *c, const char *path, Error *reterr) {
        _cleanup_config_ Config fresh = {};
        _cleanup_buf_ Buf text = {};
        const char *guest_dir = getenv("PODFERRY_GUEST_DIR");
        bool may_be_missing;
        int r;

        *c = (Config){};
        path = path ?: getenv("PODFERRY_CONFIG");
        may_be_missing = !path;
        path = path ?: CONFIG_PATH_DEFAULT;
        r = read_text(path, &text, reterr);
        if (r == -ENOENT && may_be_missing)
                r = config_parse(&fresh, path, "{}", reterr);
        else if (r == 0)
                r = config_parse(&fresh, path, (char *)text.data, reterr);
        if (r == 0 && guest_dir && guest_dir[0]) {
                const Key *k = key_find("guest_dir");

                if (guest_dir[0] != '/')
                        return error_setf(reterr, -EINVAL,
                                          "PODFERRY_GUEST_DIR must be an absolute path, not '%s'",
                                          guest_dir);
                r = set_text(&fresh, k, guest_dir, reterr);
        }
        if (r < 0)
                return r;
        *c = fresh;
        fresh = (Config){};
        return 0;
}
