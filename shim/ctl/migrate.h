/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <poll.h>

#include "controllers/migration/change.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/itinerary.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate-hooks.h"
#include "shim/ctl/migrate-show.h"
#include "shim/ctl/places.h"
#include "shim/ctl/remote.h"
#include "shim/ctl/wish.h"

/* One migration as its driver sees it: both shims' calls in their order, and the way back.
 *
 *      cmd-migrate.c   the command line, and what its end means
 *      migrate-check.c the check before it
 *      migrate-hooks.c programs of the hosts that run around it
 *      migrate-queue.c its turn, where only so many move at once
 *      migrate-link.c  for a forecast: how fast the link is
 *      migrate-calls.c single calls and the commands on the other host
 *      itinerary.c     the engine: steps in their order
 *      migrate-drive.c which way it moves; live: the order of calls, the wait for the transfer
 *      migrate-cold.c  the way of a pod that does not run
 *      migrate-warm.c  the way of one that runs until most of its disks are there
 *      migrate-change.c the pod is stopped or started meanwhile: the other way
 *      migrate-end.c   the end, one way or the other, and what is said of it
 *      migrate-wait.c  waiting, while Ctrl-C and --timeout are heard */
#define MIGRATION_FACE BUS_INTERFACE ".Migration"
#define OPTIONS_MAX    48U

typedef struct Side {
        const char *name; /* "source", "destination" */
        sd_bus *bus;
        bool began;     /* the session may be known there: it is cleaned up */
        bool answered;  /* at all */
        bool abandoned; /* a call to it was left alone while it was at work */
        char state[32];
        json_object *result; /* of Finished */
} Side;

typedef struct Cold Cold;

struct Mover {
        const Ctl *ctl;
        const char *type;      /* --type; NULL: as the pod is */
        uint64_t stop_ms;      /* --stop-timeout */
        uint64_t passes;       /* --passes; 0: not given */
        Journey journey;       /* what has begun */
        Change change;         /* what the pod's own changes make of it */
        Wishes wishes;         /* to start it, while it moves as a stopped pod */
        const Itinerary *live; /* how it moves while it runs */
        bool left;             /* by a way that was torn down: on the other host */
        char first_session[32];
        Cold *cold; /* of a cold move: migrate-cold.h */
        const char *pod, *new_name;
        const char *network, *network_mode; /* namespace there; NULL: none was named */
        const char *to, *program; /* as given: attached clients go the same way. "": not given */
        char session[32];
        Remote remote;
        struct {
                const char *name, *value;
        } options[OPTIONS_MAX];
        size_t n_options;
        char **disks;                   /* "FILE=THERE" each, NULL-terminated; may be NULL */
        const char *copies;             /* --copies */
        uint64_t max_out, max_in;       /* --out, --in; 0: no limit */
        uint64_t time_limit_ms, end_ms; /* --timeout, and when that is; 0: none */

        MoverHooks hooks;
        Show show;
        const char *step; /* what is under way, for the message of a failure */
        Side source, destination;
        Place out;       /* one of the moves from here */
        RemoteRun place; /* what has the place over there */
        int place_fd;    /* and its stdin and stdout */
        RemoteRun calls, transport;
        json_object *facts;        /* of the source */
        json_object *rules;        /* its options, all of them; NULL: it did not say */
        json_object *report;       /* of the check */
        bool unsafe, virtual_size; /* --unsafe, --disk-space virtual */
        bool forecast;             /* --forecast */
        bool checking;       /* podferry check: what is in the way is noted, see cold_heed() */
        uint64_t connect_ms; /* what the other host took to answer */
        char *envelope, *ticket;
        size_t envelope_size;
        int signal_fd;
        bool cancelled;                  /* Ctrl-C */
        bool ending;                     /* it is rolled back or finished: that takes its time */
        bool hopeless;                   /* no more transports are made */
        unsigned transports, fruitless;  /* started so far; of these, in a row for nothing */
        uint64_t moved_before, retry_ms; /* bytes at the last break; when to connect again */
};

/* -- migrate-calls.c -- */
int mover_connect_source(Mover *m, Error *reterr);
int mover_start_destination(Mover *m, Error *reterr); /* only begins it */
int mover_connect_destination(Mover *m, Error *reterr);
/* A call with the user's options, and more of the form name, value, NULL. */
int mover_call_options(Mover *m, Side *side, uint64_t deadline, const char *member,
                       const char *const *more, sd_bus_message **ret, Error *reterr);
/* --disk as {"disks": {path here: path there}}; the caller owns it. -ENOENT: the pod has it not. */
int mover_map_disks(const Mover *m, json_object **ret, Error *reterr);
int mover_send_layers(Mover *m, Error *reterr);
/* Those of these digests that the facts name. */
int mover_send_missing(Mover *m, char *const *missing, Error *reterr);
int mover_export(Mover *m, Error *reterr);
int mover_import(Mover *m, Error *reterr);
int mover_patch(Mover *m, Error *reterr);
int mover_prepare(Mover *m, Error *reterr);
/* Makes a transport and hands each side its end; again after it broke. */
int mover_connect_transport(Mover *m, Error *reterr);
int mover_transfer(Mover *m, Error *reterr);
/* A call with the session as its only argument, or with one more string. -EBADFD is passed up. */
int mover_call(Mover *m, Side *side, uint64_t deadline, const char *member, const char *argument,
               Error *reterr);
