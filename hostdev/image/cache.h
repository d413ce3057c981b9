/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "hostdev/image/digest.h"
#include "hostdev/image/files.h"
#include "hostdev/image/layer.h"

/* The directory of layers, between layer.c and layer-make.c: see layer.h for what is in it. */
typedef struct Cache {
        char *path; /* <state_dir>/layers */
        int fd, index_fd, tmp_fd, lock_fd;
} Cache;

#define CACHE_INIT                                                                                 \
        (Cache) {                                                                                  \
                .fd = -EBADF, .index_fd = -EBADF, .tmp_fd = -EBADF, .lock_fd = -EBADF              \
        }

/* Makes what is missing. */
int cache_open(Cache *c, const char *state_dir, Error *reterr);
void cache_done(Cache *c);
#define _cleanup_cache_ _cleanup_(cache_done)

/* The one who may work on `key` (hex), with a clean place for it: removes what a crash left. */
int cache_lock(Cache *c, const char *key, FileLock *ret, Error *reterr);
/* A finished file of tmp becomes the layer of this digest. */
int cache_publish(Cache *c, const char *temp, const char *digest, const char *filesystem,
                  Layer *ret, Error *reterr);
/* What the index says about a key: -ENOENT when nothing, or nothing that still is there. */
int cache_index_get(Cache *c, const char *key, char ret[static LAYER_DIGEST_SIZE]);
int cache_index_put(Cache *c, const char *key, const char *digest, Error *reterr);
