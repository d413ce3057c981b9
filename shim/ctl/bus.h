/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "lib/error.h"
#include "shim/dbus/paths.h"

/* Calls to a shim over its private bus. Every call has a deadline. */
#define BUS_VM        BUS_ROOT "/vm"
#define BUS_POD       BUS_ROOT "/pod"
#define BUS_MIGRATION BUS_ROOT "/migration"

#define SECONDS(n)    ((uint64_t)(n)*1000000ULL) /* deadlines are in microseconds */
#define CALL_DEADLINE SECONDS(30)                /* what should be quick */
#define WORK_DEADLINE SECONDS(180)               /* booting, mounting, big saves */

/* -ENOENT: no such pod here; -ECONNREFUSED: its shim is dead. */
int pod_connect(const char *run_dir, const char *pod, sd_bus **ret, Error *reterr);
/* D-Bus over descriptors that someone relays (no descriptors can be passed): takes both. */
int pod_connect_fds(int in_fd, int out_fd, sd_bus **ret, Error *reterr);
/* A UNIX stream connection to the bus socket, without speaking yet. */
int pod_connect_socket(const char *run_dir, const char *pod, int *ret_fd, Error *reterr);

/* One method call. `types` are the arguments', which follow; *ret (may be NULL) is the reply. A
 * D-Bus error becomes its errno and its text. */
int pod_call(sd_bus *bus, uint64_t deadline, sd_bus_message **ret, Error *reterr, const char *path,
             const char *interface, const char *member, const char *types, ...);
/* What sd-bus and the other end say (e: NULL if it is r alone), as one of our codes and a text. */
int pod_error(const sd_bus_error *e, int r, Error *reterr);
/* A call's code: who was to answer it has ended. One that died a moment ago may still have taken
 * the connection. */
bool pod_has_gone(int r);
/* The same with a message that is made already. */
int pod_send(sd_bus *bus, sd_bus_message *m, uint64_t deadline, sd_bus_message **ret,
             Error *reterr);
/* A property of type s or o; the caller owns *ret. */
int pod_get_string(sd_bus *bus, const char *path, const char *interface, const char *property,
                   char **ret, Error *reterr);
/* The whole tree: root's Dump(). */
struct json_object;
int pod_dump(sd_bus *bus, struct json_object **ret, Error *reterr);
/* The same of a pod of this host. */
int pod_dump_of(const char *run_dir, const char *pod, struct json_object **ret, Error *reterr);
/* The same, for a shim that may hang: nothing of it takes longer than this (-ETIMEDOUT). */
int pod_dump_within(const char *run_dir, const char *pod, uint64_t usec, struct json_object **ret,
                    Error *reterr);
/* The object of a container. `container` NULL: the only one there is (-EINVAL if there are more,
 * with their names). The id goes to *ret_id (may be NULL). */
int pod_find_container(sd_bus *bus, const char *pod, const char *container, char **ret_path,
                       char **ret_id, Error *reterr);
void bus_flush_closep(sd_bus **bus);
#define _cleanup_bus_     _cleanup_(bus_flush_closep)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
