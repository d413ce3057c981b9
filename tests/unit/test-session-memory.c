/* SPDX-License-Identifier: Apache-2.0 */
/* A session's memory: bounded whatever the peer and the writers do, given back when idle, and what
 * happens when there is none. The session is compiled to use tests/fakes/alloc.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crc32c.h"
#include "lib/frame.h"
#include "tests/fakes/alloc.h"
#include "tests/fakes/session-pair.h"

/* What a session may use beside its total each way: itself, tables, one frame being read, free
 * chunks kept, and what the allocator and doubled queues add. */
#define FIXED   (64U << 10)
#define CACHE   (33U * (FRAME_PAYLOAD_MAX + 100))
#define CHANNEL 1024U

static void test_senders(void **state) {
        SessionConfig c = pair_config(SESSION_HOST);
        size_t before = alloc_bytes(), most;
        Pair p;

        c.total = 1U << 20;
        c.window = 256U << 10;
        c.max_channels = 64;
        assert_int_equal(pair_init(&p, &c, NULL), 0);
        pair_connect(&p);
        assert_true(pair_settle(&p));
        for (uint32_t k = 1; k < PAIR_CHANNELS; k++) {
                pair_open(&p, 0, k);
                pair_open(&p, 1, k);
        }
        assert_true(pair_settle(&p));
        alloc_peak_reset();
        before = alloc_bytes();
        for (int i = 0; i < 3000; i++) /* nothing of it goes out; single bytes are the worst */
                for (uint32_t k = 0; k < PAIR_CHANNELS; k++) {
                        (void)pair_write(&p, 0, k, 1);
                        (void)pair_write_reserved(&p, 0, k, 1);
                }
        for (int i = 0; i < 100; i++) {
                (void)pair_output(&p, 0, 400); /* sent, but never acknowledged */
                for (uint32_t k = 0; k < PAIR_CHANNELS; k++)
                        (void)pair_write(&p, 0, k, 30000);
        }
        most = c.total + FIXED + CACHE;
        if (alloc_peak() - before > most)
                fail_msg("%zu bytes, at most %zu", alloc_peak() - before, most);
        assert_true(pair_settle(&p));
        assert_true(pair_complete(&p));
        pair_done(&p);
}

/* The peer fills every window of every channel there can be, open or not, and nobody reads. */
static void test_receiver(void **state) {
        SessionConfig c = pair_config(SESSION_HOST), g = pair_config(SESSION_GUEST);
        size_t before, most;
        static uint8_t bytes[8192];
        SessionStats st;
        Pair p;

        g.total = c.total = 512U << 10;
        g.reserve = c.reserve = 64U << 10;
        g.max_channels = c.max_channels = 64;
        assert_int_equal(pair_init(&p, &c, &g), 0);
        pair_connect(&p);
        assert_true(pair_settle(&p));
        before = alloc_bytes();
        alloc_peak_reset();
        for (uint32_t k = 0; k < PAIR_CHANNELS; k++)
                p.end[1].held[k] = true;
        for (uint32_t k = 1; k < 64; k++)
                assert_int_equal(session_open(p.end[0].session, k, NULL), 0);
        for (uint32_t k = 1; k < PAIR_CHANNELS; k++)
                assert_int_equal(session_open(p.end[1].session, k, NULL), 0);
        for (int i = 0; i < 200; i++) {
                for (uint32_t k = 0; k < 64; k++)
                        (void)session_write(p.end[0].session, k, bytes, sizeof(bytes));
                assert_true(pair_settle(&p));
        }
        session_stats(p.end[1].session, &st);
        assert_true(st.undelivered_bytes > 64U << 10);
        assert_true(st.undelivered_bytes <= g.total);
        most = 2 * g.total + c.total + 2 * FIXED + CACHE + 128 * CHANNEL;
        if (alloc_peak() - before > most)
                fail_msg("%zu bytes, at most %zu", alloc_peak() - before, most);
        pair_done(&p);
}

