/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/plan/plan-child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "shim/ctl/ctl.h"

#define LINE_MAX_SIZE (4U << 20) /* a whole dump of a pod is one line */
#define TURN_MAX      16U        /* reads before others have their turn */

static sd_event_source *drop(sd_event_source *s) {
        if (s)
                (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return sd_event_source_unref(s);
}

static void forget(PlanChild *c) {
        c->out = drop(c->out);
        c->err = drop(c->err);
        c->end = drop(c->end);
        c->deadline = drop(c->deadline);
        if (c->pid > 0) {
                c->out_fd = close_fd(c->out_fd);
                c->err_fd = close_fd(c->err_fd);
                c->pid_fd = close_fd(c->pid_fd);
        }
        c->pid = 0;
}

void plan_child_done(PlanChild *c) {
        forget(c);
        buf_done(&c->line);
}

void plan_child_stop(PlanChild *c) {
        if (c->pid > 0)
                (void)kill(c->pid, SIGTERM);
}

static void take_bytes(PlanChild *c, const char *p, size_t n) {
        while (n > 0) {
                const char *end = memchr(p, '\n', n);
                size_t k = end ? (size_t)(end - p) : n;

                if (!c->skipping &&
                    (c->line.len + k > LINE_MAX_SIZE || buf_append(&c->line, p, k) < 0))
                        c->skipping = true;
                if (!end)
                        return;
                if (!c->skipping && c->line.len > 0)
                        c->on_line(c->userdata, (const char *)c->line.data, c->line.len);
                c->skipping = false;
                c->line.len = 0;
                n -= k + 1;
                p = end + 1;
        }
}

/* False: nothing more comes. */
static bool read_out(PlanChild *c) {
        char text[16384];
        ssize_t n = 0;

        for (unsigned i = 0; i < TURN_MAX && (n = read(c->out_fd, text, sizeof(text))) > 0; i++)
                take_bytes(c, text, (size_t)n);
        return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool read_err(PlanChild *c) {
        char text[4096];
        ssize_t n = 0;

        for (unsigned i = 0; i < TURN_MAX && (n = read(c->err_fd, text, sizeof(text))) > 0; i++) {
                size_t max = sizeof(c->last) - 1, k = MIN_OF((size_t)n, max);
                size_t keep = MIN_OF(c->last_len, max - k);

                memmove(c->last, c->last + c->last_len - keep, keep);
                memcpy(c->last + keep, text + n - k, k);
                c->last_len = keep + k;
        }
        return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int on_out(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        (void)fd, (void)events;
        if (!read_out(userdata))
                (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static int on_err(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        (void)fd, (void)events;
        if (!read_err(userdata))
                (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        PlanChild *c = userdata;

        (void)s, (void)usec;
        c->late = true;
        (void)kill(c->pid, SIGKILL);
        return 0;
}

/* Its last line, without our own name in front. */
static void describe(PlanChild *c, int status, Error *ret) {
        char *line;

        while (c->last_len > 0 && (unsigned char)c->last[c->last_len - 1] <= ' ')
                c->last_len--;
        c->last[c->last_len] = '\0';
        line = strrchr(c->last, '\n');
        line = line ? line + 1 : c->last;
        if (strncmp(line, "podferry: ", 10) == 0)
                line += 10;
        text_clean(line);
        if (c->late)
                (void)error_setf(ret, -ETIMEDOUT, "no answer in time");
        else if (*line)
                (void)error_setf(ret, -EIO, "%.300s", line);
        else if (WIFSIGNALED(status))
                (void)error_setf(ret, -EIO, "ended by signal %d", WTERMSIG(status));
        else if (status != 0)
                (void)error_setf(ret, -EIO, "exit status %d", WEXITSTATUS(status));
}

static int on_exit_of(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        PlanChild *c = userdata;
        Error why = ERROR_INIT;
        int status = 0;

        (void)s, (void)fd, (void)events;
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
                ;
        /* What it started may hold the pipes open: only what is in them now is its own. */
        (void)read_out(c);
        (void)read_err(c);
        take_bytes(c, "\n", 1);
        describe(c, status, &why);
        forget(c);
        c->on_end(c->userdata, status, &why);
        return 0;
}

static int watch(PlanChild *c, uint64_t deadline_ms) {
        int r;

        if (fcntl(c->out_fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        if ((r = sd_event_add_io(c->event, &c->out, c->out_fd, EPOLLIN, on_out, c)) < 0 ||
            (r = sd_event_add_io(c->event, &c->err, c->err_fd, EPOLLIN, on_err, c)) < 0 ||
            (r = sd_event_add_io(c->event, &c->end, c->pid_fd, EPOLLIN, on_exit_of, c)) < 0 ||
            /* after its output */
            (r = sd_event_source_set_priority(c->end, SD_EVENT_PRIORITY_NORMAL + 1)) < 0)
                return r;
        if (deadline_ms > 0)
                return sd_event_add_time_relative(c->event, &c->deadline, CLOCK_MONOTONIC,
                                                  deadline_ms * 1000U, 0, on_deadline, c);
        return 0;
}

int plan_child_start(PlanChild *c, sd_event *event, const Remote *r, const char *const args[],
                     int in, uint64_t deadline_ms, Error *reterr) {
        _cleanup_close_ int out = -EBADF, ours = -EBADF, pid_fd = -EBADF;
        RemoteRun run = REMOTE_RUN_INIT;
        int fds[2], k;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        ours = fds[0], out = fds[1];
        k = remote_start(r, args, in, out, &run, reterr);
        if (k < 0)
                return k;
        pid_fd = (int)syscall(SYS_pidfd_open, run.pid, 0);
        if (pid_fd < 0) {
                k = -errno;
                (void)remote_finish(&run, 0, NULL);
                return error_setf(reterr, k, "pidfd_open: %s", strerrordesc_np(-k));
        }
        c->event = event;
        c->pid = run.pid;
        c->out_fd = TAKE_FD(ours);
        c->err_fd = run.stderr_fd;
        c->pid_fd = TAKE_FD(pid_fd);
        c->last_len = c->line.len = 0;
        c->late = c->skipping = false;
        k = watch(c, deadline_ms);
        if (k == 0)
                return 0;
        run.stderr_fd = c->err_fd;
        c->err_fd = -EBADF;
        forget(c);
        (void)remote_finish(&run, 0, NULL);
        return error_setf(reterr, k, "event loop: %s", strerrordesc_np(-k));
}
