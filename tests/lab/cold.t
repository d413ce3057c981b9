#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that does not run moves, and one that runs moves cold: stopped, moved, started there. Whatever fails or is killed on
# the way, it can be started on one host at most, and the same command again sees it to its end.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
export PODFERRY_KILL_AT=$work/kill-at

pf() {
        local host=$1

        shift
        LD_PRELOAD=$PODFERRY_BUILD/tests/kill-at.so timeout -k 2 100 "$lab" enter "$host" "$podferry" "$@"
}

ends='trap "exit 3" TERM; sleep 100000 & wait'
writes='[ -e /f ] || { dd if=/dev/urandom of=/f bs=64k count=40; cp /f /mnt/f; } 2>/dev/null
        echo start >>/started; sync; echo "start $(wc -l </started) $(sha256sum </f | cut -c1-64)"; '$ends

starts() {
        pf "$1" logs t-p/first | awk '$1 == "start" { n = $2 } END { print n + 0 }'
}

running() {
        pf "$1" ps | grep -q '^t-p .*running'
}

# started HOST N: it runs there, for the Nth time, with the content that it had.
started() {
        until_ok 30 eval "[ \"\$(starts $1)\" = $2 ]" && running "$1" &&
                [ "$(pf "$1" logs t-p/first | awk '$1 == "start" { print $3 }' | sort -u | wc -l)" = 1 ]
}

# Where what is on the disks says that it could be started.
startable() {
        local h found=''

        for h in h1 h2; do
                on $h sh -c 'cd /var/lib/podferry/pods/t-p && [ -e definition/machine.json ] &&
                        ! grep -q "^state given" outgoing && ! grep -qE "^state (filling|ready|returned)" incoming' 2>/dev/null && found="$found $h"
        done
        echo "${found# }"
}

gone() {
        is "$(on "$1" sh -c 'ls -d /var/lib/podferry/pods/t-p /run/podferry/t-p' 2>/dev/null)" "" "$2"
}

volume() {
        sha256sum <"$work/$1" | cut -c1-64
}

# Volumes are in one directory, which both hosts see, so they go from one name to another.
there() {
        echo "$work/v$1=$work/v$2"
}

refused() {
        local what=$1 regex=$2

        shift 2
        "$@" >"$work/out" 2>&1
        like "$? $(cat "$work/out")" "^125 .*($regex)" "$what"
}

truncate -s 64M "$work/v1" && mkfs.ext4 -q -F "$work/v1" || bail "mkfs.ext4"
pf h1 run --name t-p --container first --rootfs "$rootfs" --memory 192M --scratch 64M --volume "$work/v1:/mnt" --detach -- /bin/sh -c "$writes" >/dev/null &&
        pf h1 run --pod t-p --container second --rootfs "$rootfs" --scratch 64M --detach -- /bin/sh -c "echo two; $ends" >/dev/null
ok "a pod with two containers and a volume"
until_ok 30 eval '[ "$(starts h1)" = 1 ]'
refused "--type hot is no type" 'live, cold or warm' move h1 t-p --type hot
pf h1 stop t-p
ok "it is stopped"

