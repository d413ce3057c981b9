/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* The guest image that hack/image makes: a directory with vmlinux, initrd and manifest.json, which
 * says what they are. */
typedef struct GuestImage {
        char kernel[7 + 64 + 1], initrd[7 + 64 + 1]; /* "sha256:<64 hex>" */
} GuestImage;

/* Reads the manifest; the files are only looked at for their sizes. An image without a manifest has
 * digests "". -EBADMSG: it is no such manifest, or of other files. Else negative errno. */
int guest_image_read(const char *directory, GuestImage *ret, Error *reterr);
