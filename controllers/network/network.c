/* SPDX-License-Identifier: Apache-2.0 */
/* The network as a value: its states, what it holds, what it shows. What it does is in
 * network-calls.c, how it travels in network-save.c. */
#include "controllers/network/network-internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"

/* clang-format off */
#define TO(s) (1U << NETWORK_##s)
#define SETTLED (TO(NOT_CONFIGURED) | TO(CONFIGURED) | TO(TORN_DOWN))
static const FsmRow fsm_rows[_NETWORK_STATE_MAX] = {
        [NETWORK_NOT_CONFIGURED] = { "not-configured", TO(SETTING_UP) | TO(CONFIGURED) | TO(TORN_DOWN) | TO(SOURCE_MIGRATING), FSM_FIRST },
        [NETWORK_SETTING_UP]     = { "setting-up",     TO(CONFIGURED) | TO(INVALID) | TO(TORN_DOWN), FSM_WAITING },
        [NETWORK_CONFIGURED]     = { "configured",     TO(CHANGING) | TO(TORN_DOWN) | TO(SOURCE_MIGRATING), 0 },
        [NETWORK_CHANGING]       = { "changing",       TO(CONFIGURED) | TO(TORN_DOWN), FSM_WAITING },
        [NETWORK_INVALID]        = { "invalid",        TO(TORN_DOWN), 0 },
        [NETWORK_TORN_DOWN]      = { "torn-down",      TO(SOURCE_MIGRATING), 0 },
        [NETWORK_SOURCE_MIGRATING]      = { "source-migrating",      SETTLED, FSM_FROZEN },
        [NETWORK_DESTINATION_MIGRATING] = { "destination-migrating", SETTLED, FSM_FIRST | FSM_FROZEN },
};
#undef SETTLED
#undef TO
#define TO(s) (1U << NETWORK_INTERFACE_##s)
static const FsmRow interface_rows[_NETWORK_INTERFACE_STATE_MAX] = {
        [NETWORK_INTERFACE_PLANNED] = { "planned", TO(JOINING) | TO(UP) | TO(GONE), FSM_FIRST },
        [NETWORK_INTERFACE_JOINING] = { "joining", TO(UP) | TO(PLANNED) | TO(GONE), FSM_WAITING },
        [NETWORK_INTERFACE_UP]      = { "up",      TO(LEAVING) | TO(GONE), FSM_FIRST },
        [NETWORK_INTERFACE_LEAVING] = { "leaving", TO(GONE) | TO(FAILED), FSM_WAITING },
        [NETWORK_INTERFACE_FAILED]  = { "failed",  TO(LEAVING) | TO(GONE), FSM_FIRST },
        [NETWORK_INTERFACE_GONE]    = { "gone",    0, FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable network_fsm = { "network", fsm_rows, _NETWORK_STATE_MAX };
const FsmTable network_interface_fsm = { "interface", interface_rows,
                                         _NETWORK_INTERFACE_STATE_MAX };

static const char *const kind_names[_NETWORK_KIND_MAX] = {
        [NETWORK_NONE] = "none",
        [NETWORK_NAMESPACE] = "namespace",
        [NETWORK_USER] = "user",
};
static const char *const mode_names[_NETWORK_MODE_MAX] = {
        [NETWORK_KEEP] = "keep",
        [NETWORK_REBIND] = "rebind",
};

const char *network_kind_name(NetworkKind k) {
        return (unsigned)k < _NETWORK_KIND_MAX ? kind_names[k] : NULL;
}

const char *network_mode_name(NetworkMode m) {
        return (unsigned)m < _NETWORK_MODE_MAX ? mode_names[m] : NULL;
}

int network_mode_from_name(const char *name) {
        for (int m = 0; m < _NETWORK_MODE_MAX; m++)
                if (strcmp(mode_names[m], name) == 0)
                        return m;
        return -EINVAL;
}

static int network_can_freeze(const Controller *c, Error *reterr) {
        const Network *n = (const Network *)c; /* its first member */

        if (!fsm_can(&n->fsm, NETWORK_SOURCE_MIGRATING))
                return fsm_refuse(&n->fsm, "freeze", reterr);
        for (size_t i = 0; i < n->n_interfaces; i++)
                if (n->interfaces[i].fsm.state == NETWORK_INTERFACE_FAILED)
                        return error_setf(reterr, -EBADFD,
                                          "interface %s is half gone: remove it first",
                                          n->interfaces[i].config->name);
        return 0;
}

static void network_freeze(Controller *c) {
        Network *n = container_of(c, Network, controller);

        n->before = (NetworkState)n->fsm.state;
        fsm_must(&n->fsm, NETWORK_SOURCE_MIGRATING);
}

static void network_thaw(Controller *c) {
        Network *n = container_of(c, Network, controller);

        if (n->fsm.state == NETWORK_SOURCE_MIGRATING)
                fsm_must(&n->fsm, (int)n->before);
}

static const char *address_text(const ProtobufCBinaryData *a, char ret[INET6_ADDRSTRLEN]) {
        return inet_ntop(a->len == 4 ? AF_INET : AF_INET6, a->data, ret, INET6_ADDRSTRLEN) ?: "";
}

static json_object *addresses_json(const NetInterface *i) {
        json_object *list = json_object_new_array();

        for (size_t k = 0; list && k < i->n_addresses; k++) {
                char text[INET6_ADDRSTRLEN], with_prefix[INET6_ADDRSTRLEN + 8];

                (void)snprintf(with_prefix, sizeof(with_prefix), "%s/%u",
                               address_text(&i->addresses[k]->address, text),
                               i->addresses[k]->prefix);
                json_object_array_add(list, json_object_new_string(with_prefix));
        }
        return list;
}

static json_object *gateways_json(const NetInterface *i) {
        json_object *list = json_object_new_array();
        char text[INET6_ADDRSTRLEN];

        for (size_t k = 0; list && k < i->n_routes; k++)
                if (i->routes[k]->prefix == 0 && i->routes[k]->gateway.len > 0)
                        json_object_array_add(list, json_object_new_string(address_text(
                                                            &i->routes[k]->gateway, text)));
        return list;
}

static int dump_interface(const Interface *i, json_object *list) {
        json_object *o = json_object_new_object();
        char mac[NET_MAC_TEXT];

        if (!o)
                return -ENOMEM;
        json_object_object_add(o, "name", json_object_new_string(i->config->name));
        json_object_object_add(o, "state", json_object_new_string(fsm_name(&i->fsm)));
        json_object_object_add(o, "mac",
                               json_object_new_string(net_mac_text(&i->config->mac, mac)));
        json_object_object_add(o, "mtu", json_object_new_int64(i->config->mtu));
        json_object_object_add(o, "slot", json_object_new_int64(i->config->slot));
        json_object_object_add(o, "addresses", addresses_json(i->config));
        json_object_object_add(o, "gateways", gateways_json(i->config));
        json_object_object_add(o, "routes", json_object_new_int64((int64_t)i->config->n_routes));
        return json_object_array_add(list, o);
}

static json_object *ports_json(const Network *n) {
        json_object *list = json_object_new_array();
        char text[NETWORK_PORT_TEXT];

        for (size_t i = 0; list && i < n->n_ports; i++)
                json_object_array_add(
                        list, json_object_new_string(network_port_text(&n->ports[i], text)));
        return list;
}

static int network_dump(const Controller *c, json_object *o) {
        const Network *n = (const Network *)c; /* its first member */
        json_object *list = json_object_new_array();

        json_object_object_add(o, "network", json_object_new_string(kind_names[n->kind]));
        json_object_object_add(o, "namespace", json_object_new_string(n->path));
        if (n->n_ports > 0)
                json_object_object_add(o, "published", ports_json(n));
        json_object_object_add(o, "interfaces", list);
        for (size_t i = 0; i < n->n_interfaces; i++)
                if (!list || dump_interface(&n->interfaces[i], list) < 0)
                        return -ENOMEM;
        return 0;
}

static const ControllerVtable vtable = {
        .kind = "network",
        .can_freeze = network_can_freeze,
        .freeze = network_freeze,
        .thaw = network_thaw,
        .dump = network_dump,
};

int network_alloc(Controller *parent, NetworkState state, Network **ret, Error *reterr) {
        Network *n;

        n = calloc(1, sizeof(*n));
        if (n)
                n->path = strdup("");
        if (!n || !n->path) {
                free(n);
                return error_oom(reterr);
        }
        n->fsm = FSM_INIT(&network_fsm, (int)state, "network");
        controller_init(&n->controller, &vtable, parent, "network", &n->fsm);
        *ret = n;
        return 0;
}

int network_new(Controller *parent, Network **ret, Error *reterr) {
        return network_alloc(parent, NETWORK_NOT_CONFIGURED, ret, reterr);
}

Network *network_free(Network *n) {
        if (!n)
                return NULL;
        while (n->n_interfaces > 0)
                network_drop(n, &n->interfaces[n->n_interfaces - 1]);
        controller_done(&n->controller);
        (void)net_names_free(n->names);
        (void)net_names_free(n->next_names);
        free(n->path);
        free(n->next_path);
        free(n);
        return NULL;
}

void network_bind(Network *n, const NetworkOps *ops, void *userdata) {
        n->ops = ops;
        n->userdata = userdata;
}

Controller *network_controller(Network *n) {
        return &n->controller;
}

NetworkState network_state(const Network *n) {
        return (NetworkState)n->fsm.state;
}

NetworkKind network_kind(const Network *n) {
        return n->kind;
}

const char *network_path(const Network *n) {
        return n->next_path ?: n->path;
}

int network_each_interface(const Network *n, NetworkVisitor visit, void *userdata) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < n->n_interfaces; i++)
                r = visit(userdata, &(NetworkInterfaceInfo){
                                            n->interfaces[i].config,
                                            (NetworkInterfaceState)n->interfaces[i].fsm.state });
        return r;
}

