/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <time.h>

#include "hostdev/image/digest.h"
#include "lib/error.h"

/* What a directory tree holds, as one digest.
 *
 * Two kinds. CONTENT covers what an image of the tree shows: path, type, mode, owner, xattrs,
 * device number, link count, size, target and bytes; equal wherever the tree is. STATUS reads no
 * file: it covers what stat says, inode numbers and change times included, so that a tree that did
 * not change since the last time is known in a moment. No link is followed, and a mount below the
 * root is refused (-EXDEV): an image must not depend on what happens to be mounted. */
typedef enum ManifestKind {
        MANIFEST_CONTENT,
        MANIFEST_STATUS,
} ManifestKind;

typedef struct Manifest {
        char hex[DIGEST_HEX_SIZE];
        struct timespec newest; /* change time of anything in it */
} Manifest;

#define MANIFEST_DEPTH_MAX 512U

/* `path` is for errors. -EACCES, -EXDEV, -ELOOP (deeper than the limit), -EBUSY: changed while it
 * was read. */
int manifest_of_directory(int dir_fd, const char *path, ManifestKind kind, Manifest *ret,
                          Error *reterr);
/* The same for one regular file. */
int manifest_of_file(int fd, const char *path, ManifestKind kind, Manifest *ret, Error *reterr);
/* A change made now could not be told from the last one: the STATUS must not be relied on. */
bool manifest_is_fresh(const Manifest *m);
