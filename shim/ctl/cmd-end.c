/* SPDX-License-Identifier: Apache-2.0 */
/* podferry kill, stop and rm: the three ways to an end. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"

#define CONTAINER_FACE BUS_INTERFACE ".Container"

typedef struct End {
        const Ctl *ctl;
        uint32_t signal;
        bool all, force;
        uint64_t time_ms;
        const char *exec_id;
} End;

enum { SIGNAL = 1, ALL, TIME, FORCE, EXEC };

static const Option kill_options[] = {
        { SIGNAL, 's', "signal", "SIGNAL", "name or number (KILL)" },
        { ALL, 'a', "all", NULL, "to every process of the container" },
        { EXEC, 'e', "exec", "ID", "to this exec instead of the container's command" },
};
static const Option stop_options[] = {
        { TIME, 't', "time", "TIME", "how long it may take before it is killed (10s)" },
};
static const Option rm_options[] = {
        { FORCE, 'f', "force", NULL, "kill what runs; also a pod whose shim has died" },
};

static int kill_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int stop_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int rm_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_kill = {
        .name = "kill",
        .operands = "POD[/CONTAINER]...",
        .summary = "Send a signal to a container's command",
        .options = kill_options,
        .n_options = ELEMENTSOF(kill_options),
        .completes = "pods",
        .run = kill_run,
};

const Command command_stop = {
        .name = "stop",
        .operands = "POD...",
        .summary = "Stop the containers and the machine of a pod",
        .text = "Asks with SIGTERM, kills after --time. The pod keeps its disks and logs, and is\n"
                "listed, until podferry start or podferry rm. A live move to another host is\n"
                "cancelled first, unless it is too late for that; podferry migrate then moves it\n"
                "as a stopped pod.",
        .options = stop_options,
        .n_options = ELEMENTSOF(stop_options),
        .completes = "pods",
        .run = stop_run,
};

const Command command_rm = {
        .name = "rm",
        .operands = "POD[/CONTAINER]...",
        .summary = "Remove a pod with all that it has on this host, or one container",
        .text = "Logs and scratch disks go; volumes and image layers stay. What runs is left\n"
                "alone unless --force is given.",
        .options = rm_options,
        .n_options = ELEMENTSOF(rm_options),
        .completes = "pods",
        .run = rm_run,
};

static int take_option(End *x, int id, const char *value, Error *reterr) {
        switch (id) {
        case SIGNAL:
                return value_signal(value, &x->signal, reterr);
        case ALL:
                x->all = true;
                return 0;
        case EXEC:
                x->exec_id = value;
                return 0;
        case TIME:
                return value_duration(value, &x->time_ms, reterr);
        case FORCE:
                x->force = true;
                return 0;
        default:
                return -EINVAL;
        }
}

typedef int (*EndOne)(const End *x, const char *pod, const char *container, Error *reterr);

/* Each of the operands; a failure does not keep the others from being done. */
static int each(End *x, const Command *self, int argc, char **argv, EndOne one) {
        Error e = ERROR_INIT;
        int id, code = 0, n, status = CTL_OK;
        char **operands;
        OptionParser p;

        option_parser_init(&p, self, argc, argv);
        while (code == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                code = id < 0 ? id : option_took(&p, take_option(x, id, p.value, &e), &e);
        }
        operands = option_operands(&p, &n);
        if (code == 0 && n == 0)
                code = error_setf(&e, -EINVAL, "POD is missing");
        if (code < 0)
                return ctl_usage(self, &e);
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *pod = NULL, *container = NULL;

                e = ERROR_INIT;
                code = value_target(operands[i], &pod, &container, &e);
                if (code == 0)
                        code = one(x, pod, container, &e);
                if (code < 0)
                        status = ctl_fail(code, &e, "%s", self->name);
        }
        return status;
}

static int kill_one(const End *x, const char *pod, const char *container, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = pod_connect(x->ctl->config.run_dir, pod, &bus, reterr);
        if (r == 0)
                r = pod_find_container(bus, pod, container, &path, NULL, reterr);
        if (r < 0)
                return r;
        r = pod_call(bus, CALL_DEADLINE, NULL, reterr, path, CONTAINER_FACE, "Kill", "sub",
                     x->exec_id ?: "", x->signal, x->all);
        return r < 0 ? error_prefix(reterr, r, "%s", pod) : 0;
}

static int kill_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        return each(&(End){ .ctl = ctl, .signal = SIGKILL }, self, argc, argv, kill_one);
}

static int stop_one(const End *x, const char *pod, const char *container, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        if (container)
                return error_setf(reterr, -EINVAL,
                                  "%s/%s: stop is for pods; podferry kill -s TERM "
                                  "asks one container",
                                  pod, container);
        if (x->time_ms > UINT32_MAX)
                return error_setf(reterr, -EINVAL, "too long");
        r = pod_connect(x->ctl->config.run_dir, pod, &bus, reterr);
        if (r == -ENOENT && pod_is_stopped(x->ctl, pod))
                return 0; /* without a shim: it came from another host, or before a reboot */
        if (r < 0)
                return r;
        r = pod_call(bus, x->time_ms * 1000 + WORK_DEADLINE, NULL, reterr, BUS_POD,
                     BUS_INTERFACE ".Pod", "Stop", "u", (uint32_t)x->time_ms);
        return r < 0 ? error_prefix(reterr, r, "%s", pod) : 0;
}

static int stop_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        return each(&(End){ .ctl = ctl, .time_ms = 10000 }, self, argc, argv, stop_one);
}

