/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "shim/dbus/job.h"
#include "shim/shim.h"

/* The objects on the bus, one file each: read the arguments, check them, call one controller. */
int faces_add(sd_bus *bus, Shim *s); /* all of them, to a new connection */

int face_shim_add(sd_bus *bus, Shim *s);
int face_vm_add(sd_bus *bus, Shim *s);
int face_pod_add(sd_bus *bus, Shim *s);
int face_container_add(sd_bus *bus, Shim *s);
int face_process_add(sd_bus *bus, Shim *s);
int face_network_add(sd_bus *bus, Shim *s);
int face_devices_add(sd_bus *bus, Shim *s);
int face_migration_add(sd_bus *bus, Shim *s);
int face_tools_add(sd_bus *bus, Shim *s); /* for the private socket: a bus has them itself */

/* What a path stands for; NULL if there is no such thing (any more). */
Container *face_container(const Shim *s, const char *path);
Process *face_process(const Shim *s, const char *path);

/* Replies of several methods. */
int reply_pid(sd_bus_message *reply, const void *result, const char *text);  /* const uint32_t * */
int reply_exit(sd_bus_message *reply, const void *result, const char *text); /* ProcessExit */
int reply_path(sd_bus_message *reply, const void *result, const char *text); /* text: the path */
