/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/frame.h"
#include "lib/session.h"

/* Inside of lib/session, shared by session*.c only.
 *
 * Sending. session_write() puts bytes into chunks that wait on their channel (`unsent`), as far as
 * the peer's credit for the channel (`limit`) and the session's `total` allow: what waits can be
 * sent. session_output() takes channels in turn; a chunk that is taken gets the next number, moves
 * to `unacked` and is staged. A staged frame goes out whole, whatever happens meanwhile (only
 * detach discards it): the link stays aligned. After HELLO `cursor` goes back to the first frame
 * that the peer does not have.
 *
 * Receiving. Frames are read straight from the caller's bytes; only one that is cut by the end of
 * them is collected in `in`. Bytes that a consumer did not take wait in the channel's queue, within
 * the credit that was granted. All grants together stay below the configured total: `initial` on
 * each channel there can be, `control` on channel 0, and a pool for those that need more.
 *
 * Link. `up` means that HELLO was exchanged on this transport. When it is not, bytes are dropped
 * until a HELLO is found. */

#define SESSION_STAGED       32U
#define SESSION_STAGED_BYTES (256U << 10)
#define SESSION_CACHED       8U /* free whole chunks kept */
#define SESSION_FIRST_GRANT  4096U
#define SESSION_MIN_CONTROL  4096U /* least credit of channel 0 */
#define SESSION_MIN_INITIAL  64U   /* least credit of another channel */
#define SESSION_MAX_WINDOW   (64U << 20)
#define SESSION_MAX_TOTAL    (1U << 30)
#define SESSION_MAX_CHANNELS (1U << 16)
#define SESSION_MAX_COUNTER  (1ULL << 62)

typedef struct Link {
        struct Link *prev, *next; /* NULL: on no list */
} Link;

typedef struct Chunk {
        struct Chunk *next;
        uint64_t seq;
        uint32_t channel;
        uint32_t len, cap;
        uint32_t crc;
        uint8_t type; /* FrameType */
        uint8_t pins; /* how often it is staged */
        bool acked;   /* freed with the last pin */
        uint8_t data[];
} Chunk;

typedef struct ChunkList {
        Chunk *head, *tail;
} ChunkList;

typedef struct ByteQueue {
        uint8_t *data;
        uint32_t head, len, cap;
} ByteQueue;

typedef enum Turn {
        TURN_NONE,
        TURN_FRESH, /* became busy just now: goes first, once */
        TURN_OLD,
} Turn;

typedef struct Channel {
        struct Channel *hash_next;
        uint32_t id;
        bool opened;  /* by session_open(); otherwise it waits for that */
        bool dropped; /* by session_drop(): gone for the caller */

        ChunkList unsent;
        uint32_t unsent_bytes;
        uint32_t unacked; /* frames */
        uint32_t used;    /* its part of Session.used */
        uint64_t written; /* bytes accepted in all */
        uint64_t limit;   /* bytes that the peer lets us send in all */
        bool shut, eof_sent, reset, reset_sent;
        Chunk *eof_chunk, *reset_chunk; /* made with the channel: ending it cannot fail */

        ByteQueue queue;
        uint64_t received, taken;
        uint64_t granted;   /* what the peer may send in all */
        uint64_t announced; /* what it was told of that, on this link or an earlier one */
        uint32_t window;    /* how far ahead of `taken` it may be at present */
        uint32_t charged;   /* part of the pool */
        bool recv_eof, recv_reset, eof_told;
        bool busy; /* in a callback about it */

        Turn turn;
        Link by_turn, by_grant, by_blocked, by_due, by_pending;
} Channel;

typedef struct Staged {
        uint8_t head[FRAME_LINK_MAX];
        uint32_t head_len;
        Chunk *chunk; /* or NULL */
} Staged;

struct Session {
        SessionConfig config;
        SessionOps ops;
        void *userdata;

        /* link */
        uint8_t id[16];
        bool id_known;
        uint64_t epoch;
        uint32_t serial; /* of the last HELLO sent (host) or accepted (guest) */
        uint32_t link;
        bool attached, up, frozen, lost;
        int failed;          /* of this transport */
        unsigned generation; /* of attach and detach */
        bool peer_known;
        Hello peer; /* its limits; the rest of it is not kept up to date */
        bool hello_due, resync_due, ping_due, pong_due, ack_due;
        uint64_t stale;      /* bytes of sound frames dropped since the last RESYNC or HELLO */
        uint32_t skipped;    /* bytes that were no frame, since then */
        Refuse refuse;       /* to be sent if it has a reason */
        uint64_t stream_pos; /* bytes read from this transport */

