/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of plans: what hosts say, each cell of the table of states and events, and random
 * orders of events in which its promises must hold. */
/* rows: F59 F68 F71 F72 F73 F75 F78 F79 B11 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shim/plan/plan-engine.h"

/* -- what hosts say -- */

typedef struct Decision {
        const char *name;
        const char *facts; /* the source's first: s silent, n none, h here, b busy, d dead */
        PlanVerdict verdict;
        size_t host;
} Decision;
static const Decision decisions[] = {
        { "decide: at its source", "hn", PLAN_STAYED, 0 },
        { "decide: at its source, destination silent", "hs", PLAN_STAYED, 0 },
        { "decide: at its destination", "nh", PLAN_ARRIVED, 1 },
        { "decide: at the third of its destinations", "nnnh", PLAN_ARRIVED, 3 },
        { "decide: at its destination, source silent", "sh", PLAN_ARRIVED, 1 },
        { "decide: the source has it in a migration", "bn", PLAN_UNDECIDED, 0 },
        { "decide: the destination has it in a migration", "nb", PLAN_UNDECIDED, 0 },
        { "decide: at its source, and a rest elsewhere", "hb", PLAN_UNDECIDED, 0 },
        { "decide: both in a migration", "bb", PLAN_UNDECIDED, 0 },
        { "decide: a shim has died", "dn", PLAN_UNDECIDED, 0 },
        { "decide: dead here, there it is", "dh", PLAN_UNDECIDED, 1 },
        { "decide: silent source, nothing there", "sn", PLAN_UNREACHED, 0 },
        { "decide: nothing here, silent there", "ns", PLAN_UNREACHED, 0 },
        { "decide: all silent", "sss", PLAN_UNREACHED, 0 },
        { "decide: nowhere", "nn", PLAN_NOWHERE, 0 },
        { "decide: two copies", "hh", PLAN_TWO_COPIES, 1 },
        { "decide: two copies, one of them busy elsewhere", "hbh", PLAN_TWO_COPIES, 2 },
};

static void test_decision(void **state) {
        const Decision *row = *state;
        PlanFact facts[8];
        size_t n = strlen(row->facts), host;

        for (size_t i = 0; i < n; i++)
                facts[i] = row->facts[i] == 's'   ? PLAN_FACT_SILENT
                           : row->facts[i] == 'n' ? PLAN_FACT_NONE
                           : row->facts[i] == 'h' ? PLAN_FACT_HERE
                           : row->facts[i] == 'b' ? PLAN_FACT_BUSY
                                                  : PLAN_FACT_DEAD;
        assert_int_equal(plan_decide(facts, n, &host), row->verdict);
        if (row->verdict == PLAN_STAYED || row->verdict == PLAN_ARRIVED)
                assert_int_equal(host, row->host);
}

/* -- cells -- */

#define HOSTS 3
#define PODS  6
typedef struct World {
        PlanHost hosts[HOSTS];
        PlanPod pods[PODS];
        Plan plan;
        PlanEngine g;
} World;

static void make(World *w, size_t n_pods) {
        static const PlanWay live = { "live", "migrate" };

        *w = (World){ .plan = { .name = (char[]){ "w" },
                                .hosts = w->hosts,
                                .n_hosts = HOSTS,
                                .pods = w->pods,
                                .n_pods = n_pods,
                                .all = 5,
                                .backoff_ms = 100,
                                .warn_after_ms = 1000 } };
        for (size_t i = 0; i < HOSTS; i++)
                w->hosts[i] = (PlanHost){ .name = (char[]){ "h" }, .out = 1, .in = 2 };
        for (size_t i = 0; i < PODS; i++)
                w->pods[i] = (PlanPod){ .pod = (char[]){ "p" },
                                        .way = &live,
                                        .from = 0,
                                        .to = { 1, 2 },
                                        .n_to = 2,
                                        .retries = 1 };
        assert_int_equal(plan_engine_init(&w->g, &w->plan, NULL), 0);
}

