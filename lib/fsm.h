/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* State machines as tables.
 *
 * A table has one row per state: its public name (API: bus, logs, docs, so renaming one is a
 * breaking change), the set of states that may follow, and flags. A machine's state is written by
 * fsm_ask() and fsm_must() only; each move is logged and shown to the observer (the shim turns it
 * into a D-Bus signal). Loop thread only. */

enum {
        FSM_FIRST = 1U << 0,   /* a machine may be born in this state */
        FSM_FINAL = 1U << 1,   /* no way out */
        FSM_WAITING = 1U << 2, /* a job is in flight; the only rows where a completion may land */
        FSM_FROZEN = 1U << 3,  /* a migration holds it still */
};

typedef struct FsmRow {
        const char *name;
        uint32_t next; /* bit per state */
        unsigned flags;
} FsmRow;

typedef struct FsmTable {
        const char *kind; /* "scsi-disk" */
        const FsmRow *rows;
        int n_rows;
} FsmTable;

typedef struct Fsm {
        const FsmTable *table;
        int state;
        const char *id; /* borrowed from the owner, for logs; may be NULL */
} Fsm;

#define FSM_INIT(t, s, i)                                                                          \
        (Fsm) {                                                                                    \
                .table = (t), .state = (s), .id = (i)                                              \
        }

/* A caller's wish: moves, or -EBADFD with a text that names kind, id, state and the wish. */
int fsm_ask(Fsm *f, int next, Error *reterr);
/* Our own move: not allowed means a bug, and aborts. */
void fsm_must(Fsm *f, int next);
/* True if the table allows the move. */
bool fsm_can(const Fsm *f, int next);
/* For "this call needs state X": -EBADFD with a text that names the call and the present state. */
int fsm_refuse(const Fsm *f, const char *call, Error *reterr);

const char *fsm_name(const Fsm *f); /* of the present state */
unsigned fsm_flags(const Fsm *f);
const char *fsm_state_name(const FsmTable *t, int state);     /* NULL if out of range */
int fsm_state_from_name(const FsmTable *t, const char *name); /* -EINVAL if there is none */

/* For tests: every row named once, moves in range, final rows without exits and others with, all
 * reachable from the FSM_FIRST rows. 0 or -EINVAL with the reason. */
int fsm_check(const FsmTable *t, Error *reterr);

/* One observer per process, called after each move; NULL to clear. */
typedef void (*FsmObserver)(void *userdata, const Fsm *f, int from);
void fsm_set_observer(FsmObserver observer, void *userdata);
