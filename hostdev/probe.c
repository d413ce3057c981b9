/* SPDX-License-Identifier: Apache-2.0 */
/* One guest of the pod's own kernel under kvm, its serial console on our pipe. It is taken when the
 * kernel says that it can find no root file system: by then it has gone through its whole start,
 * timers and interrupts included. A machine where kvm is only there by name (nested, and broken)
 * shows nothing at all, so silence until the deadline means no. */
#include "hostdev/probe.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "hostdev/qemu-process.h"
#include "lib/log.h"

#define KVM           "/dev/kvm"
#define QEMU          "qemu-system-x86_64"
#define LIVES         "Unable to mount root fs"
#define DEADLINE_USEC (8U * 1000U * 1000U)
#define KEY_SIZE      768U

typedef struct Probe {
        sd_event *loop;
        char *file, *key;
        pid_t pid; /* 0 when there is none */
        int output;
        sd_event_source *output_source, *exit_source, *timer;
        char tail[256]; /* of what the guest has printed */
        size_t tail_length;
        bool lives;
        OpDone done;
        void *userdata;
} Probe;

static Probe *probe_free(Probe *p) {
        if (!p)
                return NULL;
        sd_event_source_disable_unref(p->output_source);
        sd_event_source_disable_unref(p->exit_source);
        sd_event_source_disable_unref(p->timer);
        sd_event_unref(p->loop);
        (void)close_fd(p->output);
        free(p->file);
        free(p->key);
        free(p);
        return NULL;
}
DEFINE_CLEANUP(Probe *, probe_free);

/* What QEMU is found: full path, since its size and time are part of the key. */
static int find_qemu(const char *qemu, char *ret, size_t size) {
        _cleanup_free_ char *path = strdup(getenv("PATH") ?: "/usr/sbin:/usr/bin:/sbin:/bin");
        char *rest = path;

        if (strchr(qemu, '/'))
                return snprintf(ret, size, "%s", qemu) < (int)size ? 0 : -ENAMETOOLONG;
        if (!path)
                return -ENOMEM;
        for (char *dir; (dir = strsep(&rest, ":"));)
                if (snprintf(ret, size, "%s/%s", dir, qemu) < (int)size && access(ret, X_OK) == 0)
                        return 0;
        return -ENOENT;
}

/* Everything that the answer depends on, in one line. */
static int make_key(const char *qemu, const char *kernel, char ret[static KEY_SIZE]) {
        struct stat q, k;
        struct utsname u;
        int n;

        if (stat(qemu, &q) < 0 || stat(kernel, &k) < 0 || uname(&u) < 0)
                return -errno;
        n = snprintf(ret, KEY_SIZE, "%s %s %lld.%lld.%lld %lld.%lld", u.release, qemu,
                     (long long)q.st_size, (long long)q.st_mtim.tv_sec, (long long)q.st_ino,
                     (long long)k.st_size, (long long)k.st_mtim.tv_sec);
        return n < (int)KEY_SIZE ? 0 : -ENAMETOOLONG;
}

/* The file is "<type> <key>\n". Anything else in it is as good as no file. */
static bool read_cache(const char *file, const char *key, DomainType *ret) {
        char text[KEY_SIZE + 16];
        char *end;
        int n, type;

        n = file_read(file, text, sizeof(text));
        if (n <= 0 || text[n - 1] != '\n')
                return false;
        text[n - 1] = '\0';
        end = strchr(text, ' ');
        if (!end || strcmp(end + 1, key) != 0)
                return false;
        *end = '\0';
        type = domain_type_from_name(text);
        if (type < 0)
                return false;
        *ret = (DomainType)type;
        return true;
}

/* Two shims may probe at once; each writes a file of its own and renames it. Not being able to keep
 * the answer costs the next shim a probe, no more. */
static void write_cache(const char *file, const char *key, DomainType type) {
        _cleanup_free_ char *temporary = NULL;
        int fd, r = 0;

        if (asprintf(&temporary, "%s.XXXXXX", file) < 0) {
                temporary = NULL;
                return;
        }
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0) {
                log_warning("%s: %m", temporary);
                return;
        }
        if (dprintf(fd, "%s %s\n", domain_type_name(type), key) < 0)
                r = -EIO;
        if (close(fd) < 0)
                r = -EIO;
        if (r < 0 || rename(temporary, file) < 0) {
                log_warning("%s cannot be written", file);
                (void)unlink(temporary);
        }
}

/* QEMU has ended, or never began. */
static void finish(Probe *p) {
        DomainType type = p->lives ? DOMAIN_KVM : DOMAIN_QEMU;

        log_info("domain type: %s (a guest %s under kvm)", domain_type_name(type),
                 p->lives ? "lives" : "does not live");
        write_cache(p->file, p->key, type);
        p->done(p->userdata, 0, &type, NULL);
        (void)probe_free(p);
}

/* sd-event has not reaped it, so the pid is still ours. */
static void end_qemu(Probe *p) {
        p->output_source = sd_event_source_disable_unref(p->output_source);
        p->timer = sd_event_source_disable_unref(p->timer);
        (void)kill(p->pid, SIGKILL);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        end_qemu(userdata);
        return 0;
}

