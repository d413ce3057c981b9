/* SPDX-License-Identifier: Apache-2.0 */
/* podferry net: interfaces of a pod that runs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"

static const Option json_options[] = { CTL_OPTION_JSON };

static int net_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_net = {
        .name = "net",
        .operands = "add|rm|ls POD [INTERFACE]",
        .summary = "Give interfaces to a pod that runs, take them away, list them",
        .text = "add reads INTERFACE, which has come up in the pod's network namespace, and plugs it\n"
                "into the pod's machine, configured. rm unplugs it and leaves it to the namespace.\n"
                "ls shows every interface, and what went through it.\n"
                "\n"
                "  podferry net ls web\n"
                "  podferry net add web eth1",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "pods",
        .run = net_run,
};

typedef struct Counters {
        const char *name;
        uint64_t rx_bytes, rx_packets, rx_dropped, tx_bytes, tx_packets, tx_dropped;
} Counters;

enum { COUNTERS_MAX = 64 };

static int read_counters(sd_bus_message *m, Counters *list, size_t *ret_n, Error *reterr) {
        Counters c;
        size_t n = 0;
        int r = sd_bus_message_enter_container(m, 'a', "(stttttt)");

        while (r >= 0 && n < COUNTERS_MAX &&
               (r = sd_bus_message_read(m, "(stttttt)", &c.name, &c.rx_bytes, &c.rx_packets,
                                        &c.rx_dropped, &c.tx_bytes, &c.tx_packets, &c.tx_dropped)) >
                       0)
                list[n++] = c;
        *ret_n = n;
        return r < 0 ? error_setf(reterr, -EBADMSG, "an answer that is no list") : 0;
}

static const char *number_text(const Counters *c, uint64_t n, char ret[24]) {
        (void)snprintf(ret, 24, c ? "%" PRIu64 : "-", n);
        return ret;
}

/* c: NULL if nobody counts what goes through it. */
static int print_one(json_object *i, const Counters *c, bool json, Error *reterr) {
        char received[24], sent[24];
        _cleanup_json_ json_object *o = NULL;

        if (!json) {
                (void)printf("%-15s %-8s %-17s %6lld %12s %12s %s\n", json_get_text(i, "name"),
                             json_get_text(i, "state"), json_get_text(i, "mac"),
                             (long long)json_get_number(i, "mtu"),
                             number_text(c, c ? c->rx_bytes : 0, received),
                             number_text(c, c ? c->tx_bytes : 0, sent),
                             json_object_to_json_string_ext(
                                     json_get(i, "addresses"),
                                     JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                return 0;
        }
        o = json_object_get(i);
        if (c && (json_add(o, "rx_bytes", json_object_new_uint64(c->rx_bytes)) < 0 ||
                  json_add(o, "rx_packets", json_object_new_uint64(c->rx_packets)) < 0 ||
                  json_add(o, "rx_dropped", json_object_new_uint64(c->rx_dropped)) < 0 ||
                  json_add(o, "tx_bytes", json_object_new_uint64(c->tx_bytes)) < 0 ||
                  json_add(o, "tx_packets", json_object_new_uint64(c->tx_packets)) < 0 ||
                  json_add(o, "tx_dropped", json_object_new_uint64(c->tx_dropped)) < 0))
                return error_oom(reterr);
        json_print(o, false);
        return 0;
}

static int list_interfaces(sd_bus *bus, bool json, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ json_object *dump = NULL;
        Counters counters[COUNTERS_MAX];
        json_object *list, *i;
        size_t n = 0;
        int r;

        r = pod_dump(bus, &dump, reterr);
        if (r == 0)
                r = pod_call(bus, CALL_DEADLINE, &reply, reterr, BUS_ROOT "/network",
                             BUS_INTERFACE ".Interfaces", "Statistics", "");
        if (r == 0)
                r = read_counters(reply, counters, &n, reterr);
        if (r < 0)
                return r;
        list = json_get_array(json_find_kind(json_get(dump, "tree"), "network"), "interfaces");
        if (!json)
                (void)printf("%-15s %-8s %-17s %6s %12s %12s %s\n", "INTERFACE", "STATE", "MAC",
                             "MTU", "RECEIVED", "SENT", "ADDRESSES");
        for (JSON_EACH(k, list, i)) {
                const Counters *its = NULL;

                for (size_t c = 0; c < n; c++)
                        if (strcmp(counters[c].name, json_get_text(i, "name")) == 0)
                                its = &counters[c];
                if (r == 0)
                        r = print_one(i, its, json, reterr);
        }
        return r;
}

static int net_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_bus_ sd_bus *bus = NULL;
        Error e = ERROR_INIT;
        bool json = false, ls, add;
        char **operands;
        int n, r, status;

        if (!ctl_simple(self, argc, argv, 2, 3, &json, &operands, &n, &status))
                return status;
        ls = strcmp(operands[0], "ls") == 0;
        add = strcmp(operands[0], "add") == 0;
        if (!ls && !add && strcmp(operands[0], "rm") != 0)
                return ctl_usagef(self, "\"%.40s\" is none of add, rm, ls", operands[0]);
        if (n != (ls ? 2 : 3))
                return ctl_usagef(self, "%s takes %s", operands[0],
                                  ls ? "a pod" : "a pod and an interface");
        r = id_check("pod name", operands[1], &e);
        if (r == 0)
                r = pod_connect(ctl->config.run_dir, operands[1], &bus, &e);
        if (r == 0 && ls)
                r = list_interfaces(bus, json, &e);
        else if (r == 0)
                r = pod_call(bus, WORK_DEADLINE, NULL, &e, BUS_ROOT "/network",
                             BUS_INTERFACE ".Interfaces", add ? "Add" : "Remove", "s", operands[2]);
        return r < 0 ? ctl_fail(r, &e, "net %s", operands[0]) : CTL_OK;
}
