/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint of a session, version 1, little-endian:
 *
 *   "PfSC", u16 version, u8 role, u8 flags (1: id known, 2: peer known), id[16],
 *   u64 epoch, next_seq, acked, expected, u32 serial, skip, floor,
 *   u32 window, total, reserve, max_channels (own), window, total, max, initial, control (peer's),
 *   u32 number of channels, each: u32 id, u16 flags, u64 written, limit, received, taken, granted,
 *       u32 window, u32 n + n bytes not sent yet, u32 n + n bytes not taken yet
 *   u32 number of unacknowledged frames, each: u8 type, u32 channel, u32 n + n bytes
 *   u32 CRC-32C of all before
 *
 * Channels are in the order of their ids, frames in that of their numbers (acked onwards), so the
 * same state makes the same bytes. */
#include "lib/session-internal.h"

#include <string.h>

#include "lib/crc32c.h"

#define SAVE_VERSION 1

static const uint8_t save_magic[4] = { 'P', 'f', 'S', 'C' };

enum {
        SAVED_ID_KNOWN = 1,
        SAVED_PEER_KNOWN = 2,

        SAVED_OPENED = 1,
        SAVED_DROPPED = 2,
        SAVED_SHUT = 4,
        SAVED_EOF_SENT = 8,
        SAVED_RESET = 16,
        SAVED_RESET_SENT = 32,
        SAVED_RECV_EOF = 64,
        SAVED_RECV_RESET = 128,
        SAVED_EOF_TOLD = 256,
        SAVED_CHANNEL_ALL = 511,
};

static void add(Buf *b, int *r, const void *p, size_t n) {
        if (*r >= 0)
                *r = buf_append(b, p, n);
}

static void add_num(Buf *b, int *r, uint64_t v, size_t size) {
        uint8_t raw[8];

        put_le64(raw, v);
        add(b, r, raw, size);
}

#define add_u8(b, r, v)  add_num(b, r, v, 1)
#define add_u16(b, r, v) add_num(b, r, v, 2)
#define add_u32(b, r, v) add_num(b, r, v, 4)
#define add_u64(b, r, v) add_num(b, r, v, 8)

static int by_id(const void *a, const void *b) {
        const Channel *const *x = a, *const *y = b;

        return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

static uint16_t flags_of(const Channel *ch) {
        return (uint16_t)((ch->opened ? SAVED_OPENED : 0) | (ch->dropped ? SAVED_DROPPED : 0) |
                          (ch->shut ? SAVED_SHUT : 0) | (ch->eof_sent ? SAVED_EOF_SENT : 0) |
                          (ch->reset ? SAVED_RESET : 0) | (ch->reset_sent ? SAVED_RESET_SENT : 0) |
                          (ch->recv_eof ? SAVED_RECV_EOF : 0) |
                          (ch->recv_reset ? SAVED_RECV_RESET : 0) |
                          (ch->eof_told ? SAVED_EOF_TOLD : 0));
}

static void save_channel(Buf *b, int *r, const Channel *ch) {
        add_u32(b, r, ch->id);
        add_u16(b, r, flags_of(ch));
        add_u64(b, r, ch->written);
        add_u64(b, r, ch->limit);
        add_u64(b, r, ch->received);
        add_u64(b, r, ch->taken);
        add_u64(b, r, ch->granted);
        add_u32(b, r, ch->window);
        add_u32(b, r, ch->unsent_bytes);
        for (const Chunk *c = ch->unsent.head; c; c = c->next)
                add(b, r, c->data, c->len);
        add_u32(b, r, ch->queue.len);
        if (ch->queue.len > 0)
                add(b, r, ch->queue.data + ch->queue.head, ch->queue.len);
}

static int save_channels(Buf *b, int *r, const Session *s) {
        _cleanup_free_ Channel **all = calloc(s->n_channels, sizeof(*all));
        size_t n = 0;

        if (!all)
                return -ENOMEM;
        for (uint32_t i = 0; i < s->n_buckets; i++)
                for (Channel *ch = s->buckets[i]; ch; ch = ch->hash_next)
                        all[n++] = ch;
        qsort(all, n, sizeof(*all), by_id);
        add_u32(b, r, n);
        for (size_t i = 0; i < n; i++)
                save_channel(b, r, all[i]);
        return *r;
}

static void save_limits(Buf *b, int *r, const Session *s) {
        const uint32_t limits[] = {
                s->config.window,       s->config.total, s->config.reserve,
                s->config.max_channels, s->peer.window,  s->peer.total,
                s->peer.max_channels,   s->peer.initial, s->peer.control,
        };

        for (size_t i = 0; i < ELEMENTSOF(limits); i++)
                add_u32(b, r, limits[i]);
}

int session_save(const Session *s, Buf *ret, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        uint32_t n = 0;
        int r = 0;

        if (s->in_input || s->in_output)
                return error_setf(reterr, -EBUSY, "a session cannot be saved from its callbacks");
        add(&b, &r, save_magic, sizeof(save_magic));
        add_u16(&b, &r, SAVE_VERSION);
        add_u8(&b, &r, s->config.role);
        add_u8(&b, &r,
               (s->id_known ? SAVED_ID_KNOWN : 0U) | (s->peer_known ? SAVED_PEER_KNOWN : 0U));
        add(&b, &r, s->id, sizeof(s->id));
        add_u64(&b, &r, s->epoch);
        add_u64(&b, &r, s->next_seq);
        add_u64(&b, &r, s->acked);
        add_u64(&b, &r, s->expected);
        add_u32(&b, &r, s->serial);
        add_u32(&b, &r, s->skip);
        add_u32(&b, &r, s->floor);
        save_limits(&b, &r, s);
        if (save_channels(&b, &r, s) < 0)
                return error_oom(reterr);
        for (const Chunk *c = s->unacked.head; c; c = c->next)
                n++;
        add_u32(&b, &r, n);
        for (const Chunk *c = s->unacked.head; c; c = c->next) {
                add_u8(&b, &r, c->type);
                add_u32(&b, &r, c->channel);
                add_u32(&b, &r, c->len);
                add(&b, &r, c->data, c->len);
        }
        add_u32(&b, &r, crc32c(0, b.data, b.len));
        if (r < 0)
                return error_oom(reterr);
        if (buf_append(ret, b.data, b.len) < 0)
                return error_oom(reterr);
        return 0;
}

/* A reader that remembers that it came to the end: then all it gives is 0. */
typedef struct Reader {
        const uint8_t *p;
        size_t n;
        bool short_;
} Reader;

static const uint8_t *get(Reader *r, size_t n) {
        const uint8_t *p = r->p;

        if (n > r->n) {
                r->short_ = true;
                r->n = 0;
                return NULL;
        }
        r->p += n;
        r->n -= n;
        return p;
}

static uint64_t get_num(Reader *r, size_t size) {
        const uint8_t *p = get(r, size);
        uint8_t raw[8] = {};

        if (p)
                memcpy(raw, p, size);
        return get_le64(raw);
}

#define get_u8(r)  ((uint8_t)get_num(r, 1))
#define get_u16(r) ((uint16_t)get_num(r, 2))
#define get_u32(r) ((uint32_t)get_num(r, 4))
#define get_u64(r) get_num(r, 8)

static int bad(Error *reterr, const char *what) {
        return error_setf(reterr, -EBADMSG, "session checkpoint: %s", what);
}

static int import_unsent(Session *s, Channel *ch, const uint8_t *p, uint32_t n, Error *reterr) {
        while (n > 0) {
                uint32_t k = MIN_OF(n, FRAME_PAYLOAD_MAX);
                Chunk *c = chunk_new(s, k);

                if (!c)
                        return error_oom(reterr);
                c->channel = ch->id;
                c->len = k;
                memcpy(c->data, p, k);
                chunk_append(&ch->unsent, c);
                ch->unsent_bytes += k;
                chunk_count(s, ch, c, true);
                p += k;
                n -= k;
        }
        return 0;
}

static void set_flags(Channel *ch, uint16_t f) {
        ch->opened = f & SAVED_OPENED;
        ch->dropped = f & SAVED_DROPPED;
        ch->shut = f & SAVED_SHUT;
        ch->eof_sent = f & SAVED_EOF_SENT;
        ch->reset = f & SAVED_RESET;
        ch->reset_sent = f & SAVED_RESET_SENT;
        ch->recv_eof = f & SAVED_RECV_EOF;
        ch->recv_reset = f & SAVED_RECV_RESET;
        ch->eof_told = f & SAVED_EOF_TOLD;
        if (ch->eof_sent) {
                free(ch->eof_chunk);
                ch->eof_chunk = NULL;
        }
        if (ch->reset_sent) {
                free(ch->reset_chunk);
                ch->reset_chunk = NULL;
        }
}

/* Do the facts about a channel fit together? NULL if they do. */
static const char *contradiction(const Session *s, const Channel *ch, uint16_t flags,
                                 uint32_t unsent, uint32_t queued) {
        uint32_t base = ch->id == 0 ? s->control : s->initial;
        bool ended = ch->recv_eof || ch->recv_reset;

        if (flags & ~SAVED_CHANNEL_ALL)
                return "unknown flags of a channel";
        if (ch->id == 0 && flags != SAVED_OPENED)
                return "channel 0 is not open";
        if ((ch->dropped && !ch->opened) || (ch->eof_sent && !ch->shut) ||
            (ch->reset_sent && !ch->reset) || (ch->eof_told && (!ended || !ch->opened)))
                return "flags of a channel contradict each other";
        if (ch->dropped && queued > 0)
                return "bytes wait for a channel that was dropped";
        if (unsent > 0 && (ch->eof_sent || ch->reset))
                return "bytes wait on a channel that has ended";
        if (!ch->opened && (ch->written > 0 || ch->shut || ch->dropped))
                return "a channel that is not open was used";
        if (MAX_OF(MAX_OF(ch->written, ch->limit), ch->granted) > SESSION_MAX_COUNTER ||
            unsent > ch->written || (s->peer_known && ch->written > ch->limit))
                return "a channel has sent more than it may";
        if (s->peer_known ? ch->limit - ch->written > s->peer.window
                          : ch->limit != (ch->id == 0 ? SESSION_MIN_CONTROL : 0))
                return "a channel may send more than the peer's window";
        if (ch->written > ch->limit)
                return "a channel has sent more than it may";
        if (ch->taken > ch->received || ch->received > ch->granted ||
            ch->received - ch->taken != queued)
                return "a channel's bytes do not add up";
        if (ch->granted - ch->taken > s->config.window || ch->window > s->config.window ||
            ch->window < base || (ch->id == 0 && ch->window != base))
                return "a channel's window is out of bounds";
        return NULL;
}

static int import_channel(Session *s, Reader *in, uint32_t id, Error *reterr) {
        uint32_t unsent, queued;
        const uint8_t *p, *q;
        const char *wrong;
        uint16_t flags;
        Channel *ch;
        int r;

        r = channel_new(s, id, &ch);
        if (r < 0)
                return error_oom(reterr);
        flags = get_u16(in);
        set_flags(ch, flags);
        ch->written = get_u64(in);
        ch->limit = get_u64(in);
        ch->received = get_u64(in);
        ch->taken = get_u64(in);
        ch->granted = ch->announced = get_u64(in);
        ch->window = get_u32(in);
        unsent = get_u32(in);
        p = get(in, unsent);
        queued = get_u32(in);
        q = get(in, queued);
        if (in->short_)
                return bad(reterr, "it is cut off");
        wrong = contradiction(s, ch, flags, unsent, queued);
        if (wrong)
                return bad(reterr, wrong);
        if (unsent > s->config.total || s->used > s->config.total)
                return bad(reterr, "more waits to be sent than the total allows");
        channel_recharge(s, ch);
        if (s->pool_used > s->pool)
                return bad(reterr, "more was granted than the total allows");
        r = import_unsent(s, ch, p, unsent, reterr);
        if (r < 0)
                return r;
        if (queued > 0) {
                if (queue_reserve(&ch->queue, queued) < 0)
                        return error_oom(reterr);
                queue_append(&ch->queue, q, queued);
                s->undelivered += queued;
        }
        if (!ch->opened) {
                link_append(&s->pending, &ch->by_pending);
                s->n_pending++;
        } else if (!ch->dropped)
                link_append(&s->due, &ch->by_due);
        channel_schedule(s, ch);
        return 0;
}

static int import_channels(Session *s, Reader *in, Error *reterr) {
        uint32_t n = get_u32(in), last = 0;

        if (n > 2 * s->config.max_channels)
                return bad(reterr, "too many channels");
        for (uint32_t i = 0; i < n; i++) {
                uint32_t id = get_u32(in);
                int r;

                if (i == 0 ? id != 0 : id <= last)
                        return bad(reterr, "channels are not in order");
                last = id;
                r = import_channel(s, in, id, reterr);
                if (r < 0)
                        return r;
        }
        if (n == 0 || s->n_pending > s->config.max_channels ||
            s->n_channels - s->n_pending > s->config.max_channels)
                return bad(reterr, "too many channels, or none");
        return 0;
}

static int import_frame(Session *s, Reader *in, uint64_t seq, Error *reterr) {
        uint8_t type = get_u8(in);
        uint32_t channel = get_u32(in), n = get_u32(in);
        Channel *ch = channel_find(s, channel);
        const uint8_t *p = get(in, n);
        Chunk *c;

        if (in->short_)
                return bad(reterr, "it is cut off");
        if (!frame_type_is_numbered(type) || n > FRAME_PAYLOAD_MAX ||
            (type == FRAME_DATA) != (n > 0))
                return bad(reterr, "a frame of a type or length that cannot be");
        if (!ch)
                return bad(reterr, "a frame of a channel that does not exist");
        if ((type == FRAME_EOF && !ch->eof_sent) || (type == FRAME_RESET && !ch->reset_sent) ||
            (channel == 0 && type != FRAME_DATA))
                return bad(reterr, "the end of a channel that has not ended");
        if (type == FRAME_DATA && (n > ch->written || s->used > s->config.total))
                return bad(reterr, "more is unacknowledged than was written or may be");
        c = chunk_new(s, n);
        if (!c)
                return error_oom(reterr);
        *c = (Chunk){ .seq = seq, .channel = channel, .len = n, .cap = n, .type = type };
        if (n > 0)
                memcpy(c->data, p, n);
        c->crc = crc32c(0, c->data, n);
        chunk_append(&s->unacked, c);
        ch->unacked++;
        if (type == FRAME_DATA)
                chunk_count(s, ch, c, true);
        return 0;
}

static int import_head(Reader *in, SessionConfig *config, Session *s, Error *reterr) {
        uint8_t role, flags;
        const uint8_t *id;

        role = get_u8(in);
        flags = get_u8(in);
        id = get(in, 16);
        if (id)
                memcpy(s->id, id, sizeof(s->id));
        s->epoch = get_u64(in);
        s->next_seq = get_u64(in);
        s->acked = get_u64(in);
        s->expected = get_u64(in);
        s->serial = get_u32(in);
        s->skip = get_u32(in);
        s->floor = get_u32(in);
        *config = (SessionConfig){ .role = role == 0 ? SESSION_HOST : SESSION_GUEST,
                                   .epoch = s->epoch };
        config->window = get_u32(in);
        config->total = get_u32(in);
        config->reserve = get_u32(in);
        config->max_channels = get_u32(in);
        s->peer.window = get_u32(in);
        s->peer.total = get_u32(in);
        s->peer.max_channels = get_u32(in);
        s->peer.initial = get_u32(in);
        s->peer.control = get_u32(in);
        if (in->short_)
                return bad(reterr, "it is cut off");
        if (role > 1 || (flags & ~(SAVED_ID_KNOWN | SAVED_PEER_KNOWN)) ||
            ((flags & SAVED_PEER_KNOWN) && !(flags & SAVED_ID_KNOWN)))
                return bad(reterr, "unknown role or flags");
        s->id_known = flags & SAVED_ID_KNOWN;
        s->peer_known = flags & SAVED_PEER_KNOWN;
        memcpy(config->id, s->id, sizeof(s->id));
        if (s->acked < 1 || s->acked > s->next_seq || s->next_seq > SESSION_MAX_COUNTER ||
            s->expected < 1 || s->expected > SESSION_MAX_COUNTER || s->skip >= FRAME_PAYLOAD_MAX)
                return bad(reterr, "frame numbers out of bounds");
        if (s->peer_known ? s->peer.window > SESSION_MAX_WINDOW || s->peer.initial < 1 ||
                                    s->peer.initial > s->peer.window ||
                                    s->peer.control < SESSION_MIN_CONTROL ||
                                    s->peer.control > s->peer.window || s->peer.max_channels < 1
                          : s->peer.window || s->peer.total || s->peer.max_channels ||
                                    s->peer.initial || s->peer.control)
                return bad(reterr, "the peer's limits are out of bounds");
        return 0;
}

/* Puts what import_head() read into a session of that configuration. */
static void adopt_head(Session *s, const Session *head) {
        memcpy(s->id, head->id, sizeof(s->id));
        s->id_known = head->id_known;
        s->epoch = head->epoch;
        s->next_seq = head->next_seq;
        s->acked = head->acked;
        s->expected = head->expected;
        s->serial = head->serial;
        s->skip = head->skip;
        s->floor = head->floor;
        s->peer = head->peer;
        s->peer_known = head->peer_known;
}

static int import_body(Session *s, Reader *in, Error *reterr) {
        uint32_t n;
        int r;

        r = import_channels(s, in, reterr);
        if (r < 0)
                return r;
        n = get_u32(in);
        if (n != s->next_seq - s->acked)
                return bad(reterr, "unacknowledged frames are missing");
        for (uint32_t i = 0; i < n; i++) {
                r = import_frame(s, in, s->acked + i, reterr);
                if (r < 0)
                        return r;
        }
        if (s->used > s->config.total)
                return bad(reterr, "more is kept than the total allows");
        if (in->short_ || in->n > 0)
                return bad(reterr, "it is cut off or goes on after its end");
        return 0;
}

int session_import(const void *p, size_t n, const SessionOps *ops, void *userdata, Session **ret,
                   Error *reterr) {
        _cleanup_(session_freep) Session *s = NULL;
        _cleanup_free_ Session *head = NULL;
        const uint8_t *raw = p;
        SessionConfig config, checked;
        Reader in;
        int r;

        if (n < 10 || memcmp(raw, save_magic, sizeof(save_magic)) != 0)
                return bad(reterr, "this is none");
        if (get_le16(raw + 4) != SAVE_VERSION)
                return error_setf(reterr, -EPROTONOSUPPORT,
                                  "session checkpoint of version %u, only %u is read",
                                  get_le16(raw + 4), SAVE_VERSION);
        if (get_le32(raw + n - 4) != crc32c(0, raw, n - 4))
                return bad(reterr, "its sum is wrong");
        in = (Reader){ .p = raw + 6, .n = n - 10 };
        head = calloc(1, sizeof(*head));
        if (!head)
                return error_oom(reterr);
        r = import_head(&in, &config, head, reterr);
        if (r < 0)
                return r;
        r = session_check_config(&config, &checked, reterr);
        if (r < 0)
                return bad(reterr, "its limits are out of bounds");
        if (config.window != checked.window || config.total != checked.total ||
            config.reserve != checked.reserve || config.max_channels != checked.max_channels)
                return bad(reterr, "its limits are not given");
        r = session_alloc(&checked, ops, userdata, &s, reterr);
        if (r < 0)
                return r;
        adopt_head(s, head);
        r = import_body(s, &in, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}
