# SPDX-License-Identifier: Apache-2.0
# D resumes its guest as soon as it is ready
# caught by: safety
s/dj == J_OWNED \&\& dd == COMPLETE -> destination_runs/dj == J_READY \&\& dd == COMPLETE -> destination_runs/
