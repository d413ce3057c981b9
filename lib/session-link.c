/* SPDX-License-Identifier: Apache-2.0 */
/* How two ends find each other on a transport.
 *
 * The host sends HELLO when a transport is attached and whenever it has lost the thread or the
 * guest says that it has; the guest answers each with HELLO. Until then both drop what they read.
 * There are no timers, so each end speaks up when what it reads shows that the other needs to hear
 * it:
 *
 *   host, waiting    RESYNC, bytes that are no frame, or a frame of the link it asked for (so the
 *                    answer was lost): HELLO again, same serial
 *   guest, waiting   its own attach, bytes that are no frame, PING: RESYNC
 *
 * at most once for each piece of input. Answers to the same HELLO may come twice: that is harmless,
 * since frames that were received already are dropped by their number. */
#include "lib/session-internal.h"

#include <inttypes.h>
#include <string.h>

#define STALE_AGAIN (256U << 10)

static uint64_t mix(uint64_t x) {
        x ^= x >> 30;
        x *= 0xbf58476d1ce4e5b9ULL;
        x ^= x >> 27;
        x *= 0x94d049bb133111ebULL;
        return x ^ x >> 31;
}

/* Names a link. Not to be guessed by one who does not know the session id: payload that looks like
 * a frame is not taken for one. */
uint32_t session_link_of(const Session *s, uint64_t epoch, uint32_t serial) {
        uint64_t h;

        h = mix(get_le64(s->id) + 0x9e3779b97f4a7c15ULL);
        h = mix(h ^ get_le64(s->id + 8));
        h = mix(h ^ epoch);
        h = mix(h + serial);
        return (uint32_t)h ?: 1;
}

void session_hello(const Session *s, Hello *ret) {
        *ret = (Hello){
                .epoch = s->epoch,
                .expected = s->expected,
                .serial = s->serial,
                .role = s->config.role,
                .window = s->config.window,
                .total = s->config.total,
                .max_channels = s->config.max_channels,
                .initial = s->initial,
                .control = s->control,
        };
        memcpy(ret->id, s->id, sizeof(ret->id));
}

static void speak_up(Session *s) {
        s->stale = 0;
        s->skipped = 0;
        if (s->config.role == SESSION_HOST) {
                s->hello_due = true;
                return;
        }
        s->resync_due = true;
}

void session_go_down(Session *s) {
        if (!s->up)
                return;
        s->up = false;
        s->stats.resyncs++;
        s->pong_due = s->ack_due = s->hello_due = false;
        if (s->config.role == SESSION_HOST)
                s->serial++;
        speak_up(s);
}

void session_thaw(Session *s) {
        if (!s->frozen)
                return;
        s->frozen = false;
        s->kick = true;
        for (uint32_t i = 0; i < s->n_buckets; i++)
                for (Channel *ch = s->buckets[i]; ch; ch = ch->hash_next)
                        if (ch->opened)
                                link_append(&s->due, &ch->by_due);
        if (s->lost && s->attached && s->failed >= 0) {
                if (s->up)
                        session_go_down(s);
                else
                        speak_up(s);
        }
        s->lost = false;
        session_wake(s);
}

void session_ping(Session *s) {
        if (!s->attached || s->failed < 0)
                return;
        if (s->up)
                s->ping_due = true;
        else
                speak_up(s);
        session_wake(s);
}

void session_lost_sync(Session *s) {
        if (!s->up && (s->skipped >= FRAME_HEADER || s->stale >= STALE_AGAIN))
                speak_up(s);
}

void session_attach(Session *s) {
        session_detach(s);
        s->attached = true;
        s->failed = 0;
        s->stream_pos = 0;
        s->lost = false;
        s->generation++;
        s->stats.attaches++;
        if (s->config.role == SESSION_HOST) {
                s->serial++;
                s->hello_due = true;
        } else {
                s->resync_due = true; /* the host may not have noticed */
        }
        session_wake(s);
}

