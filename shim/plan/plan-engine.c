/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of a plan: a table of states and events for one entry, and the queue over all of them.
 * No I/O; whoever drives it carries out the actions and brings the answers. */
#include "shim/plan/plan-engine.h"

#include <stdio.h>
#include <string.h>

#define BACKOFF_MAX_MS 600000U
#define SETTLE_MS      1000U /* a shim whose driver is gone needs a moment to end by itself */
#define PATIENT_MS     10000U
#define LOOKS_MAX      3U /* such moments, before adopt goes on with it */
#define SETTLES_MAX    6U /* times it may be found undecided in all */
#define ASKS_MAX       4U /* times a host may leave us without an answer */

/* clang-format off */
#define TO(s) (1U << PLAN_##s)
#define ENDS  (TO(MOVED) | TO(FAILED) | TO(CANCELLED) | TO(SKIPPED) | TO(UNKNOWN))
static const FsmRow rows[_PLAN_ENTRY_STATE_MAX] = {
        [PLAN_CHECKING]   = { "checking",   TO(HELD) | TO(QUEUED) | TO(SETTLING) | TO(WAITING) | ENDS, FSM_FIRST | FSM_WAITING },
        [PLAN_HELD]       = { "held",       TO(CHECKING) | TO(CANCELLED) | TO(SKIPPED),                0 },
        [PLAN_QUEUED]     = { "queued",     TO(MOVING) | TO(CANCELLED) | TO(SKIPPED),                  0 },
        [PLAN_MOVING]     = { "moving",     TO(CHECKING) | TO(CANCELLING) | TO(MOVED),                 FSM_WAITING },
        [PLAN_CANCELLING] = { "cancelling", TO(CHECKING) | TO(MOVED),                                  FSM_WAITING },
        [PLAN_SETTLING]   = { "settling",   TO(CHECKING),                                              FSM_WAITING },
        [PLAN_WAITING]    = { "waiting",    TO(CHECKING) | TO(QUEUED) | TO(CANCELLED) | TO(SKIPPED),   0 },
        [PLAN_MOVED]      = { "moved",      0, FSM_FINAL },
        [PLAN_FAILED]     = { "failed",     0, FSM_FINAL },
        [PLAN_CANCELLED]  = { "cancelled",  0, FSM_FINAL },
        [PLAN_SKIPPED]    = { "skipped",    0, FSM_FINAL },
        [PLAN_UNKNOWN]    = { "unknown",    0, FSM_FINAL },
};
/* clang-format on */
const FsmTable plan_entry_fsm = { "plan-entry", rows, _PLAN_ENTRY_STATE_MAX };

bool plan_entry_is_final(const PlanEntry *e) {
        return fsm_flags(&e->fsm) & FSM_FINAL;
}

static int action_on_entry(int state) {
        return state == PLAN_CHECKING   ? PLAN_CHECK
               : state == PLAN_MOVING   ? PLAN_MOVE
               : state == PLAN_SETTLING ? PLAN_SETTLE
                                        : -1;
}

static void go(PlanEngine *g, PlanEntry *e, int state, uint64_t now) {
        int from = e->fsm.state;

        fsm_must(&e->fsm, state);
        e->since_ms = now;
        e->todo = action_on_entry(state);
        e->warned = false;
        if (g->observer)
                g->observer(g->userdata, e, from);
}

static void set_reason(PlanEntry *e, PlanClass why, const char *reason) {
        e->why = why;
        (void)snprintf(e->reason, sizeof(e->reason), "%s", reason ?: "");
}

/* Doubles each time: backoff, 2 x backoff, ... */
static uint64_t backoff(const PlanEngine *g, unsigned n) {
        uint64_t ms = g->plan->backoff_ms;

        while (n-- > 1 && ms < BACKOFF_MAX_MS)
                ms *= 2;
        return MIN_OF(ms, BACKOFF_MAX_MS);
}

static void wait_for(PlanEngine *g, PlanEntry *e, uint64_t ms, bool recheck, uint64_t now) {
        e->due_ms = now + ms;
        e->recheck = recheck;
        go(g, e, PLAN_WAITING, now);
}

/* -- what an event does; only called where the table below has it -- */

