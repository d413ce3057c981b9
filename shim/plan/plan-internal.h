/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdarg.h>

#include "shim/plan/plan.h"

/* Reading a plan: shared by plan-read.c (the plan and its hosts) and plan-pods.c (its pods). */
typedef struct Reader {
        Error *error;
        char path[240];            /* of what is being read: "pods[3].to[0]" */
        unsigned out, in, retries; /* of whoever does not say */
        json_object *defaults;     /* of the pods; borrowed; NULL: none */
        const Plan *plan;          /* whose hosts a pod may name */
} Reader;

typedef struct Key {
        const char *name;
        enum json_type type; /* null: the function looks for itself */
        int (*take)(Reader *r, json_object *value, void *into);
        bool required;
} Key;

/* -EINVAL, with the path in front. */
int plan_refuse(const Reader *r, const char *fmt, ...) _printf_(2, 3);
/* Goes down to a key; plan_leave() takes back what it returned. */
size_t plan_enter(Reader *r, const char *key);
size_t plan_enter_index(Reader *r, size_t i);
void plan_leave(Reader *r, size_t at);
/* Every key that is there, in the table's order; unknown ones are refused. */
int plan_read_object(Reader *r, json_object *o, const Key *keys, size_t n, void *into);

int plan_take_text(Reader *r, json_object *v, size_t max, char **ret); /* replaces *ret */
int plan_take_number(Reader *r, json_object *v, int64_t min, int64_t max, int64_t *ret);

/* -- plan-pods.c -- */
int plan_read_pods(Reader *r, json_object *v, void *into);
int plan_read_defaults(Reader *r, const Plan *p, json_object *v, PlanPod *ret);
void plan_pod_done(PlanPod *p);
