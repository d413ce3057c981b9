/* SPDX-License-Identifier: Apache-2.0 */
/* What a session promises to its owner, one promise a test. Faults of the transport are in
 * test-session-faults.c, random schedules in test-session-random.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crc32c.h"
#include "lib/frame.h"
#include "tests/fakes/session-pair.h"

static SessionStats stats_of(const Pair *p, int end) {
        SessionStats st;

        session_stats(p->end[end].session, &st);
        return st;
}

static int set_up(void **state) {
        Pair *p = calloc(1, sizeof(*p));

        if (!p || pair_init(p, NULL, NULL) < 0)
                return -1;
        pair_connect(p);
        *state = p;
        return pair_settle(p) ? 0 : -1;
}

static int tear_down(void **state) {
        Pair *p = *state;

        pair_done(p);
        free(p);
        return 0;
}

static void open_both(Pair *p, uint32_t channel) {
        pair_open(p, 0, channel);
        pair_open(p, 1, channel);
}

static void test_config(void **state) {
        SessionConfig good = pair_config(SESSION_HOST);
        static const struct {
                const char *name;
                SessionConfig c;
        } rows[] = {
                { "no id", { .role = SESSION_HOST, .epoch = 1 } },
                { "role", { .role = 7, .id = "x" } },
                { "tiny window", { .id = "x", .window = 4095 } },
                { "huge window", { .id = "x", .window = 65U << 20 } },
                { "huge total", { .id = "x", .total = (1U << 30) + 1 } },
                { "tiny total", { .id = "x", .total = 8191 } },
                { "reserve above half", { .id = "x", .total = 100000, .reserve = 50001 } },
                { "tiny reserve", { .id = "x", .total = 100000, .reserve = 100 } },
                { "channels", { .id = "x", .total = 100000, .max_channels = 5000 } },
                { "too many channels", { .id = "x", .max_channels = 65537, .total = 1U << 30 } },
        };
        Session *s = NULL;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Error e = ERROR_INIT;

                if (session_new(&rows[i].c, &pair_ops, NULL, &s, &e) != -EINVAL || s || !e.text[0])
                        fail_msg("%s was accepted", rows[i].name);
        }
        good.window = good.total = good.reserve = good.max_channels = 0;
        assert_int_equal(session_new(&good, &pair_ops, NULL, &s, NULL), 0);
        s = session_free(s);
        assert_null(session_free(NULL));
}

static void test_open(void **state) {
        Pair *p = *state;
        Session *s = p->end[0].session;
        Error e = ERROR_INIT;

        assert_true(session_is_open(s, 0));
        assert_false(session_is_open(s, 3));
        assert_int_equal(session_open(s, 3, &e), 0);
        assert_int_equal(session_open(s, 3, &e), -EEXIST);
        assert_int_equal(session_open(s, 0, &e), -EEXIST);
        for (uint32_t c = 20; c < 20 + 14; c++)
                assert_int_equal(session_open(s, c, &e), 0);
        assert_int_equal(session_open(s, 99, &e), -ENOSPC);
        assert_string_equal(e.text, "16 channels are open, no more are allowed");
        assert_int_equal(session_write(s, 99, "x", 1), -ENOENT);
        assert_int_equal(session_shutdown(s, 99, &e), -ENOENT);
        assert_int_equal(session_shutdown(s, 0, &e), -EINVAL);
        session_drop(s, 0);
        session_drop(s, 99);
        assert_true(session_is_open(s, 0));
}

static void test_ids(void **state) {
        Pair *p = *state;
        Session *s = p->end[0].session;

        assert_int_equal(session_next_channel(s), 1);
        assert_int_equal(session_open(s, 5, NULL), 0);
        assert_int_equal(session_next_channel(s), 6);
        session_raise_channel_floor(s, 100);
        session_raise_channel_floor(s, 50);
        assert_int_equal(pair_reincarnate(p, 0, false), 0);
        assert_int_equal(session_next_channel(p->end[0].session), 100);
        session_raise_channel_floor(p->end[0].session, UINT32_MAX);
        assert_int_equal(session_next_channel(p->end[0].session), UINT32_MAX);
        assert_int_equal(session_next_channel(p->end[0].session), UINT32_MAX);
}

static void test_early_bytes_wait(void **state) {
        Pair *p = *state;

        pair_open(p, 0, 1);
        assert_int_equal(pair_write(p, 0, 1, 100), 100);
        pair_shut(p, 0, 1);
        assert_true(pair_settle(p));
        assert_int_equal(p->end[1].got[1], 0);
        assert_int_equal(stats_of(p, 1).undelivered_bytes, 100);
        assert_false(session_is_open(p->end[1].session, 1));
        pair_open(p, 1, 1);
        assert_int_equal(p->end[1].got[1], 0); /* not from inside session_open() */
        session_taken(p->end[1].session, 1);
        assert_int_equal(p->end[1].got[1], 100);
        assert_true(p->end[1].eof[1]);

        pair_open(p, 0, 2);
        assert_int_equal(pair_write(p, 0, 2, 50), 50);
        assert_true(pair_settle(p));
        pair_open(p, 1, 2);
        assert_int_equal(pair_output(p, 1, 0), 0);
        assert_true(pair_settle(p)); /* nobody called session_taken() */
        assert_int_equal(p->end[1].got[2], 50);
}

