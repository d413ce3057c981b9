/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/cold-plan.h"

#include <string.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "controllers/pod/pod.h"
#include "shim/ctl/json.h"

#define TOTAL_MAX (32U << 20) /* all specifications together */

void cold_plan_done(ColdPlan *p) {
        for (size_t i = 0; p->specs && i < p->definition.n_containers; i++)
                container_spec_done(&p->specs[i]);
        for (size_t i = 0; i < p->n_disks; i++)
                free(p->disks[i].there);
        free(p->specs);
        free(p->disks);
        definition_done(&p->definition);
        *p = (ColdPlan){};
}

bool cold_is_copy(const ColdDisk *d) {
        return d->plan == STORAGE_PLAN_COPY && d->same_as == SIZE_MAX;
}

static const char *const wishes[_MIGRATION_STORAGE_MAX] = {
        [MIGRATION_STORAGE_AUTO] = "auto",
        [MIGRATION_STORAGE_SHARED] = "shared",
        [MIGRATION_STORAGE_COPY] = "copy",
};

const char *cold_wish_name(MigrationStorage wish) {
        return wishes[wish];
}

int cold_wish(const char *text, MigrationStorage *ret, Error *reterr) {
        *ret = MIGRATION_STORAGE_AUTO;
        if (!text || !*text)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(wishes); i++)
                if (strcmp(wishes[i], text) == 0) {
                        *ret = (MigrationStorage)i;
                        return 0;
                }
        return error_setf(reterr, -EINVAL, "--storage \"%.40s\": copy or shared", text);
}

static size_t find_same(const ColdPlan *p, const ContainerDisk *d) {
        for (size_t i = 0; i < p->n_disks; i++)
                if (p->disks[i].same_as == SIZE_MAX && d->disk.kind == SCSI_DISK_VOLUME &&
                    strcmp(p->disks[i].spec->disk.host_path, d->disk.host_path) == 0)
                        return i;
        return SIZE_MAX;
}

static int add_disk(ColdPlan *p, size_t container, size_t index, MigrationStorage wish,
                    Error *reterr) {
        const ContainerDisk *spec = &p->specs[container].disks[index];
        StoragePlan plan;
        int r;

        r = path_check("disk", spec->disk.host_path, reterr);
        if (r == 0)
                r = storage_plan(&spec->disk, wish, &plan, reterr);
        if (r == 0 && spec->disk.kind == SCSI_DISK_LAYER)
                r = layer_digest_check(spec->disk.digest, reterr);
        if (r < 0)
                return r;
        if (strcmp(spec->disk.format, "raw") != 0 && strcmp(spec->disk.format, "qcow2") != 0)
                return error_setf(reterr, -EINVAL, "disk %s: no disk format \"%.40s\"",
                                  spec->disk.host_path, spec->disk.format);
        if (p->n_disks >= COLD_DISKS_MAX)
                return error_setf(reterr, -ENOSPC, "the pod has more than %u disks",
                                  COLD_DISKS_MAX);
        p->disks[p->n_disks] = (ColdDisk){ .container = container,
                                           .index = index,
                                           .spec = spec,
                                           .plan = plan,
                                           .same_as = find_same(p, spec) };
        p->n_disks++;
        return 0;
}

int cold_plan_make(ColdPlan *p, MigrationStorage wish, Error *reterr) {
        const Definition *d = &p->definition;
        int r = 0;

        p->specs = calloc(d->n_containers + 1, sizeof(*p->specs));
        p->disks = calloc(COLD_DISKS_MAX, sizeof(*p->disks));
        if (!p->specs || !p->disks)
                return error_oom(reterr);
        for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
                const DefinitionContainer *c = &d->containers[i];

                r = container_spec_parse(c->id, c->spec, &p->specs[i], reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "definition of container %s", c->id);
                for (size_t k = 0; r == 0 && k < p->specs[i].spec.n_disks; k++)
                        r = add_disk(p, i, k, wish, reterr);
        }
        return r;
}

