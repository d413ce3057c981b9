/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "lib/error.h"

/* Read-only image layers: files with a file system in them, known by the SHA-256 of their bytes.
 *
 * A layer is made from a directory or a tar archive (mkfs.erofs, reproducibly: the same tree makes
 * the same bytes on every host), or is an image file that is there already and is then used where
 * it is. Made and received layers live in the cache:
 *
 *      <state_dir>/layers/<64 hex>.<filesystem>   complete, read-only, never changed
 *      <state_dir>/layers/index/<64 hex>          digest of what was made from a source like this
 *      <state_dir>/layers/{tmp,lock}/             work in progress and who does it
 *
 * What a file is, is found by what is in it, never by its name. Any number of processes may use a
 * cache at once; each layer is made once. A crash leaves nothing but files in tmp, which the next
 * user of the cache removes. All functions block (they read and write whole images): not for the
 * loop thread, but layer_find(). */
#define LAYER_DIGEST_SIZE                                                                          \
        sizeof("sha256:" /* and 64 hex digits */                                                   \
               "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

typedef struct Layer {
        char digest[LAYER_DIGEST_SIZE]; /* "sha256:<64 hex>" */
        char *path;                     /* absolute */
        const char *filesystem;         /* "erofs", "squashfs", "ext4"; static */
        uint64_t size;                  /* bytes */
} Layer;

#define LAYER_INIT                                                                                 \
        (Layer) {                                                                                  \
        }

void layer_done(Layer *l);
#define _cleanup_layer_ _cleanup_(layer_done)

/* "sha256:" and 64 lower-case hex digits; -EINVAL. */
int layer_digest_check(const char *digest, Error *reterr);

/* A layer of a directory, a tar archive (also compressed) or an image file. -ENOENT no such source,
 * -EINVAL it is none of these, -EACCES, -ENOSPC, -EBUSY it changed while it was read. On failure
 * nothing is left in the cache. */
int layer_make(const char *state_dir, const char *source, Layer *ret, Error *reterr);

/* The cached layer of this digest. -ENOENT: not in the cache. */
int layer_find(const char *state_dir, const char *digest, Layer *ret, Error *reterr);

/* Takes a layer from `fd` (to its end; at most `size` bytes, which must be its size) into the
 * cache. -EBADMSG: the bytes do not have this digest or size. When it is cached already `fd` is
 * not read. */
int layer_receive(const char *state_dir, const char *digest, uint64_t size, int fd, Layer *ret,
                  Error *reterr);

/* Reads all of `path` and compares; -EBADMSG if it differs. */
int layer_verify(const char *path, const char *digest, Error *reterr);
/* The digest of what `fd` (at its start) reads. */
int layer_digest_fd(int fd, char ret[static LAYER_DIGEST_SIZE], uint64_t *ret_size, Error *reterr);