static void test_ends(void **state) {
        Pair *p = *state;

        open_both(p, 1);
        assert_int_equal(pair_write(p, 0, 1, 10), 10);
        pair_shut(p, 0, 1);
        pair_shut(p, 0, 1);
        assert_int_equal(session_write(p->end[0].session, 1, "x", 1), -EPIPE);
        assert_true(pair_settle(p));
        assert_true(p->end[1].eof[1]);
        assert_true(session_is_open(p->end[0].session, 1)); /* the other direction goes on */
        assert_int_equal(pair_write(p, 1, 1, 20), 20);
        pair_shut(p, 1, 1);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
        assert_false(session_is_open(p->end[0].session, 1));
        assert_false(session_is_open(p->end[1].session, 1));
        assert_true(session_channel_drained(p->end[0].session, 1));
}

static void test_drop(void **state) {
        Pair *p = *state;

        open_both(p, 1);
        pair_hold(p, 1, 1, true);
        assert_int_equal(pair_write(p, 0, 1, 200), 200);
        assert_true(pair_settle(p));
        assert_int_equal(pair_write(p, 0, 1, 100), 100); /* not sent any more */
        session_drop(p->end[0].session, 1);
        assert_false(session_is_open(p->end[0].session, 1));
        assert_int_equal(session_write(p->end[0].session, 1, "x", 1), -ENOENT);
        assert_int_equal(session_open(p->end[0].session, 1, NULL), -EEXIST);
        assert_true(pair_settle(p));
        assert_true(p->end[1].eof[1]);
        assert_int_equal(p->end[1].got[1], 0);
        assert_int_equal(stats_of(p, 0).channels, 1);
        assert_int_equal(stats_of(p, 1).channels, 1);
        assert_int_equal(stats_of(p, 1).undelivered_bytes, 0);
}

static void test_drop_before_open(void **state) {
        Pair *p = *state;

        pair_open(p, 0, 1);
        assert_int_equal(pair_write(p, 0, 1, 20), 20);
        assert_true(pair_settle(p));
        session_drop(p->end[0].session, 1);
        assert_true(pair_settle(p));
        assert_int_equal(stats_of(p, 0).channels, 1);
        pair_open(p, 1, 1); /* learns only now that it is over */
        assert_int_equal(session_write(p->end[1].session, 1, "x", 1), -EPIPE);
        assert_true(pair_settle(p));
        session_taken(p->end[1].session, 1);
        assert_true(p->end[1].eof[1]);
        assert_int_equal(stats_of(p, 1).channels, 1);
}

/* Channels that only the peer ever used and dropped again do not add up. */
static void test_dropped_are_forgotten(void **state) {
        Pair *p = *state;

        for (uint32_t c = 1; c < 200; c++) {
                assert_int_equal(session_open(p->end[0].session, c, NULL), 0);
                assert_int_equal(session_write(p->end[0].session, c, "abc", 3), 3);
                assert_true(pair_settle(p));
                session_drop(p->end[0].session, c);
                assert_true(pair_settle(p));
        }
        assert_int_equal(p->end[1].error, 0);
        assert_true(stats_of(p, 1).channels <= 17);
        assert_int_equal(stats_of(p, 0).channels, 1);
}

