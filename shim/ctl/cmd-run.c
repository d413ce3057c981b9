/* SPDX-License-Identifier: Apache-2.0 */
/* podferry run: layers first, then the pod (unless one is joined), the container, its terminal.
 * What fails on the way takes down what this command made. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "controllers/ids.h"
#include "controllers/network/network-ports.h"
#include "controllers/vm/vm.h"
#include "hostdev/image/disk.h"
#include "hostdev/image/layer.h"
#include "hostdev/libvirt/domain-xml.h"
#include "shim/ctl/attach-loop.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/oci.h"
#include "shim/ctl/run-disks.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/ctl/volume.h"

#define ROOTS_MAX   64U
#define VOLUMES_MAX 32U

typedef struct Run {
        const Ctl *ctl;
        char **roots, **env, **annotations, **volume_texts; /* of the command line */
        char *ports;                                        /* with a space between */
        VolumeValue volumes[VOLUMES_MAX];
        size_t n_volumes;
        const char *bundle, *join, *container, *network;
        char *pod, *container_id;
        uint64_t memory, cpus, scratch;
        OciOptions oci;
        bool detach, remove, interactive, stay;

        Layer layers[ROOTS_MAX];
        size_t n_layers;
        json_object *config;
        sd_bus *bus;
        char *path; /* object of the container */
        bool made_pod, made_container;
} Run;

enum {
        NAME = 1,
        ROOTFS,
        BUNDLE,
        MEMORY,
        CPUS,
        VOLUME,
        ENV,
        ANNOTATION,
        TTY,
        DETACH,
        POD,
        CONTAINER,
        REMOVE,
        WORKDIR,
        USER,
        READ_ONLY,
        SCRATCH,
        INTERACTIVE,
        NETWORK,
        PUBLISH,
        STAY,
};

static const Option options[] = {
        { NAME, 'n', "name", "NAME", "name of the new pod (made up if not given)" },
        { ROOTFS, 0, "rootfs", "DIR|TAR|IMAGE",
          "root of the container: a directory, a tar archive, or an\n"
          "erofs, squashfs or ext4 image; again for layers, lowest first" },
        { BUNDLE, 'b', "bundle", "DIR", "an OCI bundle instead: config.json and rootfs" },
        { MEMORY, 'm', "memory", "M", "memory of the pod's machine: 512M, 2G" },
        { CPUS, 0, "cpus", "N", "processors of the pod's machine" },
        { VOLUME, 'v', "volume", "FILE:PATH[:ro]",
          "disk FILE at PATH in the container; also :block for the\n"
          "device itself, :part=N, and :copy, :shared or :same for\n"
          "a migration" },
        { ENV, 'e', "env", "K=V", "variable of the container; K alone passes yours" },
        { ANNOTATION, 0, "annotation", "K=V",
          "annotation of the container; org.podferry.migration.NAME\n"
          "is an option of its migrations, over the configuration" },
        { TTY, 't', "tty", NULL, "give it a terminal" },
        { INTERACTIVE, 'i', "interactive", NULL, "pass stdin on (the default in the foreground)" },
        { DETACH, 'd', "detach", NULL, "print its name and leave it running" },
        { REMOVE, 0, "rm", NULL, "remove the pod when the command ends" },
        { POD, 'p', "pod", "POD", "join this pod instead of making one" },
        { CONTAINER, 'c', "container", "NAME",
          "name of the container in the pod (main, c2, c3..)" },
        { WORKDIR, 'w', "workdir", "DIR", "working directory in the container" },
        { USER, 'u', "user", "UID[:GID]", "user of the command, by number" },
        { READ_ONLY, 0, "read-only", NULL, "the root cannot be written; no scratch disk" },
        { NETWORK, 0, "net", "none|user|ns:PATH",
          "the pod's network: none; user, to the outside by the\n"
          "hypervisor's own means; or the interfaces of a network\n"
          "namespace of this host" },
        { PUBLISH, 0, "publish", "[ADDRESS:]PORT:POD_PORT[/udp]",
          "with --net user: this port of the host leads to the\n"
          "pod's; again for more" },
        { SCRATCH, 0, "scratch", "SIZE", "size of the scratch disk, which is sparse (4G)" },
        { STAY, 0, "stay", NULL, ATTACH_STAY_HELP },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_run = {
        .name = "run",
        .operands = "[--] COMMAND [ARGUMENT...]",
        .summary = "Run a command in a container, in a new pod or in one that runs",
        .text = "A pod is a small virtual machine; its containers share it and move together.\n"
                "In the foreground, stdin and signals go to the command and its exit status\n"
                "comes back; Ctrl-P Ctrl-Q leaves a terminal running. The pod stays until\n"
                "podferry rm, unless --rm is given.\n"
                "\n"
                "Of a bundle, what belongs to this host is refused: bind mounts, hooks,\n"
                "namespaces by path, AppArmor. cgroupsPath is replaced by one in the pod.\n"
                "Options here go over what config.json says.\n"
                "\n"
                "  podferry run --rootfs ./alpine -t -- /bin/sh\n"
                "  podferry run --name web --rootfs base.tar --rootfs app/ -d -- /srv/app\n"
                "  podferry run --pod web --container log --rootfs ./alpine -d -- tail -f /dev/null",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .operands_end_options = true,
        .completes = "files",
        .run = self_run,
};

static void run_done(Run *r) {
        (void)words_free(r->roots);
        (void)words_free(r->env);
        (void)words_free(r->annotations);
        (void)words_free(r->volume_texts);
        free(r->ports);
        for (size_t i = 0; i < r->n_volumes; i++)
                volume_value_done(&r->volumes[i]);
        for (size_t i = 0; i < r->n_layers; i++)
                layer_done(&r->layers[i]);
        (void)json_object_put(r->config);
        r->bus = sd_bus_flush_close_unref(r->bus);
        free(r->path);
        free(r->pod);
        free(r->container_id);
}

/* -- the command line -- */

static int add_port(Run *r, const char *value, Error *reterr) {
        char *old = r->ports;
        NetworkPort port;
        int k = network_port_parse(value, &port, reterr);

        if (k < 0)
                return k;
        k = asprintf(&r->ports, "%s%s%s", old ?: "", old ? " " : "", value);
        free(old);
        if (k < 0)
                r->ports = NULL;
        return k < 0 ? error_oom(reterr) : 0;
}

static int take_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret, Error *reterr) {
        int r = value_size(text, ret, reterr);

        if (r == 0 && (*ret < min || *ret > max))
                return error_setf(reterr, -EINVAL, "\"%.60s\" is not from %lluM to %lluT", text,
                                  (unsigned long long)min >> 20, (unsigned long long)max >> 40);
        return r;
}

