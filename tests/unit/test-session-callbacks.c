/* SPDX-License-Identifier: Apache-2.0 */
/* What a consumer may do inside its callback: end the channel it reads, take the transport away,
 * freeze the session, answer, open others. And the cases that need a consumer of their own: bulk in
 * whole frames, a queue that is taken in bites, a host that comes back with an older state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/session-pair.h"

typedef enum Act {
        ACT_NONE,
        ACT_DROP,
        ACT_DETACH,
        ACT_REATTACH,
        ACT_FREEZE,
        ACT_SHUTDOWN,
        ACT_ANSWER,
        ACT_OPEN,
        ACT_SAVE,
        ACT_TAKEN,
} Act;

/* Sits in front of the pair's own consumer and does one thing, once. */
typedef struct Actor {
        PairEnd *end;
        Act act;
        uint32_t channel;
        int result;
        bool done;
} Actor;

static Actor actor;

static void do_it(PairEnd *e) {
        _cleanup_buf_ Buf b = {};
        Session *s = e->session;

        actor.done = true;
        switch (actor.act) {
        case ACT_DROP:
                session_drop(s, actor.channel);
                break;
        case ACT_DETACH:
                session_detach(s);
                break;
        case ACT_REATTACH:
                session_detach(s);
                session_attach(s);
                break;
        case ACT_FREEZE:
                session_freeze(s);
                break;
        case ACT_SHUTDOWN:
                pair_shut(e->pair, e->index, actor.channel);
                break;
        case ACT_ANSWER:
                (void)pair_write(e->pair, e->index, actor.channel, 100);
                (void)pair_write_reserved(e->pair, e->index, actor.channel, 100);
                break;
        case ACT_OPEN:
                for (uint32_t c = 4; c < PAIR_CHANNELS; c++)
                        pair_open(e->pair, e->index, c);
                break;
        case ACT_SAVE:
                actor.result = session_save(s, &b, NULL);
                break;
        case ACT_TAKEN:
                session_taken(s, actor.channel);
                break;
        case ACT_NONE:
                break;
        }
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        n = pair_ops.data(userdata, channel, p, n);
        if (actor.end == userdata && channel == actor.channel && !actor.done)
                do_it(userdata);
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
        pair_ops.eof(userdata, channel);
}

static void on_wake(void *userdata) {
        pair_ops.wake(userdata);
}

static const SessionOps acting = { .data = on_data, .eof = on_eof, .wake = on_wake };

static void begin(Pair *p, Act act, size_t bite) {
        SessionConfig c[2] = { pair_config(SESSION_HOST), pair_config(SESSION_GUEST) };

        assert_int_equal(pair_init(p, NULL, NULL), 0);
        for (int i = 0; i < 2; i++) {
                (void)session_free(p->end[i].session);
                assert_int_equal(session_new(&c[i], &acting, &p->end[i], &p->end[i].session, NULL),
                                 0);
        }
        actor = (Actor){ .end = &p->end[1], .channel = 1, .act = act };
        p->end[1].bite = bite;
        pair_connect(p);
        for (int i = 0; i < 2; i++)
                for (uint32_t k = 1; k < 3; k++)
                        pair_open(p, i, k);
        assert_true(pair_settle(p));
}

/* Several frames in one input, some of them behind the one whose consumer acts. */
static void say(Pair *p) {
        for (int i = 0; i < 4; i++) {
                assert_int_equal(pair_write(p, 0, 1, 150), 150);
                (void)pair_output(p, 0, SIZE_MAX);
                assert_int_equal(pair_write(p, 0, 2, 150), 150);
                (void)pair_output(p, 0, SIZE_MAX);
        }
        while (pair_input(p, 1, p->end[1].bite ? 77 : SIZE_MAX) > 0)
                ;
}

