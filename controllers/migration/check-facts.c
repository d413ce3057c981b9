/* SPDX-License-Identifier: Apache-2.0 */
/* The facts of a check: which there are, and the only way from a host's words to the rules. */
#include "controllers/migration/check.h"

/* clang-format off */
#define F(member, kind, key) FACTS_FIELD(CheckFacts, member, kind, key)
static const FactsField host_fields[] = {
        F(host, TEXT, "name"), F(uuid, TEXT, "uuid"), F(arch, TEXT, "arch"),
        F(trouble, TEXT, "trouble"), F(qemu, NUMBER, "qemu"), F(libvirt, NUMBER, "libvirt"),
        F(available_mib, NUMBER, "available_mib"), F(huge_pages_free, NUMBER, "huge_pages_free"),
        F(knows_machine, ANSWER, "knows_machine"), F(has_kvm, ANSWER, "has_kvm"),
        F(fits_cpu, ANSWER, "fits_cpu"), F(cpu_text, TEXT, "cpu_text"),
};
static const FactsField domain_fields[] = {
        F(state, TEXT, "state"), F(job, TEXT, "job"), F(type, TEXT, "type"),
        F(machine, TEXT, "machine"), F(memory_mib, NUMBER, "memory_mib"),
        F(huge_page_kib, NUMBER, "huge_page_kib"), F(block_jobs, NUMBER, "block_jobs"),
        F(snapshots, NUMBER, "snapshots"), F(agent, ANSWER, "agent"),
};
static const FactsField image_fields[] = {
        F(kernel, TEXT, "kernel"), F(initrd, TEXT, "initrd"), F(image_error, TEXT, "error"),
};
static const FactsField session_fields[] = { F(session_state, TEXT, "state") };
static const FactsField network_fields[] = {
        F(network, TEXT, "kind"), F(namespace, TEXT, "namespace"),
        F(namespace_error, TEXT, "error"), F(network_mode, TEXT, "mode"),
};
static const FactsField transport_fields[] = {
        F(transport, ANSWER, "reached"), F(transport_error, TEXT, "error"),
};
static const FactsField layers_fields[] = {
        F(layers_missing, NUMBER, "missing"), F(layers_bytes, NUMBER, "bytes"),
        F(layers_free, NUMBER, "free"),
};
static const FactsField load_fields[] = {
        F(memory_used, NUMBER, "used"), F(grain, NUMBER, "grain"), F(short_ms, NUMBER, "short_ms"),
        F(short_bytes, NUMBER, "short_bytes"), F(long_ms, NUMBER, "long_ms"),
        F(long_bytes, NUMBER, "long_bytes"), F(far_ms, NUMBER, "far_ms"), F(far_bytes, NUMBER, "far_bytes"),
        F(load_error, TEXT, "error"),
};
#undef F
#define F(member, kind, key) FACTS_FIELD(CheckDisk, member, kind, key)
static const FactsField disk_fields[] = {
        F(slot, NUMBER, "slot"), F(path, TEXT, "path"), F(there, TEXT, "there"),
        F(plan, TEXT, "plan"), F(why, TEXT, "why"), F(cache, TEXT, "cache"),
        F(token, TEXT, "token"), F(filesystem, TEXT, "filesystem"), F(size, NUMBER, "size"),
        F(allocated, NUMBER, "allocated"), F(data, NUMBER, "data"), F(free, NUMBER, "free"),
        F(exists, ANSWER, "exists"), F(seen, ANSWER, "seen"),
};
#undef F
static const FactsField interface_fields[] = {
        FACTS_FIELD(CheckInterface, name, TEXT, "name"), FACTS_FIELD(CheckInterface, mac, TEXT, "mac"),
        FACTS_FIELD(CheckInterface, mtu, NUMBER, "mtu"),
};
static const FactsField envelope_fields[] = {
        FACTS_FIELD(CheckEnvelope, kind, TEXT, "kind"), FACTS_FIELD(CheckEnvelope, min, NUMBER, "min"),
        FACTS_FIELD(CheckEnvelope, current, NUMBER, "current"),
};
/* clang-format on */

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
                r = facts_read_text(v, "devices", &f->devices[i], reterr);
                if (r < 0)
                        return r;
        }
        f->n_devices = n;
        return 0;
}

#define PART(o, name, fields) facts_read_part((o), (name), (fields), ELEMENTSOF(fields), f, reterr)

static int read_all(CheckFacts *f, json_object *o, Error *reterr) {
        int r;

        if ((r = PART(o, "host", host_fields)) < 0 || (r = PART(o, "domain", domain_fields)) < 0 ||
            (r = PART(o, "image", image_fields)) < 0 ||
            (r = PART(o, "session", session_fields)) < 0 ||
            (r = PART(o, "network", network_fields)) < 0 ||
            (r = PART(o, "transport", transport_fields)) < 0 ||
            (r = PART(o, "layers", layers_fields)) < 0 || (r = PART(o, "load", load_fields)) < 0 ||
            (r = read_devices(f, o, reterr)) < 0)
                return r;
        f->disks = calloc(CHECK_DISKS_MAX, sizeof(*f->disks));
        if (!f->disks)
                return error_oom(reterr);
        r = facts_read_list(o, "disks", disk_fields, ELEMENTSOF(disk_fields), f->disks,
                            sizeof(*f->disks), CHECK_DISKS_MAX, &f->n_disks, reterr);
        if (r == 0)
                r = facts_read_list(o, "interfaces", interface_fields, ELEMENTSOF(interface_fields),
                                    f->interfaces, sizeof(*f->interfaces), CHECK_INTERFACES_MAX,
                                    &f->n_interfaces, reterr);
        if (r == 0)
                r = facts_read_list(o, "envelopes", envelope_fields, ELEMENTSOF(envelope_fields),
                                    f->envelopes, sizeof(*f->envelopes), CHECK_ENVELOPES_MAX,
                                    &f->n_envelopes, reterr);
        return r;
}

int check_facts_read(const char *text, CheckFacts **ret, Error *reterr) {
        _cleanup_(check_facts_freep) CheckFacts *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return error_oom(reterr);
        r = facts_parse(text, CHECK_FACTS_MAX, &f->document, reterr);
        if (r == 0)
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
