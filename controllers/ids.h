/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* Ids of pods, containers and execs: 1..76 characters of [A-Za-z0-9._-], the first a letter or
 * digit. They become path components, object paths and libvirt names, so nothing else may pass.
 * `what` is for the error
 * ("pod name"). */
#define ID_MAX 76
int id_check(const char *what, const char *id, Error *reterr);
