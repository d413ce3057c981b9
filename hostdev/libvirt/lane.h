/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "lib/error.h"

/* Threads that do blocking work for a loop, and the way back.
 *
 * A Note is what travels: it waits in a lane for the lane's thread, or in the mailbox for the loop.
 * It is embedded in what it stands for, has one owner at a time, and is in one list at a time.
 *
 * The mailbox is one queue for all threads of its owner, so notes reach the loop in the order in
 * which they were put there. */
typedef struct Note Note;
struct Note {
        Note *next;
        void (*work)(Note *note);    /* on the lane's thread; must end with mailbox_put() */
        void (*deliver)(Note *note); /* on the loop; owns the note from here on */
        void (*drop)(Note *note);    /* instead of deliver, when the mailbox goes away */
};

typedef struct NoteList {
        Note *first, *last;
        unsigned n;
} NoteList;

typedef struct Mailbox {
        pthread_mutex_t lock;
        NoteList list;
        int fd; /* eventfd: there is something in the list */
        sd_event_source *source;
} Mailbox;

int mailbox_init(Mailbox *m, sd_event *loop, Error *reterr);
void mailbox_done(Mailbox *m); /* drops what is in it; no other thread may use it any more */
void mailbox_put(Mailbox *m, Note *note); /* any thread; cannot fail */
/* As above, unless `max` notes wait already: then false, and the note stays the caller's. */
bool mailbox_put_bounded(Mailbox *m, Note *note, unsigned max);

typedef struct Lane {
        const char *name; /* of the thread; at most 15 characters */
        unsigned max;     /* notes that may wait */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        pthread_t thread;
        NoteList list;
        bool started, stop;
} Lane;

void lane_init(Lane *l, const char *name, unsigned max);
void lane_done(Lane *l); /* waits until all is worked off, and for the thread */
/* Loop thread. Starts the thread on first use. -EBUSY: the queue is full, -EAGAIN and others: no
 * thread to be had. */
int lane_put(Lane *l, Note *note, Error *reterr);

/* A thread with a small stack and all signals blocked (they belong to the loop). */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *argument);
