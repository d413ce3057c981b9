/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F82 F83: every rule of podferry doctor, on what hosts say. The names say the row of the
 * matrix of both hosts' domains (decide.h), source x destination. Then what no rule may ever do,
 * over all that hosts could say; and facts from a hostile peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/diagnose.h"
#include "controllers/migration/options.h"

#define SERVED                                                                                     \
        .shim = DIAGNOSE_SHIM_ANSWERS, .vm_state = "running", .agent = CHECK_YES,                  \
        .saved = CHECK_YES, .defined = CHECK_YES, .files = CHECK_YES
#define IDLE                  SERVED, .session_state = "idle"
#define IN_SESSION(s, who, d) SERVED, .session_state = (s), .side = (who), .driver = (d)
#define DEAD                                                                                       \
        .shim = DIAGNOSE_SHIM_DEAD, .saved = CHECK_YES, .defined = CHECK_YES, .files = CHECK_YES
#define BARE .shim = DIAGNOSE_SHIM_DEAD, .saved = CHECK_NO, .defined = CHECK_NO, .files = CHECK_NO
#define NONE .shim = DIAGNOSE_SHIM_NONE, .saved = CHECK_NO
#define ON(s)                                                                                      \
        .domain = MIGRATION_AT_##s, .qemu = DIAGNOSE_QEMU_RUNS, .uuid = "u", .job = CHECK_NO,      \
        .control = "ok"
#define STANDS(s)                                                                                  \
        .domain = MIGRATION_AT_##s, .qemu = DIAGNOSE_QEMU_STOPPED, .uuid = "u", .job = CHECK_NO,   \
        .control = "ok"
#define OFF(s)      .domain = MIGRATION_AT_##s, .qemu = DIAGNOSE_QEMU_NONE, .job = CHECK_NO
#define WROTE(k)    .journal = JOURNAL_##k, .session = "s", .epoch = 1
#define FAST        .mode = MIGRATION_HANDOVER_FAST
#define NO_LIBVIRT  .libvirt_error = "down", .domain = MIGRATION_AT_UNKNOWN
#define UNREACHABLE .host = "unreachable"
#define NOBODY                                                                                     \
        { NONE, OFF(NONE) }

typedef struct Row {
        const char *name;
        DiagnoseFacts here, there; /* there: .host "" is not asked */
        const char *code;
        DiagnoseAction action;
        bool about_there;
} Row;

