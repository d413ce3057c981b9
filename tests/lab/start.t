#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod is stopped and started again: on the host where it was made, where it moved to, and after a reboot.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

# Counts how often it was started, on its scratch disk and on its volume.
# It answers a stop from its first moment on: TERM to a process 1 that has no handler is dropped.
traps='trap "exit 3" TERM; '
ends='sleep 100000 & wait'
counter=$traps'for f in /started /mnt/started; do echo "$NAME" >>$f; done; sync; echo "start $(wc -l <$f)"; '$ends

# The container may be a moment later than its start.
starts_are() {
        until_ok 20 eval "[ \"\$(starts $1)\" = $2 ]"
}

starts() {
        pf "$1" exec t-p/first /bin/sh -c 'wc -l </started'
}

running() {
        [ "$(pf "$1" ps | grep -c "^t-p .*running")" = "$2" ]
}

vms() {
        on "$1" virsh -q -c qemu:///system list --name | grep -c podferry-t-p
}

truncate -s 16M "$work/v1" "$work/v2" && mkfs.ext4 -q -F "$work/v1" && mkfs.ext4 -q -F "$work/v2" || bail "mkfs.ext4"
pf h1 run --name t-p --container first --rootfs "$rootfs" --memory 192M --env NAME=a --volume "$work/v1:/mnt" --detach -- /bin/sh -c "$counter" >/dev/null &&
        pf h1 run --pod t-p --container again --rootfs "$rootfs" --detach -- /bin/sh -c "$traps echo up; $ends" >/dev/null
ok "a pod with two containers and a volume"
until_ok 20 eval 'pf h1 logs t-p/first | grep -q "start 1"' &&
        until_ok 20 eval 'pf h1 logs t-p/again | grep -q up'
ok "both say that they are up"
pf h1 start t-p >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*t-p: Start: the VM is running' "a pod that runs cannot be started"

pf h1 stop t-p
ok "stop"
is "$(vms h1)" 0 "stop ends the machine too"
like "$(pf h1 ps)" 't-p +first +stopped \(3\).*t-p +again +stopped \(3\)' "both containers are listed as stopped"
is "$(pf h1 logs t-p/first)" "start 1" "what they said can be read"
pf h1 start t-p
ok "start" F53
until_ok 20 running h1 2
ok "both containers run again"
starts_are h1 2
ok "the first one's own disk is as it was left" || diag "$(starts h1)"
until_ok 20 eval '[ "$(pf h1 logs t-p/first | tr "\n" " ")" = "start 1 start 2 " ]'
ok "its log goes on" || diag "$(pf h1 logs t-p/first)"
is "$(pf h1 exec t-p/first cat /proc/meminfo | awk '$1 == "MemTotal:" { print ($2 > 130000 && $2 < 200000) }')" 1 "the machine has the memory that it had"

pf h1 volume add t-p/again "$work/v2:/data"
ok "a volume is added"
pf h1 stop t-p && pf h1 start t-p
ok "stop and start"
is "$(pf h1 exec t-p/again sh -c 'mount | grep -c " /data "')" 1 "the added volume is there again"
pf h1 volume rm t-p/again /data
ok "and is removed"
pf h1 rm --force t-p/again && pf h1 stop t-p && pf h1 start t-p
ok "a container is removed; stop and start"
is "$(pf h1 volume ls t-p | grep -c "$work/v2")" 0 "the removed volume stays away"
like "$(pf h1 ps)" 't-p +first +running' "the other container runs"
is "$(pf h1 ps | grep -c again)" 0 "the removed one stays away"
starts_are h1 4

move h1 t-p --disk "$work/v1=$work/there" >"$work/out" 2>&1
ok "it moves" || diag "$(cat "$work/out")"
n=$(starts h2)
until_ok 20 on h2 test -e /var/lib/podferry/pods/t-p/definition/container-first.json
pf h2 stop t-p && pf h2 start t-p
ok "stopped and started where it came to" F53 || diag "$(on h2 tail -n 5 /run/podferry/t-p/shim.log)"
starts_are h2 $((n + 1))
ok "on the disk that came along" || diag "$(starts h2)"
is "$(on h1 sh -c 'ls -d /var/lib/podferry/pods/t-p' 2>/dev/null)" "" "the source keeps nothing of it"
rm "$work/v1"
move h2 t-p --disk "$work/there=$work/v1" >"$work/out" 2>&1
ok "a pod that was started again moves" || diag "$(cat "$work/out")"

# What a reboot leaves: the disks and the definition, no process and no /run.
pf h1 stop t-p
on h1 sh -c 'kill -9 $(cat /run/podferry/t-p/pid); rm -r /run/podferry/t-p'
like "$(pf h1 ps)" 't-p +- +stopped' "after a reboot it is listed as stopped"
pf h1 run --rootfs "$rootfs" --name t-p --detach -- /bin/true >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*t-p is here, stopped; podferry start t-p, or podferry rm t-p' "run does not take its place"
pf h1 start t-p
ok "start after a reboot" F53
starts_are h1 $((n + 2))
ok "on the disk that it had" || diag "$(starts h1)"
pf h1 stop t-p

# What keeps it from starting is told, and it stays a stopped pod.
mv "$work/v1" "$work/v1.away"
pf h1 start t-p >"$work/out" 2>&1
like "$? $(cat "$work/out")" "^125 .*$work/v1" "a volume that is missing is named"
is "$(vms h1)" 0 "and no machine is left"
mv "$work/v1.away" "$work/v1"
pf h1 start t-p
ok "with the volume it starts"
starts_are h1 $((n + 3))
ok "on the disk that it had" || diag "$(starts h1)"
pf h1 stop t-p
on h1 sh -c 'kill -9 $(cat /run/podferry/t-p/pid); rm -r /run/podferry/t-p'
pf h1 rm t-p
ok "rm of a stopped pod without a shim"
is "$(on h1 sh -c 'ls -d /var/lib/podferry/pods/t-p /run/podferry/t-p' 2>/dev/null)" "" "nothing of it is left"
pf h1 start t-p >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*t-p' "a pod that is not here cannot be started"
finish
