# SPDX-License-Identifier: Apache-2.0
# S kills a guest that libvirt resumed meanwhile, and releases a stale copy
# caught by: safety
s/:: sd == RUN -> s_fence = ALIVE/:: false -> s_fence = ALIVE/
