/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

/* First byte of an input of fuzz-envelope: whose import function gets the rest. */
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
/* The disks that pods and containers refer to; without it there are none. */
void fuzz_envelope_scsi(const Buf *scsi);