/* clang-format off */
static const Row rows[] = {
        { "running x not asked", { IDLE, ON(RUNNING) }, {}, "healthy" },
        { "running x none", { IDLE, ON(RUNNING) }, NOBODY, "healthy" },
        { "running x unknown: the other host is silent", { IDLE, ON(RUNNING) }, { UNREACHABLE }, "other-host-silent" },
        { "running x unknown: no libvirt there", { IDLE, ON(RUNNING) }, { NONE, NO_LIBVIRT, .qemu = DIAGNOSE_QEMU_NONE }, "libvirt-silent", DIAGNOSE_NOTHING, true },
        { "running x paused, a job: copying", { IN_SESSION("transferring", "source", "bound"), WROTE(PREPARED), ON(RUNNING) }, { IN_SESSION("transferring", "destination", "bound"), ON(INCOMING) }, "migrating" },
        { "running x paused, no job: abandoned", { IDLE, ON(RUNNING), WROTE(KEPT) }, { IN_SESSION("switchover", "destination", "none"), ON(PAUSED), WROTE(READY) }, "hand-over-cut", DIAGNOSE_ADOPT_TO, true },
        { "running x paused: its shim is dead there", { IDLE, ON(RUNNING), WROTE(KEPT) }, { DEAD, ON(PAUSED), WROTE(READY) }, "hand-over-cut", DIAGNOSE_ADOPT_TO, true },
        { "paused x paused: the shim is dead here", { DEAD, ON(PAUSED), WROTE(FENCING) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "paused x paused: FENCING, and it stands", { DEAD, STANDS(PAUSED), WROTE(FENCING) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "paused x paused: held by fast", { DEAD, STANDS(PAUSED), WROTE(PREPARED), FAST }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "paused x paused: fast, not held: the other may run", { DEAD, ON(PAUSED), WROTE(PREPARED), FAST }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "paused x paused: both wait, nobody drives", { IN_SESSION("switchover", "source", "gone"), ON(PAUSED), WROTE(PREPARED) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "paused x paused: somebody drives", { IN_SESSION("switchover", "source", "bound"), ON(PAUSED), WROTE(PREPARED) }, {}, "migrating" },
        { "paused x unknown: cut, the other host is silent", { DEAD, ON(PAUSED), WROTE(FENCING) }, { UNREACHABLE }, "other-host-silent" },
        { "paused x none: PREPARED is rolled back by itself", { DEAD, ON(PAUSED), WROTE(PREPARED) }, NOBODY, "shim-dead", DIAGNOSE_ADOPT },
        { "running x none: PREPARED is rolled back by itself", { DEAD, ON(RUNNING), WROTE(PREPARED) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "running x none: PREPARED of fast, and it runs", { DEAD, ON(RUNNING), WROTE(PREPARED), FAST }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "running x none: the shim has died", { DEAD, ON(RUNNING) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "running x unknown: the shim has died, the journal is empty", { DEAD, ON(RUNNING) }, { UNREACHABLE }, "shim-dead", DIAGNOSE_ADOPT },
        { "none x running: arrived, and the shim has died", { DEAD, ON(RUNNING), WROTE(RUNNING) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "none x paused: OWNED goes on by itself", { DEAD, ON(PAUSED), WROTE(OWNED) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "none x running: released, not cleaned up", { DEAD, OFF(NONE), WROTE(RELEASED) }, { IDLE, ON(RUNNING), WROTE(RUNNING) }, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "none x running: done, not cleaned up", { DEAD, OFF(NONE), WROTE(DONE) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "shut off x paused: READY here", { DEAD, ON(PAUSED), WROTE(READY) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "running x incoming: its shim is dead, no record", { DEAD, ON(INCOMING) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "refused, and not discarded", { DEAD, ON(PAUSED), WROTE(REFUSED) }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "moved: here is nothing", NOBODY, { IDLE, ON(RUNNING) }, "elsewhere" },
        { "moved: the journal was left", { NONE, OFF(NONE), .files = CHECK_YES, WROTE(DONE) }, {}, "finished-journal", DIAGNOSE_REMOVE_JOURNAL },
        { "moved: the journal was left there", { IDLE, ON(RUNNING) }, { NONE, OFF(NONE), .files = CHECK_YES, WROTE(DONE) }, "finished-journal", DIAGNOSE_REMOVE_JOURNAL, true },
        { "running x running", { IDLE, ON(RUNNING) }, { IDLE, ON(RUNNING) }, "split-brain" },
        { "running x running, a dead shim", { DEAD, ON(RUNNING), WROTE(PREPARED) }, { IDLE, ON(RUNNING), WROTE(RUNNING) }, "split-brain" },
        { "running x running: two pods of one name", { IDLE, ON(RUNNING) }, { IDLE, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .uuid = "v" }, "other-pod" },
        { "kept here, owned there", { DEAD, STANDS(PAUSED), WROTE(KEPT), FAST }, { IDLE, ON(RUNNING), WROTE(RUNNING) }, "two-owners" },
        { "unknown x any: stopped by somebody", { IDLE, STANDS(RUNNING) }, {}, "monitor-dead" },
        { "unknown x any: stopped, the shim is dead", { DEAD, STANDS(RUNNING) }, {}, "monitor-dead" },
        { "unknown x any: stopped, READY", { DEAD, STANDS(PAUSED), WROTE(READY) }, {}, "monitor-dead" },
        { "unknown x any: PREPARED without fast does not stop it", { DEAD, STANDS(PAUSED), WROTE(PREPARED) }, {}, "monitor-dead" },
        { "unknown x any: the monitor is broken", { IDLE, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .control = "broken" }, {}, "monitor-dead" },
        { "unknown x any: QEMU hangs", { IDLE, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .control = "busy" }, {}, "monitor-dead" },
        { "unknown x any: it is only busy", { IDLE, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .control = "busy", .job = CHECK_NO }, {}, "healthy" },
        { "unknown x any: no libvirt", { IDLE, NO_LIBVIRT }, {}, "libvirt-silent" },
        { "unknown x any: no libvirt, and a cut", { DEAD, NO_LIBVIRT, WROTE(FENCING) }, {}, "libvirt-silent" },
        { "unknown x any: the shim is silent", { .shim = DIAGNOSE_SHIM_SILENT, ON(RUNNING) }, {}, "shim-silent" },
        { "unknown x any: a damaged journal", { DEAD, ON(RUNNING), .journal_error = "bad" }, {}, "journal-damaged" },
        { "kept, and left standing", { DEAD, STANDS(PAUSED), WROTE(KEPT) }, {}, "kept-stopped", DIAGNOSE_CONTINUE_QEMU },
        { "kept, standing, the shim lives", { IDLE, STANDS(PAUSED), WROTE(KEPT) }, {}, "monitor-dead" },
        { "kept, standing, fast: the other host is not asked", { DEAD, STANDS(PAUSED), WROTE(KEPT), FAST }, {}, "monitor-dead" },
        { "kept, standing, fast: it is silent", { DEAD, STANDS(PAUSED), WROTE(KEPT), FAST }, { UNREACHABLE }, "monitor-dead" },
        { "kept, standing, fast: nothing is there", { DEAD, STANDS(PAUSED), WROTE(KEPT), FAST }, NOBODY, "monitor-dead" },
        { "paused x none: FENCING, and nothing there", { DEAD, STANDS(PAUSED), WROTE(FENCING) }, NOBODY, "other-has-nothing" },
        { "paused x none: held, and nothing there", { DEAD, STANDS(PAUSED), WROTE(PREPARED), FAST }, NOBODY, "other-has-nothing" },
        { "none x paused: READY there, nothing here", NOBODY, { DEAD, ON(PAUSED), WROTE(READY) }, "other-has-nothing" },
        { "post-copy x running", { IN_SESSION("switchover", "source", "bound"), ON(POSTCOPY), WROTE(PREPARED), FAST }, { IN_SESSION("switchover", "destination", "bound"), ON(RUNNING), WROTE(READY) }, "post-copy" },
        { "post-copy failed x running", { IN_SESSION("postcopy-broken", "source", "bound"), ON(POSTCOPY_BROKEN), WROTE(PREPARED), FAST }, { IN_SESSION("switchover", "destination", "bound"), ON(RUNNING) }, "postcopy-broken" },
        { "post-copy, and nobody drives", { IN_SESSION("switchover", "source", "gone"), ON(POSTCOPY), WROTE(PREPARED), FAST }, { IN_SESSION("switchover", "destination", "gone"), ON(RUNNING), WROTE(RUNNING) }, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "given up by libvirt, not by QEMU", { IN_SESSION("switchover", "source", "gone"), ON(POSTCOPY_BROKEN), WROTE(PREPARED), FAST }, { IN_SESSION("switchover", "destination", "gone"), ON(RUNNING), WROTE(RUNNING) }, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "post-copy, and QEMU waits for a page", { IN_SESSION("switchover", "destination", "gone"), .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .reason = "post-copy", .control = "busy", WROTE(RUNNING), FAST }, {}, "hand-over-cut", DIAGNOSE_ADOPT_TO },
        { "given up, by a shim that was started anew", { IN_SESSION("switchover", "source", "none"), ON(POSTCOPY_BROKEN), WROTE(PREPARED), FAST }, {}, "postcopy-broken" },
        { "post-copy failed, by libvirt alone", { DEAD, ON(POSTCOPY_BROKEN), WROTE(PREPARED), FAST }, {}, "postcopy-broken" },
        { "post-copy failed, and the shim that it came through is dead", { DEAD, ON(RUNNING), .reason = "post-copy-failed", WROTE(RUNNING), FAST }, {}, "postcopy-broken" },
        { "the same, and libvirt was not told", { DEAD, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .reason = "post-copy", .control = "busy", WROTE(RUNNING), FAST }, {}, "postcopy-broken" },
        { "post-copy goes on without its shim", { DEAD, ON(RUNNING), .reason = "post-copy", WROTE(RUNNING), FAST }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "post-copy failed, and the shim was started anew", { IDLE, ON(RUNNING), .reason = "post-copy-failed", WROTE(RUNNING), FAST }, {}, "postcopy-broken" },
        { "the same of the other host", { IN_SESSION("switchover", "source", "gone"), ON(POSTCOPY_BROKEN), WROTE(PREPARED), FAST }, { DEAD, ON(RUNNING), .reason = "post-copy-failed", WROTE(RUNNING), FAST }, "postcopy-broken", DIAGNOSE_NOTHING, true },
        { "the same, and its QEMU waits for a page", { DEAD, .domain = MIGRATION_AT_RUNNING, .qemu = DIAGNOSE_QEMU_RUNS, .reason = "post-copy-failed", .control = "busy", WROTE(RUNNING), FAST }, {}, "postcopy-broken" },
        { "none x none: lost", { DEAD, OFF(NONE), WROTE(LOST) }, {}, "lost" },
        { "none x any: rebooted at RELEASED", { NONE, OFF(NONE), .files = CHECK_YES, .defined = CHECK_YES, WROTE(RELEASED) }, {}, "journal-unfinished" },
        { "none x any: rebooted at READY", { NONE, OFF(NONE), .files = CHECK_YES, WROTE(READY) }, NOBODY, "journal-unfinished" },
        { "none x any: rebooted at PREPARED of fast", { NONE, OFF(NONE), .files = CHECK_YES, WROTE(PREPARED), FAST }, {}, "journal-unfinished" },
        { "none x any: rebooted at PREPARED: its own", { NONE, OFF(NONE), .defined = CHECK_YES, .files = CHECK_YES, WROTE(PREPARED) }, {}, "stopped" },
        { "shut off x none: the machine died unseen", { IDLE, OFF(DEAD) }, {}, "domain-gone" },
        { "shut off x none: the machine died, no shim", { DEAD, OFF(NONE) }, {}, "shim-dead", DIAGNOSE_ADOPT },
        { "running x none: nobody knows how it was made", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "running", .agent = CHECK_YES, .defined = CHECK_NO, ON(RUNNING) }, {}, "no-definition" },
        { "none x none: stopped, and nobody knows how it was made", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "terminated", .end_reason = "stopped", .defined = CHECK_NO, OFF(NONE) }, {}, "no-definition" },
        { "shut off x none: it died", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "terminated", .end_reason = "crashed", OFF(NONE) }, {}, "ended" },
        { "none x none: stopped, the shim is there", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "terminated", .end_reason = "stopped", OFF(NONE) }, {}, "stopped" },
        { "none x none: stopped", { NONE, OFF(NONE), .defined = CHECK_YES, .files = CHECK_YES }, {}, "stopped" },
        { "none x any: a cold move gave it away", { NONE, OFF(NONE), .defined = CHECK_YES, .files = CHECK_YES, .outgoing = "given" }, {}, "given-away" },
        { "none x any: a cold move offered it", { NONE, OFF(NONE), .defined = CHECK_YES, .files = CHECK_YES, .outgoing = "offered" }, {}, "stopped" },
        { "none x any: a cold move half brought it", { NONE, OFF(NONE), .defined = CHECK_NO, .files = CHECK_YES, .incoming = "filling" }, {}, "half-come" },
        { "none x any: a cold move brought it", { NONE, OFF(NONE), .defined = CHECK_YES, .files = CHECK_YES, .incoming = "owned" }, {}, "stopped" },
        { "none x none: no definition", { NONE, OFF(NONE), .defined = CHECK_NO, .files = CHECK_YES }, {}, "files-only" },
        { "an orphan run directory", { BARE, OFF(NONE) }, {}, "orphan-run-dir", DIAGNOSE_REMOVE_RUN_DIR },
        { "an orphan run directory, and a machine", { BARE, ON(RUNNING) }, {}, "orphan-domain" },
        { "an orphan run directory, and a process", { BARE, .domain = MIGRATION_AT_NONE, .qemu = DIAGNOSE_QEMU_RUNS }, {}, "orphan-domain" },
        { "an orphan run directory, and who knows", { BARE, .domain = MIGRATION_AT_NONE, .qemu = DIAGNOSE_QEMU_UNKNOWN }, {}, "orphan-domain" },
        { "an orphan run directory there", { IDLE, ON(RUNNING) }, { BARE, OFF(NONE) }, "orphan-run-dir", DIAGNOSE_REMOVE_RUN_DIR, true },
        { "an orphan machine", { NONE, ON(PAUSED) }, {}, "orphan-domain" },
        { "paused by hand", { IDLE, ON(PAUSED), .reason = "user" }, {}, "paused" },
        { "paused by a disk", { IDLE, ON(PAUSED), .reason = "io-error" }, {}, "disk-error" },
        { "the agent is silent", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "running", .agent = CHECK_NO, ON(RUNNING) }, {}, "agent-silent" },
        { "half disks", { IDLE, ON(RUNNING), .incomplete = 2 }, {}, "incomplete" },
        { "half disks, and still at it", { IN_SESSION("transferring", "destination", "bound"), ON(INCOMING), .incomplete = 2 }, {}, "migrating" },
        { "being started", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "starting", OFF(NONE) }, {}, "starting" },
        { "a state that nobody knows", { .shim = DIAGNOSE_SHIM_ANSWERS, .session_state = "idle", .vm_state = "odd", OFF(NONE) }, {}, "unclear" },
};
/* clang-format on */

/* What is not said is not known. */
static DiagnoseFacts fill(const DiagnoseFacts *f) {
        DiagnoseFacts g = *f;
        const char **texts[] = {
                &g.pod,           &g.host,          &g.version,       &g.shim_error, &g.vm_state,
                &g.end_reason,    &g.side,          &g.driver,        &g.outgoing,   &g.incoming,
                &g.session_state, &g.session_error, &g.libvirt_error, &g.reason,     &g.uuid,
                &g.control,       &g.session,       &g.journal_error,
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                *texts[i] = *texts[i] ?: "";
        return g;
}

static bool is_asked(const Row *row) {
        static const DiagnoseFacts nothing;

        return memcmp(&row->there, &nothing, sizeof(nothing)) != 0;
}

static void test_row(void **state) {
        const Row *row = *state;
        DiagnoseFacts here = fill(&row->here), there = fill(&row->there);
        bool known = is_asked(row) && strcmp(there.host, "unreachable") != 0;
        Diagnosis d = diagnose(&here, known ? &there : NULL, is_asked(row));

        assert_string_equal(d.code, row->code);
        assert_int_equal(d.action, row->action);
        assert_int_equal(d.there, row->about_there);
}

/* -- what no rule may do, whatever the facts -- */

static bool is_gone(const DiagnoseFacts *f) {
        return f->domain == MIGRATION_AT_NONE || f->domain == MIGRATION_AT_DEAD ||
               f->domain == MIGRATION_AT_MIGRATED;
}

static void check_safe(const DiagnoseFacts *here, const DiagnoseFacts *there, bool asked) {
        Diagnosis d = diagnose(here, there, asked);
        const DiagnoseFacts *f = d.there ? there : here;
        bool blind = f->libvirt_error[0] || f->journal_error[0];

        assert_true(d.action == DIAGNOSE_NOTHING ? d.mend[0] || d.severity == DIAGNOSE_OK
                                                 : d.severity == DIAGNOSE_ACT && !blind);
        switch (d.action) {
        case DIAGNOSE_CONTINUE_QEMU: /* the only one that lets a guest run without a shim's decision
                                      */
                assert_int_equal(f->journal, JOURNAL_KEPT);
                assert_int_equal(f->shim, DIAGNOSE_SHIM_DEAD);
                assert_true(f->mode != MIGRATION_HANDOVER_FAST);
                break;
        case DIAGNOSE_REMOVE_RUN_DIR:
        case DIAGNOSE_REMOVE_JOURNAL:
                assert_true(is_gone(f) && f->qemu == DIAGNOSE_QEMU_NONE);
                assert_true(f->journal != JOURNAL_RELEASED && f->journal != JOURNAL_FENCING &&
                            f->journal != JOURNAL_READY);
                assert_true(d.action == DIAGNOSE_REMOVE_JOURNAL ? f->journal == JOURNAL_DONE
                                                                : f->saved == CHECK_NO);
                break;
        case DIAGNOSE_ADOPT:
                assert_int_equal(f->shim, DIAGNOSE_SHIM_DEAD);
                assert_int_equal(f->saved, CHECK_YES);
                break;
        case DIAGNOSE_ADOPT_TO:
                assert_true(!asked || there);
                break;
        case DIAGNOSE_NOTHING:
        case _DIAGNOSE_ACTION_MAX:
                break;
        }
        if (there && here->domain == MIGRATION_AT_RUNNING &&
            there->domain == MIGRATION_AT_RUNNING && here->qemu == DIAGNOSE_QEMU_RUNS &&
            there->qemu == DIAGNOSE_QEMU_RUNS && !blind)
                assert_int_equal(d.severity, DIAGNOSE_ALARM);
}

/* A number below n, and the rest of it for the next choice. */
static unsigned choose(uint64_t *seed, unsigned n) {
        unsigned v = (unsigned)(*seed % n);

        *seed /= n;
        return v;
}

static DiagnoseFacts host_of(uint64_t seed) {
        static const char *const sessions[] = { "idle", "switchover", "transferring" };
        static const char *const drivers[] = { "bound", "gone", "none" };
        DiagnoseFacts f = { .uuid = "u", .session = "s", .vm_state = "running", .control = "ok" };

        f.shim = (DiagnoseShim)choose(&seed, _DIAGNOSE_SHIM_MAX);
        f.domain = (MigrationDomainState)choose(&seed, _MIGRATION_AT_MAX);
        f.qemu = (DiagnoseQemu)choose(&seed, _DIAGNOSE_QEMU_MAX);
        f.journal = (JournalKind)choose(&seed, _JOURNAL_KIND_MAX);
        f.mode = choose(&seed, _MIGRATION_HANDOVER_MAX);
        f.saved = (CheckAnswer)choose(&seed, 3);
        f.job = (CheckAnswer)choose(&seed, 3);
        if (f.shim == DIAGNOSE_SHIM_ANSWERS) {
                f.session_state = sessions[choose(&seed, ELEMENTSOF(sessions))];
                f.driver = drivers[choose(&seed, ELEMENTSOF(drivers))];
                f.side = choose(&seed, 2) ? "source" : "destination";
        }
        f.libvirt_error = choose(&seed, 8) == 7 ? "down" : "";
        f.journal_error = choose(&seed, 8) == 7 ? "bad" : "";
        return fill(&f);
}

static uint64_t next(uint64_t *x) {
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        return *x;
}

static void test_nothing_unsafe(void **state) {
        uint64_t x = 88172645463325252ULL;

        for (unsigned i = 0; i < 2000000; i++) {
                DiagnoseFacts here = host_of(next(&x)), there = host_of(next(&x));
                unsigned asked = i % 3;

                check_safe(&here, asked == 2 ? &there : NULL, asked > 0);
        }
}

/* Only what concerns this host, or both. */
static void test_may_fix(void **state) {
        Diagnosis d = { .action = DIAGNOSE_ADOPT };

        assert_true(diagnose_may_fix(&d, false));
        d.there = true;
        assert_false(diagnose_may_fix(&d, true));
        d.action = DIAGNOSE_ADOPT_TO;
        assert_true(diagnose_may_fix(&d, true));
        assert_false(diagnose_may_fix(&d, false));
        d = (Diagnosis){};
        assert_false(diagnose_may_fix(&d, true));
}

/* -- facts as text -- */

static const char good[] =
        "{'host':{'name':'h1','podferry':'0.1.0'},"
        "'pod':{'name':'web','state':'running','agent':true,'saved':true,'incomplete':0},"
        "'shim':{'state':'answers','pid':10},'session':{'state':'idle'},'libvirt':{'error':''},"
        "'domain':{'state':'running','reason':'booted','uuid':'u','control':'ok','job':false},"
        "'qemu':{'process':'runs','pid':11},"
        "'journal':{'record':'kept','mode':2,'epoch':3,'session':'s'},"
        "'log':[{'text':'one'},{'text':'two'}],'later':7}";

typedef struct Text {
        const char *name, *old, *new;
        int code;
} Text;

static const Text texts[] = {
        { "as they should be", "{", "{", 0 },
        { "no JSON", "{'host'", "host", -EBADMSG },
        { "an end that is cut off", ",'later':7}", "", -EBADMSG },
        { "something after the end", "'later':7}", "'later':7} x", -EBADMSG },
        { "another type", "'pid':10", "'pid':'10'", -EINVAL },
        { "a number below 0", "'pid':10", "'pid':-1", -EINVAL },
        { "a part that is no object", "'session':{'state':'idle'}", "'session':[]", -EINVAL },
        { "a state that is not known", "'state':'answers'", "'state':'sings'", -EINVAL },
        { "a domain state that is not known", "{'state':'running','reason'",
          "{'state':'r','reason'", -EINVAL },
        { "a process state that is not known", "'process':'runs'", "'process':''", -EINVAL },
        { "a record that is not known", "'record':'kept'", "'record':'sold'", -EINVAL },
        { "no record at all", "'record':'kept',", "", -EINVAL },
        { "a pod's name with a slash", "'name':'web'", "'name':'../web'", -EINVAL },
        { "a pod without a name", "'name':'web',", "", -EINVAL },
        { "a control character", "'two'", "'a\\u001b[31mb'", -EINVAL },
        { "a NUL", "'two'", "'a\\u0000b'", -EINVAL },
        { "too many lines", "[{'text':'one'}", "[{},{},{},{}", -EINVAL },
        { "lines that are none", "{'text':'one'}", "7", -EINVAL },
};

static void test_text(void **state) {
        _cleanup_(diagnose_facts_freep) DiagnoseFacts *f = NULL;
        const Text *t = *state;
        const char *at = strstr(good, t->old);
        Error e = ERROR_INIT;
        char text[2048];

        assert_non_null(at);
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, t->new,
                       at + strlen(t->old));
        for (char *c = text; *c; c++)
                *c = *c == '\'' ? '"' : *c;
        assert_int_equal(diagnose_facts_read(text, &f, &e), t->code);
        if (t->code < 0) {
                assert_null(f);
                assert_true(e.text[0]);
                return;
        }
        assert_string_equal(f->pod, "web");
        assert_int_equal(f->shim, DIAGNOSE_SHIM_ANSWERS);
        assert_int_equal(f->domain, MIGRATION_AT_RUNNING);
        assert_int_equal(f->qemu, DIAGNOSE_QEMU_RUNS);
        assert_int_equal(f->journal, JOURNAL_KEPT);
        assert_int_equal(f->epoch, 3);
        assert_int_equal(f->defined, CHECK_UNKNOWN);
        assert_int_equal(f->n_log, 2);
        assert_string_equal(f->log[1].text, "two");
}

static void test_too_long(void **state) {
        _cleanup_free_ char *text = malloc(DIAGNOSE_FACTS_MAX + 2);
        DiagnoseFacts *f = NULL;

        assert_non_null(text);
        memset(text, ' ', DIAGNOSE_FACTS_MAX + 1);
        text[DIAGNOSE_FACTS_MAX + 1] = '\0';
        assert_int_equal(diagnose_facts_read(text, &f, NULL), -EINVAL);
        assert_null(f);
}

static void test_every_rule_fires(void **state) {
        for (size_t i = 0; i < diagnose_n_rules(); i++) {
                bool found = false;

                for (size_t k = 0; k < ELEMENTSOF(rows); k++)
                        found = found || strcmp(rows[k].code, diagnose_rule_code(i)) == 0;
                if (!found)
                        fail_msg("%s has no row", diagnose_rule_code(i));
        }
}

static void test_documented(void **state) {
        char page[32768], line[200];
        FILE *p = fopen(GOLDEN_DIR "/../../docs/doctor.md", "re");

        assert_non_null(p);
        page[fread(page, 1, sizeof(page) - 1, p)] = '\0';
        (void)fclose(p);
        for (size_t i = 0; i < diagnose_n_rules(); i++) {
                (void)snprintf(line, sizeof(line), "| `%s` | %s | %s |", diagnose_rule_code(i),
                               diagnose_severity_name(diagnose_rule_severity(i)),
                               diagnose_rule_row(i));
                if (!strstr(page, line))
                        fail_msg("docs/doctor.md lacks: %s", line);
        }
}

int main(void) {
        static struct CMUnitTest tests[ELEMENTSOF(rows) + ELEMENTSOF(texts) + 5];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[n++] = (struct CMUnitTest){ .name = rows[i].name,
                                                  .test_func = test_row,
                                                  .initial_state = (void *)(uintptr_t)&rows[i] };
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                tests[n++] = (struct CMUnitTest){ .name = texts[i].name,
                                                  .test_func = test_text,
                                                  .initial_state = (void *)(uintptr_t)&texts[i] };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_nothing_unsafe);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_may_fix);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_too_long);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_rule_fires);
        tests[n++] = (struct CMUnitTest){ .name = "every rule is in docs/doctor.md",
                                          .test_func = test_documented };
        return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
