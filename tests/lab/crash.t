#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shim is killed at the moments of a hand-over that differ most; at all of them: long-crash.t.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns
. "$(dirname "$0")/crash-lib.sh"

run h1 t-x /bin/probe count 10 >/dev/null
ok "a pod"
crash prepared h1
crash stopped h1
crash released h2
crash ready h2
crash owned h1 both
crash stopped h1 --handover fast
crash ready h2 --handover fast

# It came while the shim that got it was killed, and another one took it: it is started again like any pod.
echo owned >"$PODFERRY_KILL_AT"
move h1 t-x >"$work/out" 2>&1 &
client=$!
until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]" && pf h2 adopt t-x --to "$(to h1)" >"$work/adopt" 2>&1
wait $client
is "$(where t-x)" h2 "a pod that its first shim there never had" F83 || diag "$(cat "$work/out" "$work/adopt")"
pf h2 stop t-x >"$work/out" 2>&1 && pf h2 start t-x >>"$work/out" 2>&1
ok "it is stopped and started again there" F53 || diag "$(cat "$work/out")"
is "$(pf h2 exec t-x /bin/echo works)" works "and works"
pf h2 rm --force t-x

# A destination that is given up after its shim was killed: what the transfer was to fill goes, and the sockets.
own=/var/lib/podferry/volumes
for h in h1 h2; do on $h sh -c "rm -rf $own && mkdir -p $own"; done
truncate -s 32M "$work/v.raw" && mkfs.ext4 -q -F "$work/v.raw" && on h1 cp "$work/v.raw" $own/v.raw
pf h1 run --rootfs "$rootfs" --name t-v --volume $own/v.raw:/data --detach -- /bin/probe count 10 >/dev/null
echo before-ready >"$PODFERRY_KILL_AT"
move h1 t-v >"$work/out" 2>&1 &
client=$!
until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
ok "the destination's shim is killed before READY" F83 || diag "$(cat "$work/out")"
like "$(on h2 ls $own)" 'v.raw.incomplete' "the volume there is half, and marked"
pf h2 rm --force t-v >"$work/rm" 2>&1
ok "rm --force there" H4 || diag "$(cat "$work/rm")"
wait $client
is "$(on h2 sh -c "ls -A /run/podferry $own /var/lib/podferry/pods | grep -v ':\$' | tr -d '\n'")" '' \
        "neither volume nor mark nor sockets are left there" H4 F85
until_ok 30 eval '[ "$(where t-v)" = h1 ]'
ok "the pod runs on where it was" F82 F84 || diag "$(cat "$work/out")"
pf h1 rm --force t-v
for h in h1 h2; do on $h rm -rf $own; done
pod_with_network
crash_network stopped
crash_network owned
pf h1 rm --force t-n
remove_netns
finish
