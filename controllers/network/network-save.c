/* SPDX-License-Identifier: Apache-2.0 */
/* The network in a migration: envelope, patch, resume. */
#include <string.h>

#include "controllers/checks.h"
#include "controllers/network/network-internal.h"
#include "network.pb-c.h"

typedef Podferry__State__V1__Network PbNetwork;
typedef Podferry__State__V1__Publish PbPublish;

const EnvelopeType network_envelope = {
        .kind = "network",
        .type_url = "type.podferry.org/podferry.state.v1.Network",
        .version = 2,
        .min_version = 1,
        .descriptor = &podferry__state__v1__network__descriptor,
};

static const NetworkState phases[] = { NETWORK_NOT_CONFIGURED, NETWORK_CONFIGURED,
                                       NETWORK_TORN_DOWN };

static const uint8_t any_address[4];

int network_save(const Network *n, Buf *ret, Error *reterr) {
        NetInterface *interfaces[NET_INTERFACES_MAX];
        PbPublish *ports[NETWORK_PORTS_MAX], published[NETWORK_PORTS_MAX];
        PbNetwork w = PODFERRY__STATE__V1__NETWORK__INIT;

        if (n->fsm.state != NETWORK_SOURCE_MIGRATING)
                return fsm_refuse(&n->fsm, "save", reterr);
        while (phases[w.phase] != n->before)
                w.phase++;
        for (size_t i = 0; i < n->n_interfaces; i++)
                interfaces[i] = n->interfaces[i].config;
        w.interfaces = interfaces;
        w.n_interfaces = n->n_interfaces;
        w.kind = n->kind;
        w.namespace_path = n->path;
        w.names = n->names;
        for (size_t i = 0; i < n->n_ports; i++) {
                published[i] = (PbPublish)PODFERRY__STATE__V1__PUBLISH__INIT;
                published[i].udp = n->ports[i].udp;
                published[i].host_port = n->ports[i].host;
                published[i].pod_port = n->ports[i].pod;
                if (memcmp(n->ports[i].address, any_address, sizeof(any_address)) != 0)
                        published[i].address =
                                (ProtobufCBinaryData){ sizeof(n->ports[i].address),
                                                       (uint8_t *)(uintptr_t)n->ports[i].address };
                ports[i] = &published[i];
        }
        w.publish = ports;
        w.n_publish = n->n_ports;
        return envelope_seal(&network_envelope, &w.base, ret, reterr);
}

static int take_ports(Network *n, const PbNetwork *w, Error *reterr) {
        if (w->n_publish > NETWORK_PORTS_MAX)
                return error_setf(reterr, -EINVAL, "%zu published ports", w->n_publish);
        for (size_t i = 0; i < w->n_publish; i++) {
                const PbPublish *p = w->publish[i];
                NetworkPort *port = &n->ports[n->n_ports++];

                if (p->host_port > UINT16_MAX || p->pod_port > UINT16_MAX ||
                    (p->address.len != 0 && p->address.len != sizeof(port->address)))
                        return error_setf(reterr, -EINVAL, "a published port is none");
                *port = (NetworkPort){ .host = (uint16_t)p->host_port,
                                       .pod = (uint16_t)p->pod_port,
                                       .udp = p->udp };
                if (p->address.len > 0)
                        memcpy(port->address, p->address.data, sizeof(port->address));
        }
        return 0;
}

static int take_message(Network *n, const PbNetwork *w, Error *reterr) {
        char *path;
        int r = 0;

        if (w->phase >= ELEMENTSOF(phases))
                return error_setf(reterr, -EINVAL, "network envelope: phase is unknown");
        if (w->kind >= _NETWORK_KIND_MAX)
                return error_setf(reterr, -EINVAL, "network envelope: kind is unknown");
        if (w->n_interfaces > NET_INTERFACES_MAX)
                return error_setf(reterr, -EINVAL, "network envelope: %zu interfaces",
                                  w->n_interfaces);
        n->before = phases[w->phase];
        n->kind = (NetworkKind)w->kind;
        path = strdup(w->namespace_path);
        if (!path)
                return error_oom(reterr);
        free(n->path);
        n->path = path;
        for (size_t i = 0; r == 0 && i < w->n_interfaces; i++)
                r = network_put(n, w->interfaces[i],
                                n->before == NETWORK_CONFIGURED ? NETWORK_INTERFACE_UP
                                                                : NETWORK_INTERFACE_PLANNED,
                                reterr);
        if (r == 0 && w->names) {
                n->names = net_names_copy(w->names);
                if (!n->names)
                        r = error_oom(reterr);
        }
        if (r == 0)
                r = take_ports(n, w, reterr);
        if (r == 0)
                r = network_check(n, reterr);
        return r < 0 ? error_prefix(reterr, r, "network envelope") : 0;
}

int network_import(Controller *parent, const void *p, size_t size, Network **ret, Error *reterr) {
        _cleanup_(network_freep) Network *n = NULL;
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&network_envelope, p, size, &m, NULL, reterr);
        if (r < 0)
                return r;
        r = network_alloc(parent, NETWORK_DESTINATION_MIGRATING, &n, reterr);
        if (r == 0)
                r = take_message(n, (PbNetwork *)m, reterr);
        protobuf_c_message_free_unpacked(m, NULL);
        if (r < 0)
                return r;
        *ret = TAKE(n);
        return 0;
}