/* Whatever it is doing in another state may still need it: being started, being moved. */
static bool is_idle(const char *state) {
        static const char *const idle[] = { "not-created", "created", "stopped", "invalid",
                                            "deleted" };

        for (size_t i = 0; i < ELEMENTSOF(idle); i++)
                if (strcmp(state, idle[i]) == 0)
                        return true;
        return false;
}

static int check_stopped(sd_bus *bus, const char *pod, const char *path, const char *container,
                         Error *reterr) {
        _cleanup_free_ char *state = NULL;
        int r;

        r = pod_get_string(bus, path, CONTAINER_FACE, "State", &state, reterr);
        if (r == 0 && strstr(state, "migrating"))
                r = error_setf(reterr, -EBUSY,
                               "%s is being moved to or from another host; wait until that is "
                               "over, or --force",
                               pod);
        else if (r == 0 && !is_idle(state))
                r = error_setf(reterr, -EBADFD,
                               "%s: container %s runs; podferry stop %s first, or --force", pod,
                               container, pod);
        return r;
}

static int remove_container(const End *x, sd_bus *bus, const char *pod, const char *container,
                            Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = pod_find_container(bus, pod, container, &path, NULL, reterr);
        if (r == 0 && !x->force)
                r = check_stopped(bus, pod, path, container, reterr);
        if (r == 0 && x->force) {
                r = pod_call(bus, CALL_DEADLINE, NULL, reterr, path, CONTAINER_FACE, "Kill", "sub",
                             "", (uint32_t)SIGKILL, 1);
                if (r == 0)
                        r = pod_call(bus, WORK_DEADLINE, NULL, reterr, path, CONTAINER_FACE, "Wait",
                                     "s", "");
        }
        if (r == 0)
                r = pod_call(bus, WORK_DEADLINE, NULL, reterr, path, CONTAINER_FACE, "Delete", "s",
                             "");
        return r < 0 ? error_prefix(reterr, r, "%s/%s", pod, container) : 0;
}

/* No container of it runs. */
static int check_idle(sd_bus *bus, const char *pod, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(words_freep) char **ids = NULL;
        int r;

        r = pod_call(bus, CALL_DEADLINE, &reply, reterr, BUS_POD, "org.freedesktop.DBus.Properties",
                     "Get", "ss", BUS_INTERFACE ".Pod", "Containers");
        if (r < 0)
                return error_prefix(reterr, r, "%s", pod);
        if (sd_bus_message_enter_container(reply, 'v', "as") < 0 ||
            sd_bus_message_read_strv(reply, &ids) < 0)
                return error_setf(reterr, -EBADMSG, "%s: property Containers is no list", pod);
        for (size_t i = 0; ids && ids[i] && r == 0; i++) {
                _cleanup_free_ char *path = bus_container_path(ids[i]);

                r = path ? check_stopped(bus, pod, path, ids[i], reterr) : error_oom(reterr);
        }
        return r;
}

/* No shim, and no way to start it: what a move left when it was cut off. */
static int remove_remains(const End *x, const char *pod, sd_bus **ret_bus, Error *reterr) {
        int r;

        if (!pod_has_remains(x->ctl, pod))
                return -ENOENT;
        if (!x->force)
                return error_setf(reterr, -EBADFD,
                                  "%s: no pod, but what a move to this host left of one; podferry "
                                  "doctor %s shows it, podferry rm --force %s removes it",
                                  pod, pod, pod);
        r = shim_start_to_remove(x->ctl, pod, reterr);
        return r < 0 ? r : pod_connect(x->ctl->config.run_dir, pod, ret_bus, reterr);
}

static int rm_once(const End *x, const char *pod, const char *container, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = container ? 0 : pod_drop_offline(x->ctl, pod, x->force, reterr);
        if (r != 0)
                return r < 0 ? r : 0;
        r = pod_connect(x->ctl->config.run_dir, pod, &bus, reterr);
        if (r == -ECONNREFUSED && x->force) {
                r = shim_start_again(x->ctl, pod, reterr); /* it knows what there is to remove */
                if (r < 0)
                        r = shim_start_to_remove(x->ctl, pod, reterr);
                if (r == 0)
                        r = pod_connect(x->ctl->config.run_dir, pod, &bus, reterr);
        }
        if (r == -ENOENT && !container && pod_is_stopped(x->ctl, pod)) {
                r = shim_restart(x->ctl, pod, reterr);
                if (r == 0)
                        r = pod_connect(x->ctl->config.run_dir, pod, &bus, reterr);
        } else if (r == -ENOENT && !container)
                r = remove_remains(x, pod, &bus, reterr);
        if (r < 0)
                return r;
        if (container)
                return remove_container(x, bus, pod, container, reterr);
        if (!x->force)
                r = check_idle(bus, pod, reterr);
        if (r == 0) {
                r = pod_call(bus, WORK_DEADLINE, NULL, reterr, BUS_ROOT, BUS_INTERFACE, "Shutdown",
                             "");
                if (r < 0)
                        r = error_prefix(reterr, r, "%s", pod);
        }
        return r;
}

/* Once more, if the shim died just then: now that is known. */
static int rm_one(const End *x, const char *pod, const char *container, Error *reterr) {
        int r = rm_once(x, pod, container, reterr);

        if (!x->force || !pod_has_gone(r))
                return r;
        if (reterr)
                *reterr = ERROR_INIT;
        r = rm_once(x, pod, container, reterr);
        return r == -ENOENT ? 0 : r; /* the call had come through */
}

static int rm_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        return each(&(End){ .ctl = ctl }, self, argc, argv, rm_one);
}
