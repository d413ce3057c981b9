/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fake-migration.h"

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

static void broken(FakeWorld *w, const char *what) {
        if (!w->broken[0])
                (void)snprintf(w->broken, sizeof(w->broken), "%s", what);
}

static void trace(FakeSide *s, const char *what, const char *detail) {
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

static void source_runs(FakeWorld *w) {
        JournalKind k = last_kind(&w->side[MIGRATION_SOURCE]);

        if (w->d == MIGRATION_AT_RUNNING)
                broken(w, "the source runs beside the destination");
        if (k == JOURNAL_RELEASED || k == JOURNAL_DONE || k == JOURNAL_LOST)
                broken(w, "the source runs after RELEASED");
        w->s = MIGRATION_AT_RUNNING;
        w->moved_on |= w->d == MIGRATION_AT_PAUSED;
}

static void destination_runs(FakeWorld *w) {
        FakeSide *d = &w->side[MIGRATION_DESTINATION];

        if (w->s != MIGRATION_AT_NONE)
                broken(w, "the destination runs beside the source");
        if (w->moved_on)
                broken(w, "the destination runs a copy that the source has outrun");
        if (last_kind(d) != JOURNAL_OWNED)
                broken(w, "the destination runs without OWNED");
        w->d = MIGRATION_AT_RUNNING;
}

static void tell(FakeSide *s, MigrationDomainEvent e) {
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
                        broken(w, "the source's tree was thawed while its guest does not run");
                if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_INCOMING)
                        broken(w, "the destination's tree was resumed before its guest");
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
                        source_runs(w);
                else if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_PAUSED)
                        destination_runs(w);
                else if ((s->role == MIGRATION_SOURCE ? w->s : w->d) != MIGRATION_AT_RUNNING)
                        return -ENOENT;
                break;
        case FAKE_DESTROY_DOMAIN:
                if (s->role == MIGRATION_DESTINATION && w->d == MIGRATION_AT_RUNNING)
                        broken(w, "the destination destroyed a guest that runs");
                if (s->role == MIGRATION_DESTINATION && w->s == MIGRATION_AT_NONE && !w->reason &&
                    last_kind(&w->side[MIGRATION_SOURCE]) != JOURNAL_LOST)
                        broken(w, "the destination destroyed the only copy");
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
        trace(s, verb_names[v], mode == FAKE_REFUSE ? "refused" : "");
        if (mode == FAKE_REFUSE)
                return error_setf(reterr, -EIO, "the test refuses %s", verb_names[v]);
        if (mode == FAKE_NOW && !(v == FAKE_DOMAIN && done)) {
                r = act(s, v);
                return r < 0 ? error_setf(reterr, r, "%s", verb_names[v]) : 0;
        }
        if (s->n_jobs == FAKE_JOBS) {
                broken(s->w, "more operations at a time than may be");
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
        trace(s, "done:", verb_names[j.verb]);
        end_job(&j, r, j.verb == FAKE_DOMAIN ? &domain : NULL);
        return true;
}

/* -- ops -- */

static int at_once(FakeSide *s, FakeVerb v, Error *reterr) {
        s->calls[v]++;
        trace(s, verb_names[v], "");
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
                broken(s->w, "import got other bytes than save gave");
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
                broken(s->w, "the source's tree was told that it moved before RELEASED");
        return at_once(s, FAKE_MOVED, reterr);
}

static int op_abort_tree(void *u, const char *reason, Error *reterr) {
        FakeSide *s = u;

        s->tree = false;
        if (s->w->d == MIGRATION_AT_RUNNING)
                broken(s->w, "the destination's tree was dropped while its guest runs");
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
                tell(&s->w->side[MIGRATION_DESTINATION], MIGRATION_DOMAIN_INCOMING);
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
                broken(s->w, "fence without FENCING");
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
                broken(s->w, "a checkpoint of a guest that runs");
        s->link_frozen = true;
        return buf_printf(ret, "handoff bytes") < 0 ? -ENOMEM : 0;
}

static void op_uncheckpoint(void *u) {
        ((FakeSide *)u)->link_frozen = false;
}

