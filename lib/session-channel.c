/* SPDX-License-Identifier: Apache-2.0 */
/* Channels of a session: their table, what waits for their consumer, and the credit granted to the
 * peer.
 *
 * Credit. A channel starts with `initial` (or `control` for channel 0), which is set aside for
 * every channel there can be. A channel whose sender runs into its window gets a larger one, twice
 * as large each time, out of the pool, and never more than half of what the pool has left: so no
 * channel can empty it, and all grants together stay below the total. */
#include "lib/session-internal.h"

#include <assert.h>
#include <string.h>

void link_init(Link *head) {
        head->prev = head->next = head;
}

void link_append(Link *head, Link *l) {
        if (l->next)
                return;
        l->prev = head->prev;
        l->next = head;
        head->prev->next = l;
        head->prev = l;
}

void link_remove(Link *l) {
        if (!l->next)
                return;
        l->prev->next = l->next;
        l->next->prev = l->prev;
        l->prev = l->next = NULL;
}

int queue_reserve(ByteQueue *q, size_t more) {
        size_t cap = q->cap ?: 256;
        uint8_t *p;

        if (q->head > 0 && q->head + q->len + more > q->cap) {
                memmove(q->data, q->data + q->head, q->len);
                q->head = 0;
        }
        if (q->head + q->len + more <= q->cap)
                return 0;
        while (cap < q->len + more)
                cap *= 2;
        p = realloc(q->data, cap);
        if (!p)
                return -ENOMEM;
        q->data = p;
        q->cap = (uint32_t)cap;
        return 0;
}

void queue_append(ByteQueue *q, const uint8_t *p, size_t n) {
        assert(q->head + q->len + n <= q->cap);
        memcpy(q->data + q->head + q->len, p, n);
        q->len += (uint32_t)n;
}

void queue_consume(ByteQueue *q, size_t n) {
        assert(n <= q->len);
        q->head += (uint32_t)n;
        q->len -= (uint32_t)n;
        if (q->len > 0)
                return;
        free(q->data);
        *q = (ByteQueue){};
}

static uint32_t bucket_of(uint32_t id, uint32_t n_buckets) {
        return (id * 0x9e3779b1U) >> 7 & (n_buckets - 1);
}

Channel *channel_find(const Session *s, uint32_t id) {
        Channel *ch = s->buckets[bucket_of(id, s->n_buckets)];

        while (ch && ch->id != id)
                ch = ch->hash_next;
        return ch;
}

/* Twice the buckets; without memory the chains just grow longer. */
static void grow_table(Session *s) {
        uint32_t n = s->n_buckets * 2;
        Channel **b = calloc(n, sizeof(*b));

        if (!b)
                return;
        for (uint32_t i = 0; i < s->n_buckets; i++)
                for (Channel *ch = s->buckets[i], *next; ch; ch = next) {
                        uint32_t k = bucket_of(ch->id, n);

                        next = ch->hash_next;
                        ch->hash_next = b[k];
                        b[k] = ch;
                }
        free(s->buckets);
        s->buckets = b;
        s->n_buckets = n;
}

static Chunk *mark_new(uint32_t channel, FrameType type) {
        Chunk *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->channel = channel;
        c->type = (uint8_t)type;
        return c;
}

int channel_new(Session *s, uint32_t id, Channel **ret) {
        Channel *ch = calloc(1, sizeof(*ch));
        uint32_t k;

        if (!ch)
                return -ENOMEM;
        ch->id = id;
        ch->eof_chunk = mark_new(id, FRAME_EOF);
        ch->reset_chunk = mark_new(id, FRAME_RESET);
        if (!ch->eof_chunk || !ch->reset_chunk) {
                free(ch->eof_chunk);
                free(ch->reset_chunk);
                free(ch);
                return -ENOMEM;
        }
        ch->window = id == 0 ? s->control : s->initial;
        ch->granted = ch->announced = ch->window;
        if (s->peer_known)
                ch->limit = id == 0 ? s->peer.control : s->peer.initial;
        else
                ch->limit = id == 0 ? SESSION_MIN_CONTROL : 0;
        if (s->n_channels >= s->n_buckets)
                grow_table(s);
        k = bucket_of(id, s->n_buckets);
        ch->hash_next = s->buckets[k];
        s->buckets[k] = ch;
        s->n_channels++;
        *ret = ch;
        return 0;
}

