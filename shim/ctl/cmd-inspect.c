/* SPDX-License-Identifier: Apache-2.0 */
/* podferry inspect: all that a pod's shim knows, from its own dump, for people or as it is. */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"

static const Option options[] = { CTL_OPTION_JSON };

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_inspect = {
        .name = "inspect",
        .operands = "POD",
        .summary = "Show everything that a pod's shim knows",
        .text = "The machine, its disks and devices, the containers with their processes and\n"
                "logs, and a migration if there is one. Sizes are in MiB, positions in bytes.\n"
                "--json has every field there is:\n"
                "\n"
                "  podferry inspect --json web | jq '.tree.state'",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = self_run,
};

static bool is(json_object *node, const char *kind) {
        return strcmp(json_get_text(node, "kind"), kind) == 0;
}

static long long number(json_object *o, const char *key) {
        return (long long)json_get_number(o, key);
}

static const char *yes(json_object *o, const char *key) {
        return json_object_get_boolean(json_get(o, key)) ? "yes" : "no";
}

static const char *text_of(json_object *value) {
        return json_object_is_type(value, json_type_string)
                       ? json_object_get_string(value)
                       : json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE);
}

static bool is_list_of_objects(json_object *v) {
        return json_object_is_type(v, json_type_array) && json_object_array_length(v) > 0 &&
               json_object_is_type(json_object_array_get_idx(v, 0), json_type_object);
}

/* Lists of objects, a line each. */
static void print_lists(json_object *o) {
        json_object *e;

        json_object_object_foreach(o, key, list) {
                if (strcmp(key, "children") == 0 || !is_list_of_objects(list))
                        continue;
                for (JSON_EACH(i, list, e)) {
                        (void)printf("  %s:", key);
                        json_object_object_foreach(e, name, value) {
                                const char *text = text_of(value);

                                if (text && *text)
                                        (void)printf(" %s=%s", name, text);
                        }
                        (void)putchar('\n');
                }
        }
}

/* "key value, key value" of what has no line of its own; nothing of what is empty. */
static void print_rest(json_object *o, const char *const *known) {
        const char *between = "  ";

        json_object_object_foreach(o, key, value) {
                bool skip =
                        is_list_of_objects(value) || (json_object_is_type(value, json_type_array) &&
                                                      json_object_array_length(value) == 0);
                const char *text = text_of(value);

                for (size_t i = 0; known[i]; i++)
                        skip = skip || strcmp(known[i], key) == 0;
                if (skip || !value || !text || !*text)
                        continue;
                (void)printf("%s%s %s", between, key, text);
                between = ", ";
        }
        (void)putchar('\n');
}

static void print_machine(json_object *dump) {
        json_object *vm = json_get(dump, "tree"), *link = json_get(dump, "link");

        (void)printf("Pod %s\n", json_get_text(dump, "pod"));
        (void)printf("  shim       pid %lld, version %s, in %s\n", number(dump, "pid"),
                     json_get_text(dump, "version"), json_get_text(dump, "run_dir"));
        if (!vm) {
                (void)printf("  machine    not started\n");
                return;
        }
        (void)printf("  machine    %s: %lld MiB, %lld CPU%s, domain %s (%s)\n",
                     json_get_text(vm, "state"), number(vm, "memory_mib"), number(vm, "vcpus"),
                     number(vm, "vcpus") == 1 ? "" : "s", json_get_text(vm, "id"),
                     json_get_text(vm, "machine"));
        (void)printf("  uuid       %s\n", json_get_text(vm, "uuid"));
        if (*json_get_text(vm, "end_reason"))
                (void)printf("  ended      %s\n", json_get_text(vm, "end_reason"));
        if (link)
                (void)printf("  guest link %s, epoch %lld, %lld bytes in, %lld out, %lld not "
                             "acknowledged\n",
                             json_object_get_boolean(json_get(link, "up")) ? "up" : "down",
                             number(link, "epoch"), number(link, "bytes_in"),
                             number(link, "bytes_out"), number(link, "unacked_bytes"));
}

static void print_disks(json_object *scsi) {
        json_object *disks = json_get_array(scsi, "disks"), *d;

        if (!disks || json_object_array_length(disks) == 0)
                return;
        (void)printf("\n%-4s %-8s %-4s %-6s %-6s %9s %-10s %6s  %s\n", "DISK", "KIND", "MODE",
                     "MOVES", "FORMAT", "SIZE/MiB", "STATE", "MOUNTS", "FILE");
        for (JSON_EACH(i, disks, d))
                (void)printf("%-4lld %-8s %-4s %-6s %-6s %9.1f %-10s %6lld  %s\n",
                             number(d, "slot"), json_get_text(d, "kind"),
                             json_object_get_boolean(json_get(d, "read_only")) ? "ro" : "rw",
                             json_get_text(d, "mode"), json_get_text(d, "format"),
                             (double)json_get_number(d, "size") / (1 << 20),
                             json_get_text(d, "state"), number(d, "mounts"),
                             json_get_text(d, "path"));
}