# -- asked before: nothing of it stays, and it is told all at once --
# check OPTION...: "STATUS TYPE SEVERITY:CODE ..."; layers may be there from tests before.
check() {
        local status

        pf h1 check t-p --to "$(to h2)" --json "$@" >"$work/check" 2>"$work/err"
        status=$?
        asked=$(jq -r '"'$status' \(.type) " + ([.findings[] | select(.code != "layers-missing") | .severity + ":" + .code] | join(" "))' <"$work/check")
}
traces() {
        on h1 find /var/lib/podferry /run/podferry "$work" -name '.podferry-*' -o -name outgoing
        on h2 sh -c 'ls -A /run/podferry /var/lib/podferry/pods 2>/dev/null | grep t-'
}
finds() {
        is "$asked" "$1" "${@:2}" || diag "$(cat "$work/check" "$work/err")"
}
before=$(traces)
check --disk "$(there 1 2)"
finds "0 cold " "it could move" F01 F53
is "$(traces)" "$before" "nothing is left of the question" F01
like "$(pf h1 check t-p --to "$(to h2)" --disk "$(there 1 2)")" 't-p can move cold to' "and as a table" F01
touch "$work/v2"
check --disk "$(there 1 2)" --max-downtime 1s --net ns:/run/netns/none
finds "1 cold blocks:cold-option blocks:network-option blocks:namespace blocks:disk-exists" "four reasons at once, of both hosts" F01 F06 F10
rm "$work/v2"
check --disk "$work/v1=$work/none/v2"
finds "1 cold blocks:disk-place" "no such directory there" F06
check
finds "1 cold blocks:disk-exists" "a volume that would be copied onto itself" F06
check --storage shared
like "$asked" '^1 cold blocks:storage-not-shared' "disks are not shared because somebody says so" F05
run h2 t-p /bin/sleep 1000 >/dev/null
check --disk "$(there 1 2)"
finds "1 cold blocks:pod-exists" "a pod of that name is there" F01
pf h2 stop t-p
check --disk "$(there 1 2)"
finds "1 cold blocks:pod-exists" "also one that is stopped" F01
check --disk "$(there 1 2)" --name t-q
finds "0 cold " "but not of that one" F01
pf h2 rm --force t-p
on h2 mount -t tmpfs -o size=1m none /var/lib/podferry
check --disk "$(there 1 2)"
finds "1 cold blocks:disk-space" "no room for it there" F07
on h2 umount /var/lib/podferry
pf h1 check t-p --to exec:false >"$work/out"
like "$? $(tr '\n' ' ' <"$work/out")" '^1 .*destination-unreachable.*cannot move cold' "a host that cannot be reached blocks" F10
refused "of a stopped pod as if it ran" 't-p does not run.*podferry start t-p first' pf h1 check t-p --to "$(to h2)" --type live
refused "a forecast of it" 'forecast is for a live move' pf h1 check t-p --to "$(to h2)" --forecast
is "$(traces)" "$before" "nothing is left of any question" F01

# -- a stopped pod: there and back --
refused "a stopped pod does not move live" 't-p does not run.*podferry start t-p first' move h1 t-p --type live
refused "options of a live move are refused" 'max_downtime is for a live move' move h1 t-p --max-downtime 1s
touch "$work/v2"
refused "a file where a copy is to go" 'v2 is there already.*nothing is left' move h1 t-p --disk "$(there 1 2)"
rm "$work/v2"
sum=$(volume v1)
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
ok "it moves" F53 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" 't-p is on .* now, stopped' "and says what has become of it"
gone h1 "the source has nothing of it any more"
refused "it cannot be started there" 'no such pod' pf h1 start t-p
like "$(pf h2 ps)" 't-p +- +stopped' "it is a stopped pod of the other host"
pf h2 stop t-p
ok "it can be stopped again"
refused "what needs it running says so" 'no such pod runs on this host; podferry ps shows all that are here, stopped ones too' pf h2 kill t-p
like "$(pf h2 logs t-p/first) $(pf h2 logs t-p/second)" 'start 1 [0-9a-f]+.*two' "its logs are there"
is "$(volume v2)" "$sum" "the volume has the content that it had"
[ "$(du -k "$work/v2" | cut -f1)" -lt 12000 ] && [ "$(stat -c %s "$work/v2")" = $((64 << 20)) ] &&
        [ "$(on h2 du -k /var/lib/podferry/pods/t-p/scratch-first.raw | cut -f1)" -lt 30000 ]
ok "and what was sparse is sparse" F58 || diag "$(du -k "$work/v2") $(on h2 ls -ls /var/lib/podferry/pods/t-p)"
pf h2 start t-p
ok "it starts there" F53 || diag "$(on h2 tail -n 5 /run/podferry/t-p/shim.log)"
started h2 2
ok "on its own disk, and its log goes on" || diag "$(pf h2 logs t-p/first)"
is "$(pf h2 logs t-p/first | wc -l)" 2 "with the lines from before"
pf h2 stop t-p
# As after a reboot: no shim, and no log of the last run.
on h2 sh -c 'kill -9 $(cat /run/podferry/t-p/pid); rm -r /run/podferry/t-p'
rm "$work/v1"
move h2 t-p --disk "$(there 2 1)" --bandwidth 2M --progress json >"$work/out" 2>"$work/err"
ok "it moves back, without a shim" F53 || diag "$(cat "$work/out" "$work/err")"
like "$(tail -n 1 "$work/out")" '"outcome":"moved".*"type":"cold".*"state":"stopped"' "the result is JSON"
like "$(cat "$work/out")" '"step":"offer".*"step":"copy".*"progress":.*"percent":100.*"step":"commit"' "and so are steps and progress"
gone h2 "the host that it left has nothing of it"
# 5 MiB of random content, less what a full bucket lets through at once.
tail -n 1 "$work/out" | jq -e '.elapsed_ms >= 2400' >"$work/slow"
ok "not faster than it was allowed" F34 || diag "$(tail -n 1 "$work/out")"
rm "$work/v2"

