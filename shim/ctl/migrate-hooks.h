/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/hooks.h"

/* Hooks of one migration, as its driver has them. */
typedef struct MoverHooks {
        bool none;                          /* --no-hooks */
        bool begun, begun_there;            /* the turn of pre-source, pre-target has come */
        Hooks given;                        /* --hook: for this host, before its own */
        char here_name[64], there_name[64]; /* how the hosts call themselves */
        bool there[_HOOK_EVENT_MAX];        /* the other host has some */
        char problems[HOOK_PROBLEMS_MAX][HOOK_PROBLEM_MAX]; /* of the other host's */
        size_t n_problems;
        const char *outcome; /* for on-failure; NULL: "rolled-back" */
} MoverHooks;

/* migrate-hooks.c; Mover is in migrate.h. */
struct Mover;

/* EVENT=COMMAND of --hook. -EINVAL: the event is the other host's, or none. */
int mover_hooks_give(MoverHooks *h, const char *text, Error *reterr);
void mover_hooks_done(MoverHooks *h);
/* What the other host said of its hooks (hooks_facts()), and its name. It is hostile. */
void mover_hooks_learn(MoverHooks *h, json_object *facts, const char *host);
/* What is in the way on both hosts, as findings of the report; `there` false: this host's only. */
int mover_hooks_find(struct Mover *m, bool there, Error *reterr);
/* The same as one error. -EBADFD. */
int mover_hooks_check(struct Mover *m, Error *reterr);
/* Steps: the last before the pod itself is touched. */
int mover_hooks_pre_source(struct Mover *m, Error *reterr);
int mover_hooks_pre_target(struct Mover *m, Error *reterr);
/* The pod has moved: what fails is told. */
void mover_hooks_after_move(struct Mover *m);
/* It has not, and all is rolled back that could be. Nothing, if no hook's turn had come. */
void mover_hooks_after_failure(struct Mover *m, const char *step, const char *why);
