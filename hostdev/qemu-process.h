/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"

/* What /proc says about a QEMU. Any thread. */

/* 0 if the process is the QEMU of the domain with this UUID: its command line has "-uuid <uuid>".
 * -ENOENT: no such process, or it is another one. */
int qemu_process_check(pid_t pid, const char *uuid, Error *reterr);
/* The UUID of the domain whose QEMU it is, if that has this name: "-name guest=<name>,...". -ENOENT
 * as above. */
int qemu_process_uuid(pid_t pid, const char *name, char *ret, size_t size, Error *reterr);

/* Of any process: what follows "--option" or the like on its command line. -ENOENT: nothing, more
 * than fits, or no such process. */
int process_argument(pid_t pid, const char *option, char *ret, size_t size, Error *reterr);

/* A signal has stopped it, as far as its first thread shows: a hint, no proof (see fence.h). */
bool process_is_stopped(pid_t pid);

/* Up to size - 1 bytes of a file and a NUL; the number of bytes, or a negative errno. */
int file_read(const char *path, char *ret, size_t size);
