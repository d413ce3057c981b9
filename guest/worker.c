/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/worker.h"

#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/log.h"

enum { STACK_SIZE = 256 * 1024 };

static void queue_init(WorkerQueue *q) {
        q->first = NULL;
        q->last = &q->first;
}

static void queue_put(WorkerQueue *q, WorkerJob *job) {
        job->next = NULL;
        *q->last = job;
        q->last = &job->next;
}

static WorkerJob *queue_take(WorkerQueue *q) {
        WorkerJob *job = q->first;

        if (job) {
                q->first = job->next;
                if (!q->first)
                        q->last = &q->first;
        }
        return job;
}

static void *work(void *arg) {
        Worker *w = arg;
        uint64_t one = 1;

        /* A working directory of its own: see guest/mount.c. */
        if (unshare(CLONE_FS) < 0)
                log_err("worker: cannot have a working directory of its own: %m");
        (void)pthread_mutex_lock(&w->lock);
        for (;;) {
                WorkerJob *job = queue_take(&w->waiting);

                if (!job) {
                        (void)pthread_cond_wait(&w->more, &w->lock);
                        continue;
                }
                (void)pthread_mutex_unlock(&w->lock);
                job->code = job->run(job, &job->err);
                (void)pthread_mutex_lock(&w->lock);
                queue_put(&w->finished, job);
                if (write(w->event, &one, sizeof(one)) < 0)
                        log_err("worker: cannot tell the loop: %m");
        }
        return NULL;
}

static void finish(void *userdata, uint32_t events) {
        Worker *w = userdata;
        WorkerJob *job;
        uint64_t n;

        if (read(w->event, &n, sizeof(n)) < 0)
                return;
        do {
                (void)pthread_mutex_lock(&w->lock);
                job = queue_take(&w->finished);
                (void)pthread_mutex_unlock(&w->lock);
                if (job)
                        job->done(job);
        } while (job);
}

int worker_init(Worker *w, Loop *l, Error *reterr) {
        pthread_attr_t attr;
        int r;

        *w = (Worker){ .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };
        queue_init(&w->waiting);
        queue_init(&w->finished);
        w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->event < 0)
                return error_setf(reterr, -errno, "cannot make an eventfd: %m");
        r = watch_init(&w->watch, l, w->event, EPOLLIN, finish, w);
        if (r < 0)
                return error_setf(reterr, r, "cannot watch the worker: %s", strerror(-r));
        if (pthread_attr_init(&attr) != 0)
                return error_oom(reterr);
        r = pthread_attr_setstacksize(&attr, STACK_SIZE);
        if (r == 0)
                r = pthread_create(&w->thread, &attr, work, w);
        (void)pthread_attr_destroy(&attr);
        return r > 0 ? error_setf(reterr, -r, "cannot start a thread: %s", strerror(r)) : 0;
}

void worker_submit(Worker *w, WorkerJob *job) {
        (void)pthread_mutex_lock(&w->lock);
        queue_put(&w->waiting, job);
        (void)pthread_cond_signal(&w->more);
        (void)pthread_mutex_unlock(&w->lock);
}
