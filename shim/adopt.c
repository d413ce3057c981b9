/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/adopt.h"

#include <time.h>

#include "lib/log.h"
#include "shim/keep.h"
#include "shim/migrate/migrate.h"
#include "shim/wiring/ops.h"

/* libvirt ends a migration whose peer is gone by itself, but takes its time. */
#define JOB_POLL_USEC (50U * 1000U)
#define JOB_POLLS_MAX 1200U

typedef struct Adoption {
        Shim *shim;
        KeptState state;
        JournalKind journal; /* the last record */
        bool fast;           /* its hand-over: libvirt may have let the other host run the guest */
        VirtDomain domain;
        sd_event_source *poll;
        unsigned polls;
        OpDone done;
        void *job;
} Adoption;

static Adoption *adoption_free(Adoption *a) {
        if (!a)
                return NULL;
        kept_state_done(&a->state);
        sd_event_source_disable_unref(a->poll);
        free(a);
        return NULL;
}
DEFINE_CLEANUP(Adoption *, adoption_free);

static void finish(Adoption *a, int r, const Error *err) {
        OpDone done = a->done;
        void *job = a->job;

        (void)adoption_free(a);
        done(job, r, NULL, err);
}

typedef struct Telling {
        Shim *shim;
        const Container *container;
} Telling;

/* Exits that were told before are not told again, but whoever attaches asks for the code. */
static int tell_exit(void *userdata, Process *p) {
        const Telling *t = userdata;
        Stdio *io = stdio_find(t->shim->stdio, container_guest_id(t->container),
                               process_is_init(p) ? "" : process_exec_id(p));

        if (io && process_state(p) == PROCESS_TERMINATED && process_exit(p))
                stdio_exited(io, process_exit(p)->code);
        return 0;
}

static int tell_exits(void *userdata, Container *c) {
        return container_each_process(c, tell_exit, &(Telling){ userdata, c });
}

/* The tree comes to life: as at a destination, but with the logs that are here, and asking anew for
 * exits, since an answer may have come while the tree could not be saved. */
static int resume(Adoption *a, Error *reterr) {
        Shim *s = a->shim;
        int r;

        r = migrate_take_own(s->migrate, a->state.handoff.data, a->state.handoff.len, reterr);
        if (r < 0)
                return r;
        s->pod_ops.process = &shim_process_again_ops;
        if ((r = vm_resume(s->vm, &shim_vm_ops, s, &shim_scsi_ops, s, reterr)) < 0 ||
            (r = pod_resume(s->pod, &s->pod_ops, reterr)) < 0 ||
            (r = guest_rpc_start(s->rpc, reterr)) < 0)
                return r;
        (void)pod_each_container(s->pod, tell_exits, s);
        keep_tree_changed(s->keep);
        return 0;
}

static int go_on(Adoption *a, Error *reterr) {
        Shim *s = a->shim;
        int r;

        r = resume(a, reterr);
        if (r == 0)
                r = guest_link_open(s->link, vm_spec(s->vm)->link_path, false, reterr);
        if (r == 0)
                log_info("pod %s is served again", s->pod_id);
        return r;
}

static int report_ended(Adoption *a, Error *reterr) {
        int r = resume(a, reterr);

        if (r == 0)
                shim_vm_gone(a->shim, "the VM ended while no shim was there");
        return r;
}

static void on_resumed(void *userdata, int r, const void *result, const Error *err) {
        Adoption *a = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = go_on(a, &e);
                err = &e;
        }
        finish(a, r, err);
}

static bool in_migration(const Adoption *a) {
        return a->journal == JOURNAL_PREPARED || a->journal == JOURNAL_FENCING;
}

/* The other host may have the guest, so this one does not let it run. */
static bool undecided(const Adoption *a) {
        bool postcopy = a->domain.reason == VIRT_REASON_POSTCOPY ||
                        a->domain.reason == VIRT_REASON_POSTCOPY_FAILED;

        if (a->journal == JOURNAL_RELEASED || postcopy)
                return true;
        return a->domain.state != VIRT_RUNNING &&
               (a->journal == JOURNAL_FENCING || (a->journal == JOURNAL_PREPARED && a->fast));
}

