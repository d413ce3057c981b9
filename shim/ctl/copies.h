/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "controllers/ids.h"
#include "lib/error.h"

/* Copies of pods that do not run, which come to this host: they are taken in generations, so that
 * no copy that has begun gets another one beside it which nobody had foreseen.
 *
 *      none      no copy of the last generation is left. The next who comes opens a new one, of all
 *                who have been waiting
 *      pending   it is open: nothing is copied yet, and whoever comes belongs to it
 *      up        the first copy has begun: its set of pods is frozen. Whoever comes waits
 *      draining  the same to those who wait; it ends with the last copy of its set, however that
 *                ends: all of it is here, it has failed, or its pod goes another way
 *
 * A copy belongs to the set by its pod, or by the name of a set that several copies were given
 * (--copies with:NAME, as plans do): these begin whenever they are there.
 *
 * In RUN_DIR the file .copies is the generation, and .copy-POD, locked as long as it takes part, is
 * who is there or waits; in it the name of its set. So a copy that is killed holds up nobody. The
 * last one takes the generation along; the next is number 1 then. */
typedef struct Copy {
        int dir_fd, fd; /* -EBADF: it takes no part */
        char pod[ID_MAX + 1], set[ID_MAX + 1];
        unsigned generation; /* that it belongs to; 0: it waits */
} Copy;

#define COPY_INIT                                                                                  \
        (Copy) {                                                                                   \
                .dir_fd = -EBADF, .fd = -EBADF                                                     \
        }

/* Takes part from now on. set: "" if it has none. -EBUSY: a copy of this pod does already. */
int copy_enter(const char *run_dir, const char *pod, const char *set, Copy *ret, Error *reterr);

#define COPIES_TOLD_MAX 3U

typedef struct CopiesAhead {
        unsigned generation;                    /* which is up */
        unsigned n;                             /* copies of it that are left */
        char pods[COPIES_TOLD_MAX][ID_MAX + 1]; /* the first of them */
} CopiesAhead;

/* Is it this copy's turn? 0: c->generation is set. -EAGAIN: not yet; *ret is what it waits for, and
 * lock_files_watch() tells when to ask again. */
int copy_try(Copy *c, CopiesAhead *ret, Error *reterr);
/* What a copy that came now would wait for; ret->n 0: nothing. Changes nothing. */
int copies_look(const char *run_dir, const char *pod, CopiesAhead *ret, Error *reterr);
/* It is about to be filled: who is not in its generation by now comes in the next one. */
int copy_begin(const Copy *c, Error *reterr);
/* It is finished with. */
void copy_leave(Copy *c);
#define _cleanup_copy_ _cleanup_(copy_leave)