/* It is at its source, and free to be moved. */
static void on_stayed(PlanEngine *g, PlanEntry *e, uint64_t now) {
        /* What whoever interrupted the run stopped is no failure of the pod's. */
        bool stopped = g->paused && e->why == PLAN_CLASS_CANCELLED;
        bool failed = e->doubt && e->why != PLAN_CLASS_NONE && !stopped;

        e->doubt = false;
        e->settles = e->asks = 0;
        e->host = e->from;
        if (e->wish != PLAN_GO) {
                go(g, e, e->wish == PLAN_WISH_CANCEL ? PLAN_CANCELLED : PLAN_SKIPPED, now);
                return;
        }
        if (!failed) {
                go(g, e, PLAN_QUEUED, now);
                return;
        }
        if (e->was_untouched && e->candidate + 1 < e->n_to) { /* the next destination, at once */
                e->candidate++;
                go(g, e, PLAN_QUEUED, now);
                return;
        }
        e->candidate = 0;
        if (++e->tries > e->pod->retries)
                go(g, e, PLAN_FAILED, now);
        else
                wait_for(g, e, backoff(g, e->tries), false, now);
}

/* Nobody could say, so often that it is given up. */
static void ask_again(PlanEngine *g, PlanEntry *e, PlanClass why, const char *reason,
                      uint64_t now) {
        set_reason(e, why, reason);
        if (++e->asks >= ASKS_MAX)
                go(g, e, e->doubt ? PLAN_UNKNOWN : PLAN_FAILED, now);
        else
                wait_for(g, e, backoff(g, e->asks), true, now);
}

/* A migration that is not ours is left alone. */
static void on_undecided(PlanEngine *g, PlanEntry *e, bool busy, const char *reason, uint64_t now) {
        if (!e->doubt) {
                ask_again(g, e, PLAN_CLASS_CHECK, reason, now);
                return;
        }
        if (!e->reason[0])
                set_reason(e, e->why, reason);
        if (busy && e->patience > 0 && e->settles >= LOOKS_MAX) {
                e->patience--;
                wait_for(g, e, PATIENT_MS, true, now);
        } else if (e->settles++ >= SETTLES_MAX)
                go(g, e, PLAN_UNKNOWN, now);
        else if (e->settles <= LOOKS_MAX)
                wait_for(g, e, (uint64_t)SETTLE_MS << (e->settles - 1), true, now);
        else
                go(g, e, PLAN_SETTLING, now);
}

static void on_facts(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        switch (ev->verdict) {
        case PLAN_STAYED:
                on_stayed(g, e, now);
                break;
        case PLAN_ARRIVED:
                e->host = ev->host;
                e->doubt = false;
                go(g, e, PLAN_MOVED, now);
                break;
        case PLAN_UNDECIDED:
                on_undecided(g, e, ev->busy, ev->reason, now);
                break;
        case PLAN_UNREACHED:
                ask_again(g, e, PLAN_CLASS_HOST, ev->reason, now);
                break;
        case PLAN_NOWHERE:
                set_reason(e, e->doubt ? PLAN_CLASS_LOST : PLAN_CLASS_CHECK, ev->reason);
                go(g, e, PLAN_FAILED, now);
                break;
        case PLAN_TWO_COPIES:
        case _PLAN_VERDICT_MAX:
        default: /* before any move: another pod that has the name */
                set_reason(e, e->doubt ? PLAN_CLASS_COPIES : PLAN_CLASS_CHECK, ev->reason);
                go(g, e, PLAN_FAILED, now);
        }
}

static void on_held(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        go(g, e, PLAN_HELD, now);
}

static void on_check_again(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        go(g, e, PLAN_CHECKING, now);
}

static void on_due(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        go(g, e, e->recheck ? PLAN_CHECKING : PLAN_QUEUED, now);
}

static void on_start(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        e->doubt = e->begun = true;
        set_reason(e, PLAN_CLASS_NONE, NULL);
        go(g, e, PLAN_MOVING, now);
}

static void on_ended(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        if (ev->moved) {
                e->host = e->to[e->candidate];
                e->doubt = false;
                set_reason(e, ev->why, ev->reason);
                go(g, e, PLAN_MOVED, now);
                return;
        }
        /* What settles says nothing of the move itself. */
        if (e->fsm.state != PLAN_SETTLING) {
                set_reason(e, ev->why == PLAN_CLASS_NONE ? PLAN_CLASS_INTERNAL : ev->why,
                           ev->reason);
                e->was_untouched = ev->why == PLAN_CLASS_CHECK || ev->why == PLAN_CLASS_CONNECT;
        }
        go(g, e, PLAN_CHECKING, now);
}

static void on_cancel_move(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        bool begun = e->todo != PLAN_MOVE;

        (void)ev;
        e->wish = PLAN_WISH_CANCEL;
        go(g, e, PLAN_CANCELLING, now);
        if (begun) {
                e->todo = PLAN_STOP;
                return;
        }
        /* It was not even started: nothing is in doubt, and one look at the hosts confirms it. */
        set_reason(e, PLAN_CLASS_CANCELLED, "cancelled");
        go(g, e, PLAN_CHECKING, now);
}

