/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt's events. The callbacks run on libvirt's event thread; they copy facts about our domain
 * into notes for the loop and do nothing else. */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"
#include "lib/clock.h"
#include "lib/log.h"

/* Notes that may wait for the loop before events are dropped; the loop then asks for the state. */
#define EVENTS_MAX 512U

typedef struct EventNote {
        Note note;
        Virt *v;
        VirtEvent event;
} EventNote;

static const char *const names[_VIRT_EVENT_KIND_MAX] = {
        [VIRT_EVENT_STARTED] = "started",
        [VIRT_EVENT_SUSPENDED] = "suspended",
        [VIRT_EVENT_RESUMED] = "resumed",
        [VIRT_EVENT_STOPPED] = "stopped",
        [VIRT_EVENT_CRASHED] = "crashed",
        [VIRT_EVENT_ITERATION] = "iteration",
        [VIRT_EVENT_JOB_DONE] = "job-done",
        [VIRT_EVENT_DEVICE_REMOVED] = "device-removed",
        [VIRT_EVENT_COPY] = "copy",
        [VIRT_EVENT_LOST] = "connection-lost",
        [VIRT_EVENT_BACK] = "connection-back",
};

const char *virt_event_name(VirtEventKind k) {
        assert(k < _VIRT_EVENT_KIND_MAX);
        return names[k];
}

static void tell(Virt *v, const VirtEvent *event) {
        bool outer = v->delivering;

        v->delivering = true;
        if (v->handler)
                v->handler(v->userdata, event);
        v->delivering = outer;
}

/* The state after an outage is the loop's first news of it. If libvirt went away again, so will the
 * event that says so have come. */
static void on_state(void *userdata, int r, const void *result, const Error *err) {
        Virt *v = userdata;
        VirtEvent event = { .kind = VIRT_EVENT_BACK, .at_us = clock_us() };

        if (r < 0) {
                if (r != -EBUSY && r != -ECONNRESET)
                        log_warning("%s", error_text(err, r));
                return;
        }
        event.domain = *(const VirtDomain *)result;
        tell(v, &event);
}

static void ask_state(Virt *v) {
        Job *job;
        int r;

        r = job_new(v, "query", domain_query, on_state, v, &job, NULL);
        if (r >= 0) {
                job->internal = true;
                job->needs_domain = false;
                job->result = &job->out.domain;
                r = job_submit(job, LANE_QUERY, NULL);
        }
        if (r < 0)
                log_warning("asking libvirt for the domain's state failed: %s",
                            error_text(NULL, r));
}

static void deliver(Note *note) {
        EventNote *n = container_of(note, EventNote, note);
        Virt *v = n->v;
        VirtEvent event = n->event;
        bool lost;

        free(n);
        (void)pthread_mutex_lock(&v->id_lock);
        lost = v->events_lost;
        v->events_lost = false;
        (void)pthread_mutex_unlock(&v->id_lock);
        if (event.kind == VIRT_EVENT_JOB_DONE)
                v->last_job = event.job;
        if (event.kind == VIRT_EVENT_DEVICE_REMOVED)
                unplug_removed(v, event.alias);
        if (event.kind == VIRT_EVENT_LOST)
                connection_lost(v);
        if (event.kind == VIRT_EVENT_BACK || lost)
                ask_state(v);
        if (event.kind != VIRT_EVENT_BACK)
                tell(v, &event);
}

static void drop(Note *note) {
        free(container_of(note, EventNote, note));
}

void events_post(Virt *v, const VirtEvent *event) {
        EventNote *n = malloc(sizeof(*n));

        if (n) {
                *n = (EventNote){ .note = { .deliver = deliver, .drop = drop },
                                  .v = v,
                                  .event = *event };
                n->event.at_us = clock_us();
                /* Of the connection there is never more than one event under way. */
                if (mailbox_put_bounded(&v->mailbox, &n->note,
                                        event->kind >= VIRT_EVENT_LOST ? UINT_MAX : EVENTS_MAX))
                        return;
                free(n);
        }
        (void)pthread_mutex_lock(&v->id_lock);
        v->events_lost = true;
        (void)pthread_mutex_unlock(&v->id_lock);
}

void events_post_connection(Virt *v, VirtEventKind kind) {
        events_post(v, &(VirtEvent){ .kind = kind });
}

static bool is_ours(Virt *v, virDomainPtr domain) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        bool ours;

        if (v->lv->virDomainGetUUIDString(domain, uuid) < 0)
                return false;
        (void)pthread_mutex_lock(&v->id_lock);
        ours = strcmp(uuid, v->uuid) == 0;
        (void)pthread_mutex_unlock(&v->id_lock);
        return ours;
}

#define ANY (-1)

