/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's lock on this machine: a file below plans/.locks, which is the stdin of the pod's move, so
 * it is held until that has ended, whoever started it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "shim/plan/plan-store.h"

#define AGAIN_US 200000U

/* -- waiting -- */

void plan_lock_wait(PlanStore *s, PlanLock *l) {
        if (l->waits)
                return;
        l->waits = true;
        l->next = s->waiting;
        s->waiting = l;
}

static void wait_no_more(PlanStore *s, PlanLock *l) {
        for (PlanLock **at = &s->waiting; *at; at = &(*at)->next)
                if (*at == l) {
                        *at = l->next;
                        break;
                }
        l->waits = l->again = false;
        l->next = NULL;
}

static void close_lock(PlanStore *s, PlanLock *l) {
        if (l->watch >= 0)
                (void)inotify_rm_watch(s->inotify_fd, l->watch);
        l->watch = -1;
        l->try_fd = close_fd(l->try_fd);
}

/* Told when whoever has it closes it, which is when the last of their commands has ended. The
 * descriptor stays open meanwhile: our own closing would be told, too. */
static int watch_lock(PlanStore *s, PlanLock *l) {
        char path[64];

        if (s->inotify_fd < 0) /* nobody to tell */
                return 0;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", l->try_fd);
        l->watch = inotify_add_watch(s->inotify_fd, path, IN_CLOSE);
        return l->watch < 0 ? -errno : 0;
}

/* -- taking and leaving -- */

/* As files_lock() does it, which says nothing of when to try again. 1: another one has it, and we
 * are told when that changes. */
int plan_local_lock(PlanStore *s, PlanLock *l, Error *reterr) {
        struct stat ours, theirs;
        bool watched = l->watch >= 0;

        for (;;) {
                if (l->try_fd < 0)
                        l->try_fd = openat(s->locks_fd, l->pod,
                                           O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (l->try_fd < 0)
                        return error_setf(reterr, -errno, "lock of %s: %m", l->pod);
                if (flock(l->try_fd, LOCK_EX | LOCK_NB) < 0) {
                        int r = errno == EWOULDBLOCK ? 0 : -errno;

                        if (r == 0 && watched) {
                                plan_lock_wait(s, l);
                                return 1;
                        }
                        if (r == 0)
                                r = watch_lock(s, l);
                        watched = r == 0; /* and look again, now that we would be told */
                        if (r < 0)
                                return error_setf(reterr, r, "lock of %s: %s", l->pod,
                                                  strerrordesc_np(-r));
                        continue;
                }
                /* The one who had it may have removed the file: then this lock is nobody's. */
                if (fstat(l->try_fd, &ours) == 0 &&
                    fstatat(s->locks_fd, l->pod, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
                    ours.st_ino == theirs.st_ino)
                        break;
                close_lock(s, l);
                watched = false;
        }
        l->file.dir_fd = s->locks_fd;
        (void)snprintf(l->file.name, sizeof(l->file.name), "%s", l->pod);
        l->file.fd = TAKE_FD(l->try_fd);
        close_lock(s, l);
        wait_no_more(s, l);
        return 0;
}

void plan_local_unlock(PlanStore *s, PlanLock *l) {
        files_unlock(&l->file);
        l->file = FILE_LOCK_INIT;
        close_lock(s, l);
        wait_no_more(s, l);
}

/* -- being told -- */

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
        PlanStore *s = userdata;

        (void)source, (void)usec;
        for (PlanLock *l = s->waiting; l; l = l->next)
                if (l->again) {
                        l->again = false;
                        s->events->freed(s->userdata, l);
                }
        s->events->pump(s->userdata);
        return 0;
}

/* The kernel tells of a close just before it lets the lock go: once more a moment later. */
static void freed(PlanStore *s, const struct inotify_event *ev) {
        for (PlanLock *l = s->waiting; l; l = l->next) {
                if (l->watch != ev->wd || !(ev->mask & IN_CLOSE))
                        continue;
                l->again = true;
                s->events->freed(s->userdata, l);
                if (sd_event_source_set_time(s->again, clock_us() + AGAIN_US) < 0 ||
                    sd_event_source_set_enabled(s->again, SD_EVENT_ONESHOT) < 0)
                        (void)sd_event_exit(s->event, -EIO);
        }
}

static int on_inotify(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        char bytes[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
        PlanStore *s = userdata;
        ssize_t n;

        (void)source, (void)events;
        n = read(fd, bytes, sizeof(bytes));
        for (char *p = bytes; n > 0 && p < bytes + n;) {
                struct inotify_event *ev = (struct inotify_event *)(void *)p;

                if (ev->mask & IN_Q_OVERFLOW)
                        s->events->freed(s->userdata, NULL);
                else
                        freed(s, ev);
                p += sizeof(*ev) + ev->len;
        }
        s->events->asked(s->userdata);
        s->events->pump(s->userdata);
        return 0;
}

int plan_local_watch(PlanStore *s, bool directory, Error *reterr) {
        int r;

        s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (s->inotify_fd < 0)
                return error_setf(reterr, -errno, "inotify: %m");
        if (directory && inotify_add_watch(s->inotify_fd, s->path, IN_MOVED_TO | IN_ONLYDIR) < 0)
                return error_setf(reterr, -errno, "%s: %m", s->path);
        r = sd_event_add_io(s->event, &s->inotify, s->inotify_fd, EPOLLIN, on_inotify, s);
        if (r >= 0)
                r = sd_event_add_time(s->event, &s->again, CLOCK_MONOTONIC, UINT64_MAX, 1000,
                                      on_again, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->again, SD_EVENT_OFF);
        return r < 0 ? error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r)) : 0;
}

void plan_local_unwatch(PlanStore *s) {
        s->inotify = sd_event_source_disable_unref(s->inotify);
        s->again = sd_event_source_disable_unref(s->again);
        s->inotify_fd = close_fd(s->inotify_fd);
}
