/* SPDX-License-Identifier: Apache-2.0 */
/* The rules, in order: what nobody may touch first, then what cannot be seen, then what can be
 * mended, then what is well. A rule for one host is asked of this one first, then of the other. */
#include "controllers/migration/diagnose.h"

#include <string.h>

#include "controllers/migration/options.h"

typedef struct Input {
        const DiagnoseFacts *here, *there; /* there: NULL if not known */
        bool asked;                        /* for the other one */
} Input;

typedef bool (*OfBoth)(const Input *in);
typedef bool (*OfOne)(const DiagnoseFacts *f, const DiagnoseFacts *other);

typedef struct Rule {
        const char *code;
        DiagnoseSeverity severity;
        const char *row;
        OfBoth both; /* one of the two */
        OfOne one;
        DiagnoseAction action;
        const char *says, *mend;
} Rule;

static bool is(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* -- what the facts mean -- */

static bool is_destination(const DiagnoseFacts *f) {
        return f->side[0] ? is(f->side, "destination")
                          : journal_kind_is_destinations(f->journal) ||
                                    f->domain == MIGRATION_AT_INCOMING;
}

/* podferry itself stops QEMU before it kills it, and with handover=fast until it is decided. */
static bool is_held(const DiagnoseFacts *f) {
        return f->qemu == DIAGNOSE_QEMU_STOPPED &&
               (f->journal == JOURNAL_FENCING ||
                (f->journal == JOURNAL_PREPARED && f->mode == MIGRATION_HANDOVER_FAST));
}

static bool is_deaf(const DiagnoseFacts *f) {
        return !is_held(f) && (f->qemu == DIAGNOSE_QEMU_STOPPED || is(f->control, "broken") ||
                               (is(f->control, "busy") && f->job == CHECK_UNKNOWN));
}

static MigrationDomain domain_of(const DiagnoseFacts *f) {
        MigrationDomain d = { .state = f->domain, .job_active = f->job == CHECK_YES };

        if (f->libvirt_error[0] || is_deaf(f))
                d.state = MIGRATION_AT_UNKNOWN;
        d.held = is_held(f) && d.state == MIGRATION_AT_PAUSED;
        return d;
}

static bool runs(const DiagnoseFacts *f) {
        MigrationDomainState s = domain_of(f).state;

        return s == MIGRATION_AT_RUNNING || s == MIGRATION_AT_POSTCOPY;
}

/* Surely no machine: libvirt says so, and there is no process. */
static bool is_empty(const DiagnoseFacts *f) {
        MigrationDomainState s = domain_of(f).state;

        return (s == MIGRATION_AT_NONE || s == MIGRATION_AT_DEAD || s == MIGRATION_AT_MIGRATED) &&
               f->qemu == DIAGNOSE_QEMU_NONE;
}

static bool is_fast(const DiagnoseFacts *f) {
        return f->mode == MIGRATION_HANDOVER_FAST;
}

/* What a new shim does if it hears nothing of the other host: its journal decides, by the tables
 * of the hand-over. */
static MigrationMove move_alone(const DiagnoseFacts *f) {
        MigrationDomain d = domain_of(f);

        if (is_destination(f))
                return is_fast(f) ? migration_fast_destination_move(
                                            f->journal, &d, MIGRATION_PEER_SILENT, true, false)
                                  : migration_destination_move(f->journal, &d,
                                                               MIGRATION_PEER_SILENT, true, false);
        return is_fast(f)
                       ? migration_postcopy_source_move(f->journal, &d, MIGRATION_PEER_SILENT, true)
                       : migration_source_move(f->journal, &d, MIGRATION_PEER_SILENT, true);
}

/* It takes the other host's word to go on. */
static bool needs_other(const DiagnoseFacts *f) {
        if (f->journal == JOURNAL_NONE || f->journal == JOURNAL_KEPT ||
            f->journal == JOURNAL_RUNNING)
                return f->domain == MIGRATION_AT_INCOMING || f->domain == MIGRATION_AT_POSTCOPY;
        switch (move_alone(f)) {
        case MIGRATION_MOVE_KEEP:
        case MIGRATION_MOVE_ROLL_BACK:
        case MIGRATION_MOVE_RESUME:
        case MIGRATION_MOVE_FINISH:
                return false;
        case MIGRATION_MOVE_WAIT:
        case MIGRATION_MOVE_HAND_OFF:
        case MIGRATION_MOVE_FENCE:
        case MIGRATION_MOVE_RELEASE:
        case MIGRATION_MOVE_LOSE:
        case MIGRATION_MOVE_READY:
        case MIGRATION_MOVE_OWN:
        case MIGRATION_MOVE_REFUSE:
        case MIGRATION_MOVE_DISCARD:
        case MIGRATION_MOVE_ALARM:
        case _MIGRATION_MOVE_MAX:
                break;
        }
        return true;
}

static bool has_session(const DiagnoseFacts *f) {
        return f->shim == DIAGNOSE_SHIM_ANSWERS && f->session_state[0] &&
               !is(f->session_state, "idle");
}

/* Nobody drives it, and it cannot end by itself. */
static bool waits(const DiagnoseFacts *f) {
        return has_session(f) && (is(f->driver, "gone") || is(f->driver, "none")) &&
               (is(f->session_state, "switchover") || is(f->session_state, "cancelling"));
}

static bool is_cut(const DiagnoseFacts *f) {
        return waits(f) || (f->shim == DIAGNOSE_SHIM_DEAD && needs_other(f) &&
                            (f->saved == CHECK_YES || !is_empty(f)));
}

static bool is_one_pod(const DiagnoseFacts *a, const DiagnoseFacts *b) {
        return (a->uuid[0] && is(a->uuid, b->uuid)) ||
               (a->session[0] && is(a->session, b->session));
}

bool diagnose_is_there(const DiagnoseFacts *f) {
        return f->shim != DIAGNOSE_SHIM_NONE || f->domain != MIGRATION_AT_NONE ||
               f->qemu > DIAGNOSE_QEMU_NONE || f->journal != JOURNAL_NONE || f->journal_error[0] ||
               f->files == CHECK_YES || f->defined == CHECK_YES;
}

bool diagnose_matrix(const DiagnoseFacts *here, const DiagnoseFacts *there,
                     MigrationDecision *ret) {
        MigrationDomain a, b;

        if (!there || !is_one_pod(here, there))
                return false;
        a = domain_of(here);
        b = domain_of(there);
        *ret = is_destination(here) && !is_destination(there) ? migration_decide(&b, &a)
                                                              : migration_decide(&a, &b);
        return true;
}

/* -- rules of both -- */

static bool split_brain(const Input *in) {
        MigrationDecision d;

        return diagnose_matrix(in->here, in->there, &d) &&
               d.verdict == MIGRATION_VERDICT_SPLIT_BRAIN;
}

static bool owns_by_move(const DiagnoseFacts *f) {
        return f->journal == JOURNAL_OWNED || f->journal == JOURNAL_RUNNING;
}

static bool two_owners(const Input *in) {
        const DiagnoseFacts *a = in->here, *b = in->there;

        return b && a->session[0] && is(a->session, b->session) && !is_empty(a) && !is_empty(b) &&
               ((a->journal == JOURNAL_KEPT && owns_by_move(b)) ||
                (b->journal == JOURNAL_KEPT && owns_by_move(a)));
}

static bool other_silent_cut(const Input *in) {
        return in->asked && !in->there && is_cut(in->here);
}

/* It may be the wrong host, it may have lost its copy, or have sent it on. */
static bool other_has_nothing(const Input *in) {
        const DiagnoseFacts *a = in->here, *b = in->there;

        return b && ((is_cut(a) && !diagnose_is_there(b)) || (is_cut(b) && !diagnose_is_there(a)));
}

static bool other_silent(const Input *in) {
        return in->asked && !in->there;
}

static bool other_pod(const Input *in) {
        return in->there && in->here->uuid[0] && in->there->uuid[0] &&
               !is_one_pod(in->here, in->there);
}

static bool elsewhere(const Input *in) {
        return in->there && is_empty(in->here) && in->here->shim == DIAGNOSE_SHIM_NONE &&
               runs(in->there) && in->there->shim == DIAGNOSE_SHIM_ANSWERS;
}

/* -- rules of one -- */

static bool lost(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->journal == JOURNAL_LOST && !runs(f);
}

static bool journal_damaged(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->journal_error[0];
}

static bool libvirt_silent(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->libvirt_error[0];
}

/* A destination of post-copy whose shim, or that shim's session, is no more. For libvirt it runs,
 * and if it already waits for a page, libvirt is not told that its link is broken. */
static bool is_torn(const DiagnoseFacts *f) {
        return !has_session(f) &&
               (is(f->reason, "post-copy-failed") || (is(f->reason, "post-copy") && is_deaf(f)));
}

static bool postcopy_broken(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        /* libvirt gives it up after 30 s without its peer; QEMU, whose stream the shims keep, does
         * not: then its session is not at its end. */
        return is_torn(f) ||
               (domain_of(f).state == MIGRATION_AT_POSTCOPY_BROKEN &&
                !(waits(f) && is(f->driver, "gone"))) ||
               is(f->session_state, "postcopy-broken");
}

/* The journal says whose the guest is, and nobody is there who may be about to hold it again. With
 * fast an older podferry could come to KEPT while the other host runs it, and that a host named
 * to us has nothing proves only that of that host. */
static bool kept_stopped(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->qemu == DIAGNOSE_QEMU_STOPPED && f->journal == JOURNAL_KEPT &&
               f->shim == DIAGNOSE_SHIM_DEAD && !is_fast(f);
}

/* QEMU of a post-copy may itself stand at a page that has not come. */
static bool deaf(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        bool postcopy = strncmp(f->reason, "post-copy", strlen("post-copy")) == 0;

        return is_deaf(f) && !(postcopy && f->qemu == DIAGNOSE_QEMU_RUNS && waits(f));
}

static bool shim_silent(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_SILENT;
}

static bool cut(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return is_cut(f);
}

static bool shim_dead(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_DEAD && f->saved == CHECK_YES;
}

static bool never_decided(const DiagnoseFacts *f) {
        return f->journal != JOURNAL_DONE && !migration_may_start(f->journal, is_fast(f));
}

static bool journal_unfinished(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim != DIAGNOSE_SHIM_ANSWERS && is_empty(f) && never_decided(f);
}

static bool orphan_run_dir(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_DEAD && f->saved == CHECK_NO && is_empty(f);
}

static bool orphan_domain(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return !is_empty(f) && (f->shim == DIAGNOSE_SHIM_NONE || f->shim == DIAGNOSE_SHIM_DEAD);
}

static bool postcopy(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return domain_of(f).state == MIGRATION_AT_POSTCOPY;
}

static bool migrating(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return has_session(f);
}

/* A cold move was cut off (docs/offline.md): podferry start is refused. */
static bool given_away(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_NONE && is_empty(f) &&
               (is(f->outgoing, "given") || is(f->outgoing, "damaged"));
}

static bool half_come(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_NONE && is_empty(f) && f->incoming[0] &&
               !is(f->incoming, "none") && !is(f->incoming, "owned");
}

static bool finished_journal(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_NONE && is_empty(f) && f->journal == JOURNAL_DONE &&
               f->defined != CHECK_YES;
}

static bool idles(const DiagnoseFacts *f) {
        return f->shim == DIAGNOSE_SHIM_ANSWERS && !has_session(f);
}

static bool domain_gone(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && is(f->vm_state, "running") && is_empty(f);
}

static bool disk_error(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && domain_of(f).state == MIGRATION_AT_PAUSED && is(f->reason, "io-error");
}

static bool paused(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && domain_of(f).state == MIGRATION_AT_PAUSED;
}

static bool agent_silent(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && runs(f) && is(f->vm_state, "running") && f->agent == CHECK_NO;
}

static bool incomplete(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return !has_session(f) && f->incomplete > 0 && f->incomplete != CHECK_NUMBER_UNKNOWN;
}

static bool no_definition(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && f->defined == CHECK_NO &&
               (runs(f) || (is_empty(f) && is(f->vm_state, "terminated")));
}

static bool ended(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && (is(f->vm_state, "invalid") ||
                            (is(f->vm_state, "terminated") && !is(f->end_reason, "stopped")));
}

static bool stopped(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return is_empty(f) && ((f->shim == DIAGNOSE_SHIM_NONE && f->defined == CHECK_YES) ||
                               (idles(f) && is(f->vm_state, "terminated")));
}

static bool files_only(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return f->shim == DIAGNOSE_SHIM_NONE && is_empty(f) && f->files == CHECK_YES;
}

static bool healthy(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        return idles(f) && runs(f) && is(f->vm_state, "running");
}

static bool starting(const DiagnoseFacts *f, const DiagnoseFacts *other) {
        static const char *const states[] = { "", "not-created", "starting", "stopping" };

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (idles(f) && is(f->vm_state, states[i]))
                        return true;
        return false;
}

static bool unclear(const Input *in) {
        return true;
}

/* A host that has nothing of it is no subject of a rule but whether it can be asked. */
#define ONE(f)  .one = (f)
#define BOTH(f) .both = (f)

/* clang-format off */
static const Rule rules[] = {
        { "split-brain", DIAGNOSE_ALARM, "running x running", BOTH(split_brain), .says = "it runs on both hosts",
          .mend = "podferry touches neither. The owner is the host whose journal has the higher epoch with owned or running, or says kept; on the other one: virsh suspend podferry-POD, then look what both have written" },
        { "two-owners", DIAGNOSE_ALARM, "running x running", BOTH(two_owners), .says = "one host kept the pod, and it came to run on the other one, too",
          .mend = "podferry touches neither. Look which copy is to stay, and end the other with podferry rm --force" },
        { "lost", DIAGNOSE_ALARM, "none x none", ONE(lost), .says = "the journal says that the pod is lost: no host has its guest any more",
          .mend = "its disks are as they were left: podferry rm --force it, then run it anew" },
        { "journal-damaged", DIAGNOSE_BLIND, "unknown x any", ONE(journal_damaged), .says = "its journal cannot be read, so it is not known who may run it",
          .mend = "nothing is done. See what damaged the file; never remove it while the other host may have the pod" },
        { "libvirt-silent", DIAGNOSE_BLIND, "unknown x any", ONE(libvirt_silent), .says = "libvirt cannot be asked, so it is not known what runs",
          .mend = "nothing is done. Start libvirtd there, or see why it hangs, and ask again" },
        { "postcopy-broken", DIAGNOSE_ACT, "post-copy failed x any", ONE(postcopy_broken), .says = "its link broke in post-copy: each host has a half of it",
          .mend = "podferry keeps both. Mend the network; destroy neither half while libvirt may yet resume it. If what carried it has died: podferry rm --force on both hosts gives the pod up" },
        { "kept-stopped", DIAGNOSE_ACT, "paused x none", ONE(kept_stopped), DIAGNOSE_CONTINUE_QEMU, "its QEMU stands, stopped by a hand-over that ended with the pod kept here", "" },
        { "monitor-dead", DIAGNOSE_BLIND, "unknown x any", ONE(deaf), .says = "its QEMU does not answer: the process is stopped, or hangs",
          .mend = "nothing is done. See who stopped it (kill -CONT lets it go on, if the other host does not have the pod), or what its disks wait for" },
        { "shim-silent", DIAGNOSE_BLIND, "unknown x any", ONE(shim_silent), .says = "its shim lives, and does not answer",
          .mend = "nothing is done. Look at the process: stopped (kill -CONT), or in the middle of long work; if it hangs for good, kill -9 it, and podferry adopt" },
        { "other-host-silent", DIAGNOSE_BLIND, "any x unknown", BOTH(other_silent_cut), .says = "it was being handed over, and the other host cannot be asked",
          .mend = "nothing is done: only the other host knows whether it has the pod. Bring it back, and ask again" },
        { "other-has-nothing", DIAGNOSE_BLIND, "paused x none", BOTH(other_has_nothing), .says = "it was being handed over, and one of the two hosts has nothing of it",
          .mend = "nothing is done. Is it the right host? If a shim there was given up, docs/handover.md says which copy may go on, and how" },
        { "hand-over-cut", DIAGNOSE_ACT, "paused x paused", ONE(cut), DIAGNOSE_ADOPT_TO, "it was being handed over, and nobody drives that any more: both hosts have to speak", "" },
        { "journal-unfinished", DIAGNOSE_BLIND, "none x any", ONE(journal_unfinished), .says = "its journal ends in the middle of a hand-over, and nothing of it runs here, as after a reboot",
          .mend = "nothing is done, and podferry start is refused: look whether the other host has it. If it does, podferry rm --force it here" },
        { "shim-dead", DIAGNOSE_ACT, "running x none", ONE(shim_dead), DIAGNOSE_ADOPT, "its shim has died; what runs in it runs on", "" },
        { "orphan-run-dir", DIAGNOSE_ACT, "none x any", ONE(orphan_run_dir), DIAGNOSE_REMOVE_RUN_DIR, "only a run directory is left of it: no shim, no machine, nothing to go on from", "" },
        { "orphan-domain", DIAGNOSE_ACT, "any x any", ONE(orphan_domain), .says = "there is a machine of it, and nothing that a shim could take it up from",
          .mend = "podferry does not end it: it may be the only copy. If the other host has the pod, or nobody needs it: virsh destroy podferry-POD" },
        { "post-copy", DIAGNOSE_ADVISES, "post-copy x running", ONE(postcopy), .says = "it moves by post-copy: it runs at the destination, its memory follows", .mend = "wait; it cannot be called back" },
        { "migrating", DIAGNOSE_ADVISES, "running x paused", ONE(migrating), .says = "a migration of it is under way", .mend = "wait until it is over, or end it: podferry migration cancel" },
        { "given-away", DIAGNOSE_ACT, "none x any", ONE(given_away), .says = "it was given to another host, and that move is not at its end: it starts here no more",
          .mend = "podferry migrate, with --to and the same host as then, sees it to its end; podferry start says which host" },
        { "half-come", DIAGNOSE_ACT, "none x any", ONE(half_come), .says = "it comes from another host, by a move that is not at its end: it does not start here",
          .mend = "podferry migrate on that host, once more, goes on with it; podferry rm --force here drops what came, if that host has it" },
        { "finished-journal", DIAGNOSE_ACT, "none x running", ONE(finished_journal), DIAGNOSE_REMOVE_JOURNAL, "it has moved away; its finished journal was left behind", "" },
        { "other-host-silent", DIAGNOSE_BLIND, "any x unknown", BOTH(other_silent), .says = "the other host cannot be asked",
          .mend = "see why, and ask again" },
        { "other-pod", DIAGNOSE_ADVISES, "any x any", BOTH(other_pod), .says = "the pod of that name on the other host is another one", .mend = "say which one is meant with --name" },
        { "domain-gone", DIAGNOSE_ACT, "none x none", ONE(domain_gone), .says = "its shim takes it for running, and libvirt has no machine of it",
          .mend = "ask again; if it stays so, restart libvirtd's side first, then podferry stop and podferry start" },
        { "disk-error", DIAGNOSE_ACT, "paused x none", ONE(disk_error), .says = "QEMU has paused it, since a disk failed or is full", .mend = "mend the disk or make room, then virsh resume podferry-POD" },
        { "paused", DIAGNOSE_ADVISES, "paused x none", ONE(paused), .says = "its machine is paused, and no migration is under way", .mend = "whoever paused it may virsh resume podferry-POD" },
        { "agent-silent", DIAGNOSE_ADVISES, "running x none", ONE(agent_silent), .says = "it runs, and the agent in its guest does not answer", .mend = "a guest that begins or is very busy comes back; else see its console.log" },
        { "incomplete", DIAGNOSE_ADVISES, "running x none", ONE(incomplete), .says = "half-copied disks of a migration that failed are left, marked .incomplete", .mend = "the next migration replaces them; nothing runs on them. Where none is to come, podferry rm --force removes them" },
        { "ended", DIAGNOSE_ADVISES, "shut off x none", ONE(ended), .says = "its machine has ended, unasked", .mend = "see its console.log; podferry start runs it again" },
        { "no-definition", DIAGNOSE_ADVISES, "running x none", ONE(no_definition), .says = "how it was made is not known on this host: once stopped, podferry start cannot run it again", .mend = "keep what it was run with, to run it anew then" },
        { "elsewhere", DIAGNOSE_OK, "none x running", BOTH(elsewhere), .says = "it runs on the other host", .mend = "" },
        { "stopped", DIAGNOSE_OK, "none x none", ONE(stopped), .says = "it is stopped; podferry start runs it again", .mend = "" },
        { "files-only", DIAGNOSE_ADVISES, "none x any", ONE(files_only), .says = "only files are left of it in the state directory", .mend = "look at them; remove them if nobody needs them" },
        { "starting", DIAGNOSE_OK, "none x none", ONE(starting), .says = "it is being started, received or ended", .mend = "" },
        { "healthy", DIAGNOSE_OK, "running x none", ONE(healthy), .says = "it runs, and its shim serves it", .mend = "" },
        { "unclear", DIAGNOSE_BLIND, "unknown x any", BOTH(unclear), .says = "what is seen fits no rule", .mend = "nothing is done. Ask again; podferry inspect and the logs say more" },
};
/* clang-format on */

static bool fires(const Rule *rule, const Input *in, bool *ret_there) {
        *ret_there = false;
        if (rule->both)
                return rule->both(in);
        /* whether it can be asked matters of each host, the rest only where there is something */
        if ((rule->one == libvirt_silent || diagnose_is_there(in->here)) &&
            rule->one(in->here, in->there))
                return true;
        *ret_there = true;
        return in->there && (rule->one == libvirt_silent || diagnose_is_there(in->there)) &&
               rule->one(in->there, in->here);
}

Diagnosis diagnose(const DiagnoseFacts *here, const DiagnoseFacts *there, bool asked) {
        const Input in = { here, there, asked };
        const Rule *rule = rules;
        bool other;

        while (!fires(rule, &in, &other))
                rule++; /* the last one always does */
        return (Diagnosis){ .code = rule->code,
                            .severity = rule->severity,
                            .row = rule->row,
                            .says = rule->says,
                            .mend = rule->mend,
                            .action = rule->action,
                            .there = other };
}

bool diagnose_may_fix(const Diagnosis *d, bool has_other) {
        if (d->action == DIAGNOSE_ADOPT_TO)
                return has_other;
        return d->action != DIAGNOSE_NOTHING && !d->there;
}

const char *diagnose_severity_name(DiagnoseSeverity s) {
        static const char *const names[] = { "ok", "advises", "needs-action", "blind", "alarm" };

        return s < _DIAGNOSE_SEVERITY_MAX ? names[s] : "?";
}

const char *diagnose_action_name(DiagnoseAction a) {
        static const char *const names[] = {
                "nothing", "adopt", "adopt-to", "continue-qemu", "remove-run-dir", "remove-journal",
        };

        return a < _DIAGNOSE_ACTION_MAX ? names[a] : "?";
}

size_t diagnose_n_rules(void) {
        return ELEMENTSOF(rules);
}

const char *diagnose_rule_code(size_t i) {
        return rules[i].code;
}

DiagnoseSeverity diagnose_rule_severity(size_t i) {
        return rules[i].severity;
}

const char *diagnose_rule_row(size_t i) {
        return rules[i].row;
}
