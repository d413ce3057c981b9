/* SPDX-License-Identifier: Apache-2.0 */
/* Random schedules of everything that can happen to a session, then peace: all that was written
 * must have arrived, once and in order. A seed that fails is printed and can be given as argument.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/frame.h"
#include "tests/fakes/session-pair.h"

#define SEEDS 400
#define STEPS 400

typedef struct World {
        Pair pair;
        uint64_t rng;
        bool dropped[PAIR_CHANNELS];
        bool frozen[2];
        SessionConfig config[2];
} World;

static uint64_t total_bytes, total_resyncs, total_resent, total_attaches; /* to see what was done */

static uint32_t roll(World *w, uint32_t below) {
        w->rng ^= w->rng << 13;
        w->rng ^= w->rng >> 7;
        w->rng ^= w->rng << 17;
        return (uint32_t)((w->rng * 0x2545f4914f6cdd1dULL) >> 33) % below;
}

static size_t size(World *w) {
        static const uint32_t most[] = { 1, 20, 500, 5000, 40000 };

        return 1 + roll(w, most[roll(w, ELEMENTSOF(most))]);
}

static void use_channel(World *w, int end, uint32_t c) {
        PairEnd *e = &w->pair.end[end];
        if (!e->open[c] || e->shut[c] || w->dropped[c])
                return;
        switch (roll(w, 12)) {
        case 0:
                if (c > 0 && roll(w, 3) == 0)
                        pair_shut(&w->pair, end, c);
                break;
        case 1:
                pair_hold(&w->pair, end, c, !e->held[c]);
                break;
        case 2:
                if (c >= PAIR_CHANNELS - 2 && roll(w, 3) == 0) {
                        session_drop(e->session, c);
                        w->dropped[c] = true;
                        e->open[c] = false;
                }
                break;
        case 3:
        case 4:
        case 5:
                (void)pair_write_reserved(&w->pair, end, c, size(w));
                break;
        default:
                (void)pair_write(&w->pair, end, c, size(w));
        }
}

static void damage(World *w) {
        int end = (int)roll(w, 2);
        Buf *wire = &w->pair.end[end].wire;
        size_t at, n;

        if (wire->len == 0)
                return;
        at = roll(w, (uint32_t)wire->len);
        n = 1 + roll(w, 300);
        n = MIN_OF(wire->len - at, n);
        switch (roll(w, 3)) {
        case 0:
                wire->data[at] ^= (uint8_t)(1 + roll(w, 255));
                break;
        case 1:
                memmove(wire->data + at, wire->data + at + n, wire->len - at - n);
                wire->len -= n;
                break;
        default:
                for (size_t i = 0; i < n; i++)
                        wire->data[at + i] = (uint8_t)roll(w, 256);
        }
}

/* The endpoint dies and goes on from its checkpoint, the host elsewhere; bytes are lost both ways.
 */
static void move_end(World *w, int end) {
        Pair *p = &w->pair;

        if (roll(w, 2))
                session_freeze(p->end[end].session);
        if (pair_reincarnate(p, end, end == 0) < 0)
                p->wrong = p->end[end].text.text;
        w->frozen[end] = false;
        for (int i = 0; i < 2; i++)
                if (p->end[i].wire.len > 0 && roll(w, 2)) {
                        size_t n = roll(w, (uint32_t)p->end[i].wire.len + 1);

                        if (i == end)
                                p->end[i].wire.len = n;
                        else
                                buf_consume(&p->end[i].wire, n);
                }
        session_attach(p->end[end].session);
        for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                if (p->end[end].open[c] && roll(w, 2))
                        session_taken(p->end[end].session, c);
}

static void rare(World *w) {
        Pair *p = &w->pair;
        int end = (int)roll(w, 2);

        switch (roll(w, 8)) {
        case 0:
                pair_cut(p);
                session_attach(p->end[end].session);
                (void)pair_output(p, end, roll(w, 200));
                session_attach(p->end[!end].session);
                break;
        case 1:
        case 2:
                damage(w);
                break;
        case 3:
                move_end(w, end);
                break;
        case 4:
                if (w->frozen[end])
                        session_thaw(p->end[end].session);
                else
                        session_freeze(p->end[end].session);
                w->frozen[end] = !w->frozen[end];
                break;
        case 5:
                session_detach(p->end[end].session);
                p->end[0].wire.len = p->end[1].wire.len = 0;
                if (roll(w, 2))
                        session_detach(p->end[!end].session);
                session_attach(p->end[0].session);
                session_attach(p->end[1].session);
                break;
        case 6:
                session_ping(p->end[end].session);
                break;
        default:
                p->end[end].bite = roll(w, 2) ? 0 : 1 + roll(w, 3000);
        }
}

static void check_bounds(World *w) {
        for (int i = 0; i < 2; i++) {
                SessionStats st;

                session_stats(w->pair.end[i].session, &st);
                if (st.unacked_bytes > w->config[i].total ||
                    st.undelivered_bytes > w->config[i].total || st.channels > 32)
                        w->pair.wrong = "a bound that is exceeded";
        }
}

static void step(World *w) {
        Pair *p = &w->pair;
        int end = (int)roll(w, 2);
        uint32_t c = roll(w, PAIR_CHANNELS), what = roll(w, 100);

        if (what < 45)
                use_channel(w, end, c);
        else if (what < 50) {
                if (!p->end[end].open[c] && !w->dropped[c] && !p->end[end].shut[c])
                        pair_open(p, end, c);
        } else if (what < 72)
                (void)pair_output(p, end, roll(w, 2) ? SIZE_MAX : roll(w, 3000));
        else if (what < 95)
                (void)pair_input(p, end, roll(w, 2) ? SIZE_MAX : roll(w, 3000));
        else
                rare(w);
        check_bounds(w);
}

