/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* The agent's event loop: epoll, one event at a time, so that a handler may end any watch, also its
 * own and those whose events are pending. One thread. */
typedef struct Loop {
        int epoll;
        bool stop;
} Loop;

typedef void (*WatchReady)(void *userdata, uint32_t events);

/* One fd in the loop; embedded in its owner, which keeps the fd. With no events wanted the fd is
 * out of the loop altogether (a hang-up would be reported for ever otherwise). */
typedef struct Watch {
        Loop *loop;
        int fd;
        uint32_t events;
        WatchReady ready;
        void *userdata;
} Watch;

int loop_init(Loop *l, Error *reterr);
void loop_done(Loop *l);
/* Until `stop`; after each event `after` runs once. */
int loop_run(Loop *l, void (*after)(void *userdata), void *userdata, Error *reterr);

/* Borrows fd. */
int watch_init(Watch *w, Loop *l, int fd, uint32_t events, WatchReady ready, void *userdata);
int watch_set(Watch *w, uint32_t events);
void watch_done(Watch *w); /* before the fd is closed; again, or never begun: no harm */
