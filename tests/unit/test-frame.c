/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/crc32c.h"
#include "lib/frame.h"

static void test_crc_vectors(void **state) {
        uint8_t b[32];

        assert_int_equal(crc32c(0, "", 0), 0);
        assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
        memset(b, 0, sizeof(b)); /* RFC 3720, B.4 */
        assert_int_equal(crc32c(0, b, sizeof(b)), 0x8a9136aa);
        memset(b, 0xff, sizeof(b));
        assert_int_equal(crc32c(0, b, sizeof(b)), 0x62a8ab43);
        for (uint8_t i = 0; i < 32; i++)
                b[i] = i;
        assert_int_equal(crc32c(0, b, sizeof(b)), 0x46dd794e);
        assert_int_equal(crc32c_portable(0, b, sizeof(b)), 0x46dd794e);
}

static void test_crc_agrees(void **state) {
        static uint8_t b[10000];

        for (size_t i = 0; i < sizeof(b); i++)
                b[i] = (uint8_t)(i * 131 + i / 7);
        for (size_t from = 0; from < 9; from++)
                for (size_t n = 0; from + n <= sizeof(b); n += n < 40 ? 1 : 97) {
                        uint32_t whole = crc32c(0, b + from, n);

                        assert_int_equal(whole, crc32c_portable(0, b + from, n));
                        assert_int_equal(whole, crc32c(crc32c(0, b + from, n / 3), b + from + n / 3,
                                                       n - n / 3));
                }
}

static void test_header(void **state) {
        Frame f = { .type = FRAME_DATA,
                    .flags = 0x0102,
                    .link = 0x03040506,
                    .channel = 0x0708090a,
                    .length = FRAME_PAYLOAD_MAX,
                    .crc = 0x0b0c0d0e,
                    .seq = 0x0f10111213141516,
                    .ack = 0x1718191a1b1c1d1e },
              g;
        static const uint8_t want[FRAME_HEADER - 4] = {
                'P',  'f',  'S',  0x9e, 1,    4,    0x02, 0x01, 0x06, 0x05, 0x04, 0x03, 0x0a, 0x09,
                0x08, 0x07, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x10, 0x0f, 0x1e, 0x1d, 0x1c, 0x1b,
                0x1a, 0x19, 0x18, 0x17, 0x00, 0x80, 0x00, 0x00, 0x0e, 0x0d, 0x0c, 0x0b,
        };
        uint8_t out[FRAME_HEADER];

        frame_put(&f, out);
        assert_memory_equal(out, want, sizeof(want));
        for (size_t n = 0; n < FRAME_HEADER; n++)
                assert_int_equal(frame_get(out, n, &g), FRAME_SHORT);
        assert_int_equal(frame_get(out, sizeof(out), &g), FRAME_GOOD);
        assert_int_equal(g.type, f.type);
        assert_int_equal(g.flags, f.flags);
        assert_int_equal(g.link, f.link);
        assert_int_equal(g.channel, f.channel);
        assert_int_equal(g.length, f.length);
        assert_int_equal(g.crc, f.crc);
        assert_true(g.seq == f.seq && g.ack == f.ack);
        for (size_t i = 0; i < sizeof(out) * 8; i++) {
                out[i / 8] ^= (uint8_t)(1U << i % 8);
                assert_int_equal(frame_get(out, sizeof(out), &g), FRAME_BAD);
                out[i / 8] ^= (uint8_t)(1U << i % 8);
        }
        f.length++;
        frame_put(&f, out);
        assert_int_equal(frame_get(out, sizeof(out), &g), FRAME_BAD);
}

static void test_find(void **state) {
        static const struct {
                const char *bytes;
                size_t n, from, at;
        } rows[] = {
                { "", 0, 0, 0 },           { "PfS\x9e", 4, 0, 0 },
                { "PfS\x9e", 4, 1, 4 },    { "xxPfS\x9eyy", 8, 0, 2 },
                { "PPfPfS\x9e", 7, 0, 3 }, { "xxxPf", 5, 0, 3 },
                { "xxxPfT", 6, 0, 6 },     { "xP", 2, 0, 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(
                        frame_find((const uint8_t *)rows[i].bytes, rows[i].from, rows[i].n),
                        rows[i].at);
}

static void test_link_frames(void **state) {
        Hello h = { .id = "0123456789abcde",
                    .epoch = 1ULL << 40,
                    .expected = 1ULL << 50,
                    .serial = 3,
                    .role = 1,
                    .window = 4,
                    .total = 5,
                    .max_channels = 6,
                    .initial = 7,
                    .control = 8,
                    .spare = 9 },
              i;
        Refuse r = { .id = "0123456789abcde", .epoch = 1ULL << 33, .serial = 2, .reason = 3 }, q;
        uint8_t out[FRAME_HELLO_SIZE];

        hello_put(&h, out);
        hello_get(out, &i);
        assert_memory_equal(&h, &i, sizeof(h));
        refuse_put(&r, out);
        refuse_get(out, &q);
        assert_memory_equal(&r, &q, sizeof(r));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_crc_vectors), cmocka_unit_test(test_crc_agrees),
                cmocka_unit_test(test_header),      cmocka_unit_test(test_find),
                cmocka_unit_test(test_link_frames),
        };

        return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
