#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copies of pods that do not run, to one host: in generations. Who comes while one copies waits for it, is as it was, and can
# do all that it could; who belongs to it does not wait. docs/offline.md.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
. "$(dirname "$0")/change-lib.sh"

# waits_for POD OTHER: its command says so, and nothing of it is over there.
waits_for() {
        until_ok 20 grep -q "queue  *generation [0-9]* of copies to .* still copies $2\$" "$work/$1.out"
        ok "$1 waits for $2" F56 || diag "$(cat "$work/$1.out")"
        is "$(on $to sh -c "ls -d /var/lib/podferry/pods/$1" 2>/dev/null)" "" "$1: nothing is made over there meanwhile"
}

resting() {
        pf $from ps | awk '/ stopped/ { print $1 }' | sort -u | xargs
}

# ends POD STATUS WHAT
ends() {
        wait "${mover[${1#t-}]}"
        is $? "$2" "$3" F56 || diag "$(cat "$work/$1.out")"
}

for p in t-a t-b t-c; do
        make $p
done
for p in t-a t-b t-c; do
        begun $p 1
done
pf $from stop -t 1s t-a t-b
is "$(resting)" "t-a t-b" "two pods that rest, one that runs"

diag "who comes later"
goes_cold t-a
goes t-b
waits_for t-b t-a
kill -INT "${mover[b]}"
ends t-b 130 "Ctrl-C while it waits"
is "$(resting)" "t-a t-b" "its pod is as it was"
goes t-b
waits_for t-b t-a
like "$(pf $from check t-c --type cold --to "$(to $to)" 2>&1)" 'advises +destination +copies-wait .*still copies t-a' "a check says that it would wait" F01 F56
goes t-c --type cold
waits_for t-c t-a
running $from t-c
ok "one that is to be stopped for its move runs while it waits" F56 F53
kill -0 "${mover[a]}"
ok "t-a copies on"
open t-a t-b t-c
arrives t-a
rests_there t-a 1
arrives t-b
rests_there t-b 1
arrives t-c
running $to t-c && whole $to t-c
ok "t-c runs over there" F53

back
diag "who does not wait"
goes_cold t-a
goes t-b --copies now
open t-b
arrives t-b
rests_there t-b 1
kill -0 "${mover[a]}"
ok "--copies now: beside the copy of t-a" F56
back
goes t-b
open t-b
arrives t-b
ok "the other way there is nobody to wait for"
back
goes_cold t-b --copies now
kill -KILL "${mover[b]}"
wait "${mover[b]}" 2>/dev/null
goes t-b
waits_for t-b t-a
begin_start t-b
arrives t-b
runs_there t-b 2
changes t-b 1
kill -0 "${mover[a]}"
ok "one that is started while it waits moves live, beside the copy" F55 F56
pf $to stop -t 1s t-b
pf $from stop -t 1s t-c
goes t-c
waits_for t-c t-a
open t-c
kill -KILL "${mover[a]}"
wait "${mover[a]}" 2>/dev/null
arrives t-c
rests_there t-c 2
goes t-a
open t-a
arrives t-a
rests_there t-a 1

diag "a plan's copies begin together"
back
cat >"$work/plan.json" <<END
{ "name": "together", "hosts": { "here": { "here": true }, "there": "exec:$work/way $to" }, "limits": { "out": 2, "in": 2 },
  "defaults": { "from": "here", "to": "there" }, "pods": [ { "pod": "t-a" }, { "pod": "t-b" } ] }
END
rm -f "$work"/open-*
"$lab" enter $from "$podferry" plan run "$work/plan.json" --json >"$work/plan.out" 2>&1 &
plan=$!
until_ok 30 eval '[ "$(on $to sh -c "ls -d /var/lib/podferry/pods/t-?/incoming" | wc -l)" = 2 ]'
ok "both are being copied" F56 F65 || diag "$(cat "$work/plan.out")"
goes t-c
until_ok 20 grep -q 'still copies t-[ab], t-[ab]$' "$work/t-c.out"
ok "one that is not of the plan waits for both" F56 || diag "$(cat "$work/t-c.out")"
open t-a t-b t-c
wait $plan
is $? 0 "the plan ends well" F65 || diag "$(cat "$work/plan.out")"
rests_there t-a 1
rests_there t-b 2
arrives t-c
rests_there t-c 2

diag "what is wrong"
for bad in later with: with:../x with: "with:a b"; do
        like "$(pf $to migrate t-a --to "exec:$work/way $from" --copies "$bad" 2>&1)" '--copies' "--copies \"$bad\" is refused"
done
is "$(on $to sh -c 'ls -A /run/podferry | grep "^\.cop"')$(on $from sh -c 'ls -A /run/podferry | grep "^\.cop"')" "" "nothing is left of who took part"
pf $to rm t-a t-b t-c
ok "all are removed"
pf $from plan archive together >/dev/null
ok "and the plan goes with them"
finish