static int take_option(Run *r, int id, const char *value, Error *reterr) {
        switch (id) {
        case NAME:
                free(r->pod);
                r->pod = strdup(value);
                return r->pod ? id_check("pod name", value, reterr) : error_oom(reterr);
        case ROOTFS:
                return words_add(&r->roots, value) < 0 ? error_oom(reterr) : 0;
        case BUNDLE:
                r->bundle = value;
                return 0;
        case MEMORY:
                return take_size(value, (uint64_t)VM_MEMORY_MIB_MIN << 20,
                                 (uint64_t)VM_MEMORY_MIB_MAX << 20, &r->memory, reterr);
        case CPUS:
                return value_number(value, 1, DOMAIN_VCPUS_MAX, &r->cpus, reterr);
        case VOLUME:
                return words_add(&r->volume_texts, value) < 0 ? error_oom(reterr) : 0;
        case ENV:
                return words_add(&r->env, value) < 0 ? error_oom(reterr) : 0;
        case ANNOTATION:
                return words_add(&r->annotations, value) < 0 ? error_oom(reterr) : 0;
        case TTY:
                r->oci.terminal = true;
                return 0;
        case INTERACTIVE:
                r->interactive = true;
                return 0;
        case DETACH:
                r->detach = true;
                return 0;
        case REMOVE:
                r->remove = true;
                return 0;
        case POD:
                r->join = value;
                return id_check("pod name", value, reterr);
        case CONTAINER:
                r->container = value;
                return id_check("container name", value, reterr);
        case NETWORK:
                r->network = value;
                return 0;
        case PUBLISH:
                return add_port(r, value, reterr);
        case WORKDIR:
                r->oci.cwd = value;
                return 0;
        case USER:
                r->oci.user_given = true;
                return value_user(value, &r->oci.uid, &r->oci.gid, reterr);
        case STAY:
                r->stay = true;
                return 0;
        case READ_ONLY:
                r->oci.read_only = true;
                return 0;
        case SCRATCH:
                return take_size(value, DISK_SCRATCH_SIZE_MIN, DISK_SIZE_MAX, &r->scratch, reterr);
        default:
                return -EINVAL;
        }
}

