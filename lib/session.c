/* SPDX-License-Identifier: Apache-2.0 */
/* The session as its owner sees it: making one, channels, writing. session-internal.h has the
 * model. */
#include "lib/session-internal.h"

#include <assert.h>
#include <string.h>

#define DEFAULT_WINDOW   (256U << 10)
#define DEFAULT_TOTAL    (4U << 20)
#define DEFAULT_RESERVE  (256U << 10)
#define DEFAULT_CHANNELS 4096U

/* Half of what the total leaves beside channel 0 is set aside for every channel that there can be:
 * those open here and as many that only the peer has opened. */
static uint32_t initial_credit(const SessionConfig *c) {
        uint32_t each = (c->total - c->reserve) / (4 * c->max_channels);

        return MIN_OF(each, c->window);
}

int session_check_config(const SessionConfig *config, SessionConfig *ret, Error *reterr) {
        SessionConfig c = *config;

        c.window = c.window ?: DEFAULT_WINDOW;
        c.total = c.total ?: DEFAULT_TOTAL;
        c.reserve = c.reserve ?: MIN_OF(DEFAULT_RESERVE, c.total / 4);
        if (c.role != SESSION_HOST && c.role != SESSION_GUEST)
                return error_setf(reterr, -EINVAL, "no such role: %d", (int)c.role);
        if (c.window < SESSION_MIN_CONTROL || c.window > SESSION_MAX_WINDOW)
                return error_setf(reterr, -EINVAL, "window of %u bytes is not within %u to %u",
                                  c.window, SESSION_MIN_CONTROL, SESSION_MAX_WINDOW);
        if (c.reserve < SESSION_MIN_CONTROL || c.reserve > c.total / 2 ||
            c.total > SESSION_MAX_TOTAL)
                return error_setf(reterr, -EINVAL,
                                  "reserve of %u bytes is not within %u to half the total of %u",
                                  c.reserve, SESSION_MIN_CONTROL, c.total);
        if (!c.max_channels)
                c.max_channels =
                        MAX_OF(1U, MIN_OF(DEFAULT_CHANNELS,
                                          (c.total - c.reserve) / SESSION_MIN_INITIAL / 4));
        if (c.max_channels > SESSION_MAX_CHANNELS || initial_credit(&c) < SESSION_MIN_INITIAL)
                return error_setf(reterr, -EINVAL, "%u channels are too many for a total of %u",
                                  c.max_channels, c.total);
        *ret = c;
        return 0;
}

int session_alloc(const SessionConfig *config, const SessionOps *ops, void *userdata, Session **ret,
                  Error *reterr) {
        _cleanup_(session_freep) Session *s = NULL;

        assert(ops->data && ops->eof && ops->wake);
        s = calloc(1, sizeof(*s));
        if (!s)
                return error_oom(reterr);
        link_init(&s->fresh);
        link_init(&s->old);
        link_init(&s->grants);
        link_init(&s->blocked);
        link_init(&s->due);
        link_init(&s->pending);
        s->config = *config;
        s->ops = *ops;
        s->userdata = userdata;
        s->next_seq = s->acked = s->expected = 1;
        s->floor = 1;
        s->initial = initial_credit(config);
        s->control = MIN_OF(config->window, config->reserve);
        s->pool = config->total - config->reserve - 2 * config->max_channels * s->initial;
        s->n_buckets = 16;
        s->buckets = calloc(s->n_buckets, sizeof(*s->buckets));
        if (!s->buckets)
                return error_oom(reterr);
        *ret = TAKE(s);
        return 0;
}

int session_new(const SessionConfig *config, const SessionOps *ops, void *userdata, Session **ret,
                Error *reterr) {
        static const uint8_t none[16];
        _cleanup_(session_freep) Session *s = NULL;
        SessionConfig c;
        Channel *control;
        int r;

        r = session_check_config(config, &c, reterr);
        if (r < 0)
                return r;
        if (c.role == SESSION_HOST && memcmp(c.id, none, sizeof(none)) == 0)
                return error_setf(reterr, -EINVAL, "a host's session needs an id");
        r = session_alloc(&c, ops, userdata, &s, reterr);
        if (r < 0)
                return r;
        memcpy(s->id, c.id, sizeof(s->id));
        s->id_known = memcmp(c.id, none, sizeof(none)) != 0;
        s->epoch = c.epoch;
        r = channel_new(s, 0, &control);
        if (r < 0)
                return error_oom(reterr);
        control->opened = true;
        *ret = TAKE(s);
        return 0;
}

