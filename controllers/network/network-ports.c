/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/network/network-ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(const char *text, const char *why, Error *reterr) {
        return error_setf(reterr, -EINVAL,
                          "publish \"%.80s\": %s; expected is [ADDRESS:]HOST_PORT:POD_PORT[/udp], "
                          "as in 127.0.0.1:8080:80",
                          text, why);
}

/* Digits only, up to the end of the word. */
static bool take_port(const char *p, size_t n, uint16_t *ret) {
        unsigned value = 0;

        if (n < 1 || n > 5)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return false;
                value = value * 10 + (unsigned)(p[i] - '0');
        }
        *ret = (uint16_t)value;
        return value > 0 && value <= UINT16_MAX;
}

static bool take_address(const char *p, size_t n, uint8_t ret[4]) {
        char text[INET_ADDRSTRLEN];

        if (n >= sizeof(text))
                return false;
        memcpy(text, p, n);
        text[n] = '\0';
        return inet_pton(AF_INET, text, ret) == 1;
}

int network_port_parse(const char *text, NetworkPort *ret, Error *reterr) {
        const char *slash = strchr(text, '/'), *end = slash ?: text + strlen(text), *host, *pod;
        NetworkPort p = {};

        if (slash && strcmp(slash, "/udp") != 0 && strcmp(slash, "/tcp") != 0)
                return refuse(text, "what follows the slash is udp or tcp", reterr);
        p.udp = slash && slash[1] == 'u';
        if (text[0] == '[' || strstr(text, "::"))
                return refuse(text, "the hypervisor publishes at IPv4 addresses only", reterr);
        if (memchr(text, '-', (size_t)(end - text)))
                return refuse(text, "a range of ports; give --publish once for each", reterr);
        pod = memrchr(text, ':', (size_t)(end - text));
        if (!pod)
                return refuse(text, "the port of the pod is missing", reterr);
        if (!take_port(pod + 1, (size_t)(end - pod - 1), &p.pod))
                return refuse(text, "a port of the pod is 1 to 65535", reterr);
        host = memrchr(text, ':', (size_t)(pod - text));
        if (host && !take_address(text, (size_t)(host - text), p.address))
                return refuse(text, "what comes first is no IPv4 address", reterr);
        host = host ? host + 1 : text;
        if (!take_port(host, (size_t)(pod - host), &p.host))
                return refuse(text, "a port of the host is 1 to 65535", reterr);
        *ret = p;
        return 0;
}

const char *network_port_text(const NetworkPort *p, char ret[NETWORK_PORT_TEXT]) {
        (void)snprintf(ret, NETWORK_PORT_TEXT, "%u.%u.%u.%u:%u:%u/%s", p->address[0], p->address[1],
                       p->address[2], p->address[3], p->host, p->pod, p->udp ? "udp" : "tcp");
        return ret;
}

static bool is_any(const NetworkPort *p) {
        static const uint8_t any[4];

        return memcmp(p->address, any, sizeof(any)) == 0;
}

static bool collide(const NetworkPort *a, const NetworkPort *b) {
        return a->udp == b->udp && a->host == b->host &&
               (is_any(a) || is_any(b) || memcmp(a->address, b->address, sizeof(a->address)) == 0);
}

int network_ports_check(const NetworkPort *list, size_t n, Error *reterr) {
        char a[NETWORK_PORT_TEXT], b[NETWORK_PORT_TEXT];

        if (n > NETWORK_PORTS_MAX)
                return error_setf(reterr, -ENOSPC, "publish: at most %d ports", NETWORK_PORTS_MAX);
        for (size_t i = 0; i < n; i++) {
                if (list[i].host == 0 || list[i].pod == 0)
                        return error_setf(reterr, -EINVAL, "publish: %s: port 0",
                                          network_port_text(&list[i], a));
                for (size_t k = 0; k < i; k++)
                        if (collide(&list[i], &list[k]))
                                return error_setf(
                                        reterr, -EEXIST,
                                        "publish: %s and %s want the same port of the host",
                                        network_port_text(&list[k], a),
                                        network_port_text(&list[i], b));
        }
        return 0;
}