static int check_together(Run *r, Error *reterr) {
        if (r->join && r->pod)
                return error_setf(reterr, -EINVAL, "--pod joins a pod, --name makes one: not both");
        if (r->join && (r->memory > 0 || r->cpus > 0))
                return error_setf(reterr, -EINVAL,
                                  "--memory and --cpus are the pod's, which is "
                                  "there already");
        if (r->join && r->network)
                return error_setf(reterr, -EINVAL, "--net is the pod's, which is there already");
        if (r->join && r->ports)
                return error_setf(reterr, -EINVAL,
                                  "--publish is the pod's, which is there already");
        if (r->join && r->remove)
                return error_setf(reterr, -EINVAL, "--rm is for a pod of its own");
        if (r->detach && r->remove)
                return error_setf(reterr, -EINVAL, "--rm waits for the command, --detach does not");
        if (r->bundle && r->roots)
                return error_setf(reterr, -EINVAL, "--rootfs or --bundle: not both");
        if (!r->bundle && !r->roots)
                return error_setf(reterr, -EINVAL, "--rootfs or --bundle is missing");
        if (!r->bundle && (!r->oci.args || !r->oci.args[0]))
                return error_setf(reterr, -EINVAL, "COMMAND is missing");
        if (words_count(r->roots) > ROOTS_MAX || words_count(r->volume_texts) > VOLUMES_MAX)
                return error_setf(reterr, -EINVAL, "at most %u layers and %u volumes", ROOTS_MAX,
                                  VOLUMES_MAX);
        if (r->ports && (!r->network || strcmp(r->network, "user") != 0))
                return error_setf(reterr, -EINVAL,
                                  "--publish goes with --net user; in a namespace the pod has "
                                  "addresses of its own");
        return 0;
}

/* True: go on. */
static bool parse(Run *r, const Command *self, int argc, char **argv, int *ret_status) {
        Error e = ERROR_INIT;
        OptionParser p;
        int id, code = 0, n;

        option_parser_init(&p, self, argc, argv);
        while (code == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        *ret_status = CTL_OK;
                        return false;
                }
                code = id < 0 ? id : option_took(&p, take_option(r, id, p.value, &e), &e);
        }
        r->oci.args = option_operands(&p, &n);
        r->oci.args = n > 0 ? r->oci.args : NULL;
        r->oci.env = r->env;
        r->oci.annotations = r->annotations;
        if (code == 0)
                code = check_together(r, &e);
        if (code < 0) {
                *ret_status = ctl_usage(self, &e);
                return false;
        }
        return true;
}

/* -- what the container is made of -- */

static int make_layers(Run *r, Error *reterr) {
        for (size_t i = 0; r->roots && r->roots[i]; i++) {
                int k = layer_make(r->ctl->config.state_dir, r->roots[i], &r->layers[i], reterr);

                if (k < 0)
                        return error_prefix(reterr, k, "--rootfs");
                r->n_layers = i + 1;
        }
        return 0;
}

static int read_volumes(Run *r, Error *reterr) {
        for (size_t i = 0; r->volume_texts && r->volume_texts[i]; i++) {
                int k = volume_parse(r->volume_texts[i], &r->volumes[i], reterr);

                if (k < 0)
                        return error_prefix(reterr, k, "--volume");
                r->n_volumes = i + 1;
                for (size_t j = 0; j < i; j++)
                        if (strcmp(r->volumes[i].destination, r->volumes[j].destination) == 0)
                                return error_setf(reterr, -EINVAL,
                                                  "--volume: two disks at %.100s, of which the "
                                                  "container would see one",
                                                  r->volumes[i].destination);
        }
        return 0;
}

static int load_config(Run *r, Error *reterr) {
        char *root = NULL;
        int k;

        r->oci.hostname = r->join ?: r->pod;
        if (!r->bundle)
                return oci_spec_make(&r->oci, &r->config, reterr);
        k = oci_bundle_load(r->bundle, &r->oci, &r->config, &root, reterr);
        if (k == 0 && words_add(&r->roots, root) < 0)
                k = error_oom(reterr);
        free(root);
        if (k == 0)
                r->oci.terminal = json_object_get_boolean(
                        json_get(json_get(r->config, "process"), "terminal"));
        return k;
}

