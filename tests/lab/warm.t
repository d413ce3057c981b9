#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod moves warm: its disks are copied while it runs and writes to them, then it is stopped, what was written since is
# copied, and it starts there. What arrives is what was on the disks when it stood; until it is stopped nothing that
# fails, or is killed, is felt by it.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
export PODFERRY_KILL_AT=$work/kill-at

pf() {
        local host=$1

        shift
        LD_PRELOAD=$PODFERRY_BUILD/tests/kill-at.so timeout -k 2 100 "$lab" enter "$host" "$podferry" "$@"
}

# It writes all the time: in place, to new places, and takes places back.
writes='trap "exit 3" TERM
        echo start >>/started; sync; echo "start $(wc -l </started) $(sha256sum </mnt/big | cut -c1-64)"; i=0
        while :; do
                i=$((i + 1))
                for f in /w /mnt/w /q/w; do
                        dd if=/dev/urandom of=$f bs=4k count=8 seek=$((i % 40 * 8)) conv=notrunc 2>/dev/null
                done
                [ $((i % 10)) != 0 ] || rm /q/w
                sync; echo "$i" >/mnt/i; sleep 0.2
        done'

starts() {
        pf "$1" logs t-p/first 2>/dev/null | awk '$1 == "start" { n = $2 } END { print n + 0 }'
}

# started HOST N: it runs there, for the Nth time, with the content that it had.
started() {
        until_ok 20 eval "[ \"\$(starts $1)\" = $2 ]" && pf "$1" ps | grep -q '^t-p .*running' &&
                [ "$(pf "$1" logs t-p/first 2>/dev/null | awk '$1 == "start" { print $3 }' | sort -u)" = "$big" ]
}

gone() {
        is "$(on "$1" sh -c 'ls -d /var/lib/podferry/pods/t-p /run/podferry/t-p' 2>/dev/null)" "" "$2"
}

refused() {
        local what=$1 regex=$2

        shift 2
        "$@" >"$work/out" 2>&1
        like "$? $(cat "$work/out")" "^125 .*($regex)" "$what"
}

# Volumes are in one directory, which both hosts see, so they go from one name to another.
there="--disk $work/v1=$work/v2 --disk $work/q1=$work/q2"
back="--disk $work/v2=$work/v1 --disk $work/q2=$work/q1"

# ahead HOST [OPTION...]: begins a move that is held, as the process $pid, and waits until something is over there.
ahead() {
        local host=$1

        shift
        : >"$work/moving"
        "$lab" enter "$host" "$podferry" migrate t-p --type warm --to "$(to "$(other "$host")")" --cutover hold --progress json "$@" \
                >"$work/moving" 2>"$work/err" &
        pid=$!
        until_ok 30 grep -q 'held: podferry migration cutover t-p' "$work/moving"
}

# number KEY: of the result.
number() {
        tail -n 1 "$work/moving" | grep -o "\"$1\":[0-9]*" | cut -d: -f2
}

digests() {
        sha256sum "$work/v$1" "$work/q$1" | cut -c1-64
        on "h$1" sha256sum /var/lib/podferry/pods/t-p/scratch-first.raw | cut -c1-64
}

# The process on h2 that takes the pod.
receiver() {
        local p ns

        ns=$(on h2 readlink /proc/self/ns/net)
        for p in $(pgrep -x podferry); do
                [ "$(readlink "/proc/$p/ns/net")" = "$ns" ] && tr '\0' ' ' <"/proc/$p/cmdline" | grep -q ' receive --pod t-p --cold ' && echo "$p"
        done
}

mkdir "$work/content" && head -c 24M /dev/urandom >"$work/content/big" && big=$(sha256sum <"$work/content/big" | cut -c1-64)
truncate -s 96M "$work/v1" && mkfs.ext4 -q -F -d "$work/content" "$work/v1" && truncate -s 48M "$work/raw" && mkfs.ext4 -q -F "$work/raw" &&
        qemu-img convert -O qcow2 "$work/raw" "$work/q1" || bail "volumes"
pf h1 run --name t-p --container first --rootfs "$rootfs" --memory 192M --scratch 64M --volume "$work/v1:/mnt" --volume "$work/q1:/q" \
        --detach -- /bin/sh -c "$writes" >/dev/null
