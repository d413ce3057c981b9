/* SPDX-License-Identifier: Apache-2.0 */
/* How a pod begins and ends on this host: Start, Shutdown. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <systemd/sd-id128.h>

#include "controllers/checks.h"
#include "hostdev/image/guest-image.h"
#include "hostdev/probe.h"
#include "lib/log.h"
#include "shim/definition.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate.h"
#include "shim/move-record.h"
#include "shim/offline.h"
#include "shim/wiring/ops.h"

#define STOP_TIMEOUT_MS    10000U
#define CLIENTS_LAST_USEC  (2ULL * 1000 * 1000)
#define SCSI_N_CONTROLLERS 2U

/* Start: domain type -> what libvirt says of this host -> tree -> VM */

typedef struct StartCall {
        Shim *shim;
        Task *task; /* of the step in flight */
        ShimVmOptions options;
        DomainType type;
        char machine[64];
        char uuid[SD_ID128_UUID_STRING_MAX];
        char *name, *kernel, *initrd, *network, *publish; /* as ShimVmOptions says */
        NetFacts *facts;                                  /* of its namespace */
        OpDone done;
        void *job;
} StartCall;

static StartCall *start_call_free(StartCall *c) {
        if (!c)
                return NULL;
        free(c->name);
        free(c->kernel);
        free(c->initrd);
        free(c->network);
        free(c->publish);
        (void)net_facts_free(c->facts);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(StartCall *, start_call_free);

static void on_probed(void *userdata, int r, const void *result, const Error *err) {
        StartCall *c = userdata;

        if (r == 0)
                c->type = *(const DomainType *)result;
        task_done(c->task, r, NULL, err);
}

static int step_probe(void *object, Task *t, Error *reterr) {
        StartCall *c = object;
        const Config *config = &c->shim->config;
        ProbeConfig probe = { .state_dir = config->state_dir, .kernel = c->kernel };
        int type = domain_type_from_name(config->domain_type);

        c->task = t;
        if (type >= 0) {
                c->type = (DomainType)type;
                return 0;
        }
        return probe_domain_type(c->shim->event, &probe, &c->type, on_probed, c, reterr);
}

static void on_facts(void *userdata, int r, const void *result, const Error *err) {
        const VirtFacts *facts = result;
        StartCall *c = userdata;

        if (r == 0)
                (void)snprintf(c->machine, sizeof(c->machine), "%s", facts->machine);
        task_done(c->task, r, NULL, err);
}

static int step_facts(void *object, Task *t, Error *reterr) {
        StartCall *c = object;
        Virt *virt;
        int r;

        c->task = t;
        r = shim_virt(c->shim, &virt, reterr);
        if (r == 0)
                r = virt_set_domain(virt, c->name, c->uuid, reterr);
        return r < 0 ? r : virt_facts(virt, c->type, on_facts, c, reterr);
}

static const char *namespace_of(const char *network) {
        return strncmp(network, "ns:", 3) == 0 ? network + 3 : NULL;
}

static void on_namespace(void *userdata, int r, const void *result, const Error *err) {
        const NetFacts *facts = result;
        StartCall *c = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                c->facts = net_facts_copy(facts);
                if (!c->facts) {
                        r = error_oom(&e);
                        err = &e;
                }
        }
        task_done(c->task, r, NULL, err);
}

static int step_namespace(void *object, Task *t, Error *reterr) {
        StartCall *c = object;
        const char *path = namespace_of(c->network);

        c->task = t;
        return path ? shim_net_read(c->shim, path, on_namespace, c, reterr) : 0;
}

static int plan_kind(StartCall *c, Error *reterr) {
        const char *path = namespace_of(c->network);
        Network *n = pod_network(c->shim->pod);

        if (path)
                return network_plan(n, NETWORK_NAMESPACE, path, c->facts, reterr);
        if (strcmp(c->network, "user") == 0) {
                _cleanup_(net_facts_freep) NetFacts *facts = shim_user_facts();

                return facts ? network_plan(n, NETWORK_USER, "", facts, reterr) : error_oom(reterr);
        }
        return network_plan(n, NETWORK_NONE, "", NULL, reterr);
}

static int plan_network(StartCall *c, Error *reterr) {
        int r = plan_kind(c, reterr);

        return r < 0 || !c->publish[0] ? r : shim_publish(c->shim, c->publish, reterr);
}