void channel_recharge(Session *s, Channel *ch) {
        bool ended = ch->recv_eof || ch->recv_reset; /* then no more than came will come */
        uint64_t ahead = (ended ? ch->received : ch->granted) - ch->taken;
        uint32_t base = ch->id == 0 ? s->control : s->initial, now;

        now = ahead > base ? (uint32_t)(ahead - base) : 0;
        s->pool_used += now - ch->charged;
        ch->charged = now;
}

void channel_free(Session *s, Channel *ch) {
        Channel **at = &s->buckets[bucket_of(ch->id, s->n_buckets)];

        assert(!ch->busy);
        while (*at != ch)
                at = &(*at)->hash_next;
        *at = ch->hash_next;
        s->n_channels--;
        if (ch->by_pending.next)
                s->n_pending--;
        link_remove(&ch->by_turn);
        link_remove(&ch->by_grant);
        link_remove(&ch->by_blocked);
        link_remove(&ch->by_due);
        link_remove(&ch->by_pending);
        channel_drop_unsent(s, ch);
        channel_drop_queue(s, ch);
        s->pool_used -= ch->charged;
        free(ch->eof_chunk);
        free(ch->reset_chunk);
        free(ch);
}

bool channel_ended(const Channel *ch) {
        return ch->shut || ch->reset || ch->recv_reset;
}

/* Frees the channel if nothing more can come of it: our end was sent and acknowledged, the peer's
 * end came and was told. One that nobody here ever opened stays, to tell the end then. */
void channel_maybe_gone(Session *s, Channel *ch) {
        bool sent = (ch->eof_sent || ch->reset_sent) && ch->unacked == 0;

        if (ch->busy || ch->id == 0 || !sent || !(ch->recv_eof || ch->recv_reset))
                return;
        if (ch->reset && !ch->reset_sent)
                return;
        if (ch->dropped || (ch->opened && ch->eof_told))
                channel_free(s, ch);
}

bool channel_sendable(const Channel *ch) {
        if (ch->reset)
                return !ch->reset_sent;
        return ch->unsent.head || (ch->shut && !ch->eof_sent);
}

void channel_schedule(Session *s, Channel *ch) {
        if (ch->turn != TURN_NONE || !channel_sendable(ch))
                return;
        ch->turn = TURN_FRESH;
        link_append(&s->fresh, &ch->by_turn);
}

void channel_drop_unsent(Session *s, Channel *ch) {
        Chunk *c;

        while ((c = chunk_pop(&ch->unsent))) {
                chunk_count(s, ch, c, false);
                chunk_free(s, c);
        }
        ch->unsent_bytes = 0;
}

void channel_drop_queue(Session *s, Channel *ch) {
        ch->taken += ch->queue.len;
        s->undelivered -= ch->queue.len;
        queue_consume(&ch->queue, ch->queue.len);
        channel_recharge(s, ch);
}

/* The window that the pool allows the channel at present. */
static uint32_t affordable(const Session *s, const Channel *ch, uint32_t window) {
        uint32_t base = ch->id == 0 ? s->control : s->initial;
        uint32_t most = base + (s->pool - s->pool_used + ch->charged) / 2;

        return MIN_OF(MIN_OF(window, most), s->config.window);
}

void channel_settle(Session *s, Channel *ch) {
        uint32_t base = ch->id == 0 ? s->control : s->initial, first, window;

        channel_recharge(s, ch);
        if (!ch->opened || ch->recv_eof || ch->recv_reset || ch->reset)
                return;
        first = MIN_OF(SESSION_FIRST_GRANT, base + (s->pool - s->pool_used) / 64);
        if (ch->id != 0 && ch->window < first)
                ch->window = MIN_OF(first, s->config.window);
        window = affordable(s, ch, ch->window);
        if (ch->taken + window < ch->granted + window / 2)
                return;
        if (ch->id != 0 && ch->received + window / 4 > ch->announced)
                window = affordable(s, ch, ch->window * 2);
        else if (s->pool - s->pool_used < s->pool / 4)
                ch->window = MAX_OF(base, ch->window / 2);
        ch->window = MAX_OF(ch->window, window);
        ch->granted = MAX_OF(ch->granted, ch->taken + window);
        channel_recharge(s, ch);
        link_append(&s->grants, &ch->by_grant);
}

