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
 * Before the kill it is asked whether the guest has run since a mark. What a vCPU thread has run is
 * in the first field of its schedstat, in nanoseconds and with the guest's time in it. On a QEMU
 * that is stopped (measured under TCG) it stands still to the nanosecond, whatever the monitor is
 * asked; a thread on its way to sleep adds 4 to 9 us once, and KVM reads registers on the vCPU's
 * own thread after the guest stopped: HOUSEKEEPING_NSEC is what we let pass. TCG drops its caches
 * of translations on that thread too, when the end of a migration changes how memory is
 * watched: 1.5 ms was seen once in 45 moves, with the guest standing still; so it has more. The
 * thread is looked at only while the whole process is stopped by SIGSTOP, so that nothing can
 * happen between the look and the kill: a "cont" that libvirt has sent and QEMU has not read stays
 * unread for ever.
 *
 * /proc is read by number, but what is read counts only together with the pidfd: had the process
 * gone and its number been reused, the pidfd would say that it is gone, which is the same answer.
 */
#include "hostdev/fence.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
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

#define VCPUS_MAX             64
#define HOUSEKEEPING_NSEC     (500U * 1000U)
#define HOUSEKEEPING_TCG_NSEC (10U * 1000U * 1000U)

typedef struct VcpuTime {
        int tid;
        bool tcg;
        uint64_t ran_ns;
} VcpuTime;

struct Fence {
        sd_event *loop;
        pid_t pid;
        int pidfd;
        sd_event_source *exit_source;
        FenceExited exited;
        void *exited_userdata;
        bool dead;    /* proven, and stays so */
        bool stopped; /* SIGSTOP was sent by us */
        bool killed;  /* SIGKILL was sent by us */
        bool keep;    /* a stop outlives the fence */
        VcpuTime mark[VCPUS_MAX];
        size_t n_mark; /* 0: there is no mark */

