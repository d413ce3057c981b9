/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/daemon.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* What travels on the pipe: one '+' (serves), or '-' and a text. */
#define REPORT_MAX 1024

static _Noreturn void wait_for_report(int fd, pid_t child) {
        char report[REPORT_MAX];
        size_t used = 0;

        while (used < sizeof(report) - 1) {
                ssize_t n = read(fd, report + used, sizeof(report) - 1 - used);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                used += (size_t)n;
                if (report[0] == '+')
                        _exit(EXIT_SUCCESS);
        }
        report[used] = '\0';
        (void)waitpid(child, NULL, 0); /* its locks are gone when we say so */
        (void)dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name,
                      used > 1 ? report + 1 : "the daemon ended before it was ready");
        _exit(EXIT_FAILURE);
}

int daemon_start(int *ret_fd, Error *reterr) {
        int pipe_fds[2];
        pid_t pid;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        pid = fork();
        if (pid < 0) {
                int r = error_setf(reterr, -errno, "fork: %m");

                (void)close_fd(pipe_fds[0]);
                (void)close_fd(pipe_fds[1]);
                return r;
        }
        if (pid > 0) {
                (void)close_fd(pipe_fds[1]);
                wait_for_report(pipe_fds[0], pid);
        }
        (void)close_fd(pipe_fds[0]);
        (void)setsid();
        *ret_fd = pipe_fds[1];
        return 0;
}

static int redirect(int to, const char *path, int flags, Error *reterr) {
        _cleanup_close_ int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd < 0 || dup2(fd, to) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        return 0;
}

int daemon_log(const char *path, Error *reterr) {
        return redirect(STDERR_FILENO, path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, reterr);
}

int daemon_ready(int fd, const char *log_path, Error *reterr) {
        int r;

        r = redirect(STDIN_FILENO, "/dev/null", O_RDONLY, reterr);
        if (r < 0)
                return r;
        r = redirect(STDOUT_FILENO, "/dev/null", O_WRONLY, reterr);
        if (r < 0)
                return r;
        r = daemon_log(log_path, reterr);
        if (r < 0)
                return r;
        if (write(fd, "+", 1) < 0 && errno != EPIPE) /* EPIPE: the starter was killed; we serve */
                return error_setf(reterr, -errno, "report to the starter: %m");
        (void)close_fd(fd);
        return 0;
}

void daemon_failed(int fd, const char *text) {
        (void)dprintf(fd, "-%.*s", REPORT_MAX - 2, text);
        (void)close_fd(fd);
}
