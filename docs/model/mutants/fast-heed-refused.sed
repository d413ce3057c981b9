# SPDX-License-Identifier: Apache-2.0
# S goes on when D has refused, while libvirt there may still let the copy run
# model: fast
# caught by: safety
s/to_s??REFUSED -> s_refused = true/to_s??REFUSED -> s_gone = true/
