/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor's own network (slirp): what it is like inside is the same on every host. Its IPv6
 * prefix is one that a resolver puts last, so that a host without IPv6 costs nobody a time-out. */
#include <string.h>
#include <sys/random.h>

#include "shim/wiring/ops.h"

NetFacts *shim_user_facts(void) {
        uint8_t mac[NET_MAC_BYTES], any[16] = {};
        uint8_t address[] = { 10, 0, 2, 15 }, gateway[] = { 10, 0, 2, 2 };
        uint8_t address6[16] = { 0xfe, 0xc0, [15] = 15 }, gateway6[16] = { 0xfe, 0xc0, [15] = 2 };
        char name[] = "eth0", server[] = "10.0.2.3", *servers[] = { server };
        NetInterface i = PODFERRY__NET__V1__INTERFACE__INIT, *interfaces[] = { &i };
        NetAddress a = PODFERRY__NET__V1__ADDRESS__INIT, a6 = a, *addresses[] = { &a, &a6 };
        NetRoute t = PODFERRY__NET__V1__ROUTE__INIT, t6 = t, *routes[] = { &t, &t6 };
        NetNames names = PODFERRY__NET__V1__NAMES__INIT;
        NetFacts f = PODFERRY__NET__V1__FACTS__INIT;

        if (getrandom(mac, sizeof(mac), 0) != (ssize_t)sizeof(mac))
                return NULL;
        mac[0] = (uint8_t)((mac[0] & 0xfc) | 2); /* of a station, made up here */
        a.address = (ProtobufCBinaryData){ sizeof(address), address };
        a.prefix = 24;
        a6.address = (ProtobufCBinaryData){ sizeof(address6), address6 };
        a6.prefix = 64;
        t.destination = (ProtobufCBinaryData){ sizeof(address), any };
        t.gateway = (ProtobufCBinaryData){ sizeof(gateway), gateway };
        t6.destination = (ProtobufCBinaryData){ sizeof(address6), any };
        t6.gateway = (ProtobufCBinaryData){ sizeof(gateway6), gateway6 };
        i.name = name;
        i.mac = i.device_mac = (ProtobufCBinaryData){ sizeof(mac), mac };
        i.mtu = 1500;
        i.addresses = addresses;
        i.n_addresses = ELEMENTSOF(addresses);
        i.routes = routes;
        i.n_routes = ELEMENTSOF(routes);
        names.servers = servers;
        names.n_servers = 1;
        f.interfaces = interfaces;
        f.n_interfaces = 1;
        f.names = &names;
        return net_facts_copy(&f);
}

int shim_ports_check(Shim *s, Error *reterr) {
        size_t n;
        const NetworkPort *ports = network_ports(pod_network(s->pod), &n);
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++)
                r = net_port_check(ports[i].address, ports[i].host, ports[i].udp, reterr);
        return r < 0 ? error_prefix(reterr, r, "publish") : 0;
}

int shim_publish(Shim *s, const char *list, Error *reterr) {
        NetworkPort ports[NETWORK_PORTS_MAX];
        _cleanup_free_ char *copy = strdup(list);
        char *save = NULL;
        size_t n = 0;
        int r = 0;

        if (!copy)
                return error_oom(reterr);
        for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
                if (n == NETWORK_PORTS_MAX)
                        return error_setf(reterr, -ENOSPC, "publish: at most %d ports",
                                          NETWORK_PORTS_MAX);
                r = network_port_parse(p, &ports[n++], reterr);
                if (r < 0)
                        return r;
        }
        r = network_publish(pod_network(s->pod), ports, n, reterr);
        return r < 0 ? r : shim_ports_check(s, reterr);
}
