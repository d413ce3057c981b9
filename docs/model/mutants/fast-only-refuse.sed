# SPDX-License-Identifier: Apache-2.0
# D refuses and keeps its copy, as it does where a shim lets it run
# model: fast
# caught by: ends
s/dj == J_REFUSED && dd != NONE -> dd = NONE; broken = true; d_told = false/false/
