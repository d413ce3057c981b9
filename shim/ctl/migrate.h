/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/bus.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate-show.h"
#include "shim/ctl/remote.h"

/* One migration as its driver sees it: both shims' calls in their order, and the way back.
 *
 *      cmd-migrate.c   the command line, and what its end means
 *      migrate-calls.c single calls and the commands on the other host
 *      migrate-drive.c the order of calls, the wait, the rollback */
#define MIGRATION_FACE BUS_INTERFACE ".Migration"
#define OPTIONS_MAX    24U

typedef struct Side {
        const char *name; /* "source", "destination" */
        sd_bus *bus;
        bool began; /* the session may be known there: it is cleaned up */
        bool lost;  /* its shim did not answer any more when all was to be rolled back */
        char state[32];
        json_object *result; /* of Finished */
} Side;

typedef struct Mover {
        const Ctl *ctl;
        const char *pod, *new_name;
        const char *network, *network_mode; /* namespace there; NULL: none was named */
        const char *to, *program; /* as given: attached clients go the same way. "": not given */
        char session[32];
        Remote remote;
        struct {
                const char *name, *value;
        } options[OPTIONS_MAX];
        size_t n_options;
        char **disks; /* "FILE=THERE" each, NULL-terminated; may be NULL */
        uint64_t time_limit_ms;

        Show show;
        const char *step; /* what is under way, for the message of a failure */
        Side source, destination;
        RemoteRun calls, transport;
        json_object *facts; /* of the source */
        char *envelope, *ticket;
        size_t envelope_size;
        int signal_fd;
        bool cancelled;      /* Ctrl-C */
        bool undecided;      /* the source could not be rolled back */
        unsigned transports; /* started so far */
} Mover;

/* -- migrate-calls.c -- */
int mover_connect_source(Mover *m, Error *reterr);
int mover_start_destination(Mover *m, Error *reterr); /* only begins it */
int mover_connect_destination(Mover *m, Error *reterr);
int mover_check(Mover *m, Side *side, Error *reterr);
int mover_send_layers(Mover *m, Error *reterr);
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

/* -- migrate-drive.c -- */
/* 0: moved. Everything that was begun has been finished or rolled back; the user was told. */
int mover_run(Mover *m);
void mover_done(Mover *m);
