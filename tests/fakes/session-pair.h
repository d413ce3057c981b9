/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/session.h"

/* Two endpoints and the bytes between them, for tests that damage, lose and cut. Every byte that is
 * written on a channel is a function of direction, channel and position, so whatever arrives is
 * checked where it arrives: a byte that is lost, repeated, out of place or on a wrong channel sets
 * `wrong`, with the reason. Nothing is asserted in here. End 0 is the host, end 1 the guest. */

#define PAIR_CHANNELS 8

typedef struct PairEnd {
        struct Pair *pair;
        int index;
        Session *session;
        uint64_t written[PAIR_CHANNELS], got[PAIR_CHANNELS];
        bool shut[PAIR_CHANNELS], eof[PAIR_CHANNELS], held[PAIR_CHANNELS], open[PAIR_CHANNELS];
        size_t bite; /* most that a consumer takes at once; 0: all */
        unsigned ups, wakes, writables, epochs;
        Buf wire; /* what it wrote and the other end has not read */
        uint64_t wrote;
        int error; /* of its last session_input() */
        Error text;
} PairEnd;

typedef struct Pair {
        PairEnd end[2];
        const char *wrong;
        uint64_t wrong_at;
        Buf *record[2]; /* if set: all that an end wrote is appended */
} Pair;

extern const SessionOps pair_ops;
extern const uint8_t pair_id[16];

/* NULL configuration: small limits that tests run into (window 8 KiB, total 64 KiB). */
int pair_init(Pair *p, const SessionConfig *host, const SessionConfig *guest);
void pair_done(Pair *p);
SessionConfig pair_config(SessionRole role);

uint8_t pair_byte(int from, uint32_t channel, uint64_t at);
/* Writes up to n of the bytes that come next on the channel; returns how many were taken. */
size_t pair_write(Pair *p, int end, uint32_t channel, size_t n);
size_t pair_write_reserved(Pair *p, int end, uint32_t channel, size_t n);
void pair_open(Pair *p, int end, uint32_t channel);
void pair_shut(Pair *p, int end, uint32_t channel);
void pair_hold(Pair *p, int end, uint32_t channel, bool hold); /* a consumer that takes nothing */

/* Moves up to max bytes from an endpoint to its wire; from the other's wire into an endpoint. */
size_t pair_output(Pair *p, int end, size_t max);
size_t pair_input(Pair *p, int end, size_t max);
/* Until nothing moves any more. False when it does not come to rest. */
bool pair_settle(Pair *p);
void pair_cut(Pair *p); /* both detached, what was on the way is lost */
void pair_connect(Pair *p);
/* Everything written arrived, and every end. */
bool pair_complete(const Pair *p);
/* Saves an endpoint, frees it, makes it anew from the bytes (detached). */
int pair_reincarnate(Pair *p, int end, bool raise);