static void test_idle_gives_back(void **state) {
        size_t before;
        Pair p;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        pair_connect(&p);
        assert_true(pair_settle(&p));
        before = alloc_bytes();
        pair_open(&p, 0, 1);
        pair_open(&p, 1, 1);
        for (int i = 0; i < 100; i++) {
                (void)pair_write(&p, 0, 1, 8000);
                (void)pair_write(&p, 1, 1, 8000);
                assert_true(pair_settle(&p));
        }
        pair_shut(&p, 0, 1);
        pair_shut(&p, 1, 1);
        for (int i = 0; i < 12; i++) { /* what bulk needed goes while small things are said */
                assert_int_equal(pair_write(&p, 0, 0, 5), 5);
                assert_int_equal(pair_write(&p, 1, 0, 5), 5);
                assert_true(pair_settle(&p));
        }
        assert_true(pair_complete(&p));
        if (alloc_bytes() > before + 70000)
                fail_msg("%zu bytes more than before", alloc_bytes() - before);
        pair_done(&p);
        assert_int_equal(alloc_bytes(), 0);
}

/* The n-th allocation of a whole exchange fails, for every n: an error or a short write, then on.
 */
static void test_nth_fails(void **state) {
        for (unsigned n = 1;; n++) {
                _cleanup_buf_ Buf saved = {};
                unsigned failed;
                Pair p;

                alloc_fail(n, 1 + n % 3);
                for (int tries = 0;; tries++) {
                        int r = pair_init(&p, NULL, NULL);

                        if (r == 0)
                                break;
                        assert_int_equal(r, -ENOMEM);
                        pair_done(&p);
                        assert_true(tries < 4);
                }
                pair_connect(&p);
                for (int round = 0; round < 12; round++) {
                        for (int end = 0; end < 2; end++) {
                                if (round == 0)
                                        while (session_open(p.end[end].session, 1,
                                                            &p.end[end].text) == -ENOMEM)
                                                ;
                                (void)pair_write(&p, end, 1, 700);
                                (void)pair_write_reserved(&p, end, 1, 2000);
                                (void)pair_write(&p, !end, 0, 300);
                                if (round == 2)
                                        pair_hold(&p, end, 1, true);
                                if (round == 5)
                                        pair_hold(&p, end, 1, false);
                                (void)pair_output(&p, end, 1500);
                                (void)pair_input(&p, !end, 999);
                        }
                        if (round == 7 && session_save(p.end[0].session, &saved, NULL) == 0) {
                                Session *s = NULL;

                                if (session_import(saved.data, saved.len, &pair_ops, &p.end[0], &s,
                                                   NULL) == 0) {
                                        (void)session_free(p.end[0].session);
                                        p.end[0].session = s;
                                        session_attach(s);
                                        session_taken(s, 1);
                                }
                        }
                        for (int end = 0; end < 2; end++)
                                if (p.end[end].error < 0) {
                                        assert_int_equal(p.end[end].error, -ENOMEM);
                                        p.end[end].error = 0;
                                        pair_cut(&p);
                                        pair_connect(&p);
                                }
                }
                failed = alloc_failed();
                alloc_fail(0, 0);
                pair_cut(&p);
                pair_connect(&p);
                assert_true(pair_settle(&p));
                for (int end = 0; end < 2; end++)
                        assert_int_equal(pair_write(&p, end, 1, 100), 100);
                assert_true(pair_settle(&p));
                if (!pair_complete(&p))
                        fail_msg("allocation %u: %s", n, p.wrong ?: "not all arrived");
                pair_done(&p);
                if (failed == 0) {
                        print_message("# %u allocations\n", n - 1);
                        return;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_senders),
                cmocka_unit_test(test_receiver),
                cmocka_unit_test(test_idle_gives_back),
                cmocka_unit_test(test_nth_fails),
        };

        return cmocka_run_group_tests_name("session-memory", tests, NULL, NULL);
}
