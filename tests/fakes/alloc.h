/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* An allocator that counts and fails on request. Code under test is compiled with malloc, calloc,
 * realloc and free renamed to these (see meson.build); blocks come from the real ones, so the two
 * mix freely. Not thread-safe. */
void *alloc_malloc(size_t n);
void *alloc_calloc(size_t n, size_t size);
void *alloc_realloc(void *p, size_t n);
void alloc_free(void *p);

/* The n-th allocation from now on fails (1: the next), and `times` in all from there. 0: none. */
void alloc_fail(unsigned n, unsigned times);
unsigned alloc_failed(void); /* how many were refused since alloc_fail() */
size_t alloc_bytes(void);    /* handed out and not freed, as the C library counts */
void alloc_peak_reset(void);
size_t alloc_peak(void);
