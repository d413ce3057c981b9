/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_done(Buf *b) {
        free(b->data);
        *b = (Buf){};
}

int buf_reserve(Buf *b, size_t more) {
        size_t want, cap;
        uint8_t *p;

        if (__builtin_add_overflow(b->len, more, &want))
                return -ENOMEM;
        if (want <= b->cap)
                return 0;
        cap = MAX_OF(b->cap, (size_t)64);
        while (cap < want)
                if (__builtin_mul_overflow(cap, (size_t)2, &cap))
                        return -ENOMEM;
        p = realloc(b->data, cap);
        if (!p)
                return -ENOMEM;
        b->data = p;
        b->cap = cap;
        return 0;
}

int buf_append(Buf *b, const void *p, size_t n) {
        int r;

        r = buf_reserve(b, n);
        if (r < 0)
                return r;
        if (n > 0)
                memcpy(b->data + b->len, p, n);
        b->len += n;
        return 0;
}

int buf_printf(Buf *b, const char *fmt, ...) {
        va_list ap;
        int n, r;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        if (n < 0)
                return -EINVAL;
        r = buf_reserve(b, (size_t)n + 1);
        if (r < 0)
                return r;
        va_start(ap, fmt);
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
        b->len += (size_t)n;
        return 0;
}

void buf_consume(Buf *b, size_t n) {
        assert(n <= b->len);
        b->len -= n;
        if (b->len > 0)
                memmove(b->data, b->data + n, b->len);
}

char *buf_text(const void *p, size_t n) {
        char *s = n < SIZE_MAX ? malloc(n + 1) : NULL;

        if (s) {
                if (n > 0)
                        memcpy(s, p, n);
                s[n] = '\0';
        }
        return s;
}
