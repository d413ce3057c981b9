# SPDX-License-Identifier: Apache-2.0
# S journals KEPT while libvirt may yet kill the source
# caught by: ends
s/sj == J_PREPARED \&\& lv == FAILED \&\& sd == RUN/sj == J_PREPARED \&\& s_abort \&\& sd == RUN/
