/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/loop.h"
#include "lib/session.h"

/* The guest's end of the virtio-serial port, with the session on it.
 *
 * On this side of a port nothing ends: read() == 0 and POLLHUP mean that no host is connected now.
 * The port is watched edge-triggered, because that hang-up would be reported without end. A
 * migration cannot be seen here at all (the new host is connected before the old one goes); the
 * session finds out by the epoch. */
typedef struct Port {
        Loop *loop;
        Session *session;
        int fd;
        Watch watch;
        bool attached;     /* the session has a transport: a host is connected, as far as we know */
        bool wants_output; /* the session has something to say */
        bool wants_input;  /* reading was left off for fairness */
} Port;

#define PORT_NAME "org.podferry.link.0"

/* Finds the port by its name, waiting until the kernel shows it, and opens it. */
int port_open(const char *name, int *ret, Error *reterr);

/* Takes fd. */
int port_init(Port *port, Loop *l, int fd, const SessionOps *ops, void *userdata, Error *reterr);
void port_done(Port *port);
/* For SessionOps.wake. */
void port_wake(Port *port);
/* After each event: moves what can be moved. */
void port_service(Port *port);
