/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "shim/ctl/ctl.h"

/* Starts the shim of a pod: the daemon is found beside this program, in ../libexec/podferry, or in
 * PATH. It serves when this returns. -EEXIST: the pod is here already. */
int shim_start(const Ctl *ctl, const char *pod, Error *reterr);
/* The same at the destination of a migration. The shim lives as long as *ret_hold, which the caller
 * owns, is open somewhere, and then ends unless it owns a pod. */
int shim_start_receiver(const Ctl *ctl, const char *pod, int *ret_hold, Error *reterr);
/* The same for a stopped pod: a new shim takes the place of the one that it had. */
int shim_restart(const Ctl *ctl, const char *pod, Error *reterr);
/* The same, and the new one goes on with the pod, which runs. -EEXIST: its shim lives. */
int shim_start_again(const Ctl *ctl, const char *pod, Error *reterr);
/* The same, and the new one can do no more than to end and remove what is left of a pod, whatever
 * that is. */
int shim_start_to_remove(const Ctl *ctl, const char *pod, Error *reterr);
/* A stopped pod runs again. -EBADFD: it is not this host's. */
int pod_start(const Ctl *ctl, const char *pod, Error *reterr);
/* What a cold move left of a pod that is not this host's (shim/offline.h) goes, by `force`. 1: that
 * was all there was; 0: the pod is to be removed like any other; -EBADFD: without `force`. */
int pod_drop_offline(const Ctl *ctl, const char *pod, bool force, Error *reterr);
/* Is the pod known here, stopped, with no shim? It has a definition (shim/definition.h). */
bool pod_is_stopped(const Ctl *ctl, const char *pod);
/* Has it a state directory, though it neither runs nor could be started? */
bool pod_has_remains(const Ctl *ctl, const char *pod);
/* Names of stopped pods, sorted. NULL-terminated. */
int pods_list_stopped(const Ctl *ctl, char ***ret, Error *reterr);
/* Names of all that have a state directory, running or not. */
int pods_list_known(const Ctl *ctl, char ***ret, Error *reterr);
/* Names of what is in the run directory, sorted: pods, living and dead. NULL-terminated. */
int pods_list(const Ctl *ctl, char ***ret, Error *reterr);