int cold_plan_adapt(ColdPlan *p, Error *reterr) {
        for (size_t i = 0; i < p->n_disks; i++) {
                const ColdDisk *d = &p->disks[i];
                json_object *disks = json_get_array(p->specs[d->container].json, "disks");
                json_object *o = json_object_array_get_idx(disks, d->index);
                const ColdDisk *at = d->same_as == SIZE_MAX ? d : &p->disks[d->same_as];

                if (json_add_string(o, "path", at->there) < 0)
                        return error_oom(reterr);
        }
        for (size_t i = 0; i < p->definition.n_containers; i++) {
                DefinitionContainer *c = &p->definition.containers[i];
                const char *text = json_object_to_json_string_ext(
                        p->specs[i].json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
                char *copy = text ? strdup(text) : NULL;

                if (!copy)
                        return error_oom(reterr);
                free(c->spec);
                c->spec = copy;
        }
        return 0;
}

/* -- as JSON -- */

static json_object *container_json(const DefinitionContainer *c) {
        _cleanup_json_ json_object *o = json_object_new_object();

        return !o || json_add_string(o, "id", c->id) < 0 ||
                               json_add(o, "made", json_object_new_uint64(c->made)) < 0 ||
                               json_add_string(o, "spec", c->spec) < 0
                       ? NULL
                       : TAKE(o);
}

json_object *cold_definition_json(const Definition *d) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *list = json_object_new_array();

        if (!o || json_add(o, "containers", list) < 0 ||
            json_add(o, "memory_mib", json_object_new_uint64(d->memory_mib)) < 0 ||
            json_add(o, "vcpus", json_object_new_uint64(d->vcpus)) < 0 ||
            json_add_string(o, "network", d->network) < 0 ||
            json_add_string(o, "publish", d->publish) < 0)
                return NULL;
        for (size_t i = 0; i < d->n_containers; i++)
                if (json_append(list, container_json(&d->containers[i])) < 0)
                        return NULL;
        return TAKE(o);
}

static int take_container(json_object *o, DefinitionContainer *c, size_t *total, Error *reterr) {
        const char *id = json_get_text(o, "id"), *spec = json_get_text(o, "spec");
        int64_t made = json_get_number(o, "made");
        int r = id_check("container id", id, reterr);

        if (r < 0)
                return r;
        *total += strlen(spec);
        if (*total > TOTAL_MAX || made < 0)
                return error_setf(reterr, -EBADMSG, "container %s: its definition is too large",
                                  id);
        c->made = (uint64_t)made;
        c->id = strdup(id);
        c->spec = strdup(spec);
        return c->id && c->spec ? 0 : error_oom(reterr);
}

static int check_network(const Definition *d, Error *reterr) {
        int r = text_check("published ports", d->publish, TEXT_LEN_MAX, reterr);

        if (r < 0 || strcmp(d->network, "none") == 0 || strcmp(d->network, "user") == 0)
                return r;
        return strncmp(d->network, "ns:", 3) == 0
                       ? path_check("network namespace", d->network + 3, reterr)
                       : error_setf(reterr, -EBADMSG, "network \"%.100s\" is not known",
                                    d->network);
}

int cold_definition_parse(json_object *o, Definition *ret, Error *reterr) {
        json_object *list = json_get_array(o, "containers"), *c;
        int64_t memory = json_get_number(o, "memory_mib"), vcpus = json_get_number(o, "vcpus");
        size_t n = list ? json_object_array_length(list) : 0, total = 0;
        _cleanup_definition_ Definition d = {};
        int r = 0;

        if (memory < 0 || memory > UINT32_MAX || vcpus < 0 || vcpus > UINT16_MAX ||
            n > POD_CONTAINERS_MAX)
                return error_setf(reterr, -EBADMSG, "the definition of the pod is not one");
        d.memory_mib = (uint64_t)memory;
        d.vcpus = (uint32_t)vcpus;
        d.epoch = 1; /* a journal of this host begins with it, as of a pod that was made here */
        d.network = strdup(json_get_text(o, "network"));
        d.publish = strdup(json_get_text(o, "publish"));
        d.containers = calloc(n + 1, sizeof(*d.containers));
        if (!d.network || !d.publish || !d.containers)
                return error_oom(reterr);
        r = check_network(&d, reterr);
        for (JSON_EACH(i, list, c)) {
                if (r < 0)
                        break;
                for (size_t k = 0; k < d.n_containers; k++)
                        if (strcmp(d.containers[k].id, json_get_text(c, "id")) == 0)
                                return error_setf(reterr, -EBADMSG, "container %s is there twice",
                                                  d.containers[k].id);
                d.n_containers++;
                r = take_container(c, &d.containers[i], &total, reterr);
        }
        if (r < 0)
                return r;
        *ret = d;
        d = (Definition){};
        return 0;
}
