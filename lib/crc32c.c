/* SPDX-License-Identifier: Apache-2.0 */
/* Two implementations of one function. The table (eight bytes a step) is built at first use; the
 * x86 one runs three independent streams, since the instruction takes three cycles but one can
 * start every cycle, and joins them by multiplying with x^(8 * LANE) in the field of the CRC. */
#include "lib/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLY 0x82f63b78U
#define LANE 1024U /* bytes of one of the three streams */

static uint32_t table[8][256];
static uint32_t shift_lane[4][256]; /* CRC register advanced over LANE zero bytes, byte by byte */
static bool have_sse42;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t advance_zeros(uint32_t crc, size_t n) {
        while (n-- > 0)
                crc = table[0][crc & 0xff] ^ (crc >> 8);
        return crc;
}

static void build(void) {
        uint32_t bit[32];

        for (uint32_t i = 0; i < 256; i++) {
                uint32_t c = i;

                for (int k = 0; k < 8; k++)
                        c = (c >> 1) ^ ((c & 1) ? POLY : 0);
                table[0][i] = c;
        }
        for (uint32_t i = 0; i < 256; i++)
                for (int k = 1; k < 8; k++)
                        table[k][i] = table[0][table[k - 1][i] & 0xff] ^ (table[k - 1][i] >> 8);
        for (int i = 0; i < 32; i++)
                bit[i] = advance_zeros(1U << i, LANE);
        for (int k = 0; k < 4; k++)
                for (uint32_t i = 0; i < 256; i++) {
                        shift_lane[k][i] = 0;
                        for (int b = 0; b < 8; b++)
                                if (i & (1U << b))
                                        shift_lane[k][i] ^= bit[8 * k + b];
                }
#if defined(__x86_64__)
        have_sse42 = __builtin_cpu_supports("sse4.2");
#endif
}

static uint64_t load64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        v = __builtin_bswap64(v);
#endif
        return v;
}

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t n) {
        for (; n >= 8; p += 8, n -= 8) {
                uint64_t v = load64(p) ^ crc;

                crc = 0;
                for (int k = 0; k < 8; k++)
                        crc ^= table[7 - k][(v >> (8 * k)) & 0xff];
        }
        for (; n > 0; p++, n--)
                crc = table[0][(crc ^ *p) & 0xff] ^ (crc >> 8);
        return crc;
}

#if defined(__x86_64__)
static uint64_t over_lane(uint64_t crc) {
        return shift_lane[0][crc & 0xff] ^ shift_lane[1][(crc >> 8) & 0xff] ^
               shift_lane[2][(crc >> 16) & 0xff] ^ shift_lane[3][(crc >> 24) & 0xff];
}

__attribute__((target("sse4.2"))) static uint32_t by_sse42(uint32_t crc, const uint8_t *p,
                                                           size_t n) {
        uint64_t a = crc;

        for (; n >= 3 * LANE; p += 3 * LANE, n -= 3 * LANE) {
                uint64_t b = 0, c = 0;

                for (size_t i = 0; i < LANE; i += 8) {
                        a = __builtin_ia32_crc32di(a, load64(p + i));
                        b = __builtin_ia32_crc32di(b, load64(p + LANE + i));
                        c = __builtin_ia32_crc32di(c, load64(p + (size_t)2 * LANE + i));
                }
                a = over_lane(a) ^ b;
                a = over_lane(a) ^ c;
        }
        for (; n >= 8; p += 8, n -= 8)
                a = __builtin_ia32_crc32di(a, load64(p));
        crc = (uint32_t)a;
        for (; n > 0; p++, n--)
                crc = __builtin_ia32_crc32qi(crc, *p);
        return crc;
}
#endif

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n) {
        (void)pthread_once(&once, build);
        return ~by_table(~crc, p, n);
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n) {
        (void)pthread_once(&once, build);
#if defined(__x86_64__)
        if (have_sse42)
                return ~by_sse42(~crc, p, n);
#endif
        return ~by_table(~crc, p, n);
}
