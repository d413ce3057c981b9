/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "lib/buf.h"
#include "lib/error.h"

/* One record that is replaced often and survives the death of the process that writes it.
 *
 * Two files, PATH.0 and PATH.1, are written in turn; each has a generation and a CRC32C, and the
 * newer sound one counts. A process that is killed in the middle of a write has torn the older of
 * the two only. Nothing is synced: what the record describes does not survive the kernel either. */
typedef struct StateFile {
        char *path;
        int fds[2];
        uint64_t generation; /* of the last record */
} StateFile;

#define STATE_FILE_INIT                                                                            \
        (StateFile) {                                                                              \
                .fds = { -EBADF, -EBADF }                                                          \
        }
#define STATE_FILE_MAX (64U << 20)

/* Copies the path. No file is made before the first write. */
int state_file_init(StateFile *f, const char *path, Error *reterr);
void state_file_done(StateFile *f); /* the files stay */
/* Replaces the record; the one before counts if this fails. At most 6 pieces. */
int state_file_write(StateFile *f, const struct iovec *pieces, int n, Error *reterr);
/* The last record; later writes go on from it. -ENOENT: there is none that is sound. */
int state_file_read(StateFile *f, Buf *ret, Error *reterr);