/* The pod's MAC, and nobody else's there. */
static int check_mac(const NetInterface *ours, const NetFacts *facts, const char *path,
                     Error *reterr) {
        char mac[NET_MAC_TEXT];

        for (size_t i = 0; i < facts->n_interfaces; i++)
                if (strcmp(facts->interfaces[i]->name, ours->name) != 0 &&
                    net_same_bytes(&facts->interfaces[i]->mac, &ours->mac))
                        return error_setf(
                                reterr, -EEXIST,
                                "%s: the pod's MAC address %s (%s) is in use there, by %s", path,
                                net_mac_text(&ours->mac, mac), ours->name,
                                facts->interfaces[i]->name);
        return 0;
}

/* With rebind: what the interface becomes. Its device stays what it is. */
static int make_next(const NetInterface *ours, const NetInterface *there, NetInterface **ret,
                     Error *reterr) {
        uint8_t mac[NET_MAC_BYTES];
        NetInterface *next = net_interface_copy(there);

        if (!next)
                return error_oom(reterr);
        memcpy(mac, ours->device_mac.data, sizeof(mac));
        memcpy(next->device_mac.data, mac, sizeof(mac));
        next->slot = ours->slot;
        *ret = next;
        return 0;
}

static int check_path(const Network *n, const NetworkPatch *p, Error *reterr) {
        int r = path_check_or_empty("network namespace", p->path, reterr);

        if (r < 0)
                return r;
        if (n->kind == NETWORK_NAMESPACE && !p->path[0])
                return error_setf(reterr, -EINVAL,
                                  "the pod has a network namespace at the source: name the one on "
                                  "this host (--net ns:PATH)");
        if (n->kind != NETWORK_NAMESPACE && p->path[0])
                return error_setf(reterr, -EINVAL,
                                  "network namespace %.200s: the pod's network is \"%s\"", p->path,
                                  network_kind_name(n->kind));
        if (p->path[0] && !p->facts)
                return error_setf(reterr, -EINVAL, "network namespace %.200s was not read",
                                  p->path);
        return 0;
}

static int patch_interface(Interface *i, const NetworkPatch *p, NetInterface **ret, Error *reterr) {
        NetInterface *there = net_facts_find(p->facts, i->config->name);
        int r;

        if (!there)
                return error_setf(reterr, -ENOENT, "%s has no interface %s, which the pod has",
                                  p->path, i->config->name);
        if (p->mode == NETWORK_REBIND)
                return make_next(i->config, there, ret, reterr);
        r = check_mac(i->config, p->facts, p->path, reterr);
        return r;
}

int network_patch(Network *n, const NetworkPatch *p, Error *reterr) {
        NetInterface *next[NET_INTERFACES_MAX] = {};
        NetNames *names = NULL;
        char *path = NULL;
        int r;

        if (n->fsm.state != NETWORK_DESTINATION_MIGRATING)
                return fsm_refuse(&n->fsm, "patch", reterr);
        r = check_path(n, p, reterr);
        for (size_t i = 0; r == 0 && p->facts && i < n->n_interfaces; i++)
                r = patch_interface(&n->interfaces[i], p, &next[i], reterr);
        if (r == 0 && !(path = strdup(p->path)))
                r = error_oom(reterr);
        if (r == 0 && p->mode == NETWORK_REBIND && p->facts && p->facts->names &&
            !(names = net_names_copy(p->facts->names)))
                r = error_oom(reterr);
        for (size_t i = 0; i < n->n_interfaces; i++) {
                if (r == 0) {
                        (void)net_interface_free(n->interfaces[i].next);
                        n->interfaces[i].next = next[i];
                } else {
                        (void)net_interface_free(next[i]);
                }
        }
        if (r < 0) {
                free(path);
                return r;
        }
        free(n->next_path);
        n->next_path = path;
        (void)net_names_free(n->next_names);
        n->next_names = names;
        n->mode = p->mode;
        return 0;
}

/* Nothing in it can fail. */
static void become_next(Network *n) {
        for (size_t i = 0; i < n->n_interfaces; i++) {
                Interface *f = &n->interfaces[i];

                if (!f->next)
                        continue;
                (void)net_interface_free(f->config);
                f->config = TAKE(f->next);
                f->fsm.id = f->config->name;
        }
        if (n->next_path) {
                free(n->path);
                n->path = TAKE(n->next_path);
        }
        if (n->next_names) {
                (void)net_names_free(n->names);
                n->names = TAKE(n->next_names);
        }
}

int network_resume(Network *n, Error *reterr) {
        if (n->fsm.state == NETWORK_DESTINATION_MIGRATING) {
                become_next(n);
                n->arrived = true;
        }
        if (controller_is_frozen(&n->controller))
                fsm_must(&n->fsm, (int)n->before);
        return 0;
}

int network_abort_migrated(Network *n, Error *reterr) {
        if (n->fsm.state == NETWORK_DESTINATION_MIGRATING)
                network_teardown(n);
        return 0;
}
