/* SPDX-License-Identifier: Apache-2.0 */
/* Pod.Stop: asks every container to end, insists after a while, waits for all of them, and powers
 * the machine off. A pod that is being moved away is cancelled first, if it still can be: then the
 * stop waits until the pod is this host's again. */
#include <signal.h>
#include <time.h>

#include "lib/log.h"
#include "shim/dbus/paths.h"
#include "shim/migrate/migrate.h"
#include "shim/shim.h"
#include "shim/volume-move.h"

#define POWER_OFF_MS 10000U

struct StopCall {
        Shim *shim;
        uint32_t timeout_ms;
        unsigned waiting;
        bool held;    /* by a migration: nothing was asked yet */
        bool started; /* all were asked: the last one to end completes it */
        sd_event_source *deadline;
        OpDone done;
        void *job;
        StopCall *next;
};

static void tell(Shim *s) {
        bus_server_changed(s->bus, BUS_ROOT "/pod", BUS_INTERFACE ".Pod", "Stopping");
}

/* It is under way no more. */
static StopCall *stop_call_free(StopCall *c) {
        for (StopCall **p = &c->shim->stops; *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        if (!c->shim->stops)
                tell(c->shim);
        sd_event_source_disable_unref(c->deadline);
        free(c);
        return NULL;
}

static void on_powered_off(void *userdata, int r, const void *result, const Error *err) {
        StopCall *c = userdata;
        OpDone done = c->done;
        void *job = c->job;

        stop_call_free(c);
        done(job, r, NULL, err);
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

/* 1: on_powered_off() comes. */
static int begin(StopCall *c, Error *reterr) {
        int r;

        c->held = false;
        volume_move_cancel(c->shim, "the pod is being stopped");
        r = sd_event_add_time_relative(c->shim->event, &c->deadline, CLOCK_MONOTONIC,
                                       c->timeout_ms * 1000ULL, 0, on_deadline, c);
        if (r < 0)
                return error_setf(reterr, r, "Stop: no timer");
        (void)pod_each_container(c->shim->pod, ask, c);
        c->started = true;
        return c->waiting > 0 ? 1 : power_off(c, reterr);
}

/* -- a pod that is being moved away -- */

/* 0: the pod is this host's, or has ended. 1: it is to be, and this is looked at again with every
 * change of the session. < 0: it is, or will be, the other host's. */
static int call_off(Shim *s, Error *reterr) {
        Migration *g = migrate_controller(s->migrate);
        int r;

        if (!s->pod || (s->vm && vm_state(s->vm) == VM_TERMINATED))
                return 0;
        if (s->given_away)
                return error_setf(reterr, -EBADFD,
                                  "Stop: the pod has moved to another host: podferry stop %s there",
                                  s->pod_id);
        if (!controller_is_frozen(pod_controller(s->pod)))
                return 0;
        if (!migration_is_active(g) || migration_role(g) != MIGRATION_SOURCE)
                return error_setf(reterr, -EBADFD, "Stop: the pod is being migrated");
        r = migrate_cancel(s->migrate, migration_session(g), reterr);
        if (r == -EBUSY)
                return 1;
        if (r < 0)
                return error_prefix(reterr, r, "Stop");
        return controller_is_frozen(pod_controller(s->pod)) ? 1 : 0;
}

static void look_at(StopCall *c) {
        Error e = ERROR_INIT;
        int r = call_off(c->shim, &e);

        if (r > 0)
                return;
        if (r == 0 && c->shim->pod)
                r = begin(c, &e);
        if (r <= 0)
                on_powered_off(c, r, NULL, &e);
}

static int on_look(sd_event_source *source, void *userdata) {
        Shim *s = userdata;

        s->stops_look = sd_event_source_disable_unref(s->stops_look);
        for (StopCall *c = s->stops, *next; c; c = next) {
                next = c->next;
                if (c->held)
                        look_at(c);
        }
        return 0;
}

/* From inside a step of the session: nothing is done there and then. */
void shim_stops_look(Shim *s) {
        bool any = false;

        for (StopCall *c = s->stops; c; c = c->next)
                any |= c->held;
        if (any && !s->stops_look && sd_event_add_defer(s->event, &s->stops_look, on_look, s) < 0)
                log_err("out of memory: a stop of the pod waits for the migration's next change");
}

int shim_stop_pod(Shim *s, uint32_t timeout_ms, OpDone done, void *job, Error *reterr) {
        StopCall *c;
        int r;

        if (!s->pod)
                return 0;
        r = call_off(s, reterr);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (StopCall){ .shim = s,
                         .timeout_ms = timeout_ms,
                         .held = r > 0,
                         .done = done,
                         .job = job,
                         .next = s->stops };
        s->stops = c;
        if (!c->next)
                tell(s);
        if (c->held)
                log_info("the pod is to stop: its migration is cancelled");
        else
                r = begin(c, reterr);
        if (r <= 0)
                stop_call_free(c);
        return r;
}
