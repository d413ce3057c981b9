/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/places.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/image/files.h"
#include "lib/cleanup.h"
#include "shim/ctl/lock-files.h"

static const char *const kinds[_PLACE_KIND_MAX] = { [PLACE_OUT] = "out", [PLACE_IN] = "in" };

static int look(Place *p, PlaceKind kind, unsigned limit, unsigned *taken, Error *reterr) {
        *taken = 0;
        for (unsigned i = 0; i < PLACES_MAX; i++) {
                char name[sizeof(p->name)];
                int r;

                (void)snprintf(name, sizeof(name), ".move-%s-%u", kinds[kind], i);
                r = lock_file_is_taken(p->dir_fd, name, reterr);
                if (r < 0)
                        return r;
                *taken += (unsigned)r;
                if (r == 0 && !p->name[0])
                        memcpy(p->name, name, sizeof(name));
        }
        if (limit > 0 && *taken >= limit)
                return -EAGAIN;
        return p->name[0] ? 0
                          : error_setf(reterr, -EUSERS, "%u moves at once are as many as may be",
                                       PLACES_MAX);
}

int place_take(const char *run_dir, PlaceKind kind, unsigned limit, Place *ret, unsigned *ret_taken,
               Error *reterr) {
        _cleanup_place_ Place p = PLACE_INIT;
        unsigned taken;
        int r;

        r = lock_files_open(run_dir, &p.dir_fd, reterr);
        if (r == 0)
                r = lock_files_begin(p.dir_fd, reterr);
        if (r < 0)
                return r;
        r = look(&p, kind, limit, &taken, reterr);
        if (ret_taken)
                *ret_taken = taken;
        if (r == 0)
                r = lock_file_take(p.dir_fd, p.name, &p.fd, reterr);
        lock_files_end(p.dir_fd);
        if (r < 0)
                return r;
        *ret = p;
        p = PLACE_INIT;
        return 0;
}

void place_leave(Place *p) {
        if (p->fd >= 0 && lock_files_begin(p->dir_fd, NULL) == 0) {
                lock_file_leave(p->dir_fd, p->name, &p->fd);
                lock_files_end(p->dir_fd);
        }
        (void)close_fd(p->fd);
        (void)close_fd(p->dir_fd);
        *p = PLACE_INIT;
}

/* -- for another host -- */

static int say(const char *text, Error *reterr) {
        int r = files_write_all(STDOUT_FILENO, text, strlen(text));

        return r < 0 ? error_setf(reterr, r, "cannot write: %s", strerrordesc_np(-r)) : 0;
}

/* True: stdin has ended. What comes is dropped: nothing is said to us. */
static bool wait_or_end(int watch_fd, int timeout_ms) {
        struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                              { .fd = watch_fd, .events = POLLIN } };
        char c[256];

        if (poll(p, ELEMENTSOF(p), timeout_ms) <= 0 || !p[0].revents)
                return false;
        return read(STDIN_FILENO, c, sizeof(c)) <= 0;
}

int place_serve(const char *run_dir, unsigned limit, Error *reterr) {
        _cleanup_place_ Place p = PLACE_INIT;
        _cleanup_close_ int watch_fd = -EBADF;
        unsigned taken = 0, told = 0;
        char text[32];
        int r;

        r = lock_files_watch(run_dir, &watch_fd, reterr);
        if (r < 0)
                return r;
        while ((r = place_take(run_dir, PLACE_IN, limit, &p, &taken, reterr)) == -EAGAIN) {
                (void)snprintf(text, sizeof(text), "wait %u\n", taken);
                r = taken == told ? 0 : say(text, reterr);
                told = taken;
                if (r < 0)
                        return r;
                if (wait_or_end(watch_fd, (int)LOCK_LOOK_MS))
                        return 0;
                lock_files_watch_read(watch_fd);
        }
        if (r == 0)
                r = say("have\n", reterr);
        while (r == 0 && !wait_or_end(-1, -1))
                ;
        return r;
}
