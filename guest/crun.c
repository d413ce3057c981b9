/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/crun.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "guest/files.h"
#include "guest/spawn.h"

typedef struct CrunJob {
        CrunRunner *runner;
        Child child;
        bool brings_pid;
        CrunDone done;
        void *userdata;
        char verb[16];
        char log[64];
} CrunJob;

void crun_init(CrunRunner *c, Reaper *r) {
        *c = (CrunRunner){ .reaper = r };
}

/* What crun wrote as its reason: the last lines of the log, as one. */
static void read_reason(const char *path, char *ret, size_t size) {
        size_t n;

        if (file_read_line(path, ret, size, NULL) < 0)
                ret[0] = '\0';
        n = strlen(ret);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)ret[i] < ' ')
                        ret[i] = ' ';
}

static void job_exited(void *userdata, int wait_status, uint64_t at_ns) {
        CrunJob *job = userdata;
        Error err = ERROR_INIT;
        char reason[400];
        int code = 0;

        if (wait_status != 0) {
                read_reason(job->log, reason, sizeof(reason));
                if (reason[0] != '\0')
                        code = error_setf(&err, -EIO, "crun %s: %s", job->verb, reason);
                else
                        code = error_setf(&err, -EIO, "crun %s ended with status %u", job->verb,
                                          exit_code(wait_status));
        }
        (void)unlink(job->log);
        job->done(job->userdata, code, &err);
        if (job->brings_pid)
                reaper_expect_end(job->runner->reaper);
        free(job);
}

int crun_run(CrunRunner *c, const char *const args[], const int *fds, bool brings_pid,
             CrunDone done, void *userdata, Error *reterr) {
        static const int no_fds[3] = { -1, -1, -1 };
        const char *argv[CRUN_ARGS_MAX + 6] = { CRUN_PATH, "--root", "/run/crun", "--log", NULL };
        size_t n = 5;
        CrunJob *job;
        pid_t pid;
        int r;

        job = malloc(sizeof(*job));
        if (!job)
                return error_oom(reterr);
        *job = (CrunJob){
                .runner = c, .brings_pid = brings_pid, .done = done, .userdata = userdata
        };
        (void)snprintf(job->verb, sizeof(job->verb), "%s", args[0]);
        (void)snprintf(job->log, sizeof(job->log), "/run/podferry/crun.%u", c->serial++);
        argv[4] = job->log;
        for (size_t i = 0; args[i] && i < CRUN_ARGS_MAX; i++)
                argv[n++] = args[i];
        argv[n] = NULL;
        r = spawn(argv, fds ?: no_fds, &pid, reterr);
        if (r < 0) {
                free(job);
                return r;
        }
        job->child.exited = job_exited;
        job->child.userdata = job;
        if (brings_pid)
                reaper_expect(c->reaper);
        reaper_add(c->reaper, &job->child, pid);
        return 0;
}
