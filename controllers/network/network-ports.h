/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* A port of the host that leads to one of the pod, with a network of kind user. Written
 * [ADDRESS:]HOST_PORT:POD_PORT[/tcp|/udp]; ADDRESS is one of the host's, IPv4, all if not given. */
typedef struct NetworkPort {
        uint8_t address[4]; /* 0.0.0.0: all of the host's */
        uint16_t host, pod;
        bool udp;
} NetworkPort;

enum { NETWORK_PORTS_MAX = 64 }; /* of one pod */

/* -EINVAL: the text shows the value and says what is expected; nothing is written. */
int network_port_parse(const char *text, NetworkPort *ret, Error *reterr);
/* As it is parsed, with everything said. */
#define NETWORK_PORT_TEXT 40
const char *network_port_text(const NetworkPort *p, char ret[NETWORK_PORT_TEXT]);
/* -EINVAL: a port 0; -EEXIST: two that cannot both be listened at; -ENOSPC. */
int network_ports_check(const NetworkPort *list, size_t n, Error *reterr);
