/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/fsm.h"
#include "shim/plan/plan.h"

/* What a running plan does next: pure, no I/O and no clock of its own. Events go in, with the time;
 * actions come out. Picture: docs/states/plan-entry.md (generated).
 *
 * What holds for every order of events: never more moves than the limits; no second move of a pod
 * while one is under way or undecided; a pod whose move was begun is final only once its hosts have
 * said where it is (or could not be asked: unknown); every run ends. */
typedef enum PlanEntryState {
        PLAN_CHECKING,   /* its hosts are asked where it is */
        PLAN_HELD,       /* another plan has the pod */
        PLAN_QUEUED,     /* waits for its turn */
        PLAN_MOVING,     /* podferry migrate is at work */
        PLAN_CANCELLING, /* and was told to stop */
        PLAN_SETTLING,   /* undecided: podferry adopt goes on with it */
        PLAN_WAITING,    /* until the next try */
        PLAN_MOVED,      /* at its destination */
        PLAN_FAILED,     /* where it was, out of tries; or something is wrong that no try mends */
        PLAN_CANCELLED,
        PLAN_SKIPPED, /* another one failed, and the plan stops on errors */
        PLAN_UNKNOWN, /* nobody could say where it is */
        _PLAN_ENTRY_STATE_MAX,
} PlanEntryState;
extern const FsmTable plan_entry_fsm;

/* What the hosts of an entry say, all together. */
typedef enum PlanVerdict {
        PLAN_STAYED,     /* at its source, and nobody moves it */
        PLAN_ARRIVED,    /* at a destination */
        PLAN_UNDECIDED,  /* a migration is under way somewhere, or its shim is dead */
        PLAN_UNREACHED,  /* a host that may have it does not answer */
        PLAN_NOWHERE,    /* no host has it */
        PLAN_TWO_COPIES, /* more than one host says that it has it */
        _PLAN_VERDICT_MAX,
} PlanVerdict;

/* Why a move failed. Names are API. */
typedef enum PlanClass {
        PLAN_CLASS_NONE,
        PLAN_CLASS_CHECK,    /* a host refused before anything was touched */
        PLAN_CLASS_CONNECT,  /* the other host, or podferry there, was not reached */
        PLAN_CLASS_PREPARE,  /* layers, disks, machine over there */
        PLAN_CLASS_TRANSFER, /* memory and disks */
        PLAN_CLASS_HANDOVER,
        PLAN_CLASS_FINISH,    /* after it had moved */
        PLAN_CLASS_CANCELLED, /* by whoever was asked to */
        PLAN_CLASS_LOST,      /* neither host has it */
        PLAN_CLASS_COPIES,    /* two hosts say that they have it */
        PLAN_CLASS_HOST,      /* a host did not answer */
        PLAN_CLASS_INTERNAL,
        _PLAN_CLASS_MAX,
} PlanClass;
const char *plan_class_name(PlanClass c);
int plan_class_from_name(const char *name); /* -EINVAL */

typedef enum PlanEventKind {
        PLAN_EVENT_FACTS,  /* the answer to CHECK */
        PLAN_EVENT_HELD,   /* the answer to CHECK: another plan has its lock */
        PLAN_EVENT_FREED,  /* which is gone */
        PLAN_EVENT_START,  /* its turn; of the engine's own */
        PLAN_EVENT_ENDED,  /* MOVE or SETTLE is over */
        PLAN_EVENT_DUE,    /* its wait is over; of the engine's own */
        PLAN_EVENT_CANCEL, /* somebody asked */
        PLAN_EVENT_SKIP,   /* another one failed; of the engine's own */
        _PLAN_EVENT_KIND_MAX,
} PlanEventKind;

typedef struct PlanEvent {
        PlanEventKind kind;
        PlanVerdict verdict; /* FACTS */
        bool busy;           /* FACTS, undecided: by a migration whose shims live */
        unsigned host;       /* FACTS: where it arrived */
        bool moved;          /* ENDED: migrate itself says so */
        PlanClass why;       /* ENDED: what it says if not */
        const char *reason;  /* ENDED, FACTS: for people; may be NULL */
} PlanEvent;