Interface *network_find(Network *n, const char *name) {
        for (size_t i = 0; i < n->n_interfaces; i++)
                if (strcmp(n->interfaces[i].config->name, name) == 0)
                        return &n->interfaces[i];
        return NULL;
}

/* Kept by slot. */
int network_put(Network *n, const NetInterface *config, NetworkInterfaceState state,
                Error *reterr) {
        Interface i = { .config = net_interface_copy(config) };
        size_t at = n->n_interfaces;

        if (!i.config)
                return error_oom(reterr);
        i.fsm = FSM_INIT(&network_interface_fsm, (int)state, i.config->name);
        for (; at > 0 && n->interfaces[at - 1].config->slot > config->slot; at--)
                n->interfaces[at] = n->interfaces[at - 1];
        n->interfaces[at] = i;
        n->n_interfaces++;
        return 0;
}

void network_drop(Network *n, Interface *i) {
        size_t at = (size_t)(i - n->interfaces);

        (void)net_interface_free(i->config);
        (void)net_interface_free(i->next);
        n->n_interfaces--;
        memmove(i, i + 1, (n->n_interfaces - at) * sizeof(*i));
}

static int check_pair(const NetInterface *a, const NetInterface *b, Error *reterr) {
        char mac[NET_MAC_TEXT];

        if (strcmp(a->name, b->name) == 0)
                return error_setf(reterr, -EINVAL, "network: two interfaces %s", a->name);
        if (a->slot == b->slot)
                return error_setf(reterr, -EINVAL, "network: %s and %s in slot %u", a->name,
                                  b->name, a->slot);
        if (net_same_bytes(&a->mac, &b->mac) || net_same_bytes(&a->device_mac, &b->device_mac))
                return error_setf(reterr, -EEXIST, "network: %s and %s have one MAC address, %s",
                                  a->name, b->name, net_mac_text(&a->mac, mac));
        return 0;
}

