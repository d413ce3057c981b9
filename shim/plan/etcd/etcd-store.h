/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/plan/etcd/etcd.h"
#include "shim/plan/plan-store.h"

/* A plan in etcd. Below the prefix of the configuration:
 *
 *      plans/NAME/owner            who drives it; goes with the driver's lease
 *      plans/NAME/term             the id of the last driver
 *      plans/NAME/index/NNNNNN     a run that there is
 *      plans/NAME/run/NNNNNN/NNNNNNNN  its records, as lines of a file
 *      locks/POD                   the plan that has the pod; with no lease
 *      cancel/NAME/[POD]           asks the driver to let a pod, or all, be
 *
 * Every write of a driver is a transaction that compares the owner with what this driver wrote
 * there: one whose lease has ended writes nothing any more. If nobody came after it (term), it may
 * take the plan again. A lock has no lease, because a move outlives its driver: the next driver of
 * the plan takes it over. */
#define ETCD_KEY_MAX   400U
#define ETCD_OWNER_MAX 320U

typedef struct EtcdStore {
        PlanStore *store; /* where it is now: set by each call */
        const PlansConfig *config;
        Etcd *etcd;
        EtcdWatch *watch;
        sd_event_source *keep, *tell;
        bool missed;                /* news may have been */
        char id[33];                /* of this driver */
        char owner[ETCD_OWNER_MAX]; /* what it writes; "": it does not drive */
        char mark[160];             /* of a lock that is the plan's */
        int64_t lease;              /* 0: none */
        unsigned run;
} EtcdStore;

static inline EtcdStore *etcd_store(PlanStore *s) {
        EtcdStore *e = s->impl;

        e->store = s;
        return e;
}

/* A key below the prefix. */
void etcd_store_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], const char *fmt, ...)
        _printf_(3, 4);
void etcd_store_plan_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], const char *what);
void etcd_store_record_key(const EtcdStore *e, char ret[static ETCD_KEY_MAX], unsigned run,
                           uint64_t n);

/* -- etcd-owner.c -- */

/* Takes the plan for this driver. again: only if nobody drove it meanwhile. -EBUSY: somebody does,
 * or did. */
int etcd_own(EtcdStore *e, bool again, Error *reterr);
void etcd_disown(EtcdStore *e);
/* A transaction of the driver, which says nothing of the owner yet. As etcd_commit(), with
 * -EBUSY if the plan is another's. A lease that ended on the way is made up for. */
typedef void (*EtcdMake)(EtcdStore *e, EtcdTxn *t, const void *userdata);
int etcd_commit_owned(EtcdStore *e, EtcdMake make, const void *userdata, EtcdValue ret[], size_t n,
                      Error *reterr);
/* Who a value of "owner" names, for people. */
void etcd_owner_describe(const EtcdValue *v, char *ret, size_t size);

/* -- etcd-journal.c -- */
int etcd_journal_read(EtcdStore *e, unsigned run, Buf *ret, Error *reterr);
int etcd_journal_new(EtcdStore *e, uint64_t next, PlanJournal **ret, Error *reterr);

/* -- etcd-lock.c -- */
int etcd_lock(PlanStore *s, PlanLock *l, Error *reterr);
int etcd_unlock(PlanStore *s, PlanLock *l, Error *reterr);
int etcd_store_watch(PlanStore *s, Error *reterr);
void etcd_store_unwatch(PlanStore *s);
/* Locks of pods that the run is through with, left by a driver that was killed just then. */
int etcd_sweep(EtcdStore *e, const PlanRun *run, Error *reterr);
