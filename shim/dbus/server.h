/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "lib/error.h"

/* The shim's private bus: a listening UNIX socket on which every client gets a D-Bus connection of
 * its own (peer to peer, no bus daemon), and, where there is one, the system bus.
 *
 * Only uid 0 and our own uid may connect (the socket sits in a 0700 directory as well). There is a
 * limit on connections, and a client that does not read its signals is cut off rather than served
 * from growing memory. Every connection shows the same objects: `add` puts them there. */
typedef struct BusServer BusServer;

#define BUS_CONNECTIONS_MAX    32U
#define BUS_UNREAD_SIGNALS_MAX 1024U

/* Adds the objects to a new connection; < 0 refuses it. */
typedef int (*BusAddObjects)(sd_bus *bus, void *userdata);

/* A connection is over, whichever side ended it. */
typedef void (*BusGone)(const sd_bus *bus, void *userdata);

/* Listens on `path` (an old socket there is replaced). `gone` may be NULL. */
int bus_server_new(sd_event *event, const char *path, BusAddObjects add, BusGone gone,
                   void *userdata, BusServer **ret, Error *reterr);
BusServer *bus_server_free(BusServer *s); /* what was sent and not yet written is lost */
DEFINE_CLEANUP(BusServer *, bus_server_free);

/* Serves the same objects on the system bus under `name`, if there is a system bus. Failing to is
 * logged and nothing else. */
void bus_server_join_system_bus(BusServer *s, const char *name);

/* A signal, to every connection. `types` as for sd_bus_message_append(). */
void bus_server_emit(BusServer *s, const char *path, const char *interface, const char *member,
                     const char *types, ...);
/* PropertiesChanged of one property, to every connection. */
void bus_server_changed(BusServer *s, const char *path, const char *interface,
                        const char *property);