static void test_slow_consumer(void **state) {
        Pair *p = *state;
        size_t blocked = 0;

        for (uint32_t c = 1; c < 4; c++)
                open_both(p, c);
        pair_hold(p, 1, 1, true);
        for (int i = 0; i < 50; i++) {
                blocked += pair_write(p, 0, 1, 1000);
                assert_true(pair_settle(p));
        }
        assert_true(blocked <= 8192); /* its window, no more */
        assert_int_equal(session_write(p->end[0].session, 1, "x", 1), 0);
        assert_int_equal(stats_of(p, 0).unacked_bytes, 0); /* and nothing kept at the sender */
        for (uint32_t c = 0; c < 4; c++)
                for (size_t done = 0; c != 1 && done < 200000;) {
                        size_t n = pair_write(p, 0, c, 3000);

                        assert_true(n > 0);
                        done += n;
                        assert_true(pair_settle(p));
                }
        p->end[0].writables = 0;
        pair_hold(p, 1, 1, false);
        assert_true(pair_settle(p));
        assert_int_equal(p->end[1].got[1], blocked);
        assert_int_equal(p->end[0].writables, 1);
        assert_true(pair_write(p, 0, 1, 100) == 100);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
}

static void test_waiting_costs_nothing(void **state) {
        Pair *p = *state;
        uint64_t before;

        open_both(p, 1);
        pair_hold(p, 1, 1, true);
        while (pair_write(p, 0, 1, 1000) > 0)
                assert_true(pair_settle(p));
        before = p->end[0].wrote + p->end[1].wrote;
        p->end[0].wakes = p->end[1].wakes = 0;
        for (int i = 0; i < 10; i++) {
                assert_int_equal(session_write(p->end[0].session, 1, "x", 1), 0);
                assert_true(pair_settle(p));
        }
        assert_int_equal(p->end[0].wrote + p->end[1].wrote, before);
        assert_int_equal(p->end[0].wakes + p->end[1].wakes, 0);
}

static void test_reserve_of_control(void **state) {
        Pair *p = *state;

        for (uint32_t c = 1; c < PAIR_CHANNELS; c++)
                open_both(p, c);
        assert_true(pair_settle(p));
        for (int round = 0; round < 30; round++) /* windows grow, then nothing is read any more */
                for (uint32_t c = 1; c < PAIR_CHANNELS; c++) {
                        (void)pair_write(p, 0, c, 8192);
                        assert_true(pair_settle(p));
                }
        for (uint32_t c = 1; c < PAIR_CHANNELS; c++)
                while (pair_write(p, 0, c, 8192) > 0)
                        ;
        assert_int_equal(pair_write(p, 0, 0, 4000), 4000);
        assert_true(stats_of(p, 0).unacked_bytes <= 65536);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
}

/* Reading straight into the session works with the smallest credit, and costs no room unused. */
static void test_reserve(void **state) {
        SessionConfig c = pair_config(SESSION_HOST), g = pair_config(SESSION_GUEST);
        Pair p;
        size_t n;

        c.max_channels = g.max_channels = 200;
        assert_int_equal(pair_init(&p, &c, &g), 0);
        assert_null(session_reserve(p.end[0].session, 1, &n));
        pair_open(&p, 0, 1);
        assert_null(session_reserve(p.end[0].session, 1, &n)); /* the peer's credit is not known */
        pair_connect(&p);
        assert_true(pair_settle(&p));
        assert_true(p.end[0].writables > 0);
        assert_non_null(session_reserve(p.end[0].session, 1, &n));
        assert_in_range(n, 64, 128);
        session_commit(p.end[0].session, 1, 0);
        assert_int_equal(stats_of(&p, 0).unacked_bytes, 0);
        assert_non_null(session_reserve(p.end[0].session, 1, &n)); /* without commit: no leak */
        assert_int_equal(pair_write_reserved(&p, 0, 1, 10), 10);
        assert_true(pair_write_reserved(&p, 0, 1, 1000) > 0);
        assert_true(pair_settle(&p));
        pair_open(&p, 1, 1);
        for (int i = 0; i < 100; i++) {
                assert_true(pair_settle(&p));
                assert_true(pair_write_reserved(&p, 0, 1, 5000) > 0);
        }
        assert_true(pair_settle(&p));
        assert_true(pair_complete(&p));
        pair_done(&p);
}

