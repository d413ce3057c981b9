/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* First byte of an input of fuzz-envelope: whose import function gets the rest. For pods and
 * containers that is: length of a scsi envelope (two bytes, little endian), it, the envelope. */
typedef enum FuzzEnvelope {
        FUZZ_VM,
        FUZZ_SCSI,
        FUZZ_POD,
        FUZZ_CONTAINER,
        FUZZ_PROCESS,
        FUZZ_NETWORK,
        FUZZ_PLAN9,
        FUZZ_VPCI,
        _FUZZ_ENVELOPE_MAX,
} FuzzEnvelope;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
