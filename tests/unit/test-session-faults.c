/* SPDX-License-Identifier: Apache-2.0 */
/* A short exchange, broken at every byte of it in every way that a transport can break. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/frame.h"
#include "tests/fakes/session-pair.h"

/* One step of the exchange: some of it is said by the host, some by the guest. */
typedef struct Step {
        int end;
        uint32_t channel;
        size_t n; /* 0: the end of the channel */
} Step;

static const Step steps[] = {
        { 0, 0, 40 },  { 1, 0, 70 }, { 0, 1, 700 },  { 1, 1, 900 }, { 0, 2, 1 },
        { 1, 2, 300 }, { 0, 1, 10 }, { 1, 1, 1500 }, { 0, 2, 0 },   { 1, 0, 5 },
        { 1, 2, 0 },   { 0, 0, 9 },  { 1, 1, 0 },    { 0, 1, 300 }, { 0, 1, 0 },
};

#define EVENTS (ELEMENTSOF(steps) + 2)

/* Does what happens at event k. Bytes that do not fit are left out: they were never written. */
static void run_event(Pair *p, size_t k) {
        if (k == 0) {
                pair_open(p, 0, 1);
                pair_open(p, 1, 2);
        } else if (k == 1) {
                pair_open(p, 1, 1);
                pair_open(p, 0, 2);
        } else if (steps[k - 2].n > 0)
                (void)pair_write(p, steps[k - 2].end, steps[k - 2].channel, steps[k - 2].n);
        else
                pair_shut(p, steps[k - 2].end, steps[k - 2].channel);
}

/* How a byte position on the wire of an end is broken. */
typedef enum Fault {
        FAULT_CUT,      /* transport gone, a new one at once */
        FAULT_CUT_LATE, /* the guest sees the new one only after the host has written */
        FAULT_BIT,
        FAULT_BYTE,
        FAULT_GAP,     /* 5 bytes are missing */
        FAULT_BIG_GAP, /* 150 bytes are missing */
        FAULT_STUFF,   /* 60 bytes that nobody wrote */
        FAULT_MOVE,    /* the host dies with all it wrote and is imported elsewhere */
        FAULT_REPEAT,  /* all bytes so far come once more */
} Fault;

typedef struct Breaker {
        Pair *pair;
        int end;
        uint64_t at; /* position in what that end writes */
        Fault fault;
        bool done;
        bool may_ping;
        Buf all;
} Breaker;

static void break_it(Breaker *b) {
        Pair *p = b->pair;
        Buf *wire = &p->end[b->end].wire;
        uint64_t begin = p->end[b->end].wrote - wire->len;
        size_t k = (size_t)(b->at - begin);
        uint8_t junk[60];

        b->done = true;
        switch (b->fault) {
        case FAULT_CUT:
        case FAULT_CUT_LATE:
                wire->len = k; /* the rest is lost, and so is the other direction */
                (void)pair_input(p, !b->end, SIZE_MAX);
                pair_cut(p);
                session_attach(p->end[0].session);
                if (b->fault == FAULT_CUT_LATE)
                        (void)pair_output(p, 0, SIZE_MAX);
                session_attach(p->end[1].session);
                break;
        case FAULT_BIT:
                wire->data[k] ^= (uint8_t)(1U << (k % 8));
                break;
        case FAULT_BYTE:
                wire->data[k] ^= 0xff;
                break;
        case FAULT_GAP:
        case FAULT_BIG_GAP: {
                size_t n = MIN_OF(wire->len - k, b->fault == FAULT_GAP ? (size_t)5 : (size_t)150);

                memmove(wire->data + k, wire->data + k + n, wire->len - k - n);
                wire->len -= n;
                b->may_ping = true; /* what is missing at the end shows only by a probe */
                break;
        }
        case FAULT_STUFF: {
                _cleanup_buf_ Buf rest = {};

                memset(junk, 'P', sizeof(junk));
                assert_int_equal(buf_append(&rest, wire->data + k, wire->len - k), 0);
                wire->len = k;
                assert_int_equal(buf_append(wire, junk, sizeof(junk)), 0);
                assert_int_equal(buf_append(wire, rest.data, rest.len), 0);
                break;
        }
        case FAULT_MOVE: /* the guest does not notice; its bytes arrive from the middle of a frame
                          */
                p->end[0].wire.len = b->end == 0 ? k : p->end[0].wire.len / 2;
                assert_int_equal(pair_reincarnate(p, 0, true), 0);
                if (b->end == 1)
                        buf_consume(wire, k);
                session_attach(p->end[0].session);
                break;
        case FAULT_REPEAT:
                assert_int_equal(buf_append(wire, b->all.data, b->all.len), 0);
                break;
        }
}

