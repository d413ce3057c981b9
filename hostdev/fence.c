/* SPDX-License-Identifier: Apache-2.0 */
/* When is it certain that a killed QEMU never runs again?
 *
 * Once SIGKILL is pending for a process, the kernel lets no thread of it return to user mode: one
 * that runs is interrupted, one that sleeps is woken, and on its way out of the kernel (also out of
 * KVM_RUN) each finds the signal and exits. A thread in an uninterruptible sleep may stay for long,
 * and may finish the system call that it is in, but it comes back to no instruction of QEMU's or of
 * the guest's. (Nor is there disk I/O of it to be afraid of in a hand-over: QEMU has drained and
 * given up its disks before it reports the migration complete.)
 *
 * pidfd_send_signal() has marked every thread when it returns; what is left is that a thread on
 * another CPU runs on until the interrupt reaches it, microseconds later. So afterwards each thread
 * has to be seen once in a state in which it cannot be executing user code: gone, exiting
 * (PF_EXITING, zombie), or off its CPU with the signal pending. Anything else is looked at again.
 * So we need not wait for the memory of a large guest to be freed, which comes after all this.
 *
 * The kernel's list of threads ends early if the thread that was listed last disappears meanwhile.
 * Two equal lists in a row show that the first was complete, and after the kill no thread can be
 * added to it: clone() fails with SIGKILL pending.
 *
 * /proc is read by number, but what is read counts only together with the pidfd: had the process
 * gone and its number been reused, the pidfd would say that it is gone, which is the same answer.
 */
#include "hostdev/fence.h"

#include <assert.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "hostdev/qemu-process.h"
#include "lib/log.h"

#define PF_EXITING      0x4U /* of the kernel's flags of a task */
#define TASKS_MAX       2048
#define LOOK_AGAIN_USEC 500U
#define DEADLINE_USEC   (5U * 1000U * 1000U)

struct Fence {
        sd_event *loop;
        pid_t pid;
        int pidfd;
        sd_event_source *exit_source;
        FenceExited exited;
        void *exited_userdata;
        bool dead; /* proven, and stays so */

        sd_event_source *timer; /* set while a kill is in flight */
        uint64_t deadline;
        OpDone done;
        void *userdata;
};

static bool process_gone(const Fence *f) {
        struct pollfd p = { .fd = f->pidfd, .events = POLLIN };

        return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

/* Value of a hexadecimal signal set in /proc/<pid>/task/<tid>/status. */
static uint64_t signal_set(const char *status, const char *name) {
        const char *s = strstr(status, name);

        return s ? strtoull(s + strlen(name), NULL, 16) : 0;
}

static int read_task(const Fence *f, int tid, const char *file, char *ret, size_t size) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)f->pid, tid, file);
        return file_read(path, ret, size);
}

/* State letter and flags, fields 3 and 9 of proc(5) stat; the name before them may hold anything.
 */
static bool parse_stat(const char *stat, char *ret_state, unsigned *ret_flags) {
        const char *s = strrchr(stat, ')');

        return s && sscanf(s + 1, " %c %*d %*d %*d %*d %*d %u", ret_state, ret_flags) == 2;
}

/* One thread: true if it cannot come back to user mode. */
static bool task_is_dead(const Fence *f, int tid) {
        const uint64_t bit = 1ULL << (SIGKILL - 1);
        char text[2048], state;
        unsigned flags;
        int n;

        n = read_task(f, tid, "stat", text, sizeof(text));
        if (n == -ENOENT || n == -ESRCH)
                return true;
        if (n < 0 || !parse_stat(text, &state, &flags))
                return false;
        if (state == 'Z' || state == 'X' || (flags & PF_EXITING))
                return true;
        if (state == 'R')
                return false; /* on a CPU, or about to be: it may not have seen the signal */
        n = read_task(f, tid, "status", text, sizeof(text));
        if (n < 0)
                return n == -ENOENT || n == -ESRCH;
        return ((signal_set(text, "\nSigPnd:") | signal_set(text, "\nShdPnd:")) & bit) != 0;
}

/* The number of threads listed, or -1. */
static int list_tasks(const Fence *f, int ret[static TASKS_MAX]) {
        char path[64];
        struct dirent *e;
        int n = 0;
        DIR *d;

        (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)f->pid);
        d = opendir(path);
        if (!d)
                return -1;
        while (n < TASKS_MAX && (e = readdir(d)))
                if (e->d_name[0] != '.')
                        ret[n++] = atoi(e->d_name);
        (void)closedir(d);
        return n < TASKS_MAX ? n : -1;
}