void session_detach(Session *s) {
        if (!s->attached)
                return;
        s->attached = s->up = false;
        s->generation++;
        session_unstage(s);
        s->hello_due = s->resync_due = s->pong_due = s->ack_due = s->ping_due = false;
        s->awake = false;
        s->stale = s->skipped = 0;
        s->refuse = (Refuse){};
        if (s->in_input)
                s->in.len = 0; /* a consumer may be reading from it */
        else
                buf_done(&s->in);
        s->in_scanned = 0;
        s->cursor = NULL;
}

/* Forgets what the peer has. -EBADMSG if it never was sent. */
int session_acknowledged(Session *s, uint64_t ack, Error *reterr) {
        if (ack > s->next_seq)
                return error_setf(reterr, -EBADMSG,
                                  "peer acknowledges frame %" PRIu64 ", sent were %" PRIu64, ack,
                                  s->next_seq);
        while (s->unacked.head && s->unacked.head->seq < ack) {
                Chunk *c = s->unacked.head;
                Channel *ch = channel_find(s, c->channel);

                if (c == s->cursor)
                        s->cursor = c->next;
                (void)chunk_pop(&s->unacked);
                if (c->type == FRAME_DATA)
                        chunk_count(s, ch, c, false);
                c->acked = true;
                if (c->pins == 0)
                        chunk_free(s, c);
                ch->unacked--;
                if (ch->unacked == 0)
                        channel_maybe_gone(s, ch);
        }
        s->acked = MAX_OF(s->acked, ack);
        if (s->used == 0)
                session_trim_cache(s);
        return 0;
}

static bool hello_sane(const Hello *h) {
        return h->window > 0 && h->window <= SESSION_MAX_WINDOW && h->initial > 0 &&
               h->initial <= h->window && h->control >= SESSION_MIN_CONTROL &&
               h->control <= h->window && h->max_channels > 0 && h->spare == 0 &&
               h->expected >= 1 && h->expected <= SESSION_MAX_COUNTER;
}

/* Both have said HELLO: from here on frames of this link count. */
static int link_up(Session *s, const Hello *h, Error *reterr) {
        int r;

        r = session_acknowledged(s, h->expected, reterr);
        if (r < 0)
                return r;
        s->cursor = s->unacked.head;
        s->link = session_link_of(s, s->epoch, s->serial);
        s->up = true;
        s->resync_due = false;
        s->stale = s->skipped = 0;
        s->pong_due = false;
        for (uint32_t i = 0; i < s->n_buckets; i++)
                for (Channel *ch = s->buckets[i]; ch; ch = ch->hash_next) {
                        uint32_t base = ch->id == 0 ? s->control : s->initial;

                        if (!s->peer_known)
                                ch->limit = ch->id == 0 ? h->control : h->initial;
                        if (ch->granted > base && !ch->recv_eof && !ch->recv_reset && !ch->reset)
                                link_append(&s->grants, &ch->by_grant);
                }
        if (!s->peer_known)
                s->peer = *h;
        s->peer_known = true;
        return 0;
}

static int refuse(Session *s, const Hello *h, RefuseReason reason) {
        s->refuse = (Refuse){ .epoch = s->epoch, .serial = h->serial, .reason = reason };
        memcpy(s->refuse.id, h->id, sizeof(s->refuse.id));
        s->stats.dropped_frames++;
        return 0;
}

static int guest_on_hello(Session *s, const Hello *h, Error *reterr) {
        bool raised = h->epoch > s->epoch;
        bool again = s->up && !raised && h->serial == s->serial;
        unsigned generation = s->generation;
        int r;

        if (h->epoch < s->epoch || (!raised && h->serial < s->serial))
                return refuse(s, h, REFUSE_STALE);
        if (again && h->expected < s->acked) { /* an old one, delivered twice */
                s->stats.dropped_frames++;
                return 0;
        }
        if (h->expected < s->acked || h->expected > s->next_seq)
                return refuse(s, h, REFUSE_STATE);
        memcpy(s->id, h->id, sizeof(s->id));
        s->id_known = true;
        s->epoch = h->epoch;
        s->serial = h->serial;
        r = link_up(s, h, reterr);
        if (r < 0)
                return r;
        s->hello_due = true;
        if (raised && s->ops.new_epoch)
                s->ops.new_epoch(s->userdata, s->epoch);
        if (s->ops.up && !again && s->up && generation == s->generation)
                s->ops.up(s->userdata);
        return 0;
}

