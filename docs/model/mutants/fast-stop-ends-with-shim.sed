# SPDX-License-Identifier: Apache-2.0
# A shim that ends lets its QEMU go on
# model: fast
# caught by: safety
s/crashes-- ; broken/&/;s/crashes > 0 && !s_ended -> crashes--; broken = true;/& held = false;/