int network_check(const Network *n, Error *reterr) {
        int r = path_check_or_empty("network namespace", n->path, reterr);

        if (r == 0 && (n->kind == NETWORK_NAMESPACE) != !!n->path[0])
                r = error_setf(reterr, -EINVAL, "network %s: namespace \"%.200s\"",
                               kind_names[n->kind], n->path);
        if (r == 0 && (n->kind == NETWORK_NONE) != (n->n_interfaces == 0) &&
            n->kind != NETWORK_NAMESPACE) /* whose last one may have been removed */
                r = error_setf(reterr, -EINVAL, "network %s: %zu interfaces", kind_names[n->kind],
                               n->n_interfaces);
        if (r == 0 && n->kind != NETWORK_USER && n->n_ports > 0)
                r = error_setf(reterr, -EINVAL,
                               "ports are published with the network \"user\" only, not \"%s\"",
                               kind_names[n->kind]);
        if (r == 0)
                r = network_ports_check(n->ports, n->n_ports, reterr);
        for (size_t i = 0; r == 0 && i < n->n_interfaces; i++) {
                r = net_interface_check(n->interfaces[i].config, reterr);
                for (size_t k = 0; r == 0 && k < i; k++)
                        r = check_pair(n->interfaces[k].config, n->interfaces[i].config, reterr);
        }
        return r < 0 || !n->names ? r : net_names_check(n->names, reterr);
}

