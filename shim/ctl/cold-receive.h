/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/cold-plan.h"
#include "shim/ctl/cold-stream.h"
#include "shim/ctl/copies.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/warm-stream.h"
#include "shim/offline.h"

/* The destination of a cold move: answers requests that come from `pipe` until it ends. Half a copy
 * goes with it; a whole one stays, marked as not this host's, until the source says what of it.
 *
 *      cold-receive.c   requests, and the record
 *      cold-take.c      what is checked, made and filled
 *      warm-receive.c   what is filled while the pod still runs over there
 *      cold-join.c      its turn, where other copies come, too (copies.h) */
typedef struct ColdReceiver {
        const Ctl *ctl;
        const char *name, *session;
        char *state; /* <state_dir>/pods/<name> */
        OfflineLock lock;
        const ColdPipe *pipe;
        ColdPlan plan;
        OfflineRecord record;  /* as it is to be written */
        Copy copy;             /* it takes part in the copies to this host */
        bool offered;          /* the plan is there, and its disks are made */
        json_object *findings; /* it is only asked whether it could come: what ends the move is
                                  noted here, and nothing is made. NULL: it comes */
        WarmTables *warm;      /* what is in the disks by now; NULL: nothing was copied ahead */
} ColdReceiver;

int cold_receive(const Ctl *ctl, const char *name, const char *session, const ColdPipe *pipe,
                 Error *reterr);

/* -- cold-take.c: each of a request -- */
typedef int ColdTake(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr);
ColdTake cold_take_offer, cold_take_files, cold_take_seal;
/* -- cold-join.c: answers as long as it has to wait, and once more when it need not -- */
ColdTake cold_take_join;
/* For a check: what it would wait for, if it would. */
int cold_tell_ahead(const ColdReceiver *c, json_object *answer, Error *reterr);
/* -- warm-receive.c -- */
ColdTake cold_take_ahead;
/* A pass over a disk that was copied ahead (c->warm). */
int warm_take_disk(const ColdReceiver *c, const ColdDisk *d, uint64_t which, Error *reterr);

/* Notes r under that code (a row of cold-check.h) and returns 0 if it is only asked; else r. */
int cold_heed_here(ColdReceiver *c, const char *code, int r, Error *reterr);
/* Nothing of this name runs, or could be started, here. */
int cold_check_free(const ColdReceiver *c, Error *reterr);
int cold_answer(const ColdReceiver *c, json_object *answer, Error *reterr);
void cold_remove_tokens(const ColdReceiver *c);
