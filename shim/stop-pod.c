/* SPDX-License-Identifier: Apache-2.0 */
/* Pod.Stop: asks every container to end, insists after a while, waits for all of them, and powers
 * the machine off. */
#include <signal.h>
#include <time.h>

#include "lib/log.h"
#include "shim/shim.h"

#define POWER_OFF_MS 10000U

typedef struct StopCall {
        Shim *shim;
        unsigned waiting;
        bool started; /* all were asked: the last one to end completes it */
        sd_event_source *deadline;
        OpDone done;
        void *job;
} StopCall;

static void on_powered_off(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_free_ StopCall *c = userdata;

        c->done(c->job, r, NULL, err);
}

/* 1: on_powered_off() comes. */
static int power_off(StopCall *c, Error *reterr) {
        Vm *vm = c->shim->vm;

        c->deadline = sd_event_source_disable_unref(c->deadline);
        /* Meanwhile it may have ended by itself, or a migration begun. */
        return vm && vm_state(vm) == VM_RUNNING
                       ? vm_stop(vm, POWER_OFF_MS, on_powered_off, c, reterr)
                       : 0;
}

static void finish(StopCall *c) {
        Error e = ERROR_INIT;
        int r = power_off(c, &e);

        if (r <= 0)
                on_powered_off(c, r, NULL, &e);
}

static void on_one(void *userdata, int r, const void *result, const Error *err) {
        StopCall *c = userdata;

        if (r < 0)
                log_warning("a container could not be stopped: %s", error_text(err, r));
        if (--c->waiting == 0 && c->started)
                finish(c);
}

static int ask(void *userdata, Container *container) {
        StopCall *c = userdata;
        Error err = ERROR_INIT;
        int r;

        if (container_state(container) != CONTAINER_RUNNING)
                return 0;
        r = container_stop(container, SIGTERM, NULL, on_one, c, &err);
        if (r == 1)
                c->waiting++;
        else if (r < 0)
                log_warning("container %s: %s", container_id(container), error_text(&err, r));
        return 0;
}

static void on_killed(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0 && r != -ENOENT)
                log_warning("a container could not be killed: %s", error_text(err, r));
}

static int insist_one(void *userdata, Container *container) {
        if (container_state(container) == CONTAINER_RUNNING)
                (void)container_kill(container, "", SIGKILL, true, on_killed, NULL, NULL);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        StopCall *c = userdata;

        if (c->shim->pod)
                (void)pod_each_container(c->shim->pod, insist_one, NULL);
        return 0;
}

int shim_stop_pod(Shim *s, uint32_t timeout_ms, OpDone done, void *job, Error *reterr) {
        StopCall *c;
        int r;

        if (!s->pod)
                return 0;
        if (controller_is_frozen(pod_controller(s->pod)))
                return error_setf(reterr, -EBADFD, "Stop: the pod is being migrated");
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (StopCall){ .shim = s, .done = done, .job = job };
        r = sd_event_add_time_relative(s->event, &c->deadline, CLOCK_MONOTONIC,
                                       timeout_ms * 1000ULL, 0, on_deadline, c);
        if (r < 0) {
                free(c);
                return error_setf(reterr, r, "Stop: no timer");
        }
        (void)pod_each_container(s->pod, ask, c);
        c->started = true;
        r = c->waiting > 0 ? 1 : power_off(c, reterr);
        if (r <= 0)
                free(c);
        return r;
}
