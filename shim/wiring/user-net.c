/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor's own network (slirp): what it is like inside is the same on every host. */
#include <string.h>
#include <sys/random.h>

#include "shim/wiring/ops.h"

NetFacts *shim_user_facts(void) {
        uint8_t mac[NET_MAC_BYTES], address[] = { 10, 0, 2, 15 }, gateway[] = { 10, 0, 2, 2 },
                                    any[4] = {};
        char name[] = "eth0", server[] = "10.0.2.3", *servers[] = { server };
        NetInterface i = PODFERRY__NET__V1__INTERFACE__INIT, *interfaces[] = { &i };
        NetAddress a = PODFERRY__NET__V1__ADDRESS__INIT, *addresses[] = { &a };
        NetRoute t = PODFERRY__NET__V1__ROUTE__INIT, *routes[] = { &t };
        NetNames names = PODFERRY__NET__V1__NAMES__INIT;
        NetFacts f = PODFERRY__NET__V1__FACTS__INIT;

        if (getrandom(mac, sizeof(mac), 0) != (ssize_t)sizeof(mac))
                return NULL;
        mac[0] = (uint8_t)((mac[0] & 0xfc) | 2); /* of a station, made up here */
        a.address = (ProtobufCBinaryData){ sizeof(address), address };
        a.prefix = 24;
        t.destination = (ProtobufCBinaryData){ sizeof(any), any };
        t.gateway = (ProtobufCBinaryData){ sizeof(gateway), gateway };
        i.name = name;
        i.mac = i.device_mac = (ProtobufCBinaryData){ sizeof(mac), mac };
        i.mtu = 1500;
        i.addresses = addresses;
        i.n_addresses = 1;
        i.routes = routes;
        i.n_routes = 1;
        names.servers = servers;
        names.n_servers = 1;
        f.interfaces = interfaces;
        f.n_interfaces = 1;
        f.names = &names;
        return net_facts_copy(&f);
}
