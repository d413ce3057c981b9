# SPDX-License-Identifier: Apache-2.0
# D says READY before the handoff is on its disk
# caught by: safety
s/dj == J_NONE \&\& d_handoff \&\& dd == COMPLETE/dj == J_NONE \&\& dd == COMPLETE/
