/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of facts: typed, bounded, and the only way from a host's words to the rules. */
#include <stddef.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/migration/check.h"

#define TEXT_MAX  512U
#define DEPTH_MAX 12

typedef enum Kind { TEXT, NUMBER, ANSWER } Kind;

typedef struct Field {
        const char *key;
        Kind kind;
        size_t offset;
} Field;

#define OF(type, member, kind, key)                                                                \
        { key, kind, offsetof(type, member) }

/* clang-format off */
#define F(member, kind, key) OF(CheckFacts, member, kind, key)
static const Field host_fields[] = {
        F(host, TEXT, "name"), F(uuid, TEXT, "uuid"), F(arch, TEXT, "arch"),
        F(trouble, TEXT, "trouble"), F(qemu, NUMBER, "qemu"), F(libvirt, NUMBER, "libvirt"),
        F(available_mib, NUMBER, "available_mib"), F(huge_pages_free, NUMBER, "huge_pages_free"),
        F(knows_machine, ANSWER, "knows_machine"), F(has_kvm, ANSWER, "has_kvm"),
        F(fits_cpu, ANSWER, "fits_cpu"), F(cpu_text, TEXT, "cpu_text"),
};
static const Field domain_fields[] = {
        F(state, TEXT, "state"), F(job, TEXT, "job"), F(type, TEXT, "type"),
        F(machine, TEXT, "machine"), F(memory_mib, NUMBER, "memory_mib"),
        F(huge_page_kib, NUMBER, "huge_page_kib"), F(block_jobs, NUMBER, "block_jobs"),
        F(snapshots, NUMBER, "snapshots"), F(agent, ANSWER, "agent"),
};
static const Field image_fields[] = {
        F(kernel, TEXT, "kernel"), F(initrd, TEXT, "initrd"), F(image_error, TEXT, "error"),
};
static const Field session_fields[] = { F(session_state, TEXT, "state") };
static const Field network_fields[] = {
        F(network, TEXT, "kind"), F(namespace, TEXT, "namespace"),
        F(namespace_error, TEXT, "error"), F(network_mode, TEXT, "mode"),
};
static const Field transport_fields[] = {
        F(transport, ANSWER, "reached"), F(transport_error, TEXT, "error"),
};
static const Field layers_fields[] = {
        F(layers_missing, NUMBER, "missing"), F(layers_bytes, NUMBER, "bytes"),
        F(layers_free, NUMBER, "free"),
};
#undef F
#define F(member, kind, key) OF(CheckDisk, member, kind, key)
static const Field disk_fields[] = {
        F(slot, NUMBER, "slot"), F(path, TEXT, "path"), F(there, TEXT, "there"),
        F(plan, TEXT, "plan"), F(why, TEXT, "why"), F(cache, TEXT, "cache"),
        F(token, TEXT, "token"), F(filesystem, TEXT, "filesystem"), F(size, NUMBER, "size"),
        F(allocated, NUMBER, "allocated"), F(free, NUMBER, "free"),
        F(exists, ANSWER, "exists"), F(seen, ANSWER, "seen"),
};
#undef F
static const Field interface_fields[] = {
        OF(CheckInterface, name, TEXT, "name"), OF(CheckInterface, mac, TEXT, "mac"),
        OF(CheckInterface, mtu, NUMBER, "mtu"),
};
static const Field envelope_fields[] = {
        OF(CheckEnvelope, kind, TEXT, "kind"), OF(CheckEnvelope, min, NUMBER, "min"),
        OF(CheckEnvelope, current, NUMBER, "current"),
};
/* clang-format on */

static const char *const type_names[] = { "a text", "a number", "true or false" };

static void put_unknown(const Field *f, void *base) {
        const uint64_t number = CHECK_NUMBER_UNKNOWN;
        const CheckAnswer answer = CHECK_UNKNOWN;
        const char *text = "";
        char *at = (char *)base + f->offset;

        if (f->kind == TEXT)
                memcpy(at, &text, sizeof(text));
        else if (f->kind == NUMBER)
                memcpy(at, &number, sizeof(number));
        else
                memcpy(at, &answer, sizeof(answer));
}

static int read_text(json_object *v, const char *what, const char **ret, Error *reterr) {
        size_t limit =
                strcmp(what, "path") == 0 || strcmp(what, "there") == 0 ? PATH_LEN_MAX : TEXT_MAX;
        const char *text = json_object_get_string(v);

        if (strlen(text) != (size_t)json_object_get_string_len(v))
                return error_setf(reterr, -EINVAL, "%s: a NUL in it", what);
        *ret = text;
        return text_check(what, text, limit, reterr);
}

static int put_value(const Field *f, json_object *v, void *base, Error *reterr) {
        static const json_type types[] = { json_type_string, json_type_int, json_type_boolean };
        char *at = (char *)base + f->offset;

        if (!json_object_is_type(v, types[f->kind]))
                return error_setf(reterr, -EINVAL, "%s is not %s", f->key, type_names[f->kind]);
        if (f->kind == TEXT) {
                const char *text;
                int r = read_text(v, f->key, &text, reterr);

                if (r == 0)
                        memcpy(at, &text, sizeof(text));
                return r;
        }
        if (f->kind == NUMBER) {
                uint64_t number = json_object_get_uint64(v);

                if (json_object_get_int64(v) < 0)
                        return error_setf(reterr, -EINVAL, "%s is below 0", f->key);
                memcpy(at, &number, sizeof(number));
                return 0;
        }
        memcpy(at, &(CheckAnswer){ json_object_get_boolean(v) ? CHECK_YES : CHECK_NO },
               sizeof(CheckAnswer));
        return 0;
}

