/* SPDX-License-Identifier: Apache-2.0 */
/* An interface on which its namespace's own stack neither answers nor speaks, without traffic
 * control, and what has to be remembered for that to end: IPv4 answers no ARP, IPv6 has no address
 * there and takes none from a router. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

#define ADDRESSES_MAX 16U

/* In the order in which they are remembered. */
static const NetSysctl quiet[] = { { "ipv4", "arp_ignore", "8" }, { "ipv6", "accept_ra", "0" } };
static const char *const defaults[] = { "0", "1" };

int net_quiet_memory(NetNs *ns, const char *wire, char ret[NET_MEMORY_SIZE], Error *reterr) {
        NetSysctl now[ELEMENTSOF(quiet)];
        NetAddress6 list[ADDRESSES_MAX];
        size_t n = ELEMENTSOF(list), used;
        int index, r;

        memcpy(now, quiet, sizeof(now));
        r = net_device(ns, wire, &index, reterr);
        if (r == 0)
                r = net_sysctl(ns, wire, now, ELEMENTSOF(now), false, reterr);
        if (r == 0)
                r = net_addresses6(ns, index, false, list, &n, reterr);
        if (r < 0 && r != -ENOSPC)
                return r;
        used = (size_t)snprintf(ret, NET_MEMORY_SIZE, "podferry:");
        for (size_t i = 0; i < ELEMENTSOF(now); i++)
                used += (size_t)snprintf(ret + used, NET_MEMORY_SIZE - used, " %s",
                                         now[i].value[0] ? now[i].value : "-");
        for (size_t i = 0; r == 0 && i < n; i++) {
                char text[INET6_ADDRSTRLEN];

                (void)inet_ntop(AF_INET6, list[i].bytes, text, sizeof(text));
                used += (size_t)snprintf(ret + used, NET_MEMORY_SIZE - used, " %s/%u", text,
                                         list[i].prefix);
                if (used >= NET_MEMORY_SIZE)
                        r = -ENOSPC;
        }
        return r < 0 ? error_setf(reterr, r,
                                  "%s in %s has more IPv6 addresses than a macvtap's alias can "
                                  "remember (%u characters): take some away, or set "
                                  "\"network\": {\"wiring\": \"redirect\"} in this host's "
                                  "configuration",
                                  wire, ns->path, NET_MEMORY_SIZE - 1)
                     : 0;
}

int net_quiet(NetNs *ns, const char *device, Error *reterr) {
        NetSysctl set[ELEMENTSOF(quiet)];
        int index, r;

        memcpy(set, quiet, sizeof(set));
        r = net_device(ns, device, &index, reterr);
        if (r == 0)
                r = net_sysctl(ns, device, set, ELEMENTSOF(set), true, reterr);
        if (r == 0)
                r = net_failed(reterr, net_set_address_making(ns, index, false), "own addresses",
                               device, ns);
        return r < 0 ? r : net_drop_addresses6(ns, index, false, reterr);
}

static bool parse_address(char *word, NetAddress6 *ret) {
        char *slash = strchr(word, '/'), *end;
        unsigned long prefix;

        if (!slash)
                return false;
        *slash = '\0';
        prefix = strtoul(slash + 1, &end, 10);
        ret->prefix = (uint8_t)prefix;
        return end != slash + 1 && !*end && prefix <= 128 &&
               inet_pton(AF_INET6, word, ret->bytes) == 1;
}

/* What cannot be read is as a new interface has it. */
int net_speak(NetNs *ns, const char *wire, const char *memory, Error *reterr) {
        char text[NET_MEMORY_SIZE], *rest = text, *word;
        NetSysctl set[ELEMENTSOF(quiet)];
        NetAddress6 a;
        int index, r;

        r = net_index(ns, wire, &index);
        if (r == -ENOENT)
                return 0;
        memcpy(set, quiet, sizeof(set));
        (void)snprintf(text, sizeof(text), "%s", memory);
        (void)strsep(&rest, " ");
        for (size_t i = 0; i < ELEMENTSOF(set); i++) {
                word = strsep(&rest, " ");
                (void)snprintf(set[i].value, sizeof(set[i].value), "%s",
                               word && *word ? word : defaults[i]);
        }
        r = net_sysctl(ns, wire, set, ELEMENTSOF(set), true, reterr);
        (void)net_set_address_making(ns, index, true);
        while ((word = strsep(&rest, " ")))
                if (parse_address(word, &a))
                        (void)net_set_address6(ns, index, &a, true);
        return r;
}
