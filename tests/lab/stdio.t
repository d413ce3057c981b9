#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Streams, input, clients and exits while the pod moves: every byte once, every exit once.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# stream_ok FILE: "s N ..." from 1, none missing, none twice, then "stream done" if it is the end.
stream_ok() {
        awk '$1 == "s" { n++; if ($2 != n) { print "line " n " says " $2; bad = 1; exit } } END { if (!bad) print "whole" }' "$1"
}

pf h1 run --name t-s --container out --rootfs "$rootfs" --detach -- /bin/probe stream 1000000 6000000 e >/dev/null
pf h1 run --pod t-s --container in --rootfs "$rootfs" --detach --interactive -- /bin/probe sink >/dev/null
ok "a pod that streams on stdout and stderr, and reads stdin"

# A client that is attached from the beginning, feeding 12 MB at 1 MB/s and showing what it hears.
"$rootfs/bin/probe" feed 1000000 12000000 | pf h1 attach t-s/in >"$work/sink" 2>"$work/sink.err" &
client=$!
until_ok 30 test -s "$work/sink"
host=h1
for i in 1 2 3 4; do
        move $host t-s >"$work/out" 2>&1 || break
        host=$(other $host)
done
is "$i $host" "4 h1" "four moves under load" F81 B1 || diag "$(cat "$work/out")"
wait $client
is $? 0 "an attached client goes along, and ends with the container's exit status" B1 H8 || diag "$(cat "$work/sink.err")"
is "$(tail -n 1 "$work/sink")" "sink end 12000000 $("$rootfs/bin/probe" hash 12000000)" "its input: every byte once" B1
is "$(grep -cv '^sink' "$work/sink")$(cat "$work/sink.err")" 0 "and it has nothing to say about the moves"
awk '$2 == "end" { next } $2 <= last { bad = 1 } { last = $2 } END { exit bad || NR < 100 }' "$work/sink"
ok "what it shows: no line twice" B1
# Of two pipes the guest may read the one to its end before the other: --tail has lines of both. (The whole log each time
# would slow the pod down.)
until_ok 60 eval 'pf $host logs --tail 5000 t-s/out 2>/dev/null | grep -q "^stream done"'
ok "the stream comes to its end"
both_ended() {
        pf $host logs t-s/out >"$work/stdout" 2>"$work/stderr" &&
                [ "$(wc -l <"$work/stdout")" -eq $(($(wc -l <"$work/stderr") + 1)) ]
}
until_ok 60 both_ended
is "$(tail -n 1 "$work/stdout") $(wc -l <"$work/stdout")" "stream done $(($(wc -l <"$work/stderr") + 1))" "stdout and stderr: all of it"
is "$(stream_ok "$work/stdout")" whole "stdout: every byte once" B1
is "$(stream_ok "$work/stderr")" whole "stderr: every byte once" B1
pf $host rm --force t-s

# Exits around the blackout: each is reported once, with its own status, on the side that has the pod.
pf h1 run --name t-e --rootfs "$rootfs" --detach -- /bin/sleep 1000 >/dev/null
n=0
for ms in 2000 2200 2400 2600 2700 2800 2900 3100 3500 5000; do
        n=$((n + 1))
        stay=$((n % 2)) && [ $stay = 1 ] || stay=
        (
                pf h1 exec ${stay:+--stay} t-e /bin/probe exit $ms $((100 + n))
                echo $? >"$work/exit.$n"
        ) 2>"$work/exit.$n.err" &
done
on h1 python3 -B "$top/tests/bench/listen.py" exits /run/podferry/t-e/bus.sock >"$work/reported" 2>&1 &
until_ok 30 grep -q there "$work/reported"
# A process that is starting refuses the freeze.
all_run() {
        [ "$(pf h1 inspect --json t-e | jq '[.. | select(.kind? == "process" and .id != "init")] | length')" = $n ] &&
                ! pf h1 inspect --json t-e | grep -q '"starting"\|"created"'
}
until_ok 20 all_run
move h1 t-e >"$work/out" 2>&1
ok "a move with ten execs that end before, in and after the blackout" || diag "$(cat "$work/out")"
wait
# A client hears the status, wherever the pod is by then, and removes the exec. One that stays here hears (125)
# that the pod has moved; the status is then known over there.
statuses() {
        pf h2 inspect --json t-e | jq -r '.. | select(.kind? == "process" and .state == "terminated") | .exit_code'
}
told_twice_or_never() {
        local i heard known

        statuses >"$work/known"
        for i in $(seq $n); do
                heard=$(cat "$work/exit.$i" 2>/dev/null)
                known=$(grep -cx $((100 + i)) "$work/known")
                case $heard in
                $((100 + i))) [ "$known" -eq 0 ] ;;
                125) [ $((i % 2)) = 1 ] && [ "$known" -eq 1 ] && grep -q 'has moved' "$work/exit.$i.err" ;;
                *) false ;;
                esac || echo "exec $i: its client heard '$heard', known at the destination $known times: $(cat "$work/exit.$i.err")"
        done
}
until_ok 30 eval '[ -z "$(told_twice_or_never)" ]'
is "$(told_twice_or_never)" "" "each exit is known once, with its status: to the client that waited, or at the destination" H8 B1
is "$(grep -vcE '^(there|1[01][0-9])$' "$work/reported")" 0 "the source reports no exit of what only moved" H8
is "$(pf h2 exec t-e /bin/sh -c 'exit 44'; echo $?)" 44 "and the next exec works at the destination"
pf h1 rm --force t-e 2>/dev/null || pf h2 rm --force t-e
finish
