/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "hostdev/image/layer.h"

/* The content of a read-only disk as a digest, to compare it with the other host's: the SHA-256 of
 * its size and of each piece of 64 KiB that is not all zeroes, so that holes cost nothing and need
 * not be the same; where an image has others behind it, of the digests of all of them in order.
 *
 * Takes seconds for each GiB of data: for the thread for files. `stop` is looked at in between;
 * -ECANCELED. -ENOENT; -EINVAL: something behind it is not below backing_dir. */
int disk_content_digest(const char *path, const char *format, const char *backing_dir,
                        const atomic_bool *stop, char ret[static LAYER_DIGEST_SIZE], Error *reterr);
