/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/power.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/timerfd.h>

#include "guest/agent.h"
#include "guest/handlers.h"
#include "guest/mount.h"
#include "lib/log.h"

enum {
        KILL_SECONDS = 5,
        UNMOUNT_SECONDS = 30,
        ANSWER_SECONDS = 2,
};

_Noreturn void power_halt(const char *why) {
        if (why)
                log_err("power off: %s", why);
        (void)reboot(RB_POWER_OFF);
        for (;;) /* PID 1 must not return */
                (void)pause();
}

static void set_timer(Power *p, int seconds) {
        struct itimerspec t = { .it_value.tv_sec = seconds };

        (void)timerfd_settime(p->timer, 0, &t, NULL);
}

static void answer(Power *p, int code, const Error *err) {
        p->step = POWER_ANSWERING;
        set_timer(p, ANSWER_SECONDS);
        call_finish(TAKE(p->call), code, err, NULL);
}

static int unmount_run(WorkerJob *job, Error *reterr) {
        int r = mount_undo_all(reterr);

        sync();
        return r;
}

/* What could not be unmounted is written nevertheless: that is no reason to go on running. */
static void unmount_done(WorkerJob *job) {
        Power *p = container_of(job, Power, unmount);

        if (p->step == POWER_UNMOUNTING)
                answer(p, 0, NULL);
}

static void unmount(Power *p) {
        p->step = POWER_UNMOUNTING;
        set_timer(p, UNMOUNT_SECONDS);
        p->unmount = (WorkerJob){ .run = unmount_run, .done = unmount_done };
        worker_submit(&p->agent->worker, &p->unmount);
}

/* Also what was being made when it began: it is killed as soon as it is there. */
static bool kill_all(Power *p) {
        bool ended = true;

        for (Container *c = p->agent->containers.first; c; c = c->next) {
                Error err = ERROR_INIT;
                int r;

                if (c->verbs == 0 && container_has_ended(c))
                        continue;
                ended = false;
                r = c->verbs > 0 ? 0 : container_kill_all(c, SIGKILL, &err);
                if (r < 0 && r != -ENOENT)
                        log_warning("power off: container %s: %s", c->id, error_text(&err, r));
        }
        return ended;
}

static void late(void *userdata, uint32_t events) {
        Power *p = userdata;
        uint64_t n;

        if (read(p->timer, &n, sizeof(n)) < 0)
                return;
        switch (p->step) {
        case POWER_ON:
                return;
        case POWER_KILLING:
                log_warning("power off: processes do not end");
                unmount(p);
                return;
        case POWER_UNMOUNTING:
                log_warning("power off: disks do not answer");
                answer(p, 0, NULL);
                return;
        case POWER_ANSWERING:
                power_halt(NULL);
        }
}

void power_continue(Power *p) {
        if (p->step == POWER_KILLING && kill_all(p))
                unmount(p);
        else if (p->step == POWER_ANSWERING && rpc_is_drained(&p->agent->rpc))
                power_halt(NULL);
}

int power_check(const Power *p, Error *reterr) {
        return p->step == POWER_ON ? 0 : error_setf(reterr, -EBADFD, "the guest is powering off");
}

int handle_power_off(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        Power *p = &a->power;
        int r = power_check(p, reterr);

        if (r < 0)
                return r;
        log_info("power off");
        p->call = call;
        p->step = POWER_KILLING;
        set_timer(p, KILL_SECONDS);
        return 1; /* goes on after this event */
}

int power_init(Power *p, Agent *a, Error *reterr) {
        int r;

        *p = (Power){ .agent = a, .timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) };
        if (p->timer < 0)
                return error_setf(reterr, -errno, "cannot make a timer: %m");
        r = watch_init(&p->watch, &a->loop, p->timer, EPOLLIN, late, p);
        return r < 0 ? error_setf(reterr, r, "cannot watch a timer: %s", strerror(-r)) : 0;
}
