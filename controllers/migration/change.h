/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/fsm.h"

/* A pod that is stopped while it moves live, or started while it moves as a stopped pod: what the
 * move then does. A table of states and events, for whoever drives the move (shim/ctl); it knows
 * nothing of what an action takes. Picture: docs/states/change.md, the cases: docs/changes.md. */
typedef enum ChangeState {
        CHANGE_NEW,           /* how the pod is was not looked at */
        CHANGE_LIVE_PENDING,  /* it is to move live; nothing of it has begun */
        CHANGE_LIVE_RUNNING,  /* memory and disks go over */
        CHANGE_LIVE_TEARDOWN, /* stopped meanwhile: both ends are on their way out */
        CHANGE_LIVE_DONE,
        CHANGE_LIVE_FAILED,
        CHANGE_OFFLINE_WAITING,  /* it is to move as a stopped pod; the other host did not answer */
        CHANGE_OFFLINE_READY,    /* that one answers, and nothing is copied */
        CHANGE_OFFLINE_RUNNING,  /* disks and logs go over */
        CHANGE_OFFLINE_TEARDOWN, /* started meanwhile: the copy is on its way out */
        CHANGE_OFFLINE_DONE,
        CHANGE_OFFLINE_FAILED,
        CHANGE_CANCELLED,
        _CHANGE_STATE_MAX,
} ChangeState;

typedef enum ChangeEvent {
        CHANGE_RUNS,   /* looked at: the pod runs. In a teardown: that is over, and it does */
        CHANGE_RESTS,  /* the same: it does not run */
        CHANGE_BEGUN,  /* live: the transfer; offline: the other host answered */
        CHANGE_COPIES, /* offline: the copy has begun */
        CHANGE_START,  /* somebody starts it, or wants to */
        CHANGE_STOP,   /* somebody stops it, or its machine has ended by itself */
        CHANGE_MOVED,
        CHANGE_FAILS,
        CHANGE_CANCEL, /* whoever drives it wants out */
        _CHANGE_EVENT_MAX,
} ChangeEvent;

typedef enum ChangeAction {
        CHANGE_NOTHING,
        CHANGE_GO_LIVE,    /* from its beginning */
        CHANGE_GO_OFFLINE, /* the same */
        CHANGE_TEAR_DOWN,  /* what is under way; then say RUNS or RESTS */
        CHANGE_REFUSE,     /* whoever wants to start it is told so, and nothing changes */
        CHANGE_END,        /* the move is over */
        _CHANGE_ACTION_MAX,
} ChangeAction;

typedef enum ChangeMode {
        CHANGE_FREE,         /* moves as it is: both ways are open */
        CHANGE_LIVE_ONLY,    /* --type live, or another one of a pod that runs */
        CHANGE_OFFLINE_ONLY, /* --type cold */
        CHANGE_SPENT,        /* changed CHANGES_MAX times: no more */
        _CHANGE_MODE_MAX,
} ChangeMode;

#define CHANGES_MAX 5U /* a pod that is started and stopped without an end is left where it is */

typedef struct ChangeCell {
        ChangeState next;
        ChangeAction action;
} ChangeCell;

typedef struct Change {
        Fsm fsm;
        ChangeMode mode;
        unsigned n; /* times that it went another way */
} Change;

extern const FsmTable change_fsm;
const char *change_event_name(ChangeEvent e);
const char *change_action_name(ChangeAction a);

/* pod: its name, borrowed, for logs. */
void change_init(Change *c, ChangeMode mode, const char *pod);
ChangeState change_state(const Change *c);
/* The cell of the table: true if there is one. The event cannot come in that state: false. */
bool change_cell(ChangeState s, ChangeEvent e, ChangeMode mode, ChangeCell *ret);
/* What happened; the action is the caller's to carry out. -EBADFD: it cannot come now, and nothing
 * has changed. */
int change_step(Change *c, ChangeEvent e, ChangeAction *ret, Error *reterr);
/* Between two ways. */
bool change_is_teardown(const Change *c);
