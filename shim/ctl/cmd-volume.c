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
#include "shim/ctl/volume-move.h"
#include "shim/ctl/volume.h"

enum { JSON = 1, TO, REMOVE_SOURCE, BANDWIDTH };

static const Option options[] = {
        CTL_OPTION_JSON,
        { TO, 0, "to", "FILE", "of move: the new file, which is made, or a block device" },
        { REMOVE_SOURCE, 0, "remove-source", NULL, "of move: the old file goes once it is there" },
        { BANDWIDTH, 0, "bandwidth", "SIZE", "of move: at most so much a second (no limit)" },
};

static int volume_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_volume = {
        .name = "volume",
        .operands = "add|rm|move|ls POD[/CONTAINER] [FILE:PATH|PATH]",
        .summary = "Give disks to a container that runs, take, move and list them",
        .text = "add plugs the disk into the pod's machine and mounts it in the container at PATH;\n"
                "flags as with podferry run --volume. rm unmounts and unplugs what is at PATH,\n"
                "unless something in the container still uses it. ls shows every volume.\n"
                "move takes what is at PATH to another file or block device of this host while\n"
                "the pod works; Ctrl-C leaves it where it was.\n"
                "\n"
                "  podferry volume add web /srv/data.qcow2:/data\n"
                "  podferry volume add web/db /dev/vg/logs:/logs:part=1\n"
                "  podferry volume move web /data --to /fast/data.qcow2\n"
                "  podferry volume rm web /data",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = volume_run,
};

typedef struct Volume {
        const Ctl *ctl;
        char *pod, *container;
        const char *argument; /* FILE:PATH or PATH */
        bool json;
        const char *to; /* of move, like what follows; NULL: not said */
        bool remove_source;
        uint64_t bandwidth;
        bool *interrupted;
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

/* -- move -- */

static int volume_move(const Volume *v, Error *reterr) {
        VolumeMoveLine line = { .pod = v->pod,
                                .container = v->container,
                                .destination = v->argument,
                                .to = v->to,
                                .bandwidth_mib = v->bandwidth >> 20,
                                .remove_source = v->remove_source,
                                .json = v->json };

        return volume_move_drive(v->ctl, &line, v->interrupted, reterr);
}

static const struct {
        const char *name;
        int operands;
        int (*run)(const Volume *v, Error *reterr);
} verbs[] = { { "add", 3, volume_add },
              { "rm", 3, volume_rm },
              { "move", 3, volume_move },
              { "ls", 2, volume_ls } };

static int take_option(Volume *v, int id, const char *value, Error *reterr) {
        int r;

        switch (id) {
        case JSON:
                v->json = true;
                return 0;
        case TO:
                v->to = value;
                return 0;
        case REMOVE_SOURCE:
                v->remove_source = true;
                return 0;
        case BANDWIDTH:
                r = value_size(value, &v->bandwidth, reterr);
                if (r == 0 && v->bandwidth < 1U << 20)
                        return error_setf(reterr, -EINVAL, "\"%.40s\": 1M at least", value);
                return r;
        default:
                return -EINVAL;
        }
}

/* The verb of the line, or an error. */
static int check_line(const Volume *v, int n, char **operands, size_t *ret, Error *reterr) {
        bool move = n > 0 && strcmp(operands[0], "move") == 0;
        size_t i = 0;

        if (n < 2)
                return error_setf(reterr, -EINVAL, "a verb and a pod are missing");
        while (i < ELEMENTSOF(verbs) && strcmp(verbs[i].name, operands[0]) != 0)
                i++;
        if (i == ELEMENTSOF(verbs))
                return error_setf(reterr, -EINVAL, "\"%.40s\" is none of add, rm, move, ls",
                                  operands[0]);
        if (n != verbs[i].operands)
                return error_setf(reterr, -EINVAL, "%s takes %s", operands[0],
                                  verbs[i].operands == 3 ? "a pod and a volume" : "a pod");
        if (!move && (v->to || v->remove_source || v->bandwidth > 0))
                return error_setf(reterr, -EINVAL,
                                  "--to, --remove-source and --bandwidth are of volume move");
        if (move && !v->to)
                return error_setf(reterr, -EINVAL, "move needs --to FILE");
        *ret = i;
        return 0;
}

static int volume_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        bool interrupted = false;
        _cleanup_(volume_done) Volume v = { .ctl = ctl, .interrupted = &interrupted };
        Error e = ERROR_INIT;
        char **operands;
        int id, n, r = 0;
        OptionParser p;
        size_t verb = 0;

        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                r = id < 0 ? id : option_took(&p, take_option(&v, id, p.value, &e), &e);
        }
        operands = option_operands(&p, &n);
        if (r == 0)
                r = check_line(&v, n, operands, &verb, &e);
        if (r < 0)
                return ctl_usage(self, &e);
        v.argument = n == 3 ? operands[2] : NULL;
        r = value_target(operands[1], &v.pod, &v.container, &e);
        if (r == 0)
                r = verbs[verb].run(&v, &e);
        if (r < 0 && interrupted) {
                (void)ctl_fail(r, &e, "volume %s", operands[0]);
                return CTL_INTERRUPTED;
        }
        return r < 0 ? ctl_fail(r, &e, "volume %s", operands[0]) : CTL_OK;
}
