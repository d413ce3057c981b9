/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/session-steps.h"

#include <stdlib.h>
#include <string.h>

#include "lib/crc32c.h"
#include "lib/session-internal.h"

#define TOTAL    (96U << 10)
#define CHANNELS 8U

typedef struct Run {
        Session *session;
        const uint8_t *p;
        size_t n;
        bool hold;
        unsigned depth;
} Run;

static void must(bool holds) {
        if (!holds)
                abort();
}

static uint8_t u8(Run *r) {
        if (r->n == 0)
                return 0;
        r->n--;
        return *r->p++;
}

static uint16_t u16(Run *r) {
        uint16_t low = u8(r);

        return (uint16_t)(low | u8(r) << 8);
}

static size_t take(Run *r, size_t n, const uint8_t **ret) {
        *ret = r->p;
        n = MIN_OF(n, r->n);
        r->p += n;
        r->n -= n;
        return n;
}

/* A consumer that does all that is allowed inside a callback, as the input says. */
static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Run *r = userdata;
        volatile uint8_t sum = 0;

        must(n > 0 && n <= TOTAL);
        for (size_t i = 0; i < n; i++)
                sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
        if (r->depth > 0)
                return n;
        r->depth++;
        switch (u8(r) % 16) {
        case 0:
                session_drop(r->session, channel);
                break;
        case 1:
                session_detach(r->session);
                break;
        case 2:
                (void)session_shutdown(r->session, channel, NULL);
                break;
        case 3:
                session_freeze(r->session);
                break;
        case 4:
                (void)session_open(r->session, u8(r), NULL);
                break;
        case 5:
                session_taken(r->session, u8(r));
                break;
        case 6:
                session_detach(r->session);
                session_attach(r->session);
                break;
        case 7:
                (void)session_write(r->session, channel, p, MIN_OF(n, (size_t)50));
                break;
        default:
                break;
        }
        r->depth--;
        return r->hold ? u8(r) % (n + 1) : n;
}

static void on_eof(void *userdata, uint32_t channel) {
        Run *r = userdata;

        must(session_is_open(r->session, channel));
        if (u8(r) % 4 == 0)
                session_drop(r->session, channel);
}

static void on_writable(void *userdata, uint32_t channel) {
        Run *r = userdata;

        must(session_is_open(r->session, channel));
        (void)session_write(r->session, channel, "hello", 5);
}

static void on_wake(void *userdata) {
        must(session_has_output(((Run *)userdata)->session));
}

static const SessionOps ops = {
        .data = on_data, .eof = on_eof, .writable = on_writable, .wake = on_wake
};

static void check(const Run *r) {
        SessionStats st;

        session_stats(r->session, &st);
        must(st.unacked_bytes <= TOTAL);
        must(st.undelivered_bytes <= TOTAL);
        must(st.channels <= 2 * CHANNELS);
        must(r->session->pool_used <= r->session->pool);
        must(r->session->in.len <= FRAME_MAX);
}

/* Bytes as they come off a transport: of their exact size, so that a sanitizer sees more. */
static void input(Run *r, const uint8_t *p, size_t n) {
        uint8_t *copy = malloc(n ?: 1);
        int k;

        if (!copy)
                return;
        if (n > 0)
                memcpy(copy, p, n);
        k = session_input(r->session, copy, n, NULL);
        must(k == 0 || k == -EBADMSG || k == -ESTALE || k == -EPERM || k == -ENOMEM);
        free(copy);
        if (k < 0 && u8(r) % 2 == 0) {
                session_detach(r->session);
                session_attach(r->session);
        }
}

static void put(Run *r, Frame *f, const uint8_t *payload) {
        static uint8_t bytes[FRAME_MAX];
        size_t n = FRAME_HEADER + f->length, cut;

        memcpy(bytes + FRAME_HEADER, payload, f->length);
        f->crc = crc32c(0, bytes + FRAME_HEADER, f->length);
        frame_put(f, bytes);
        cut = u8(r) % 8 == 0 ? u16(r) % (n + 1) : n;
        input(r, bytes, cut);
        if (cut < n && u8(r) % 2 == 0)
                input(r, bytes + cut, n - cut);
}

static void put_frame(Run *r) {
        static uint8_t payload[FRAME_PAYLOAD_MAX];
        Session *s = r->session;
        Frame f = { .link = s->link, .seq = s->expected, .ack = s->acked };
        const uint8_t *p;
        uint8_t how;
        size_t n;

        f.type = u8(r);
        if (f.type < 0xf0)
                f.type = (uint8_t)(FRAME_DATA + f.type % 8);
        how = u8(r);
        f.channel = how & 1 ? u8(r) : u8(r) % 4;
        f.length = how & 2 ? u16(r) % (FRAME_PAYLOAD_MAX + 1) : u8(r) % 64;
        if (f.type != FRAME_DATA && !(how & 4))
                f.length = f.type == FRAME_WINDOW ? FRAME_WINDOW_SIZE : 0;
        if (how & 8)
                f.ack += u8(r) % (s->next_seq - s->acked + 1);
        if (how & 16)
                f.seq += (uint64_t)(int64_t)(int8_t)u8(r);
        if ((how & 96) == 96)
                f.link ^= u8(r);
        if ((how & 224) == 224)
                f.flags = u8(r);
        memset(payload, how, f.length);
        n = take(r, MIN_OF(f.length, 16U), &p);
        memcpy(payload, p, n);
        if (f.type == FRAME_WINDOW && !(how & 128))
                put_le64(payload, u16(r));
        put(r, &f, payload);
}

