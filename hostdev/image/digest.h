/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <stddef.h>

#include <nettle/sha2.h>

/* SHA-256 as text. nettle, because libvirt has it in the process anyway. */
#define DIGEST_HEX_SIZE (2U * SHA256_DIGEST_SIZE + 1U)

typedef struct Digest {
        struct sha256_ctx ctx;
} Digest;

void digest_init(Digest *d);
void digest_add(Digest *d, const void *p, size_t n);
/* Numbers and strings that keep their borders: no two sequences of calls give the same input. */
void digest_add_number(Digest *d, uint64_t n);
void digest_add_string(Digest *d, const void *p, size_t n);
void digest_hex(Digest *d, char ret[static DIGEST_HEX_SIZE]);       /* ends it */
void digest_raw(Digest *d, uint8_t ret[static SHA256_DIGEST_SIZE]); /* the same as bytes */
