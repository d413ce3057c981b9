/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/adopt.h"

#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "shim/keep.h"
#include "shim/migrate/migrate.h"
#include "shim/volume-move.h"
#include "shim/wiring/ops.h"

/* libvirt ends a migration whose peer is gone by itself, but takes its time. */
#define JOB_POLL_USEC (50U * 1000U)
#define JOB_POLLS_MAX 1200U

typedef struct Adoption {
        Shim *shim;
        KeptState state;
        JournalRecord last; /* where the journal stands; NONE with a session: it was receiving */
        bool destination;   /* of that session */
        bool held;          /* handover=fast: QEMU stands, the other host may run the pod */
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

/* The tree comes to life: as at a destination, but with the logs that are here, and asking anew for
 * exits, since an answer may have come while the tree could not be saved. */
int shim_adopt_tree(Shim *s, const Buf *handoff, bool open_link, Error *reterr) {
        int r;

        r = migrate_take_own(s->migrate, handoff->data, handoff->len, reterr);
        if (r < 0)
                return r;
        s->pod_ops.process = &shim_process_again_ops;
        if ((r = vm_resume(s->vm, &shim_vm_ops, s, &shim_scsi_ops, s, reterr)) < 0 ||
            (r = pod_resume(s->pod, &s->pod_ops, reterr)) < 0 ||
            (r = guest_rpc_start(s->rpc, reterr)) < 0)
                return r;
        shim_tell_exits(s);
        if (open_link)
                migrate_open_gates(s->migrate); /* a move that was cut off may have closed them */
        keep_tree_changed(s->keep);
        if (open_link)
                r = guest_link_open(s->link, vm_spec(s->vm)->link_path, false, reterr);
        if (r == 0 && open_link)
                log_info("pod %s is served again", s->pod_id);
        return r;
}

static int go_on(Adoption *a, Error *reterr) {
        int r;

        /* The one before was killed between the two. */
        migrate_publish_definition(a->shim->migrate, a->last.epoch, false);
        r = shim_adopt_tree(a->shim, &a->state.handoff, true, reterr);
        if (r == 0)
                volume_move_adopt(a->shim);
        return r;
}

static int report_ended(Adoption *a, Error *reterr) {
        int r = shim_adopt_tree(a->shim, &a->state.handoff, false, reterr);

        if (r == 0)
                shim_vm_gone(a->shim, "the VM ended while no shim was there");
        if (r == 0)
                volume_move_adopt(a->shim);
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

static bool is_postcopy(const Adoption *a) {
        return a->domain.reason == VIRT_REASON_POSTCOPY ||
               a->domain.reason == VIRT_REASON_POSTCOPY_FAILED;
}

/* The journal alone does not say who has the guest, so this host does not let it run: the hand-over
 * goes on. Before FENCING libvirt here may have put the guest away because the other host has it.
 */
static bool undecided(const Adoption *a) {
        bool gone = a->domain.state != VIRT_RUNNING && a->domain.state != VIRT_PAUSED;

        switch (a->last.kind) {
        case JOURNAL_FENCING:
        case JOURNAL_RELEASED:
        case JOURNAL_DONE:
                return true;
        case JOURNAL_NONE:
        case JOURNAL_READY:
        case JOURNAL_REFUSED:
        case JOURNAL_OWNED:
                return a->destination;
        case JOURNAL_PREPARED:
                /* In post-copy nothing stands at the source: libvirt lets the destination run, too.
                 */
                return is_postcopy(a) || gone || a->held ||
                       (migrate_allows_postcopy(a->shim->migrate) &&
                        a->domain.state != VIRT_RUNNING);
        case JOURNAL_RUNNING:
                return false;
        case JOURNAL_KEPT:
        case JOURNAL_LOST:
        case _JOURNAL_KIND_MAX:
                break;
        }
        return is_postcopy(a);
}

/* It came here by post-copy, and not all of its memory did. It is this host's all the same: nobody
 * else can have it. */
static void warn_of_half(const Adoption *a) {
        if (a->domain.reason == VIRT_REASON_POSTCOPY && !migrate_relays(a->shim->migrate))
                log_warning("it is in post-copy: part of its memory is still to come");
        else
                log_warning("post-copy is broken: part of its memory is at the other host, and the "
                            "shim that was to bring it here has died. It stands as soon as it "
                            "needs that; podferry rm --force on both hosts gives the pod up");
}

/* What libvirt says decides. 1: later. */
static int decide(Adoption *a, Error *reterr) {
        bool runs = a->domain.state == VIRT_RUNNING, stopped = a->domain.state == VIRT_PAUSED;
        Shim *s = a->shim;
        int r = 0;

        if (a->last.kind == JOURNAL_RUNNING && is_postcopy(a))
                warn_of_half(a);
        if (undecided(a)) {
                log_warning("the pod was being handed over (journal: %s); that goes on",
                            journal_kind_name(a->last.kind));
                return migrate_go_on(s->migrate, &a->last, &a->state.handoff, reterr);
        }
        if (!runs && !stopped)
                return report_ended(a, reterr);
        if (a->last.kind == JOURNAL_PREPARED) {
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

/* Where the session stands: by the journal, or by what was kept if it got no record yet. */
static int read_session(Adoption *a, Error *reterr) {
        const JournalRecord *last = migrate_journal_last(a->shim->migrate);
        KeptSession kept;
        int r;

        r = migrate_read_kept(a->shim->migrate, &a->state.session, &kept, reterr);
        if (r < 0)
                return r;
        if (last) {
                a->last = *last;
                a->last.payload = NULL;
                a->last.payload_len = 0;
        }
        a->destination = r > 0 && kept.destination;
        if (!a->destination || strcmp(a->last.session, kept.session.session) == 0)
                return 0;
        if (a->last.epoch >= kept.session.epoch && a->last.kind != JOURNAL_REFUSED)
                return error_setf(reterr, -EBADMSG,
                                  "the journal is at epoch %llu, what was kept at %llu: it was "
                                  "kept before, and nothing else was",
                                  (unsigned long long)a->last.epoch,
                                  (unsigned long long)kept.session.epoch);
        a->last = kept.session;
        return 0;
}

static void on_rebuilt(void *userdata, int r, const void *result, const Error *err);

/* The tree. 1: later, for a destination whose network has to be looked at. */
static int rebuild(Adoption *a, Error *reterr) {
        Migrate *m = a->shim->migrate;
        const void *handoff;
        size_t n;

        if (!a->destination) {
                keep_go_on(a->shim->keep, &a->state);
                return migrate_import_own(m, &a->state.vm, &a->state.pod, reterr);
        }
        /* It runs here, and the guest was not spoken to yet: then the source's word is the last. */
        if (a->last.kind == JOURNAL_RUNNING && a->state.handoff.len == 0) {
                handoff = migrate_journal_handoff(m, &n);
                if (buf_append(&a->state.handoff, handoff, n) < 0)
                        return error_oom(reterr);
        }
        return migrate_import_received(m, &a->state.vm, &a->state.pod, on_rebuilt, a, reterr);
}

/* What libvirt does of a migration that had begun is over, or is ended. */
static int end_job(Adoption *a, Error *reterr) {
        return virt_abort_job(a->shim->virt, on_aborted, a, reterr);
}

/* Post-copy is not aborted, and its job does not end. */
static void on_postcopy_asked(void *userdata, int r, const void *result, const Error *err) {
        Adoption *a = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                a->domain = *(const VirtDomain *)result;
                r = is_postcopy(a) ? decide(a, &e) : end_job(a, &e);
                err = &e;
                if (r > 0)
                        return;
        }
        finish(a, r, err);
}

static int ask_libvirt(Adoption *a, Error *reterr) {
        const VmSpec *spec = vm_spec(a->shim->vm);
        Virt *virt;
        int r;

        r = shim_virt(a->shim, &virt, reterr);
        if (r == 0)
                r = virt_set_domain(virt, spec->domain_name, spec->uuid, reterr);
        if (r < 0)
                return r;
        if (a->last.kind == JOURNAL_PREPARED && a->last.mode == MIGRATION_HANDOVER_FAST) {
                r = migrate_find_held(a->shim->migrate, reterr);
                if (r < 0)
                        return r;
                a->held = r > 0;
                if (!a->held) /* it may have been about to be */
                        migrate_let_source_go(a->shim->migrate);
        }
        /* A QEMU that is being fenced or is held stands still, and would answer nobody. */
        if (a->held || a->last.kind != JOURNAL_PREPARED)
                return virt_query(virt, on_domain, a, reterr);
        return migrate_allows_postcopy(a->shim->migrate)
                       ? virt_query(virt, on_postcopy_asked, a, reterr)
                       : end_job(a, reterr);
}

static void on_rebuilt(void *userdata, int r, const void *result, const Error *err) {
        Adoption *a = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = ask_libvirt(a, &e);
                err = &e;
        }
        if (r <= 0)
                finish(a, r, err);
}

int shim_adopt(Shim *s, OpDone done, void *job, Error *reterr) {
        _cleanup_(adoption_freep) Adoption *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return error_oom(reterr);
        *a = (Adoption){ .shim = s, .done = done, .job = job };
        r = keep_read(s->keep, &a->state, reterr);
        if (r == 0)
                r = read_session(a, reterr);
        if (r == 0)
                r = rebuild(a, reterr);
        if (r == 0)
                r = ask_libvirt(a, reterr);
        if (r == 1)
                a = NULL;
        return r;
}
