/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/session-pair.h"

#include <string.h>

const uint8_t pair_id[16] = "a pod for tests";

uint8_t pair_byte(int from, uint32_t channel, uint64_t at) {
        uint64_t x = at * 0x9e3779b97f4a7c15ULL + channel * 0x1000193ULL + (unsigned)from * 77ULL;

        return (uint8_t)(x >> 40 ^ x >> 17);
}

static void wrong(Pair *p, const char *why, uint64_t at) {
        if (p->wrong)
                return;
        p->wrong = why;
        p->wrong_at = at;
}

static size_t on_data(void *userdata, uint32_t channel, const void *bytes, size_t n) {
        PairEnd *e = userdata;
        const uint8_t *b = bytes;
        uint64_t at;

        if (channel >= PAIR_CHANNELS) {
                wrong(e->pair, "bytes on a channel that is not used", channel);
                return n;
        }
        if (n == 0 || e->eof[channel])
                wrong(e->pair, n ? "bytes after the end" : "nothing offered", channel);
        if (e->held[channel])
                return 0;
        if (e->bite > 0)
                n = MIN_OF(n, e->bite);
        at = e->got[channel];
        for (size_t i = 0; i < n; i++)
                if (b[i] != pair_byte(!e->index, channel, at + i)) {
                        wrong(e->pair, "a byte that was not written there", at + i);
                        break;
                }
        e->got[channel] += n;
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        PairEnd *e = userdata;

        if (channel >= PAIR_CHANNELS || e->eof[channel]) {
                wrong(e->pair, "an end that was not or was told already", channel);
                return;
        }
        e->eof[channel] = true;
}

static void on_writable(void *userdata, uint32_t channel) {
        ((PairEnd *)userdata)->writables++;
}

static void on_up(void *userdata) {
        ((PairEnd *)userdata)->ups++;
}

static void on_epoch(void *userdata, uint64_t epoch) {
        ((PairEnd *)userdata)->epochs++;
}

static void on_wake(void *userdata) {
        ((PairEnd *)userdata)->wakes++;
}

const SessionOps pair_ops = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
        .up = on_up,
        .new_epoch = on_epoch,
        .wake = on_wake,
};

SessionConfig pair_config(SessionRole role) {
        SessionConfig c = { .role = role,
                            .epoch = role == SESSION_HOST ? 1 : 0,
                            .window = 8192,
                            .total = 65536,
                            .reserve = 8192,
                            .max_channels = 16 };

        if (role == SESSION_HOST)
                memcpy(c.id, pair_id, sizeof(c.id));
        return c;
}

int pair_init(Pair *p, const SessionConfig *host, const SessionConfig *guest) {
        SessionConfig h = pair_config(SESSION_HOST), g = pair_config(SESSION_GUEST);
        const SessionConfig *configs[] = { host ?: &h, guest ?: &g };

        *p = (Pair){};
        for (int i = 0; i < 2; i++) {
                PairEnd *e = &p->end[i];
                int r;

                e->pair = p;
                e->index = i;
                e->open[0] = true;
                r = session_new(configs[i], &pair_ops, e, &e->session, &e->text);
                if (r < 0)
                        return r;
        }
        return 0;
}

void pair_done(Pair *p) {
        for (int i = 0; i < 2; i++) {
                (void)session_free(p->end[i].session);
                buf_done(&p->end[i].wire);
        }
}

size_t pair_write(Pair *p, int end, uint32_t channel, size_t n) {
        PairEnd *e = &p->end[end];
        uint8_t bytes[4096];
        size_t done = 0;

        while (done < n) {
                size_t k = MIN_OF(n - done, sizeof(bytes));
                ssize_t r;

                for (size_t i = 0; i < k; i++)
                        bytes[i] = pair_byte(end, channel, e->written[channel] + i);
                r = session_write(e->session, channel, bytes, k);
                if (r < 0) {
                        e->error = (int)r;
                        break;
                }
                e->written[channel] += (size_t)r;
                done += (size_t)r;
                if ((size_t)r < k)
                        break;
        }
        return done;
}

