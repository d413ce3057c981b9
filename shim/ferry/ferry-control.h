/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ferry/ferry-internal.h"

/* How connections come to be: listeners at the source, Connect and Connected on channel 0, and
 * connect() at the destination. Ferry's thread only. A failure of the ferry itself is left in
 * f->failed. */

/* Bytes of channel 0. */
void control_input(Ferry *f, const void *p, size_t n);
/* Accepts what the listeners have, up to the limit. */
void control_accept(Ferry *f);
/* A connection ended: what the limit kept waiting may come. */
void control_room_again(Ferry *f);
/* Marks the connections that the timer brings back. */
void control_retry(Ferry *f);
/* The socket of the rule for c->kind. 0: *ret_fd; 1: later (c->due is set again); < 0: refused. */
int control_connect(Ferry *f, Conn *c, int *ret_fd, Error *reterr);
/* Says Connected: code 0, or why not, or -EPIPE: its bytes are not taken any more. */
void control_say_connected(Ferry *f, uint32_t channel, int code, const Error *err);
/* Hands what was said to the session. */
void control_flush(Ferry *f);