typedef struct CellRow {
        PlanEntryState state;
        const char *event; /* as below */
        bool doubt;
        int next; /* -1: makes no sense there */
} CellRow;

/* S stayed, A arrived, U undecided, R unreached, N nowhere, T two copies: facts; h held, f freed,
 * m ended moved, e ended otherwise, c cancel, k skip, s start, d due. */
#define NO (-1)
static const CellRow cell_rows[] = {
        { PLAN_CHECKING, "S", false, PLAN_QUEUED },
        { PLAN_CHECKING, "S", true, PLAN_QUEUED },
        { PLAN_CHECKING, "A", false, PLAN_MOVED },
        { PLAN_CHECKING, "A", true, PLAN_MOVED },
        { PLAN_CHECKING, "U", false, PLAN_WAITING },
        { PLAN_CHECKING, "U", true, PLAN_WAITING },
        { PLAN_CHECKING, "R", false, PLAN_WAITING },
        { PLAN_CHECKING, "R", true, PLAN_WAITING },
        { PLAN_CHECKING, "N", false, PLAN_FAILED },
        { PLAN_CHECKING, "N", true, PLAN_FAILED },
        { PLAN_CHECKING, "T", false, PLAN_FAILED },
        { PLAN_CHECKING, "T", true, PLAN_FAILED },
        { PLAN_CHECKING, "h", false, PLAN_HELD },
        { PLAN_CHECKING, "f", false, NO },
        { PLAN_CHECKING, "m", false, NO },
        { PLAN_CHECKING, "e", false, NO },
        { PLAN_CHECKING, "c", false, PLAN_CANCELLED },
        { PLAN_CHECKING, "c", true, PLAN_CHECKING },
        { PLAN_CHECKING, "k", false, PLAN_SKIPPED },
        { PLAN_CHECKING, "k", true, PLAN_CHECKING },
        { PLAN_CHECKING, "s", false, NO },
        { PLAN_CHECKING, "d", false, NO },
        { PLAN_HELD, "S", false, NO },
        { PLAN_HELD, "h", false, NO },
        { PLAN_HELD, "f", false, PLAN_CHECKING },
        { PLAN_HELD, "m", false, NO },
        { PLAN_HELD, "c", false, PLAN_CANCELLED },
        { PLAN_HELD, "c", true, PLAN_HELD },
        { PLAN_HELD, "k", false, PLAN_SKIPPED },
        { PLAN_HELD, "k", true, PLAN_HELD },
        { PLAN_HELD, "s", false, NO },
        { PLAN_HELD, "d", false, NO },
        { PLAN_QUEUED, "S", false, NO },
        { PLAN_QUEUED, "h", false, NO },
        { PLAN_QUEUED, "m", false, NO },
        { PLAN_QUEUED, "c", false, PLAN_CANCELLED },
        { PLAN_QUEUED, "k", false, PLAN_SKIPPED },
        { PLAN_QUEUED, "s", false, PLAN_MOVING },
        { PLAN_QUEUED, "d", false, NO },
        { PLAN_MOVING, "S", true, NO },
        { PLAN_MOVING, "h", true, NO },
        { PLAN_MOVING, "f", true, NO },
        { PLAN_MOVING, "m", true, PLAN_MOVED },
        { PLAN_MOVING, "e", true, PLAN_CHECKING },
        { PLAN_MOVING, "c", true, PLAN_CANCELLING },
        { PLAN_MOVING, "k", true, PLAN_MOVING },
        { PLAN_MOVING, "s", true, NO },
        { PLAN_MOVING, "d", true, NO },
        { PLAN_CANCELLING, "S", true, NO },
        { PLAN_CANCELLING, "m", true, PLAN_MOVED },
        { PLAN_CANCELLING, "e", true, PLAN_CHECKING },
        { PLAN_CANCELLING, "c", true, PLAN_CANCELLING },
        { PLAN_CANCELLING, "k", true, PLAN_CANCELLING },
        { PLAN_CANCELLING, "s", true, NO },
        { PLAN_SETTLING, "S", true, NO },
        { PLAN_SETTLING, "e", true, PLAN_CHECKING },
        { PLAN_SETTLING, "c", true, PLAN_SETTLING },
        { PLAN_SETTLING, "k", true, PLAN_SETTLING },
        { PLAN_WAITING, "S", false, NO },
        { PLAN_WAITING, "d", false, PLAN_QUEUED },
        { PLAN_WAITING, "c", false, PLAN_CANCELLED },
        { PLAN_WAITING, "c", true, PLAN_CHECKING },
        { PLAN_WAITING, "k", false, PLAN_SKIPPED },
        { PLAN_WAITING, "k", true, PLAN_CHECKING },
        { PLAN_WAITING, "s", false, NO },
};
static const char all_events[] = "SAURNThfmecksd";

