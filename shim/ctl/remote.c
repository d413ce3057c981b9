/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/remote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hostdev/image/files.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/values.h"

/* -- the target -- */

static int add_words(char ***words, const char *const *more) {
        for (; *more; more++)
                if (words_add(words, *more) < 0)
                        return -ENOMEM;
        return 0;
}

/* What stands in for ssh, with options of its own: an identity, a jump host. */
static int add_ssh(char ***words, Error *reterr) {
        const char *command = getenv("PODFERRY_SSH");
        _cleanup_(words_freep) char **own = NULL;
        int r;

        if (!command || !*command)
                return words_add(words, "ssh") < 0 ? error_oom(reterr) : 0;
        r = value_words(command, &own, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "PODFERRY_SSH");
        return add_words(words, (const char *const *)own) < 0 ? error_oom(reterr) : 0;
}

/* ssh as it is called before the host is named. It may ask for a password on the terminal if
 * somebody sits there; nobody else could answer. What the user says comes first, and so wins. */
static int start_ssh(char **ssh_args, const char *control, Remote *r, Error *reterr) {
        const char *batch = isatty(STDIN_FILENO) ? "BatchMode=no" : "BatchMode=yes";
        int k = add_ssh(&r->prefix, reterr);

        if (k < 0)
                return k;
        if ((ssh_args && add_words(&r->prefix, (const char *const *)ssh_args) < 0) ||
            add_words(&r->prefix,
                      (const char *const[]){ "-T", "-o", batch, "-o", "ControlMaster=auto", "-o",
                                             control, "-o", "ControlPersist=no", "-o",
                                             "ConnectTimeout=20", "-o", "ServerAliveInterval=10",
                                             NULL }) < 0)
                return error_oom(reterr);
        return 0;
}

/* host[:port] after an optional user; nothing that ssh could take for an option. */
static int parse_ssh(const char *text, char **ssh_args, Remote *r, Error *reterr) {
        char directory[] = "/tmp/podferry-ssh-XXXXXX";
        _cleanup_free_ char *host = strdup(text), *control = NULL;
        const char *port = "22";
        char *colon;
        int k;

        if (!host)
                return error_oom(reterr);
        host[strcspn(host, "/")] = '\0';
        colon = strrchr(host, ':');
        if (colon && strspn(colon + 1, "0123456789") == strlen(colon + 1) && colon[1]) {
                *colon = '\0';
                port = colon + 1;
        } else
                colon = NULL;
        if (colon && (strlen(port) > 5 || atoi(port) < 1 || atoi(port) > 65535))
                return error_setf(reterr, -EINVAL, "\"ssh://%.100s\": port %.20s: 1 to 65535", text,
                                  port);
        if (!*host || *host == '-' || strpbrk(host, " \t'\"\\$`;|&<>"))
                return error_setf(reterr, -EINVAL, "\"ssh://%.100s\": no host in it", text);
        if (!mkdtemp(directory))
                return error_setf(reterr, -errno, "%s: %m", directory);
        r->directory = strdup(directory);
        if (asprintf(&control, "ControlPath=%s/c", directory) < 0)
                control = NULL;
        r->name = strdup(host);
        r->shell = true;
        if (!r->directory || !control || !r->name)
                return error_oom(reterr);
        k = start_ssh(ssh_args, control, r, reterr);
        if (k < 0)
                return k;
        if ((colon && add_words(&r->prefix, (const char *const[]){ "-p", port, NULL }) < 0) ||
            add_words(&r->prefix, (const char *const[]){ "--", host, NULL }) < 0)
                return error_oom(reterr);
        return 0;
}

static int own_program(char **ret, Error *reterr) {
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

        if (n < 0)
                return error_setf(reterr, -errno, "/proc/self/exe: %m");
        path[n] = '\0';
        *ret = strdup(path);
        return *ret ? 0 : error_oom(reterr);
}

int remote_parse(const char *text, const char *program, char **ssh_args, Remote *ret,
                 Error *reterr) {
        _cleanup_(remote_done) Remote r = {};
        int k;

        if (strncmp(text, "ssh://", 6) == 0)
                k = parse_ssh(text + 6, ssh_args, &r, reterr);
        else if (ssh_args && words_count(ssh_args) > 0)
                k = error_setf(reterr, -EINVAL, "--identity and --ssh-option are for ssh://HOST");
        else if (strncmp(text, "exec:", 5) == 0) {
                k = value_words(text + 5, &r.prefix, reterr);
                if (k == 0 && !(r.name = strdup(text + 5)))
                        k = error_oom(reterr);
        } else
                k = error_setf(reterr, -EINVAL,
                               "\"%.100s\" is no host: ssh://[USER@]HOST[:PORT] or exec:COMMAND",
                               text);
        if (k < 0)
                return k;
        if (program || r.shell) {
                r.program = strdup(program ?: "podferry");
                k = r.program ? 0 : error_oom(reterr);
        } else
                k = own_program(&r.program, reterr);
        if (k < 0)
                return k;
        *ret = r;
        r = (Remote){};
        return 0;
}

int remote_here(Remote *ret, Error *reterr) {
        _cleanup_(remote_done)
                Remote r = { .name = strdup("this host"), .prefix = calloc(1, sizeof(char *)) };
        int k;

        if (!r.name || !r.prefix)
                return error_oom(reterr);
        k = own_program(&r.program, reterr);
        if (k < 0)
                return k;
        *ret = r;
        r = (Remote){};
        return 0;
}

