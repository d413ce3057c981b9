/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

/* How `podferry start` asks whoever moves the pod, as a stopped one, to let it go: over a UNIX
 * socket of the driver, <run_dir>/.wish-<pod>. A wish is a connection, and lasts as long: nothing
 * of it is on disk, and a driver that is killed leaves nothing that would count. The driver answers
 * with one line:
 *
 *      go          it has let the pod go: start it, and hang up then
 *      no TEXT     it does not
 *
 * or hangs up, which is to say: look again. */
#define WISHES_MAX 8U

typedef struct Wishes {
        int fd; /* listens; -EBADF: no wish is taken */
        char *path;
        int asked[WISHES_MAX];
        size_t n;
} Wishes;

#define WISHES_INIT                                                                                \
        (Wishes) {                                                                                 \
                .fd = -EBADF                                                                       \
        }

/* The caller has the pod's lock (shim/offline.h), so nobody else listens there. */
int wishes_open(Wishes *w, const char *run_dir, const char *pod, Error *reterr);
/* Takes those that came; `refusal`: they are told so. True: there are some that last. */
bool wishes_take(Wishes *w, const char *refusal);
/* No more are taken; those that last do. */
void wishes_close(Wishes *w);
/* Those that last may start it. */
void wishes_grant(Wishes *w);
/* Until all have hung up, or `signal_fd` (may be < 0) has something, or ms have gone by. True: all
 * have. */
bool wishes_wait(Wishes *w, int signal_fd, unsigned ms);
void wishes_done(Wishes *w);

/* The other end. 0: nobody moves the pod, or it was let go: start it, and close *ret_fd (-EBADF:
 * nobody was asked) when that is over. -EBUSY: it is not let go; the text says why. */
int wish_start(const char *run_dir, const char *pod, int *ret_fd, Error *reterr);
