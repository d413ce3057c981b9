/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"

/* Names on the bus: objects, interfaces, and which object stands for which controller. */
#define BUS_ROOT        "/org/podferry/Shim1"
#define BUS_CONTAINERS  BUS_ROOT "/container"
#define BUS_INTERFACE   "org.podferry.Shim1"
#define BUS_NAME_PREFIX "org.podferry.Shim1."
#define BUS_INIT        "init" /* the process object of a container's init */

/* The object of a container, or of a process (exec_id not NULL; "": its init). The caller owns the
 * result; NULL: out of memory. */
char *bus_container_path(const char *container_id);
char *bus_process_path(const char *container_id, const char *exec_id);
/* The ids in such a path, as far as it has them; the caller owns them. 1 a container, 2 a process,
 * 0 neither, < 0. */
int bus_path_ids(const char *path, char **ret_container, char **ret_exec);
/* "org.podferry.Shim1.<escaped pod>"; the caller owns it. */
char *bus_name_of_pod(const char *pod_id);
