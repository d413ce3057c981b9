/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a session writes on the wire, version 1. All numbers are little-endian.
 *
 *    0  u32  magic "PfS\x9e"
 *    4  u8   version, 1
 *    5  u8   type
 *    6  u16  flags, 0
 *    8  u32  link: names the HELLO exchange under which the frame was sent; 0 in link frames
 *   12  u32  channel; 0 in frames that are about no channel
 *   16  u64  seq: the number of a numbered frame; in others the number the next one will have
 *   24  u64  ack: the number of the next frame that the sender expects
 *   32  u32  length of the payload, at most FRAME_PAYLOAD_MAX
 *   36  u32  CRC-32C of the payload
 *   40  u32  CRC-32C of bytes 0 to 39
 *   44       payload
 *
 * The header has a sum of its own so that a length is never trusted (waited for) before it is known
 * to be good. A reader that is lost looks for the magic and tries every place where it finds it.
 *
 * Link frames (set up a link; whole at any place of the stream, recognised by the session id):
 *   HELLO    64 bytes, see Hello
 *   REFUSE   32 bytes, see Refuse
 *   RESYNC   32 bytes, as Refuse: "I am lost, send HELLO"
 * Numbered frames (resent until acknowledged; exactly once and in order):
 *   DATA     1.. bytes of a channel
 *   EOF      no more bytes on this channel from here
 *   RESET    the channel is forgotten here, in both directions
 * Others (may be lost without harm; never resent):
 *   ACK      nothing but its header
 *   WINDOW   u64: how many bytes in all (since it was opened) may be sent on the channel
 *   PING, PONG
 * Types from 0x80 on that a reader does not know are skipped, all others are refused. */

#define FRAME_VERSION     1
#define FRAME_HEADER      44U
#define FRAME_PAYLOAD_MAX 32768U
#define FRAME_MAX         (FRAME_HEADER + FRAME_PAYLOAD_MAX)
#define FRAME_HELLO_SIZE  64U
#define FRAME_REFUSE_SIZE 32U
#define FRAME_WINDOW_SIZE 8U
#define FRAME_LINK_MAX    (FRAME_HEADER + FRAME_HELLO_SIZE) /* the longest link frame */

typedef enum FrameType {
        FRAME_HELLO = 1,
        FRAME_REFUSE = 2,
        FRAME_RESYNC = 3,
        FRAME_DATA = 4,
        FRAME_EOF = 5,
        FRAME_RESET = 6,
        FRAME_ACK = 7,
        FRAME_WINDOW = 8,
        FRAME_PING = 9,
        FRAME_PONG = 10,
        FRAME_OPTIONAL = 0x80,
} FrameType;

typedef struct Frame {
        uint8_t type;
        uint16_t flags;
        uint32_t link;
        uint32_t channel;
        uint32_t length;
        uint32_t crc; /* of the payload */
        uint64_t seq;
        uint64_t ack;
} Frame;

/* Sent by the host when a transport is attached or to resynchronise; answered by the guest with the
 * same epoch and serial. */
typedef struct Hello {
        uint8_t id[16];
        uint64_t epoch;
        uint64_t expected; /* number of the next frame that the sender wants */
        uint32_t serial;   /* counts the host's HELLOs */
        uint32_t role;     /* SessionRole of the sender */
        uint32_t window;   /* the most that the sender will grant on a channel */
        uint32_t total;    /* the most that it keeps of what it received, all channels */
        uint32_t max_channels;
        uint32_t initial; /* what it grants on each channel from the start */
        uint32_t control; /* the same for channel 0 */
        uint32_t spare;   /* 0 */
} Hello;

typedef enum RefuseReason {
        REFUSE_NONE = 0, /* RESYNC */
        REFUSE_STALE = 1,
        REFUSE_OTHER = 2,
        REFUSE_STATE = 3,
} RefuseReason;

typedef struct Refuse {
        uint8_t id[16];
        uint64_t epoch;  /* that the sender has seen */
        uint32_t serial; /* of the refused HELLO */
        uint32_t reason;
} Refuse;

typedef enum FrameCheck {
        FRAME_GOOD,
        FRAME_SHORT, /* may become one: more bytes are needed */
        FRAME_BAD,
        FRAME_FOREIGN, /* a sound header of another version */
} FrameCheck;

/* Writes the header, sums included; f->crc is the payload's. */
void frame_put(const Frame *f, uint8_t out[FRAME_HEADER]);
/* Reads the header at p. Does not look at the payload. */
FrameCheck frame_get(const uint8_t *p, size_t n, Frame *ret);
bool frame_payload_good(const Frame *f, const uint8_t *payload);
/* Where the next frame may start: the first place in p[from..n) that holds the magic, or the
 * beginning of it at the very end; n if none. */
size_t frame_find(const uint8_t *p, size_t from, size_t n);
bool frame_type_is_link(uint8_t type);
bool frame_type_is_numbered(uint8_t type);

void hello_put(const Hello *h, uint8_t out[FRAME_HELLO_SIZE]);
void hello_get(const uint8_t in[FRAME_HELLO_SIZE], Hello *ret);
void refuse_put(const Refuse *r, uint8_t out[FRAME_REFUSE_SIZE]);
void refuse_get(const uint8_t in[FRAME_REFUSE_SIZE], Refuse *ret);

void put_le16(uint8_t *p, uint16_t v);
void put_le32(uint8_t *p, uint32_t v);
void put_le64(uint8_t *p, uint64_t v);
uint16_t get_le16(const uint8_t *p);
uint32_t get_le32(const uint8_t *p);
uint64_t get_le64(const uint8_t *p);
