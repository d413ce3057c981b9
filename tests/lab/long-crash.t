#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shim is killed by SIGKILL at each moment of a hand-over, on either host (tests/lab/kill-at.c), and the hand-over is
# brought to its end by `podferry adopt --to`: the pod runs on exactly one host, its output has no hole and nothing twice,
# and the journals of both hosts are in the model's order.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
export PODFERRY_KILL_AT=$work/kill-at PODFERRY_KEEP_JOURNALS=$work/journals
mkdir "$PODFERRY_KEEP_JOURNALS"

pf() {
        local host=$1

        shift
        LD_PRELOAD=$PODFERRY_BUILD/tests/kill-at.so timeout -k 2 100 "$lab" enter "$host" "$podferry" "$@"
}

where() {
        local h found=''

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && found="$found $h"
        done
        echo "${found# }"
}

counter() {
        pf "$1" logs t-x | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print bad ? "hole at " bad : n }'
}

# The journals of both hosts as they are now, and what was removed.
take_journals() {
        local h

        for h in h1 h2; do
                on $h cat /var/lib/podferry/pods/t-x/journal 2>/dev/null >"$PODFERRY_KEEP_JOURNALS/$h.now"
                [ -s "$PODFERRY_KEEP_JOURNALS/$h.now" ] || rm -f "$PODFERRY_KEEP_JOURNALS/$h.now"
        done
}

# crash MOMENT FROM: kills at that moment of a move from h1, goes on from the shell of FROM.
crash() {
        local moment=$1 from=$2 host n client

        echo "$moment" >"$PODFERRY_KILL_AT"
        move h1 t-x ${options:-} >"$work/out" 2>&1 &
        client=$!
        until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
        ok "$moment: a shim is killed there" F85 || { diag "$(cat "$work/out")"; wait $client; return; }
        pf "$from" adopt t-x --to "$(to "$(other "$from")")" >"$work/adopt" 2>&1
        ok "$moment: the hand-over goes on, asked for on $from" F82 F85 ||
                diag "$(cat "$work/adopt" "$work/out")" "h1: $(on h1 tail -n 15 /run/podferry/t-x/shim.log 2>&1)" "h2: $(on h2 tail -n 15 /run/podferry/t-x/shim.log 2>&1)"
        wait $client
        host=$(where t-x)
        [[ $host == h[12] ]]
        ok "$moment: it runs on one host ($host)" B2 F82 || diag "runs on: '$host'" "$(cat "$work/adopt")"
        n=$(counter "$host")
        until_ok 10 eval "[ \"\$(pf $host logs t-x | grep -c '^count ')\" -gt $((n + 20)) ]"
        [ $? -eq 0 ] && [[ $(counter "$host") =~ ^[0-9]+$ ]]
        ok "$moment: its output goes on and is whole" B1 F84 || diag "$(counter "$host")"
        is "$(pf "$host" exec t-x /bin/echo works)" works "$moment: exec works"
        is "$(on "$(other "$host")" sh -c 'ls -d /run/podferry/t-x /var/lib/podferry/pods/t-x; virsh -q -c qemu:///system list --all --name' 2>/dev/null | grep -c x)" 0 \
                "$moment: nothing is left on the other host" H4
        take_journals
        "$top/hack/model" --journal "$PODFERRY_KEEP_JOURNALS"/* >"$work/model" 2>&1
        ok "$moment: both journals are in the model's order" F81 || diag "$(cat "$work/model")"
        [ "$host" = h1 ] || move h2 t-x >"$work/out" 2>&1 || bail "it does not come back: $(cat "$work/out")"
}

run h1 t-x /bin/probe count 10 >/dev/null
ok "a pod"
for moment in ${MOMENTS:-prepared before-fencing fencing stopped killed released before-done done \
        before-ready ready before-owned owned owned+state before-running running}; do
        crash "$moment" h1
done
for moment in ${MOMENTS2:-fencing released ready owned}; do
        crash "$moment" h2
done
pf h1 rm --force t-x
finish