/* Until it is known where the pod is, a wish is only remembered. */
static void wish(PlanEngine *g, PlanEntry *e, bool cancel, uint64_t now) {
        e->wish = cancel ? PLAN_WISH_CANCEL : PLAN_WISH_SKIP;
        if (!e->doubt)
                go(g, e, cancel ? PLAN_CANCELLED : PLAN_SKIPPED, now);
        else if (e->fsm.state == PLAN_WAITING)
                go(g, e, PLAN_CHECKING, now);
}

static void on_cancel(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        wish(g, e, true, now);
}

static void on_skip(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)ev;
        if (e->wish == PLAN_GO)
                wish(g, e, false, now);
}

static void on_remember(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        (void)g, (void)now;
        if (ev->kind == PLAN_EVENT_CANCEL)
                e->wish = PLAN_WISH_CANCEL;
        else if (e->wish == PLAN_GO)
                e->wish = PLAN_WISH_SKIP;
}

typedef void (*Cell)(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now);

/* Empty: the event makes no sense there. A move that runs is let end when another one fails. */
/* clang-format off */
static const Cell cells[_PLAN_ENTRY_STATE_MAX][_PLAN_EVENT_KIND_MAX] = {
        [PLAN_CHECKING]   = { [PLAN_EVENT_FACTS] = on_facts, [PLAN_EVENT_HELD] = on_held,
                              [PLAN_EVENT_CANCEL] = on_cancel, [PLAN_EVENT_SKIP] = on_skip },
        [PLAN_HELD]       = { [PLAN_EVENT_FREED] = on_check_again,
                              [PLAN_EVENT_CANCEL] = on_cancel, [PLAN_EVENT_SKIP] = on_skip },
        [PLAN_QUEUED]     = { [PLAN_EVENT_START] = on_start,
                              [PLAN_EVENT_CANCEL] = on_cancel, [PLAN_EVENT_SKIP] = on_skip },
        [PLAN_MOVING]     = { [PLAN_EVENT_ENDED] = on_ended,
                              [PLAN_EVENT_CANCEL] = on_cancel_move, [PLAN_EVENT_SKIP] = on_remember },
        [PLAN_CANCELLING] = { [PLAN_EVENT_ENDED] = on_ended, [PLAN_EVENT_CANCEL] = on_remember,
                              [PLAN_EVENT_SKIP] = on_remember },
        [PLAN_SETTLING]   = { [PLAN_EVENT_ENDED] = on_ended, [PLAN_EVENT_CANCEL] = on_remember,
                              [PLAN_EVENT_SKIP] = on_remember },
        [PLAN_WAITING]    = { [PLAN_EVENT_DUE] = on_due,
                              [PLAN_EVENT_CANCEL] = on_cancel, [PLAN_EVENT_SKIP] = on_skip },
};
/* clang-format on */

static int feed(PlanEngine *g, PlanEntry *e, const PlanEvent *ev, uint64_t now) {
        Cell cell = cells[e->fsm.state][ev->kind];

        if (!cell)
                return -EBADFD;
        cell(g, e, ev, now);
        return 0;
}

static void skip_others(PlanEngine *g, uint64_t now) {
        for (size_t i = 0; i < g->n_entries; i++)
                (void)feed(g, &g->entries[i], &(PlanEvent){ .kind = PLAN_EVENT_SKIP }, now);
}

int plan_engine_event(PlanEngine *g, unsigned entry, const PlanEvent *ev, uint64_t now_ms) {
        PlanEntry *e = &g->entries[entry];
        int r = feed(g, e, ev, now_ms);

        if (r == 0 && g->plan->stop_on_error &&
            (e->fsm.state == PLAN_FAILED || e->fsm.state == PLAN_UNKNOWN))
                skip_others(g, now_ms);
        return r;
}

/* -- the queue -- */

typedef struct Load {
        unsigned out[PLAN_HOSTS_MAX], in[PLAN_HOSTS_MAX], all;
} Load;

/* A pod whose move may still be going on keeps its places, whatever its state. */
static void count_load(const PlanEngine *g, Load *l) {
        *l = (Load){};
        for (size_t i = 0; i < g->n_entries; i++) {
                const PlanEntry *e = &g->entries[i];

                if (!e->doubt || plan_entry_is_final(e))
                        continue;
                l->out[e->from]++;
                l->in[e->to[e->candidate]]++;
                l->all++;
        }
}

