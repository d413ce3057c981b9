/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Small files of /proc, /sys and /run. */

/* Appends at most `max` bytes of the file. */
int file_read(const char *path, size_t max, Buf *ret, Error *reterr);
/* As a string, without white space at its end; cut to fit. */
int file_read_line(const char *path, char *ret, size_t size, Error *reterr);
/* One write() to a file that exists: how /proc and /sys want it. */
int file_write(const char *path, const void *p, size_t n, Error *reterr);
int file_write_string(const char *path, const char *s, Error *reterr);
/* A new file of these bytes (0600), in the place of one that may be there. */
int file_create(const char *path, const void *p, size_t n, Error *reterr);