        sd_event_source *timer; /* set while a stop or a kill is in flight */
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

/* One thread: true if it runs nothing until SIGCONT. */
static bool task_is_stopped(const Fence *f, int tid) {
        char text[2048], state;
        unsigned flags;
        int n = read_task(f, tid, "stat", text, sizeof(text));

        if (n < 0)
                return n == -ENOENT || n == -ESRCH;
        if (!parse_stat(text, &state, &flags))
                return false;
        return strchr("TtZX", state) || (flags & PF_EXITING);
}

static bool all_tasks(const Fence *f, bool (*is)(const Fence *f, int tid)) {
        int before[TASKS_MAX], after[TASKS_MAX];
        int n = list_tasks(f, before);

        if (n <= 0)
                return false;
        for (int i = 0; i < n; i++)
                if (!is(f, before[i]))
                        return false;
        return list_tasks(f, after) == n && memcmp(before, after, (size_t)n * sizeof(int)) == 0;
}

/* 0: nothing to say yet. 1: what was asked for is so. */
static int check(Fence *f) {
        if (!f->dead)
                f->dead = process_gone(f) || (f->killed && all_tasks(f, task_is_dead));
        return f->dead || (!f->killed && f->stopped && all_tasks(f, task_is_stopped));
}

/* The vCPU threads and what each has run. A name can be anything, so this is only for a process
 * that was proven to be a QEMU. */
static int read_vcpus(const Fence *f, VcpuTime ret[static VCPUS_MAX], size_t *ret_n,
                      Error *reterr) {
        int tids[TASKS_MAX], n = list_tasks(f, tids);
        size_t n_vcpus = 0;

        for (int i = 0; i < n; i++) {
                char text[128];
                unsigned cpu;
                bool tcg;
                int end = 0;

                if (read_task(f, tids[i], "comm", text, sizeof(text)) < 0 ||
                    sscanf(text, "CPU %u/%n", &cpu, &end) != 1 || end == 0)
                        continue;
                tcg = strncmp(text + end, "TCG", 3) == 0;
                if (n_vcpus == VCPUS_MAX)
                        return error_setf(reterr, -E2BIG, "QEMU %d has more than %d vCPU threads",
                                          (int)f->pid, VCPUS_MAX);
                ret[n_vcpus].tid = tids[i];
                ret[n_vcpus].tcg = tcg;
                if (read_task(f, tids[i], "schedstat", text, sizeof(text)) < 0 ||
                    sscanf(text, "%" SCNu64, &ret[n_vcpus].ran_ns) != 1)
                        return error_setf(reterr, -EIO, "no run time of thread %d of QEMU %d",
                                          tids[i], (int)f->pid);
                n_vcpus++;
        }
        if (n_vcpus == 0)
                return error_setf(reterr, -ENOENT, "QEMU %d has no vCPU threads", (int)f->pid);
        *ret_n = n_vcpus;
        return 0;
}

int fence_mark(Fence *f, Error *reterr) {
        f->n_mark = 0;
        return read_vcpus(f, f->mark, &f->n_mark, reterr);
}

/* With the process stopped: has a vCPU run since the mark? */
static int compare(const Fence *f, Error *reterr) {
        VcpuTime now[VCPUS_MAX];
        size_t n;
        int r;

        if (f->n_mark == 0 || f->dead)
                return 0;
        r = read_vcpus(f, now, &n, reterr);
        if (r < 0)
                return r;
        if (n != f->n_mark)
                return error_setf(reterr, -EALREADY, "QEMU %d had %zu vCPU threads, and has %zu",
                                  (int)f->pid, f->n_mark, n);
        for (size_t i = 0; i < n; i++) {
                uint64_t ran = now[i].ran_ns - f->mark[i].ran_ns;

                if (now[i].tid != f->mark[i].tid ||
                    ran > (now[i].tcg ? HOUSEKEEPING_TCG_NSEC : HOUSEKEEPING_NSEC))
                        return error_setf(reterr, -EALREADY,
                                          "the guest has run: %" PRIu64 " us since it stopped",
                                          ran / 1000);
                log_debug("fence: vCPU thread %d ran %" PRIu64 " ns since the mark", now[i].tid,
                          ran);
        }
        return 0;
}

void fence_continue(Fence *f) {
        if (f->stopped && !f->killed &&
            syscall(SYS_pidfd_send_signal, f->pidfd, SIGCONT, NULL, 0) < 0 && errno != ESRCH)
                log_warning("fence: QEMU %d does not go on: %m", (int)f->pid);
        f->stopped = f->keep = false;
}

int fence_stands(const Fence *f) {
        char text[2048];
        int tids[TASKS_MAX], n;

        if (f->dead || process_gone(f))
                return 0;
        if (all_tasks(f, task_is_stopped))
                return 1;
        /* It runs only if a thread was seen to. */
        n = list_tasks(f, tids);
        for (int i = 0; i < n; i++)
                if (read_task(f, tids[i], "stat", text, sizeof(text)) >= 0 &&
                    !task_is_stopped(f, tids[i]))
                        return 0;
        return -EIO;
}

void fence_keep(Fence *f) {
        f->keep = true;
}

void fence_inherit_stop(Fence *f) {
        f->stopped = true;
}

/* What a stop has to say once every thread stands; a QEMU that is to go on goes on. */
static int end_of_stop(Fence *f, Error *reterr) {
        int r = compare(f, reterr);

        if (r < 0)
                fence_continue(f);
        return r;
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
        assert(!f->timer || !f->killed);
        f->timer = sd_event_source_disable_unref(f->timer);
        if (!fence_is_dead(f) && !f->keep)
                fence_continue(f);
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

        if (check(f)) {
                r = f->killed ? 0 : end_of_stop(f, &e);
                complete(f, r, r < 0 ? &e : NULL);
                return 0;
        }
        (void)sd_event_now(f->loop, CLOCK_MONOTONIC, &now);
        r = now >= f->deadline ? -EIO : sd_event_source_set_time_relative(source, LOOK_AGAIN_USEC);
        if (r >= 0)
                r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (r < 0) {
                r = error_setf(&e, -EIO, "QEMU %d was %s, and threads of it may still run",
                               (int)f->pid, f->killed ? "killed" : "stopped");
                fence_continue(f);
                complete(f, r, &e);
        }
        return 0;
}

/* Sends a signal and sees to it that it has reached every thread. */
static int act(Fence *f, int signal, OpDone done, void *userdata, Error *reterr) {
        uint64_t now;
        int r;

        if (syscall(SYS_pidfd_send_signal, f->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
                return error_setf(reterr, -errno, "signal %d to QEMU %d: %m", signal, (int)f->pid);
        f->killed |= signal == SIGKILL;
        f->stopped |= signal == SIGSTOP;
        if (check(f))
                return f->killed ? 0 : end_of_stop(f, reterr);
        r = sd_event_now(f->loop, CLOCK_MONOTONIC, &now);
        if (r >= 0)
                r = sd_event_add_time_relative(f->loop, &f->timer, CLOCK_MONOTONIC, LOOK_AGAIN_USEC,
                                               1, on_look_again, f);
        if (r < 0) {
                fence_continue(f);
                return error_setf(reterr, -EIO,
                                  "QEMU %d got signal %d, but there is no timer to see it",
                                  (int)f->pid, signal);
        }
        f->deadline = now + DEADLINE_USEC;
        f->done = done;
        f->userdata = userdata;
        return 1;
}

int fence_stop(Fence *f, OpDone done, void *userdata, Error *reterr) {
        if (f->timer)
                return error_setf(reterr, -EBUSY, "QEMU %d is being fenced", (int)f->pid);
        if (check(f))
                return end_of_stop(f, reterr);
        return f->killed ? fence_kill(f, done, userdata, reterr)
                         : act(f, SIGSTOP, done, userdata, reterr);
}

int fence_kill(Fence *f, OpDone done, void *userdata, Error *reterr) {
        if (f->timer)
                return error_setf(reterr, -EBUSY, "QEMU %d is being fenced", (int)f->pid);
        if (f->dead || process_gone(f)) {
                f->dead = true;
                return 0;
        }
        return act(f, SIGKILL, done, userdata, reterr);
}