/* Looks for the words in what has come, however it was cut. True: there may be more. */
static bool read_output(Probe *p) {
        size_t keep = sizeof(LIVES) - 2;
        ssize_t n;

        if (p->tail_length > keep) {
                memmove(p->tail, p->tail + p->tail_length - keep, keep);
                p->tail_length = keep;
        }
        n = read(p->output, p->tail + p->tail_length, sizeof(p->tail) - p->tail_length);
        if (n < 0 && errno == EINTR)
                return true;
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n <= 0) {
                p->output_source = sd_event_source_disable_unref(p->output_source);
                return false;
        }
        p->tail_length += (size_t)n;
        p->lives = memmem(p->tail, p->tail_length, LIVES, strlen(LIVES)) != NULL;
        if (p->lives)
                end_qemu(p);
        return !p->lives;
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        (void)read_output(userdata);
        return 0;
}

/* Its end may be seen before its last words. */
static int on_exit_of_qemu(sd_event_source *source, const siginfo_t *info, void *userdata) {
        Probe *p = userdata;

        while (!p->lives && read_output(p))
                ;
        finish(p);
        return 0;
}

static int spawn_qemu(Probe *p, const char *qemu, const char *kernel, int output) {
        char *const argv[] = {
                (char *)(uintptr_t)qemu,
                (char *)(uintptr_t) "-nodefaults",
                (char *)(uintptr_t) "-no-user-config",
                (char *)(uintptr_t) "-display",
                (char *)(uintptr_t) "none",
                (char *)(uintptr_t) "-machine",
                (char *)(uintptr_t) "q35,accel=kvm",
                (char *)(uintptr_t) "-cpu",
                (char *)(uintptr_t) "host",
                (char *)(uintptr_t) "-m",
                (char *)(uintptr_t) "128",
                (char *)(uintptr_t) "-no-reboot",
                (char *)(uintptr_t) "-serial",
                (char *)(uintptr_t) "stdio",
                (char *)(uintptr_t) "-kernel",
                (char *)(uintptr_t)kernel,
                (char *)(uintptr_t) "-append",
                (char *)(uintptr_t) "console=ttyS0 panic=-1 cryptomgr.notests lsm=",
                NULL,
        };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none;
        int r;

        (void)sigemptyset(&none);
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attr);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        r = posix_spawnattr_setsigmask(&attr, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY,
                                                     0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY,
                                                     0);
        if (r == 0)
                r = posix_spawn(&p->pid, qemu, &actions, &attr, argv, environ);
        (void)posix_spawnattr_destroy(&attr);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static int start(Probe *p, const char *qemu, const char *kernel) {
        _cleanup_close_ int output = -EBADF;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        p->output = fds[0];
        output = fds[1];
        if (fcntl(p->output, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        r = sd_event_add_io(p->loop, &p->output_source, p->output, EPOLLIN, on_output, p);
        if (r >= 0)
                r = sd_event_add_time_relative(p->loop, &p->timer, CLOCK_MONOTONIC, DEADLINE_USEC,
                                               0, on_deadline, p);
        if (r < 0)
                return r;
        r = spawn_qemu(p, qemu, kernel, output);
        if (r < 0)
                return r;
        r = sd_event_add_child(p->loop, &p->exit_source, p->pid, WEXITED, on_exit_of_qemu, p);
        if (r < 0) {
                (void)kill(p->pid, SIGKILL);
                (void)waitpid(p->pid, NULL, 0);
        }
        return r;
}

int probe_domain_type(sd_event *loop, const ProbeConfig *config, DomainType *ret, OpDone done,
                      void *userdata, Error *reterr) {
        _cleanup_(probe_freep) Probe *p = NULL;
        char qemu[512], key[KEY_SIZE];
        int r;

        *ret = DOMAIN_QEMU;
        if (access(KVM, R_OK | W_OK) < 0)
                return 0;
        r = find_qemu(config->qemu ?: QEMU, qemu, sizeof(qemu));
        if (r < 0)
                return error_setf(reterr, r, "%s is not installed", config->qemu ?: QEMU);
        r = make_key(qemu, config->kernel, key);
        if (r < 0)
                return error_setf(reterr, r, "%s or %s: %s", qemu, config->kernel,
                                  error_text(NULL, r));
        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(reterr);
        p->output = -EBADF;
        if (asprintf(&p->file, "%s/domain-type", config->state_dir) < 0) {
                p->file = NULL;
                return error_oom(reterr);
        }
        if (read_cache(p->file, key, ret))
                return 0;
        p->key = strdup(key);
        if (!p->key)
                return error_oom(reterr);
        p->loop = sd_event_ref(loop);
        p->done = done;
        p->userdata = userdata;
        r = start(p, qemu, config->kernel);
        if (r < 0)
                return error_setf(reterr, r, "trying a guest under kvm: %s", error_text(NULL, r));
        TAKE(p); /* its own from here on: finish() frees it */
        return 1;
}