Session *session_free(Session *s) {
        if (!s)
                return NULL;
        assert(!s->in_input);
        session_detach(s);
        for (uint32_t i = 0; s->buckets && i < s->n_buckets; i++)
                while (s->buckets[i])
                        channel_free(s, s->buckets[i]);
        while (s->unacked.head)
                free(chunk_pop(&s->unacked));
        session_forget_cache(s);
        buf_done(&s->in);
        free(s->buckets);
        free(s);
        return NULL;
}

int session_open(Session *s, uint32_t channel, Error *reterr) {
        Channel *ch = channel_find(s, channel);
        int r;

        if (ch && (ch->opened || ch->dropped))
                return error_setf(reterr, -EEXIST, "channel %u is open", channel);
        if (s->n_channels - s->n_pending >= s->config.max_channels)
                return error_setf(reterr, -ENOSPC, "%u channels are open, no more are allowed",
                                  s->config.max_channels);
        if (!ch) {
                r = channel_new(s, channel, &ch);
                if (r < 0)
                        return error_oom(reterr);
        } else {
                link_remove(&ch->by_pending);
                s->n_pending--;
                link_append(&s->due, &ch->by_due);
                s->kick = true;
        }
        ch->opened = true;
        if (channel >= s->floor && channel < UINT32_MAX)
                s->floor = channel + 1;
        channel_settle(s, ch);
        session_wake(s);
        return 0;
}

/* The channel as its user may use it; NULL if it is not open. */
static Channel *open_channel(const Session *s, uint32_t channel) {
        Channel *ch = channel_find(s, channel);

        return ch && ch->opened && !ch->dropped ? ch : NULL;
}

bool session_is_open(const Session *s, uint32_t channel) {
        return open_channel(s, channel) != NULL;
}

int session_shutdown(Session *s, uint32_t channel, Error *reterr) {
        Channel *ch = open_channel(s, channel);

        if (!ch)
                return error_setf(reterr, -ENOENT, "channel %u is not open", channel);
        if (channel == 0)
                return error_setf(reterr, -EINVAL, "channel 0 stays open");
        if (ch->shut || ch->reset)
                return 0;
        ch->shut = true;
        link_remove(&ch->by_blocked);
        channel_schedule(s, ch);
        session_wake(s);
        return 0;
}

void session_drop(Session *s, uint32_t channel) {
        Channel *ch = open_channel(s, channel);

        if (!ch || channel == 0)
                return;
        ch->dropped = true;
        channel_drop_unsent(s, ch);
        if (!ch->busy)
                channel_drop_queue(s, ch);
        link_remove(&ch->by_grant);
        link_remove(&ch->by_blocked);
        link_remove(&ch->by_due);
        if (!ch->reset && !(ch->eof_sent && (ch->recv_eof || ch->recv_reset))) {
                ch->reset = true;
                channel_schedule(s, ch);
        }
        channel_maybe_gone(s, ch);
        session_wake(s);
}

/* Where the next byte of the channel goes, with room for at least one: the last chunk that waits,
 * or a new one of up to `want` bytes that is not on any list yet. NULL: no room (or no memory). */
static Chunk *chunk_for(Session *s, Channel *ch, size_t want) {
        Chunk *c = ch->unsent.tail;
        uint32_t quota = session_quota(s, ch), cap;

        if (c && c->len < c->cap)
                return c;
        if (quota < sizeof(Chunk) + 1)
                return NULL;
        cap = c || want > 1024 ? FRAME_PAYLOAD_MAX : 1024;
        cap = MIN_OF(cap, channel_space(s, ch)); /* more cannot be used at present */
        cap = MIN_OF(cap, quota - (uint32_t)sizeof(Chunk));
        if (cap < MIN_OF(want, (size_t)512) && cap < channel_space(s, ch))
                return NULL;
        c = chunk_new(s, cap);
        if (c)
                c->channel = ch->id;
        return c;
}

