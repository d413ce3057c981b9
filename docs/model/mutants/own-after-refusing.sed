# SPDX-License-Identifier: Apache-2.0
# D takes RELEASED although it has refused
# caught by: safety
s/n == sess \&\& dj == J_REFUSED -> dd = NONE; d_told = false/n == sess \&\& dj == J_REFUSED \&\& dd == COMPLETE -> destination_runs()/