size_t pair_write_reserved(Pair *p, int end, uint32_t channel, size_t n) {
        PairEnd *e = &p->end[end];
        size_t room;
        uint8_t *at = session_reserve(e->session, channel, &room);

        if (!at)
                return 0;
        n = MIN_OF(n, room);
        for (size_t i = 0; i < n; i++)
                at[i] = pair_byte(end, channel, e->written[channel] + i);
        session_commit(e->session, channel, n);
        e->written[channel] += n;
        return n;
}

void pair_open(Pair *p, int end, uint32_t channel) {
        if (session_open(p->end[end].session, channel, &p->end[end].text) < 0)
                wrong(p, "a channel that does not open", channel);
        p->end[end].open[channel] = true;
}

void pair_shut(Pair *p, int end, uint32_t channel) {
        if (session_shutdown(p->end[end].session, channel, &p->end[end].text) < 0)
                wrong(p, "a channel that does not shut down", channel);
        p->end[end].shut[channel] = true;
}

void pair_hold(Pair *p, int end, uint32_t channel, bool hold) {
        p->end[end].held[channel] = hold;
        if (!hold)
                session_taken(p->end[end].session, channel);
}

size_t pair_output(Pair *p, int end, size_t max) {
        PairEnd *e = &p->end[end];
        struct iovec iov[5];
        size_t done = 0;
        int n;

        while (done < max && (n = session_output(e->session, iov, ELEMENTSOF(iov))) > 0) {
                size_t now = 0;

                for (int i = 0; i < n && done + now < max; i++) {
                        size_t k = MIN_OF(iov[i].iov_len, max - done - now);

                        if (buf_append(&e->wire, iov[i].iov_base, k) < 0)
                                return done;
                        if (p->record[end] && buf_append(p->record[end], iov[i].iov_base, k) < 0)
                                return done;
                        now += k;
                }
                session_output_done(e->session, now);
                done += now;
        }
        e->wrote += done;
        return done;
}

size_t pair_input(Pair *p, int end, size_t max) {
        PairEnd *e = &p->end[end];
        Buf *wire = &p->end[!end].wire;
        size_t n = MIN_OF(max, wire->len);
        uint8_t *copy; /* of its exact size, so that a sanitizer sees a read beyond it */
        int r;

        if (n == 0)
                return 0;
        copy = malloc(n);
        if (!copy)
                return 0;
        memcpy(copy, wire->data, n);
        buf_consume(wire, n);
        r = session_input(e->session, copy, n, &e->text);
        free(copy);
        if (r < 0)
                e->error = r;
        return n;
}

bool pair_settle(Pair *p) {
        for (unsigned rounds = 0; rounds < 20000; rounds++) {
                size_t moved = 0;

                for (int i = 0; i < 2; i++) {
                        moved += pair_output(p, i, SIZE_MAX);
                        moved += pair_input(p, !i, SIZE_MAX);
                        for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                                if (p->end[i].bite > 0 && session_is_open(p->end[i].session, c))
                                        session_taken(p->end[i].session, c);
                }
                if (moved == 0)
                        return true;
        }
        return false;
}

void pair_cut(Pair *p) {
        for (int i = 0; i < 2; i++) {
                session_detach(p->end[i].session);
                p->end[i].wire.len = 0;
        }
}

void pair_connect(Pair *p) {
        for (int i = 0; i < 2; i++)
                session_attach(p->end[i].session);
}

bool pair_complete(const Pair *p) {
        if (p->wrong)
                return false;
        for (int i = 0; i < 2; i++)
                for (uint32_t c = 0; c < PAIR_CHANNELS; c++) {
                        const PairEnd *from = &p->end[i], *to = &p->end[!i];

                        if (to->got[c] != from->written[c] || to->eof[c] != from->shut[c])
                                return false;
                }
        return true;
}

int pair_reincarnate(Pair *p, int end, bool raise) {
        PairEnd *e = &p->end[end];
        _cleanup_buf_ Buf first = {}, second = {};
        Session *s = NULL;
        int r;

        r = session_save(e->session, &first, &e->text);
        if (r < 0)
                return r;
        r = session_import(first.data, first.len, &pair_ops, e, &s, &e->text);
        if (r < 0)
                return r;
        r = session_save(s, &second, &e->text);
        if (r < 0 || first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
                wrong(p, "a checkpoint of a checkpoint that differs", first.len);
        (void)session_free(e->session);
        e->session = s;
        if (raise)
                r = session_raise_epoch(s, session_epoch(s) + 1, &e->text);
        return r;
}
