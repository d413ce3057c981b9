/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "lib/error.h"

/* How two hosts find out whether a path is the same storage on both: each writes a file with random
 * content beside the disk, and reads the other's. The type of a file system says nothing: two hosts
 * may mount two exports, or one may have mounted nothing there. A block device, beside which
 * nothing can be written, is known by the name that the hardware gives it (WWID, device mapper's
 * UUID).
 *
 * The files are .podferry-<session>-<slot>-<side> in the disk's directory. Functions block. */
typedef enum TokenSide {
        TOKEN_SOURCE,
        TOKEN_DESTINATION,
        _TOKEN_SIDE_MAX,
} TokenSide;

#define DISK_TOKEN_SIZE 160U

/* Writes it; ret is what the other side is to find. -ENODEV: a block device without such a name. */
int disk_token_make(const char *disk, const char *session, uint32_t slot, TokenSide side,
                    char ret[static DISK_TOKEN_SIZE], Error *reterr);
/* Looks for what the other side has made. -EREMOTE: it is not here, so the storage is not the same.
 */
int disk_token_check(const char *disk, const char *session, uint32_t slot, TokenSide side,
                     const char *wanted, Error *reterr);
/* Idempotent; failures are of no consequence. */
void disk_token_remove(const char *disk, const char *session, uint32_t slot, TokenSide side);
