/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/digest.h"

void digest_init(Digest *d) {
        sha256_init(&d->ctx);
}

void digest_add(Digest *d, const void *p, size_t n) {
        sha256_update(&d->ctx, n, p);
}

void digest_add_number(Digest *d, uint64_t n) {
        uint8_t le[8];

        for (unsigned i = 0; i < sizeof(le); i++)
                le[i] = (uint8_t)(n >> (8 * i));
        digest_add(d, le, sizeof(le));
}

void digest_add_string(Digest *d, const void *p, size_t n) {
        digest_add_number(d, n);
        digest_add(d, p, n);
}

void digest_raw(Digest *d, uint8_t ret[static SHA256_DIGEST_SIZE]) {
        sha256_digest(&d->ctx, SHA256_DIGEST_SIZE, ret);
}

void digest_hex(Digest *d, char ret[static DIGEST_HEX_SIZE]) {
        static const char digits[] = "0123456789abcdef";
        uint8_t raw[SHA256_DIGEST_SIZE];

        digest_raw(d, raw);
        for (unsigned i = 0; i < sizeof(raw); i++) {
                ret[2 * i] = digits[raw[i] >> 4];
                ret[2 * i + 1] = digits[raw[i] & 15];
        }
        ret[DIGEST_HEX_SIZE - 1] = '\0';
}
