/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "lib/pace.h"
#include "shim/ctl/cold-stream.h"
#include "shim/ctl/migrate.h"

/* The source's end of a cold move's stream: `podferry receive --cold` on the other host. Ctrl-C and
 * --timeout are heard while it waits (migrate-wait.c), and a stream that stands still is given up.
 */
typedef struct ColdLink {
        Mover *mover;
        int fd; /* -EBADF: not connected */
        RemoteRun run;
        ColdPipe pipe;
        Pace pace;     /* of what is sent */
        bool answered; /* at all */
        bool refused;  /* it answered with an error, and ends */
        bool broken;   /* the stream */
} ColdLink;

int cold_link_open(ColdLink *l, Mover *m, Error *reterr);
/* Waits for the command's end, which removes what must not stay. < 0: it did not end well. */
int cold_link_close(ColdLink *l);
/* {"do": what} and what more there is (may be NULL; is consumed); the caller owns *ret (may be
 * NULL). The error that the other side answers with is this one's. */
int cold_ask(ColdLink *l, const char *what, json_object *more, json_object **ret, Error *reterr);
/* Only sends it. */
int cold_say(ColdLink *l, const char *what, json_object *more, Error *reterr);
int cold_hear(ColdLink *l, json_object **ret, Error *reterr);
