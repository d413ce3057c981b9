#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The odd cases of a pod that is stopped or started while it moves: too early, too late, again and again, with --type, with a
# driver that is killed, with a machine that ends by itself. change.t has the plain ones.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
. "$(dirname "$0")/change-lib.sh"

make t-a
ok "a pod"
begun t-a 1

# -- edges --
begin_stop t-a
diag "before the other host has answered (E1), by JSON"
echo 100 >"$work/cold-limit"
goes t-a --progress json
until_ok 30 grep -q '"step":"offer"' "$work/t-a.out"
begin_start t-a
arrives t-a
runs_there t-a 2
like "$(cat "$work/t-a.out")" '"event":"change".*"to":"live".*"outcome":"moved"' "programs are told"
rm "$work/cold-limit"

back
diag "started and stopped meanwhile (E6): how it is in the end counts"
goes_live t-a
pf $from rm t-a >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*is being moved' "it is not removed in the middle (E13)" F12
begin_stop t-a
until_ok 20 grep -q 'copy  *disks and logs' "$work/t-a.out"
pf $from rm t-a >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*is being moved' "nor while it is copied" F12
begin_start t-a
until_ok 20 eval '[ "$(session t-a)" = transferring ]' && faster t-a
arrives t-a
runs_there t-a 3
changes t-a 2

back
diag "--type says how"
goes_live t-a --type live
begin_stop t-a
wait "${mover[a]}"
like "$? $(cat "$work/t-a.out")" '^125 .*change: the pod was stopped meanwhile, and --type live was given; rolled back: the pod is here, stopped, and nothing is left' \
        "--type live: a pod that is stopped stays, and that is told" F55
pf $from start t-a
ok "it starts where it was" F84
begun t-a 4
pf $from stop -t 1s t-a
goes_cold t-a --type cold
pf $from start t-a >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*because --type cold was given: start it there, or interrupt that move first' "--type cold: a start is refused, and why" F55
open t-a
arrives t-a
rests_there t-a 4
changes t-a 0

back
diag "whoever wants it started goes away again"
goes_cold t-a
timeout -s INT 0.2 "$lab" enter $from "$podferry" start t-a >"$work/out" 2>&1
open t-a
wait "${mover[a]}"
ok "the move ends well"
{ running $to t-a || pf $to ps | grep -q '^t-a .*stopped'; } && whole $to t-a
ok "and the pod is over there, whole" F82
there t-a
n=$(starts $to t-a)

# -- killed drivers --
back
running $from t-a && pf $from stop -t 1s t-a
diag "the driver of a copy is killed"
goes_cold t-a
kill -STOP "${mover[a]}"
pf $from start t-a &
starter=$!
until_ok 30 eval 'on $from sh -c "cat /proc/net/unix" | grep "[.]wish-t-a" | grep -vq "00010000"'
ok "it is asked to let the pod go" F55
kill -9 "${mover[a]}"
wait "${mover[a]}" 2>/dev/null
wait $starter
ok "it is killed, and the pod starts all the same" F83
begun t-a $((n + 1))
goes t-a
arrives t-a
runs_there t-a $((n + 1))
like "$(cat "$work/t-a.out")" 'runs on' "the same command moves it live, whatever was left of the copy" F83

back
diag "the driver of a live move is killed while the pod stops"
goes_live t-a
kill -STOP "${mover[a]}"
pf $from stop -t 1s t-a &
stopper=$!
until_ok 20 eval '[ "$(session t-a)" = cancelled ] || [ "$(session t-a)" = idle ]'
kill -9 "${mover[a]}"
wait "${mover[a]}" 2>/dev/null
wait $stopper
ok "the pod stops all the same" F83
open t-a
goes t-a
open t-a
arrives t-a
rests_there t-a $((n + 1))

# -- its machine ends by itself --
back
pf $from start t-a
begun t-a $((n + 2))
goes_live t-a
qemu=$(on $from sh -c "cat /run/libvirt/qemu/podferry-t-a.pid")
kill -TERM "$qemu"
open t-a
arrives t-a
changes t-a 1
rests_there t-a $((n + 2))
back
pf $from start t-a
ok "it starts" F84

# -- too late --
move $from t-a >/dev/null 2>&1 || bail "t-a does not move"
pf $from stop t-a >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^[0-9]+ .*no such pod' "a pod that has gone is not stopped here"
pf $to rm --force t-a
ok "it is removed"
finish