typedef enum PlanActionKind {
        PLAN_CHECK,  /* take the pod's lock and ask the hosts; answer FACTS or HELD */
        PLAN_MOVE,   /* journal it, then move to `host`; answer ENDED */
        PLAN_STOP,   /* tell the move to stop; ENDED still comes */
        PLAN_SETTLE, /* journal it, then adopt; answer ENDED */
} PlanActionKind;

typedef struct PlanAction {
        PlanActionKind kind;
        unsigned entry, host;
} PlanAction;

typedef struct PlanEntry {
        const PlanPod *pod;
        Fsm fsm;
        unsigned from, to[PLAN_TO_MAX], n_to; /* the other way round when it is undone */
        unsigned candidate;                   /* of to[]: where it goes next, or went */
        unsigned tries;                       /* rounds through the candidates that failed */
        unsigned asks;                        /* without an answer */
        unsigned settles;                     /* undecided so often */
        unsigned patience; /* further looks while it is busy: who drives that may live elsewhere */
        bool doubt;        /* a move was begun whose end nobody has confirmed: it holds its slots */
        bool begun;        /* by the plan, ever: what is undone is only that */
        bool recheck;      /* after waiting: ask, do not start */
        bool was_untouched; /* the last failure changed nothing anywhere */
        enum { PLAN_GO, PLAN_WISH_CANCEL, PLAN_WISH_SKIP } wish;
        unsigned host; /* where it is, once that is decided */
        PlanClass why;
        char reason[300];
        uint64_t due_ms, since_ms; /* end of a wait; in this state since */
        int todo;                  /* PlanActionKind, or -1 */
        bool warned;
} PlanEntry;

/* Called after each move of an entry, before anything else happens. */
typedef void (*PlanObserver)(void *userdata, PlanEntry *e, int from);

typedef struct PlanEngine {
        const Plan *plan;
        PlanEntry *entries;
        size_t n_entries;
        bool paused; /* starts nothing new */
        PlanObserver observer;
        void *userdata;
} PlanEngine;

/* One entry for each pod, all of them to be checked; the caller may change them before it begins
 * (set what a journal says). */
int plan_engine_init(PlanEngine *g, const Plan *p, Error *reterr);
void plan_engine_done(PlanEngine *g);

/* 0; -EBADFD: makes no sense in its state, nothing changed. */
int plan_engine_event(PlanEngine *g, unsigned entry, const PlanEvent *ev, uint64_t now_ms);
/* The next thing to do; false: nothing, until an event or plan_engine_wake(). */
bool plan_engine_next(PlanEngine *g, uint64_t now_ms, PlanAction *ret);
bool plan_engine_has_action(const PlanEngine *g); /* without taking it */
uint64_t plan_engine_wake(const PlanEngine *g);   /* UINT64_MAX: never */
/* Starts nothing new from now on; what runs, ends. For Ctrl-C and for a lost store. */
void plan_engine_pause(PlanEngine *g);
/* Nothing is under way and, unless it is paused, all entries are final. */
bool plan_engine_is_over(const PlanEngine *g);
bool plan_entry_is_final(const PlanEntry *e);
/* How many are before it in the queue, and which limit it waits for ("out of h1", "in to h2",
 * "all"; "" if it is next). */
unsigned plan_engine_position(const PlanEngine *g, unsigned entry, const char **ret_limit);

/* -- plan-decide.c -- */

/* What one host says of one pod. */
typedef enum PlanFact {
        PLAN_FACT_SILENT, /* the host does not answer */
        PLAN_FACT_NONE,   /* no such pod */
        PLAN_FACT_HERE,   /* it is here, and in no migration */
        PLAN_FACT_BUSY,   /* in a migration that is not over */
        PLAN_FACT_DEAD,   /* its shim has died */
        _PLAN_FACT_MAX,
} PlanFact;

/* facts[0] is the source's, the others are those of to[0..n-1]; *ret_host is one of these, as an
 * index into facts, for ARRIVED. */
PlanVerdict plan_decide(const PlanFact *facts, size_t n, size_t *ret_host);
/* What migrate's last step, as it names them, means for a failure. */
PlanClass plan_classify(const char *step);
