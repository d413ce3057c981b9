/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: opened by whichever lane needs it first, reopened by a timer of the loop when it
 * is lost, and the thread of libvirt's event loop, one per process. */
#include <assert.h>

#include "hostdev/libvirt/virt-internal.h"
#include "lib/log.h"

#define RETRY_FIRST_USEC (20U * 1000U)
#define RETRY_MAX_USEC   (2U * 1000U * 1000U)

static struct {
        pthread_mutex_t lock;
        unsigned users;
        pthread_t thread;
        int wake; /* libvirt's timer id */
        bool stop;
        const Libvirt *lv;
} events = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void on_wake(int timer, void *userdata) {
}

static void *events_run(void *argument) {
        const Libvirt *lv = argument;

        while (!__atomic_load_n(&events.stop, __ATOMIC_ACQUIRE))
                if (lv->virEventRunDefaultImpl() < 0)
                        log_warning("libvirt's event loop reported a failure");
        return NULL;
}

int event_thread_get(Error *reterr) {
        int r = 0;

        (void)pthread_mutex_lock(&events.lock);
        if (events.users == 0) {
                r = libvirt_load(&events.lv, reterr);
                if (r >= 0)
                        events.wake = events.lv->virEventAddTimeout(-1, on_wake, NULL, NULL);
                if (r >= 0 && events.wake < 0)
                        r = error_setf(reterr, -EIO, "libvirt's event loop takes no timer");
                if (r >= 0) {
                        events.stop = false;
                        r = thread_start(&events.thread, "libvirt-event", events_run,
                                         (void *)(uintptr_t)events.lv);
                        if (r < 0) {
                                (void)events.lv->virEventRemoveTimeout(events.wake);
                                r = error_setf(reterr, r, "starting libvirt's event thread failed");
                        }
                }
        }
        if (r >= 0)
                events.users++;
        (void)pthread_mutex_unlock(&events.lock);
        return r;
}

void event_thread_put(void) {
        (void)pthread_mutex_lock(&events.lock);
        assert(events.users > 0);
        if (--events.users == 0) {
                __atomic_store_n(&events.stop, true, __ATOMIC_RELEASE);
                events.lv->virEventUpdateTimeout(events.wake, 0);
                (void)pthread_join(events.thread, NULL);
                (void)events.lv->virEventRemoveTimeout(events.wake);
        }
        (void)pthread_mutex_unlock(&events.lock);
}

/* Nothing is released here: libvirt and other lanes are still using the connection. */
static void mark_dead(Link *l, virConnectPtr conn) {
        Virt *v = l->v;
        bool ours;

        (void)pthread_mutex_lock(&v->lock);
        ours = l->conn == conn;
        if (ours) {
                assert(!l->dead);
                l->dead = TAKE(l->conn);
        }
        (void)pthread_mutex_unlock(&v->lock);
        if (ours && l == &v->links[LANE_QUERY])
                events_post_connection(v, VIRT_EVENT_LOST);
}

/* Event thread. */
static void on_close(virConnectPtr conn, int reason, void *userdata) {
        mark_dead(userdata, conn);
}

bool connection_is_dead(Virt *v, LaneId lane, virConnectPtr conn) {
        bool dead = v->lv->virConnectIsAlive(conn) == 0;

        v->lv->virResetLastError();
        if (dead)
                mark_dead(&v->links[lane], conn);
        return dead;
}

static void release(Link *l, virConnectPtr conn) {
        const Libvirt *lv = l->v->lv;

        if (!conn)
                return;
        (void)lv->virConnectUnregisterCloseCallback(conn, on_close);
        if (l == &l->v->links[LANE_QUERY])
                events_deregister(l->v, conn);
        (void)lv->virConnectClose(conn);
        lv->virResetLastError();
}

