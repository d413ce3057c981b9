#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that is stopped while it moves live goes on as a stopped one; one that is started while it moves as a stopped one goes
# on live: in the same command, and without a trace in the move of another pod beside it. docs/changes.md has the rows.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
export PODFERRY_KILL_AT=$work/kill-at
from=h1 to=h2

# -- pods: one container counts its starts and the content that it found, one counts --
ends='trap "exit 3" TERM; sleep 100000 & wait'
writes='[ -e /f ] || dd if=/dev/urandom of=/f bs=64k count=40 2>/dev/null
        echo start >>/started; sync; echo "start $(wc -l </started) $(sha256sum </f | cut -c1-64)"; '$ends

make() {
        pf $from run --name "$1" --container first --rootfs "$rootfs" --memory 192M --scratch 16M --detach -- /bin/sh -c "$writes" >/dev/null &&
                pf $from run --pod "$1" --container count --rootfs "$rootfs" --scratch 16M --detach -- /bin/probe count 20 >/dev/null
}

starts() {
        pf "$1" logs "$2/first" | awk '$1 == "start" { n = $2 } END { print n + 0 }'
}

running() {
        pf "$1" ps | grep -q "^$2 .*running"
}

# whole HOST POD: one content, and nothing of the counter missing or there twice; it begins anew with each start.
whole() {
        [ "$(pf "$1" logs "$2/first" | awk '$1 == "start" { print $3 }' | sort -u | wc -l)" = 1 ] &&
                pf "$1" logs "$2/count" | awk '$1 == "count" { if ($2 != n + 1 && $2 != 1) bad = 1; n = $2 } END { exit bad || !n }'
}

lines() {
        pf "$1" logs "$2/count" | wc -l
}

# -- how the other host is reached: a stopped pod's stream waits in its middle, a live move's command at its beginning, each
#    until a file of the pod's is there, or nobody is at the other end --
cat >"$work/pass.py" <<'END'
import os, select, sys, time
left, gate = int(sys.argv[1]), sys.argv[2]
hup = select.poll()
hup.register(0, 0x2000)
while True:
    data = os.read(0, min(left, 65536))
    if not data:
        break
    os.write(1, data)
    left -= len(data)
    while left == 0 and not os.path.exists(gate):
        if hup.poll(20):
            sys.exit(0)
    left = left or 1 << 60
END
cat >"$work/way" <<END
#!/bin/sh
# way HOST COMMAND...
host=\$1
shift
pod=\$(echo " \$* " | sed -n 's/.* --pod \([^ ]*\) .*/\1/p')
case " \$* " in
*" receive "*" --cold "*)
        python3 "$work/pass.py" "\$(cat "$work/cold-limit" 2>/dev/null || echo 1500000)" "$work/open-\$pod" | "$lab" enter "\$host" "\$@"
        ;;
*" --transport "*)
        while [ -e "$work/hold-transport-\$pod" ]; do sleep 0.02; done
        exec "$lab" enter "\$host" "\$@"
        ;;
*" receive "*)
        while [ -e "$work/hold-live-\$pod" ]; do sleep 0.02; done
        exec "$lab" enter "\$host" "\$@"
        ;;
esac
exec "$lab" enter "\$host" "\$@"
END
chmod +x "$work/way"

open() {
        local p

        for p; do
                touch "$work/open-$p"
        done
}

