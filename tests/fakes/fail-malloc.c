/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fail-malloc.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

static unsigned countdown;
static bool fired;

void fail_malloc_at(unsigned n) {
        countdown = n;
        fired = false;
}

bool fail_malloc_fired(void) {
        return fired;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
bool fail_malloc_works(void) {
        return false;
}
#else
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *reallocarray(void *p, size_t n, size_t size);

bool fail_malloc_works(void) {
        return true;
}

static bool fails(void) {
        if (countdown == 0 || --countdown > 0)
                return false;
        fired = true;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t n) {
        return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
        return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
        return fails() ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size) {
        if (size != 0 && n > SIZE_MAX / size) {
                errno = ENOMEM;
                return NULL;
        }
        return fails() ? NULL : __libc_realloc(p, n * size);
}
#endif
