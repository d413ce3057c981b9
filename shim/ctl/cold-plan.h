/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "controllers/migration/storage.h"
#include "hostdev/disk/token.h"
#include "hostdev/image/layer.h"
#include "shim/container-spec.h"
#include "shim/definition.h"

/* A stopped pod as it is to be moved: its definition, and what becomes of each of its disks. Both
 * hosts make it of the same definition, so both have the same disks in the same order. */
#define COLD_DISKS_MAX 1024U

typedef struct ColdDisk {
        size_t container, index;   /* in the definition; in its specification */
        const ContainerDisk *spec; /* borrowed */
        StoragePlan plan;
        size_t same_as; /* an earlier one is the same file; SIZE_MAX */
        char *there;    /* path at the destination; NULL: not known yet */
        uint64_t bytes; /* of the file of a copy */
        uint64_t data;  /* what is in it */
        char token[DISK_TOKEN_SIZE], digest[LAYER_DIGEST_SIZE];
} ColdDisk;

typedef struct ColdPlan {
        Definition definition;
        ParsedSpec *specs; /* of each container */
        ColdDisk *disks;
        size_t n_disks;
} ColdPlan;

/* Of p->definition, which must stay as it is. -EINVAL: a disk and the wish contradict each other;
 * -EBADMSG: a specification is none. */
int cold_plan_make(ColdPlan *p, MigrationStorage wish, Error *reterr);
void cold_plan_done(ColdPlan *p);
/* Its bytes travel, and not as those of another disk. */
bool cold_is_copy(const ColdDisk *d);
/* "" or NULL: as each disk says. */
const char *cold_wish_name(MigrationStorage wish);
int cold_wish(const char *text, MigrationStorage *ret, Error *reterr);
/* Each disk at its place `there`: the definition as it is to be at the destination. */
int cold_plan_adapt(ColdPlan *p, Error *reterr);

/* The definition as JSON and back; what is read is hostile. */
json_object *cold_definition_json(const Definition *d);
int cold_definition_parse(json_object *o, Definition *ret, Error *reterr);
