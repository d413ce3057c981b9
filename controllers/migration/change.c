/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/migration/change.h"

#include "lib/cleanup.h"

#define TO(s) (1U << CHANGE_##s)

/* clang-format off */
static const FsmRow fsm_rows[_CHANGE_STATE_MAX] = {
        [CHANGE_NEW]              = { "new", TO(LIVE_PENDING) | TO(OFFLINE_WAITING) | TO(CANCELLED), FSM_FIRST },
        [CHANGE_LIVE_PENDING]     = { "live-pending", TO(LIVE_RUNNING) | TO(LIVE_TEARDOWN) | TO(LIVE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_LIVE_RUNNING]     = { "live-running", TO(LIVE_DONE) | TO(LIVE_TEARDOWN) | TO(LIVE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_LIVE_TEARDOWN]    = { "live-teardown", TO(LIVE_PENDING) | TO(OFFLINE_WAITING) | TO(LIVE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_LIVE_DONE]        = { "live-done", 0, FSM_FINAL },
        [CHANGE_LIVE_FAILED]      = { "live-failed", 0, FSM_FINAL },
        [CHANGE_OFFLINE_WAITING]  = { "offline-waiting", TO(OFFLINE_READY) | TO(OFFLINE_TEARDOWN) | TO(OFFLINE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_OFFLINE_READY]    = { "offline-ready", TO(OFFLINE_RUNNING) | TO(OFFLINE_DONE) | TO(OFFLINE_TEARDOWN) | TO(OFFLINE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_OFFLINE_RUNNING]  = { "offline-running", TO(OFFLINE_DONE) | TO(OFFLINE_TEARDOWN) | TO(OFFLINE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_OFFLINE_TEARDOWN] = { "offline-teardown", TO(LIVE_PENDING) | TO(OFFLINE_WAITING) | TO(OFFLINE_FAILED) | TO(CANCELLED), 0 },
        [CHANGE_OFFLINE_DONE]     = { "offline-done", 0, FSM_FINAL },
        [CHANGE_OFFLINE_FAILED]   = { "offline-failed", 0, FSM_FINAL },
        [CHANGE_CANCELLED]        = { "cancelled", 0, FSM_FINAL },
};
#undef TO
const FsmTable change_fsm = { "change", fsm_rows, _CHANGE_STATE_MAX };

#define IN(s) [CHANGE_##s]
#define ON(e) [CHANGE_##e]
#define TO(s, a) { { CHANGE_##s, CHANGE_##a }, true }

typedef struct Row {
        ChangeCell cell;
        bool there;
} Row;

/* Both ways are open. What a teardown ends in is not what was wished in it, but how the pod is when
 * it is over: whoever wishes has it so by then. A start that comes when it has been given to the
 * other host is not seen here: the record on disk refuses it (docs/offline.md). */
static const Row table[_CHANGE_STATE_MAX][_CHANGE_EVENT_MAX] = {
        IN(NEW) = {
                ON(RUNS)  = TO(LIVE_PENDING, GO_LIVE),
                ON(RESTS) = TO(OFFLINE_WAITING, GO_OFFLINE),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(LIVE_PENDING) = {
                ON(BEGUN)  = TO(LIVE_RUNNING, NOTHING),
                ON(START)  = TO(LIVE_PENDING, NOTHING),
                ON(STOP)   = TO(LIVE_TEARDOWN, TEAR_DOWN),
                ON(FAILS)  = TO(LIVE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(LIVE_RUNNING) = {
                ON(START)  = TO(LIVE_RUNNING, NOTHING),
                ON(STOP)   = TO(LIVE_TEARDOWN, TEAR_DOWN),
                ON(MOVED)  = TO(LIVE_DONE, END),
                ON(FAILS)  = TO(LIVE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(LIVE_TEARDOWN) = {
                ON(RUNS)   = TO(LIVE_PENDING, GO_LIVE),
                ON(RESTS)  = TO(OFFLINE_WAITING, GO_OFFLINE),
                ON(START)  = TO(LIVE_TEARDOWN, NOTHING),
                ON(STOP)   = TO(LIVE_TEARDOWN, NOTHING),
                ON(FAILS)  = TO(LIVE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(LIVE_DONE) = {
                ON(START)  = TO(LIVE_DONE, NOTHING),
                ON(STOP)   = TO(LIVE_DONE, NOTHING),
        },
        IN(OFFLINE_WAITING) = {
                ON(BEGUN)  = TO(OFFLINE_READY, NOTHING),
                ON(START)  = TO(OFFLINE_TEARDOWN, TEAR_DOWN),
                ON(STOP)   = TO(OFFLINE_WAITING, NOTHING),
                ON(FAILS)  = TO(OFFLINE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(OFFLINE_READY) = {
                ON(COPIES) = TO(OFFLINE_RUNNING, NOTHING),
                ON(START)  = TO(OFFLINE_TEARDOWN, TEAR_DOWN),
                ON(STOP)   = TO(OFFLINE_READY, NOTHING),
                ON(MOVED)  = TO(OFFLINE_DONE, END), /* an earlier attempt had given it */
                ON(FAILS)  = TO(OFFLINE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(OFFLINE_RUNNING) = {
                ON(START)  = TO(OFFLINE_TEARDOWN, TEAR_DOWN),
                ON(STOP)   = TO(OFFLINE_RUNNING, NOTHING),
                ON(MOVED)  = TO(OFFLINE_DONE, END),
                ON(FAILS)  = TO(OFFLINE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(OFFLINE_TEARDOWN) = {
                ON(RUNS)   = TO(LIVE_PENDING, GO_LIVE),
                ON(RESTS)  = TO(OFFLINE_WAITING, GO_OFFLINE),
                ON(START)  = TO(OFFLINE_TEARDOWN, NOTHING),
                ON(STOP)   = TO(OFFLINE_TEARDOWN, NOTHING),
                ON(FAILS)  = TO(OFFLINE_FAILED, END),
                ON(CANCEL) = TO(CANCELLED, END),
        },
        IN(OFFLINE_DONE) = {
                ON(START)  = TO(OFFLINE_DONE, REFUSE),
                ON(STOP)   = TO(OFFLINE_DONE, NOTHING),
        },
        /* LIVE_FAILED, OFFLINE_FAILED, CANCELLED: a new command begins anew, with all forgotten. */
};

/* What a mode changes of it. */
static const struct {
        ChangeMode mode;
        ChangeState state;
        ChangeEvent event;
        ChangeCell cell;
} overrides[] = {
        { CHANGE_LIVE_ONLY, CHANGE_LIVE_TEARDOWN, CHANGE_RESTS, { CHANGE_LIVE_FAILED, CHANGE_END } },
        { CHANGE_OFFLINE_ONLY, CHANGE_OFFLINE_WAITING, CHANGE_START, { CHANGE_OFFLINE_WAITING, CHANGE_REFUSE } },
        { CHANGE_OFFLINE_ONLY, CHANGE_OFFLINE_READY, CHANGE_START, { CHANGE_OFFLINE_READY, CHANGE_REFUSE } },
        { CHANGE_OFFLINE_ONLY, CHANGE_OFFLINE_RUNNING, CHANGE_START, { CHANGE_OFFLINE_RUNNING, CHANGE_REFUSE } },
        { CHANGE_SPENT, CHANGE_LIVE_TEARDOWN, CHANGE_RUNS, { CHANGE_LIVE_FAILED, CHANGE_END } },
        { CHANGE_SPENT, CHANGE_LIVE_TEARDOWN, CHANGE_RESTS, { CHANGE_LIVE_FAILED, CHANGE_END } },
        { CHANGE_SPENT, CHANGE_OFFLINE_TEARDOWN, CHANGE_RUNS, { CHANGE_OFFLINE_FAILED, CHANGE_END } },
        { CHANGE_SPENT, CHANGE_OFFLINE_TEARDOWN, CHANGE_RESTS, { CHANGE_OFFLINE_FAILED, CHANGE_END } },
};

static const char *const event_names[_CHANGE_EVENT_MAX] = {
        ON(RUNS) = "runs",   ON(RESTS) = "rests", ON(BEGUN) = "begun",
        ON(COPIES) = "copies", ON(START) = "start", ON(STOP) = "stop",
        ON(MOVED) = "moved", ON(FAILS) = "fails", ON(CANCEL) = "cancel",
};

static const char *const action_names[_CHANGE_ACTION_MAX] = {
        ON(NOTHING) = "nothing",     ON(GO_LIVE) = "go-live", ON(GO_OFFLINE) = "go-offline",
        ON(TEAR_DOWN) = "tear-down", ON(REFUSE) = "refuse",   ON(END) = "end",
};
/* clang-format on */

const char *change_event_name(ChangeEvent e) {
        return (unsigned)e < _CHANGE_EVENT_MAX ? event_names[e] : NULL;
}

const char *change_action_name(ChangeAction a) {
        return (unsigned)a < _CHANGE_ACTION_MAX ? action_names[a] : NULL;
}

void change_init(Change *c, ChangeMode mode, const char *pod) {
        *c = (Change){ .fsm = FSM_INIT(&change_fsm, CHANGE_NEW, pod), .mode = mode };
}

ChangeState change_state(const Change *c) {
        return (ChangeState)c->fsm.state;
}

bool change_cell(ChangeState s, ChangeEvent e, ChangeMode mode, ChangeCell *ret) {
        *ret = table[s][e].cell;
        for (size_t i = 0; i < ELEMENTSOF(overrides); i++)
                if (overrides[i].mode == mode && overrides[i].state == s && overrides[i].event == e)
                        *ret = overrides[i].cell;
        return table[s][e].there;
}

int change_step(Change *c, ChangeEvent e, ChangeAction *ret, Error *reterr) {
        bool first = change_state(c) == CHANGE_NEW;
        ChangeCell cell;

        *ret = CHANGE_NOTHING;
        if (!change_cell(change_state(c), e, c->n >= CHANGES_MAX ? CHANGE_SPENT : c->mode, &cell))
                return error_setf(reterr, -EBADFD, "%s: a pod whose move is %s cannot come to that",
                                  event_names[e], fsm_name(&c->fsm));
        if (cell.next != change_state(c))
                fsm_must(&c->fsm, (int)cell.next);
        c->n += !first && (cell.action == CHANGE_GO_LIVE || cell.action == CHANGE_GO_OFFLINE);
        *ret = cell.action;
        return 0;
}

bool change_is_teardown(const Change *c) {
        return change_state(c) == CHANGE_LIVE_TEARDOWN ||
               change_state(c) == CHANGE_OFFLINE_TEARDOWN;
}
