/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, reflected, as in iSCSI and ext4): crc32c(0, "123456789", 9) is 0xe3069283.
 * Continues from an earlier value: crc32c(crc32c(0, a), b) is the sum of a followed by b. Uses the
 * instruction of the CPU when there is one (looked up once, any thread), a table otherwise. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The same from the table alone, so that tests can compare the two. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);
