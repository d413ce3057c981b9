/* SPDX-License-Identifier: Apache-2.0 */
/* What a destination has for the pod that the source told of. */
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/migration/storage.h"
#include "hostdev/image/guest-image.h"
#include "shim/migrate/migrate-check.h"
#include "shim/wiring/ops.h"

static const char *text_of(json_object *o, const char *key) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
                       ? json_object_get_string(v)
                       : "";
}

/* Where it goes here; NULL: nowhere that is a path. */
static char *place_of(CheckRun *c, const CheckDisk *d, const char *role, const char *container) {
        const char *named = c->disk_map ? text_of(c->disk_map, d->path) : "";

        if (!named[0] && strcmp(role, "scratch") == 0 &&
            id_check("container", container, NULL) == 0)
                return shim_scratch_path(c->migrate->shim, container);
        named = named[0] ? named : d->path;
        return path_check("disk", named, NULL) == 0 ? strdup(named) : NULL;
}

/* The plan as one of our own words. */
static const char *plan_of(const char *name) {
        int plan = storage_plan_from_name(name);

        return plan < 0 ? "" : storage_plan_name((StoragePlan)plan);
}

int check_step_their_disks(CheckRun *c) {
        json_object *list = NULL;

        c->files->side = TOKEN_DESTINATION;
        c->files->look = c->peer;
        c->files->write = !c->bystander;
        if (!c->peer || !json_object_object_get_ex(c->peer->document, "disks", &list))
                return 0;
        for (size_t i = 0; i < c->peer->n_disks; i++) {
                const CheckDisk *d = &c->peer->disks[i];
                json_object *o = json_object_array_get_idx(list, i);
                CheckFile *f;

                if (d->slot >= SCSI_SLOTS_MAX ||
                    !(f = check_add_file(c->files, (uint32_t)d->slot, d->path)))
                        continue;
                f->plan = plan_of(d->plan);
                f->there = place_of(c, d, text_of(o, "role"), text_of(o, "container"));
                if (!f->there)
                        f->there = strdup("/");
                (void)snprintf(f->theirs, sizeof(f->theirs), "%s", d->token);
        }
        return 0;
}

static size_t each_layer(CheckRun *c, bool keep) {
        json_object *containers = NULL, *disks = NULL;
        CheckFiles *f = c->files;
        size_t n = 0;

        if (!json_object_object_get_ex(c->peer->document, "containers", &containers) ||
            !json_object_is_type(containers, json_type_array))
                return 0;
        for (size_t i = 0; i < json_object_array_length(containers); i++) {
                json_object *o = json_object_array_get_idx(containers, i), *size = NULL;

                if (!json_object_object_get_ex(o, "disks", &disks) ||
                    !json_object_is_type(disks, json_type_array))
                        continue;
                for (size_t k = 0; k < json_object_array_length(disks); k++) {
                        json_object *d = json_object_array_get_idx(disks, k);
                        const char *digest = text_of(d, "digest");
                        bool known = strcmp(text_of(d, "role"), "layer") != 0 ||
                                     layer_digest_check(digest, NULL) < 0;

                        for (size_t j = 0; keep && j < n; j++)
                                known = known || strcmp(f->layers[j], digest) == 0;
                        if (known)
                                continue;
                        if (keep) {
                                memcpy(f->layers[n], digest, strlen(digest) + 1);
                                f->layer_sizes[n] = json_object_object_get_ex(d, "size", &size)
                                                            ? json_object_get_uint64(size)
                                                            : 0;
                        }
                        n++;
                }
        }
        return n;
}

int check_step_layers(CheckRun *c) {
        CheckFiles *f = c->files;
        size_t n;

        if (!c->peer)
                return 0;
        n = each_layer(c, false);
        f->state_dir = c->migrate->shim->config.state_dir;
        f->layers = calloc(n + 1, sizeof(*f->layers));
        f->layer_sizes = calloc(n + 1, sizeof(*f->layer_sizes));
        if (!f->layers || !f->layer_sizes ||
            asprintf(&f->layers_directory, "%s/layers", f->state_dir) < 0) {
                f->layers_directory = NULL;
                return 0;
        }
        f->n_layers = each_layer(c, true);
        return 0;
}

/* -- destination: the host -- */

static void on_machine(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        if (r == 0 || r == -EINVAL || r == -EOPNOTSUPP || r == -EIO)
                check_put_answer(c->host, "knows_machine", r == 0 ? CHECK_YES : CHECK_NO);
        check_go_on(c);
}

