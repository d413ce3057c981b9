/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fake-migration-internal.h"

#include <stdlib.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/cleanup.h"

static const char *const verb_names[_FAKE_VERB_MAX] = {
        [FAKE_FREEZE] = "freeze",
        [FAKE_SAVE] = "save",
        [FAKE_IMPORT] = "import",
        [FAKE_PATCH] = "patch",
        [FAKE_RESUME_TREE] = "resume_tree",
        [FAKE_MOVED] = "moved",
        [FAKE_ABORT_TREE] = "abort_tree",
        [FAKE_FACTS] = "facts",
        [FAKE_PREPARE] = "prepare",
        [FAKE_CLEANUP] = "cleanup",
        [FAKE_MIGRATE] = "migrate",
        [FAKE_MIGRATE_ABORT] = "migrate_abort",
        [FAKE_RECEIVE] = "receive",
        [FAKE_DOMAIN] = "domain",
        [FAKE_FENCE] = "fence",
        [FAKE_SUSPEND_DOMAIN] = "suspend_domain",
        [FAKE_RESUME_DOMAIN] = "resume_domain",
        [FAKE_DESTROY_DOMAIN] = "destroy_domain",
        [FAKE_TUNE] = "tune",
        [FAKE_CHECKPOINT] = "checkpoint",
        [FAKE_ADOPT] = "adopt",
        [FAKE_JOURNAL] = "journal",
        [FAKE_TRANSFER_BEGINS] = "transfer_begins",
};

const char *fake_verb_name(FakeVerb v) {
        return verb_names[v];
}

void fake_broken(FakeWorld *w, const char *what) {
        if (!w->broken[0])
                (void)snprintf(w->broken, sizeof(w->broken), "%s", what);
}

void fake_trace(FakeSide *s, const char *what, const char *detail) {
        if (s->w->trace)
                (void)fprintf(s->w->trace, "%c %s %s   [S %s, D %s, libvirt %d]\n",
                              s->role == MIGRATION_SOURCE ? 'S' : 'D', what, detail,
                              migration_domain_state_name(s->w->s),
                              migration_domain_state_name(s->w->d), (int)s->w->lv);
}

static JournalKind last_kind(const FakeSide *s) {
        return s->n_journal ? s->journal[s->n_journal - 1].kind : JOURNAL_NONE;
}

/* -- the two guests -- */

void fake_source_runs(FakeWorld *w) {
        JournalKind k = last_kind(&w->side[MIGRATION_SOURCE]);

        if (w->d == MIGRATION_AT_RUNNING)
                fake_broken(w, "the source runs beside the destination");
        if (k == JOURNAL_RELEASED || k == JOURNAL_DONE || k == JOURNAL_LOST)
                fake_broken(w, "the source runs after RELEASED");
        w->s = MIGRATION_AT_RUNNING;
        w->moved_on |= w->d == MIGRATION_AT_PAUSED;
}

static void destination_runs(FakeWorld *w) {
        FakeSide *d = &w->side[MIGRATION_DESTINATION];

        if (w->s != MIGRATION_AT_NONE)
                fake_broken(w, "the destination runs beside the source");
        if (w->moved_on)
                fake_broken(w, "the destination runs a copy that the source has outrun");
        if (last_kind(d) != JOURNAL_OWNED)
                fake_broken(w, "the destination runs without OWNED");
        w->d = MIGRATION_AT_RUNNING;
}

void fake_tell(FakeSide *s, MigrationDomainEvent e) {
        if (s->m && !s->events_lost)
                migration_on_domain(s->m, e, "as the test wants");
}

static MigrationDomain domain_of(const FakeSide *s) {
        const FakeWorld *w = s->w;

        if (s->role == MIGRATION_SOURCE)
                return (MigrationDomain){ w->s, w->lv == FAKE_COPY || w->lv == FAKE_SWITCH ||
                                                        w->lv == FAKE_FINISHED };
        return (MigrationDomain){ .state = w->d, .memory = w->memory };
}

/* -- what a verb does to the world when it is done -- */