static int add_volume(json_object *disks, const VolumeValue *v, Error *reterr) {
        json_object *o;
        int r = volume_json(v, &o, reterr);

        if (r < 0)
                return error_prefix(reterr, r, "--volume");
        return json_append(disks, o) < 0 ? error_oom(reterr) : 0;
}

static int make_spec(Run *r, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object(), *disks = json_object_new_array();
        uint32_t rows, columns;
        int k = 0;

        terminal_size(&rows, &columns);
        if (!o || !disks || json_add(o, "config", json_object_get(r->config)) < 0 ||
            json_add(o, "terminal", json_object_new_boolean(r->oci.terminal)) < 0 ||
            json_add(o, "stdin", json_object_new_boolean(!r->detach || r->interactive)) < 0 ||
            json_add(o, "rows", json_object_new_int64(r->oci.terminal ? rows : 0)) < 0 ||
            json_add(o, "columns", json_object_new_int64(r->oci.terminal ? columns : 0)) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < r->n_layers; i++)
                if (json_append(disks, run_layer_json(&r->layers[i])) < 0)
                        return error_oom(reterr);
        if (!r->oci.read_only && json_append(disks, run_scratch_json(r->scratch)) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < r->n_volumes && k == 0; i++)
                k = add_volume(disks, &r->volumes[i], reterr);
        if (k < 0)
                return k;
        if (json_add(o, "disks", TAKE(disks)) < 0)
                return error_oom(reterr);
        *ret = TAKE(o);
        return 0;
}

/* -- the pod and the container -- */

static int name_pod(Run *r, Error *reterr) {
        uint32_t number;

        if (r->join)
                r->pod = strdup(r->join);
        else if (!r->pod) {
                if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
                        return error_setf(reterr, -errno, "random number: %m");
                if (asprintf(&r->pod, "pod-%08x", number) < 0)
                        r->pod = NULL;
        }
        return r->pod ? 0 : error_oom(reterr);
}

/* main, or in a pod that has containers the first of c2, c3, ... that is free. */
static int name_container(Run *r, Error *reterr) {
        char name[16] = "main";

        if (r->container)
                return (r->container_id = strdup(r->container)) ? 0 : error_oom(reterr);
        for (unsigned i = 2; r->join && i < 1000; i++) {
                _cleanup_free_ char *path = NULL, *id = NULL;

                if (pod_find_container(r->bus, r->pod, name, &path, &id, NULL) < 0)
                        break;
                (void)snprintf(name, sizeof(name), "c%u", i);
        }
        return (r->container_id = strdup(name)) ? 0 : error_oom(reterr);
}

static int start_vm(Run *r, Error *reterr) {
        uint64_t mib = r->memory >> 20 ?: r->ctl->config.memory_mib;
        uint32_t cpus = (uint32_t)r->cpus ?: r->ctl->config.vcpus;

        return pod_call(r->bus, WORK_DEADLINE, NULL, reterr, BUS_VM, BUS_INTERFACE ".Vm", "Start",
                        "a{sv}", 4, "memory_mib", "t", mib, "vcpus", "u", cpus, "network", "s",
                        r->network ?: "none", "publish", "s", r->ports ?: "");
}

static int open_pod(Run *r, Error *reterr) {
        int k;

        if (!r->join) {
                k = shim_start(r->ctl, r->pod, reterr);
                if (k < 0)
                        return k;
                r->made_pod = true;
        }
        k = pod_connect(r->ctl->config.run_dir, r->pod, &r->bus, reterr);
        if (k == 0 && !r->join) {
                k = start_vm(r, reterr);
                if (k < 0)
                        k = error_prefix(reterr, k, "cannot start the pod's machine");
        }
        return k;
}

static int create_container(Run *r, json_object *spec, Error *reterr) {
        const char *text = json_object_to_json_string_ext(spec, JSON_C_TO_STRING_PLAIN);
        int k;

        if (!text)
                return error_oom(reterr);
        k = pod_call(r->bus, WORK_DEADLINE, NULL, reterr, BUS_POD, BUS_INTERFACE ".Pod",
                     "CreateContainer", "ss", r->container_id, text);
        if (k < 0)
                return error_prefix(reterr, k, "cannot make the container %s", r->container_id);
        r->made_container = true;
        r->path = bus_container_path(r->container_id);
        return r->path ? 0 : error_oom(reterr);
}