ok "a pod that writes to its scratch disk and to a raw and a qcow2 volume" || diag "$(on h1 tail -n 5 /run/podferry/t-p/shim.log)"
started h1 1
ok "it runs"

refused "options of a live move are refused" 'max_downtime is for a live move, and this one is warm' move h1 t-p --type warm --max-downtime 1s
refused "passes are for a warm move" 'passes needs --type warm' move h1 t-p --type cold --passes 2
refused "nobody is told to cut over" 'not being migrated' pf h1 migration cutover t-p
touch "$work/v2"
refused "a file where a copy is to go" 'v2 is there already.*the pod runs on here, and nothing is left' move h1 t-p --type warm $there
rm "$work/v2"

# -- until it is stopped, it feels nothing --
ahead h1 $there
ok "the disks are copied while it runs" F97 || diag "$(cat "$work/moving" "$work/err")"
like "$(on h2 cat /var/lib/podferry/pods/t-p/incoming) $(ls "$work")" 'state filling.*v2.incomplete' "into files that cannot be used yet" F57
refused "it cannot be started there" 'comes from another host' pf h2 start t-p
refused "no second move, not live either" 'is being moved' move h1 t-p
kill -INT $pid
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^130 .*interrupted.*the pod runs on here, and nothing is left on the other host' "Ctrl-C before it is stopped" F68
gone h2 "leaves nothing over there"
is "$(cd "$work" && ls -d v2* q2* 2>/dev/null)" "" "no volumes either"
ahead h1 $there
pf h1 migration cancel t-p
ok "podferry migration cancel"
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^130 .*the pod runs on here, and nothing is left on the other host' "does the same" F68
ahead h1 $there
kill -9 $pid
wait $pid 2>/dev/null
until_ok 30 eval '! on h2 ls /var/lib/podferry/pods/t-p'
ok "the driver is killed: the other host drops what came" F83 || diag "$(on h2 ls /var/lib/podferry/pods/t-p)"
is "$(starts h1)" 1 "and the pod runs on, not started again"
ahead h1 $there
kill -9 "$(receiver)"
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^125 .*the pod runs on here, and nothing is left on the other host' "the other side is killed: it is asked once more, and has nothing" F68
gone h2 "which is so"

ahead h1 $there
pf h1 volume add t-p "$work/raw:/q2" 2>"$work/out"
ok "another volume comes meanwhile" || diag "$(cat "$work/out")"
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^125 .*"step":"ahead".*were changed meanwhile: try again.*the pod runs on here, and nothing is left' "which ends it, before the pod is stopped"
pf h1 volume rm t-p /q2
ok "it goes again"

on h1 sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=36M none /run/small'
on h2 sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=36M none /run/small'
ahead h1 --disk "$work/v1=/run/small/v" --disk "$work/q1=$work/q2"
ok "there is room for what is in the disks" || diag "$(cat "$work/moving" "$work/err")"
pf h1 exec t-p -- dd if=/dev/urandom of=/mnt/more bs=64k count=320 2>/dev/null
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^125 .*No space left.*the pod runs on here, and nothing is left' "and no more room than that: it stays" F07
gone h2 "with nothing over there"
is "$(on h2 ls /run/small)" "" "on no file system"
on h1 umount /run/small
on h2 umount /run/small
pf h1 exec t-p -- rm /mnt/more
is "$(starts h1)" 1 "all the while it ran"

# -- it moves; killed when it was given away, it stands on both hosts, to be compared --
echo cold-given >"$PODFERRY_KILL_AT"
move h1 t-p --type warm $there --progress json >"$work/out" 2>&1
[ ! -e "$PODFERRY_KILL_AT" ]
ok "killed when it was given away" F83 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" '"step":"ahead".*"phase":"ahead".*"text":"pass 1: .*"step":"stop".*"step":"copy".*"phase":"copy"' "its disks were copied before it was stopped"
is "$(digests 2)" "$(digests 1)" "each disk is there as it was here at the stop" F58 F97
refused "it starts not here" 'was given to the host' pf h1 start t-p
refused "nor there" 'comes from another host' pf h2 start t-p
move h1 t-p --type warm $there >"$work/out" 2>&1
ok "the same command goes on" F83 || diag "$(cat "$work/out")"
started h2 2
ok "and starts it over there" F97 || diag "$(pf h2 logs t-p/first)"
gone h1 "the source has nothing of it"
rm "$work/v1" "$work/q1"