/* A request among bulk is in the next frames that go out, however many channels are busy. */
static void test_fair(void **state) {
        Pair *p = *state;
        const uint8_t *w;
        size_t at = 0, n = 0;

        for (uint32_t c = 1; c < PAIR_CHANNELS; c++)
                open_both(p, c);
        for (int round = 0; round < 20; round++)
                for (uint32_t c = 1; c < PAIR_CHANNELS - 1; c++) {
                        (void)pair_write(p, 0, c, 8192);
                        assert_true(pair_settle(p));
                }
        for (uint32_t c = 1; c < PAIR_CHANNELS - 1; c++)
                (void)pair_write(p, 0, c, 8192);
        assert_int_equal(pair_write(p, 0, PAIR_CHANNELS - 1, 10), 10);
        (void)pair_output(p, 0, SIZE_MAX);
        w = p->end[0].wire.data;
        for (;; n++) { /* it was written last and goes behind one frame of each that was idle too */
                Frame f;

                assert_true(at < p->end[0].wire.len);
                assert_int_equal(frame_get(w + at, p->end[0].wire.len - at, &f), FRAME_GOOD);
                if (f.channel == PAIR_CHANNELS - 1)
                        break;
                at += FRAME_HEADER + f.length;
        }
        assert_true(n < PAIR_CHANNELS + 2);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
}

static void test_ping(void **state) {
        Pair *p = *state;
        uint64_t quiet = p->end[0].wrote + p->end[1].wrote;

        for (int i = 0; i < 5; i++)
                assert_true(pair_settle(p));
        assert_int_equal(p->end[0].wrote + p->end[1].wrote, quiet); /* an idle session is silent */
        session_ping(p->end[0].session);
        session_ping(p->end[1].session);
        assert_true(pair_settle(p));
        assert_int_equal(stats_of(p, 0).pongs, 1);
        assert_int_equal(stats_of(p, 1).pongs, 1);
}

static void test_acks_are_few(void **state) {
        Pair *p = *state;
        uint64_t before = stats_of(p, 1).frames_out;

        for (int i = 0; i < 40; i++) {
                assert_int_equal(pair_write(p, 0, 0, 100), 100);
                (void)pair_output(p, 0, SIZE_MAX);
        }
        assert_true(pair_settle(p));
        assert_in_range(stats_of(p, 1).frames_out - before, 1, 4);
        assert_int_equal(stats_of(p, 0).unacked_bytes, 0);
}

static void test_wake_once(void **state) {
        Pair *p = *state;

        p->end[0].wakes = 0;
        for (int i = 0; i < 10; i++)
                assert_int_equal(pair_write(p, 0, 0, 10), 10);
        assert_int_equal(p->end[0].wakes, 1);
        assert_true(pair_settle(p));
        assert_int_equal(pair_write(p, 0, 0, 10), 10);
        assert_int_equal(p->end[0].wakes, 2);
        assert_true(pair_settle(p));
}

static void test_freeze(void **state) {
        Pair *p = *state;
        _cleanup_buf_ Buf before = {}, after = {};
        Session *s = p->end[0].session;

        open_both(p, 1);
        assert_true(pair_settle(p));
        assert_int_equal(pair_write(p, 0, 1, 30), 30);
        assert_int_equal(pair_write(p, 1, 1, 40), 40);
        (void)pair_output(p, 1, SIZE_MAX);
        session_freeze(s);
        assert_int_equal(session_save(s, &before, NULL), 0);
        assert_int_equal(session_write(s, 1, "x", 1), 0);
        assert_null(session_reserve(s, 1, &(size_t){ 0 }));
        assert_true(pair_input(p, 0, SIZE_MAX) > 0); /* neither delivered nor acknowledged */
        assert_int_equal(pair_output(p, 0, SIZE_MAX), 0);
        assert_int_equal(p->end[0].got[1], 0);
        session_taken(s, 1);
        assert_int_equal(session_save(s, &after, NULL), 0);
        assert_int_equal(before.len, after.len);
        assert_memory_equal(before.data, after.data, before.len);
        p->end[0].writables = 0;
        session_thaw(s); /* what was not read in between comes again */
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
        assert_int_equal(p->end[0].got[1], 40);
        assert_int_equal(p->end[0].writables, 1);
}

