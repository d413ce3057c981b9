# SPDX-License-Identifier: Apache-2.0
# S starts again after RELEASED as if it had only prepared
# caught by: ends
s/s_abort = (sj == J_PREPARED \&\& sd != NONE) }/sj = J_PREPARED; s_abort = (sd != NONE) }/
