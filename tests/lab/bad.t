#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What users get wrong, and what their machines get wrong: a clear error, the state unchanged, nothing left.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# refused DESCRIPTION REGEX COMMAND...: fails as podferry's own failure (125), with a text that matches.
refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(tr '\n' ' ' <"$work/err")" "^125 .*($regex)" "$what"
}

refused "an unknown command" 'nosuch' pf h1 nosuch
refused "an unknown option" 'nosuch' pf h1 run --nosuch
refused "no root file system" 'rootfs' pf h1 run --name t-x -- /bin/true
refused "a root file system that is not there" '/nonexistent' pf h1 run --name t-x --rootfs /nonexistent -- /bin/true
refused "a size is named with its option" '--memory: "0"' pf h1 run --name t-x --memory 0 --rootfs "$rootfs" -- /bin/true
refused "less memory than is needed" '--memory: "64M"' pf h1 run --name t-x --memory 64M --rootfs "$rootfs" -- /bin/true
refused "more processors than are possible" '--cpus: "65"' pf h1 run --name t-x --cpus 65 --rootfs "$rootfs" -- /bin/true
refused "a scratch disk of nothing" '--scratch: "0"' pf h1 run --name t-x --scratch 0 --rootfs "$rootfs" -- /bin/true
refused "two volumes at one place" '/mnt' pf h1 run --name t-x --rootfs "$rootfs" --volume /etc/passwd:/mnt \
        --volume /etc/group:/mnt -- /bin/true
pf h1 version 2>"$work/err" >/dev/full
is "$? $(cat "$work/err")" "125 podferry: cannot write the output: No space left on device" "output that cannot be written"
pf h1 version 2>"$work/err" >&-
is "$? $(cat "$work/err")" "125 podferry: cannot write the output: Bad file descriptor" "output that is closed"
like "$(pf h1 help logs)" '^Usage: podferry logs' "help of a command"
mkdir "$work/empty"
echo not a tar >"$work/notatar"
refused "a file that is no image" 'notatar' pf h1 run --name t-x --rootfs "$work/notatar" -- /bin/true
refused "a name that is none" 'a/b' pf h1 run --name a/b --rootfs "$rootfs" -- /bin/true
refused "a name that leaves the directory" '\.\.' pf h1 run --name .. --rootfs "$rootfs" -- /bin/true
refused "a volume that is not there" 'novolume' pf h1 run --name t-x --rootfs "$rootfs" --volume "$work/novolume:/mnt" -- /bin/true
refused "a volume without a path" 'volume' pf h1 run --name t-x --rootfs "$rootfs" --volume "$work/novolume" -- /bin/true
refused "memory that is no number" 'lots' pf h1 run --name t-x --memory lots --rootfs "$rootfs" -- /bin/true
for verb in logs exec kill stop rm inspect attach; do
        case $verb in
        exec) set -- t-none /bin/true ;;
        *) set -- t-none ;;
        esac
        refused "$verb of a pod that is not there" 't-none' pf h1 $verb "$@"
done
refused "migrate of a pod that is not there" 't-none' pf h1 migrate t-none --to "$(to h2)"
is "$(PODFERRY_GUEST_DIR=/nonexistent pf h1 run --name t-x --rootfs "$rootfs" -- /bin/true 2>"$work/err" >/dev/null; echo $?)" 125 "no guest image"
like "$(cat "$work/err")" '/nonexistent' "and the error names it"
is "$(pf h1 run --rm --name t-x --rootfs "$rootfs" -- /bin/nosuch >/dev/null 2>&1; echo $?)" 127 "a command that is not in the image is 127"
like "$(pf h1 ps)" '^[^t]*$' "none of them left a pod"

"$lab" libvirtd h1 stop
refused "no libvirt" 'libvirt' pf h1 run --name t-x --rootfs "$rootfs" -- /bin/true
"$lab" libvirtd h1 start

run h1 t-a /bin/probe count 20 >/dev/null
ok "a pod to try it on"
counting() {
        local n

        n=$(pf h1 logs t-a | tail -n 1 | cut -d' ' -f2)
        until_ok 20 eval "pf h1 logs t-a | grep -q '^count $((n + 20)) '"
}
refused "a second pod of that name" 't-a' pf h1 run --name t-a --rootfs "$rootfs" -- /bin/true
refused "a second container of that name" 'main' pf h1 run --pod t-a --container main --rootfs "$rootfs" -- /bin/true
refused "migrate without a destination" '--to' pf h1 migrate t-a
refused "a destination that is no destination" 'nowhere' pf h1 migrate t-a --to nowhere://x
refused "a destination that cannot be reached" '' pf h1 migrate t-a --to "exec:false"
refused "a command to reach it that is not there" "" pf h1 migrate t-a --to "exec:/nonexistent/command"
refused "the destination is the source" 'same|itself|t-a' pf h1 migrate t-a --to "exec:$lab enter h1"
"$lab" libvirtd h2 stop
refused "a destination without libvirt" 'libvirt' pf h1 migrate t-a --to "$(to h2)"
"$lab" libvirtd h2 start
is "$(on h2 ls -A /run/podferry 2>/dev/null | wc -l)" 0 "nothing left at the destination" F85
on h2 mount -t tmpfs -o size=1m none /var/lib/podferry
refused "a full disk at the destination" 'space|full' pf h1 migrate t-a --to "$(to h2)"
on h2 umount /var/lib/podferry
counting
ok "the pod counts on at the source after all that" H4 F84
echo not an envelope >"$work/envelope"
refused "an envelope that is none" 'envelope' pf h1 envelope decode "$work/envelope"

