# SPDX-License-Identifier: Apache-2.0
# A wish to stop counts after the call has gone
# model: fast
# caught by: safety
s/s_out && !asked && lv != WAITS && !broken -> broken = true; held = false/s_out -> broken = true; held = false/