static PlanEvent event_of(char c) {
        static const char verdicts[] = "SAURNT";
        static const char others[] = "hfmecksd";
        static const PlanEventKind kinds[] = { PLAN_EVENT_HELD,   PLAN_EVENT_FREED,
                                               PLAN_EVENT_ENDED,  PLAN_EVENT_ENDED,
                                               PLAN_EVENT_CANCEL, PLAN_EVENT_SKIP,
                                               PLAN_EVENT_START,  PLAN_EVENT_DUE };
        const char *v = strchr(verdicts, c);

        if (v)
                return (PlanEvent){ .kind = PLAN_EVENT_FACTS,
                                    .verdict = (PlanVerdict)(v - verdicts),
                                    .host = 1,
                                    .reason = "so" };
        return (PlanEvent){ .kind = kinds[strchr(others, c) - others],
                            .moved = c == 'm',
                            .why = c == 'e' ? PLAN_CLASS_TRANSFER : PLAN_CLASS_NONE };
}

static void test_cells(void **state) {
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cell_rows); i++) {
                const CellRow *row = &cell_rows[i];
                PlanEvent ev = event_of(*row->event);
                World w;
                int r;

                make(&w, 1);
                w.g.entries[0].fsm.state = row->state;
                w.g.entries[0].doubt = row->doubt;
                r = plan_engine_event(&w.g, 0, &ev, 0);
                if (r != (row->next == NO ? -EBADFD : 0) ||
                    (int)w.g.entries[0].fsm.state !=
                            (row->next == NO ? (int)row->state : row->next))
                        fail_msg("row %zu: %s in %s: %d, now %s", i, row->event,
                                 fsm_state_name(&plan_entry_fsm, row->state), r,
                                 fsm_name(&w.g.entries[0].fsm));
                plan_engine_done(&w.g);
        }
}

static void test_final_states_hear_nothing(void **state) {
        (void)state;
        for (int s = PLAN_MOVED; s < _PLAN_ENTRY_STATE_MAX; s++)
                for (const char *c = all_events; *c; c++) {
                        PlanEvent ev = event_of(*c);
                        World w;

                        make(&w, 1);
                        w.g.entries[0].fsm.state = s;
                        assert_int_equal(plan_engine_event(&w.g, 0, &ev, 0), -EBADFD);
                        assert_int_equal(w.g.entries[0].fsm.state, s);
                        plan_engine_done(&w.g);
                }
}

static void test_table(void **state) {
        Error e = ERROR_INIT;

        (void)state;
        if (fsm_check(&plan_entry_fsm, &e) < 0)
                fail_msg("%s", e.text);
}

/* -- a script for one pod -- */

