/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out, and in which order: link frames, credit, unacknowledged frames again after HELLO,
 * then channels in turn, one frame each; a lone ACK if nothing else carried it.
 *
 * A channel that becomes busy goes before those that stay busy, once, and only again after the old
 * ones had their turn: a small request overtakes bulk, and many small ones cannot starve it. */
#include "lib/session-internal.h"

#include <assert.h>
#include <string.h>

#include "lib/crc32c.h"

/* What a chunk takes of the session's total: the memory, not the bytes in it. */
void chunk_count(Session *s, Channel *ch, const Chunk *c, bool in) {
        uint32_t n = (uint32_t)sizeof(*c) + c->cap;

        s->used += in ? n : -n;
        ch->used += in ? n : -n;
}

Chunk *chunk_new(Session *s, uint32_t cap) {
        Chunk *c;

        if (cap == FRAME_PAYLOAD_MAX && s->cache) {
                c = s->cache;
                s->cache = c->next;
                s->cached--;
                s->cached_low = MIN_OF(s->cached_low, s->cached);
        } else {
                c = malloc(sizeof(*c) + cap);
                if (!c)
                        return NULL;
        }
        *c = (Chunk){ .cap = cap, .type = FRAME_DATA };
        return c;
}

void chunk_free(Session *s, Chunk *c) {
        if (!c)
                return;
        if (c->cap != FRAME_PAYLOAD_MAX || s->cached >= SESSION_CACHED) {
                free(c);
                return;
        }
        c->next = s->cache;
        s->cache = c;
        s->cached++;
}

static void free_cached(Session *s, unsigned n) {
        for (; n > 0; n--) {
                Chunk *c = s->cache;

                s->cache = c->next;
                s->cached--;
                free(c);
        }
}

void session_trim_cache(Session *s) {
        free_cached(s, (s->cached_low + 1) / 2);
        s->cached_low = s->cached;
}

void session_forget_cache(Session *s) {
        free_cached(s, s->cached);
        free(s->reserved);
        s->reserved = NULL;
}

void chunk_append(ChunkList *l, Chunk *c) {
        c->next = NULL;
        if (l->tail)
                l->tail->next = c;
        else
                l->head = c;
        l->tail = c;
}

Chunk *chunk_pop(ChunkList *l) {
        Chunk *c = l->head;

        if (!c)
                return NULL;
        l->head = c->next;
        if (!l->head)
                l->tail = NULL;
        c->next = NULL;
        return c;
}

static bool any_sendable(const Session *s) {
        const Link *heads[] = { &s->fresh, &s->old };

        for (size_t i = 0; i < ELEMENTSOF(heads); i++)
                for (Link *l = heads[i]->next; l != heads[i]; l = l->next)
                        if (channel_sendable(container_of(l, Channel, by_turn)))
                                return true;
        return false;
}

static bool anything_to_stage(const Session *s) {
        if (s->hello_due || s->resync_due || s->refuse.reason != REFUSE_NONE)
                return true;
        return s->up && (s->ping_due || s->pong_due || s->ack_due || s->cursor ||
                         s->grants.next != &s->grants || any_sendable(s));
}

bool session_has_output(const Session *s) {
        if (!s->attached || s->frozen || s->failed < 0)
                return false;
        return s->kick || s->staged_count > 0 || anything_to_stage(s);
}

/* Tells the owner once that there is output; again only after it has seen that there is none. */
void session_wake(Session *s) {
        if (s->awake || s->in_done || s->in_input || s->in_output || !session_has_output(s))
                return;
        s->awake = true;
        s->ops.wake(s->userdata);
}

