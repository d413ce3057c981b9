/* SPDX-License-Identifier: Apache-2.0 */
/* A run's records in etcd: each a key of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd-store.h"

#define RUN_MAX    (64U << 20)
#define RECORD_MAX (1300U << 10) /* etcd takes 1.5 MiB */
#define TRIES      3U            /* of a reading that was compacted away */

typedef struct EtcdJournal {
        PlanJournal base;
        EtcdStore *store;
} EtcdJournal;

/* -- reading -- */

static int take_record(void *userdata, const char *name, const Buf *value, Error *reterr) {
        Buf *b = userdata;

        if (b->len + value->len > RUN_MAX)
                return error_setf(reterr, -EBADMSG, "record %.20s: a run this long is none", name);
        if (buf_append(b, value->data, value->len) < 0)
                return error_oom(reterr);
        return 0;
}

int etcd_journal_read(EtcdStore *e, unsigned run, Buf *ret, Error *reterr) {
        char key[ETCD_KEY_MAX], what[32];
        int r = -ESTALE;

        (void)snprintf(what, sizeof(what), "run/%06u/", run);
        etcd_store_plan_key(e, key, what);
        for (unsigned i = 0; r == -ESTALE && i < TRIES; i++) {
                ret->len = 0;
                r = etcd_each(e->etcd, key, false, take_record, ret, reterr);
        }
        return r;
}

/* -- writing -- */

typedef struct Record {
        unsigned run;
        uint64_t n;
        const Buf *line;
} Record;

/* After the one before it, and where none is. */
static void make_record(EtcdStore *e, EtcdTxn *t, const void *userdata) {
        char key[ETCD_KEY_MAX], before[ETCD_KEY_MAX], what[32];
        const Record *r = userdata;

        etcd_store_record_key(e, key, r->run, r->n);
        etcd_if_absent(t, key);
        if (r->n > 0) {
                etcd_store_record_key(e, before, r->run, r->n - 1);
                etcd_if_there(t, before);
        }
        etcd_put(t, key, r->line->data, r->line->len, 0);
        etcd_else_get(t, key);
        if (r->n > 0)
                return;
        (void)snprintf(what, sizeof(what), "index/%06u", r->run);
        etcd_store_plan_key(e, key, what);
        etcd_put(t, key, "", 0, 0);
}

static int append(PlanJournal *base, uint64_t n, const Buf *line, Error *reterr) {
        EtcdStore *e = ((EtcdJournal *)(void *)base)->store;
        const Record record = { .run = e->run, .n = n, .line = line };
        EtcdValue v[2] = {}; /* the owner, and the record that is there already */
        int r;

        if (line->len > RECORD_MAX)
                return error_setf(reterr, -ENOSPC, "run %u: a record of %zu bytes: etcd takes %u",
                                  e->run, line->len, RECORD_MAX);
        r = etcd_commit_owned(e, make_record, &record, v, ELEMENTSOF(v), reterr);
        if (r == 1)
                r = 0;
        else if (r == 0 && v[1].there && v[1].data.len == line->len &&
                 memcmp(v[1].data.data, line->data, line->len) == 0)
                ; /* an earlier try got through */
        else if (r == 0)
                r = v[1].there ? error_setf(reterr, -EBUSY,
                                            "plan %s, run %u: record %" PRIu64
                                            " is another podferry's",
                                            e->store->name, e->run, n)
                               : error_setf(reterr, -EBADMSG,
                                            "plan %s, run %u: record %" PRIu64 " is gone",
                                            e->store->name, e->run, n - 1);
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                etcd_value_done(&v[i]);
        return r;
}

static PlanJournal *journal_free(PlanJournal *base) {
        EtcdJournal *j = (EtcdJournal *)(void *)base;

        etcd_disown(j->store);
        free(j);
        return NULL;
}

static const PlanJournalOps etcd_journal = { .append = append, .free = journal_free };

int etcd_journal_new(EtcdStore *e, uint64_t next, PlanJournal **ret, Error *reterr) {
        EtcdJournal *j = calloc(1, sizeof(*j));

        if (!j)
                return error_oom(reterr);
        *j = (EtcdJournal){ .base = { .ops = &etcd_journal, .next = next }, .store = e };
        *ret = &j->base;
        return 0;
}