static void forget_plan(Network *n) {
        while (n->n_interfaces > 0)
                network_drop(n, &n->interfaces[n->n_interfaces - 1]);
        n->names = net_names_free(n->names);
        n->kind = NETWORK_NONE;
        n->path[0] = '\0';
        n->n_ports = 0;
}

static int fill_plan(Network *n, const char *path, const NetFacts *facts, Error *reterr) {
        char *copy = strdup(path);
        int r = 0;

        if (!copy)
                return error_oom(reterr);
        free(n->path);
        n->path = copy;
        if (facts && facts->n_interfaces > NET_INTERFACES_MAX)
                return error_setf(reterr, -ENOSPC, "network: at most %d interfaces",
                                  NET_INTERFACES_MAX);
        for (size_t i = 0; facts && r == 0 && i < facts->n_interfaces; i++)
                r = network_put(n, facts->interfaces[i], NETWORK_INTERFACE_PLANNED, reterr);
        if (r == 0 && facts && facts->names) {
                n->names = net_names_copy(facts->names);
                if (!n->names)
                        r = error_oom(reterr);
        }
        return r < 0 ? r : network_check(n, reterr);
}

int network_plan(Network *n, NetworkKind kind, const char *path, const NetFacts *facts,
                 Error *reterr) {
        int r;

        if (n->fsm.state != NETWORK_NOT_CONFIGURED)
                return fsm_refuse(&n->fsm, "plan", reterr);
        forget_plan(n);
        n->kind = kind;
        r = fill_plan(n, path, facts, reterr);
        if (r < 0)
                forget_plan(n);
        return r;
}

int network_publish(Network *n, const NetworkPort *ports, size_t n_ports, Error *reterr) {
        int r;

        if (n->fsm.state != NETWORK_NOT_CONFIGURED)
                return fsm_refuse(&n->fsm, "publish", reterr);
        r = network_ports_check(ports, n_ports, reterr);
        if (r < 0)
                return r;
        n->n_ports = n_ports;
        if (n_ports > 0)
                memcpy(n->ports, ports, n_ports * sizeof(*ports));
        r = network_check(n, reterr);
        if (r < 0)
                n->n_ports = 0;
        return r;
}

const NetworkPort *network_ports(const Network *n, size_t *ret_n) {
        *ret_n = n->n_ports;
        return n->ports;
}
