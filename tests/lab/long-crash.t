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
        crash "$moment" h1 --completion-timeout 300ms
        crash "$moment" h1 both --completion-timeout 300ms
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
pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24
pod_netns h2 Y 02:50:46:00:00:02
pf h1 run --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7 >/dev/null
until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
for moment in stopped ready owned running; do
        client 10.213.0.50 7
        ok "network, $moment: a client is connected"
        echo "$moment" >"$PODFERRY_KILL_AT"
        move h1 t-n --net ns:/run/netns/Y >"$work/out" 2>&1 &
        pid=$!
        until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
        pf h1 adopt t-n --to "$(to h2)" >"$work/adopt" 2>&1
        ok "network, $moment: the hand-over goes on" F83 || diag "$(cat "$work/out" "$work/adopt")"
        rm -f "$PODFERRY_KILL_AT"
        wait $pid
        until_ok 10 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
        ok "network, $moment: the pod answers on $(where t-n)"
        client_end
        ok "network, $moment: the client's connection lives on" F83 || diag "$(cat "$work/client")"
        [ "$(where t-n)" = h1 ] || move h2 t-n --net ns:/run/netns/X >"$work/out" 2>&1 || bail "it does not come back: $(cat "$work/out")"
done
pf h1 rm --force t-n
remove_netns
finish