static Staged *stage(Session *s, FrameType type, uint32_t link, uint32_t channel, uint64_t seq,
                     const uint8_t *payload, uint32_t n) {
        Staged *st = &s->staged[(s->staged_first + s->staged_count++) % SESSION_STAGED];
        Frame f = { .type = (uint8_t)type,
                    .link = link,
                    .channel = channel,
                    .length = n,
                    .seq = seq,
                    .ack = s->expected };

        assert(n <= FRAME_HELLO_SIZE);
        f.crc = crc32c(0, payload, n);
        frame_put(&f, st->head);
        if (n > 0)
                memcpy(st->head + FRAME_HEADER, payload, n);
        st->head_len = FRAME_HEADER + n;
        st->chunk = NULL;
        s->staged_bytes += st->head_len;
        s->stats.frames_out++;
        return st;
}

static void stage_chunk(Session *s, Chunk *c) {
        Staged *st = &s->staged[(s->staged_first + s->staged_count++) % SESSION_STAGED];
        Frame f = { .type = c->type,
                    .link = s->link,
                    .channel = c->channel,
                    .length = c->len,
                    .crc = c->crc,
                    .seq = c->seq,
                    .ack = s->expected };

        frame_put(&f, st->head);
        st->head_len = FRAME_HEADER;
        st->chunk = c;
        c->pins++;
        s->staged_bytes += FRAME_HEADER + c->len;
        s->ack_due = false;
        s->stats.frames_out++;
}

static void stage_plain(Session *s, FrameType type) {
        uint64_t seq = s->cursor ? s->cursor->seq : s->next_seq;

        (void)stage(s, type, s->link, 0, seq, (const uint8_t *)"", 0);
        s->ack_due = false;
}

static void stage_link_frame(Session *s) {
        uint8_t payload[FRAME_HELLO_SIZE];
        Refuse r = s->refuse;
        Hello h;

        if (r.reason != REFUSE_NONE) {
                refuse_put(&r, payload);
                (void)stage(s, FRAME_REFUSE, 0, 0, 0, payload, FRAME_REFUSE_SIZE);
                s->refuse.reason = REFUSE_NONE;
        } else if (s->hello_due) {
                session_hello(s, &h);
                hello_put(&h, payload);
                (void)stage(s, FRAME_HELLO, 0, 0, 0, payload, FRAME_HELLO_SIZE);
                s->hello_due = false;
        } else {
                r = (Refuse){ .epoch = s->epoch, .serial = s->serial };
                memcpy(r.id, s->id, sizeof(r.id));
                refuse_put(&r, payload);
                (void)stage(s, FRAME_RESYNC, 0, 0, 0, payload, FRAME_REFUSE_SIZE);
                s->resync_due = false;
        }
}

static void stage_grant(Session *s) {
        Channel *ch = container_of(link_first(&s->grants), Channel, by_grant);
        uint64_t seq = s->cursor ? s->cursor->seq : s->next_seq;
        uint8_t payload[FRAME_WINDOW_SIZE];

        link_remove(&ch->by_grant);
        put_le64(payload, ch->granted);
        ch->announced = ch->granted;
        (void)stage(s, FRAME_WINDOW, s->link, ch->id, seq, payload, FRAME_WINDOW_SIZE);
        s->ack_due = false;
}

/* A chunk that uses little of its memory goes into a smaller one; not while it is shown to anyone,
 * so it happens before it gets its number. */
static Chunk *shrink(Session *s, Channel *ch, Chunk *c) {
        Chunk *d;

        if (c->cap <= 1024 || c->len > c->cap / 2)
                return c;
        d = chunk_new(s, c->len);
        if (!d)
                return c;
        d->channel = c->channel;
        d->len = c->len;
        memcpy(d->data, c->data, c->len);
        chunk_count(s, ch, c, false);
        chunk_count(s, ch, d, true);
        chunk_free(s, c);
        return d;
}

static Chunk *take_chunk(Session *s, Channel *ch) {
        Chunk *c;

        if (ch->reset) {
                c = TAKE(ch->reset_chunk);
                ch->reset_sent = true;
                return c;
        }
        c = chunk_pop(&ch->unsent);
        if (!c) {
                ch->eof_sent = true;
                return TAKE(ch->eof_chunk);
        }
        ch->unsent_bytes -= c->len;
        c = shrink(s, ch, c);
        c->crc = crc32c(0, c->data, c->len);
        return c;
}