static const struct {
        int event, detail;
        VirtEventKind kind;
        VirtReason reason;
} lifecycle[] = {
        { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED, VIRT_EVENT_STARTED,
          VIRT_REASON_MIGRATED },
        { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED, VIRT_EVENT_STARTED,
          VIRT_REASON_BOOTED },
        { VIR_DOMAIN_EVENT_STARTED, ANY, VIRT_EVENT_STARTED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED, VIRT_EVENT_SUSPENDED,
          VIRT_REASON_USER },
        { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, VIRT_EVENT_SUSPENDED,
          VIRT_REASON_MIGRATION },
        { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY, VIRT_EVENT_SUSPENDED,
          VIRT_REASON_POSTCOPY },
        { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED,
          VIRT_EVENT_SUSPENDED, VIRT_REASON_POSTCOPY_FAILED },
        { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, VIRT_EVENT_SUSPENDED,
          VIRT_REASON_IO_ERROR },
        { VIR_DOMAIN_EVENT_SUSPENDED, ANY, VIRT_EVENT_SUSPENDED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED, VIRT_EVENT_RESUMED,
          VIRT_REASON_USER },
        { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, VIRT_EVENT_RESUMED,
          VIRT_REASON_MIGRATED },
        { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY, VIRT_EVENT_RESUMED,
          VIRT_REASON_POSTCOPY },
        { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED, VIRT_EVENT_RESUMED,
          VIRT_REASON_POSTCOPY_FAILED },
        { VIR_DOMAIN_EVENT_RESUMED, ANY, VIRT_EVENT_RESUMED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, VIRT_EVENT_STOPPED,
          VIRT_REASON_GUEST },
        { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, VIRT_EVENT_STOPPED,
          VIRT_REASON_DESTROYED },
        { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED, VIRT_EVENT_STOPPED,
          VIRT_REASON_CRASHED },
        { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, VIRT_EVENT_STOPPED,
          VIRT_REASON_MIGRATED },
        { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED, VIRT_EVENT_STOPPED,
          VIRT_REASON_FAILED },
        { VIR_DOMAIN_EVENT_STOPPED, ANY, VIRT_EVENT_STOPPED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_EVENT_CRASHED, ANY, VIRT_EVENT_CRASHED, VIRT_REASON_CRASHED },
};

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail,
                        void *userdata) {
        Virt *v = userdata;

        for (size_t i = 0; i < ELEMENTSOF(lifecycle); i++) {
                if (lifecycle[i].event != event ||
                    (lifecycle[i].detail != detail && lifecycle[i].detail != ANY))
                        continue;
                if (is_ours(v, domain))
                        events_post(v, &(VirtEvent){ .kind = lifecycle[i].kind,
                                                     .reason = lifecycle[i].reason });
                break;
        }
        return 0;
}

static void on_iteration(virConnectPtr conn, virDomainPtr domain, int iteration, void *userdata) {
        Virt *v = userdata;

        if (is_ours(v, domain))
                events_post(v, &(VirtEvent){ .kind = VIRT_EVENT_ITERATION,
                                             .iteration = (unsigned)iteration });
}

static void on_job_done(virConnectPtr conn, virDomainPtr domain, virTypedParameterPtr params,
                        int n_params, void *userdata) {
        VirtEvent event = { .kind = VIRT_EVENT_JOB_DONE };
        Virt *v = userdata;

        if (!is_ours(v, domain))
                return;
        job_from_params(v->lv, VIR_DOMAIN_JOB_COMPLETED, params, n_params, &event.job);
        events_post(v, &event);
}

static void on_device_removed(virConnectPtr conn, virDomainPtr domain, const char *alias,
                              void *userdata) {
        VirtEvent event = { .kind = VIRT_EVENT_DEVICE_REMOVED };
        Virt *v = userdata;

        if (!is_ours(v, domain))
                return;
        (void)snprintf(event.alias, sizeof(event.alias), "%s", alias);
        events_post(v, &event);
}

static void on_block_job(virConnectPtr conn, virDomainPtr domain, const char *target, int type,
                         int status, void *userdata) {
        static const struct {
                int theirs;
                VirtCopyState ours;
        } states[] = {
                { VIR_DOMAIN_BLOCK_JOB_READY, VIRT_COPY_READY },
                { VIR_DOMAIN_BLOCK_JOB_FAILED, VIRT_COPY_FAILED },
                { VIR_DOMAIN_BLOCK_JOB_COMPLETED, VIRT_COPY_ENDED },
                { VIR_DOMAIN_BLOCK_JOB_CANCELED, VIRT_COPY_ENDED },
        };
        VirtEvent event = { .kind = VIRT_EVENT_COPY };
        Virt *v = userdata;

        if (type != VIR_DOMAIN_BLOCK_JOB_TYPE_COPY || !is_ours(v, domain))
                return;
        (void)snprintf(event.alias, sizeof(event.alias), "%s", target);
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (states[i].theirs == status) {
                        event.copy = states[i].ours;
                        events_post(v, &event);
                }
}

/* Lifecycle is needed; a driver without the others (test:///) makes do without them. */
int events_register(Virt *v, virConnectPtr conn, Error *reterr) {
        const struct {
                int id;
                virConnectDomainEventGenericCallback callback;
        } wanted[] = {
                { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
                { VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
                  VIR_DOMAIN_EVENT_CALLBACK(on_iteration) },
                { VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_done) },
                { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                  VIR_DOMAIN_EVENT_CALLBACK(on_device_removed) },
                { VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job) },
        };

        v->n_callbacks = 0;
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                int id = v->lv->virConnectDomainEventRegisterAny(conn, NULL, wanted[i].id,
                                                                 wanted[i].callback, v, NULL);

                if (id >= 0)
                        v->callbacks[v->n_callbacks++] = id;
                else if (i == 0)
                        return libvirt_error(v->lv, reterr);
                else
                        v->lv->virResetLastError();
        }
        return 0;
}

void events_deregister(Virt *v, virConnectPtr conn) {
        while (v->n_callbacks > 0)
                (void)v->lv->virConnectDomainEventDeregisterAny(conn,
                                                                v->callbacks[--v->n_callbacks]);
}
