# SPDX-License-Identifier: Apache-2.0
# D throws its copy away when it starts again, without KEPT
# caught by: ends
s/d_told = false; d_handoff = false; d_adopted = true }/d_told = false; d_handoff = false; d_adopted = true; if :: dj == J_NONE \&\& dd != NONE -> dd = NONE; dj = J_REFUSED :: else fi }/
