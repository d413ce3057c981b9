/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/ferry/ferry.h"

/* Two ferries in one process, the cable between them, and the servers and clients at their ends.
 *
 * The cable is a thread that copies bytes between the two transports and can be told to tear: it
 * then closes both ends with whatever was in flight. rig_run() is the loop of both owners: it plugs
 * in a new cable when a transport was lost. Clients and servers are threads that never assert: they
 * count, the test asserts. */
typedef enum ServerMode {
        SERVE_ECHO,    /* sends back what comes, half-closes when the client did */
        SERVE_LATER,   /* reads to the end first, then sends it all back */
        SERVE_HOLD,    /* reads nothing until rig->release, then as SERVE_LATER */
        SERVE_HANG_UP, /* reads 1,000 bytes and closes */
} ServerMode;

#define RIG_CLIENTS_MAX 128

typedef struct Rig Rig;

typedef struct Client {
        Rig *rig;
        FerryKind kind;
        size_t bytes;  /* to send, and to expect back */
        uint64_t seed; /* of the bytes */
        bool ok;       /* all came back as sent, then end-of-file */
        size_t sent, received;
        int error; /* of the write that failed */
} Client;

struct Rig {
        char dir[64];
        Ferry *source, *destination;
        FerryEvent last[2]; /* LOST, REFUSED or FAILED of each side */
        unsigned events[2][FERRY_EVENT_FAILED + 1];
        ServerMode mode[_FERRY_KIND_MAX];
        uint64_t seed;     /* of the tearing */
        size_t tear_every; /* bytes on average until the cable tears; 0: never */
        bool pipes;        /* the cable is made of pipes */
        unsigned tears;
        atomic_bool release;
        /* private */
        int server_fd[_FERRY_KIND_MAX], stop_fd, done_fd;
        atomic_uint busy; /* threads of servers */
        void *cable;
};

uint64_t rig_random(uint64_t *state);
int rig_open_fds(void);

void rig_up(Rig *r, const FerryConfig *config); /* NULL: defaults. No cable yet */
void rig_down(Rig *r);
void rig_serve(Rig *r, FerryKind kind, ServerMode mode);
void rig_path(const Rig *r, FerryKind kind, bool source, char *ret, size_t n);
void rig_plug(Rig *r); /* a new cable */
/* Handles events until `until` says so, or fails the test after 60 s. */
void rig_run(Rig *r, bool (*until)(Rig *r, void *userdata), void *userdata);
/* Starts the clients, runs until all are done. */
void rig_run_clients(Rig *r, Client *clients, size_t n);
bool rig_saw(Rig *r, void *type); /* for rig_run: an event of *(FerryEventType *)type on both */
