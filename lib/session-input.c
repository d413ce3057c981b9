/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in. Whole frames are read where the caller has them; one that is cut by the end of the
 * input is collected in `in`, no further than its own end.
 *
 * Bytes can be missing at any place (what a host wrote towards a guest just before a switchover is
 * lost), so a frame that waits for its rest may be waiting for ever, with the HELLO of the new host
 * swallowed as its payload. Therefore an incomplete frame is searched for headers: a link frame of
 * this session, or a header of the current link, shows that the rest will not come. */
#include "lib/session-internal.h"

#include <assert.h>
#include <inttypes.h>

static bool announces_frame(const Session *s, const uint8_t *p, size_t n, bool *ret_undecided) {
        Frame f;
        FrameCheck c = frame_get(p, n, &f);

        *ret_undecided = c == FRAME_SHORT;
        if (c != FRAME_GOOD)
                return false;
        if (f.link != 0)
                return s->up && f.link == s->link && f.flags == 0;
        if (!frame_type_is_link(f.type) || f.length > FRAME_HELLO_SIZE)
                return false;
        *ret_undecided = n < FRAME_HEADER + f.length;
        return !*ret_undecided && frame_payload_good(&f, p + FRAME_HEADER) &&
               session_link_frame_ours(s, &f, p + FRAME_HEADER);
}

/* Looks through the n bytes of an incomplete frame for the start of another; 0 if there is none.
 * *scanned: how far it was looked through before. */
static size_t find_inner(const Session *s, const uint8_t *p, size_t n, size_t *scanned) {
        size_t at = MAX_OF(*scanned, (size_t)1);

        for (;;) {
                bool undecided;

                at = frame_find(p, at, n);
                *scanned = at;
                if (at == n)
                        return 0;
                if (announces_frame(s, p + at, n - at, &undecided))
                        return at;
                if (undecided) {
                        /* later ones may be decided already, but they are tried again anyway */
                        for (size_t k = frame_find(p, at + 1, n); k < n;
                             k = frame_find(p, k + 1, n))
                                if (announces_frame(s, p + k, n - k, &undecided))
                                        return k;
                        return 0;
                }
                at++;
        }
}

static void skip_garbage(Session *s, size_t n) {
        session_go_down(s);
        if (s->skipped < FRAME_HEADER)
                s->skipped += (uint32_t)MIN_OF(n, (size_t)FRAME_HEADER);
}

/* Bytes of an open or waiting channel. On -ENOMEM nothing was counted, but the first s->skip bytes
 * are with the consumer: when the frame comes again they are left out. */
static int take_data(Session *s, Channel *ch, const uint8_t *p, uint32_t n, Error *reterr) {
        uint32_t k = s->skip;

        if (ch->opened && !ch->dropped && !ch->busy && ch->queue.len == 0 && !s->frozen) {
                size_t t;

                ch->busy = true;
                t = s->ops.data(s->userdata, ch->id, p + k, n - k);
                ch->busy = false;
                assert(t <= n - k);
                k += (uint32_t)t;
        }
        if (ch->dropped)
                k = n;
        if (k < n && queue_reserve(&ch->queue, n - k) < 0) {
                s->skip = k;
                return error_oom(reterr);
        }
        if (k < n)
                queue_append(&ch->queue, p + k, n - k);
        s->undelivered += n - k;
        ch->received += n;
        ch->taken += k;
        s->skip = 0;
        return 0;
}

static int on_data(Session *s, const Frame *f, const uint8_t *payload, Error *reterr) {
        Channel *ch = channel_find(s, f->channel);
        int r;

        if (f->length == 0)
                return error_setf(reterr, -EBADMSG, "data frame without bytes");
        if (!ch) {
                r = channel_pending(s, f->channel, &ch, reterr);
                if (r < 0)
                        return r;
        }
        if (ch->recv_eof || ch->recv_reset) {
                s->stats.dropped_frames++;
                return 0;
        }
        if (f->length > ch->granted - ch->received)
                return error_setf(reterr, -EBADMSG, "%u bytes on channel %u, allowed are %" PRIu64,
                                  f->length, ch->id, ch->granted - ch->received);
        r = take_data(s, ch, payload, f->length, reterr);
        if (r < 0)
                return r;
        channel_settle(s, ch);
        channel_maybe_gone(s, ch);
        return 0;
}

