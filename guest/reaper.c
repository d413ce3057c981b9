/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/reaper.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

uint64_t now_realtime_ns(void) {
        struct timespec t;

        if (clock_gettime(CLOCK_REALTIME, &t) < 0 || t.tv_sec < 0)
                return 0;
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

unsigned exit_code(int wait_status) {
        if (WIFSIGNALED(wait_status))
                return 128U + (unsigned)WTERMSIG(wait_status);
        return (unsigned)WEXITSTATUS(wait_status);
}

static Child **bucket_of(Reaper *r, pid_t pid) {
        return &r->children[(unsigned)pid % REAPER_BUCKETS];
}

static Child *take_child(Reaper *r, pid_t pid) {
        for (Child **p = bucket_of(r, pid); *p; p = &(*p)->next) {
                Child *c = *p;

                if (c->pid != pid)
                        continue;
                *p = c->next;
                c->pid = 0;
                return c;
        }
        return NULL;
}

static void remember(Reaper *r, pid_t pid, int status, uint64_t at_ns) {
        r->unknown[r->next_unknown] = (ReaperUnknown){ pid, status, at_ns };
        r->next_unknown = (r->next_unknown + 1) % REAPER_UNKNOWN_MAX;
        r->n_unknown = MIN_OF(r->n_unknown + 1, (unsigned)REAPER_UNKNOWN_MAX);
}

static void reap(void *userdata, uint32_t events) {
        Reaper *r = userdata;
        struct signalfd_siginfo info;
        int status;
        pid_t pid;

        while (read(r->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
                ; /* signals of one kind merge: what counts is who can be waited for */
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                uint64_t at_ns = now_realtime_ns();
                Child *c = take_child(r, pid);

                if (c)
                        c->exited(c->userdata, status, at_ns);
                else if (r->expecting > 0)
                        remember(r, pid, status, at_ns);
        }
}

int reaper_init(Reaper *r, Loop *l, Error *reterr) {
        sigset_t set;
        int k;

        *r = (Reaper){ .fd = -EBADF };
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return error_setf(reterr, -errno, "cannot block SIGCHLD: %m");
        r->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (r->fd < 0)
                return error_setf(reterr, -errno, "cannot watch for exits: %m");
        k = watch_init(&r->watch, l, r->fd, EPOLLIN, reap, r);
        return k < 0 ? error_setf(reterr, k, "cannot watch for exits: %s", strerror(-k)) : 0;
}

void reaper_add(Reaper *r, Child *c, pid_t pid) {
        Child **head = bucket_of(r, pid);

        c->pid = pid;
        c->next = *head;
        *head = c;
}

void reaper_remove(Reaper *r, Child *c) {
        if (c->pid == 0)
                return;
        for (Child **p = bucket_of(r, c->pid); *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        c->pid = 0;
}

void reaper_expect(Reaper *r) {
        r->expecting++;
}

void reaper_expect_end(Reaper *r) {
        if (--r->expecting == 0)
                r->n_unknown = r->next_unknown = 0; /* pids come round again: forget in time */
}

/* Is `pid` a child that can still be waited for (alive, or dead and not reaped)? */
static bool is_our_child(pid_t pid) {
        siginfo_t info = {};

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool reaper_adopt(Reaper *r, Child *c, pid_t pid, int *ret_status, uint64_t *ret_at_ns) {
        for (unsigned i = 0; i < r->n_unknown; i++) {
                ReaperUnknown *u = &r->unknown[i];

                if (u->pid != pid)
                        continue;
                u->pid = 0;
                *ret_status = u->wait_status;
                *ret_at_ns = u->at_ns;
                return true;
        }
        if (!is_our_child(pid)) {
                /* Only if more than we can remember died meanwhile: that it was killed is the best
                 * guess, and a report that never comes would be worse. */
                *ret_status = SIGKILL;
                *ret_at_ns = now_realtime_ns();
                return true;
        }
        reaper_add(r, c, pid);
        return false;
}
