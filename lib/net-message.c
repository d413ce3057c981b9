/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/net-message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_address(const ProtobufCBinaryData *a) {
        return a->len == 4 || a->len == 16;
}

static bool is_prefix(const ProtobufCBinaryData *a, uint32_t prefix) {
        return is_address(a) && prefix <= a->len * 8;
}

static bool is_empty_or(const ProtobufCBinaryData *a, size_t len) {
        return a->len == 0 || a->len == len;
}

bool net_same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b) {
        return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

bool net_is_link_local(const ProtobufCBinaryData *a) {
        return a->len == 16 && a->data[0] == 0xfe && (a->data[1] & 0xc0) == 0x80;
}

const char *net_mac_text(const ProtobufCBinaryData *mac, char ret[NET_MAC_TEXT]) {
        const uint8_t *m = mac->data;

        ret[0] = '\0';
        if (mac->len == NET_MAC_BYTES)
                (void)snprintf(ret, NET_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
                               m[3], m[4], m[5]);
        return ret;
}

int net_name_check(const char *name, Error *reterr) {
        size_t n = strlen(name);
        bool good = n > 0 && n <= NET_NAME_MAX && name[0] != '.' && strcmp(name, "lo") != 0;

        for (const char *p = name; good && *p; p++)
                good = *p > ' ' && *p <= '~' && !strchr("/:%", *p);
        return good ? 0 : error_setf(reterr, -EINVAL, "\"%.20s\" is no name of an interface", name);
}

/* A unicast one: the first bit that goes on the wire is 0. */
static bool is_mac(const ProtobufCBinaryData *mac) {
        static const uint8_t zero[NET_MAC_BYTES];

        return mac->len == NET_MAC_BYTES && !(mac->data[0] & 1) &&
               memcmp(mac->data, zero, sizeof(zero)) != 0;
}

static bool route_is_good(const NetRoute *t) {
        return is_prefix(&t->destination, t->prefix) &&
               is_empty_or(&t->gateway, t->destination.len) &&
               is_empty_or(&t->source, t->destination.len);
}

int net_interface_check(const NetInterface *i, Error *reterr) {
        int r = net_name_check(i->name, reterr);
        bool good = true;

        if (r < 0)
                return r;
        if (!is_mac(&i->mac) || !is_mac(&i->device_mac))
                return error_setf(reterr, -EINVAL, "interface %s: no MAC address of a station",
                                  i->name);
        if (i->mtu != 0 && (i->mtu < 68 || i->mtu > 65535))
                return error_setf(reterr, -EINVAL, "interface %s: MTU %u, 68 to 65535 allowed",
                                  i->name, i->mtu);
        if (i->n_addresses > NET_ENTRIES_MAX || i->n_routes > NET_ENTRIES_MAX ||
            i->n_neighbours > NET_ENTRIES_MAX)
                return error_setf(reterr, -EINVAL,
                                  "interface %s: at most %d addresses, routes and neighbours each",
                                  i->name, NET_ENTRIES_MAX);
        if (i->slot >= NET_INTERFACES_MAX)
                return error_setf(reterr, -EINVAL, "interface %s: slot %u, there are %d", i->name,
                                  i->slot, NET_INTERFACES_MAX);
        for (size_t k = 0; good && k < i->n_addresses; k++)
                good = is_prefix(&i->addresses[k]->address, i->addresses[k]->prefix);
        if (!good)
                return error_setf(reterr, -EINVAL, "interface %s: an address is none", i->name);
        for (size_t k = 0; good && k < i->n_routes; k++)
                good = route_is_good(i->routes[k]);
        if (!good)
                return error_setf(reterr, -EINVAL, "interface %s: a route is none", i->name);
        for (size_t k = 0; good && k < i->n_neighbours; k++)
                good = is_address(&i->neighbours[k]->address) &&
                       i->neighbours[k]->mac.len == NET_MAC_BYTES;
        return good ? 0 : error_setf(reterr, -EINVAL, "interface %s: a neighbour is none", i->name);
}

static bool words_are_good(char *const *words, size_t n) {
        if (n > NET_NAMES_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(words[i]);

                if (length == 0 || length > 253)
                        return false;
                for (const char *p = words[i]; *p; p++)
                        if (*p <= ' ' || *p > '~')
                                return false;
        }
        return true;
}

int net_names_check(const NetNames *n, Error *reterr) {
        if (!words_are_good(n->servers, n->n_servers) ||
            !words_are_good(n->searches, n->n_searches) ||
            !words_are_good(n->options, n->n_options))
                return error_setf(reterr, -EINVAL,
                                  "names: a server, domain or option is none, or too many");
        return 0;
}

static ProtobufCMessage *copy(const ProtobufCMessage *m) {
        size_t n = protobuf_c_message_get_packed_size(m);
        uint8_t *bytes = malloc(n + 1);
        ProtobufCMessage *c = NULL;

        if (bytes)
                c = protobuf_c_message_unpack(m->descriptor, NULL,
                                              protobuf_c_message_pack(m, bytes), bytes);
        free(bytes);
        return c;
}

NetInterface *net_interface_copy(const NetInterface *i) {
        return (NetInterface *)copy(&i->base);
}

NetInterface *net_interface_free(NetInterface *i) {
        if (i)
                protobuf_c_message_free_unpacked(&i->base, NULL);
        return NULL;
}

NetNames *net_names_copy(const NetNames *n) {
        return (NetNames *)copy(&n->base);
}

NetNames *net_names_free(NetNames *n) {
        if (n)
                protobuf_c_message_free_unpacked(&n->base, NULL);
        return NULL;
}

NetFacts *net_facts_copy(const NetFacts *f) {
        return (NetFacts *)copy(&f->base);
}

NetFacts *net_facts_free(NetFacts *f) {
        if (f)
                protobuf_c_message_free_unpacked(&f->base, NULL);
        return NULL;
}

NetInterface *net_facts_find(const NetFacts *f, const char *name) {
        for (size_t i = 0; i < f->n_interfaces; i++)
                if (strcmp(f->interfaces[i]->name, name) == 0)
                        return f->interfaces[i];
        return NULL;
}