static int make_tree(StartCall *c, Error *reterr) {
        Shim *s = c->shim;
        GuestImage image;
        VmSpec spec;
        int r;

        r = guest_image_read(s->config.guest_dir, &image, reterr);
        if (r < 0)
                return r;
        spec = (VmSpec){ .pod_id = s->pod_id,
                         .domain_name = c->name,
                         .uuid = c->uuid,
                         .memory_mib = c->options.memory_mib ?: s->config.memory_mib,
                         .vcpus = c->options.vcpus ?: s->config.vcpus,
                         .domain_type = c->type == DOMAIN_KVM ? VM_DOMAIN_KVM : VM_DOMAIN_QEMU,
                         .machine = c->machine,
                         .cpu = "maximum",
                         .kernel = { c->kernel, image.kernel },
                         .initrd = { c->initrd, image.initrd },
                         .n_scsi_controllers = SCSI_N_CONTROLLERS,
                         .link_path = s->link_path,
                         .console_path = s->console_path };
        spec.cmdline = domain_default_cmdline(c->type, spec.vcpus, true);
        r = vm_new(&spec, &s->vm, reterr);
        if (r < 0)
                return r;
        r = pod_new(vm_controller(s->vm), s->pod_id, &s->pod, reterr);
        if (r < 0) {
                s->vm = vm_free(s->vm);
                return r;
        }
        shim_bind_tree(s);
        return plan_network(c, reterr);
}

void shim_drop_tree(Shim *s) {
        if (s->pod)
                s->pod = pod_free(s->pod);
        if (s->vm)
                s->vm = vm_free(s->vm);
}

static void on_wired(void *userdata, int r, const void *result, const Error *err) {
        StartCall *c = userdata;

        if (r < 0)
                shim_drop_tree(c->shim);
        task_done(c->task, r, NULL, err);
}

static int step_wire(void *object, Task *t, Error *reterr) {
        StartCall *c = object;
        int r;

        c->task = t;
        r = make_tree(c, reterr);
        if (r == 0)
                r = shim_net_all(c->shim, SHIM_NET_MAKE, on_wired, c, reterr);
        if (r < 0)
                shim_drop_tree(c->shim);
        return r;
}

static int undo_wire(void *object, Task *t, Error *reterr) {
        StartCall *c = object;

        return shim_net_all(c->shim, SHIM_NET_UNMAKE, task_done, t, reterr);
}

static int step_start(void *object, Task *t, Error *reterr) {
        StartCall *c = object;

        return vm_start(c->shim->vm, task_done, t, reterr);
}

static int undo_start(void *object, Task *t, Error *reterr) {
        StartCall *c = object;

        return vm_stop(c->shim->vm, 0, task_done, t, reterr);
}

/* On the thread for files. */
static int write_definition(void *argument, Error *reterr) {
        const StartCall *c = argument;
        const Config *config = &c->shim->config;
        Definition d = { .epoch = 1,
                         .memory_mib = c->options.memory_mib ?: config->memory_mib,
                         .vcpus = c->options.vcpus ?: config->vcpus,
                         .network = c->network,
                         .publish = c->publish };

        return definition_begin(c->shim->state_path, &d, reterr);
}

static int step_define(void *object, Task *t, Error *reterr) {
        StartCall *c = object;

        return c->options.defined ? 0
                                  : file_job(c->shim, write_definition, c, task_done, t, reterr);
}

static int step_network(void *object, Task *t, Error *reterr) {
        StartCall *c = object;

        return network_setup(pod_network(c->shim->pod), task_done, t, reterr);
}

static const TaskStep start_steps[] = {
        { "domain type", step_probe, NULL },    { "libvirt", step_facts, NULL },
        { "network", step_namespace, NULL },    { "definition", step_define, NULL },
        { "interfaces", step_wire, undo_wire }, { "start the VM", step_start, undo_start },
        { "network", step_network, NULL },
};

static void on_started(void *userdata, int r, const void *result, const Error *err) {
        StartCall *c = userdata;
        OpDone done = c->done;
        void *job = c->job;

        c->shim->starting = false;
        (void)start_call_free(c);
        if (r < 0)
                log_err("the VM could not be started: %s", error_text(err, r));
        done(job, r, NULL, err);
}

static int name_domain(StartCall *c, Error *reterr) {
        sd_id128_t id;
        int r;

        r = sd_id128_randomize(&id);
        if (r < 0)
                return error_setf(reterr, r, "no random bytes");
        (void)sd_id128_to_uuid_string(id, c->uuid);
        if (asprintf(&c->name, "podferry-%s", c->shim->pod_id) < 0) {
                c->name = NULL;
                return error_oom(reterr);
        }
        return 0;
}

