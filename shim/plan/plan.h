/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* A plan of many migrations as its file says it: hosts, limits, and the pods with where each may
 * go. docs/plans.md has the format by example. A value: read once, never changed. */
#define PLAN_SIZE_MAX    (1U << 20)
#define PLAN_PODS_MAX    512U /* each holds a lock, and so a descriptor, while the plan runs */
#define PLAN_HOSTS_MAX   64U
#define PLAN_TO_MAX      8U
#define PLAN_MAPS_MAX    64U
#define PLAN_LIMIT_MAX   64U
#define PLAN_RETRIES_MAX 20U

/* One line of a host's map: what a pod calls it, what it is there. */
typedef struct PlanMap {
        char *name, *there;
} PlanMap;

typedef struct PlanHost {
        char *name;
        char *at;      /* ssh://... or exec:..., as the other hosts reach it; NULL: they cannot */
        char *program; /* podferry there; NULL: by default */
        bool here;     /* this machine */
        unsigned out, in;          /* moves away from it and to it at once */
        PlanMap *networks, *disks; /* disks: by the longest path that begins one */
        size_t n_networks, n_disks;
} PlanHost;

/* How a pod moves: "live" is as podferry migrate has it by default, so a stopped one moves cold. */
typedef struct PlanWay {
        const char *name;
        const char *command; /* of podferry, which says with --progress json what happens */
        const char *type;    /* its --type; NULL: none */
        bool repeats; /* one that was cut off goes on by the same command, not by podferry adopt */
} PlanWay;

typedef struct PlanPod {
        char *pod;
        const PlanWay *way;
        unsigned from, to[PLAN_TO_MAX]; /* of hosts */
        unsigned n_to;
        int priority; /* the higher, the earlier */
        unsigned retries;
        char *network;  /* a name in the destination's map, or ns:PATH; NULL: none */
        char **disks;   /* to be mapped; NULL: none */
        char **options; /* words of the command line of the way; NULL: none */
} PlanPod;

typedef struct Plan {
        char *name;
        PlanHost *hosts;
        size_t n_hosts;
        PlanPod *pods;
        size_t n_pods;
        unsigned all; /* moves at once */
        bool stop_on_error;
        uint64_t backoff_ms, warn_after_ms; /* first wait before a retry; waiting too long */
        uint64_t start_at;                  /* seconds since 1970; 0: now */
        json_object *json;                  /* what it was read from */
} Plan;

/* From text; `name` is for errors. -EINVAL or -EBADMSG with the path of what is wrong, as in
 * "pods[3].to[0]: there is no host \"h9\"". Nothing unknown is let pass. */
int plan_parse(const char *name, const char *text, size_t n, Plan *ret, Error *reterr);
/* The same from a document; takes a reference. */
int plan_from_json(const char *name, json_object *o, Plan *ret, Error *reterr);
int plan_load(const char *path, Plan *ret, Error *reterr);
void plan_done(Plan *p);
#define _cleanup_plan_ _cleanup_(plan_done)

/* Where a disk of the pod, or its network, is on a destination; NULL: its maps do not say. The
 * caller owns it. -ENOMEM. */
int plan_map_disk(const PlanHost *h, const char *path, char **ret);
const char *plan_map_network(const PlanHost *h, const char *name);
