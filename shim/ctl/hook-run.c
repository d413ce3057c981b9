/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/hook-run.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/clock.h"

/* What processes that it left may still write while they are killed. */
#define LAST_READ_MAX (1U << 20)

const char *hook_end_name(HookEnd end) {
        static const char *const names[_HOOK_END_MAX] = { "done", "failed", "late", "stopped",
                                                          "not-run" };

        return names[end];
}

typedef struct Running {
        const Hook *hook;
        pid_t pid;
        int pidfd, out;
        const int *stops;
        uint64_t begun_ms, kill_ms; /* kill_ms: when SIGTERM becomes SIGKILL; 0: not told to end */
        bool killed;
        HookOutcome *outcome;
} Running;

/* -- starting -- */

static int set_actions(posix_spawn_file_actions_t *a, int out) {
        int r = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

        if (r == 0)
                r = posix_spawn_file_actions_adddup2(a, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(a, out, STDERR_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addchdir_np(a, "/");
        return r;
}

static int set_attributes(posix_spawnattr_t *attr) {
        sigset_t none, all;
        int r;

        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        r = posix_spawnattr_setsigmask(attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attr, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                           POSIX_SPAWN_SETSID);
        return r;
}

static int spawn(const Hook *h, char *const env[], int out, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        int r = posix_spawn_file_actions_init(&actions);

        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attr);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        r = set_actions(&actions, out);
        if (r == 0)
                r = set_attributes(&attr);
        if (r == 0)
                r = posix_spawn(ret, h->run[0], &actions, &attr, h->run, env);
        (void)posix_spawnattr_destroy(&attr);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static int start(Running *w, char *const env[], Error *reterr) {
        _cleanup_close_ int out_r = -EBADF, out_w = -EBADF;
        int out[2], r;

        r = hook_check(w->hook, reterr);
        if (r < 0)
                return r;
        if (pipe2(out, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        out_r = out[0], out_w = out[1];
        if (fcntl(out_r, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        r = spawn(w->hook, env, out_w, &w->pid);
        if (r < 0)
                return error_setf(reterr, r, "%.200s: cannot be run: %s", w->hook->run[0],
                                  strerrordesc_np(-r));
        w->out = TAKE_FD(out_r);
        w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
        if (w->pidfd >= 0)
                return 0;
        r = error_setf(reterr, -errno, "pidfd_open: %m");
        (void)kill(-w->pid, SIGKILL);
        (void)waitpid(w->pid, NULL, 0);
        return r;
}

/* -- what it says -- */

static void keep(HookOutcome *o, const char *p, size_t n) {
        if (n >= HOOK_OUTPUT_MAX) {
                o->dropped += o->n_output + (n - HOOK_OUTPUT_MAX);
                p += n - HOOK_OUTPUT_MAX;
                n = HOOK_OUTPUT_MAX;
                o->n_output = 0;
        } else if (o->n_output + n > HOOK_OUTPUT_MAX) {
                size_t over = o->n_output + n - HOOK_OUTPUT_MAX;

                memmove(o->output, o->output + over, o->n_output - over);
                o->n_output -= over;
                o->dropped += over;
        }
        for (size_t i = 0; i < n; i++)
                o->output[o->n_output++] = p[i] ? p[i] : '?';
        o->output[o->n_output] = '\0';
}

/* What is there now, but at most so much. False: it is closed. */
static bool read_some(Running *w, size_t max) {
        char data[65536];

        for (size_t all = 0; all < max;) {
                ssize_t n = read(w->out, data, sizeof(data));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN;
                if (n == 0)
                        return false;
                keep(w->outcome, data, (size_t)n);
                all += (size_t)n;
        }
        return true;
}

/* -- its end -- */

static void tell_to_end(Running *w, HookEnd why) {
        if (w->kill_ms > 0)
                return;
        w->outcome->end = why;
        w->kill_ms = clock_ms() + HOOK_GRACE_MS;
        (void)kill(-w->pid, SIGTERM);
}

static int ms_to_wait(const Running *w) {
        uint64_t now = clock_ms();
        uint64_t end = w->kill_ms > 0 ? w->kill_ms : w->begun_ms + w->hook->timeout_ms;

        if (w->killed) /* nothing more can be done: it may sleep in the kernel */
                return -1;
        return (int)MIN_OF(end > now ? end - now : 0, (uint64_t)INT_MAX);
}

static void look_at_clock(Running *w) {
        if (ms_to_wait(w) != 0)
                return;
        w->killed = w->kill_ms > 0;
        if (w->killed)
                (void)kill(-w->pid, SIGKILL);
        else
                tell_to_end(w, HOOK_LATE);
}

/* Until its program has ended; its children may go on. */
static void watch(Running *w) {
        for (;;) {
                bool told = w->kill_ms > 0;
                struct pollfd fds[] = { { .fd = w->pidfd, .events = POLLIN },
                                        { .fd = w->out, .events = POLLIN },
                                        { .fd = told ? -1 : w->stops[0], .events = POLLIN },
                                        { .fd = told ? -1 : w->stops[1], .events = POLLIN } };

                if (poll(fds, ELEMENTSOF(fds), ms_to_wait(w)) < 0)
                        continue; /* EINTR, or no memory in the kernel: the clock counts on */
                if (fds[0].revents)
                        return;
                if (fds[1].revents && !read_some(w, LAST_READ_MAX))
                        w->out = close_fd(w->out);
                if (fds[2].revents || fds[3].revents)
                        tell_to_end(w, HOOK_STOPPED);
                look_at_clock(w);
        }
}

/* Its group first: as long as it is not waited for, the number is its own. */
static void finish(Running *w) {
        HookOutcome *o = w->outcome;
        int status = 0;

        (void)kill(-w->pid, SIGKILL);
        while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (w->out >= 0)
                (void)read_some(w, LAST_READ_MAX);
        o->by_signal = WIFSIGNALED(status);
        o->status = o->by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
        if (w->kill_ms == 0)
                o->end = status == 0 ? HOOK_DONE : HOOK_FAILED;
        o->ms = clock_ms() - w->begun_ms;
        w->out = close_fd(w->out);
        w->pidfd = close_fd(w->pidfd);
}

/* Its last line, for the message. */
static void last_line(const HookOutcome *o, char *ret, size_t size) {
        size_t end = o->n_output, from;

        while (end > 0 && (o->output[end - 1] == '\n' || o->output[end - 1] == '\r'))
                end--;
        for (from = end; from > 0 && o->output[from - 1] != '\n';)
                from--;
        end = MIN_OF(end, from + size - 1);
        memcpy(ret, o->output + from, end - from);
        ret[end - from] = '\0';
}

static int judge(const Hook *h, const HookOutcome *o, Error *reterr) {
        char words[160];

        last_line(o, words, sizeof(words));
        if (o->end == HOOK_DONE)
                return 0;
        if (o->end == HOOK_STOPPED)
                return error_setf(reterr, -ECANCELED, "%.200s: interrupted", h->run[0]);
        if (o->end == HOOK_LATE)
                return error_setf(reterr, -ETIMEDOUT, "%.200s: not done in %.1f s, killed%s%s",
                                  h->run[0], (double)h->timeout_ms / 1000.0, *words ? ": " : "",
                                  words);
        return error_setf(reterr, -EIO, "%.200s: %s %d%s%s", h->run[0],
                          o->by_signal ? "ended by signal" : "exit status", o->status,
                          *words ? ": " : "", words);
}

int hook_run(const Hook *h, char *const env[], const int stops[HOOK_STOPS], HookOutcome *ret,
             Error *reterr) {
        Running w = { .hook = h,
                      .pidfd = -EBADF,
                      .out = -EBADF,
                      .stops = stops,
                      .begun_ms = clock_ms(),
                      .outcome = ret };
        int r;

        *ret = (HookOutcome){ .end = HOOK_NOT_RUN };
        r = start(&w, env, reterr);
        if (r < 0) {
                w.out = close_fd(w.out);
                return r;
        }
        watch(&w);
        finish(&w);
        return judge(h, ret, reterr);
}