static void test_acts(void **state) {
        static const Act acts[] = { ACT_DETACH, ACT_REATTACH, ACT_FREEZE, ACT_SHUTDOWN,
                                    ACT_ANSWER, ACT_OPEN,     ACT_SAVE,   ACT_TAKEN };

        for (size_t i = 0; i < ELEMENTSOF(acts); i++)
                for (size_t bite = 0; bite < 60; bite += 50) {
                        Pair p;

                        begin(&p, acts[i], bite);
                        say(&p);
                        assert_true(actor.done);
                        if (acts[i] == ACT_DETACH) {
                                assert_false(session_is_up(p.end[1].session));
                                pair_cut(&p);
                                pair_connect(&p);
                        }
                        if (acts[i] == ACT_FREEZE) {
                                uint64_t got = p.end[1].got[2];

                                assert_int_equal(pair_output(&p, 1, SIZE_MAX), 0);
                                (void)pair_write(&p, 0, 2, 10);
                                (void)pair_output(&p, 0, SIZE_MAX);
                                (void)pair_input(&p, 1, SIZE_MAX);
                                assert_int_equal(p.end[1].got[2], got);
                                session_thaw(p.end[1].session);
                        }
                        if (acts[i] == ACT_SAVE)
                                assert_int_equal(actor.result, -EBUSY);
                        assert_true(pair_settle(&p));
                        assert_int_equal(p.end[0].error, 0);
                        assert_int_equal(p.end[1].error, 0);
                        if (!pair_complete(&p))
                                fail_msg("act %d, bite %zu: %s", (int)acts[i], bite,
                                         p.wrong ?: "not all arrived");
                        pair_done(&p);
                }
}

static void test_drop(void **state) {
        for (size_t bite = 0; bite < 60; bite += 50) {
                SessionStats st;
                Pair p;

                begin(&p, ACT_DROP, bite);
                say(&p);
                assert_true(pair_settle(&p));
                assert_true(actor.done);
                assert_false(session_is_open(p.end[1].session, 1));
                assert_true(p.end[0].eof[1]); /* the peer learns it */
                assert_int_equal(p.end[1].got[1], bite ?: 150);
                assert_int_equal(p.end[1].got[2], 600);
                assert_null(p.wrong);
                for (int i = 0; i < 2; i++) {
                        session_stats(p.end[i].session, &st);
                        assert_int_equal(st.channels, 2);
                        assert_int_equal(st.undelivered_bytes + st.unacked_bytes, 0);
                }
                pair_done(&p);
        }
}

static void test_bulk(void **state) {
        SessionConfig c = pair_config(SESSION_HOST), g = pair_config(SESSION_GUEST);
        SessionStats st;
        Pair p;

        c.window = c.total = c.reserve = c.max_channels = 0;
        g.window = g.total = g.reserve = g.max_channels = 0;
        assert_int_equal(pair_init(&p, &c, &g), 0);
        pair_connect(&p);
        for (int i = 0; i < 2; i++)
                pair_open(&p, i, 1);
        for (int i = 0; i < 300; i++) {
                while (pair_write_reserved(&p, 0, 1, SIZE_MAX) > 0)
                        ;
                (void)pair_output(&p, 0, SIZE_MAX);
                (void)pair_input(&p, 1, 200000);
                (void)pair_output(&p, 1, SIZE_MAX);
                (void)pair_input(&p, 0, SIZE_MAX);
        }
        assert_true(pair_settle(&p));
        assert_true(pair_complete(&p));
        session_stats(p.end[0].session, &st);
        assert_int_equal(st.window, 256 << 10);
        assert_int_equal(st.peer_window, 256 << 10);
        assert_int_equal(st.peer_total, 4 << 20);
        assert_true(p.end[0].written[1] > 20 << 20); /* the window has grown to what was asked */
        assert_true(st.bytes_out / st.frames_out > 16 << 10);
        pair_done(&p);
}

/* A host that goes on from an older checkpoint than the one it continued from: the guest has sent
 * and been acknowledged more since, and cannot go back. */
static void test_older_state(void **state) {
        _cleanup_buf_ Buf old = {};
        PairEnd *host;
        Pair p;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        host = &p.end[0];
        pair_connect(&p);
        assert_true(pair_settle(&p));
        assert_int_equal(session_save(host->session, &old, NULL), 0);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(pair_write(&p, 1, 0, 10), 10);
                assert_true(pair_settle(&p));
        }
        (void)session_free(host->session);
        host->session = NULL;
        assert_int_equal(session_import(old.data, old.len, &pair_ops, host, &host->session, NULL),
                         0);
        assert_int_equal(session_raise_epoch(host->session, 2, NULL), 0);
        session_attach(host->session);
        assert_true(pair_settle(&p));
        assert_int_equal(host->error, -EBADMSG);
        assert_false(session_is_up(host->session));
        pair_done(&p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_acts),
                cmocka_unit_test(test_drop),
                cmocka_unit_test(test_bulk),
                cmocka_unit_test(test_older_state),
        };

        return cmocka_run_group_tests_name("session-callbacks", tests, NULL, NULL);
}