        /* sending */
        uint64_t next_seq, acked; /* acked: the peer has all below */
        ChunkList unacked;
        Chunk *cursor; /* next of unacked to be staged; NULL: none */
        uint32_t used; /* of config.total */
        Chunk *cache;
        unsigned cached, cached_low; /* how many; the fewest since all was acknowledged */
        Chunk *reserved;             /* by session_reserve() */
        Staged staged[SESSION_STAGED];
        unsigned staged_first, staged_count;
        size_t staged_done; /* of the first */
        size_t staged_bytes;
        bool in_done, in_input, in_output, awake;
        bool kick; /* session_output() has callbacks to make */

        /* receiving */
        uint64_t expected;
        uint32_t skip; /* bytes of the expected frame that its consumer has already */
        Buf in;
        size_t in_scanned;
        uint32_t initial, control, pool, pool_used;
        uint32_t undelivered;

        /* channels */
        Channel **buckets;
        uint32_t n_buckets, n_channels, n_pending;
        uint32_t floor;
        Link fresh, old, grants, blocked, due, pending;

        SessionStats stats;
};

/* Lists: circular with a head, NULL when the element is on none. */
void link_init(Link *head);
void link_append(Link *head, Link *l); /* nothing if it is on a list */
void link_remove(Link *l);             /* nothing if it is on none */
static inline Link *link_first(Link *head) {
        return head->next == head ? NULL : head->next;
}

/* session-channel.c: channels, chunks, credit */
Channel *channel_find(const Session *s, uint32_t id);
int channel_new(Session *s, uint32_t id, Channel **ret);
void channel_free(Session *s, Channel *ch);
bool channel_ended(const Channel *ch); /* writes are refused */
void channel_maybe_gone(Session *s, Channel *ch);
void channel_schedule(Session *s, Channel *ch);
bool channel_sendable(const Channel *ch);
void channel_drop_unsent(Session *s, Channel *ch);
void channel_drop_queue(Session *s, Channel *ch);
void channel_deliver(Session *s, Channel *ch);
void channel_settle(Session *s, Channel *ch);   /* after `taken` grew: credit */
void channel_recharge(Session *s, Channel *ch); /* its part of the pool, after a change */
uint32_t channel_space(const Session *s, const Channel *ch);
bool channel_may_write(const Session *s, const Channel *ch);
uint32_t session_quota(const Session *s, const Channel *ch);
void session_unblock(Session *s);     /* tells writers that there is room again */
void session_deliver_due(Session *s); /* channels that were opened after bytes came for them */
int channel_pending(Session *s, uint32_t id, Channel **ret, Error *reterr);
int queue_reserve(ByteQueue *q, size_t more);
void queue_append(ByteQueue *q, const uint8_t *p, size_t n);
void queue_consume(ByteQueue *q, size_t n);

/* session-output.c */
Chunk *chunk_new(Session *s, uint32_t cap);
void chunk_free(Session *s, Chunk *c);
void chunk_append(ChunkList *l, Chunk *c);
Chunk *chunk_pop(ChunkList *l);
void chunk_count(Session *s, Channel *ch, const Chunk *c, bool in); /* against the total */
bool session_has_output(const Session *s);
void session_wake(Session *s);
void session_unstage(Session *s);
void session_trim_cache(Session *s); /* all is acknowledged: gives back what was not needed */
void session_forget_cache(Session *s);

/* session-link.c */
uint32_t session_link_of(const Session *s, uint64_t epoch, uint32_t serial);
void session_hello(const Session *s, Hello *ret);
void session_go_down(Session *s);   /* damage or a gap on a link that was up */
void session_lost_sync(Session *s); /* at the end of an input that left us without HELLO */
bool session_link_frame_ours(const Session *s, const Frame *f, const uint8_t *payload);
int session_on_link_frame(Session *s, const Frame *f, const uint8_t *payload, bool first,
                          Error *reterr);
int session_acknowledged(Session *s, uint64_t ack, Error *reterr);

/* session.c */
int session_check_config(const SessionConfig *config, SessionConfig *ret, Error *reterr);
int session_alloc(const SessionConfig *config, const SessionOps *ops, void *userdata, Session **ret,
                  Error *reterr);
