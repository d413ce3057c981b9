/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* How many moves leave a host, and how many come to it, whoever began them: a file for each in
 * RUN_DIR, .move-out-N or .move-in-N, locked as long as the move lasts, so that a command that is
 * killed leaves its place at once. Whoever has a limit of N waits while N others are there; who has
 * none is counted all the same. lock_files_watch() tells when a place may have become free. */
typedef enum PlaceKind {
        PLACE_OUT,
        PLACE_IN,
        _PLACE_KIND_MAX,
} PlaceKind;

typedef struct Place {
        int dir_fd, fd;
        char name[24];
} Place;

#define PLACE_INIT                                                                                 \
        (Place) {                                                                                  \
                .dir_fd = -EBADF, .fd = -EBADF                                                     \
        }

#define PLACES_MAX 256U /* of a kind */

/* Takes a place. limit 0: as many as there may be. -EAGAIN: *ret_taken have one, which is `limit`
 * or more; -EUSERS: PLACES_MAX have one. *ret_taken may be NULL. */
int place_take(const char *run_dir, PlaceKind kind, unsigned limit, Place *ret, unsigned *ret_taken,
               Error *reterr);
void place_leave(Place *p);
#define _cleanup_place_ _cleanup_(place_leave)

/* The other host's end of it, for podferry receive --place: takes a place of PLACE_IN and has it
 * until stdin ends. Says "wait N" on stdout while N others are in the way, whenever that changes,
 * and "have" when it has it; a line each. */
int place_serve(const char *run_dir, unsigned limit, Error *reterr);