static int host_on_hello(Session *s, const Hello *h, Error *reterr) {
        int r;

        if (s->up || h->epoch != s->epoch || h->serial != s->serial) {
                s->stats.dropped_frames++; /* the answer to an earlier one */
                return 0;
        }
        if (h->expected < s->acked)
                return error_setf(reterr, -EBADMSG,
                                  "guest expects frame %" PRIu64 " but had all below %" PRIu64,
                                  h->expected, s->acked);
        r = link_up(s, h, reterr);
        if (r < 0)
                return r;
        s->hello_due = false;
        if (s->ops.up)
                s->ops.up(s->userdata);
        return 0;
}

static int host_on_refuse(Session *s, const Refuse *f, Error *reterr) {
        if (f->serial != s->serial)
                return 0;
        if (f->reason == REFUSE_STALE)
                return error_setf(reterr, -ESTALE,
                                  "fenced: epoch %" PRIu64 ", the guest is at epoch %" PRIu64,
                                  s->epoch, f->epoch);
        if (f->reason == REFUSE_OTHER)
                return error_setf(reterr, -EPERM, "the guest belongs to another session");
        return error_setf(reterr, -EBADMSG, "the guest does not know this state of the session");
}

static int host_on_resync(Session *s) {
        if (s->up)
                session_go_down(s);
        else
                speak_up(s);
        return 0;
}

static const uint8_t no_id[16];

/* Is this sound link frame one of our session (so that it counts wherever it is found)? */
bool session_link_frame_ours(const Session *s, const Frame *f, const uint8_t *payload) {
        if (f->link != 0 || f->channel != 0 || f->flags != 0)
                return false;
        if (f->type == FRAME_HELLO)
                return f->length == FRAME_HELLO_SIZE && s->id_known &&
                       memcmp(payload, s->id, sizeof(s->id)) == 0;
        if (f->type != FRAME_REFUSE && f->type != FRAME_RESYNC)
                return false;
        return f->length == FRAME_REFUSE_SIZE && s->id_known &&
               (memcmp(payload, s->id, sizeof(s->id)) == 0 ||
                (f->type == FRAME_RESYNC && memcmp(payload, no_id, sizeof(no_id)) == 0));
}

/* `first`: it is the very first on this transport, so another's session id is an error there; later
 * it may be something inside another's payload that we stumbled over. */
int session_on_link_frame(Session *s, const Frame *f, const uint8_t *payload, bool first,
                          Error *reterr) {
        bool guest = s->config.role == SESSION_GUEST, ours = session_link_frame_ours(s, f, payload);
        Refuse refused;
        Hello h;

        if (f->type == FRAME_HELLO && f->length == FRAME_HELLO_SIZE && f->link == 0) {
                hello_get(payload, &h);
                if (h.role != (guest ? SESSION_HOST : SESSION_GUEST) || !hello_sane(&h)) {
                        s->stats.dropped_frames++;
                        return 0;
                }
                if (!ours && !(guest && !s->id_known)) {
                        s->stats.dropped_frames++;
                        return !first ? 0
                                      : error_setf(reterr, -EPERM,
                                                   "the peer belongs to another session");
                }
                return guest ? guest_on_hello(s, &h, reterr) : host_on_hello(s, &h, reterr);
        }
        if (!ours || guest) {
                s->stats.dropped_frames++;
                return 0;
        }
        if (f->type == FRAME_RESYNC)
                return host_on_resync(s);
        refuse_get(payload, &refused);
        return host_on_refuse(s, &refused, reterr);
}
