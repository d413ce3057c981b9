/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Scope-bound release of what a function owns. Every owning local carries _cleanup_; what leaves
 * the function is handed over with TAKE() (pointers) or TAKE_FD() (file descriptors) on the last
 * line. */

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_       __attribute__((unused))
#define _warn_unused_  __attribute__((warn_unused_result))

/* Defines f##p(T *p) for a destructor `T f(T)` that accepts NULL, to be used with _cleanup_. */
#define DEFINE_CLEANUP(type, f)                                                                    \
        static inline _unused_ void f##p(type *p) {                                                \
                if (*p)                                                                            \
                        (void)f(*p);                                                               \
        }

#define TAKE(p)                                                                                    \
        ({                                                                                         \
                __auto_type _pp = &(p);                                                            \
                __auto_type _v = *_pp;                                                             \
                *_pp = NULL;                                                                       \
                _v;                                                                                \
        })

#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int *_pfd = &(fd);                                                                 \
                int _vfd = *_pfd;                                                                  \
                *_pfd = -EBADF;                                                                    \
                _vfd;                                                                              \
        })

#define ELEMENTSOF(a)                   (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)                    ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)                    ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void freep(void *p) {
        void **pp = (void **)p;
        free(*pp);
        *pp = NULL;
}

static inline int close_fd(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void)close(fd);
                errno = saved;
        }
        return -EBADF;
}

static inline void closep(int *fd) {
        *fd = close_fd(*fd);
}

#define _cleanup_free_  _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
