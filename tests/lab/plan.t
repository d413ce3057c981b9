#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Plans of several pods: queue and limits, a driver that is killed, cancel, rollback, what is wrong with a plan.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/plan-lib.sh"
begin

# plan NAME LIMITS-AND-MORE PODS...: the file. Pods are JSON objects.
plan() {
        local name=$1 more=$2 pods

        shift 2
        pods=$(printf '%s,' "$@")
        cat >"$work/$name.json" <<END
{ "name": "$name", $more
  "hosts": { "h1": { "here": true, "at": "$(to h1)" }, "h2": "$(to h2)" },
  "defaults": { "from": "h1", "to": "h2" },
  "pods": [ ${pods%,} ] }
END
}

event() {
        grep -c "\"event\": *\"$1\"" <<<"$2"
}

forget
for i in 1 2 3; do
        run h1 t-p$i /bin/probe count 20 >/dev/null
done
is "$(where t-p1 t-p2 t-p3)" "h1 h1 h1" "three pods to move"

plan two '"limits": { "out": 1 },' '{ "pod": "t-p1" }' '{ "pod": "t-p2", "priority": 5 }'
out=$(pf h1 plan check "$work/two.json" --json)
is "$? $(grep -c '"verdict":"ready"' <<<"$out")" "0 2" "plan check: both could go" F01 F75
out=$(pf h1 plan run "$work/two.json" --json 2>&1)
ok "plan run" F71 F75 F78 B11 || diag "$out"
is "$(where t-p1 t-p2 t-p3)" "h2 h2 h1" "the pods of the plan have moved, the other one has not" F78
is "$(grep '"state":"mov' <<<"$out" | sed 's/.*"pod":"\([^"]*\)","state":"\([^"]*\)".*/\1 \2/' | tr '\n' ' ')" \
        "t-p2 moving t-p2 moved t-p1 moving t-p1 moved " "one after the other, by priority" F71 F72
like "$(pf h1 plan status "$work/two.json" --json)" '"finished":true.*"pod":"t-p1","state":"moved".*"blackout_ms":[0-9.]+' \
        "status has the figures" F62 F65
like "$(pf h1 plan run "$work/two.json" 2>&1)" 'all its pods have been moved' "run again: nothing is left to do" F75
pf h1 plan rollback "$work/two.json" >"$work/out" 2>&1
is "$? $(where t-p1 t-p2 t-p3)" "0 h1 h1 h1" "plan rollback: back where they came from" F59 F84 B11 || diag "$(cat "$work/out")"
is "$(pf h1 plan status "$work/two.json" --history | awk 'NR > 1 { print $1 $2 }' | tr '\n' ' ')" "1run 2rollback " "history has both runs" F65
like "$(pf h1 plan rollback "$work/two.json" 2>&1)" 'nothing is to be moved back' "nothing is left to undo"
archived=$(pf h1 plan archive "$work/two.json")
on h1 test -e "$archived/run-000001"
ok "plan archive puts the journals away" F77
like "$(pf h1 plan status "$work/two.json" 2>&1)" 'never run' "and the plan is a new one"

# --- a driver that is killed ---
# Its moves are kept at work for seconds by a bandwidth limit, so that a kill strikes one of them.
three() {
        plan three '"limits": { "out": 2 }, "backoff": "200ms",' \
                '{ "pod": "t-p1", "options": { "bandwidth": "8M" } }' '{ "pod": "t-p2", "options": { "bandwidth": "8M" } }' \
                '{ "pod": "t-p3" }'
}

# Starts a driver with the output in $work/events, sets driver, returns when a line matches.
start() {
        rm -f "$work/events"
        : >"$work/events"
        "$lab" enter h1 "$podferry" plan "$1" "$work/$2.json" --json >>"$work/events" 2>"$work/err" &
        driver=$!
        until_ok 60 grep -qE "$3" "$work/events"
}

three
start run three '"step":"memory"|"step":"transfer"'
ok "a plan whose moves are at work" || diag "$(cat "$work/events" "$work/err")"
kill -9 $driver
wait $driver 2>/dev/null
like "$(pf h1 plan status "$work/three.json")" 'not finished, and nobody drives it.*t-p1 +interrupted.*t-p3 +queued' "killed: status says so" B11
like "$(pf h1 plan archive "$work/three.json" 2>&1)" 'is not finished' "what is not finished is not put away"
pf h1 plan resume "$work/three.json" --json >"$work/events" 2>"$work/err"
is "$? $(where t-p1 t-p2 t-p3)" "0 h2 h2 h2" "plan resume: each pod has moved" B11 F83 || diag "$(cat "$work/err" "$work/events")"
journal=$(on h1 sh -c 'cat /var/lib/podferry/plans/three/run-*')
is "$(event move "$journal")" 3 "none was moved twice" B11
is "$(for p in t-p1 t-p2 t-p3; do whole h2 $p; done | sort -u)" whole "no output is lost" B1
like "$(pf h1 plan resume "$work/three.json" 2>&1)" 'is finished' "there is nothing to resume"

# --- two drivers ---
three
sed -i 's/"name": "three"/"name": "back"/; s/"from": "h1", "to": "h2"/"from": "h2", "to": "h1"/' "$work/three.json"
mv "$work/three.json" "$work/back.json"
start run back '"step":"memory"|"step":"transfer"'
like "$(pf h1 plan run "$work/back.json" 2>&1)" 'another podferry runs it' "a plan has one driver"
plan other '' '{ "pod": "t-p1", "from": "h2", "to": "h1" }'
out=$(pf h1 plan run "$work/other.json" --json 2>&1)
status=$? held=$(grep -c '"state":"held"' <<<"$out")
[ $held -ge 1 ] && [ $held -le 4 ]
ok "another plan with the same pod waits for it, without asking again and again" F12 || diag "held $held times"
is "$status $(grep -c '"state":"moving"' <<<"$out")" "0 0" "and then finds it moved" F12 || diag "$(tail -n 5 <<<"$out")"
wait $driver
is "$? $(where t-p1 t-p2 t-p3)" "0 h1 h1 h1" "the first one has moved them all"

# --- cancel ---
plan some '"limits": { "out": 1 },' '{ "pod": "t-p1", "options": { "bandwidth": "1M" } }' '{ "pod": "t-p2" }' '{ "pod": "t-p3" }'
start run some '"step":"memory"|"step":"transfer"'
pf h1 plan cancel "$work/some.json" t-p2 && pf h1 plan cancel "$work/some.json" t-p1
ok "plan cancel: one that waits, one that moves" F68
wait $driver
is "$? $(where t-p1 t-p2 t-p3)" "125 h1 h1 h2" "these stay, the third one moves" F68 || diag "$(cat "$work/events" "$work/err")"
like "$(pf h1 plan status "$work/some.json")" 't-p1 +cancelled.*t-p2 +cancelled.*t-p3 +moved' "status says which"
like "$(pf h1 plan cancel "$work/some.json" t-p1 2>&1)" 'is finished' "what is over is not cancelled"
start run some '"step":"memory"|"step":"transfer"'
kill -INT $driver
until_ok 30 grep -q interrupted "$work/events"
kill -INT $driver
wait $driver
is "$? $(where t-p1 t-p2 t-p3)" "130 h1 h1 h2" "Ctrl-C twice: the move is rolled back, nothing new is started" F95 || diag "$(cat "$work/events" "$work/err")"
pf h1 plan cancel "$work/some.json" 2>"$work/out"
like "$(cat "$work/out")" 'resume carries it out' "cancel of a run that nobody drives"
pf h1 plan resume "$work/some.json" >"$work/out" 2>&1
is "$? $(where t-p1 t-p2 t-p3)" "125 h1 h1 h2" "which resume carries out" F68 || diag "$(cat "$work/out")"

# --- failures ---
cat >"$work/choice.json" <<END
{ "name": "choice", "retries": 1, "backoff": "100ms", "stop_on_error": true,
  "hosts": { "h1": { "here": true }, "none": "exec:$lab enter h9", "h2": "$(to h2)" },
  "pods": [ { "pod": "t-p1", "from": "h1", "to": [ "none", "h2" ], "priority": 1 },
            { "pod": "t-none", "from": "h1", "to": "h2" },
            { "pod": "t-p2", "from": "h1", "to": "none" } ],
  "limits": { "out": 1 } }
END
out=$(pf h1 plan check "$work/choice.json" 2>&1)
is "$? $(grep -c '^t-p1 *ready' <<<"$out") $(grep -c '^t-none *blocked' <<<"$out")" "125 1 1" "plan check: a pod that no host has" F01 F02 || diag "$out"
out=$(pf h1 plan run "$work/choice.json" --json 2>&1)
like "$(grep '"state":"failed"' <<<"$out")" '"pod":"t-none".*"class":"check"|"pod":"t-none".*"class":"host"' "it fails, with the reason's class" F67
like "$out" '"state":"skipped"' "stop on error: what was not begun is left alone" F78
plan choice2 '' x
sed 's/"choice"/"choice2"/; s/"stop_on_error": true,//; /t-none/d' "$work/choice.json" >"$work/choice2.json"
out=$(pf h1 plan run "$work/choice2.json" --json 2>&1)
is "$? $(where t-p1 t-p2)" "125 h2 h1" "the second destination takes what the first refuses" F79 || diag "$out"
is "$(grep '"pod":"t-p2"' <<<"$out" | grep -c '"state":"moving"')" 2 "a move that fails is tried again" F73
like "$(grep '"pod":"t-p2"' <<<"$out" | grep '"state":"failed"')" '"class":"connect"' "then it has failed, and why" F67

pf h1 drain --to "$(to h2)" --at "$(to h1)" --name t-drain --out 2 --json >"$work/out" 2>"$work/err"
is "$? $(where t-p1 t-p2 t-p3)" "0 h2 h2 h2" "drain: every pod that was left here has moved" F78 || diag "$(cat "$work/out" "$work/err")"
like "$(cat "$work/err")" 'the plan is t-drain .*/t-drain/plan.json' "its plan has a name and a file"
like "$(pf h1 drain --to "$(to h2)" 2>&1)" 'no pod is on this host' "and nothing is left to drain"
like "$(pf h1 plan status t-drain)" 't-p2 +moved' "a plan that was run goes by its name, too"
out=$(pf h1 plan status t-none 2>&1)
is "$? $(grep -c 'no such file, and no plan of that name' <<<"$out") $(on h1 ls /var/lib/podferry/plans | grep -c t-none)" "125 1 0" "one that was not is not known, and not made" || diag "$out"
like "$(pf h2 drain --to "$(to h1)" --to "$(to h1)" 2>&1)" 'is there twice' "drain: a host that is named twice is refused"

plan cold '' '{ "pod": "t-p3", "type": "cold", "from": "h2", "to": "h1" }'
pf h1 plan run "$work/cold.json" >"$work/out" 2>&1
is "$? $(where t-p2 t-p3)" "0 h2 h1" "a pod of type cold is stopped, moved and started there" F78 || diag "$(cat "$work/out")"
pf h1 plan rollback "$work/cold.json" >"$work/out" 2>&1
is "$? $(where t-p3)" "0 h2" "and goes back the same way" F59 F84 || diag "$(cat "$work/out")"
plan warm '' '{ "pod": "t-p3", "type": "warm", "from": "h2", "to": "h1" }'
pf h1 plan run "$work/warm.json" >"$work/out" 2>&1 && pf h1 plan rollback "$work/warm.json" >>"$work/out" 2>&1
is "$? $(where t-p3)" "0 h2" "a pod of type warm, there and back" F78 F97 || diag "$(cat "$work/out")"

on h1 sh -c 'f=$(ls /var/lib/podferry/plans/three/run-* | tail -n 1); sed -i "2s/t-p/t-q/" "$f"'
three
like "$(pf h1 plan status "$work/three.json" 2>&1)" 'record 1, at byte [0-9]+, is damaged' "a journal that is damaged in the middle is refused"
for i in 1 2 3; do
        pf h2 rm --force t-p$i
done
forget
finish