# -- told while it copies --
goes_slowly() {
        "$lab" enter h1 "$podferry" migrate t-p --to "$(to h2)" --disk "$(there 1 2)" --bandwidth 50K >"$work/slow" 2>&1 &
        driver=$!
        until_ok 20 grep -q 'copy  *disks and logs' "$work/slow"
}
goes_slowly
refused "what is for a live move" 'for a live move, and this one is not' pf h1 migration set downtime t-p 1s
refused "what is for a warm one" 'nothing holds it' pf h1 migration cutover t-p
pf h1 migration cancel t-p
ok "it is cancelled" F12
wait $driver
like "$? $(cat "$work/slow")" '^130 .*cancelled; .*nothing is left' "and says so"
gone h2 "the other host has nothing of it"
refused "then nobody is told" 'no such pod runs on this host' pf h1 migration cancel t-p
goes_slowly
pf h1 migration set bandwidth t-p 1G
ok "another bandwidth" F34
wait $driver
ok "then it goes over in less than the 100 s that it would take" || diag "$(cat "$work/slow")"
rm "$work/v1"
move h2 t-p --disk "$(there 2 1)" >"$work/out" 2>&1
ok "and back" || diag "$(cat "$work/out")"
rm "$work/v2"

# -- killed at each moment; the pod is stopped on h1 --
back() {
        rm -f "$work/v1"
        move h2 t-p --disk "$(there 2 1)" >/dev/null 2>&1 && rm -f "$work/v2"
}
scratch() {
        on "$1" sha256sum /var/lib/podferry/pods/t-p/scratch-first.raw | cut -c1-64
}
content=$(scratch h1)
# moment, where it can be started then, what a start where it cannot be says
while read -r moment where host words; do
        echo "$moment" >"$PODFERRY_KILL_AT"
        move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
        [ ! -e "$PODFERRY_KILL_AT" ]
        ok "$moment: killed there" F83 || rm "$PODFERRY_KILL_AT"
        is "$(startable)" "${where#-}" "$moment: it can be started on: $where" F82
        [ -z "$host" ] || refused "$moment: a start on $host is refused" "$words" pf "$host" start t-p
        move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
        ok "$moment: the same command sees it to its end" F53 F83 || diag "$(cat "$work/out")"
        is "$(startable) $(scratch h2)" "h2 $content" "$moment: it is on the other host, whole"
        gone h1 "$moment: and only there"
        back
done <<'END'
cold-offered h1 h2 no such pod
before-cold-filling h1 h2 no such pod
cold-ready h1
before-cold-given h1 h2 comes from another host
cold-given - h1 was given to the host
before-cold-none h2 h1 was given to the host
END
echo before-cold-given >"$PODFERRY_KILL_AT"
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
refused "what came half is not removed by the way" 'rm --force t-p here drops' pf h2 rm t-p
until_ok 20 pf h2 rm --force t-p # (whoever received it has it for as long as it takes to see that the driver is dead)
ok "but on request"
gone h2 "and then nothing is left of it"
echo cold-given >"$PODFERRY_KILL_AT"
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
refused "one that was given away goes to no other host" 'was given to the host' pf h1 migrate t-p --to exec:true
like "$(pf h1 ps)" 't-p +- +given away' "and is listed so"
refused "no pod takes its name" 'was given to the host' pf h1 run --rootfs "$rootfs" --name t-p --detach -- /bin/true
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1 && back
ok "until it has arrived"

# -- cut off in the middle, and interrupted there: the stream passes so many bytes, then ends, or waits for a file --
cat >"$work/pass.py" <<'END'
import os, sys, time
left = int(sys.argv[1])
while True:
    data = os.read(0, min(left, 65536))
    if not data:
        break
    os.write(1, data)
    left -= len(data)
    if left == 0 and len(sys.argv) < 3:
        break
    while left == 0 and not os.path.exists(sys.argv[2]):
        time.sleep(0.02)
    left = left or 1 << 60
END
for how in "cut" "gated $work/open"; do
        cat >"$work/${how% *}" <<END
