/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/lane.h"

#include <limits.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "lib/log.h"

/* libvirt's client needs far less; the rest of the address space costs nothing. */
#define STACK_SIZE (256U << 10)

static void list_put(NoteList *l, Note *note) {
        note->next = NULL;
        if (l->last)
                l->last->next = note;
        else
                l->first = note;
        l->last = note;
        l->n++;
}

static Note *list_take(NoteList *l) {
        Note *note = l->first;

        if (!note)
                return NULL;
        l->first = note->next;
        if (!l->first)
                l->last = NULL;
        l->n--;
        note->next = NULL;
        return note;
}

static Note *mailbox_take(Mailbox *m) {
        Note *note;

        (void)pthread_mutex_lock(&m->lock);
        note = list_take(&m->list);
        (void)pthread_mutex_unlock(&m->lock);
        return note;
}

/* Delivers what was there at the start; what comes meanwhile raises the eventfd again, so the
 * loop's other sources get their turn. */
static int on_mail(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Mailbox *m = userdata;
        uint64_t count;
        unsigned n;

        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        (void)pthread_mutex_lock(&m->lock);
        n = m->list.n;
        (void)pthread_mutex_unlock(&m->lock);
        while (n-- > 0) {
                Note *note = mailbox_take(m);

                if (!note)
                        break;
                note->deliver(note);
        }
        return 0;
}

int mailbox_init(Mailbox *m, sd_event *loop, Error *reterr) {
        int r;

        *m = (Mailbox){ .lock = PTHREAD_MUTEX_INITIALIZER };
        m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (m->fd < 0)
                return error_setf(reterr, -errno, "eventfd: %m");
        r = sd_event_add_io(loop, &m->source, m->fd, EPOLLIN, on_mail, m);
        if (r < 0) {
                m->fd = close_fd(m->fd);
                return error_setf(reterr, r, "adding the mailbox to the loop failed");
        }
        (void)sd_event_source_set_description(m->source, "libvirt-mailbox");
        return 0;
}

void mailbox_done(Mailbox *m) {
        Note *note;

        while ((note = list_take(&m->list)))
                note->drop(note);
        m->source = sd_event_source_disable_unref(m->source);
        m->fd = close_fd(m->fd);
        (void)pthread_mutex_destroy(&m->lock);
}

bool mailbox_put_bounded(Mailbox *m, Note *note, unsigned max) {
        const uint64_t one = 1;
        bool fits;

        (void)pthread_mutex_lock(&m->lock);
        fits = m->list.n < max;
        if (fits)
                list_put(&m->list, note);
        (void)pthread_mutex_unlock(&m->lock);
        /* Full at 2^64 - 1, and then it is readable anyway. */
        if (fits && write(m->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_err("waking the loop failed: %m");
        return fits;
}

void mailbox_put(Mailbox *m, Note *note) {
        (void)mailbox_put_bounded(m, note, UINT_MAX);
}

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *argument) {
        sigset_t all, before;
        pthread_attr_t attr;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return -r;
        (void)sigfillset(&all);
        r = pthread_attr_setstacksize(&attr, STACK_SIZE);
        if (r == 0)
                r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r == 0) {
                r = pthread_create(ret, &attr, run, argument);
                (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        (void)pthread_attr_destroy(&attr);
        if (r == 0)
                (void)pthread_setname_np(*ret, name);
        return -r;
}

void lane_init(Lane *l, const char *name, unsigned max) {
        *l = (Lane){
                .name = name,
                .max = max,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .changed = PTHREAD_COND_INITIALIZER,
        };
}

static void *lane_run(void *argument) {
        Lane *l = argument;

        for (;;) {
                Note *note;

                (void)pthread_mutex_lock(&l->lock);
                while (!l->list.first && !l->stop)
                        (void)pthread_cond_wait(&l->changed, &l->lock);
                note = list_take(&l->list);
                (void)pthread_mutex_unlock(&l->lock);
                if (!note)
                        return NULL;
                note->work(note);
        }
}

int lane_put(Lane *l, Note *note, Error *reterr) {
        int r;

        if (!l->started) {
                r = thread_start(&l->thread, l->name, lane_run, l);
                if (r < 0)
                        return error_setf(reterr, r, "starting the thread %s failed", l->name);
                l->started = true;
        }
        (void)pthread_mutex_lock(&l->lock);
        r = l->list.n < l->max ? 0 : -EBUSY;
        if (r == 0) {
                list_put(&l->list, note);
                (void)pthread_cond_signal(&l->changed);
        }
        (void)pthread_mutex_unlock(&l->lock);
        return r < 0 ? error_setf(reterr, r, "%s: %u calls wait already", l->name, l->max) : 0;
}

void lane_done(Lane *l) {
        if (l->started) {
                (void)pthread_mutex_lock(&l->lock);
                l->stop = true;
                (void)pthread_cond_signal(&l->changed);
                (void)pthread_mutex_unlock(&l->lock);
                (void)pthread_join(l->thread, NULL);
        }
        (void)pthread_cond_destroy(&l->changed);
        (void)pthread_mutex_destroy(&l->lock);
        l->started = false;
}
