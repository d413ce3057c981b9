# SPDX-License-Identifier: Apache-2.0
# S says RELEASED while its guest may still run
# caught by: safety
s/sj == J_FENCING \&\& s_fence == DEAD/sj == J_FENCING/