static int op_adopt(void *u, const void *p, size_t n, Error *reterr) {
        FakeSide *s = u;

        if (n != 13 || memcmp(p, "handoff bytes", n) != 0)
                broken(s->w, "adopt got other bytes than checkpoint gave");
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
        trace(s, "journal", journal_kind_name(r->kind));
        if (journal_check_order(s->n_journal ? &s->journal[s->n_journal - 1] : &none, r, &e) < 0)
                broken(s->w, e.text);
        if (s->n_journal == FAKE_RECORDS) {
                broken(s->w, "too many records");
                return -ENOSPC;
        }
        if (r->kind == JOURNAL_KEPT && s->w->s == MIGRATION_AT_NONE)
                broken(s->w, "KEPT for a guest that is not there");
        if (r->kind == JOURNAL_KEPT && last_kind(s) == JOURNAL_PREPARED && s->w->stood &&
            s->calls[FAKE_SUSPEND_DOMAIN] + s->calls[FAKE_RESUME_DOMAIN] == 0)
                broken(s->w, "KEPT, and QEMU was not told to take its disks back");
        if (r->kind == JOURNAL_RELEASED && (s->w->s != MIGRATION_AT_NONE || s->w->moved_on))
                broken(s->w, "RELEASED while the guest can run");
        if (r->kind == JOURNAL_READY) {
                if (s->unkept)
                        broken(s->w, "READY before all of the pod is on disk");
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

/* -- the world -- */

static void side_new(FakeSide *s) {
        const JournalRecord *last = s->n_journal ? &s->journal[s->n_journal - 1] : NULL;

        s->m = NULL;
        if (migration_new("p1", last, &fake_migration_ops, s, &s->m, NULL) < 0)
                broken(s->w, "migration_new failed");
}

void fake_world_init(FakeWorld *w) {
        *w = (FakeWorld){ .s = MIGRATION_AT_RUNNING, .d = MIGRATION_AT_NONE, .now_ns = 1000 };
        for (int r = 0; r < 2; r++) {
                w->side[r].w = w;
                w->side[r].role = (MigrationRole)r;
                side_new(&w->side[r]);
        }
}

/* As a process dies: its operations in flight go with it. */
static void side_drop(FakeSide *s) {
        s->n_jobs = 0;
        memset(s->timer, 0, sizeof(s->timer));
}

void fake_world_done(FakeWorld *w) {
        for (int r = 0; r < 2; r++) {
                FakeSide *s = &w->side[r];

                for (unsigned i = 0; i < s->n_in; i++)
                        free(s->in[i].data);
                side_drop(s);
                migration_abandon(s->m);
                free(s->handoff);
        }
}

bool fake_until_transport(FakeWorld *w, const MigrationOptions *o) {
        Migration *s = w->side[MIGRATION_SOURCE].m, *d = w->side[MIGRATION_DESTINATION].m;
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;

        if (migration_export(s, "m1", &b, &e) < 0 ||
            migration_import(d, "m1", "", b.data, b.len, &e) < 0 ||
            migration_prepare(d, "m1", NULL, NULL, &e) < 0 ||
            migration_register_socket(s, "m1", &e) < 0 ||
            migration_register_socket(d, "m1", &e) < 0) {
                broken(w, e.text);
                return false;
        }
        return true;
}

void fake_link(FakeWorld *w, bool up) {
        for (int r = 0; r < 2; r++)
                migration_on_transport(w->side[r].m, up, NULL);
}

bool fake_until_transferring(FakeWorld *w, const MigrationOptions *o) {
        Error e = ERROR_INIT;

        if (!fake_until_transport(w, o))
                return false;
        if (migration_transfer(w->side[MIGRATION_DESTINATION].m, "m1", o, &e) < 0 ||
            migration_transfer(w->side[MIGRATION_SOURCE].m, "m1", o, &e) < 0) {
                broken(w, e.text);
                return false;
        }
        migration_on_transport(w->side[MIGRATION_DESTINATION].m, true, NULL);
        migration_on_transport(w->side[MIGRATION_SOURCE].m, true, NULL);
        return true;
}

static bool libvirt_fails(FakeWorld *w, bool resumes) {
        FakeSide *s = &w->side[MIGRATION_SOURCE], *d = &w->side[MIGRATION_DESTINATION];

        w->lv = FAKE_FAILED;
        if (w->s == MIGRATION_AT_PAUSED && resumes) {
                source_runs(w);
                tell(s, MIGRATION_DOMAIN_RUNNING);
        }
        if (w->d == MIGRATION_AT_INCOMING) {
                w->d = MIGRATION_AT_NONE;
                tell(d, MIGRATION_DOMAIN_GONE);
        }
        return true;
}

bool fake_libvirt(FakeWorld *w, int what) {
        FakeSide *s = &w->side[MIGRATION_SOURCE], *d = &w->side[MIGRATION_DESTINATION];

        if (w->lv != FAKE_COPY && w->lv != FAKE_SWITCH && w->lv != FAKE_FINISHED)
                return false;
        if (what)
                return libvirt_fails(w, what == 1);
        switch ((int)w->lv) {
        case FAKE_COPY:
                if (w->abort_wanted || w->s != MIGRATION_AT_RUNNING)
                        return libvirt_fails(w, true);
                w->s = MIGRATION_AT_PAUSED;
                w->stood = true;
                w->lv = FAKE_SWITCH;
                tell(s, MIGRATION_DOMAIN_BLACKOUT);
                break;
        case FAKE_SWITCH:
                if (w->d != MIGRATION_AT_INCOMING)
                        return libvirt_fails(w, true);
                w->d = MIGRATION_AT_PAUSED;
                w->lv = FAKE_FINISHED;
                tell(d, MIGRATION_DOMAIN_COMPLETE);
                break;
        case FAKE_FINISHED:
                if (w->abort_wanted && w->heeds_abort)
                        return libvirt_fails(w, true);
                w->lv = FAKE_OK;
                if (w->s == MIGRATION_AT_PAUSED) {
                        w->s = MIGRATION_AT_NONE;
                        tell(s, MIGRATION_DOMAIN_GONE);
                }
                break;
        default:
                break;
        }
        return true;
}

void fake_copy_dies(FakeWorld *w) {
        w->reason = true;
        w->d = MIGRATION_AT_NONE;
        tell(&w->side[MIGRATION_DESTINATION], MIGRATION_DOMAIN_GONE);
}

void fake_lose(FakeSide *s, unsigned i) {
        if (i >= s->n_in)
                return;
        free(s->in[i].data);
        s->n_in--;
        memmove(&s->in[i], &s->in[i + 1], (s->n_in - i) * sizeof(s->in[0]));
}

void fake_repeat(FakeSide *s, unsigned i) {
        if (i < s->n_in)
                (void)op_send(&s->w->side[!s->role], s->in[i].data, s->in[i].len);
}

bool fake_deliver(FakeSide *s, unsigned i) {
        FakeWord word;

        if (i >= s->n_in)
                return false;
        word = s->in[i];
        s->n_in--;
        memmove(&s->in[i], &s->in[i + 1], (s->n_in - i) * sizeof(s->in[0]));
        trace(s, "hears", "");
        migration_on_peer(s->m, word.data, word.len);
        free(word.data);
        return true;
}

bool fake_timer(FakeSide *s, MigrationTimer t) {
        if (!s->timer[t])
                return false;
        s->timer[t] = 0;
        trace(s, "timer", "");
        migration_on_timer(s->m, t);
        return true;
}

void fake_keep(FakeSide *s) {
        s->unkept = false;
        migration_on_kept(s->m);
}

void fake_crash(FakeSide *s) {
        JournalRecord last = { .kind = JOURNAL_NONE };
        char session[sizeof(last.session)];
        bool receiving =
                s->role == MIGRATION_DESTINATION && migration_is_active(s->m) && s->n_journal == 0;

        trace(s, "CRASH", "");
        memcpy(session, "m1", 3);
        side_drop(s);
        migration_abandon(s->m);
        s->link_frozen = s->frozen = s->unkept = false;
        side_new(s);
        if (s->n_journal) {
                last = s->journal[s->n_journal - 1];
        } else if (receiving) {
                last.epoch = 2;
                memcpy(last.session, "m1", 3);
                memcpy(last.pod, "p1", 3);
        } else {
                return;
        }
        s->tree = s->role == MIGRATION_DESTINATION;
        /* Refused if its session is over; what the other side asks is answered all the same. */
        (void)migration_adopt(s->m, &last, false, s->handoff, s->handoff_len, NULL);
        if (migration_reconnect(s->m, session, NULL) < 0)
                broken(s->w, "no transport after a crash");
        migration_on_transport(s->m, true, NULL);
}

static bool settled(const FakeSide *s) {
        MigrationState st = migration_state(s->m);

        return (st == MIGRATION_TRANSFERRED || st == MIGRATION_CANCELLED ||
                st == MIGRATION_FAILED || st == MIGRATION_IDLE || st == MIGRATION_FINALIZED) &&
               s->n_jobs == 0;
}

bool fake_settled(const FakeWorld *w) {
        return settled(&w->side[0]) && settled(&w->side[1]) && w->lv != FAKE_COPY &&
               w->lv != FAKE_SWITCH && w->lv != FAKE_FINISHED;
}

void fake_check(FakeWorld *w) {
        if (w->s == MIGRATION_AT_RUNNING && w->d == MIGRATION_AT_RUNNING)
                broken(w, "two running");
}

/* Time goes on to the timer that is due first. */
static bool first_timer(FakeWorld *w) {
        uint64_t *a = &w->side[0].timer[MIGRATION_TIMER_REPEAT];
        uint64_t *b = &w->side[1].timer[MIGRATION_TIMER_REPEAT];
        FakeSide *s = *a && (!*b || *a <= *b) ? &w->side[0] : &w->side[1];
        uint64_t *other = s == &w->side[0] ? b : a;
        uint64_t ms = s->timer[MIGRATION_TIMER_REPEAT];

        if (*other)
                *other = *other > ms ? *other - ms : 1;
        return fake_timer(s, MIGRATION_TIMER_REPEAT);
}

static bool step(FakeWorld *w) {
        for (int r = 0; r < 2; r++)
                for (unsigned i = 0; i < w->side[r].n_jobs; i++)
                        if (fake_complete(&w->side[r], i))
                                return true;
        for (int r = 0; r < 2; r++)
                if (fake_deliver(&w->side[r], 0))
                        return true;
        if (fake_libvirt(w, 0))
                return true;
        return first_timer(w);
}

bool fake_run(FakeWorld *w, unsigned steps) {
        while (steps-- > 0 && !w->broken[0]) {
                bool quiet = w->side[0].n_in == 0 && w->side[1].n_in == 0;

                if (fake_settled(w) && quiet)
                        return true;
                if (!step(w))
                        break;
                fake_check(w);
        }
        return fake_settled(w) && !w->broken[0];
}