static const char *limit_of(const PlanEngine *g, const Load *l, const PlanEntry *e) {
        const PlanHost *from = &g->plan->hosts[e->from], *to = &g->plan->hosts[e->to[e->candidate]];

        return l->all >= g->plan->all                 ? "all"
               : l->out[e->from] >= from->out         ? "out"
               : l->in[e->to[e->candidate]] >= to->in ? "in"
                                                      : NULL;
}

static bool is_before(const PlanEngine *g, size_t a, size_t b) {
        const PlanEntry *x = &g->entries[a], *y = &g->entries[b];

        return x->pod->priority != y->pod->priority ? x->pod->priority > y->pod->priority : a < b;
}

/* The first of the queue that no limit holds back: who waits for one host does not stop those that
 * go elsewhere. */
static PlanEntry *first_that_may(const PlanEngine *g) {
        size_t best = SIZE_MAX;
        Load l;

        count_load(g, &l);
        for (size_t i = 0; i < g->n_entries; i++)
                if (g->entries[i].fsm.state == PLAN_QUEUED && !limit_of(g, &l, &g->entries[i]) &&
                    (best == SIZE_MAX || is_before(g, i, best)))
                        best = i;
        return best == SIZE_MAX ? NULL : &g->entries[best];
}

unsigned plan_engine_position(const PlanEngine *g, unsigned entry, const char **ret_limit) {
        unsigned n = 0;
        Load l;

        count_load(g, &l);
        for (size_t i = 0; i < g->n_entries; i++)
                if (i != entry && g->entries[i].fsm.state == PLAN_QUEUED && is_before(g, i, entry))
                        n++;
        *ret_limit = limit_of(g, &l, &g->entries[entry]) ?: "";
        return n;
}

static bool take_todo(PlanEngine *g, PlanAction *ret) {
        for (size_t i = 0; i < g->n_entries; i++) {
                PlanEntry *e = &g->entries[i];

                if (e->todo < 0)
                        continue;
                *ret = (PlanAction){ (PlanActionKind)e->todo, (unsigned)i, e->to[e->candidate] };
                e->todo = -1;
                return true;
        }
        return false;
}

bool plan_engine_next(PlanEngine *g, uint64_t now_ms, PlanAction *ret) {
        PlanEntry *e;

        for (size_t i = 0; i < g->n_entries; i++)
                if (g->entries[i].fsm.state == PLAN_WAITING && g->entries[i].due_ms <= now_ms &&
                    (!g->paused || g->entries[i].doubt))
                        (void)feed(g, &g->entries[i], &(PlanEvent){ .kind = PLAN_EVENT_DUE },
                                   now_ms);
        if (!g->paused)
                while ((e = first_that_may(g)))
                        (void)feed(g, e, &(PlanEvent){ .kind = PLAN_EVENT_START }, now_ms);
        return take_todo(g, ret);
}

bool plan_engine_has_action(const PlanEngine *g) {
        for (size_t i = 0; i < g->n_entries; i++)
                if (g->entries[i].todo >= 0)
                        return true;
        return !g->paused && first_that_may(g);
}

uint64_t plan_engine_wake(const PlanEngine *g) {
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i < g->n_entries; i++)
                if (g->entries[i].fsm.state == PLAN_WAITING && (!g->paused || g->entries[i].doubt))
                        first = MIN_OF(first, g->entries[i].due_ms);
        return first;
}

void plan_engine_pause(PlanEngine *g) {
        g->paused = true;
}

bool plan_engine_is_over(const PlanEngine *g) {
        for (size_t i = 0; i < g->n_entries; i++) {
                const PlanEntry *e = &g->entries[i];

                if (plan_entry_is_final(e))
                        continue;
                if (!g->paused || e->todo >= 0 || fsm_flags(&e->fsm) & FSM_WAITING ||
                    (e->doubt && e->fsm.state != PLAN_HELD))
                        return false;
        }
        return true;
}

int plan_engine_init(PlanEngine *g, const Plan *p, Error *reterr) {
        *g = (PlanEngine){ .plan = p };
        g->entries = calloc(p->n_pods, sizeof(*g->entries));
        if (!g->entries)
                return error_oom(reterr);
        g->n_entries = p->n_pods;
        for (size_t i = 0; i < p->n_pods; i++) {
                PlanEntry *e = &g->entries[i];

                e->pod = &p->pods[i];
                e->fsm = FSM_INIT(&plan_entry_fsm, PLAN_CHECKING, p->pods[i].pod);
                e->from = e->host = p->pods[i].from;
                memcpy(e->to, p->pods[i].to, sizeof(e->to));
                e->n_to = p->pods[i].n_to;
                e->todo = PLAN_CHECK;
        }
        return 0;
}

void plan_engine_done(PlanEngine *g) {
        free(g->entries);
        *g = (PlanEngine){};
}
