/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <agent.pb-c.h>

#include "lib/message.h"
#include "shim/guest/rpc.h"

/* The other end of a guest link, in the test's own process and loop: a listening socket as QEMU has
 * it, with a session (GUEST) and an agent that notes requests and answers as it is told. */
typedef struct GuestRig {
        sd_event *event;
        char directory[64], path[96];
        int listen_fd, fd;
        sd_event_source *listener, *io;
        Session *session;
        MessageReader reader;
        unsigned accepted, requests;
        uint64_t last_call;
        bool mute;        /* does not answer */
        unsigned deaf;    /* drops what comes on so many of the next connections */
        bool hears;       /* on this one */
        int code;         /* of its answers */
        Buf channel_data; /* what came on other channels */
        uint32_t ended;   /* the channel that ended last */
} GuestRig;

void guest_rig_up(GuestRig *g, sd_event *event);
void guest_rig_down(GuestRig *g);
void guest_rig_cut(GuestRig *g); /* QEMU drops the connection */
void guest_rig_stop_listening(GuestRig *g);
void guest_rig_answer(GuestRig *g, uint64_t call); /* again, whatever `mute` says */
void guest_rig_flush(GuestRig *g);
/* Runs the loop until *what >= wanted; fails the test after some seconds. */
void guest_rig_until(GuestRig *g, const unsigned *what, unsigned wanted);
void guest_rig_run(GuestRig *g, unsigned turns); /* as long as there is something to do */
