#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A busy pod moves there and back: nothing lost, nothing twice, the same processes.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# counts_ok LOG: lines "count N ..." from 1, none missing, none twice. Prints how many.
counts_ok() {
        awk '$1 == "count" { n++; if ($2 != n) { print "line " n " says " $2; bad = 1; exit } } END { if (!bad) print n }' "$1"
}

pf h1 run --name t-m --container counter --rootfs "$rootfs" --detach -- /bin/probe count 5 &&
        pf h1 run --pod t-m --container memory --rootfs "$rootfs" --detach -- /bin/probe memory 24 50
ok "a pod with two containers runs"
beat=$(pf h1 exec --detach t-m/counter /bin/probe count 20)
ok "and an exec in one of them"
pf h1 exec --detach t-m/counter /bin/probe exit 60000 33 >/dev/null
started=$(pf h1 exec t-m/counter /bin/sh -c 'cat /proc/1/stat; cat /proc/sys/kernel/random/boot_id')
until_ok 20 eval 'pf h1 logs t-m/counter | grep -q "^count 100 "'
until_ok 60 eval 'pf h1 logs t-m/memory | grep -q " ok "'

out=$(move h1 t-m 2>&1)
ok "podferry migrate h1 to h2" H2 H5 H7 F17 F28 F32 F81 B5 || diag "$out" $'\n' "$(on h1 cat /run/podferry/t-m/shim.log)" "$(on h2 cat /run/podferry/t-m/shim.log)"
like "$(pf h2 ps)" 't-m.*running' "it runs on h2"
is "$(pf h1 ps --json | grep -c t-m)" 0 "it is not on h1 any more" F85
is "$(on h1 virsh -q -c qemu:///system list --all --name | grep -c podferry-t-m)" 0 "no domain on h1" F85
pf h2 logs t-m/counter >"$work/log"
before=$(counts_ok "$work/log")
like "$before" '^[0-9]+$' "the counter's lines so far: none missing, none twice" B1
until_ok 20 eval 'pf h2 logs t-m/counter | grep -q "^count $((before + 100)) "'
ok "and it counts on" H6
like "$(pf h2 exec t-m/counter /bin/sh -c 'cat /proc/1/stat; cat /proc/sys/kernel/random/boot_id' | awk '{ print $22 } END { print $1 }' | tr '\n' ' ')" "$(awk '{ print $22 } END { print $1 }' <<<"$started" | tr '\n' ' ')" "the same process in the same kernel"
pf h2 logs t-m/memory | tail -n 1 >"$work/memory"
like "$(cat "$work/memory")" '^memory [0-9]+ ok' "its memory is as it was"

move h2 t-m >"$work/out" 2>&1
ok "and back to h1" || diag "$(cat "$work/out")"
pf h1 logs t-m/counter >"$work/log"
like "$(counts_ok "$work/log")" '^[0-9]+$' "the counter's lines over both moves" B1
is "$(pf h1 logs t-m/memory | grep -c BAD)" 0 "no difference in memory in all that time"
on h1 cat "/run/podferry/t-m/logs/counter/$beat.log" | cut -d" " -f4- >"$work/beat"
like "$(counts_ok "$work/beat")" '^[0-9]+$' "the exec moved too, and its output is whole" H8 B1
like "$(on h1 cat /run/podferry/t-m/shim.log)" 't-m' "the shim's log names its pod"

# The guest brings its kernel along: another image over there is told, and no obstacle; a broken one is.
cp -r "$PODFERRY_GUEST_DIR" "$work/image"
echo >>"$work/image/initrd"
there="exec:$lab enter h2 env PODFERRY_GUEST_DIR=$work/image"
pf h1 migrate t-m --to "$there" >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*manifest.json.*initrd is not the one.*nothing was changed' "a guest image over there that is not what it says" H5 F04
sed -i 's/\("initrd": {"sha256": "\)......\(.*"size": \)[0-9]*/\1000000\2'"$(stat -c %s "$work/image/initrd")/" "$work/image/manifest.json"
pf h1 migrate t-m --to "$there" >"$work/out" 2>&1
like "$? $(cat "$work/out")" 'the guest image of this host is another one.*t-m runs on h2' "another guest image over there" H5 F94
move h2 t-m >"$work/out" 2>&1
is "$? $(grep -c "guest image" "$work/out")" "0 0" "and back: the image that it was started with" H5 || diag "$(cat "$work/out")"