static bool all_tasks_dead(const Fence *f) {
        int before[TASKS_MAX], after[TASKS_MAX];
        int n = list_tasks(f, before);

        if (n <= 0)
                return false;
        for (int i = 0; i < n; i++)
                if (!task_is_dead(f, before[i]))
                        return false;
        return list_tasks(f, after) == n && memcmp(before, after, (size_t)n * sizeof(int)) == 0;
}

static bool check(Fence *f, bool killed) {
        if (!f->dead)
                f->dead = process_gone(f) || (killed && all_tasks_dead(f));
        return f->dead;
}

static int on_exit_of_process(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Fence *f = userdata;

        f->dead = true;
        f->exit_source = sd_event_source_disable_unref(f->exit_source);
        if (f->timer)
                (void)sd_event_source_set_time(f->timer, 0); /* no need to wait for the next look */
        if (f->exited)
                f->exited(f->exited_userdata);
        return 0;
}

int fence_open(sd_event *loop, pid_t pid, const char *uuid, FenceExited exited, void *userdata,
               Fence **ret, Error *reterr) {
        _cleanup_(fence_freep) Fence *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return error_oom(reterr);
        f->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (f->pidfd < 0 && errno == ESRCH)
                return error_setf(reterr, -ENOENT, "process %d is gone", (int)pid);
        if (f->pidfd < 0)
                return error_setf(reterr, -errno, "pidfd_open of %d: %m", (int)pid);
        f->pid = pid;
        f->loop = sd_event_ref(loop);
        f->exited = exited;
        f->exited_userdata = userdata;
        r = qemu_process_check(pid, uuid, reterr);
        if (r < 0)
                return r;
        /* The command line was that of the process behind the pidfd only if that still lives. */
        if (process_gone(f))
                return error_setf(reterr, -ENOENT, "process %d is gone", (int)pid);
        r = sd_event_add_io(loop, &f->exit_source, f->pidfd, EPOLLIN, on_exit_of_process, f);
        if (r < 0)
                return error_setf(reterr, r, "watching process %d failed", (int)pid);
        *ret = TAKE(f);
        return 0;
}

Fence *fence_free(Fence *f) {
        if (!f)
                return NULL;
        assert(!f->timer);
        sd_event_source_disable_unref(f->exit_source);
        sd_event_unref(f->loop);
        (void)close_fd(f->pidfd);
        free(f);
        return NULL;
}

bool fence_is_dead(const Fence *f) {
        return f->dead || process_gone(f);
}

static void complete(Fence *f, int r, const Error *err) {
        OpDone done = f->done;

        f->timer = sd_event_source_disable_unref(f->timer);
        f->done = NULL;
        if (done)
                done(f->userdata, r, NULL, err);
}

static int on_look_again(sd_event_source *source, uint64_t usec, void *userdata) {
        Fence *f = userdata;
        Error e = ERROR_INIT;
        uint64_t now = 0;
        int r;

        if (check(f, true)) {
                complete(f, 0, NULL);
                return 0;
        }
        (void)sd_event_now(f->loop, CLOCK_MONOTONIC, &now);
        r = now >= f->deadline ? -EIO : sd_event_source_set_time_relative(source, LOOK_AGAIN_USEC);
        if (r >= 0)
                r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (r < 0)
                complete(f,
                         error_setf(&e, -EIO, "QEMU %d was killed, and threads of it may still run",
                                    (int)f->pid),
                         &e);
        return 0;
}

int fence_kill(Fence *f, OpDone done, void *userdata, Error *reterr) {
        uint64_t now;
        int r;

        if (f->timer)
                return error_setf(reterr, -EBUSY, "QEMU %d is being killed", (int)f->pid);
        if (check(f, false))
                return 0;
        if (syscall(SYS_pidfd_send_signal, f->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                return error_setf(reterr, -errno, "killing QEMU %d: %m", (int)f->pid);
        if (check(f, true))
                return 0;
        r = sd_event_now(f->loop, CLOCK_MONOTONIC, &now);
        if (r >= 0)
                r = sd_event_add_time_relative(f->loop, &f->timer, CLOCK_MONOTONIC, LOOK_AGAIN_USEC,
                                               1, on_look_again, f);
        if (r < 0)
                return error_setf(reterr, -EIO,
                                  "QEMU %d was killed, but there is no timer to see it",
                                  (int)f->pid);
        f->deadline = now + DEADLINE_USEC;
        f->done = done;
        f->userdata = userdata;
        return 1;
}