int mover_get_state(Mover *m, Side *side, Error *reterr);
int mover_get_json(Side *side, const char *property, json_object **ret, Error *reterr);

/* -- migrate-check.c -- */
int mover_check_source(Mover *m, Error *reterr); /* facts, and what the source alone can say */
int mover_check_both(Mover *m, Error *reterr);   /* the destination is connected: the report */
/* -EBADFD if something blocks: all of it is told. What warns is told, too. */
int mover_heed_check(Mover *m, Error *reterr);
/* One more, which blocks; the report must be there. -ENOMEM. */
int mover_add_finding(Mover *m, const char *code, const char *row, const char *side,
                      const char *host, const char *text, const char *mend, Error *reterr);
unsigned mover_count(const Mover *m, const char *severity); /* findings in the report */
/* podferry check: all of it, with a report also if the other host cannot be reached. */
int mover_check_only(Mover *m, Error *reterr);
void mover_print_check(const Mover *m, bool json);
/* The same for the way of a pod that does not run: migrate-cold-check.c. */
int mover_check_cold(Mover *m, Error *reterr);

/* -- migrate-link.c -- */
typedef struct LinkSpeed {
        uint64_t bps; /* bytes a second */
        uint64_t ms;  /* that it took to find out */
} LinkSpeed;
/* Sends bytes that mean nothing through a command on the other host, as a move's transport would
 * go, for half a second, or three if there is no word of any before. Nothing stays. Destination
 * connected. */
int mover_measure_link(Mover *m, LinkSpeed *ret, Error *reterr);
/* The other end: from stdin, until it ends; how many bytes came in all, as 8 bytes big-endian, to
 * stdout after each read. */
int link_measure_serve(Error *reterr);

/* -- migrate-queue.c -- */
/* Waits for its turn, here and there, if it has limits; it has it until mover_leave_queue(). */
int mover_queue(Mover *m, Error *reterr);
void mover_leave_queue(Mover *m);
/* The last argument of the first command on the other host: it need not be counted there. NULL: it
 * is to be. */
const char *mover_placed(const Mover *m);

/* -- migrate-wait.c -- */
/* True once Ctrl-C (or SIGTERM, SIGHUP) came. */
bool mover_take_signals(Mover *m);
/* -ECANCELED after a signal, -ETIMEDOUT after --timeout; never when it is ending. */
int mover_interrupted(Mover *m, Error *reterr);
/* For poll(): whoever wants the pod started, while that is heard. */
struct pollfd mover_wish_fd(const Mover *m);
/* Works off what both shims sent, then waits for more, a signal, or ms. */
void mover_wait_for_news(Mover *m, unsigned ms);
/* The same, and until fd has something to read: true. */
bool mover_wait_for_fd(Mover *m, int fd, uint64_t ms);
/* pod_send() that is interrupted as above; the side is then `abandoned`. */
int mover_send(Mover *m, Side *side, sd_bus_message *message, uint64_t deadline,
               sd_bus_message **ret, Error *reterr);
/* Until it ends; killed when interrupted. */
int mover_wait_command(Mover *m, RemoteRun *run, Error *reterr);

/* -- migrate-end.c -- */
/* Finishes what has moved and rolls back what has not; r, err: how the steps before ended. Tells
 * the user, and returns the result of all. */
int mover_end(Mover *m, int r, Error *err);
void mover_done(Mover *m);

/* -- migrate-change.c -- */
/* Goes this way, and the other one if the pod changes. Everything that was begun has been finished
 * or rolled back; the user was told. `before` each step. */
int mover_follow(Mover *m, const Itinerary *it, ItineraryBefore before);
void mover_note_step(Mover *m, const ItineraryStep *step);
/* -ECANCELED: somebody wants the pod started, and the move is to let it go. */
int mover_heed_wishes(Mover *m, Error *reterr);
/* The way has failed, and the pod is here: was that because it was stopped, or started? Then that
 * is what is told, and mover_follow() goes on. */
bool mover_was_stopped(Mover *m);
bool mover_was_started(Mover *m);

/* -- migrate-drive.c -- */
/* Until both sides have ended their transfer, which way ever; when ending, until each that can
 * still be asked has. */
int mover_wait_for_end(Mover *m, Error *reterr);
bool mover_is_over(const Side *s);
/* Is the way known? -EINVAL. */
int mover_check_type(const char *type, Error *reterr);
/* Which way it moves, by --type or as it is. -EBADFD: it cannot that way. */
int mover_choose(const Mover *m, const Itinerary **ret, Error *reterr);
/* 0: moved. Everything that was begun has been finished or rolled back; the user was told. */
int mover_run(Mover *m);