typedef struct Script {
        const char *name;
        const char *events; /* t: time goes on to the next wait; others as above; C: fails at the
                             * check, X: fails in the transfer */
        PlanEntryState end;
        PlanClass why;
        unsigned candidate;
} Script;
static const Script scripts[] = {
        { "moves", "Sm", PLAN_MOVED, PLAN_CLASS_NONE, 0 },
        { "is there already", "A", PLAN_MOVED, PLAN_CLASS_NONE, 0 },
        { "one refuses, the next takes it", "SCSm", PLAN_MOVED, PLAN_CLASS_NONE, 1 },
        { "both refuse, once more, moves", "SCSCStm", PLAN_MOVED, PLAN_CLASS_NONE, 0 },
        { "both refuse, twice", "SCSCStCSCS", PLAN_FAILED, PLAN_CLASS_CHECK, 0 },
        { "fails in the transfer: tried again, not elsewhere", "SXStm", PLAN_MOVED, PLAN_CLASS_NONE,
          0 },
        { "fails in the transfer twice", "SXStXS", PLAN_FAILED, PLAN_CLASS_TRANSFER, 0 },
        { "fails at the end, and has moved", "SXA", PLAN_MOVED, PLAN_CLASS_TRANSFER, 0 },
        { "undecided: is looked at, then settled, then asked", "SXUtUtUtUeSt", PLAN_MOVING,
          PLAN_CLASS_NONE, 0 },
        { "undecided for ever", "SXUtUtUtUeUeUeU", PLAN_UNKNOWN, PLAN_CLASS_TRANSFER, 0 },
        { "hosts that never answer: before a move", "RtRtRtR", PLAN_FAILED, PLAN_CLASS_HOST, 0 },
        { "hosts that never answer: after one", "SXRtRtRtR", PLAN_UNKNOWN, PLAN_CLASS_HOST, 0 },
        { "another one's migration is left alone", "UtUtUtU", PLAN_FAILED, PLAN_CLASS_CHECK, 0 },
        { "is nowhere after a move", "SXN", PLAN_FAILED, PLAN_CLASS_LOST, 0 },
        { "two copies after a move", "SXT", PLAN_FAILED, PLAN_CLASS_COPIES, 0 },
        { "the name is taken over there", "T", PLAN_FAILED, PLAN_CLASS_CHECK, 0 },
        { "cancelled while it moves", "ScXS", PLAN_CANCELLED, PLAN_CLASS_TRANSFER, 0 },
        { "cancelled too late", "Scm", PLAN_MOVED, PLAN_CLASS_NONE, 0 },
        { "cancelled while it waits", "SXSc", PLAN_CANCELLED, PLAN_CLASS_TRANSFER, 0 },
        { "cancelled while nobody knows", "SXUcS", PLAN_CANCELLED, PLAN_CLASS_TRANSFER, 0 },
        { "another plan has it, and moved it", "hfA", PLAN_MOVED, PLAN_CLASS_NONE, 0 },
};

static void pump(World *w, uint64_t now) {
        PlanAction a;

        while (plan_engine_next(&w->g, now, &a))
                ;
}

static void test_script(void **state) {
        const Script *row = *state;
        uint64_t now = 1000;
        World w;

        make(&w, 1);
        pump(&w, now);
        for (const char *c = row->events; *c; c++) {
                PlanEvent ev = event_of(strchr("CX", *c) ? 'e' : *c == 't' ? 'd' : *c);

                if (*c == 't') {
                        now = plan_engine_wake(&w.g);
                        assert_int_not_equal(now, UINT64_MAX);
                } else {
                        if (*c == 'C')
                                ev.why = PLAN_CLASS_CHECK;
                        if (plan_engine_event(&w.g, 0, &ev, now) < 0)
                                fail_msg("at %s: makes no sense in %s", c,
                                         fsm_name(&w.g.entries[0].fsm));
                }
                pump(&w, now);
        }
        assert_string_equal(fsm_name(&w.g.entries[0].fsm),
                            fsm_state_name(&plan_entry_fsm, row->end));
        assert_int_equal(w.g.entries[0].why, row->why);
        if (row->end == PLAN_MOVED)
                assert_int_equal(w.g.entries[0].candidate, row->candidate);
        plan_engine_done(&w.g);
}

