/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "guest/wire.h"
#include "lib/buf.h"
#include "lib/error.h"

/* What the agent changes in the OCI documents of the host before crun reads them. Pure functions:
 * bytes in, bytes out. -EINVAL: not a JSON object, or members of the wrong type. */

/* A container's config: the root is `rootfs`, the cgroup `cgroup`, the terminal as in `stdio`. */
int spec_make_config(const void *json, size_t n, const char *rootfs, const char *cgroup,
                     const StdioSpec *stdio, Buf *ret, Error *reterr);
/* `config` once more, in place: files of the guest appear at the same path in the container, unless
 * it mounts something there itself. */
int spec_share_files(Buf *config, const char *const *files, size_t n_files, Error *reterr);
/* The process of an exec: the terminal as in `stdio`. */
int spec_make_process(const void *json, size_t n, const StdioSpec *stdio, Buf *ret, Error *reterr);
/* Linux resources: unchanged, but known to be one JSON object. */
int spec_make_resources(const void *json, size_t n, Buf *ret, Error *reterr);
