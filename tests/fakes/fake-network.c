/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fake-network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE(f, ...)                                                                              \
        do {                                                                                       \
                size_t n_ = strlen((f)->trace);                                                    \
                (void)snprintf((f)->trace + n_, sizeof((f)->trace) - n_, __VA_ARGS__);             \
        } while (0)

static int answer(FakeNetwork *f, FakeNetworkOp op, OpDone done, void *job, Error *reterr) {
        if (f->refuse[op] < 0)
                return error_setf(reterr, f->refuse[op], "refused by the fake");
        /* A result comes by the callback only. */
        if (!f->later && op != FAKE_NETWORK_READ)
                return 0;
        if (f->n_pending == ELEMENTSOF(f->pending))
                abort();
        f->pending[f->n_pending].op = op;
        f->pending[f->n_pending].done = done;
        f->pending[f->n_pending++].job = job;
        return 1;
}

bool fake_network_fire(FakeNetwork *f, int r) {
        __typeof__(f->pending[0]) p = f->pending[0];
        Error e = ERROR_INIT;

        if (f->n_pending == 0)
                return false;
        f->n_pending--;
        memmove(&f->pending[0], &f->pending[1], f->n_pending * sizeof(p));
        if (r < 0)
                (void)error_setf(&e, r, "failed by the fake");
        p.done(p.job, r, r == 0 && p.op == FAKE_NETWORK_READ ? f->facts : NULL, &e);
        return true;
}

static int op_read(void *u, const char *path, OpDone done, void *job, Error *reterr) {
        TRACE((FakeNetwork *)u, "read %s;", path);
        return answer(u, FAKE_NETWORK_READ, done, job, reterr);
}

static int op_plug(void *u, const NetInterface *i, OpDone done, void *job, Error *reterr) {
        TRACE((FakeNetwork *)u, "plug %u;", i->slot);
        return answer(u, FAKE_NETWORK_PLUG, done, job, reterr);
}

static int op_unplug(void *u, const NetInterface *i, OpDone done, void *job, Error *reterr) {
        TRACE((FakeNetwork *)u, "unplug %u;", i->slot);
        return answer(u, FAKE_NETWORK_UNPLUG, done, job, reterr);
}

static int op_join(void *u, const char *path, const NetInterface *i, OpDone done, void *job,
                   Error *reterr) {
        TRACE((FakeNetwork *)u, "join %s %s;", path, i->name);
        return answer(u, FAKE_NETWORK_JOIN, done, job, reterr);
}

static int op_leave(void *u, const char *path, const NetInterface *i, bool stays_cut, OpDone done,
                    void *job, Error *reterr) {
        TRACE((FakeNetwork *)u, "leave %s %s%s;", path, i->name, stays_cut ? " cut" : "");
        return answer(u, FAKE_NETWORK_LEAVE, done, job, reterr);
}

static int op_guest(void *u, const NetworkGuest *g, OpDone done, void *job, Error *reterr) {
        FakeNetwork *f = u;

        TRACE(f, "guest");
        for (size_t i = 0; i < g->n_interfaces; i++)
                TRACE(f, " %s.%u", g->interfaces[i]->name,
                      g->interfaces[i]->addresses[0]->address.data[3]);
        if (g->remove)
                TRACE(f, " -%s", g->remove->name);
        TRACE(f, "%s%s%s;", g->names ? " names" : "", g->announce ? " announce" : "",
              g->only_announce ? " only" : "");
        return answer(u, FAKE_NETWORK_GUEST, done, job, reterr);
}

const NetworkOps fake_network_ops = {
        .read = op_read,
        .plug = op_plug,
        .unplug = op_unplug,
        .join = op_join,
        .leave = op_leave,
        .guest = op_guest,
};

NetFacts *fake_network_facts(size_t n, uint8_t seed) {
        NetAddress v4 = PODFERRY__NET__V1__ADDRESS__INIT, v6 = PODFERRY__NET__V1__ADDRESS__INIT;
        NetAddress *addresses[] = { &v4, &v6 };
        NetRoute route = PODFERRY__NET__V1__ROUTE__INIT;
        NetRoute *routes[] = { &route };
        NetNeighbour neighbour = PODFERRY__NET__V1__NEIGHBOUR__INIT;
        NetNeighbour *neighbours[] = { &neighbour };
        NetInterface interfaces[NET_INTERFACES_MAX], *list[NET_INTERFACES_MAX];
        NetNames names = PODFERRY__NET__V1__NAMES__INIT;
        NetFacts f = PODFERRY__NET__V1__FACTS__INIT;
        uint8_t address4[4] = { 10, 0, 0, seed }, gateway[4] = { 10, 0, 0, 254 }, zero[4] = {},
                address6[16] = { 0xfd, [15] = seed }, macs[NET_INTERFACES_MAX][6],
                neighbour_mac[6] = { 2, 9, 9, 9, 9, 9 };
        char ifnames[NET_INTERFACES_MAX][8], server[] = "10.0.0.53", search[] = "example.org";
        char *servers[] = { server }, *searches[] = { search };

        v4.address = (ProtobufCBinaryData){ 4, address4 };
        v4.prefix = 24;
        v6.address = (ProtobufCBinaryData){ 16, address6 };
        v6.prefix = 64;
        route.destination = (ProtobufCBinaryData){ 4, zero };
        route.gateway = (ProtobufCBinaryData){ 4, gateway };
        neighbour.address = (ProtobufCBinaryData){ 4, gateway };
        neighbour.mac = (ProtobufCBinaryData){ 6, neighbour_mac };
        for (size_t i = 0; i < n; i++) {
                memcpy(macs[i], (uint8_t[]){ 2, 0, 0, 0, (uint8_t)i, seed }, 6);
                (void)snprintf(ifnames[i], sizeof(ifnames[i]), "eth%zu", i % 10);
                interfaces[i] = (NetInterface)PODFERRY__NET__V1__INTERFACE__INIT;
                interfaces[i].name = ifnames[i];
                interfaces[i].mac = interfaces[i].device_mac = (ProtobufCBinaryData){ 6, macs[i] };
                interfaces[i].mtu = 1500;
                interfaces[i].slot = (uint32_t)i;
                interfaces[i].addresses = addresses;
                interfaces[i].n_addresses = 2;
                interfaces[i].routes = routes;
                interfaces[i].n_routes = i == 0;
                interfaces[i].neighbours = neighbours;
                interfaces[i].n_neighbours = 1;
                list[i] = &interfaces[i];
        }
        names.servers = servers;
        names.n_servers = 1;
        names.searches = searches;
        names.n_searches = 1;
        f.interfaces = list;
        f.n_interfaces = n;
        f.names = &names;
        return net_facts_copy(&f);
}