static void test_backoff_doubles(void **state) {
        PlanEvent stayed = event_of('S'), failed = event_of('e');
        uint64_t now = 0;
        World w;

        (void)state;
        make(&w, 1);
        w.pods[0].retries = 20;
        w.pods[0].n_to = w.g.entries[0].n_to = 1;
        assert_int_equal(plan_engine_event(&w.g, 0, &stayed, now), 0);
        for (unsigned i = 0; i < 20; i++) {
                uint64_t wait = (uint64_t)100 << i;

                pump(&w, now);
                assert_int_equal(plan_engine_event(&w.g, 0, &failed, now), 0);
                assert_int_equal(plan_engine_event(&w.g, 0, &stayed, now), 0);
                assert_int_equal(plan_engine_wake(&w.g) - now, MIN_OF(wait, 600000U));
                now = plan_engine_wake(&w.g);
        }
        plan_engine_done(&w.g);
}

/* What may be driven from another machine is waited for while its shims live, and not a moment
 * longer; when that takes too long, it is settled as any other. */
static void test_patience(void **state) {
        PlanEvent stayed = event_of('S'), failed = event_of('e'), busy = event_of('U'),
                  dead = event_of('U');

        (void)state;
        busy.busy = true;
        for (unsigned dies = 0; dies < 2; dies++) {
                uint64_t now = 0;
                World w;

                make(&w, 1);
                w.g.entries[0].patience = 5;
                assert_int_equal(plan_engine_event(&w.g, 0, &stayed, now), 0);
                pump(&w, now);
                assert_int_equal(plan_engine_event(&w.g, 0, &failed, now), 0);
                for (unsigned i = 0; i < 3 + (dies ? 2 : 5); i++) {
                        assert_int_equal(plan_engine_event(&w.g, 0, &busy, now), 0);
                        assert_int_equal(w.g.entries[0].fsm.state, PLAN_WAITING);
                        if (i >= 3)
                                assert_int_equal(plan_engine_wake(&w.g) - now, 10000);
                        now = plan_engine_wake(&w.g);
                        pump(&w, now);
                }
                assert_int_equal(plan_engine_event(&w.g, 0, dies ? &dead : &busy, now), 0);
                assert_int_equal(w.g.entries[0].fsm.state, PLAN_SETTLING);
                plan_engine_done(&w.g);
        }
}

static void test_stop_on_error(void **state) {
        PlanEvent nowhere = event_of('N'), stayed = event_of('S'), moved = event_of('m');
        World w;

        (void)state;
        make(&w, 3);
        w.plan.stop_on_error = true;
        assert_int_equal(plan_engine_event(&w.g, 0, &stayed, 0), 0);
        assert_int_equal(plan_engine_event(&w.g, 1, &stayed, 0), 0);
        pump(&w, 0);
        assert_int_equal(w.g.entries[0].fsm.state, PLAN_MOVING);
        assert_int_equal(plan_engine_event(&w.g, 2, &nowhere, 0), 0);
        assert_int_equal(w.g.entries[1].fsm.state, PLAN_SKIPPED);
        assert_int_equal(plan_engine_event(&w.g, 0, &moved, 0), 0); /* what runs, ends */
        assert_true(plan_engine_is_over(&w.g));
        plan_engine_done(&w.g);
}

