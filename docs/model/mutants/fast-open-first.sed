# SPDX-License-Identifier: Apache-2.0
# The call goes before QEMU stands
# model: fast
# caught by: safety
s/&& !s_out && held -> asked = true/\&\& !s_out -> asked = true/
