/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <stddef.h>

#include "lib/cleanup.h"

/* A growable run of bytes. Zero-initialised is empty; buf_done() releases. Not thread-safe. */
typedef struct Buf {
        uint8_t *data;
        size_t len;
        size_t cap;
} Buf;

void buf_done(Buf *b);
int buf_reserve(Buf *b, size_t more);            /* room for `more` further bytes; -ENOMEM */
int buf_append(Buf *b, const void *p, size_t n); /* -ENOMEM leaves *b as it was */
int buf_printf(Buf *b, const char *fmt, ...) _printf_(2, 3);
void buf_consume(Buf *b, size_t n); /* drops the first n bytes (n <= len) */

/* The bytes as a string, NUL added; the caller's. NULL: out of memory. Not strndup(), which is for
 * strings: these have no end. */
char *buf_text(const void *p, size_t n);

#define _cleanup_buf_ _cleanup_(buf_done)