/* A second Ctrl-C stops the moves: the pod is queued again, however few tries it has. */
static void test_stopped_by_interrupt(void **state) {
        PlanEvent stayed = event_of('S'), stopped = event_of('e');
        World w;

        (void)state;
        make(&w, 1);
        w.pods[0].retries = 0;
        assert_int_equal(plan_engine_event(&w.g, 0, &stayed, 0), 0);
        pump(&w, 0);
        plan_engine_pause(&w.g);
        assert_false(plan_engine_is_over(&w.g)); /* what runs is waited for */
        stopped.why = PLAN_CLASS_CANCELLED;
        assert_int_equal(plan_engine_event(&w.g, 0, &stopped, 0), 0);
        pump(&w, 0);
        assert_int_equal(plan_engine_event(&w.g, 0, &stayed, 0), 0);
        pump(&w, 0);
        assert_int_equal(w.g.entries[0].fsm.state, PLAN_QUEUED);
        assert_int_equal(w.g.entries[0].tries, 0);
        assert_true(plan_engine_is_over(&w.g));
        plan_engine_done(&w.g);
}

/* -- random orders -- */

typedef struct Rng {
        uint64_t state;
} Rng;

static unsigned dice(Rng *r, unsigned n) {
        r->state = r->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (unsigned)(r->state >> 33) % n;
}

typedef struct Pod {
        bool checking, moving, settling; /* an action of the engine's is under way */
        bool undecided;                  /* what the pod's hosts would say */
        unsigned at;                     /* 0 source, else 1 + candidate */
} Pod;

static void check_limits(const World *w, const Pod *pods) {
        unsigned out[HOSTS] = {}, in[HOSTS] = {}, all = 0;

        for (size_t i = 0; i < w->g.n_entries; i++) {
                const PlanEntry *e = &w->g.entries[i];

                if (!pods[i].moving && !pods[i].settling)
                        continue;
                out[e->from]++;
                in[e->to[e->candidate]]++;
                all++;
        }
        assert_in_range(all, 0, w->plan.all);
        for (size_t h = 0; h < HOSTS; h++) {
                assert_in_range(out[h], 0, w->hosts[h].out);
                assert_in_range(in[h], 0, w->hosts[h].in);
        }
}

static void begin_action(World *w, Pod *pods, const PlanAction *a) {
        Pod *p = &pods[a->entry];

        if (a->kind == PLAN_STOP)
                return;
        assert_false(p->moving || p->settling); /* never two at a time */
        if (a->kind == PLAN_MOVE) {
                assert_false(p->undecided); /* never while nobody knows */
                assert_int_equal(p->at, 0); /* never one that has moved */
                p->moving = true;
        } else if (a->kind == PLAN_SETTLE)
                p->settling = true;
        else
                p->checking = true;
        check_limits(w, pods);
}

static void answer_check(World *w, Rng *r, Pod *p, unsigned i, uint64_t now) {
        const PlanEntry *e = &w->g.entries[i];
        PlanEvent ev = event_of('S');

        p->checking = false;
        if (dice(r, 12) == 0)
                ev = event_of('h');
        else if (dice(r, 6) == 0)
                ev = event_of('R');
        else if (p->undecided) {
                ev = event_of('U');
                if (dice(r, 3) == 0) {
                        p->undecided = false; /* by itself */
                        p->at = dice(r, 2) ? 1 + e->candidate : 0;
                }
        } else if (p->at > 0) {
                ev = event_of('A');
                ev.host = e->to[p->at - 1];
        }
        (void)plan_engine_event(&w->g, i, &ev, now);
}

static void end_move(World *w, Rng *r, Pod *p, unsigned i, uint64_t now) {
        unsigned how = dice(r, 4);
        PlanEvent ev = event_of(how == 0 ? 'm' : 'e');

        p->moving = false;
        if (how == 0 || (how == 1 && dice(r, 2)))
                p->at = 1 + w->g.entries[i].candidate;
        else if (how == 1)
                p->undecided = true;
        else
                ev.why = how == 2 ? PLAN_CLASS_CHECK : PLAN_CLASS_TRANSFER;
        (void)plan_engine_event(&w->g, i, &ev, now);
}

