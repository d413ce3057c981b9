# SPDX-License-Identifier: Apache-2.0
# S heeds the READY of an earlier session
# caught by: ends
s/n == sess \&\& sj == J_PREPARED -> s_ready = true/sj == J_PREPARED -> s_ready = true/;s/:: n != sess$/:: false/
