# SPDX-License-Identifier: Apache-2.0
# S takes its guest back after RELEASED, because D refused
# caught by: safety
s/sj == J_RELEASED -> assert(d_lost_reason); sj = J_LOST; send(to_d, KEPT)/sj == J_RELEASED -> sd = PAUSED; source_runs(); sj = J_KEPT/