int check_step_machine(CheckRun *c) {
        bool kvm = c->peer && strcmp(c->peer->type, "kvm") == 0;
        Virt *virt;

        if (!c->facts || !c->peer || !c->peer->machine[0] || !c->migrate->facts_known)
                return 0;
        if (kvm && !c->migrate->has_kvm)
                return 0;
        return shim_virt(c->migrate->shim, &virt, NULL) == 0 &&
               virt_knows_machine(virt, kvm ? DOMAIN_KVM : DOMAIN_QEMU, c->peer->machine,
                                  on_machine, c, NULL) > 0;
}

static void on_cpu(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        check_put_answer(c->host, "fits_cpu", r == 0 ? CHECK_YES : CHECK_NO);
        if (r < 0)
                check_put_error(c->host, "cpu_text", r, err);
        check_go_on(c);
}

/* With KVM the guest sees the CPU of its host: this one must have all that the other has. */
int check_step_cpu(CheckRun *c) {
        json_object *host = NULL;
        const char *cpu = "";
        Virt *virt;

        if (!c->facts || !c->peer || strcmp(c->peer->type, "kvm") != 0 || !c->migrate->has_kvm)
                return 0;
        if (json_object_object_get_ex(c->peer->document, "host", &host))
                cpu = text_of(host, "cpu");
        if (!cpu[0] || strlen(cpu) >= sizeof(c->migrate->facts.cpu_xml)) {
                check_put_answer(c->host, "fits_cpu", CHECK_NO);
                check_put_text(c->host, "cpu_text", "the source does not say what its CPU is");
                return 0;
        }
        return shim_virt(c->migrate->shim, &virt, NULL) == 0 &&
               virt_compare_cpu(virt, cpu, on_cpu, c, NULL) > 0;
}

static uint64_t read_number(const char *path) {
        unsigned long long n;
        FILE *f = fopen(path, "re");
        int k = f ? fscanf(f, "%llu", &n) : 0;

        if (f)
                (void)fclose(f);
        return k == 1 ? n : CHECK_NUMBER_UNKNOWN;
}

int check_step_host(CheckRun *c) {
        static const char *const files[] = { "vmlinux", "initrd" };
        const char *dir = c->migrate->shim->config.guest_dir;
        Error e = ERROR_INIT;
        char path[PATH_MAX];
        GuestImage image;
        int r;

        if (!c->facts)
                return 0;
        (void)json_object_object_add(c->facts, "hooks",
                                     hooks_facts(&c->migrate->shim->config.hooks, true));
        check_put_number(c->host, "available_mib", migrate_available_mib() ?: CHECK_NUMBER_UNKNOWN);
        if (c->peer && c->peer->huge_page_kib != CHECK_NUMBER_UNKNOWN &&
            c->peer->huge_page_kib > 0) {
                (void)snprintf(path, sizeof(path),
                               "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages",
                               (unsigned long long)c->peer->huge_page_kib);
                check_put_number(c->host, "huge_pages_free",
                                 access(path, F_OK) == 0 ? read_number(path) : 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
                if (access(path, R_OK) < 0) {
                        (void)error_setf(&e, -errno, "%.400s: %m", path);
                        check_put_text(c->image, "error", e.text);
                        return 0;
                }
        }
        r = guest_image_read(dir, &image, &e);
        if (r < 0) {
                check_put_error(c->image, "error", r, &e);
                return 0;
        }
        check_put_text(c->image, "kernel", image.kernel);
        check_put_text(c->image, "initrd", image.initrd);
        return 0;
}

static void on_namespace(void *userdata, int r, const void *result, const Error *err) {
        const NetFacts *facts = result;
        CheckRun *c = userdata;

        if (r < 0) {
                check_put_error(c->network, "error", r, err);
        } else {
                json_object *list = json_object_new_array();

                for (size_t i = 0; i < facts->n_interfaces && i < CHECK_INTERFACES_MAX; i++)
                        check_put_interface(list, facts->interfaces[i]);
                (void)json_object_object_add(c->facts, "interfaces", list);
        }
        check_go_on(c);
}

int check_step_namespace(CheckRun *c) {
        Error e = ERROR_INIT;
        int r;

        if (!c->facts || !c->namespace[0])
                return 0;
        check_put_text(c->network, "namespace", c->namespace);
        check_put_text(c->network, "mode", c->ask.rebind ? "rebind" : "keep");
        r = shim_net_read(c->migrate->shim, c->namespace, on_namespace, c, &e);
        if (r < 0)
                check_put_error(c->network, "error", r, &e);
        return r > 0;
}