#!/bin/sh
[ "\$2" = receive ] || exec "$lab" enter h2 "\$@"
python3 "$work/pass.py" 1500000 ${how#"${how% *}"} | "$lab" enter h2 "\$@"
END
done
chmod +x "$work/cut" "$work/gated"
refused "a stream that is cut off" 'rolled back: the pod is here, and nothing is left on the other host' \
        pf h1 migrate t-p --to "exec:$work/cut" --disk "$(there 1 2)"
is "$(startable)" h1 "leaves it where it was"
gone h2 "and nothing on the other host"
pf h1 start t-p
ok "it starts" || diag "$(on h1 tail -n 5 /run/podferry/t-p/shim.log)"
started h1 3
ok "where it was"

# -- a running pod --
on h1 sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=1M none /run/small'
on h2 sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=1M none /run/small'
refused "no room over there" 'MiB to come.*the pod runs on here, and nothing is left' \
        move h1 t-p --type cold --disk "$work/v1=/run/small/v"
started h1 3
ok "is told before it is stopped"
on h1 umount /run/small
on h2 umount /run/small
refused "a stream that is cut off" 'rolled back: the pod runs on here, started again, and nothing is left on the other host' \
        pf h1 migrate t-p --type cold --to "exec:$work/cut" --disk "$(there 1 2)"
started h1 4
ok "and it runs again" || diag "$(pf h1 logs t-p/first)"
"$lab" enter h1 "$podferry" migrate t-p --type cold --to "exec:$work/gated" --disk "$(there 1 2)" >"$work/moving" 2>&1 &
pid=$!
until_ok 20 grep -q 'copy  *disks and logs' "$work/moving"
refused "while it is under way: no start where it was" 'is being moved' pf h1 start t-p
refused "no start where it goes to" 'comes from another host' pf h2 start t-p
refused "no pod of its name there" 'comes from another host' pf h2 run --rootfs "$rootfs" --name t-p --detach -- /bin/true
refused "no second move" 'is being moved' move h1 t-p --disk "$(there 1 2)"
kill -INT $pid
touch "$work/open"
wait $pid
like "$? $(cat "$work/moving")" '130 .*interrupted; rolled back: the pod runs on here, started again, and nothing is left' "Ctrl-C rolls back" F68
# Its container does not end when it is told to, so it has 10 s to live when its shim dies.
run h1 t-r /bin/probe count 20 >/dev/null
"$lab" enter h1 "$podferry" migrate t-r --type cold --to "$(to h2)" >"$work/stopping" 2>&1 &
pid=$!
until_ok 20 grep -q 'stop  *stopping it' "$work/stopping"
on h1 sh -c 'kill -9 $(cat /run/podferry/t-r/pid)'
wait $pid
like "$? $(cat "$work/stopping")" '125 .*stop: .*; rolled back: the pod runs on here, and nothing is left' "a shim that dies in the stop: another one has the pod" F68 F83
is "$(pf h1 exec t-r /bin/echo works) $(pf h1 logs t-r | awk '$1 == "count" && $2 == 1' | wc -l)" "works 1" "which runs on as it was"
pf h1 rm --force t-r
started h1 5
ok "and it runs again" || diag "$(pf h1 logs t-p/first)"
gone h2 "with nothing on the other host"
"$lab" libvirtd h2 stop
n=$(starts h1)
check --type cold --disk "$(there 1 2)"
finds "0 cold " "one that runs could move cold" F01 F53
is "$(running h1 && starts h1)" "$n" "and runs on" F01
move h1 t-p --type cold --disk "$(there 1 2)" >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*start: .*rolled back: the pod runs on here, started again, and nothing is left' "a start over there that fails"
"$lab" libvirtd h2 start
started h1 6
ok "gives it back, and it runs again" || diag "$(pf h1 logs t-p/first)"
gone h2 "with nothing on the other host"
echo cold-given >"$PODFERRY_KILL_AT"
move h1 t-p --type cold --disk "$(there 1 2)" >"$work/out" 2>&1
is "$(startable)" "" "killed when it was given away: it starts nowhere" F83
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
ok "the same command goes on" F83 || diag "$(cat "$work/out")"
started h2 7
ok "and starts it, since it ran" || diag "$(pf h2 logs t-p/first)"
gone h1 "the source has nothing of it"
rm "$work/v1"
move h2 t-p --type cold --disk "$(there 2 1)" >"$work/out" 2>&1
ok "it moves cold" F53 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" 't-p runs on .* now: .* stopped for [0-9.]+ s' "and says for how long it was stopped"
started h1 8
ok "and runs there, with all that it had" || diag "$(pf h1 logs t-p/first)"
is "$(pf h1 logs t-p/first | wc -l)" 6 "and the log that the source had"
gone h2 "the source has nothing of it"
rm "$work/v2"
move h1 t-p --disk "$(there 1 2)" >"$work/out" 2>&1
ok "then it moves live" || diag "$(cat "$work/out")"
gone h1 "and nothing is left of either way"
pf h2 rm --force t-p
ok "it is removed"
finish