static int on_end(Session *s, const Frame *f, Error *reterr) {
        Channel *ch = channel_find(s, f->channel);
        int r;

        if (f->length != 0 || f->channel == 0)
                return error_setf(reterr, -EBADMSG, "channel 0 cannot end");
        if (!ch) {
                r = channel_pending(s, f->channel, &ch, reterr);
                if (r < 0)
                        return r;
        }
        if (f->type == FRAME_EOF) {
                ch->recv_eof = true;
                if (ch->eof_sent && ch->reset && !ch->reset_sent)
                        ch->reset = false; /* both ends are told already */
        } else if (!ch->recv_reset) {
                ch->recv_reset = true;
                channel_drop_queue(s, ch);
                if (!ch->eof_sent && !ch->reset) {
                        channel_drop_unsent(s, ch);
                        ch->reset = true;
                        channel_schedule(s, ch);
                }
        }
        link_remove(&ch->by_grant);
        channel_deliver(s, ch);
        return 0;
}

static int on_window(Session *s, const Frame *f, const uint8_t *payload, Error *reterr) {
        Channel *ch = channel_find(s, f->channel);
        uint64_t limit;
        int r;

        if (f->length != FRAME_WINDOW_SIZE)
                return error_setf(reterr, -EBADMSG, "window frame of %u bytes", f->length);
        if (!ch && f->seq < s->expected)
                return 0; /* an old one, delivered twice: the channel may be gone */
        if (!ch) {
                r = channel_pending(s, f->channel, &ch, reterr);
                if (r < 0)
                        return r;
        }
        limit = get_le64(payload);
        if (limit <= ch->limit)
                return 0;
        if (limit > ch->written && limit - ch->written > s->peer.window)
                return error_setf(reterr, -EBADMSG, "peer grants more than its window of %u bytes",
                                  s->peer.window);
        ch->limit = limit;
        return 0;
}

static int on_numbered(Session *s, const Frame *f, const uint8_t *payload, Error *reterr) {
        int r;

        if (f->seq > s->expected) {
                session_go_down(s);
                return 0;
        }
        s->ack_due = true;
        if (f->seq < s->expected) {
                s->stats.dropped_frames++;
                return 0;
        }
        r = f->type == FRAME_DATA ? on_data(s, f, payload, reterr) : on_end(s, f, reterr);
        if (r < 0)
                return r;
        s->expected++;
        return 0;
}

static int on_plain(Session *s, const Frame *f, const uint8_t *payload, Error *reterr) {
        if (f->seq > s->expected) { /* what was sent before it did not come */
                session_go_down(s);
                return 0;
        }
        if (f->type >= FRAME_OPTIONAL)
                return 0;
        if (f->type == FRAME_WINDOW)
                return on_window(s, f, payload, reterr);
        if (f->length != 0 || f->type < FRAME_ACK || f->type > FRAME_PONG)
                return error_setf(reterr, -EBADMSG, "frame of type %u and %u bytes", f->type,
                                  f->length);
        if (f->type == FRAME_PING)
                s->pong_due = true;
        if (f->type == FRAME_PONG)
                s->stats.pongs++;
        return 0;
}

/* A sound frame while we wait for HELLO. */
static void on_stale(Session *s, const Frame *f) {
        bool host = s->config.role == SESSION_HOST, urge;

        s->stats.dropped_frames++;
        s->stale += FRAME_HEADER + f->length;
        if (host)
                urge = f->link == session_link_of(s, s->epoch, s->serial);
        else
                urge = f->type == FRAME_PING;
        if (urge)
                s->skipped = FRAME_HEADER;
}

