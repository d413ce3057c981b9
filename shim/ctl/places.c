/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/places.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>

#include "hostdev/image/files.h"
#include "lib/cleanup.h"
#include "lib/directory.h"

static const char *const kinds[_PLACE_KIND_MAX] = { [PLACE_OUT] = "out", [PLACE_IN] = "in" };

static int open_directory(const char *run_dir, int *ret_fd, Error *reterr) {
        int r = directory_make(run_dir, 0711, reterr);

        return r < 0 ? r : files_open_directory(run_dir, ret_fd, reterr);
}

/* One at a time looks at the places, or changes them. */
static int lock_directory(int fd, Error *reterr) {
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return error_setf(reterr, -errno, "places of moves: cannot lock: %m");
        return 0;
}

static void unlock_directory(int fd) {
        (void)flock(fd, LOCK_UN);
}

/* 1: somebody has it. Opened for reading only: the end of that wakes nobody who waits. What one
 * that was killed left goes. */
static int is_taken(int dir_fd, const char *name, Error *reterr) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "%s: %m", name);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return unlinkat(dir_fd, name, 0) < 0 ? error_setf(reterr, -errno, "%s: %m", name)
                                                     : 0;
        return errno == EWOULDBLOCK ? 1 : error_setf(reterr, -errno, "%s: %m", name);
}

static int take_file(Place *p, Error *reterr) {
        p->fd = openat(p->dir_fd, p->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (p->fd < 0 || flock(p->fd, LOCK_EX | LOCK_NB) < 0)
                return error_setf(reterr, -errno, "%s: %m", p->name);
        return 0;
}

static int look(Place *p, PlaceKind kind, unsigned limit, unsigned *taken, Error *reterr) {
        *taken = 0;
        for (unsigned i = 0; i < PLACES_MAX; i++) {
                char name[sizeof(p->name)];
                int r;

                (void)snprintf(name, sizeof(name), ".move-%s-%u", kinds[kind], i);
                r = is_taken(p->dir_fd, name, reterr);
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

        r = open_directory(run_dir, &p.dir_fd, reterr);
        if (r == 0)
                r = lock_directory(p.dir_fd, reterr);
        if (r < 0)
                return r;
        r = look(&p, kind, limit, &taken, reterr);
        if (ret_taken)
                *ret_taken = taken;
        if (r == 0)
                r = take_file(&p, reterr);
        unlock_directory(p.dir_fd);
        if (r < 0)
                return r;
        *ret = p;
        p = PLACE_INIT;
        return 0;
}

void place_leave(Place *p) {
        if (p->fd >= 0 && lock_directory(p->dir_fd, NULL) == 0) {
                (void)unlinkat(p->dir_fd, p->name, 0);
                p->fd = close_fd(p->fd);
                unlock_directory(p->dir_fd);
        }
        (void)close_fd(p->fd);
        (void)close_fd(p->dir_fd);
        *p = PLACE_INIT;
}

int place_watch(const char *run_dir, int *ret_fd, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = directory_make(run_dir, 0711, reterr);
        if (r < 0)
                return r;
        fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0 || inotify_add_watch(fd, run_dir, IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR) < 0)
                return error_setf(reterr, -errno, "%s: cannot be watched: %m", run_dir);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

void place_watch_read(int fd) {
        char events[4096];

        while (read(fd, events, sizeof(events)) > 0)
                ;
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

        r = place_watch(run_dir, &watch_fd, reterr);
        if (r < 0)
                return r;
        while ((r = place_take(run_dir, PLACE_IN, limit, &p, &taken, reterr)) == -EAGAIN) {
                (void)snprintf(text, sizeof(text), "wait %u\n", taken);
                r = taken == told ? 0 : say(text, reterr);
                told = taken;
                if (r < 0)
                        return r;
                if (wait_or_end(watch_fd, (int)PLACE_LOOK_MS))
                        return 0;
                place_watch_read(watch_fd);
        }
        if (r == 0)
                r = say("have\n", reterr);
        while (r == 0 && !wait_or_end(-1, -1))
                ;
        return r;
}