static int act(FakeSide *s, FakeVerb v) {
        FakeWorld *w = s->w;

        switch ((int)v) {
        case FAKE_RESUME_TREE:
                s->frozen = false;
                s->running_tree = true;
                if (s->role == MIGRATION_SOURCE && w->s != MIGRATION_AT_RUNNING &&
                    w->s != MIGRATION_AT_DEAD)
                        fake_broken(w, "the source's tree was thawed while its guest does not run");
                if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_INCOMING)
                        fake_broken(w, "the destination's tree was resumed before its guest");
                break;
        case FAKE_PREPARE:
                s->made_disks = true;
                break;
        case FAKE_CLEANUP:
                s->made_disks = false;
                break;
        case FAKE_MIGRATE_ABORT:
                w->abort_wanted = true;
                break;
        case FAKE_FENCE:
                if (w->s == MIGRATION_AT_RUNNING)
                        return -EALREADY;
                w->s = MIGRATION_AT_NONE;
                break;
        case FAKE_SUSPEND_DOMAIN:
                if (s->role != MIGRATION_SOURCE || w->s != MIGRATION_AT_RUNNING)
                        return -ENOENT;
                w->s = MIGRATION_AT_PAUSED;
                break;
        case FAKE_RESUME_DOMAIN:
                if (s->role == MIGRATION_SOURCE && w->s == MIGRATION_AT_PAUSED)
                        fake_source_runs(w);
                else if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_PAUSED)
                        destination_runs(w);
                else if ((s->role == MIGRATION_SOURCE ? w->s : w->d) != MIGRATION_AT_RUNNING)
                        return -ENOENT;
                break;
        case FAKE_DESTROY_DOMAIN:
                if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_RUNNING)
                        fake_broken(w, "the destination destroyed a guest that runs");
                if (s->role == MIGRATION_DESTINATION && w->s == MIGRATION_AT_NONE && !w->reason &&
                    last_kind(&w->side[MIGRATION_SOURCE]) != JOURNAL_LOST)
                        fake_broken(w, "the destination destroyed the only copy");
                *(s->role == MIGRATION_SOURCE ? &w->s : &w->d) = MIGRATION_AT_NONE;
                break;
        default:
                break;
        }
        return 0;
}

static int start(FakeSide *s, FakeVerb v, OpDone done, void *job, Error *reterr) {
        FakeMode mode = s->mode[v];
        int r = 0;

        s->calls[v]++;
        if (s->fail[v]) {
                s->fail[v]--;
                mode = mode == FAKE_LATER ? FAKE_FAIL_LATER : FAKE_REFUSE;
        }
        fake_trace(s, verb_names[v], mode == FAKE_REFUSE ? "refused" : "");
        if (mode == FAKE_REFUSE)
                return error_setf(reterr, -EIO, "the test refuses %s", verb_names[v]);
        if (mode == FAKE_NOW && !(v == FAKE_DOMAIN && done)) {
                r = act(s, v);
                return r < 0 ? error_setf(reterr, r, "%s", verb_names[v]) : 0;
        }
        if (s->n_jobs == FAKE_JOBS) {
                fake_broken(s->w, "more operations at a time than may be");
                return -EBUSY;
        }
        s->jobs[s->n_jobs++] = (FakeJob){ v, done, job, mode == FAKE_FAIL_LATER ? -EIO : 0 };
        return 1;
}

static void end_job(FakeJob *j, int r, const void *result) {
        Error e = ERROR_INIT;

        if (r < 0)
                (void)error_setf(&e, r, "the test fails %s", verb_names[j->verb]);
        j->done(j->job, r, r < 0 ? NULL : result, &e);
}

