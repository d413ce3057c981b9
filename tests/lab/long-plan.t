#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A host with eight busy pods is drained, the driver is killed in the middle, again and again: at the end all eight run
# over there, once each, their output whole.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
pods="t-d1 t-d2 t-d3 t-d4 t-d5 t-d6 t-d7 t-d8"

hosts_of() {
        local h

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && echo -n $h
        done
}

whole() {
        pf "$1" logs "$2" | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print (bad ? "hole at " bad : n ? "whole" : "nothing") }'
}

# To be run in the background: the driver itself is what is killed.
drain() {
        exec "$lab" enter h1 "$podferry" drain --to "$(to h2)" --at "$(to h1)" --name t-drain --out 2 --backoff 1s --json
}

go_on() {
        exec "$lab" enter h1 "$podferry" plan resume $file --json
}

# The moves begun in all runs of the plan.
begun() {
        on h1 sh -c 'cat /var/lib/podferry/plans/t-drain/run-* 2>/dev/null' | grep -c '"event":"move"'
}

for p in $pods; do
        run h1 $p /bin/probe count 20 >/dev/null && pf h1 exec --detach $p /bin/probe memory 16 50 >/dev/null
done
ok "eight busy pods"
file=/var/lib/podferry/plans/t-drain/plan.json
kills=0
for at in 1 3 5 7; do # the moves begun when it is killed
        if [ $at = 1 ]; then drain; else go_on; fi >"$work/events" 2>"$work/err" &
        driver=$!
        until_ok 120 eval '[ "$(begun)" -ge '$at' ]' || diag "$(cat "$work/err")"
        kill -9 $driver 2>/dev/null && kills=$((kills + 1))
        wait $driver 2>/dev/null
done
is $kills 4 "the driver is killed four times" B11
timeout 600 "$lab" enter h1 "$podferry" plan resume $file --json >"$work/events" 2>"$work/err"
ok "and resumed to the end" B11 F83 || diag "$(cat "$work/err")" "$(tail -n 5 "$work/events")"
is "$(for p in $pods; do echo "$p $(hosts_of $p)"; done | awk '$2 == "h2" { n++ } END { print n + 0 }')" 8 \
        "all eight run at the destination, once each" B11 F78 || diag "$(for p in $pods; do echo "$p $(hosts_of $p)"; done)"
is "$(for p in $pods; do whole h2 $p; done | sort | uniq -c | tr -s ' ')" " 8 whole" "the output of each is whole" B1
is "$(on h1 sh -c 'cat /var/lib/podferry/plans/t-drain/run-*' | grep -c '"event":"moved"')" 8 "each has moved once"
for p in $pods; do
        pf h2 rm --force $p
done
on h1 rm -rf /var/lib/podferry/plans
finish
