/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

/* posix_spawn() has no way to set oom_score_adj, and what the child does not set it inherits from
 * an agent that the kernel must never kill. So: the same clone() as posix_spawn()'s, with a stack
 * of its own, and nothing in the child but system calls. */
typedef struct SpawnPlan {
        const char *const *argv;
        const int *fds;
        int error; /* written by the child, which shares our memory until it executes */
} SpawnPlan;

static const char *const environment[] = { "PATH=/bin", NULL };

static int child_main(void *arg) {
        SpawnPlan *plan = arg;
        sigset_t none;
        int fd;

        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)signal(SIGPIPE, SIG_DFL);
        (void)setsid();
        for (int i = 0; i < 3; i++) {
                fd = plan->fds[i] >= 0 ? plan->fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
                if (fd < 0 || dup2(fd, i) < 0)
                        goto fail;
        }
        fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) < 0)
                goto fail;
        (void)execve(plan->argv[0], (char *const *)(uintptr_t)plan->argv,
                     (char *const *)(uintptr_t)environment);
fail:
        plan->error = errno;
        _exit(127);
}

int spawn(const char *const argv[], const int fds[3], pid_t *ret, Error *reterr) {
        static _Alignas(16) char stack[64 * 1024]; /* CLONE_VFORK: never two at once */
        SpawnPlan plan = { .argv = argv, .fds = fds };
        sigset_t all, before;
        pid_t pid;

        /* No handler of ours may run in a child that shares our memory. */
        (void)sigfillset(&all);
        (void)sigprocmask(SIG_BLOCK, &all, &before);
        pid = clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &plan);
        if (pid < 0)
                plan.error = errno;
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        if (pid < 0)
                return error_setf(reterr, -plan.error, "cannot start %s: %s", argv[0],
                                  strerror(plan.error));
        if (plan.error) {
                (void)waitpid(pid, NULL, 0);
                return error_setf(reterr, -plan.error, "cannot start %s: %s", argv[0],
                                  strerror(plan.error));
        }
        *ret = pid;
        return 0;
}