bool fake_complete(FakeSide *s, unsigned i) {
        MigrationDomain domain = domain_of(s);
        FakeJob j;
        int r;

        if (i >= s->n_jobs)
                return false;
        j = s->jobs[i];
        if (j.verb == FAKE_MIGRATE) {
                if (s->w->lv != FAKE_OK && s->w->lv != FAKE_FAILED)
                        return false;
                j.result = s->w->lv == FAKE_OK ? 0 : s->w->abort_wanted ? -ECANCELED : -EIO;
        }
        s->n_jobs--;
        memmove(&s->jobs[i], &s->jobs[i + 1], (s->n_jobs - i) * sizeof(j));
        r = j.result < 0 || j.verb == FAKE_MIGRATE ? j.result : act(s, j.verb);
        fake_trace(s, "done:", verb_names[j.verb]);
        end_job(&j, r, j.verb == FAKE_DOMAIN ? &domain : NULL);
        return true;
}

/* -- ops -- */

static int at_once(FakeSide *s, FakeVerb v, Error *reterr) {
        s->calls[v]++;
        fake_trace(s, verb_names[v], "");
        if (s->fail[v]) {
                s->fail[v]--;
                return error_setf(reterr, -EIO, "the test refuses %s", verb_names[v]);
        }
        return s->mode[v] == FAKE_REFUSE
                       ? error_setf(reterr, -EIO, "the test refuses %s", verb_names[v])
                       : 0;
}

static int op_freeze(void *u, Error *reterr) {
        FakeSide *s = u;
        int r = at_once(s, FAKE_FREEZE, reterr);

        s->frozen = r == 0;
        return r;
}

static void op_thaw(void *u) {
        ((FakeSide *)u)->frozen = false;
}

static int op_save(void *u, MigrationTree *ret, Error *reterr) {
        int r = at_once(u, FAKE_SAVE, reterr);

        if (r < 0)
                return r;
        ret->n_pods = 1;
        if (buf_printf(&ret->vm, "vm bytes") < 0 || buf_printf(&ret->pods[0], "pod bytes") < 0)
                return error_oom(reterr);
        return 0;
}

static int op_import(void *u, const char *pod, const MigrationTree *t, Error *reterr) {
        FakeSide *s = u;
        int r = at_once(s, FAKE_IMPORT, reterr);

        if (r == 0 && (t->n_pods != 1 || t->vm.len != 8 || memcmp(t->vm.data, "vm bytes", 8) != 0))
                fake_broken(s->w, "import got other bytes than save gave");
        s->tree = r == 0;
        return r;
}

static int op_patch(void *u, const char *container, const void *patch, OpDone done, void *job,
                    Error *reterr) {
        FakeSide *s = u;

        if (strcmp(container, "none") == 0)
                return error_setf(reterr, -ENOENT, "no container %s", container);
        if (s->unpatched)
                s->unpatched--;
        return start(s, FAKE_PATCH, done, job, reterr);
}

static int op_unpatched(void *u, Buf *ret) {
        FakeSide *s = u;

        for (unsigned i = 0; i < s->unpatched; i++)
                if (buf_printf(ret, "%sc%u", i ? ", " : "", i + 1) < 0)
                        return -ENOMEM;
        return (int)s->unpatched;
}

static int op_resume_tree(void *u, MigrationRole role, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_RESUME_TREE, done, job, reterr);
}

static int op_moved(void *u, Error *reterr) {
        FakeSide *s = u;

        s->moved = true;
        if (last_kind(s) != JOURNAL_RELEASED && last_kind(s) != JOURNAL_DONE)
                fake_broken(s->w, "the source's tree was told that it moved before RELEASED");
        return at_once(s, FAKE_MOVED, reterr);
}

static int op_abort_tree(void *u, const char *reason, Error *reterr) {
        FakeSide *s = u;

        s->tree = false;
        if (s->w->d == MIGRATION_AT_RUNNING)
                fake_broken(s->w, "the destination's tree was dropped while its guest runs");
        return at_once(s, FAKE_ABORT_TREE, reterr);
}

static int op_transfer_begins(void *u, MigrationRole role, Error *reterr) {
        return at_once(u, FAKE_TRANSFER_BEGINS, reterr);
}

static int op_transfer_ends(void *u, MigrationRole role, Error *reterr) {
        return 0;
}