# A pod that is being moved is not idle: rm leaves it alone unless it is told to force it, and then nothing stays.
run h1 t-m /bin/sleep 1000 >/dev/null
move h1 t-m --bandwidth 1M >"$work/out" 2>&1 &
pid=$!
moving() {
        on h1 gdbus call --address unix:path=/run/podferry/t-m/bus.sock --dest org.podferry.Shim1 \
                --object-path /org/podferry/Shim1/migration --method org.freedesktop.DBus.Properties.Get \
                org.podferry.Shim1.Migration State | grep -q transferring
}
until_ok 20 moving
like "$(pf h1 inspect t-m)" 'migration .*source.*transferring' "inspect shows the migration" H16
refused "rm of a pod that is being moved" 'being moved' pf h1 rm t-m
refused "exec in a pod that is being moved" 'source-migrating' pf h1 exec t-m -- /bin/true
refused "a second migrate of it" 'is transferring' pf h1 migrate t-m --to "$(to h2)"
moving
ok "it moves on after all that" H4
pf h1 rm --force t-m
ok "rm --force of it"
wait $pid
is "$(on h1 ls -A /run/podferry | grep migrate)$(on h2 ls -A /run/podferry | grep -c t-m)" 0 "and nothing of it is left" F85

# A destination that cannot see the pod's shared disk, and one that has a pod of this name.
run h2 t-a /bin/sleep 100 >/dev/null
refused "a pod of that name at the destination" 't-a' pf h1 migrate t-a --to "$(to h2)"
pf h2 rm --force t-a
counting
ok "and still it counts on"
truncate -s 8M "$work/volume.raw"
mkfs.ext4 -q "$work/volume.raw"
pf h1 run --name t-v --rootfs "$rootfs" --volume "$work/volume.raw:/mnt" --detach -- /bin/sleep 1000 >/dev/null
refused "a copied volume whose file the destination has already" 'preflight.*volume.raw is there already' \
        pf h1 migrate t-v --to "$(to h2)"
pf h1 rm --force t-v
# A pod that runs with KVM, told to a host without it: asked as any driver may ask. The receiver ends with its stdin.
exec 7> >(exec "$lab" enter h2 "$podferry" receive --pod t-k >/dev/null 2>&1)
asked() {
        on h2 gdbus call --address unix:path=/run/podferry/t-k/bus.sock --dest org.podferry.Shim1 \
                --object-path /org/podferry/Shim1/migration \
                --method org.podferry.Shim1.Migration.Check s "{'facts': <'$1'>}" 2>&1
}
until_ok 30 asked '{}'
like "$(asked '{"host":{"arch":"x86_64"},"domain":{"type":"qemu","memory_mib":256}}')" '"ok":true' "a destination that fits" F03
like "$(asked '{"host":{"arch":"riscv64"}}')" '"ok":false.*needs a riscv64 host' "a destination of another architecture" F03
like "$(asked '{"domain":{"memory_mib":100000000}}')" '"ok":false.*memory' "a destination with too little memory" F08
like "$(asked '{"host":{"cpu":"<cpu><arch>x86_64</arch><model>EPYC</model></cpu>"},"domain":{"type":"kvm"}}')" \
        '"ok":false.*(KVM|CPU|cpu)' "a destination that cannot be such a CPU" F03 H5
exec 7>&-
# The incoming QEMU dies before anything was handed over: slow enough for that.
incoming() {
        on h2 sh -c 'virsh -q -c qemu:///system domstate podferry-t-a | grep -q paused &&
                kill -9 $(cat /run/libvirt/qemu/podferry-t-a.pid)'
}
move h1 t-a --bandwidth 2M >"$work/out" 2>&1 &
pid=$!
until_ok 30 incoming
wait $pid
is $? 125 "the incoming QEMU dies"
like "$(cat "$work/out")" 'rolled back: the pod runs on here' "and the error says so" F84
is "$(on h2 ls -A /run/podferry /var/lib/podferry/pods | grep -c t-a)" 0 "and nothing of it is left there" F85 F57
counting
ok "and it counts on"
move h1 t-a >"$work/out" 2>&1
ok "until a migration that is right succeeds" || diag "$(cat "$work/out")"
pf h2 rm --force t-a
finish
