/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "guest/agent.h"
#include "guest/handlers.h"
#include "guest/spawn.h"

/* Runs a program of the guest, for debugging: its exit status and the start of its output. The end
 * of the program counts; what its children still write is not waited for. */

enum {
        OUTPUT_MAX = 256 * 1024,
        RUNNING_MAX = 8,
};

typedef struct RunJob {
        Call *call;
        Child child;
        Watch watch;
        int fd;
        Buf output;
} RunJob;

static unsigned running;

/* Beyond the bound it is read on, and thrown away: the program must not block. */
static void read_output(void *userdata, uint32_t events) {
        RunJob *job = userdata;
        char chunk[8192];
        ssize_t n;

        for (int i = 0; i < 16 && (n = read(job->fd, chunk, sizeof(chunk))) != 0; i++) {
                if (n < 0)
                        return; /* nothing there now */
                n = MIN_OF(n, (ssize_t)(OUTPUT_MAX - job->output.len));
                if (n > 0 && buf_append(&job->output, chunk, (size_t)n) < 0)
                        return;
        }
        if (n == 0)
                (void)watch_set(&job->watch, 0);
}

static void run_exited(void *userdata, int wait_status, uint64_t at_ns) {
        RunReply body = PODFERRY__GUEST__V1__RUN_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;
        RunJob *job = userdata;

        read_output(job, 0);
        watch_done(&job->watch);
        body.code = exit_code(wait_status);
        body.output.data = job->output.data;
        body.output.len = job->output.len;
        reply.body_case = FROM_GUEST(RUN);
        reply.run = &body;
        call_finish(job->call, 0, NULL, &reply);
        buf_done(&job->output);
        job->fd = close_fd(job->fd);
        free(job);
        running--;
}

static int start(Agent *a, RunJob *job, const RunRequest *q, Error *reterr) {
        const char *argv[CHECK_ARGS_MAX + 1];
        _cleanup_close_ int far = -EBADF;
        int ends[2], r;
        pid_t pid;

        for (size_t i = 0; i < q->n_args; i++)
                argv[i] = q->args[i];
        argv[q->n_args] = NULL;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "cannot make a pipe: %m");
        job->fd = ends[0];
        far = ends[1];
        if (fcntl(far, F_SETFL, 0) < 0)
                return error_setf(reterr, -errno, "cannot make a pipe: %m");
        r = watch_init(&job->watch, &a->loop, job->fd, EPOLLIN, read_output, job);
        if (r < 0)
                return error_setf(reterr, r, "cannot watch a program: %s", strerror(-r));
        r = spawn(argv, (int[]){ -1, far, far }, &pid, reterr);
        if (r < 0)
                return r;
        reaper_add(&a->reaper, &job->child, pid);
        return 0;
}

int handle_run(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const RunRequest *q = m->run;
        RunJob *job;
        int r;

        if (q->n_args == 0 || q->n_args > CHECK_ARGS_MAX)
                return error_setf(reterr, -EINVAL, "%zu arguments, 1 to %d allowed", q->n_args,
                                  CHECK_ARGS_MAX);
        r = check_path("program", q->args[0], reterr);
        if (r < 0)
                return r;
        if (running >= RUNNING_MAX)
                return error_setf(reterr, -EBUSY, "%u programs run already", running);
        job = malloc(sizeof(*job));
        if (!job)
                return error_oom(reterr);
        *job = (RunJob){ .call = call,
                         .fd = -EBADF,
                         .child = { .exited = run_exited, .userdata = job } };
        r = start(a, job, q, reterr);
        if (r < 0) {
                watch_done(&job->watch);
                job->fd = close_fd(job->fd);
                free(job);
                return r;
        }
        running++;
        return 1;
}
