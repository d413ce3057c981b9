/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

/* A way in which a pod moves, as a table of steps that one engine runs in their order. Each way is
 * one file with such a table (migrate-drive.c: live, migrate-cold.c: cold), and one row in the list
 * of them. The engine knows nothing of what a step does. */
typedef struct Mover Mover;

typedef struct ItineraryStep {
        const char *name;               /* for machines; several steps may be one phase */
        const char *text;               /* for people, when it begins; NULL: they are not told */
        bool tell;                      /* machines are told, though it has no text */
        bool (*wanted)(const Mover *m); /* asked when its turn comes; NULL: always */
        int (*run)(Mover *m, Error *reterr);
        int (*undo)(Mover *m, Error *reterr); /* also of a step that failed; NULL: nothing to do */
} ItineraryStep;

#define ITINERARY_STEPS_MAX 32U

typedef struct Itinerary {
        const char *type; /* --type */
        const ItineraryStep *steps;
        size_t n_steps; /* at most ITINERARY_STEPS_MAX */
        /* The end: r and *err are of the steps. Finishes or undoes, tells the user, returns the
         * result of all. */
        int (*end)(Mover *m, int r, Error *err);
} Itinerary;

/* What has begun. */
typedef struct Journey {
        const Itinerary *itinerary;
        bool begun[ITINERARY_STEPS_MAX];
} Journey;

/* Before each step that is wanted; < 0 ends the journey there, with the step not begun. */
typedef int (*ItineraryBefore)(Mover *m, const ItineraryStep *step, Error *reterr);

/* The code of the first step that failed, or 0. */
int itinerary_run(Journey *j, const Itinerary *it, ItineraryBefore before, Mover *m, Error *reterr);
/* Undoes what has begun, the last one first. One that cannot be undone ends it, with its code:
 * what came before it stays done. */
int itinerary_undo(Journey *j, Mover *m, Error *reterr);