# goes POD [OPTION...]: it moves, in the background; \$mover_POD is the command.
goes() {
        local p=$1

        shift
        rm -f "$work/open-$p"
        "$lab" enter $from "$podferry" migrate "$p" --to "exec:$work/way $to" "$@" >"$work/$p.out" 2>&1 &
        mover[${p#t-}]=$!
}
declare -A mover

session() {
        pf $from inspect --json "$1" | jq -r .migration.state
}

# Slow, so that it is in the middle for long.
goes_live() {
        goes "$1" --bandwidth 2M "${@:2}"
        until_ok 30 eval "[ \"\$(session $1)\" = transferring ]"
        ok "$1 moves live" || diag "$(cat "$work/$1.out")"
}

goes_cold() {
        goes "$@"
        until_ok 20 grep -q 'copy  *disks and logs' "$work/$1.out"
        ok "$1 moves as a stopped pod" || diag "$(cat "$work/$1.out")"
}

faster() {
        pf $from migration set bandwidth "$1" 1G >/dev/null
}

arrives() {
        wait "${mover[${1#t-}]}"
        ok "$1: the command ends well" F55 || diag "$(cat "$work/$1.out")"
}

there() {
        is "$(on $from sh -c "ls -d /var/lib/podferry/pods/$1 /run/podferry/$1 /run/podferry/.wish-$1" 2>/dev/null)" "" "$1: nothing of it is left where it was" F55 F82
}

# runs_there POD STARTS, rests_there POD STARTS: how often it was started in all.
runs_there() {
        running $to "$1" && [ "$(starts $to "$1")" = "$2" ] && until_ok 10 eval "[ \$(lines $to $1) -gt $(lines $to "$1") ]" && whole $to "$1"
        ok "$1: it runs over there, whole, and goes on" F55 || diag "$(pf $to ps) starts: $(starts $to "$1") $(pf $to logs "$1/count" | tail -n 3)"
        there "$1"
}

rests_there() {
        pf $to ps | grep -q "^$1 .*stopped" && [ "$(starts $to "$1")" = "$2" ] && whole $to "$1"
        ok "$1: it is over there, stopped, and whole" F55 || diag "$(pf $to ps) starts: $(starts $to "$1")"
        there "$1"
}

# Its command has told of N changes.
changes() {
        is "$(grep -c ' change  *the pod ' "$work/$1.out")" "$2" "$1: changed $2 times" F55 || diag "$(cat "$work/$1.out")"
}

back() {
        local h=$from

        from=$to to=$h
}

begin_stop() {
        pf $from stop -t 1s "$1"
        ok "$1 is stopped" F55
}

begin_start() {
        pf $from start "$1"
        ok "$1 is started" F55
}

make t-a && make t-b
ok "two pods"
until_ok 10 eval '[ "$(starts h1 t-a) $(starts h1 t-b)" = "1 1" ]'

# -- the nine rows --
begin_stop t-a
diag "row 1: A off, started in the middle of its copy"
goes_cold t-a
begin_start t-a
arrives t-a
runs_there t-a 2
changes t-a 1
move h1 t-b >/dev/null 2>&1 || bail "t-b does not move"
back

diag "row 2: A on, stopped while memory goes over"
goes_live t-a
begin_stop t-a
open t-a
arrives t-a
rests_there t-a 2
changes t-a 1
move h2 t-b >/dev/null 2>&1 || bail "t-b does not move"
back

diag "row 3: A on, stopped before anything goes over"
pf $from start t-a
touch "$work/hold-live-t-a"
goes t-a
until_ok 10 grep -q 'connect  *the other host' "$work/t-a.out"
begin_stop t-a
open t-a
rm "$work/hold-live-t-a"
arrives t-a
rests_there t-a 3
move h1 t-b >/dev/null 2>&1 || bail "t-b does not move"
back
pf $from start t-a
touch "$work/hold-transport-t-a"
goes t-a
until_ok 20 grep -q 'connect  *transport' "$work/t-a.out"
open t-a
pf $from stop -t 1s t-a
ok "row 3, once its state has gone over: the move is cancelled, and the pod stopped" F55 F68
arrives t-a
rm "$work/hold-transport-t-a"
rests_there t-a 4
changes t-a 1

# From here on both are where `from` is.
back
move $to t-b >/dev/null 2>&1 || bail "t-b does not move"
pf $from stop -t 1s t-b
diag "row 4: A and B off, A is started"
goes_cold t-a
goes_cold t-b
begin_start t-a
arrives t-a
runs_there t-a 5
kill -0 "${mover[b]}" && ! grep -q change "$work/t-b.out"
ok "t-b copies on, undisturbed" F55 F56
open t-b
arrives t-b
rests_there t-b 1
changes t-b 0

back
pf $from stop -t 1s t-a
diag "row 5: A and B off, both are started"
goes_cold t-a
goes_cold t-b
pf $from start t-a t-b
ok "both are started" F55
arrives t-a
arrives t-b
runs_there t-a 6
runs_there t-b 2

back
diag "row 6: A and B on, A is stopped"
goes_live t-a
goes_live t-b
begin_stop t-a
is "$(session t-b)" transferring "t-b moves on, undisturbed" F55 F56
open t-a
arrives t-a
rests_there t-a 6
faster t-b
arrives t-b
runs_there t-b 2
changes t-b 0

back
pf $from start t-a
diag "row 7: A and B on, both are stopped"
goes_live t-a
goes_live t-b
pf $from stop -t 1s t-a t-b
ok "both are stopped" F55
open t-a t-b
arrives t-a
arrives t-b
rests_there t-a 7
rests_there t-b 2

back
pf $from start t-a
diag "row 8: A on, B off, B is started"
goes_live t-a
goes_cold t-b
begin_start t-b
arrives t-b
runs_there t-b 3
is "$(session t-a)" transferring "t-a moves on, undisturbed" F55 F56
faster t-a
arrives t-a
runs_there t-a 8
changes t-a 0

back
pf $from stop -t 1s t-b
diag "row 9: A on, B off, A is stopped"
goes_live t-a
goes_cold t-b
begin_stop t-a
open t-a
arrives t-a
rests_there t-a 8
kill -0 "${mover[b]}" && ! grep -q change "$work/t-b.out"
ok "t-b copies on, undisturbed" F55 F56
open t-b
arrives t-b
rests_there t-b 3

# -- edges --
back
pf $from rm t-b
diag "before the other host has answered (E1), by JSON"
echo 60 >"$work/cold-limit"
goes t-a --progress json
until_ok 10 grep -q '"step":"offer"' "$work/t-a.out"
begin_start t-a
arrives t-a
runs_there t-a 9
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
arrives t-a
runs_there t-a 10
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
until_ok 10 eval "[ \$(starts $from t-a) = 11 ]"
pf $from stop -t 1s t-a
goes_cold t-a --type cold
pf $from start t-a >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*because --type cold was given: start it there, or interrupt that move first' "--type cold: a start is refused, and why" F55
open t-a
arrives t-a
rests_there t-a 11
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
kill -9 "${mover[a]}"
wait "${mover[a]}" 2>/dev/null
until_ok 20 pf $from start t-a
ok "the pod starts" F83
until_ok 10 eval "[ \$(starts $from t-a) = $((n + 1)) ]"
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
ok "and the same command moves it as it is" F83

# -- its machine ends by itself --
back
pf $from start t-a
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