/* Each channel that can still carry bytes must carry many windows of them. */
static void keep_going(World *w, int end, uint32_t c) {
        Pair *p = &w->pair;
        size_t left = 50000;

        if (w->dropped[c] || !p->end[end].open[c] || p->end[end].shut[c])
                return;
        while (left > 0) {
                size_t n = pair_write(p, end, c, left);

                if (n == 0)
                        p->wrong = p->wrong ?: "a channel that does not go on";
                if (p->wrong || !pair_settle(p))
                        return;
                left -= n;
        }
}

static void make_peace(World *w) {
        Pair *p = &w->pair;

        for (int i = 0; i < 2; i++) {
                session_thaw(p->end[i].session);
                p->end[i].bite = 0;
                for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                        pair_hold(p, i, c, false);
        }
        (void)pair_settle(p);
        for (int k = 0; k < 4; k++) {
                session_ping(p->end[k & 1].session);
                if (!pair_settle(p))
                        p->wrong = p->wrong ?: "it does not come to rest";
        }
        for (int i = 0; i < 2; i++)
                for (uint32_t c = 1; c < PAIR_CHANNELS; c++) {
                        if (w->dropped[c])
                                continue;
                        if (!p->end[i].open[c] && p->end[!i].open[c])
                                pair_open(p, i, c);
                }
        (void)pair_settle(p);
        for (int i = 0; i < 2; i++)
                for (uint32_t c = 0; c < PAIR_CHANNELS; c++) {
                        keep_going(w, i, c);
                        if (c > 0 && !w->dropped[c] && p->end[i].open[c] && !p->end[i].shut[c])
                                pair_shut(p, i, c);
                }
        if (!pair_settle(p))
                p->wrong = p->wrong ?: "it does not come to rest";
}

static bool arrived(World *w) {
        for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                for (int i = 0; i < 2 && !w->dropped[c]; i++)
                        if (w->pair.end[!i].got[c] != w->pair.end[i].written[c] ||
                            w->pair.end[!i].eof[c] != w->pair.end[i].shut[c])
                                return false;
        for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                for (int i = 0; i < 2; i++)
                        if (w->dropped[c] && w->pair.end[i].open[c] && !w->pair.end[i].eof[c])
                                return false;
        return true;
}

static void run_seed(uint32_t seed) {
        World w = { .rng = seed * 0x9e3779b97f4a7c15ULL + 1 };
        Pair *p = &w.pair;

        for (int i = 0; i < 2; i++) {
                w.config[i] = pair_config(i == 0 ? SESSION_HOST : SESSION_GUEST);
                w.config[i].window = 4096 + roll(&w, 20000);
                w.config[i].total = 40000 + roll(&w, 100000);
        }
        assert_int_equal(pair_init(p, &w.config[0], &w.config[1]), 0);
        pair_connect(p);
        for (int k = 0; k < STEPS && !p->wrong; k++)
                step(&w);
        make_peace(&w);
        if (p->wrong || !arrived(&w) || p->end[0].error || p->end[1].error) {
                for (int i = 0; i < 2; i++) {
                        SessionStats st;

                        session_stats(p->end[i].session, &st);
                        print_message("# end %d: up %d error %d %s, channels %u, unacked %u\n", i,
                                      st.up, p->end[i].error, p->end[i].text.text, st.channels,
                                      st.unacked_bytes);
                        for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                                print_message("#  channel %u: %llu written, %llu arrived, shut %d "
                                              "eof %d dropped %d\n",
                                              c, (unsigned long long)p->end[i].written[c],
                                              (unsigned long long)p->end[!i].got[c],
                                              p->end[i].shut[c], p->end[!i].eof[c], w.dropped[c]);
                }
                fail_msg("seed %u: %s at %llu", seed, p->wrong ?: "not all arrived",
                         (unsigned long long)p->wrong_at);
        }
        for (int i = 0; i < 2; i++) {
                SessionStats st;

                session_stats(p->end[i].session, &st);
                for (uint32_t c = 0; c < PAIR_CHANNELS; c++)
                        total_bytes += p->end[i].got[c];
                total_resyncs += st.resyncs;
                total_resent += st.resent_frames;
                total_attaches += st.attaches;
                if (st.unacked_bytes > 0 || st.undelivered_bytes > 0)
                        fail_msg("seed %u: end %d keeps %u + %u bytes", seed, i, st.unacked_bytes,
                                 st.undelivered_bytes);
        }
        pair_done(p);
}

static uint32_t first_seed = 1, last_seed = SEEDS;

static void test_random(void **state) {
        for (uint32_t seed = first_seed; seed <= last_seed; seed++)
                run_seed(seed);
        print_message("# seeds %u to %u: %llu bytes, %llu transports, %llu resyncs, %llu frames "
                      "sent again\n",
                      first_seed, last_seed, (unsigned long long)total_bytes,
                      (unsigned long long)total_attaches, (unsigned long long)total_resyncs,
                      (unsigned long long)total_resent);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
        };

        if (argc > 1)
                first_seed = last_seed = (uint32_t)strtoul(argv[1], NULL, 10);
        if (argc > 2)
                last_seed = (uint32_t)strtoul(argv[2], NULL, 10);
        return cmocka_run_group_tests_name("session-random", tests, NULL, NULL);
}