static int on_frame(Session *s, const Frame *f, const uint8_t *payload, Error *reterr) {
        int r;

        s->stats.frames_in++;
        if (frame_type_is_link(f->type))
                return session_on_link_frame(s, f, payload, s->stream_pos == 0, reterr);
        if (!s->up) {
                on_stale(s, f);
                return 0;
        }
        if (f->link != s->link) {
                s->stats.dropped_frames++;
                return 0;
        }
        if (f->flags != 0)
                return error_setf(reterr, -EBADMSG, "frame with flags 0x%x", f->flags);
        r = session_acknowledged(s, f->ack, reterr);
        if (r < 0)
                return r;
        return frame_type_is_numbered(f->type) ? on_numbered(s, f, payload, reterr)
                                               : on_plain(s, f, payload, reterr);
}

/* Reads one frame, or skips bytes that are none, at p. *used is 0 when more bytes are needed. */
static int step(Session *s, const uint8_t *p, size_t n, size_t *scanned, size_t *used,
                Error *reterr) {
        FrameCheck c;
        Frame f;
        int r;

        *used = 0;
        c = frame_get(p, n, &f);
        if (c == FRAME_SHORT)
                return 0;
        if (c == FRAME_FOREIGN && s->stream_pos == 0)
                return error_setf(reterr, -EBADMSG,
                                  "peer speaks version %u of the session protocol, not %u", p[4],
                                  FRAME_VERSION);
        if (c == FRAME_GOOD && n < FRAME_HEADER + f.length) {
                *used = find_inner(s, p, n, scanned);
                if (*used > 0)
                        skip_garbage(s, *used);
                return 0;
        }
        if (c != FRAME_GOOD || !frame_payload_good(&f, p + FRAME_HEADER)) {
                *used = frame_find(p, 1, n);
                skip_garbage(s, *used);
                return 0;
        }
        *used = FRAME_HEADER + f.length;
        r = on_frame(s, &f, p + FRAME_HEADER, reterr);
        return r;
}

/* How long `in` has to be before anything can be said about it. */
static size_t wanted(const Session *s) {
        Frame f;

        return frame_get(s->in.data, s->in.len, &f) == FRAME_GOOD ? FRAME_HEADER + f.length
                                                                  : FRAME_HEADER;
}

static int read_frames(Session *s, const uint8_t *p, size_t n, Error *reterr) {
        unsigned generation = s->generation;

        for (;;) {
                bool cut = s->in.len > 0;
                size_t used, scanned = 0, k;
                int r;

                if (!cut && n == 0)
                        return 0;
                if (cut)
                        r = step(s, s->in.data, s->in.len, &s->in_scanned, &used, reterr);
                else
                        r = step(s, p, n, &scanned, &used, reterr);
                if (generation != s->generation)
                        return 0; /* detached by a callback */
                if (r < 0)
                        return r;
                s->stream_pos += used;
                if (used > 0 && cut) {
                        buf_consume(&s->in, used);
                        s->in_scanned = 0;
                } else if (used > 0) {
                        p += used;
                        n -= used;
                } else if (n == 0)
                        return 0;
                else {
                        k = cut ? MIN_OF(n, wanted(s) - s->in.len) : n;
                        if (buf_append(&s->in, p, k) < 0)
                                return error_oom(reterr);
                        if (!cut)
                                s->in_scanned = scanned;
                        p += k;
                        n -= k;
                }
                if (s->frozen) {
                        s->lost |= n > 0 || s->in.len > 0;
                        s->in.len = 0;
                        return 0;
                }
        }
}

int session_input(Session *s, const void *p, size_t n, Error *reterr) {
        int r;

        assert(!s->in_input);
        if (!s->attached)
                return 0;
        if (s->failed < 0)
                return error_setf(reterr, s->failed, "the session gave this transport up");
        s->stats.bytes_in += n;
        if (s->frozen) {
                s->lost |= n > 0;
                return 0;
        }
        s->in_input = true;
        session_deliver_due(s);
        r = read_frames(s, p, n, reterr);
        if (r < 0 && s->attached) {
                s->failed = r;
                s->up = false;
        }
        if (r >= 0)
                session_lost_sync(s);
        session_unblock(s);
        s->in_input = false;
        session_wake(s);
        return r;
}

void session_taken(Session *s, uint32_t channel) {
        Channel *ch = channel_find(s, channel);

        if (!ch || s->frozen)
                return;
        link_remove(&ch->by_due);
        channel_deliver(s, ch);
        session_wake(s);
}
