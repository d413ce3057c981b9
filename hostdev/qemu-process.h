/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

#include "lib/error.h"

/* What /proc says about a QEMU. Any thread. */

/* 0 if the process is the QEMU of the domain with this UUID: its command line has "-uuid <uuid>".
 * -ENOENT: no such process, or it is another one. */
int qemu_process_check(pid_t pid, const char *uuid, Error *reterr);

/* Up to size - 1 bytes of a file and a NUL; the number of bytes, or a negative errno. */
int file_read(const char *path, char *ret, size_t size);