static bool interrupted(void) {
        sigset_t pending;

        return sigpending(&pending) == 0 &&
               (sigismember(&pending, SIGINT) > 0 || sigismember(&pending, SIGTERM) > 0);
}

/* Up to a container that has been created. */
static int prepare(Run *r, Error *reterr) {
        _cleanup_json_ json_object *spec = NULL;
        int k;

        k = name_pod(r, reterr);
        if (k == 0)
                k = load_config(r, reterr);
        if (k == 0)
                k = read_volumes(r, reterr);
        if (k == 0)
                k = make_layers(r, reterr);
        if (k == 0)
                k = make_spec(r, &spec, reterr);
        if (k == 0 && interrupted())
                k = -EINTR;
        if (k == 0)
                k = open_pod(r, reterr);
        if (k == 0)
                k = name_container(r, reterr);
        if (k == 0 && interrupted())
                k = -EINTR;
        if (k == 0)
                k = create_container(r, spec, reterr);
        if (k == 0 && interrupted())
                k = -EINTR;
        return k;
}

/* What this command made goes again. */
static void undo(Run *r) {
        Error e = ERROR_INIT;
        int k = 0;

        if (r->made_pod && r->bus)
                k = pod_call(r->bus, WORK_DEADLINE, NULL, &e, BUS_ROOT, BUS_INTERFACE, "Shutdown",
                             "");
        else if (r->made_container) {
                k = pod_call(r->bus, WORK_DEADLINE, NULL, &e, r->path, BUS_INTERFACE ".Container",
                             "Delete", "s", "");
        }
        if (k < 0)
                (void)ctl_fail(k, &e, "%s: cannot remove it again", r->pod);
}

int ctl_run_status(int code, const Error *e) {
        const char *text = error_text(e, code);

        if (strstr(text, "executable file") || strstr(text, "not found in $PATH"))
                return CTL_NOT_FOUND;
        return strstr(text, "ermission denied") ? CTL_CANNOT_RUN : CTL_FAILED;
}

static int start_container(Run *r, Error *reterr) {
        int k = pod_call(r->bus, WORK_DEADLINE, NULL, reterr, r->path, BUS_INTERFACE ".Container",
                         "Start", "");

        return k < 0 ? error_prefix(reterr, k, "cannot start the container %s", r->container_id)
                     : 0;
}

static int foreground(Run *r, int *ret_status, Error *reterr) {
        AttachSession s = { .target = { .run_dir = r->ctl->config.run_dir,
                                        .pod = r->pod,
                                        .container = r->container_id,
                                        .exec_id = "",
                                        .wishes.with_stdin = true },
                            .link = ATTACH_LINK_INIT,
                            .terminal = r->oci.terminal,
                            .stay = r->stay };
        AttachEnd end;
        int k;

        k = attach_open(&s, r->bus, r->path, reterr);
        if (k == 0)
                k = start_container(r, reterr);
        if (k == 0)
                k = attach_run(&s, &end, reterr);
        if (k == 0)
                *ret_status = attach_status(&s, end);
        if (k == 0 && r->remove && end == ATTACH_ENDED) {
                k = attach_remove(&s, ATTACH_REMOVE_POD, reterr);
                if (k < 0)
                        k = error_prefix(reterr, k, "cannot remove the pod");
        }
        attach_close(&s);
        return k;
}

static int background(Run *r, Error *reterr) {
        int k = start_container(r, reterr);

        if (k == 0)
                (void)printf("%s%s%s\n", r->pod, r->join ? "/" : "",
                             r->join ? r->container_id : "");
        return k;
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(run_done) Run r = { .ctl = ctl };
        Error e = ERROR_INIT;
        sigset_t set, old;
        int k, status = CTL_OK;

        if (!parse(&r, self, argc, argv, &status))
                return status;
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &set, &old);
        k = prepare(&r, &e);
        if (k == 0)
                k = r.detach ? background(&r, &e) : foreground(&r, &status, &e);
        if (k == -EINTR && !*e.text) {
                undo(&r);
                return CTL_INTERRUPTED;
        }
        if (k < 0) {
                (void)ctl_fail(k, &e, "run");
                undo(&r);
                return ctl_run_status(k, &e);
        }
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        return status;
}
