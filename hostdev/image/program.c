/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/program.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

/* What is kept of stderr, its end. */
#define STDERR_KEPT 4096U

/* PATH of the caller and a plain locale: messages are read for "No space left on device". */
static char **make_environment(void) {
        static char locale[] = "LC_ALL=C", fallback[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        const char *path = getenv("PATH");
        char **env, *p = NULL;

        if (path && *path) {
                size_t n = sizeof("PATH=") + strlen(path) + sizeof(":/usr/sbin:/sbin");

                p = malloc(n);
                if (!p)
                        return NULL;
                /* mkfs lives in sbin, which is not in everyone's PATH */
                (void)stpcpy(stpcpy(stpcpy(p, "PATH="), path), ":/usr/sbin:/sbin");
        }
        env = calloc(3, sizeof(*env));
        if (!env) {
                free(p);
                return NULL;
        }
        env[0] = p ?: fallback;
        env[1] = locale;
        return env;
}

static void free_environment(char **env, bool own_path) {
        if (env && own_path)
                free(env[0]);
        free(env);
}

static int start(const char *const argv[], char **env, int in, int out, int err, pid_t *ret_pid) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        r = posix_spawn_file_actions_init(&actions);
        if (r == 0) {
                r = posix_spawnattr_init(&attr);
                if (r != 0)
                        (void)posix_spawn_file_actions_destroy(&actions);
        }
        if (r != 0)
                return -r;
        r = in < 0 ? posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY,
                                                      0)
                   : posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(&attr, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        if (r == 0) {
                char **args =
                        (char **)(uintptr_t)argv; /* posix_spawn's prototype lacks the const */

                r = posix_spawnp(ret_pid, argv[0], &actions, &attr, args, env);
        }
        (void)posix_spawn_file_actions_destroy(&actions);
        (void)posix_spawnattr_destroy(&attr);
        return -r;
}

/* One read; 1 end of file. `keep_end`: the last STDERR_KEPT bytes stay, else the first
 * PROGRAM_OUTPUT_MAX. */
static int take(int fd, Buf *b, bool keep_end) {
        uint8_t chunk[4096];
        ssize_t n;

        n = read(fd, chunk, sizeof(chunk));
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        if (n == 0)
                return 1;
        if (!b || (!keep_end && b->len + (size_t)n > PROGRAM_OUTPUT_MAX))
                return 0;
        if (buf_append(b, chunk, (size_t)n) < 0)
                return -ENOMEM;
        if (keep_end && b->len > STDERR_KEPT)
                buf_consume(b, b->len - STDERR_KEPT);
        return 0;
}

static void drain(int out, int err, Buf *ret_stdout, Buf *text) {
        struct pollfd fds[2] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN } };

        while (fds[0].fd >= 0 || fds[1].fd >= 0) {
                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return;
                }
                if (fds[0].fd >= 0 && fds[0].revents && take(out, ret_stdout, false) != 0)
                        fds[0].fd = -1;
                if (fds[1].fd >= 0 && fds[1].revents && take(err, text, true) != 0)
                        fds[1].fd = -1;
        }
}

/* The last line with something in it; but tar's says only that something was wrong before. */
static const char *last_line(Buf *text) {
        static const char summary[] = "due to previous errors";
        char *s, *nl;

        if (buf_append(text, "", 1) < 0)
                return "";
        s = (char *)text->data;
        for (size_t n = strlen(s); n > 0 && isspace((unsigned char)s[n - 1]); n--)
                s[n - 1] = '\0';
        nl = strrchr(s, '\n');
        if (nl && strstr(nl, summary)) {
                *nl = '\0';
                nl = strrchr(s, '\n');
        }
        return nl ? nl + 1 : s;
}

static int failed(const char *program, int status, Buf *text, Error *reterr) {
        const char *line = last_line(text);
        const char *all = text->data ? (const char *)text->data : "";
        int code = strstr(all, "No space left on device") ? -ENOSPC : -EIO;

        if (WIFSIGNALED(status))
                return error_setf(reterr, code, "%s was ended by signal %d%s%.300s", program,
                                  WTERMSIG(status), *line ? ": " : "", line);
        return error_setf(reterr, code, "%s failed with %d%s%.300s", program, WEXITSTATUS(status),
                          *line ? ": " : "", line);
}

/* `name`: what it is called when it fails. */
static int run(const char *name, const char *const argv[], char **env, int in, Buf *ret_stdout,
               Error *reterr) {
        _cleanup_close_ int out_r = -EBADF, out_w = -EBADF, err_r = -EBADF, err_w = -EBADF;
        _cleanup_buf_ Buf text = {};
        int out[2], err[2], status, r;
        pid_t pid;

        if (pipe2(out, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        out_r = out[0], out_w = out[1];
        if (pipe2(err, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        err_r = err[0], err_w = err[1];

        r = start(argv, env, in, out_w, err_w, &pid);
        if (r == -ENOENT)
                return error_setf(reterr, r, "%s is not installed", argv[0]);
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", argv[0], strerrordesc_np(-r));
        out_w = close_fd(out_w);
        err_w = close_fd(err_w);
        drain(out_r, err_r, ret_stdout, &text);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return error_setf(reterr, -errno, "%s: waiting for it: %m", argv[0]);
        return status == 0 ? 0 : failed(name, status, &text, reterr);
}

static int run_plain(const char *name, const char *const argv[], Buf *ret_stdout, Error *reterr) {
        const char *path = getenv("PATH");
        char **env;
        int r;

        env = make_environment();
        if (!env)
                return error_oom(reterr);
        r = run(name, argv, env, -EBADF, ret_stdout, reterr);
        free_environment(env, path && *path);
        return r;
}

int program_run(const char *const argv[], Buf *ret_stdout, Error *reterr) {
        return run_plain(argv[0], argv, ret_stdout, reterr);
}

int program_run_limited(const char *const argv[], Buf *ret_stdout, Error *reterr) {
        static const char *const limits[] = {
                "timeout", "-k", "1", "20", "prlimit", "--cpu=10", "--core=0", "--as=1073741824"
        };
        const char *all[ELEMENTSOF(limits) + 24];
        size_t n = 0;

        memcpy(all, limits, sizeof(limits));
        while (argv[n] && n < 23) {
                all[ELEMENTSOF(limits) + n] = argv[n];
                n++;
        }
        all[ELEMENTSOF(limits) + n] = NULL;
        return run_plain(argv[0], all, ret_stdout, reterr);
}

int program_run_own(const char *const argv[], int in, Buf *ret_stdout, Error *reterr) {
        return run(argv[0], argv, environ, in, ret_stdout, reterr);
}
