#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shim is killed by SIGKILL at each moment of a hand-over, on either host or on both: crash-lib.sh.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns
. "$(dirname "$0")/crash-lib.sh"

run h1 t-x /bin/probe count 10 >/dev/null
ok "a pod"
for moment in prepared before-fencing fencing stopped killed released before-done "done" \
        before-ready ready before-owned owned owned+state before-running running; do
        crash "$moment" h1
done
for moment in fencing released ready owned; do
        crash "$moment" h2
done
for moment in before-fencing fencing stopped released before-owned owned before-running; do
        crash "$moment" h1 both
done
# Moves that do not come to their end.
for moment in before-kept kept; do
        crash "$moment" h1 --completion-timeout 300ms --bandwidth 20M
        crash "$moment" h1 both --completion-timeout 300ms --bandwidth 20M
done
for moment in fencing ready owned; do
        crash "$moment" h1 --handover runtime
done
for moment in prepared stopped before-ready ready before-owned owned before-running running before-fencing fencing killed released; do
        crash "$moment" h1 --handover fast
done
# ("stopped" with both is not mended: docs/handover.md, "handover=fast")
for moment in ready before-fencing fencing; do
        crash "$moment" h2 both --handover fast
done
pf h1 rm --force t-x

# A pod with a network: what a shim that is killed had closed or joined, the next one opens.
pod_with_network
for moment in stopped ready owned running; do
        crash_network "$moment"
done
pf h1 rm --force t-n
remove_netns
finish