static void random_event(World *w, Rng *r, Pod *pods, uint64_t *now) {
        unsigned i = dice(r, (unsigned)w->g.n_entries);
        Pod *p = &pods[i];
        PlanEvent ev;

        if (p->checking)
                answer_check(w, r, p, i, *now);
        else if (p->moving)
                end_move(w, r, p, i, *now);
        else if (p->settling) {
                p->settling = false;
                if (dice(r, 2)) {
                        p->undecided = false;
                        p->at = dice(r, 2) ? 1 + w->g.entries[i].candidate : 0;
                }
                ev = event_of('e');
                (void)plan_engine_event(&w->g, i, &ev, *now);
        } else if (w->g.entries[i].fsm.state == PLAN_HELD) {
                ev = event_of('f');
                (void)plan_engine_event(&w->g, i, &ev, *now);
        } else if (dice(r, 40) == 0) {
                ev = event_of('c');
                (void)plan_engine_event(&w->g, i, &ev, *now);
        } else if (plan_engine_wake(&w->g) != UINT64_MAX)
                *now = MAX_OF(*now, plan_engine_wake(&w->g));
}

/* A final state must be true: of a pod whose hosts had been asked, or never touched. */
static void check_end(const World *w, const Pod *pods) {
        for (size_t i = 0; i < w->g.n_entries; i++) {
                const PlanEntry *e = &w->g.entries[i];

                assert_false(pods[i].moving || pods[i].settling);
                if (e->fsm.state == PLAN_MOVED) {
                        assert_int_not_equal(pods[i].at, 0);
                        assert_int_equal(e->host, e->to[pods[i].at - 1]);
                } else if (e->fsm.state != PLAN_UNKNOWN && plan_entry_is_final(e)) {
                        assert_int_equal(pods[i].at, 0);
                        assert_false(pods[i].undecided);
                }
        }
}

static void test_random(void **state) {
        (void)state;
        for (uint64_t seed = 0; seed < 3000; seed++) {
                Rng r = { seed * 7919 + 1 };
                Pod pods[PODS] = {};
                uint64_t now = 1;
                unsigned turns = 0;
                PlanAction a;
                World w;

                make(&w, 1 + dice(&r, PODS));
                w.plan.all = 1 + dice(&r, 4);
                w.plan.stop_on_error = dice(&r, 3) == 0;
                for (size_t h = 0; h < HOSTS; h++) {
                        w.hosts[h].out = 1 + dice(&r, 3);
                        w.hosts[h].in = 1 + dice(&r, 3);
                }
                for (size_t i = 0; i < w.g.n_entries; i++) {
                        w.pods[i].retries = dice(&r, 4);
                        w.pods[i].priority = (int)dice(&r, 3);
                }
                while (!plan_engine_is_over(&w.g)) {
                        while (plan_engine_next(&w.g, now, &a))
                                begin_action(&w, pods, &a);
                        random_event(&w, &r, pods, &now);
                        if (turns == 500 && seed % 5 == 0)
                                plan_engine_pause(&w.g);
                        if (++turns > 20000)
                                fail_msg("seed %llu: no end", (unsigned long long)seed);
                }
                check_end(&w, pods);
                plan_engine_done(&w.g);
        }
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(decisions) + ELEMENTSOF(scripts) + 8] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_cells),
                cmocka_unit_test(test_final_states_hear_nothing),
                cmocka_unit_test(test_backoff_doubles),
                cmocka_unit_test(test_patience),
                cmocka_unit_test(test_stop_on_error),
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_stopped_by_interrupt),
        };
        size_t n = 8;

        for (size_t i = 0; i < ELEMENTSOF(decisions); i++)
                tests[n++] =
                        (struct CMUnitTest){ .name = decisions[i].name,
                                             .test_func = test_decision,
                                             .initial_state = (void *)(uintptr_t)&decisions[i] };
        for (size_t i = 0; i < ELEMENTSOF(scripts); i++)
                tests[n++] = (struct CMUnitTest){ .name = scripts[i].name,
                                                  .test_func = test_script,
                                                  .initial_state = (void *)(uintptr_t)&scripts[i] };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
