# SPDX-License-Identifier: Apache-2.0
# S does not repeat RELEASED and KEPT
# caught by: ends
s/timeout \&\& !s_ended \&\& s_told/false/