static void test_fencing(void **state) {
        Pair *p = *state;
        _cleanup_buf_ Buf saved = {};
        Session *late = NULL;
        PairEnd *host = &p->end[0];
        Error e = ERROR_INIT;

        assert_int_equal(session_raise_epoch(host->session, 2, &e), -EBADFD);
        assert_int_equal(session_raise_epoch(p->end[1].session, 2, &e), -EBADFD);
        session_detach(host->session);
        assert_int_equal(session_raise_epoch(host->session, 1, &e), -EINVAL);
        assert_int_equal(session_save(host->session, &saved, NULL), 0);
        assert_int_equal(session_import(saved.data, saved.len, &pair_ops, host, &late, &e), 0);

        assert_int_equal(session_raise_epoch(host->session, 2, &e), 0);
        session_attach(host->session);
        assert_int_equal(pair_write(p, 0, 0, 10), 10);
        assert_true(pair_settle(p));
        assert_int_equal(p->end[1].epochs, 2); /* 1 was the first */
        assert_int_equal(session_epoch(p->end[1].session), 2);

        for (Session *t = host->session; t; t = NULL) { /* the late one speaks on the same port */
                host->session = late;
                session_attach(late);
                (void)pair_output(p, 0, SIZE_MAX);
                (void)pair_input(p, 1, SIZE_MAX);
                (void)pair_output(p, 1, SIZE_MAX);
                (void)pair_input(p, 0, SIZE_MAX);
                assert_int_equal(host->error, -ESTALE);
                assert_string_equal(host->text.text, "fenced: epoch 1, the guest is at epoch 2");
                assert_int_equal(pair_output(p, 0, SIZE_MAX), 0);
                host->session = t;
                host->error = 0;
        }
        (void)session_free(late);
        assert_int_equal(pair_write(p, 1, 0, 10), 10); /* the right one was not disturbed */
        assert_int_equal(pair_write(p, 0, 0, 10), 10);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
}

static void test_late_frames(void **state) {
        Pair *p = *state;
        _cleanup_buf_ Buf old = {};

        p->record[0] = &old;
        open_both(p, 1);
        assert_int_equal(pair_write(p, 0, 1, 100), 100);
        (void)pair_output(p, 0, SIZE_MAX);
        p->record[0] = NULL;
        assert_true(pair_settle(p));
        assert_int_equal(pair_reincarnate(p, 0, true), 0);
        session_attach(p->end[0].session);
        assert_true(pair_settle(p));
        assert_int_equal(pair_write(p, 0, 1, 77), 77);
        assert_int_equal(buf_append(&p->end[0].wire, old.data, old.len), 0);
        assert_true(pair_settle(p));
        assert_true(pair_complete(p));
        assert_true(stats_of(p, 1).dropped_frames > 0);
        assert_int_equal(stats_of(p, 1).resyncs, 0);
}

static void test_strangers(void **state) {
        Pair *p = *state, other;
        SessionConfig c = pair_config(SESSION_HOST);

        memset(c.id, 7, sizeof(c.id));
        assert_int_equal(pair_init(&other, &c, NULL), 0);
        pair_connect(&other);
        pair_cut(p);
        pair_connect(p);
        (void)pair_output(&other, 0, SIZE_MAX);
        p->end[0].wire.len = 0;
        assert_int_equal(buf_append(&p->end[0].wire, other.end[0].wire.data, other.end[0].wire.len),
                         0);
        (void)pair_input(p, 1, SIZE_MAX);
        assert_int_equal(p->end[1].error, -EPERM);
        pair_done(&other);
}

static void test_other_version(void **state) {
        Pair *p = *state;
        uint8_t head[FRAME_HEADER] = {};
        Error e = ERROR_INIT;

        frame_put(&(Frame){ .type = FRAME_HELLO }, head);
        head[4] = 2;
        put_le32(head + 40, crc32c(0, head, 40));
        pair_cut(p);
        pair_connect(p);
        assert_int_equal(session_input(p->end[1].session, head, sizeof(head), &e), -EBADMSG);
        assert_string_equal(e.text, "peer speaks version 2 of the session protocol, not 1");
}

/* Frames that are sound but must not be: the peer is broken or hostile. */
typedef struct Hostile {
        const char *name;
        Frame f;
        uint64_t payload;
        int result;
} Hostile;

