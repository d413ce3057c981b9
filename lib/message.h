/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Protobuf messages on a byte stream: u32 little-endian length, then the message. Used on channel 0
 * of the guest link and between the shims. The reader never allocates more than `max` plus the
 * header. */
typedef struct MessageReader {
        Buf buf;
        uint32_t max; /* a longer message is -EBADMSG */
} MessageReader;

#define MESSAGE_MAX_DEFAULT (4U << 20)

/* One whole message, borrowed until the next call. Returns < 0 to stop (passed up). */
typedef int (*MessageHandler)(void *userdata, const uint8_t *p, size_t n, Error *reterr);

void message_reader_done(MessageReader *r);
/* Takes n bytes; calls the handler for each message completed by them. -EBADMSG, -ENOMEM, or the
 * handler's code. */
int message_reader_feed(MessageReader *r, const void *p, size_t n, MessageHandler handler,
                        void *userdata, Error *reterr);

/* Appends header and packed message to *b. */
int message_pack(const ProtobufCMessage *m, Buf *b);
/* Like protobuf_c_message_unpack, but strict: the packed size must equal n (no repeated scalars, no
 * NUL in a string, no non-canonical varint) and unknown fields at any depth are refused. NULL with
 * -EBADMSG in *reterr. */
ProtobufCMessage *message_unpack_strict(const ProtobufCMessageDescriptor *d, const void *p,
                                        size_t n, Error *reterr);