static int op_facts(void *u, MigrationFacts *ret, Error *reterr) {
        *ret = (MigrationFacts){ .hostname = "h1", .version = "0.1.0", .memory_mib = 256 };
        return at_once(u, FAKE_FACTS, reterr);
}

static int op_prepare(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_PREPARE, done, job, reterr);
}

static int op_cleanup(void *u, MigrationRole role, MigrationOutcome outcome,
                      const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_CLEANUP, done, job, reterr);
}

static int op_migrate(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        FakeSide *s = u;
        FakeMode mode = s->mode[FAKE_MIGRATE];
        int r;

        if (mode == FAKE_NOW)
                s->mode[FAKE_MIGRATE] = FAKE_LATER;
        r = start(s, FAKE_MIGRATE, done, job, reterr);
        s->mode[FAKE_MIGRATE] = mode;
        if (r > 0 && s->jobs[s->n_jobs - 1].result < 0) {
                s->w->lv = FAKE_FAILED;
        } else if (r > 0) {
                s->w->lv = FAKE_COPY;
                if (last_kind(&s->w->side[MIGRATION_DESTINATION]) == JOURNAL_NONE ||
                    s->w->side[MIGRATION_DESTINATION].tree)
                        s->w->d = MIGRATION_AT_INCOMING;
                fake_tell(&s->w->side[MIGRATION_DESTINATION], MIGRATION_DOMAIN_INCOMING);
        }
        return r;
}

static int op_migrate_abort(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_MIGRATE_ABORT, done, job, reterr);
}

static int op_receive(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_RECEIVE, done, job, reterr);
}

static int op_domain(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_DOMAIN, done, job, reterr);
}

static int op_fence(void *u, OpDone done, void *job, Error *reterr) {
        FakeSide *s = u;

        if (last_kind(s) != JOURNAL_FENCING)
                fake_broken(s->w, "fence without FENCING");
        return start(s, FAKE_FENCE, done, job, reterr);
}

static int op_suspend_domain(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_SUSPEND_DOMAIN, done, job, reterr);
}

static int op_resume_domain(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_RESUME_DOMAIN, done, job, reterr);
}

static int op_destroy_domain(void *u, OpDone done, void *job, Error *reterr) {
        return start(u, FAKE_DESTROY_DOMAIN, done, job, reterr);
}

static void op_let_go(void *u) {
        FakeSide *s = u;

        s->let_go++;
}

static int op_tune(void *u, MigrationCall what, uint64_t value, OpDone done, void *job,
                   Error *reterr) {
        FakeSide *s = u;

        s->tuned = what;
        s->tuned_value = value;
        return start(s, FAKE_TUNE, done, job, reterr);
}

static int op_checkpoint(void *u, Buf *ret, Error *reterr) {
        FakeSide *s = u;
        int r = at_once(s, FAKE_CHECKPOINT, reterr);

        if (r < 0)
                return r;
        if (s->w->s == MIGRATION_AT_RUNNING)
                fake_broken(s->w, "a checkpoint of a guest that runs");
        s->link_frozen = true;
        if (s->unkept)
                return -EAGAIN;
        return buf_printf(ret, "handoff bytes") < 0 ? -ENOMEM : 0;
}

static void op_uncheckpoint(void *u) {
        ((FakeSide *)u)->link_frozen = false;
}

static int op_adopt(void *u, const void *p, size_t n, Error *reterr) {
        FakeSide *s = u;

        if (n != 13 || memcmp(p, "handoff bytes", n) != 0)
                fake_broken(s->w, "adopt got other bytes than checkpoint gave");
        return at_once(s, FAKE_ADOPT, reterr);
}

static bool op_kept(void *u) {
        return !((FakeSide *)u)->unkept;
}

static int op_send(void *u, const void *p, size_t n) {
        FakeSide *s = u, *to = &s->w->side[!s->role];
        uint8_t *copy;

        if (to->n_in == FAKE_WORDS)
                return -EAGAIN;
        copy = malloc(n);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, p, n);
        to->in[to->n_in++] = (FakeWord){ copy, n };
        return 0;
}