int remote_ask_nothing(Remote *r, Error *reterr) {
        _cleanup_(words_freep) char **prefix = NULL;

        r->apart = true;
        if (!r->shell)
                return 0;
        if (add_words(&prefix, (const char *const[]){ r->prefix[0], "-o", "BatchMode=yes", NULL }) <
                    0 ||
            add_words(&prefix, (const char *const *)r->prefix + 1) < 0)
                return error_oom(reterr);
        (void)words_free(r->prefix);
        r->prefix = TAKE(prefix);
        return 0;
}

void remote_done(Remote *r) {
        if (r->directory)
                (void)files_remove_tree(AT_FDCWD, r->directory);
        free(r->name);
        free(r->program);
        free(r->directory);
        (void)words_free(r->prefix);
        *r = (Remote){};
}

/* -- one command -- */

static int make_argv(const Remote *r, const char *const args[], char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **argv = NULL;
        const char *program[] = { r->program, NULL };
        const char *const *parts[] = { program, args };

        if (add_words(&argv, (const char *const *)r->prefix) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                for (const char *const *a = parts[i]; *a; a++) {
                        _cleanup_free_ char *quoted = r->shell ? word_quote(*a) : strdup(*a);

                        if (!quoted || words_add(&argv, quoted) < 0)
                                return error_oom(reterr);
                }
        *ret = TAKE(argv);
        return 0;
}

static int spawn(char **argv, bool apart, int in, int out, int err, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none;
        int r;

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attr);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        (void)sigemptyset(&none);
        r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attr, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(&attr, (short)(POSIX_SPAWN_SETSIGMASK |
                                                            (apart ? POSIX_SPAWN_SETPGROUP : 0)));
        if (r == 0)
                r = posix_spawnp(ret, argv[0], &actions, &attr, argv, environ);
        (void)posix_spawnattr_destroy(&attr);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}

int remote_start(const Remote *r, const char *const args[], int in, int out, RemoteRun *ret,
                 Error *reterr) {
        _cleanup_close_ int err_r = -EBADF, err_w = -EBADF;
        _cleanup_(words_freep) char **argv = NULL;
        void (*old)(int);
        int err[2], k;
        pid_t pid;

        k = make_argv(r, args, &argv, reterr);
        if (k < 0)
                return k;
        if (pipe2(err, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        err_r = err[0], err_w = err[1];
        if (fcntl(err_r, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        old = signal(SIGINT, SIG_IGN); /* inherited: Ctrl-C is ours to handle */
        k = spawn(argv, r->apart, in, out, err_w, &pid);
        (void)signal(SIGINT, old);
        if (k < 0)
                return error_setf(reterr, k, "cannot run %s: %s", argv[0], strerrordesc_np(-k));
        *ret = (RemoteRun){ .pid = pid, .stderr_fd = TAKE_FD(err_r) };
        return 0;
}

int remote_start_stream(const Remote *r, const char *const args[], RemoteRun *ret, int *ret_fd,
                        Error *reterr) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        int pair[2], k;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        ours = pair[0], theirs = pair[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        k = remote_start(r, args, theirs, theirs, ret, reterr);
        if (k < 0)
                return k;
        *ret_fd = TAKE_FD(ours);
        return 0;
}

bool remote_has_ended(RemoteRun *run) {
        siginfo_t si = {};

        return run->pid <= 0 ||
               (waitid(P_PID, (id_t)run->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                si.si_pid == run->pid);
}

bool remote_wait(RemoteRun *run, unsigned timeout_ms) {
        int fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
        bool ended;

        if (fd >= 0)
                (void)poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, (int)timeout_ms);
        ended = remote_has_ended(run);
        (void)close_fd(fd);
        return ended;
}

/* What it started may still write, without an end. */
#define LAST_WORDS_MAX (1 << 20)

/* The last line that it wrote, without our own name in front. */
static void last_words(int fd, char *ret, size_t size) {
        char text[4096], *line, *end;
        ssize_t n, used = 0, all = 0;

        while (all < LAST_WORDS_MAX &&
               (n = read(fd, text + used, sizeof(text) - 1 - (size_t)used)) > 0) {
                used += n;
                all += n;
                if ((size_t)used == sizeof(text) - 1) {
                        memmove(text, text + used / 2, (size_t)(used - used / 2));
                        used -= used / 2;
                }
        }
        while (used > 0 && (text[used - 1] == '\n' || text[used - 1] == '\r'))
                used--;
        text[used] = '\0';
        end = strrchr(text, '\n');
        line = end ? end + 1 : text;
        if (strncmp(line, "podferry: ", 10) == 0)
                line += 10;
        (void)snprintf(ret, size, "%.299s", line);
}

int remote_finish(RemoteRun *run, unsigned timeout_ms, Error *reterr) {
        char words[300] = "";
        int status = 0, r = 0;

        if (run->pid <= 0)
                return 0;
        if (!remote_wait(run, timeout_ms)) {
                (void)kill(run->pid, SIGTERM);
                if (!remote_wait(run, 2000))
                        (void)kill(run->pid, SIGKILL);
        }
        while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
                ;
        last_words(run->stderr_fd, words, sizeof(words));
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                r = error_setf(reterr, -EIO, "%s (--podferry PATH says where it is over there)",
                               *words ? words : "no such command");
        else if (status != 0)
                r = error_setf(reterr,
                               !WIFEXITED(status)                  ? -EIO
                               : WEXITSTATUS(status) == CTL_NO_POD ? -ENOENT
                               : WEXITSTATUS(status) == CTL_EXISTS ? -EEXIST
                                                                   : -EIO,
                               "%s%d%s%s",
                               WIFSIGNALED(status) ? "ended by signal " : "exit status ",
                               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                               *words ? ": " : "", words);
        run->stderr_fd = close_fd(run->stderr_fd);
        run->pid = 0;
        return r;
}