static void put_hello(Run *r) {
        Session *s = r->session;
        uint8_t payload[FRAME_HELLO_SIZE], how = u8(r);
        Hello h = { .epoch = s->epoch ?: 1,
                    .expected = s->acked,
                    .serial = s->serial,
                    .role = s->config.role == SESSION_HOST ? SESSION_GUEST : SESSION_HOST,
                    .window = 16384,
                    .total = 65536,
                    .max_channels = 9,
                    .initial = 300,
                    .control = 4096 };
        Frame f = { .type = FRAME_HELLO, .length = FRAME_HELLO_SIZE };

        memcpy(h.id, "fuzz fuzz fuzz..", sizeof(h.id));
        if (how & 1)
                h.expected += u8(r) % (s->next_seq - s->acked + 1);
        if (how & 2)
                h.serial += (uint32_t)(int32_t)(int8_t)u8(r);
        if (how & 4)
                h.epoch += (uint64_t)(int64_t)(int8_t)u8(r);
        hello_put(&h, payload);
        if (how & 8)
                payload[u8(r) % FRAME_HELLO_SIZE] ^= u8(r);
        if (how & 16) {
                f.type = how & 32 ? FRAME_REFUSE : FRAME_RESYNC;
                f.length = FRAME_REFUSE_SIZE;
                refuse_put(&(Refuse){ .epoch = h.epoch, .serial = h.serial, .reason = u8(r) % 4 },
                           payload);
                memcpy(payload, s->id, sizeof(s->id));
        }
        put(r, &f, payload);
}

/* The endpoint goes on from its own checkpoint; or tries one that the input damaged. */
static void save(Run *r) {
        _cleanup_buf_ Buf a = {}, b = {};
        Session *s = NULL, *old;
        unsigned changes = u8(r) % 4;

        if (session_save(r->session, &a, NULL) < 0)
                return;
        for (unsigned i = 0; i < changes; i++)
                a.data[u16(r) % a.len] ^= u8(r);
        if (changes > 0)
                put_le32(a.data + a.len - 4, crc32c(0, a.data, a.len - 4));
        if (session_import(a.data, a.len, &ops, r, &s, NULL) < 0) {
                must(changes > 0);
                return;
        }
        must(session_save(s, &b, NULL) == 0);
        must(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
        old = r->session;
        r->session = s;
        session_attach(s);
        if (changes > 0) { /* accepted, so it must be usable, but its limits are its own */
                (void)session_output(s, (struct iovec[4]){}, 4);
                r->session = old;
                old = s;
        }
        (void)session_free(old);
}

static void owner(Run *r) {
        static uint8_t bytes[20000];
        Session *s = r->session;
        uint32_t channel = u8(r) % 12;
        struct iovec iov[7];
        size_t n, all = 0;
        void *p;
        int k;

        switch (u8(r) % 12) {
        case 0:
                (void)session_open(s, channel, NULL);
                break;
        case 1:
                (void)session_shutdown(s, channel, NULL);
                break;
        case 2:
                session_drop(s, channel);
                break;
        case 3:
        case 4:
                (void)session_write(s, channel, bytes, u16(r) % sizeof(bytes));
                break;
        case 5:
                p = session_reserve(s, channel, &n);
                if (p) {
                        all = u16(r);
                        n = MIN_OF(n, all);
                        memset(p, 1, n);
                        session_commit(s, channel, n);
                }
                break;
        case 6:
        case 7:
                k = session_output(s, iov, ELEMENTSOF(iov));
                for (int i = 0; i < k; i++)
                        all += iov[i].iov_len;
                if (k > 0)
                        session_output_done(s, u8(r) % 4 ? all : u16(r) % (all + 1));
                break;
        case 8:
                session_taken(s, channel);
                break;
        case 9:
                r->hold = !r->hold;
                break;
        case 10:
                session_ping(s);
                break;
        default:
                if (u8(r) % 2)
                        session_freeze(s);
                else
                        session_thaw(s);
        }
}

int session_steps(SessionRole role, const uint8_t *data, size_t size) {
        SessionConfig c = { .role = role,
                            .epoch = role == SESSION_HOST ? 3 : 0,
                            .window = 16384,
                            .total = TOTAL,
                            .reserve = 8192,
                            .max_channels = CHANNELS };
        Run r = { .p = data, .n = size };

        memcpy(c.id, "fuzz fuzz fuzz..", sizeof(c.id));
        if (session_new(&c, &ops, &r, &r.session, NULL) < 0)
                return 0;
        session_attach(r.session);
        while (r.n > 0) {
                uint8_t what = u8(&r);
                const uint8_t *p;
                size_t n;

                if (what < 90)
                        put_frame(&r);
                else if (what < 120)
                        put_hello(&r);
                else if (what < 210)
                        owner(&r);
                else if (what < 235) {
                        n = take(&r, u8(&r), &p);
                        input(&r, p, n);
                } else if (what < 243) {
                        session_detach(r.session);
                        if (what & 1 && role == SESSION_HOST)
                                (void)session_raise_epoch(r.session, r.session->epoch + 1, NULL);
                        session_attach(r.session);
                } else
                        save(&r);
                check(&r);
        }
        (void)session_free(r.session);
        return 0;
}