static int check_network(const char *network, Error *reterr) {
        const char *path = namespace_of(network);

        if (path)
                return path_check("network namespace", path, reterr);
        if (strcmp(network, "none") == 0 || strcmp(network, "user") == 0)
                return 0;
        return error_setf(reterr, -EINVAL, "network \"%.100s\": none, user or ns:PATH", network);
}

static int find_guest(const Shim *s, const char *name, char **ret, Error *reterr) {
        if (asprintf(ret, "%s/%s", s->config.guest_dir, name) < 0) {
                *ret = NULL;
                return error_oom(reterr);
        }
        if (access(*ret, R_OK) < 0)
                return error_setf(reterr, -errno, "guest image: %s: %m", *ret);
        return 0;
}

int shim_start_vm(Shim *s, const ShimVmOptions *options, OpDone done, void *job, Error *reterr) {
        _cleanup_(start_call_freep) StartCall *c = NULL;
        int r;

        if (s->receive || s->ending)
                return error_setf(reterr, -EBADFD, "Start: this shim %s",
                                  s->ending ? "is ending" : "waits for a pod from another host");
        if (s->starting)
                return error_setf(reterr, -EBUSY, "Start: the VM is being started");
        if (s->vm && vm_state(s->vm) == VM_RUNNING)
                return 0;
        if (s->vm && vm_state(s->vm) != VM_INVALID)
                return error_setf(reterr, -EBADFD, "Start: the VM is %s",
                                  fsm_state_name(&vm_fsm, (int)vm_state(s->vm)));
        shim_drop_tree(s); /* of a start that failed */
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (StartCall){ .shim = s, .options = *options, .done = done, .job = job };
        c->network = strdup(options->network ?: "none");
        c->publish = strdup(options->publish ?: "");
        if (!c->network || !c->publish)
                return error_oom(reterr);
        if ((r = check_network(c->network, reterr)) < 0 || (r = name_domain(c, reterr)) < 0 ||
            (r = find_guest(s, "vmlinux", &c->kernel, reterr)) < 0 ||
            (r = find_guest(s, "initrd", &c->initrd, reterr)) < 0)
                return r;
        r = task_start(start_steps, ELEMENTSOF(start_steps), c, on_started, c, NULL, reterr);
        s->starting = r == 1;
        if (r == 1)
                c = NULL;
        return r;
}

/* Shutdown */

static void leave(Shim *s) {
        log_info("the pod has ended; the shim too");
        (void)sd_event_exit(s->event, 0);
}

static int on_last_clients(sd_event_source *source, void *userdata) {
        Shim *s = userdata;

        if (!stdio_hub_has_clients(s->stdio))
                leave(s);
        return 0;
}

static int on_clients_time_up(sd_event_source *source, uint64_t usec, void *userdata) {
        leave(userdata);
        return 0;
}

/* A pod that runs on another host may have its disks in a directory that both hosts share: then
 * what the migration left is not ours to remove. */
static void remove_state(const Shim *s) {
        static const char *const rest[] = { "journal", "incoming", "outgoing" };

        if (!s->elsewhere) {
                directory_remove(s->state_path);
                return;
        }
        if (!s->vm && !s->given_away) /* it was to come here, and did not */
                definition_unstage(s->state_path);
        definition_remove_own(s->state_path, migration_epoch(migrate_controller(s->migrate)));
        for (size_t i = 0; i < ELEMENTSOF(rest); i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", s->state_path, rest[i]) < 0) {
                        path = NULL;
                        return;
                }
                if (unlink(path) < 0 && errno != ENOENT)
                        log_warning("%s could not be removed: %m", path);
        }
        (void)rmdir(s->state_path);
}

/* A volume that was being moved when the pod was removed. */
static void settle_move(const Shim *s) {
        Error e = ERROR_INIT;
        int r = move_record_settle(s->state_path, s->pod_id, &e);

        if (r < 0)
                log_warning("a volume was being moved: %s", error_text(&e, r));
}

/* What is on disk goes at once, so that the name is free for another shim as soon as the caller has
 * his answer. Attached clients still get the rest of the output, if they read it: the logs are
 * open. */
static void leave_soon(Shim *s, bool keep) {
        migrate_filling_end(s, true);
        settle_move(s);
        if (!keep)
                remove_state(s);
        migrate_remove_dir(s->migrate); /* a session was under way when the pod was removed */
        run_dir_remove(&s->dir);
        if (!stdio_hub_has_clients(s->stdio) ||
            sd_event_add_post(s->event, NULL, on_last_clients, s) < 0 ||
            sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, CLIENTS_LAST_USEC, 0,
                                       on_clients_time_up, s) < 0)
                leave(s);
}