static const Hostile hostile[] = {
        { "unknown type", { .type = 11 }, 0, -EBADMSG },
        { "unknown type that may be skipped", { .type = 0x91, .length = 8 }, 0, 0 },
        { "flags", { .type = FRAME_ACK, .flags = 4 }, 0, -EBADMSG },
        { "ack with bytes", { .type = FRAME_ACK, .length = 3 }, 0, -EBADMSG },
        { "ack of what was not sent", { .type = FRAME_ACK, .ack = 1000 }, 0, -EBADMSG },
        { "data without bytes", { .type = FRAME_DATA }, 0, -EBADMSG },
        { "data beyond the credit",
          { .type = FRAME_DATA, .channel = 5, .length = 4000 },
          0,
          -EBADMSG },
        { "end of channel 0", { .type = FRAME_EOF }, 0, -EBADMSG },
        { "reset of channel 0", { .type = FRAME_RESET }, 0, -EBADMSG },
        { "end with bytes", { .type = FRAME_EOF, .channel = 5, .length = 8 }, 0, -EBADMSG },
        { "short window", { .type = FRAME_WINDOW, .length = 4 }, 0, -EBADMSG },
        { "endless window", { .type = FRAME_WINDOW, .length = 8 }, UINT64_MAX, -EBADMSG },
        { "smaller window", { .type = FRAME_WINDOW, .length = 8 }, 1, 0 },
        { "hello on a channel", { .type = FRAME_HELLO, .channel = 1, .length = 64 }, 0, 0 },
        { "short hello", { .type = FRAME_HELLO, .length = 8 }, 0, 0 },
        { "refusal to a guest", { .type = FRAME_REFUSE, .length = 32 }, 0, 0 },
        { "frame of another link", { .type = FRAME_DATA, .link = 99, .length = 4000 }, 0, 0 },
};

static void test_hostile(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(hostile); i++) {
                Frame f = hostile[i].f, real;
                uint8_t bytes[FRAME_HEADER + 4000] = {};
                Error e = ERROR_INIT;
                Buf seen = {};
                Pair p;
                int r;

                assert_int_equal(pair_init(&p, NULL, NULL), 0);
                pair_connect(&p);
                assert_true(pair_settle(&p));
                p.record[0] = &seen;
                session_ping(p.end[0].session);
                assert_true(pair_settle(&p));
                assert_int_equal(frame_get(seen.data, seen.len, &real), FRAME_GOOD);
                f.seq = real.seq;
                f.ack = f.ack ?: real.ack;
                f.link = f.link || frame_type_is_link(f.type) ? f.link : real.link;
                put_le64(bytes + FRAME_HEADER, hostile[i].payload);
                f.crc = crc32c(0, bytes + FRAME_HEADER, f.length);
                frame_put(&f, bytes);
                r = session_input(p.end[1].session, bytes, FRAME_HEADER + f.length, &e);
                if (r != hostile[i].result)
                        fail_msg("%s: %d (%s)", hostile[i].name, r, e.text);
                if (r < 0) { /* the transport is given up, the session is not */
                        assert_int_equal(session_input(p.end[1].session, "x", 1, &e), r);
                        assert_int_equal(pair_output(&p, 1, SIZE_MAX), 0);
                        pair_cut(&p);
                        pair_connect(&p);
                }
                p.end[0].error = p.end[1].error = 0;
                assert_int_equal(pair_write(&p, 0, 0, 50), 50);
                assert_int_equal(pair_write(&p, 1, 0, 50), 50);
                assert_true(pair_settle(&p));
                if (!pair_complete(&p))
                        fail_msg("%s: does not go on", hostile[i].name);
                pair_done(&p);
                buf_done(&seen);
        }
}

static void test_too_many_waiting(void **state) {
        Pair *p = *state;
        SessionConfig c = pair_config(SESSION_HOST), g = pair_config(SESSION_GUEST);
        Pair q;

        c.max_channels = 64;
        g.max_channels = 8;
        assert_int_equal(pair_init(&q, &c, &g), 0);
        pair_connect(&q);
        assert_true(pair_settle(&q));
        for (uint32_t k = 1; k < 20; k++) {
                (void)session_open(q.end[0].session, k, NULL);
                (void)session_write(q.end[0].session, k, "x", 1);
        }
        (void)pair_settle(&q);
        assert_int_equal(q.end[1].error, -EBADMSG);
        assert_true(stats_of(&q, 1).channels <= 9);
        pair_done(&q);
        assert_true(pair_settle(p));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_config),
                TEST(test_open),
                TEST(test_ids),
                TEST(test_early_bytes_wait),
                TEST(test_ends),
                TEST(test_drop),
                TEST(test_drop_before_open),
                TEST(test_dropped_are_forgotten),
                TEST(test_slow_consumer),
                TEST(test_waiting_costs_nothing),
                TEST(test_reserve_of_control),
                cmocka_unit_test(test_reserve),
                TEST(test_fair),
                TEST(test_ping),
                TEST(test_acks_are_few),
                TEST(test_wake_once),
                TEST(test_freeze),
                TEST(test_fencing),
                TEST(test_late_frames),
                TEST(test_strangers),
                TEST(test_other_version),
                cmocka_unit_test(test_hostile),
                TEST(test_too_many_waiting),
        };

        return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
