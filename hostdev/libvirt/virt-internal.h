/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "hostdev/libvirt/lane.h"
#include "hostdev/libvirt/library.h"
#include "hostdev/libvirt/virt.h"

/* Shared by the files of virt.h; nobody else includes this.
 *
 * Who touches what: `lock` guards the links and is held while one is opened; `id_lock` guards
 * the domain's identity and the flag of lost events, and is never held across a call. All else in
 * Virt is the loop's. A Job belongs to the loop until it is put into a lane, to the lane's thread
 * until it is put into the mailbox, then to the loop. */

#define VIRT_NAME_SIZE 132U

typedef struct Unplug Unplug;

/* Each lane has a connection of its own: in libvirt before 10.0 a call of a second thread on one
 * connection may lie there until something else wakes the thread that waits in the first. The one
 * of LANE_QUERY, opened before the others, carries the events as well, and it is the one whose loss
 * is reported. */
typedef enum LaneId {
        LANE_QUERY,
        LANE_CHANGE,
        LANE_MIGRATE,
        _LANE_MAX,
} LaneId;

typedef struct Link {
        Virt *v;
        virConnectPtr conn; /* NULL: none yet, or lost */
        virConnectPtr dead; /* lost one, to be released by a lane */
} Link;

struct Virt {
        sd_event *loop;
        char *uri;
        VirtHandler handler;
        void *userdata;
        const Libvirt *lv; /* set under lock by the first lane that runs */
        bool event_thread; /* likewise: we hold a reference on it */

        Mailbox mailbox;
        Lane lanes[_LANE_MAX];
        unsigned n_jobs;     /* of callers, accepted and not completed */
        unsigned n_internal; /* of our own */
        bool delivering;

        pthread_mutex_t lock;
        Link links[_LANE_MAX];
        int callbacks[8];
        unsigned n_callbacks;
        bool was_open; /* events have been registered once: the next time is a reconnect */

        pthread_mutex_t id_lock;
        bool events_lost; /* some were dropped: the loop asks for the state */
        char name[VIRT_NAME_SIZE], uuid[VIRT_UUID_SIZE];

        sd_event_source *retry; /* timer of the next try to reconnect */
        uint64_t retry_usec;
        bool reconnecting;

        Unplug *unplugs;
        VirtJob last_job; /* of the last JOB_DONE event, for virt_migrate()'s result */
};

typedef struct Job Job;
typedef int (*JobRun)(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr);

struct Job {
        Note note;
        Virt *v;
        LaneId lane;
        const char *step; /* for errors: "<step> of <domain>: ..." */
        JobRun run;
        bool needs_domain;
        bool of_host;  /* not about a domain: none need be set, and needs_domain does not count */
        bool internal; /* set before job_submit() */
        void (*finish)(Job *job); /* on the loop, before `done`; may be NULL */
        OpDone done;
        void *userdata;

        /* Input, copied */
        char *xml; /* owned */
        uint64_t number;
        bool flag;
        void *input; /* owned, by free_input */
        void (*free_input)(void *input);

        /* Outcome */
        int r;
        Error error;
        const void *result; /* points into the job, or NULL */
        char *result_text;  /* owned */
        union {
                VirtDomain domain;
                VirtJob job;
                VirtFacts facts;
                VirtInspect inspect;
                VirtDirty dirty;
                VirtCopy copy;
        } out;
};

/* A job for `run`; -ENOMEM. The caller fills in the inputs and submits, or frees. */
int job_new(Virt *v, const char *step, JobRun run, OpDone done, void *userdata, Job **ret,
            Error *reterr);
Job *job_free(Job *job);
DEFINE_CLEANUP(Job *, job_free);
/* Takes the job in any case. Returns 1, or refuses. */
int job_submit(Job *job, LaneId lane, Error *reterr);
/* Tells the caller and frees the job. */
void job_complete(Job *job);

/* Lane threads: the lane's connection, opened if need be, with a reference of the caller's. -EBUSY:
 * cannot be reached. */
int connection_get(Virt *v, LaneId lane, virConnectPtr *ret, Error *reterr);
/* Lane threads, after a failed call: true if the connection is gone; the loop is told then. */
bool connection_is_dead(Virt *v, LaneId lane, virConnectPtr conn);
/* Loop: takes note of a lost connection and begins to try again. */
void connection_lost(Virt *v);
void connection_done(Virt *v);

int event_thread_get(Error *reterr);
void event_thread_put(void);

/* Event thread: registers and removes the callbacks of a new connection. */
int events_register(Virt *v, virConnectPtr conn, Error *reterr);
void events_deregister(Virt *v, virConnectPtr conn);
/* Any thread: queues an event for the loop. */
void events_post(Virt *v, const VirtEvent *event);
void events_post_connection(Virt *v, VirtEventKind kind);

/* Any thread. libvirt's two numbers in our words; false: they are not known here. */
bool virt_state_of(int state, int reason, VirtState *ret, VirtReason *ret_why);
/* Lane threads. */
int domain_info(Virt *v, virDomainPtr domain, VirtDomain *ret, Error *reterr);
/* A JobRun without a domain, since that there is none is an answer: fills in job->out.domain. */
int domain_query(Job *job, virConnectPtr conn, virDomainPtr none, Error *reterr);
void job_from_params(const Libvirt *lv, int type, virTypedParameterPtr params, int n, VirtJob *ret);

/* Loop: a device is gone. */
void unplug_removed(Virt *v, const char *alias);