static void chunk_commit(Session *s, Channel *ch, Chunk *c, uint32_t n) {
        if (ch->unsent.tail != c) {
                chunk_append(&ch->unsent, c);
                chunk_count(s, ch, c, true);
        }
        c->len += n;
        ch->unsent_bytes += n;
        ch->written += n;
}

ssize_t session_write(Session *s, uint32_t channel, const void *p, size_t n) {
        Channel *ch = open_channel(s, channel);
        const uint8_t *from = p;
        size_t done = 0;

        if (!ch)
                return -ENOENT;
        if (channel_ended(ch))
                return -EPIPE;
        while (done < n && !s->frozen) {
                size_t k = MIN_OF(n - done, (size_t)channel_space(s, ch));
                Chunk *c;

                if (k == 0)
                        break;
                c = chunk_for(s, ch, k);
                if (!c)
                        break;
                k = MIN_OF(k, (size_t)(c->cap - c->len));
                memcpy(c->data + c->len, from + done, k);
                chunk_commit(s, ch, c, (uint32_t)k);
                done += k;
        }
        if (done < n)
                link_append(&s->blocked, &ch->by_blocked);
        channel_schedule(s, ch);
        session_wake(s);
        return (ssize_t)done;
}

void *session_reserve(Session *s, uint32_t channel, size_t *ret_n) {
        Channel *ch = open_channel(s, channel);
        uint32_t space;
        Chunk *c;

        *ret_n = 0;
        chunk_free(s, TAKE(s->reserved));
        if (!ch || channel_ended(ch))
                return NULL;
        space = s->frozen ? 0 : channel_space(s, ch);
        c = space > 0 ? chunk_for(s, ch, FRAME_PAYLOAD_MAX) : NULL;
        if (!c) {
                link_append(&s->blocked, &ch->by_blocked);
                return NULL;
        }
        if (c != ch->unsent.tail)
                s->reserved = c;
        *ret_n = MIN_OF(space, c->cap - c->len);
        return c->data + c->len;
}

void session_commit(Session *s, uint32_t channel, size_t n) {
        Channel *ch = open_channel(s, channel);
        Chunk *c = TAKE(s->reserved);

        assert(ch);
        if (n == 0) {
                chunk_free(s, c);
                return;
        }
        c = c ?: ch->unsent.tail;
        assert(c && n <= c->cap - c->len && n <= channel_space(s, ch));
        chunk_commit(s, ch, c, (uint32_t)n);
        channel_schedule(s, ch);
        session_wake(s);
}

void session_freeze(Session *s) {
        s->frozen = true;
}

bool session_is_up(const Session *s) {
        return s->up;
}

uint64_t session_epoch(const Session *s) {
        return s->epoch;
}

int session_raise_epoch(Session *s, uint64_t epoch, Error *reterr) {
        if (s->attached || s->config.role != SESSION_HOST)
                return error_setf(reterr, -EBADFD, "only a detached host raises its epoch");
        if (epoch <= s->epoch)
                return error_setf(reterr, -EINVAL, "epoch %llu is not above %llu",
                                  (unsigned long long)epoch, (unsigned long long)s->epoch);
        s->epoch = epoch;
        return 0;
}

uint32_t session_next_channel(Session *s) {
        return s->floor < UINT32_MAX ? s->floor++ : s->floor;
}

void session_raise_channel_floor(Session *s, uint32_t floor) {
        s->floor = MAX_OF(s->floor, floor);
}

void session_stats(const Session *s, SessionStats *ret) {
        *ret = s->stats;
        ret->epoch = s->epoch;
        ret->sent_seq = s->next_seq - 1;
        ret->acked_seq = s->acked - 1;
        ret->received_seq = s->expected - 1;
        ret->channels = s->n_channels;
        ret->unacked_bytes = s->used;
        ret->undelivered_bytes = s->undelivered;
        ret->up = s->up;
        ret->frozen = s->frozen;
        ret->window = s->config.window;
        ret->total = s->config.total;
        ret->reserve = s->config.reserve;
        ret->max_channels = s->config.max_channels;
        ret->peer_window = s->peer.window;
        ret->peer_total = s->peer.total;
        ret->pool = s->pool;
        ret->pool_used = s->pool_used;
}

bool session_channel_drained(const Session *s, uint32_t channel) {
        const Channel *ch = channel_find(s, channel);

        return !ch || (!channel_sendable(ch) && ch->unacked == 0);
}