typedef struct EndCall {
        Shim *shim;
        OpDone done;
        void *job;
} EndCall;

static int no_work(void *argument, Error *reterr) {
        return 0;
}

static void on_files_at_rest(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_free_ EndCall *c = userdata;

        leave_soon(c->shim, false);
        c->done(c->job, 0, NULL, NULL);
}

/* What is being written on the other thread would come back after it was removed: that is waited
 * for. 1: on_files_at_rest() comes, and frees c. */
static int leave_with_state(EndCall *c, Error *reterr) {
        if (c->shim->files.started)
                return file_job(c->shim, no_work, NULL, on_files_at_rest, c, reterr);
        leave_soon(c->shim, false);
        return 0;
}

static void on_stopped(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_free_ EndCall *c = userdata;
        Error e = ERROR_INIT;

        if (r < 0) {
                log_err("the VM could not be stopped: %s", error_text(err, r));
        } else {
                err = &e;
                r = leave_with_state(c, &e);
        }
        if (r > 0) {
                c = NULL;
                return;
        }
        if (r < 0)
                c->shim->ending = false;
        c->done(c->job, r, NULL, err);
}

/* The machine of a shim that died and could not be taken up. It is known by its name alone, which
 * no other one may have. */
static int destroy_unknown(EndCall *c, Error *reterr) {
        char name[sizeof("podferry-") + ID_MAX], uuid[VIRT_UUID_SIZE];
        Virt *virt;
        pid_t pid;
        int r;

        (void)snprintf(name, sizeof(name), "podferry-%s", c->shim->pod_id);
        r = virt_qemu_find(name, &pid, uuid, reterr);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = shim_virt(c->shim, &virt, reterr);
        if (r == 0)
                r = virt_set_domain(virt, name, uuid, reterr);
        return r < 0 ? r : virt_destroy(virt, on_stopped, c, reterr);
}

int shim_shutdown(Shim *s, OpDone done, void *job, Error *reterr) {
        _cleanup_free_ EndCall *c = NULL;
        int r = 0;

        if (s->starting)
                return error_setf(reterr, -EBUSY, "Shutdown: the VM is being started");
        if (s->ending)
                return error_setf(reterr, -EBUSY, "Shutdown: under way already");
        c = malloc(sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (EndCall){ s, done, job };
        s->ending = true;
        s->elsewhere = s->given_away || (s->vm ? vm_state(s->vm) == VM_SOURCE_MOVED : s->receive);
        if (s->vm)
                r = vm_stop(s->vm, STOP_TIMEOUT_MS, on_stopped, c, reterr);
        else if (s->discard)
                r = destroy_unknown(c, reterr);
        if (r == 0)
                r = leave_with_state(c, reterr);
        if (r < 0)
                s->ending = false;
        if (r == 1)
                c = NULL;
        return r;
}

/* On the thread for files. */
static int keep_logs(void *argument, Error *reterr) {
        const EndCall *c = argument;

        return offline_keep_logs(c->shim->dir.path, c->shim->state_path, reterr);
}

static void on_kept(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_free_ EndCall *c = userdata;

        if (r < 0)
                c->shim->ending = false;
        else
                leave_soon(c->shim, true);
        c->done(c->job, r, NULL, err);
}

int shim_leave(Shim *s, OpDone done, void *job, Error *reterr) {
        EndCall *c;
        int r;

        r = shim_check_stopped(s, "Leave", reterr);
        if (r < 0)
                return r;
        if (!definition_is_there(s->state_path))
                return error_setf(reterr, -EBADFD, "Leave: how pod %s was made is not known here",
                                  s->pod_id);
        c = malloc(sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (EndCall){ s, done, job };
        r = file_job(s, keep_logs, c, on_kept, c, reterr);
        s->ending = r == 1;
        if (r < 0)
                free(c);
        return r;
}

static void on_stop_done(void *userdata, int r, const void *result, const Error *err) {
        Shim *s = userdata;

        if (r < 0)
                (void)sd_event_exit(s->event, r);
}

void shim_stop(Shim *s) {
        Error err = ERROR_INIT;
        int r;

        if (!s->config.stop_pod_on_term) {
                log_info("the shim ends; its pod stays");
                (void)sd_event_exit(s->event, 0);
                return;
        }
        r = shim_shutdown(s, on_stop_done, s, &err);
        if (r < 0)
                log_warning("%s", error_text(&err, r));
}
