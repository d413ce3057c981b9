/* SPDX-License-Identifier: Apache-2.0 */
/* podferry ps: what is on this host, from every shim's own dump. */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/offline.h"

static const Option json_options[] = { CTL_OPTION_JSON };

static int ps_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_ps = {
        .name = "ps",
        .operands = "",
        .summary = "List the pods and containers of this host",
        .text = "One line for each container. A pod whose shim has died is shown as dead: its\n"
                "machine may still run; podferry adopt takes it up, podferry rm --force removes\n"
                "it. A pod that was here before the host was booted anew is shown as stopped:\n"
                "podferry start. With --json one object for each pod, a line each.",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "",
        .run = ps_run,
};

static void print_line(const char *pod, const char *container, const char *state, const char *pid,
                       const char *processes, const char *memory) {
        (void)printf("%-20s %-16s %-20s %8s %9s %9s\n", pod, container, state, pid, processes,
                     memory);
}

/* "running", "stopped (3)". */
static void describe_container(json_object *c, char *state, size_t n, char *pid, size_t n_pid,
                               char *count, size_t n_count) {
        json_object *children = json_get_array(c, "children"), *p;
        unsigned processes = 0;

        (void)snprintf(state, n, "%s", json_get_text(c, "state"));
        (void)snprintf(pid, n_pid, "-");
        for (JSON_EACH(i, children, p)) {
                if (strcmp(json_get_text(p, "kind"), "process") != 0)
                        continue;
                processes++;
                if (*json_get_text(p, "id") && strcmp(json_get_text(p, "id"), "init") != 0)
                        continue;
                if (json_get_number(p, "pid") > 0)
                        (void)snprintf(pid, n_pid, "%lld", (long long)json_get_number(p, "pid"));
                if (json_get(p, "exit_code") && strcmp(json_get_text(c, "state"), "stopped") == 0)
                        (void)snprintf(state, n, "%s (%lld)", json_get_text(c, "state"),
                                       (long long)json_get_number(p, "exit_code"));
        }
        (void)snprintf(count, n_count, "%u", processes);
}

static void print_pod(const char *pod, json_object *dump) {
        json_object *vm = json_get(dump, "tree"), *node = json_find_kind(vm, "pod"), *c;
        json_object *children = json_get_array(node, "children");
        char memory[24];
        bool any = false;

        (void)snprintf(memory, sizeof(memory), "%lldM",
                       (long long)json_get_number(vm, "memory_mib"));
        for (JSON_EACH(i, children, c)) {
                char state[64], pid[24], count[24];

                if (strcmp(json_get_text(c, "kind"), "container") != 0)
                        continue;
                describe_container(c, state, sizeof(state), pid, sizeof(pid), count, sizeof(count));
                print_line(pod, json_get_text(c, "id"), state, pid, count, memory);
                any = true;
        }
        if (!any)
                print_line(pod, "-", vm ? json_get_text(vm, "state") : "not started", "-", "-",
                           vm ? memory : "-");
}

static void show(const char *pod, json_object *dump, const Error *e, bool json) {
        _cleanup_json_ json_object *o = NULL;

        if (!json && dump)
                print_pod(pod, dump);
        else if (!json)
                print_line(pod, "-", "dead", "-", "-", "-");
        else if (dump)
                json_print(dump, false);
        else if ((o = json_object_new_object()) && json_add_string(o, "pod", pod) == 0 &&
                 json_add_string(o, "error", e->text) == 0)
                json_print(o, false);
}

/* Without a shim. */
static void show_stopped(const Ctl *ctl, const char *pod, bool json) {
        _cleanup_json_ json_object *o = json ? json_object_new_object() : NULL;
        const char *state = offline_check(ctl->config.state_dir, pod, NULL) == -EBADFD
                                    ? "given away"
                                    : "stopped";

        if (!json)
                print_line(pod, "-", state, "-", "-", "-");
        else if (o && json_add_string(o, "pod", pod) == 0 &&
                 json_add_string(o, "state", state) == 0)
                json_print(o, false);
}

static int ps_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(words_freep) char **pods = NULL, **stopped = NULL;
        Error e = ERROR_INIT;
        bool json = false;
        int r, n, status;
        char **operands;

        if (!ctl_simple(self, argc, argv, 0, 0, &json, &operands, &n, &status))
                return status;
        r = pods_list(ctl, &pods, &e);
        if (r == 0)
                r = pods_list_stopped(ctl, &stopped, &e);
        if (r < 0)
                return ctl_fail(r, &e, "ps");
        if (!json)
                print_line("POD", "CONTAINER", "STATE", "PID", "PROCESSES", "MEMORY");
        for (size_t i = 0; pods[i]; i++) {
                _cleanup_json_ json_object *dump = NULL;
                Error why = ERROR_INIT;

                r = pod_dump_of(ctl->config.run_dir, pods[i], &dump, &why);
                if (r != -ENOENT) /* gone since we looked */
                        show(pods[i], dump, &why, json);
        }
        for (size_t i = 0; stopped[i]; i++)
                show_stopped(ctl, stopped[i], json);
        return CTL_OK;
}
