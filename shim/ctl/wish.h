/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* What is wanted of the driver of a cold or warm move, while it can still be had: over a UNIX
 * socket of the driver, <run_dir>/.wish-<pod>. A wish is a connection, and lasts as long: nothing
 * of it is on disk, and a driver that is killed leaves nothing that would count. It begins with a
 * line:
 *
 *      start                of podferry start: let the pod go
 *      cancel | cutover | set bandwidth N   of podferry migration
 *
 * The driver answers with one line:
 *
 *      go          it has let the pod go: start it, and hang up then
 *      ok          so be it
 *      no TEXT     it does not
 *
 * or hangs up, which is to say: look again. */
#define WISHES_MAX 8U
#define WISH_MAX   64U /* of the first line */

typedef enum WishKind {
        WISH_START,
        WISH_CANCEL,
        WISH_CUTOVER,
        WISH_BANDWIDTH, /* value: bytes a second; 0: no limit */
        WISH_OTHER,     /* of no stopped pod's move */
        _WISH_MAX,
} WishKind;

typedef struct Wish {
        WishKind kind;
        uint64_t value;
} Wish;

/* NULL: granted, or for WISH_START: it waits for wishes_grant(). Else what it is refused with,
 * which lasts until the next call. */
typedef const char *WishHeed(void *userdata, const Wish *wish);

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
/* Takes those that came, each is heeded and answered. True: there are some to start the pod, and
 * they last. */
bool wishes_take(Wishes *w, WishHeed *heed, void *userdata);
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
/* Any other one: `line` as above. 0: granted. -ENOENT: nobody moves the pod as a stopped one (any
 * more). -EBUSY: refused; the text says why. */
int wish_tell(const char *run_dir, const char *pod, const char *line, Error *reterr);