/* Offers what waits to the consumer, then the end if it has come. */
void channel_deliver(Session *s, Channel *ch) {
        unsigned generation = s->generation;

        if (ch->busy)
                return;
        if (!ch->opened || ch->dropped) {
                channel_maybe_gone(s, ch);
                return;
        }
        ch->busy = true;
        while (ch->queue.len > 0 && !s->frozen && !ch->dropped && generation == s->generation) {
                uint32_t n = ch->queue.len;
                size_t k;

                k = s->ops.data(s->userdata, ch->id, ch->queue.data + ch->queue.head, n);
                assert(k <= n);
                if (k == 0 || ch->dropped)
                        break;
                queue_consume(&ch->queue, k);
                s->undelivered -= (uint32_t)k;
                ch->taken += k;
        }
        if ((ch->recv_eof || ch->recv_reset) && ch->queue.len == 0 && !ch->eof_told && !s->frozen &&
            !ch->dropped) {
                ch->eof_told = true;
                s->ops.eof(s->userdata, ch->id);
        }
        ch->busy = false;
        if (ch->dropped)
                channel_drop_queue(s, ch);
        channel_settle(s, ch);
        channel_maybe_gone(s, ch);
}

uint32_t channel_space(const Session *s, const Channel *ch) {
        uint64_t room = ch->limit - ch->written;

        return (uint32_t)MIN_OF(room, (uint64_t)UINT32_MAX);
}

/* What the session's total leaves to this channel. None but channel 0 gets more than it leaves for
 * others: so there is room for one that was idle, however many are busy. */
uint32_t session_quota(const Session *s, const Channel *ch) {
        uint32_t most = s->config.total - (ch->id == 0 ? 0 : s->config.reserve);
        uint32_t left = most > s->used ? most - s->used : 0;

        if (ch->id == 0)
                return left;
        return left > ch->used ? left - ch->used : 0;
}

/* Worth waking a writer for? A few bytes of the total are not, and more are sure to come: what is
 * counted against it is on its way to a peer that takes it. */
bool channel_may_write(const Session *s, const Channel *ch) {
        uint32_t enough = MIN_OF(2 * FRAME_PAYLOAD_MAX, (s->config.total - s->config.reserve) / 8);

        if (ch->used == 0)
                enough = MIN_OF(enough, 2048U);
        return channel_ended(ch) || (channel_space(s, ch) > 0 && session_quota(s, ch) >= enough);
}

void session_unblock(Session *s) {
        Link todo, *l;

        if (s->frozen || !link_first(&s->blocked))
                return;
        todo = s->blocked; /* moves the whole list over */
        todo.prev->next = todo.next->prev = &todo;
        link_init(&s->blocked);
        while ((l = link_first(&todo))) {
                Channel *ch = container_of(l, Channel, by_blocked);

                link_remove(l);
                if (!channel_may_write(s, ch) || s->frozen)
                        link_append(&s->blocked, l);
                else if (s->ops.writable && ch->opened && !ch->dropped && !ch->shut)
                        s->ops.writable(s->userdata, ch->id);
        }
}

void session_deliver_due(Session *s) {
        Link *l;

        while (!s->frozen && (l = link_first(&s->due))) {
                Channel *ch = container_of(l, Channel, by_due);

                link_remove(l);
                channel_deliver(s, ch);
        }
}

/* A channel that the peer uses and nobody here has opened yet. There may be as many as can be open;
 * beyond that those are forgotten, oldest first, that the peer has dropped again. */
int channel_pending(Session *s, uint32_t id, Channel **ret, Error *reterr) {
        int r;

        for (Link *l = s->pending.next; s->n_pending >= s->config.max_channels; l = l->next) {
                Channel *old = container_of(l, Channel, by_pending);

                if (l == &s->pending)
                        return error_setf(reterr, -EBADMSG,
                                          "peer uses more than %u channels that are not open here",
                                          s->config.max_channels);
                if (!old->recv_reset || old->unacked > 0 || channel_sendable(old))
                        continue;
                l = l->prev;
                channel_free(s, old);
        }
        r = channel_new(s, id, ret);
        if (r < 0)
                return error_oom(reterr);
        link_append(&s->pending, &(*ret)->by_pending);
        s->n_pending++;
        return 0;
}