/* The streams of a process: those of the shim are in a list of their own. */
static json_object *stdio_of(json_object *dump, json_object *container, const char *id) {
        json_object *list = json_get_array(dump, "stdio"), *s;

        if (strcmp(id, "init") == 0)
                id = "";
        for (JSON_EACH(i, list, s))
                if (strcmp(json_get_text(s, "guest_id"), json_get_text(container, "guest_id")) ==
                            0 &&
                    strcmp(json_get_text(s, "exec_id"), id) == 0)
                        return s;
        return NULL;
}

static void print_process(json_object *dump, json_object *c, json_object *p) {
        json_object *s = stdio_of(dump, c, json_get_text(p, "id"));
        char state[64], pid[24] = "-";

        if (json_get(p, "exit_code"))
                (void)snprintf(state, sizeof(state), "%s (%lld)", json_get_text(p, "state"),
                               number(p, "exit_code"));
        else
                (void)snprintf(state, sizeof(state), "%s", json_get_text(p, "state"));
        if (number(p, "pid") > 0)
                (void)snprintf(pid, sizeof(pid), "%lld", number(p, "pid"));
        (void)printf("  %-16s %-20s %7s %-4s %11lld %11lld\n", json_get_text(p, "id"), state, pid,
                     yes(p, "terminal"), number(s, "stdin_taken"), number(s, "log_end"));
}

static void print_container(json_object *dump, json_object *c) {
        static const char *const known[] = { "kind",     "id",       "state",  "guest_id",
                                             "log_path", "children", "rootfs", "patched",
                                             "disks",    NULL };
        json_object *children = json_get_array(c, "children"), *p;

        (void)printf("\nContainer %s: %s, %lld disk%s", json_get_text(c, "id"),
                     json_get_text(c, "state"), number(c, "disks"),
                     number(c, "disks") == 1 ? "" : "s");
        print_rest(c, known);
        (void)printf("  log %s\n", json_get_text(c, "log_path"));
        (void)printf("  %-16s %-20s %7s %-4s %11s %11s\n", "PROCESS", "STATE", "PID", "TTY",
                     "STDIN TAKEN", "LOG BYTES");
        for (JSON_EACH(i, children, p))
                if (is(p, "process"))
                        print_process(dump, c, p);
}

/* Controllers that have nothing of their own above, wherever they are in the tree. */
static void print_devices(json_object *node, bool *any) {
        static const char *const shown[] = { "vm", "pod", "container", "process", "scsi", NULL };
        static const char *const known[] = { "kind", "id", "state", "children", NULL };
        json_object *children = json_get_array(node, "children"), *child;
        bool skip = false;

        for (size_t i = 0; shown[i]; i++)
                skip = skip || is(node, shown[i]);
        if (!skip) {
                if (!*any)
                        (void)printf("\n%-12s %s\n", "DEVICES", "STATE");
                *any = true;
                (void)printf("%-12s %-12s", json_get_text(node, "kind"),
                             json_get_text(node, "state"));
                print_rest(node, known);
                print_lists(node);
        }
        for (JSON_EACH(i, children, child))
                print_devices(child, any);
}

/* What has been said; all others, with their defaults, are in --json and in docs/policies.md. */
static void print_options(json_object *dump) {
        json_object *list = json_get_array(dump, "migration_options"), *o;
        bool any = false;

        for (JSON_EACH(i, list, o)) {
                if (strcmp(json_get_text(o, "from"), "default") == 0)
                        continue;
                if (!any)
                        (void)printf("\n%-26s %-24s %s\n", "MIGRATION OPTION", "VALUE", "FROM");
                any = true;
                (void)printf("%-26s %-24s %s\n", json_get_text(o, "name"),
                             *json_get_text(o, "value") ? json_get_text(o, "value") : "-",
                             json_get_text(o, "from"));
        }
}

static void print_migration(json_object *m) {
        if (!m || strcmp(json_get_text(m, "state"), "idle") == 0)
                return;
        (void)printf("  migration %s: %s, %s, %s %lld %%%s%s\n", json_get_text(m, "session"),
                     json_get_text(m, "side"), json_get_text(m, "state"), json_get_text(m, "phase"),
                     (long long)json_get_number(m, "percent"),
                     *json_get_text(m, "error") ? ": " : "", json_get_text(m, "error"));
}

static void print_people(json_object *dump) {
        json_object *vm = json_get(dump, "tree"), *c;
        json_object *children = json_get_array(json_find_kind(vm, "pod"), "children");
        bool any = false;

        print_machine(dump);
        print_migration(json_get(dump, "migration"));
        for (JSON_EACH(i, children, c))
                if (is(c, "container"))
                        print_container(dump, c);
        print_disks(json_find_kind(vm, "scsi"));
        if (vm)
                print_devices(vm, &any);
        print_options(dump);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_json_ json_object *dump = NULL;
        Error e = ERROR_INIT;
        bool json = false;
        int r, n, status;
        char **operands;

        if (!ctl_simple(self, argc, argv, 1, 1, &json, &operands, &n, &status))
                return status;
        r = pod_dump_of(ctl->config.run_dir, operands[0], &dump, &e);
        if (r < 0)
                return ctl_fail(r, &e, "inspect");
        if (json)
                json_print(dump, true);
        else
                print_people(dump);
        return CTL_OK;
}
