# SPDX-License-Identifier: Apache-2.0
# S journals KEPT for a guest that libvirt has put away
# caught by: safety
s/sj == J_PREPARED \&\& lv == FAILED \&\& sd == RUN ->/sj == J_PREPARED \&\& lv == OK ->/