# -- and back: what goes over while it stands is what was written last --
ahead h2 $back
pf h2 migration cutover t-p
ok "it is told to go over" F49
wait $pid
status=$?
like "$status $(tail -n 1 "$work/moving")" '^0 .*"outcome":"moved".*"type":"warm".*"stopped_ms":[1-9].*"state":"running"' "and does" F53 || diag "$(cat "$work/moving" "$work/err")"
[ "$(number disk_bytes)" -gt $((24 << 20)) ] && [ "$(number last_bytes)" -gt 0 ] && [ "$(number last_bytes)" -lt $((6 << 20)) ]
ok "in the time that it stood, next to nothing went over" F97 || diag "$(tail -n 1 "$work/moving")"
started h1 3
ok "it runs there, with all that it had" || diag "$(pf h1 logs t-p/first)"
[ "$(stat -c %s "$work/v1")" = $((96 << 20)) ] && [ "$(du -k "$work/v1" | cut -f1)" -lt 64000 ] && [ "$(du -k "$work/q1" | cut -f1)" -lt 16000 ] &&
        [ "$(on h1 du -k /var/lib/podferry/pods/t-p/scratch-first.raw | cut -f1)" -lt 20000 ]
ok "what was sparse is sparse" F58 || diag "$(du -k "$work/v1" "$work/q1"; on h1 ls -ls /var/lib/podferry/pods/t-p)"
qemu-img check -q -U "$work/q1" >"$work/out" 2>&1
ok "the image is whole" || diag "$(cat "$work/out")"
gone h2 "and the host that it left has nothing"
rm "$work/v2" "$work/q2"

# -- once it is stopped, a failure starts it again; a driver that is killed leaves it stopped --
"$lab" libvirtd h2 stop
move h1 t-p --type warm $there >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*start: .*rolled back: the pod runs on here, started again, and nothing is left' "a start over there that fails"
"$lab" libvirtd h2 start
started h1 4
ok "gives it back, and it runs again" || diag "$(pf h1 logs t-p/first)"
echo before-cold-given >"$PODFERRY_KILL_AT"
move h1 t-p --type warm $there >"$work/out" 2>&1
is "$(digests 2)" "$(digests 1)" "killed before it was given away: all of it is there" F83
move h1 t-p --type warm $there >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^0 .*t-p is on .* now, stopped' "the same command moves it, stopped as it is" F83
pf h2 start t-p
started h2 5
ok "it starts there" || diag "$(pf h2 logs t-p/first)"
rm "$work/v1" "$work/q1"

# -- at a time; and a pod that ends meanwhile --
at=$(($(date +%s) + 4))
move h2 t-p --type warm --cutover $at $back --progress json >"$work/moving" 2>"$work/err"
like "$? $(tail -n 1 "$work/moving")" '^0 .*"state":"running"' "it goes over at a time" F49 F80 || diag "$(cat "$work/moving" "$work/err")"
[ "$(date +%s)" -ge $at ] && started h1 6
ok "not before" || diag "$(pf h1 logs t-p/first)"
rm "$work/v2" "$work/q2"
ahead h1 $there
pf h1 stop t-p
wait $pid
like "$? $(tail -n 1 "$work/moving")" '^0 .*"state":"stopped"' "a pod that is stopped meanwhile moves as it is" F55 || diag "$(cat "$work/moving" "$work/err")"
gone h1 "and is gone here"
move h2 t-p --type warm $back >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*v1 is there already' "a file in the way"
rm "$work/v1" "$work/q1"
move h2 t-p --type warm $back >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^0 .*t-p is on .* now, stopped' "one that does not run moves cold" F53
pf h1 start t-p
started h1 7
ok "it has all that it had" || diag "$(pf h1 logs t-p/first)"
pf h1 rm --force t-p
ok "it is removed"
finish
