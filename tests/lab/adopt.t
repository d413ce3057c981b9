#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shim that is killed and started again goes on with its pod.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

# kill_shim HOST POD
kill_shim() {
        local pid

        pid=$(on "$1" cat "/run/podferry/$2/pid") && kill -9 "$pid" && until_ok 20 eval "! kill -0 $pid"
}

counts() {
        pf "$1" logs "$2" | awk '/^count /{ if ($2 != ++n) bad = 1 } END { print bad ? "broken" : n }'
}

# goes_on HOST POD: the counter has every number once, and more of them after a while.
goes_on() {
        local before now

        before=$(counts "$1" "$2")
        [ "$before" != broken ] || return 1
        until_ok 20 eval "[ \"\$(pf $1 logs $2 | grep -c '^count ')\" -gt $((before + 5)) ]"
        now=$(counts "$1" "$2")
        [ "$now" != broken ] && [ "$now" -gt "$before" ]
}

run h1 t-a /bin/sh -c '/bin/probe count 200 & trap "exit 7" TERM; while :; do sleep 0.1; done' || bail "no pod"
until_ok 20 eval 'pf h1 logs t-a | grep -q "^count 3 "'
like "$(pf h1 adopt t-a 2>&1)" 'lives' "a pod whose shim lives is not adopted"
for i in 1 2 3; do
        kill_shim h1 t-a
        pf h1 adopt t-a
        ok "killed, adopted ($i)" || diag "$(on h1 tail -n 20 /run/podferry/t-a/shim.log)"
        goes_on h1 t-a
        ok "nothing of the output is lost or there twice ($i)" || diag "$(counts h1 t-a)"
done
is "$(pf h1 exec t-a /bin/echo back)" back "exec works"
like "$(pf h1 ps)" 't-a.*running' "ps shows it running"

pf h1 exec t-a /bin/sh -c 'echo begun; sleep 20; echo late' >"$work/exec" 2>&1 &
client=$!
until_ok 30 grep -q begun "$work/exec"
kill_shim h1 t-a
wait $client
is "$?" 125 "a client of the shim that is killed ends"
pf h1 adopt t-a
ok "killed while an exec runs"
goes_on h1 t-a
ok "and the pod goes on"

kill_shim h1 t-a
pf h1 adopt t-a
pf h1 kill --signal TERM t-a
until_ok 30 eval 'pf h1 ps | grep -q "stopped (7)"'
ok "the exit status is reported by the new shim" || diag "$(pf h1 ps)"
kill_shim h1 t-a
pf h1 adopt t-a
like "$(pf h1 ps)" 't-a.*stopped \(7\)' "and by the one after it"
pf h1 rm --force t-a

run h1 t-b /bin/probe count 50 || bail "no pod"
kill_shim h1 t-b
on h1 virsh -q -c qemu:///system destroy podferry-t-b >/dev/null
pf h1 adopt t-b
ok "adopted when its machine is gone"
like "$(pf h1 ps)" 't-b.*stopped' "is reported stopped"
pf h1 rm --force t-b

run h1 t-c /bin/probe count 50 || bail "no pod"
kill_shim h1 t-c
pf h1 rm --force t-c
ok "rm --force of a pod whose shim was killed"
is "$(on h1 virsh -q -c qemu:///system list --all --name | grep -c podferry-t-c)" 0 "takes its machine too"

# Nothing to take it up from: what the shim kept is damaged.
run h1 t-r /bin/probe count 200 || bail "no pod"
until_ok 20 on h1 test -s /run/podferry/t-r/state.0
kill_shim h1 t-r
on h1 sh -c 'for f in /run/podferry/t-r/state.*; do echo rubbish >"$f"; done'
pf h1 adopt t-r >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*no saved state' "a shim whose state is damaged is not started again" F85
pf h1 rm t-r >"$work/out" 2>&1
is "$? $(on h1 virsh -q -c qemu:///system domstate podferry-t-r)" "125 running" "rm leaves its machine alone" F85
pf h1 rm --force t-r
is "$? $(on h1 virsh -q -c qemu:///system list --all --name | grep -c podferry-t-r)" "0 0" "rm --force takes the machine, too" F85 H4

run h1 t-m /bin/probe count 20 || bail "no pod"
# Slow enough that memory still goes over then; what a kill later on leads to is in crash.t.
for delay in 0.15 0.4; do
        move h1 t-m --bandwidth 2M >"$work/out" 2>&1 &
        client=$!
        sleep $delay
        kill_shim h1 t-m
        wait $client
        status=$?
        [ $status -eq 0 ] && bail "the migration was over before the shim was killed"
        pf h1 adopt t-m
        ok "the source's shim killed $delay s into a migration, adopted" F85 || diag "$(cat "$work/out")"
        goes_on h1 t-m
        ok "the pod goes on at the source" || diag "$(counts h1 t-m)"
        is "$(on h2 virsh -q -c qemu:///system list --all --name | grep -c podferry)" 0 "and is not at the destination"
done
move h1 t-m >"$work/out" 2>&1
ok "and a migration works" || diag "$(cat "$work/out")"
goes_on h2 t-m
ok "it runs at the destination" || diag "$(counts h2 t-m)"
kill_shim h2 t-m
pf h2 adopt t-m && goes_on h2 t-m
ok "where its shim can be killed and adopted too" || diag "$(counts h2 t-m)"
move h2 t-m >"$work/out" 2>&1 && goes_on h1 t-m
ok "and it can go back" || diag "$(cat "$work/out")" "$(counts h1 t-m)"
pf h1 rm --force t-m
finish
