/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/session-steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return session_steps(SESSION_GUEST, data, size);
}