/* What libvirt says decides. 1: later. */
static int decide(Adoption *a, Error *reterr) {
        bool runs = a->domain.state == VIRT_RUNNING, stopped = a->domain.state == VIRT_PAUSED;
        Shim *s = a->shim;
        int r = 0;

        if (undecided(a)) {
                log_warning("the pod was being handed over: it does not run here again");
                return migrate_go_on(s->migrate, reterr);
        }
        if (!runs && !stopped)
                return report_ended(a, reterr);
        if (in_migration(a)) {
                r = migrate_keep_own(s->migrate, reterr);
                if (r < 0)
                        return r;
                log_info("the migration that had begun is rolled back: the pod stays");
                if (stopped)
                        return virt_resume(s->virt, on_resumed, a, reterr);
        }
        return go_on(a, reterr);
}

static void on_domain(void *userdata, int r, const void *result, const Error *err) {
        Adoption *a = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                a->domain = *(const VirtDomain *)result;
                r = decide(a, &e);
                err = &e;
        }
        if (r <= 0)
                finish(a, r, err);
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata);

static void on_job(void *userdata, int r, const void *result, const Error *err) {
        const VirtJob *job = result;
        Adoption *a = userdata;
        Error e = ERROR_INIT;

        if (r == 0 && job->kind == VIRT_JOB_ACTIVE && ++a->polls < JOB_POLLS_MAX) {
                a->poll = sd_event_source_disable_unref(a->poll);
                r = sd_event_add_time_relative(a->shim->event, &a->poll, CLOCK_MONOTONIC,
                                               JOB_POLL_USEC, 0, on_poll, a);
                if (r >= 0)
                        return;
                (void)error_setf(&e, r, "no timer");
        } else if (r == 0 && job->kind == VIRT_JOB_ACTIVE) {
                r = error_setf(&e, -ETIMEDOUT, "libvirt does not end the migration that had begun");
        } else { /* none, or no domain */
                r = virt_query(a->shim->virt, on_domain, a, &e);
        }
        if (r < 0)
                finish(a, r, &e);
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
        Adoption *a = userdata;
        Error e = ERROR_INIT;
        int r;

        r = virt_job(a->shim->virt, on_job, a, &e);
        if (r < 0)
                finish(a, r, &e);
        return 0;
}

/* Also when it failed: then the job shows whether there is one. */
static void on_aborted(void *userdata, int r, const void *result, const Error *err) {
        (void)on_poll(NULL, 0, userdata);
}

int shim_adopt(Shim *s, OpDone done, void *job, Error *reterr) {
        _cleanup_(adoption_freep) Adoption *a = calloc(1, sizeof(*a));
        const JournalRecord *last = migrate_journal_last(s->migrate);
        Virt *virt;
        int r;

        if (!a)
                return error_oom(reterr);
        *a = (Adoption){
                .shim = s,
                .done = done,
                .job = job,
                .journal = last ? last->kind : JOURNAL_NONE,
                .fast = last && last->mode == MIGRATION_HANDOVER_FAST,
        };
        r = keep_read(s->keep, &a->state, reterr);
        if (r < 0)
                return r;
        r = migrate_import_own(s->migrate, &a->state.vm, &a->state.pod, reterr);
        if (r == 0)
                r = shim_virt(s, &virt, reterr);
        if (r == 0)
                r = virt_set_domain(virt, vm_spec(s->vm)->domain_name, vm_spec(s->vm)->uuid,
                                    reterr);
        if (r == 0 && in_migration(a))
                r = virt_abort_job(virt, on_aborted, a, reterr);
        else if (r == 0)
                r = virt_query(virt, on_domain, a, reterr);
        if (r == 1)
                a = NULL;
        return r;
}