static int open_locked(Link *l, Error *reterr) {
        const Libvirt *lv = l->v->lv;
        virConnectPtr conn;
        int r = 0;

        release(l, TAKE(l->dead));
        conn = lv->virConnectOpen(l->v->uri);
        if (!conn) {
                (void)libvirt_error(lv, reterr);
                return error_prefix(reterr, -EBUSY, "libvirt at %s cannot be reached", l->v->uri);
        }
        if (l == &l->v->links[LANE_QUERY])
                r = events_register(l->v, conn, reterr);
        if (r < 0) {
                (void)lv->virConnectClose(conn);
                return r;
        }
        /* Drivers inside the process (test:///) cannot be lost and have no such callback. */
        if (lv->virConnectRegisterCloseCallback(conn, on_close, l, NULL) < 0)
                lv->virResetLastError();
        l->conn = conn;
        return 0;
}

/* libvirt itself, and the thread of its event loop: 10 ms, once in the life of a process, and on a
 * lane so that the loop goes on meanwhile. */
static int prepare_locked(Virt *v, Error *reterr) {
        int r;

        if (v->event_thread)
                return 0;
        r = libvirt_load(&v->lv, reterr);
        if (r < 0)
                return r;
        r = event_thread_get(reterr);
        if (r < 0)
                return r;
        v->event_thread = true;
        return 0;
}

/* A lane comes here to do something, and events have to be registered before it does. Whichever
 * comes first opens, the others wait for it; on_close() takes the same lock on the event thread,
 * which delays other callbacks and no more: opening a connection does not need that thread. */
int connection_get(Virt *v, LaneId lane, virConnectPtr *ret, Error *reterr) {
        bool back = false;
        int r;

        (void)pthread_mutex_lock(&v->lock);
        r = prepare_locked(v, reterr);
        if (r >= 0 && !v->links[LANE_QUERY].conn) {
                r = open_locked(&v->links[LANE_QUERY], reterr);
                if (r >= 0) {
                        back = v->was_open;
                        v->was_open = true;
                }
        }
        if (r >= 0 && !v->links[lane].conn)
                r = open_locked(&v->links[lane], reterr);
        if (r >= 0) {
                (void)v->lv->virConnectRef(v->links[lane].conn);
                *ret = v->links[lane].conn;
        }
        (void)pthread_mutex_unlock(&v->lock);
        if (back)
                events_post_connection(v, VIRT_EVENT_BACK);
        return r;
}

static int run_reconnect(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        return 0; /* having a connection is all */
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static void schedule_retry(Virt *v) {
        int r;

        v->retry_usec = v->retry_usec == 0 ? RETRY_FIRST_USEC
                                           : MIN_OF(v->retry_usec * 2, (uint64_t)RETRY_MAX_USEC);
        v->retry = sd_event_source_disable_unref(v->retry);
        r = sd_event_add_time_relative(v->loop, &v->retry, CLOCK_MONOTONIC, v->retry_usec, 1000,
                                       on_retry, v);
        if (r < 0)
                log_err("no timer for the next try to reach libvirt: %s", error_text(NULL, r));
}

static void on_reconnect_done(void *userdata, int r, const void *result, const Error *err) {
        Virt *v = userdata;

        v->reconnecting = false;
        if (r < 0)
                schedule_retry(v);
        else
                v->retry_usec = 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Virt *v = userdata;
        Job *job;
        int r;

        if (v->reconnecting)
                return 0;
        r = job_new(v, "reconnect", run_reconnect, on_reconnect_done, v, &job, NULL);
        if (r >= 0) {
                job->internal = true;
                job->of_host = true;
                r = job_submit(job, LANE_QUERY, NULL);
        }
        if (r < 0)
                schedule_retry(v);
        else
                v->reconnecting = true;
        return 0;
}

void connection_lost(Virt *v) {
        v->retry_usec = 0;
        schedule_retry(v);
}

/* The lanes have ended, so nobody else holds a reference; callbacks may still come. */
void connection_done(Virt *v) {
        v->retry = sd_event_source_disable_unref(v->retry);
        for (size_t i = 0; i < ELEMENTSOF(v->links); i++) {
                virConnectPtr conn, dead;

                (void)pthread_mutex_lock(&v->lock);
                conn = TAKE(v->links[i].conn);
                dead = TAKE(v->links[i].dead);
                (void)pthread_mutex_unlock(&v->lock);
                release(&v->links[i], dead);
                release(&v->links[i], conn);
        }
}