static int op_journal(void *u, const JournalRecord *r, Error *reterr) {
        FakeSide *s = u;
        JournalRecord none = { .kind = JOURNAL_NONE };
        Error e = ERROR_INIT;
        int code = at_once(s, FAKE_JOURNAL, reterr);

        if (code < 0)
                return code;
        fake_trace(s, "journal", journal_kind_name(r->kind));
        if (journal_check_order(s->n_journal ? &s->journal[s->n_journal - 1] : &none, r, &e) < 0)
                fake_broken(s->w, e.text);
        if (s->n_journal == FAKE_RECORDS) {
                fake_broken(s->w, "too many records");
                return -ENOSPC;
        }
        if (r->kind == JOURNAL_KEPT && s->w->s == MIGRATION_AT_NONE)
                fake_broken(s->w, "KEPT for a guest that is not there");
        if (r->kind == JOURNAL_KEPT && last_kind(s) == JOURNAL_PREPARED && s->w->stood &&
            s->calls[FAKE_SUSPEND_DOMAIN] + s->calls[FAKE_RESUME_DOMAIN] == 0)
                fake_broken(s->w, "KEPT, and QEMU was not told to take its disks back");
        if (r->kind == JOURNAL_RELEASED && (s->w->s != MIGRATION_AT_NONE || s->w->moved_on))
                fake_broken(s->w, "RELEASED while the guest can run");
        if (r->kind == JOURNAL_READY) {
                if (s->unkept)
                        fake_broken(s->w, "READY before all of the pod is on disk");
                free(s->handoff);
                s->handoff = malloc(r->payload_len + 1);
                if (!s->handoff)
                        return -ENOMEM;
                if (r->payload_len)
                        memcpy(s->handoff, r->payload, r->payload_len);
                s->handoff_len = r->payload_len;
        }
        s->journal[s->n_journal] = *r;
        s->journal[s->n_journal].payload = NULL;
        s->journal[s->n_journal].payload_len = 0;
        s->n_journal++;
        return 0;
}

static void op_timer(void *u, MigrationTimer t, uint64_t ms) {
        ((FakeSide *)u)->timer[t] = ms;
}

static uint64_t op_now(void *u) {
        return ((FakeSide *)u)->w->now_ns += 1000;
}

static void op_notify(void *u, const MigrationNotification *n) {
        FakeSide *s = u;

        s->notified++;
        if (n->result == MIGRATION_WARNING)
                (void)snprintf(s->warned, sizeof(s->warned), "%s", n->details);
        if (s->w->trace)
                (void)fprintf(s->w->trace, "%c   %s %s %s\n",
                              s->role == MIGRATION_SOURCE ? 'S' : 'D',
                              migration_phase_name(n->phase), migration_result_name(n->result),
                              n->details);
}

static void op_changed(void *u) {
        ((FakeSide *)u)->changes++;
}

const MigrationOps fake_migration_ops = {
        .freeze = op_freeze,
        .thaw = op_thaw,
        .save = op_save,
        .import = op_import,
        .patch = op_patch,
        .unpatched = op_unpatched,
        .resume_tree = op_resume_tree,
        .moved = op_moved,
        .abort_tree = op_abort_tree,
        .transfer_begins = op_transfer_begins,
        .transfer_ends = op_transfer_ends,
        .facts = op_facts,
        .prepare = op_prepare,
        .cleanup = op_cleanup,
        .migrate = op_migrate,
        .migrate_abort = op_migrate_abort,
        .receive = op_receive,
        .domain = op_domain,
        .fence = op_fence,
        .suspend_domain = op_suspend_domain,
        .resume_domain = op_resume_domain,
        .destroy_domain = op_destroy_domain,
        .tune = op_tune,
        .let_go = op_let_go,
        .checkpoint = op_checkpoint,
        .uncheckpoint = op_uncheckpoint,
        .adopt = op_adopt,
        .kept = op_kept,
        .send = op_send,
        .journal = op_journal,
        .timer = op_timer,
        .now_ns = op_now,
        .clock_ns = op_now,
        .notify = op_notify,
        .changed = op_changed,
};
