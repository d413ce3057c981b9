/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/alloc.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static size_t bytes, peak;
static unsigned fail_in, fail_times, failed;

static void *count(void *p) {
        if (p)
                bytes += malloc_usable_size(p);
        if (bytes > peak)
                peak = bytes;
        return p;
}

static int refuse(void) {
        if (fail_in == 0 || --fail_in > 0)
                return 0;
        if (--fail_times > 0)
                fail_in = 1;
        failed++;
        return 1;
}

void *alloc_malloc(size_t n) {
        return refuse() ? NULL : count(malloc(n));
}

void *alloc_calloc(size_t n, size_t size) {
        return refuse() ? NULL : count(calloc(n, size));
}

void *alloc_realloc(void *p, size_t n) {
        size_t before = p ? malloc_usable_size(p) : 0;
        void *q;

        if (refuse())
                return NULL;
        q = realloc(p, n);
        if (!q)
                return NULL;
        bytes -= before;
        return count(q);
}

void alloc_free(void *p) {
        if (p)
                bytes -= malloc_usable_size(p);
        free(p);
}

void alloc_fail(unsigned n, unsigned times) {
        fail_in = n;
        fail_times = times ? times : 1;
        failed = 0;
}

unsigned alloc_failed(void) {
        return failed;
}

size_t alloc_bytes(void) {
        return bytes;
}

void alloc_peak_reset(void) {
        peak = bytes;
}

size_t alloc_peak(void) {
        return peak;
}
