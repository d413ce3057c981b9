/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fail-malloc.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

static unsigned countdown;
static bool fired;
static size_t live;

void fail_malloc_at(unsigned n) {
        countdown = n;
        fired = false;
}

size_t fail_malloc_live(void) {
        return live;
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
extern void __libc_free(void *p);

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void free(void *p);
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

static void *counted(void *p) {
        if (p)
                live++;
        return p;
}

void *malloc(size_t n) {
        return fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size) {
        return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n) {
        if (fails())
                return NULL;
        return p ? __libc_realloc(p, n) : counted(__libc_malloc(n));
}

void *reallocarray(void *p, size_t n, size_t size) {
        if (size != 0 && n > SIZE_MAX / size) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(p, n * size);
}

void free(void *p) {
        if (p)
                live--;
        __libc_free(p);
}
#endif