# Its clock stands while its machine does: after a move it is the host's again.
on h1 virsh -q -c qemu:///system suspend podferry-t-m
until=$(($(date +%s) + 8))
until_ok 30 eval '[ $(date +%s) -ge $until ]'
on h1 virsh -q -c qemu:///system resume podferry-t-m
# clock HOST: seconds, of the host before, of the pod, and of the host after.
clock() {
        echo "$(date +%s) $(pf "$1" exec t-m/counter /bin/date +%s) $(date +%s)"
}
read -r before pod after <<<"$(clock h1)"
[ $((before - pod)) -ge 6 ]
ok "the clock of a pod that stood is late" || diag "$before $pod $after"
move h1 t-m >"$work/out" 2>&1
read -r before pod after <<<"$(clock h2)"
[ $((pod - before)) -ge -3 ] && [ $((pod - after)) -le 1 ]
ok "it is set by the host to which it comes" F89 F91 || diag "$before $pod $after" "$(cat "$work/out")"
move h2 t-m >"$work/out" 2>&1

# A pod goes by the rules of the host that it leaves, whatever is configured where it goes.
echo '{ "migration": { "handover": "fast", "post_copy": true, "bandwidth_postcopy": 1000000 } }' >"$work/config.json"
configured="exec:$lab enter h2 env PODFERRY_CONFIG=$work/config.json"
pf h1 migrate t-m --to "$configured" >"$work/out" 2>&1
is "$? $(pf h2 inspect --json t-m | jq -r '.. | .migration_options? // empty | .[] | select(.name == "handover") | .value, .from' | paste -sd' ')" "0 fast configuration" \
        "configured at the destination alone: the source's default counts" F41 || diag "$(cat "$work/out")"
move h2 t-m >"$work/out" 2>&1
is "$?" 0 "configured at the source alone: it counts at the destination too" F41 || diag "$(cat "$work/out")"
pf h1 logs t-m/counter >"$work/log"
like "$(counts_ok "$work/log")" '^[0-9]+$' "and nothing is lost" B1
rm "$work/image/initrd"
pf h1 migrate t-m --to "$there" >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*the guest image is not on this host' "no guest image over there" H5

# Its scratch disk is 4 GiB of holes, which cost nothing: it would take three minutes, and pf waits for less than two.
pf h1 run --name t-h --rootfs "$rootfs" --detach -- /bin/probe count 50 >/dev/null
move h1 t-h --bandwidth 20M >"$work/out" 2>&1
ok "a limit of bandwidth counts what is sent, not holes" F34 F58 || diag "$(cat "$work/out")"
pf h2 rm --force t-h

# Held: however little a pod does and however fast the link is, it stays until it is told.
pf h1 run --name t-h --rootfs "$rootfs" --detach -- /bin/probe count 50 >/dev/null
listening=$(for h in h1 h2; do on $h ss -Hltn; done | sort)
move h1 t-h --cutover hold --set synchronous_writes=true >"$work/out" 2>&1 &
mover=$!
until_ok 20 eval 'pf h1 inspect --json t-h | jq -e ".migration.memory.total > 0"'
n=$(pf h1 logs t-h | wc -l)
until_ok 20 eval '[ "$(pf h1 logs t-h | wc -l)" -gt $((n + 60)) ]'
is "$(for h in h1 h2; do on $h ss -Hltn; done | sort)" "$listening" "no port is open for it" F33
is "$(pf h1 inspect --json t-h | jq -c '.migration | [.held, .state]')" '[true,"transferring"]' "a pod that does next to nothing is held" F49 || diag "$(cat "$work/out")"
pf h1 migration force t-h 2>"$work/err"
like "$? $(cat "$work/err")" '^125 .*the pod is held.*Cutover first' "it is not made to stand for all of its memory" F45
pf h1 migration cutover t-h
wait $mover
ok "cutover: it goes" F48 F49 || diag "$(cat "$work/out")"
pf h2 logs t-h >"$work/log"
like "$(counts_ok "$work/log")" '^[0-9]+$' "whole" B1
pf h2 rm --force t-h
move h1 t-m --cutover "$(($(date +%s) + 6))" >"$work/out" 2>&1
ok "held until a time" F49 F80 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" 'held.*' "which is said"
move h2 t-m --cutover hold >"$work/out" 2>&1 &
mover=$!
until_ok 20 eval 'pf h2 inspect --json t-m | jq -e ".migration.memory.total > 0"'
pf h2 migration cancel t-m
wait $mover
like "$? $(tail -n 1 "$work/out")" '^125 .*cancelled by a call; the pod runs on at the source' "cancelled while it is held: it runs on" F49 F70
n=$(pf h2 logs t-m/counter | wc -l)
until_ok 30 eval '[ "$(pf h2 logs t-m/counter | wc -l)" -gt $((n + 100)) ]'
ok "and does"
pf h2 rm --force t-m
ok "rm --force"
finish
