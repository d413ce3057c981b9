/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include <systemd/sd-event.h>

#include "lib/session.h"

/* The transport of the guest link: the UNIX socket at which QEMU listens for the host's end of the
 * virtio-serial port, with the session on it.
 *
 * Owns the fd and the Session. Reads into one buffer, writes what the session shows, connects again
 * when QEMU drops the connection. Loop thread only. Consumers register per channel; what arrives on
 * a channel without a consumer stays in the session. */
typedef struct GuestLink GuestLink;

typedef struct GuestLinkConsumer {
        /* As in SessionOps. */
        size_t (*data)(void *userdata, uint32_t channel, const void *p, size_t n);
        void (*eof)(void *userdata, uint32_t channel);
        void (*writable)(void *userdata, uint32_t channel);
} GuestLinkConsumer;

typedef struct GuestLinkOps {
        void (*up)(void *userdata);   /* the guest answers (also after each reconnect) */
        void (*down)(void *userdata); /* the transport is gone; it is being dialled again */
        /* A higher epoch owns the guest, or it is another guest: not dialled again. */
        void (*lost)(void *userdata, int code, const Error *err);
        /* Bytes are about to go out: what they say and acknowledge must be remembered first. The
         * session can be saved. May be NULL. */
        void (*sending)(void *userdata);
} GuestLinkOps;

/* Inert: no session yet, not connected. */
int guest_link_new(sd_event *event, const GuestLinkOps *ops, void *userdata, GuestLink **ret,
                   Error *reterr);
GuestLink *guest_link_free(GuestLink *l);
DEFINE_CLEANUP(GuestLink *, guest_link_free);

/* A fresh session (HOST, epoch 1, random id); ends the one before. */
int guest_link_begin(GuestLink *l, Error *reterr);
/* The session that another shim saved, with what its guest_link_facts() said (the floor of channel
 * ids is kept); the caller then raises the epoch. */
int guest_link_import(GuestLink *l, const void *p, size_t n, const uint8_t id[static 16],
                      uint32_t next_channel, Error *reterr);
Session *guest_link_session(GuestLink *l); /* NULL before begin or import */
/* A channel id that this session never used; and what travels: the session's id, its epoch and the
 * next of those ids (all zero before begin or import). */
uint32_t guest_link_next_channel(GuestLink *l);
void guest_link_facts(const GuestLink *l, uint8_t ret_id[static 16], uint64_t *ret_epoch,
                      uint32_t *ret_next_channel);

/* Dials `path` and goes on dialling until guest_link_close(). With hold, the connection is made and
 * neither read nor written, until guest_link_release(): that is the destination before the
 * handoff. A hold needs no session yet. */
int guest_link_open(GuestLink *l, const char *path, bool hold, Error *reterr);
int guest_link_release(GuestLink *l, Error *reterr);
/* Stops reading and writing but keeps the connection: the source at the blackout. Undone by
 * guest_link_release(). */
void guest_link_hold(GuestLink *l);
/* Reads what the transport still holds (until it would block or has ended), so that a checkpoint
 * has all that the guest said before the blackout. */
void guest_link_drain(GuestLink *l);
void guest_link_close(GuestLink *l);
bool guest_link_is_connected(const GuestLink *l);
bool guest_link_is_up(const GuestLink *l);

/* `c` and userdata must live until the channel is forgotten. Offers at once what had arrived. */
int guest_link_consume(GuestLink *l, uint32_t channel, const GuestLinkConsumer *c, void *userdata,
                       Error *reterr);
void guest_link_forget(GuestLink *l, uint32_t channel);