static void settle(Breaker *b) {
        Pair *p = b->pair;

        for (unsigned rounds = 0; rounds < 3000; rounds++) {
                size_t moved = 0;

                for (int i = 0; i < 2; i++) {
                        moved += pair_output(p, i, SIZE_MAX);
                        if (!b->done && i == b->end &&
                            p->end[i].wrote > b->at) { /* always still on the wire */
                                break_it(b);
                                moved++;
                        }
                        moved += pair_input(p, !i, SIZE_MAX);
                }
                if (moved == 0)
                        return;
        }
        fail_msg("no rest");
}

static void run(Breaker *b, Pair *p) {
        assert_int_equal(pair_init(p, NULL, NULL), 0);
        b->pair = p;
        p->record[b->end] = &b->all;
        pair_connect(p);
        for (size_t k = 0; k < EVENTS; k++) {
                run_event(p, k);
                settle(b);
        }
        for (int i = 0; b->may_ping && i < 3; i++) {
                session_ping(p->end[0].session);
                settle(b);
                session_ping(p->end[1].session);
                settle(b);
        }
}

static uint64_t clean_length(int end) {
        Breaker b = { .end = end, .done = true };
        Pair p;
        uint64_t n;

        run(&b, &p);
        assert_true(pair_complete(&p));
        assert_int_equal(p.end[0].error, 0);
        n = p.end[end].wrote;
        pair_done(&p);
        buf_done(&b.all);
        return n;
}

static void test_every_byte(void **state) {
        Fault fault = (Fault)(uintptr_t)*state;

        for (int end = 0; end < 2; end++) {
                uint64_t n = clean_length(end);

                for (uint64_t at = 0; at < n; at++) {
                        Breaker b = { .end = end, .at = at, .fault = fault };
                        SessionStats st[2];
                        Pair p;

                        run(&b, &p);
                        session_stats(p.end[0].session, &st[0]);
                        session_stats(p.end[1].session, &st[1]);
                        if (!b.done || !pair_complete(&p) || p.end[0].error || p.end[1].error ||
                            st[0].unacked_bytes || st[1].unacked_bytes || st[0].channels != 1 ||
                            st[1].channels != 1)
                                fail_msg("end %d, byte %llu of %llu: done %d, %s at %llu, errors "
                                         "%d %d (%s %s), unacked %u %u, up %d %d",
                                         end, (unsigned long long)at, (unsigned long long)n, b.done,
                                         p.wrong ?: "incomplete", (unsigned long long)p.wrong_at,
                                         p.end[0].error, p.end[1].error, p.end[0].text.text,
                                         p.end[1].text.text, st[0].unacked_bytes,
                                         st[1].unacked_bytes, st[0].up, st[1].up);
                        pair_done(&p);
                        buf_done(&b.all);
                }
        }
}

#define EVERY(name, fault)                                                                         \
        { name, test_every_byte, NULL, NULL, (void *)(uintptr_t)(fault) }

int main(void) {
        const struct CMUnitTest tests[] = {
                EVERY("cut at every byte", FAULT_CUT),
                EVERY("cut at every byte, guest late", FAULT_CUT_LATE),
                EVERY("every byte with one bit wrong", FAULT_BIT),
                EVERY("every byte inverted", FAULT_BYTE),
                EVERY("5 bytes missing anywhere", FAULT_GAP),
                EVERY("150 bytes missing anywhere", FAULT_BIG_GAP),
                EVERY("60 strange bytes anywhere", FAULT_STUFF),
                EVERY("host moves at every byte", FAULT_MOVE),
                EVERY("all bytes repeated at any place", FAULT_REPEAT),
        };

        return cmocka_run_group_tests_name("session-faults", tests, NULL, NULL);
}
