/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fsm.h"

#include <assert.h>
#include <string.h>

#include "lib/log.h"

static FsmObserver fsm_observer;
static void *fsm_observer_data;

void fsm_set_observer(FsmObserver observer, void *userdata) {
        fsm_observer = observer;
        fsm_observer_data = userdata;
}

bool fsm_can(const Fsm *f, int next) {
        if (next < 0 || next >= f->table->n_rows)
                return false;
        return f->table->rows[f->state].next & (1U << next);
}

static void move(Fsm *f, int next) {
        int from = f->state;

        f->state = next;
        log_fields(LOG_DEBUG,
                   (LogField[]){ { "OBJECT", f->table->kind },
                                 { "ID", f->id },
                                 { "FROM", f->table->rows[from].name },
                                 { "TO", f->table->rows[next].name } },
                   4, "%s %s: %s -> %s", f->table->kind, f->id ?: "", f->table->rows[from].name,
                   f->table->rows[next].name);
        if (fsm_observer)
                fsm_observer(fsm_observer_data, f, from);
}

int fsm_ask(Fsm *f, int next, Error *reterr) {
        if (!fsm_can(f, next))
                return error_setf(reterr, -EBADFD, "%s %s is %s: it cannot become %s",
                                  f->table->kind, f->id ?: "", fsm_name(f),
                                  fsm_state_name(f->table, next) ?: "(unknown state)");
        move(f, next);
        return 0;
}

void fsm_must(Fsm *f, int next) {
        assert(fsm_can(f, next));
        move(f, next);
}

int fsm_refuse(const Fsm *f, const char *call, Error *reterr) {
        return error_setf(reterr, -EBADFD, "%s: %s %s is %s", call, f->table->kind, f->id ?: "",
                          fsm_name(f));
}

const char *fsm_name(const Fsm *f) {
        return f->table->rows[f->state].name;
}

unsigned fsm_flags(const Fsm *f) {
        return f->table->rows[f->state].flags;
}

const char *fsm_state_name(const FsmTable *t, int state) {
        return state >= 0 && state < t->n_rows ? t->rows[state].name : NULL;
}

int fsm_state_from_name(const FsmTable *t, const char *name) {
        for (int i = 0; i < t->n_rows; i++)
                if (strcmp(t->rows[i].name, name) == 0)
                        return i;
        return -EINVAL;
}

static uint32_t reachable(const FsmTable *t) {
        uint32_t seen = 0, before;

        for (int i = 0; i < t->n_rows; i++)
                if (t->rows[i].flags & FSM_FIRST)
                        seen |= 1U << i;
        do {
                before = seen;
                for (int i = 0; i < t->n_rows; i++)
                        if (seen & (1U << i))
                                seen |= t->rows[i].next;
        } while (seen != before);
        return seen;
}

int fsm_check(const FsmTable *t, Error *reterr) {
        uint32_t seen;

        if (t->n_rows < 1 || t->n_rows > 31)
                return error_setf(reterr, -EINVAL, "%s: %d rows", t->kind, t->n_rows);
        for (int i = 0; i < t->n_rows; i++) {
                const FsmRow *row = &t->rows[i];

                if (!row->name || !row->name[0])
                        return error_setf(reterr, -EINVAL, "%s: row %d has no name", t->kind, i);
                if (fsm_state_from_name(t, row->name) != i)
                        return error_setf(reterr, -EINVAL, "%s: %s twice", t->kind, row->name);
                if (row->next >> t->n_rows)
                        return error_setf(reterr, -EINVAL, "%s: %s leads out of the table", t->kind,
                                          row->name);
                if (!!(row->flags & FSM_FINAL) != (row->next == 0))
                        return error_setf(reterr, -EINVAL, "%s: %s: final and exits disagree",
                                          t->kind, row->name);
        }
        seen = reachable(t);
        for (int i = 0; i < t->n_rows; i++)
                if (!(seen & (1U << i)))
                        return error_setf(reterr, -EINVAL, "%s: %s cannot be reached", t->kind,
                                          t->rows[i].name);
        return 0;
}