/* The next frame of the next channel: gets its number and waits for its acknowledgement. */
static bool stage_turn(Session *s) {
        Link *l;

        while ((l = link_first(&s->fresh) ?: link_first(&s->old))) {
                Channel *ch = container_of(l, Channel, by_turn);
                Chunk *c;

                link_remove(l);
                if (!channel_sendable(ch)) {
                        ch->turn = TURN_NONE;
                        continue;
                }
                ch->turn = TURN_OLD;
                link_append(&s->old, l);
                c = take_chunk(s, ch);
                c->seq = s->next_seq++;
                ch->unacked++;
                chunk_append(&s->unacked, c);
                stage_chunk(s, c);
                return true;
        }
        return false;
}

static void stage_resent(Session *s) {
        Chunk *c = s->cursor;

        s->cursor = c->next;
        s->stats.resent_frames++;
        stage_chunk(s, c);
}

static bool stage_one(Session *s) {
        if (s->hello_due || s->resync_due || s->refuse.reason != REFUSE_NONE)
                stage_link_frame(s);
        else if (!s->up)
                return false;
        else if (s->pong_due) {
                s->pong_due = false;
                stage_plain(s, FRAME_PONG);
        } else if (s->ping_due) {
                s->ping_due = false;
                stage_plain(s, FRAME_PING);
        } else if (link_first(&s->grants))
                stage_grant(s);
        else if (s->cursor)
                stage_resent(s);
        else if (!stage_turn(s)) {
                if (!s->ack_due)
                        return false;
                stage_plain(s, FRAME_ACK);
        }
        return true;
}

int session_output(Session *s, struct iovec *iov, int max) {
        size_t skip = s->staged_done;
        int n = 0;

        if (s->kick && !s->in_input) {
                s->kick = false;
                s->in_output = true;
                session_deliver_due(s);
                session_unblock(s);
                s->in_output = false;
        }
        if (s->attached && !s->frozen && s->failed >= 0)
                while (s->staged_count < SESSION_STAGED && s->staged_bytes < SESSION_STAGED_BYTES)
                        if (!stage_one(s))
                                break;
        if (!session_has_output(s)) {
                s->awake = false;
                return 0;
        }
        s->awake = true;
        for (unsigned i = 0; i < s->staged_count && n < max; i++) {
                Staged *st = &s->staged[(s->staged_first + i) % SESSION_STAGED];

                if (skip < st->head_len)
                        iov[n++] = (struct iovec){ st->head + skip, st->head_len - skip };
                skip = skip > st->head_len ? skip - st->head_len : 0;
                if (st->chunk && st->chunk->len > skip && n < max)
                        iov[n++] = (struct iovec){ st->chunk->data + skip, st->chunk->len - skip };
                skip = 0;
        }
        return n;
}

static void unstage_first(Session *s) {
        Staged *st = &s->staged[s->staged_first];
        Chunk *c = st->chunk;

        s->staged_first = (s->staged_first + 1) % SESSION_STAGED;
        s->staged_count--;
        st->chunk = NULL;
        if (!c)
                return;
        c->pins--;
        if (c->acked && c->pins == 0)
                chunk_free(s, c);
}

void session_unstage(Session *s) {
        while (s->staged_count > 0)
                unstage_first(s);
        s->staged_done = s->staged_bytes = 0;
}

void session_output_done(Session *s, size_t n) {
        s->in_done = true;
        assert(n <= s->staged_bytes - s->staged_done);
        s->stats.bytes_out += n;
        s->staged_done += n;
        while (s->staged_count > 0) {
                Staged *st = &s->staged[s->staged_first];
                size_t size = st->head_len + (st->chunk ? st->chunk->len : 0);

                if (s->staged_done < size)
                        break;
                s->staged_done -= size;
                s->staged_bytes -= size;
                unstage_first(s);
        }
        if (!session_has_output(s))
                s->awake = false;
        s->in_done = false;
}