static int read_fields(json_object *o, const Field *fields, size_t n, void *base, Error *reterr) {
        for (size_t i = 0; i < n; i++)
                put_unknown(&fields[i], base);
        for (size_t i = 0; o && i < n; i++) {
                json_object *v = NULL;
                int r;

                if (!json_object_object_get_ex(o, fields[i].key, &v))
                        continue;
                r = put_value(&fields[i], v, base, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_part(json_object *o, const char *name, const Field *fields, size_t n, void *base,
                     Error *reterr) {
        json_object *part = NULL;
        int r;

        if (json_object_object_get_ex(o, name, &part) &&
            !json_object_is_type(part, json_type_object))
                return error_setf(reterr, -EINVAL, "facts: %s is not an object", name);
        r = read_fields(part, fields, n, base, reterr);
        return r < 0 ? error_prefix(reterr, r, "facts: %s", name) : 0;
}

/* A list of objects of `size` bytes each, at most max. */
static int read_list(json_object *o, const char *name, const Field *fields, size_t n_fields,
                     void *base, size_t size, size_t max, size_t *ret_n, Error *reterr) {
        json_object *list = NULL;
        size_t n;

        *ret_n = 0;
        if (!json_object_object_get_ex(o, name, &list))
                return 0;
        if (!json_object_is_type(list, json_type_array))
                return error_setf(reterr, -EINVAL, "facts: %s is not a list", name);
        n = json_object_array_length(list);
        if (n > max)
                return error_setf(reterr, -EINVAL, "facts: %s: %zu of them, at most %zu", name, n,
                                  max);
        for (size_t i = 0; i < n; i++) {
                json_object *e = json_object_array_get_idx(list, i);
                int r;

                if (!json_object_is_type(e, json_type_object))
                        return error_setf(reterr, -EINVAL, "facts: %s: not objects", name);
                r = read_fields(e, fields, n_fields, (char *)base + i * size, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "facts: %s", name);
        }
        *ret_n = n;
        return 0;
}

static int read_devices(CheckFacts *f, json_object *o, Error *reterr) {
        json_object *domain = NULL, *list = NULL;
        size_t n;

        if (!json_object_object_get_ex(o, "domain", &domain) ||
            !json_object_object_get_ex(domain, "devices", &list))
                return 0;
        n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : SIZE_MAX;
        if (n > CHECK_DEVICES_MAX)
                return error_setf(reterr, -EINVAL, "facts: devices: not a list of at most %u",
                                  CHECK_DEVICES_MAX);
        for (size_t i = 0; i < n; i++) {
                json_object *v = json_object_array_get_idx(list, i);
                int r;

                if (!json_object_is_type(v, json_type_string))
                        return error_setf(reterr, -EINVAL, "facts: devices: not texts");
                r = read_text(v, "devices", &f->devices[i], reterr);
                if (r < 0)
                        return r;
        }
        f->n_devices = n;
        return 0;
}

#define PART(o, name, fields) read_part((o), (name), (fields), ELEMENTSOF(fields), f, reterr)

static int read_all(CheckFacts *f, json_object *o, Error *reterr) {
        int r;

        if ((r = PART(o, "host", host_fields)) < 0 || (r = PART(o, "domain", domain_fields)) < 0 ||
            (r = PART(o, "image", image_fields)) < 0 ||
            (r = PART(o, "session", session_fields)) < 0 ||
            (r = PART(o, "network", network_fields)) < 0 ||
            (r = PART(o, "transport", transport_fields)) < 0 ||
            (r = PART(o, "layers", layers_fields)) < 0 || (r = read_devices(f, o, reterr)) < 0)
                return r;
        f->disks = calloc(CHECK_DISKS_MAX, sizeof(*f->disks));
        if (!f->disks)
                return error_oom(reterr);
        r = read_list(o, "disks", disk_fields, ELEMENTSOF(disk_fields), f->disks, sizeof(*f->disks),
                      CHECK_DISKS_MAX, &f->n_disks, reterr);
        if (r == 0)
                r = read_list(o, "interfaces", interface_fields, ELEMENTSOF(interface_fields),
                              f->interfaces, sizeof(*f->interfaces), CHECK_INTERFACES_MAX,
                              &f->n_interfaces, reterr);
        if (r == 0)
                r = read_list(o, "envelopes", envelope_fields, ELEMENTSOF(envelope_fields),
                              f->envelopes, sizeof(*f->envelopes), CHECK_ENVELOPES_MAX,
                              &f->n_envelopes, reterr);
        return r;
}

int check_facts_read(const char *text, CheckFacts **ret, Error *reterr) {
        _cleanup_(check_facts_freep) CheckFacts *f = calloc(1, sizeof(*f));
        struct json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
        size_t n = strnlen(text, CHECK_FACTS_MAX + 1U);
        int r;

        if (f && t && n <= CHECK_FACTS_MAX) {
                json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
                f->document = json_tokener_parse_ex(t, text, (int)n + 1);
        }
        if (t)
                json_tokener_free(t);
        if (!f || !t)
                return error_oom(reterr);
        if (n > CHECK_FACTS_MAX)
                return error_setf(reterr, -EINVAL, "facts: longer than %u bytes", CHECK_FACTS_MAX);
        if (!json_object_is_type(f->document, json_type_object))
                return error_setf(reterr, -EBADMSG, "facts: not a JSON object");
        r = read_all(f, f->document, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(f);
        return 0;
}

CheckFacts *check_facts_free(CheckFacts *f) {
        if (!f)
                return NULL;
        free(f->disks);
        (void)json_object_put(f->document);
        free(f);
        return NULL;
}

const CheckDisk *check_facts_disk(const CheckFacts *f, uint64_t slot) {
        for (size_t i = 0; i < f->n_disks; i++)
                if (f->disks[i].slot == slot)
                        return &f->disks[i];
        return NULL;
}
