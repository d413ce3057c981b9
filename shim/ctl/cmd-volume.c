/* SPDX-License-Identifier: Apache-2.0 */
/* podferry volume: disks of a pod that runs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"
#include "shim/ctl/volume.h"

static const Option json_options[] = { CTL_OPTION_JSON };

static int volume_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_volume = {
        .name = "volume",
        .operands = "add|rm|ls POD[/CONTAINER] [FILE:PATH|PATH]",
        .summary = "Give disks to a container that runs, take them away, list them",
        .text = "add plugs the disk into the pod's machine and mounts it in the container at PATH;\n"
                "flags as with podferry run --volume. rm unmounts and unplugs what is at PATH,\n"
                "unless something in the container still uses it. ls shows every volume.\n"
                "\n"
                "  podferry volume add web /srv/data.qcow2:/data\n"
                "  podferry volume add web/db /dev/vg/logs:/logs:part=1\n"
                "  podferry volume rm web /data",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "pods",
        .run = volume_run,
};

typedef struct Volume {
        const Ctl *ctl;
        char *pod, *container;
        const char *argument; /* FILE:PATH or PATH */
        bool json;
} Volume;

static void volume_done(Volume *v) {
        free(v->pod);
        free(v->container);
}

/* A method of the container with one text. */
static int call_container(const Volume *v, const char *member, const char *text, Error *reterr) {
        _cleanup_free_ char *path = NULL, *id = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = pod_connect(v->ctl->config.run_dir, v->pod, &bus, reterr);
        if (r == 0)
                r = pod_find_container(bus, v->pod, v->container, &path, &id, reterr);
        return r < 0 ? r
                     : pod_call(bus, WORK_DEADLINE, NULL, reterr, path, BUS_INTERFACE ".Container",
                                member, "s", text);
}

static int volume_add(const Volume *v, Error *reterr) {
        _cleanup_(volume_value_done) VolumeValue value = {};
        _cleanup_json_ json_object *o = NULL;
        int r;

        r = volume_parse(v->argument, &value, reterr);
        if (r == 0)
                r = volume_json(&value, &o, reterr);
        return r < 0 ? r
                     : call_container(v, "AddVolume",
                                      json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
                                      reterr);
}

static int volume_rm(const Volume *v, Error *reterr) {
        return call_container(v, "RemoveVolume", v->argument, reterr);
}

/* -- ls -- */

static json_object *find_slot(json_object *tree, int64_t slot) {
        json_object *scsi = json_find_kind(tree, "scsi"), *d;
        json_object *disks = json_get_array(scsi, "disks");

        for (JSON_EACH(i, disks, d))
                if (json_get_number(d, "slot") == slot)
                        return d;
        return NULL;
}

static int list_one(const Volume *v, const char *container, json_object *volume, json_object *disk,
                    Error *reterr) {
        bool read_only = json_object_get_boolean(json_get(disk, "read_only"));
        _cleanup_json_ json_object *o = NULL;

        if (!v->json) {
                (void)printf("%-12s %-20s %-7s %7lldM %-3s %-7s %-10s %s\n", container,
                             json_get_text(volume, "destination"), json_get_text(disk, "format"),
                             (long long)(json_get_number(disk, "size") >> 20),
                             read_only ? "ro" : "rw", json_get_text(disk, "mode"),
                             json_get_text(disk, "state"), json_get_text(volume, "path"));
                return 0;
        }
        o = json_object_new_object();
        if (!o || json_add_string(o, "container", container) < 0 ||
            json_add_string(o, "destination", json_get_text(volume, "destination")) < 0 ||
            json_add(o, "disk", json_object_get(disk)) < 0)
                return error_oom(reterr);
        json_print(o, false);
        return 0;
}

static int volume_ls(const Volume *v, Error *reterr) {
        _cleanup_json_ json_object *dump = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        json_object *tree, *containers, *c, *volume;
        int r;

        r = pod_connect(v->ctl->config.run_dir, v->pod, &bus, reterr);
        if (r == 0)
                r = pod_dump(bus, &dump, reterr);
        if (r < 0)
                return r;
        if (!v->json)
                (void)printf("%-12s %-20s %-7s %8s %-3s %-7s %-10s %s\n", "CONTAINER", "PATH",
                             "FORMAT", "SIZE", "", "MODE", "STATE", "FILE");
        tree = json_get(dump, "tree");
        containers = json_get_array(json_find_kind(tree, "pod"), "children");
        for (JSON_EACH(i, containers, c)) {
                json_object *volumes = json_get_array(c, "volumes");
                const char *id = json_get_text(c, "id");

                if (v->container && strcmp(v->container, id) != 0)
                        continue;
                for (size_t k = 0; r == 0 && volumes && k < json_object_array_length(volumes);
                     k++) {
                        volume = json_object_array_get_idx(volumes, k);
                        r = list_one(v, id, volume,
                                     find_slot(tree, json_get_number(volume, "slot")), reterr);
                }
        }
        return r;
}

static const struct {
        const char *name;
        int operands;
        int (*run)(const Volume *v, Error *reterr);
} verbs[] = { { "add", 3, volume_add }, { "rm", 3, volume_rm }, { "ls", 2, volume_ls } };

static int volume_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(volume_done) Volume v = { .ctl = ctl };
        Error e = ERROR_INIT;
        char **operands;
        int n, r, status;

        if (!ctl_simple(self, argc, argv, 2, 3, &v.json, &operands, &n, &status))
                return status;
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (strcmp(verbs[i].name, operands[0]) != 0)
                        continue;
                if (n != verbs[i].operands)
                        return ctl_usagef(self, "%s takes %s", operands[0],
                                          verbs[i].operands == 3 ? "a pod and a volume" : "a pod");
                v.argument = n == 3 ? operands[2] : NULL;
                r = value_target(operands[1], &v.pod, &v.container, &e);
                if (r == 0)
                        r = verbs[i].run(&v, &e);
                return r < 0 ? ctl_fail(r, &e, "volume %s", operands[0]) : CTL_OK;
        }
        return ctl_usagef(self, "\"%.40s\" is none of add, rm, ls", operands[0]);
}
