# SPDX-License-Identifier: Apache-2.0
# D says READY before its guest is complete
# caught by: ends
s/dj == J_NONE \&\& d_handoff \&\& dd == COMPLETE/dj == J_NONE \&\& d_handoff \&\& dd == INCOMING/
