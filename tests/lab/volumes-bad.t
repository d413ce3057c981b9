#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copies that must not be made, images that are not what a copy could keep, and what a destination that dies before
# the transfer leaves.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
own=/var/lib/podferry/volumes
for h in h1 h2; do
        on $h rm -rf $own
        on $h mkdir -p $own
done

# refused DESCRIPTION REGEX COMMAND...
refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(tr '\n' ' ' <"$work/err")" "^125 .*($regex)" "$what"
}

in_pod() {
        pf "$1" exec t-b /bin/sh -c "$2"
}

# Starts a migration in the background and waits for a condition at its destination.
start_move() {
        timeout --foreground 100 "$lab" enter h1 "$podferry" migrate t-b --to "$(to h2)" --bandwidth 3M >"$work/move" 2>&1 &
        mover=$!
        until_ok 20 on h2 sh -c "$1"
}

truncate -s 32M "$work/ext4" && mkfs.ext4 -q -F "$work/ext4" &&
        on h1 cp --sparse=always "$work/ext4" $own/a && on h1 cp --sparse=always "$work/ext4" $own/b &&
        on h1 qemu-img convert -f raw -O qcow2 -c "$work/ext4" $own/q && on h1 qemu-img snapshot -c before $own/q &&
        on h1 qemu-img create -q -f qcow2 $own/huge 256G &&
        on h1 sh -c "printf 'an odd size' | dd of=$own/odd bs=1536 count=1 conv=sync status=none" || bail "no images"
pf h1 run --name t-b --rootfs "$rootfs" --detach --volume $own/a:/a --volume $own/b:/b --volume $own/q:/q \
        --volume $own/huge:/dev/huge:block --volume $own/odd:/dev/odd:block -- /bin/sleep 1000000 >/dev/null
ok "a pod with raw and qcow2 volumes, compressed, huge, odd" H7 || diag "$(on h1 tail -n 5 /run/podferry/t-b/shim.log)"
sum=$(in_pod h1 'for d in a b; do dd if=/dev/urandom of=/$d/f bs=1M count=10 2>/dev/null; done; echo q >/q/f; sync; sha256sum /a/f /b/f /q/f')
like "$sum" '/q/f$' "written"

refused "two disks at one place" 'one path' move h1 t-b --disk $own/a=$own/x --disk $own/b=$own/x
on h2 mount -t tmpfs -o size=40m none $own
refused "each copy has room, not all of them" '[0-9]+ MiB to come, [0-9]+ MiB free' move h1 t-b
on h2 umount $own
on h2 ln -s $own/nothing $own/a
refused "a copy does not go through a link, not even one that leads nowhere" 'is there already' move h1 t-b
on h2 rm $own/a
refused "a directory that is not there" 'No such file' move h1 t-b --disk $own/a=/none/a
refused "a path that is a directory" 'is there already' move h1 t-b --disk $own/a=$own
refused "a path that is not plain" 'not normalised' move h1 t-b --disk $own/a=$own/../volumes/a
refused "snapshots that would be lost" 'snapshots or bitmaps' move h1 t-b --remove-source-volumes
is "$(on h2 ls -A $own)$(on h2 ls -A /run/podferry)" "" "nothing is there after all that" H4

# A mark is the pod's whose migration made it.
run h1 t-c /bin/sleep 1000000 >/dev/null && pf h1 volume add t-c "$work/ext4:/a"
start_move "test -s $own/b.incomplete"
like "$(on h2 cat $own/a.incomplete)" '^t-b m[0-9a-f]+$' "the mark names the pod and the session" F57
refused "another pod's migration does not replace a copy that is being made" 'half a copy for the pod t-b' move h1 t-c --disk "$work/ext4=$own/a"
on h2 test -s $own/a.incomplete
ok "it is still there"
kill -TERM $mover
wait $mover
until_ok 20 eval "[ -z \"\$(on h2 ls -A $own)\" ]"
ok "cancelled, the destination's files are gone" F57 F68 || diag "$(on h2 ls -la $own)"

move h1 t-b >"$work/out" 2>&1
ok "it moves" || diag "$(cat "$work/out")"
is "$(in_pod h2 'sha256sum /a/f /b/f /q/f')" "$sum" "with its content" F52
is "$(in_pod h2 'head -c 11 /dev/odd') $(on h2 stat -c %s $own/odd)" "an odd size 1536" "and its sizes" F58
is "$(on h1 qemu-img snapshot -U -l $own/q | grep -c before),$(on h2 qemu-img snapshot -U -l $own/q | grep -c before)" 1,0 "a snapshot stays at the source"
[ "$(on h2 stat -c %b $own/huge)" -le $((2 * (256 / 8 + 1) * 1024)) ]
ok "an empty qcow2 image takes no more there than its tables" F52 || diag "$(on h2 ls -las $own)"
pf h2 rm --force t-b
pf h1 rm --force t-c

# What is the same is so with what is behind it. No file behind another is allowed but below backing_dir.
for h in h1 h2; do
        on $h rm -rf $own
        on $h sh -c "mkdir -p $own/base && cp --sparse=always $work/ext4 $own/base/raw"
done
on h1 sh -c "qemu-img create -q -f qcow2 -F raw -b $own/base/raw $own/over" && on h1 cat $own/over >"$work/over" && on h2 cp "$work/over" $own/over
echo "{\"backing_dir\": \"$own/base\"}" >"$work/config.json"
export PODFERRY_CONFIG=$work/config.json
pf h1 run --name t-b --rootfs "$rootfs" --detach --volume $own/over:/o:ro -- /bin/sleep 1000000 >/dev/null
ok "a pod with an image behind an image" F23
on h2 sh -c "echo other | dd of=$own/base/raw bs=1 seek=20000000 conv=notrunc status=none"
refused "what is behind it differs there" 'not the same on both hosts' move h1 t-b
on h2 cp --sparse=never "$work/ext4" $own/base/raw
move h1 t-b >"$work/out" 2>&1
ok "it moves where all of it is the same, holes or not" F52 || diag "$(cat "$work/out")"
pf h2 rm --force t-b
unset PODFERRY_CONFIG

# The destination's shim is killed after it made its disks and before the transfer, while it reads what is the same.
for h in h1 h2; do
        on $h rm -rf $own
        on $h mkdir -p $own
done
dd if=/dev/urandom of="$work/big" bs=1M count=300 status=none
on h1 cp --sparse=always "$work/ext4" $own/a
pf h1 run --name t-b --rootfs "$rootfs" --detach --volume $own/a:/a --volume "$work/big:/dev/big:block:ro" -- /bin/sleep 1000000 >/dev/null
start_move "test -s $own/a.incomplete"
kill -TERM $mover
begun=$(date +%s%N)
wait $mover
is "$?" 130 "cancelled while it reads what is to be the same"
[ $((($(date +%s%N) - begun) / 1000000)) -lt 3000 ]
ok "which does not read it to its end"
until_ok 20 eval "[ -z \"\$(on h2 ls -A $own)\" ]"
ok "nothing is left of it" F57
start_move "test -s $own/a.incomplete"
on h2 sh -c 'kill -9 $(cat /run/podferry/t-b/pid)'
wait $mover
on h2 test -s $own/a.incomplete
ok "a shim that is killed then leaves a marked disk" F57
pf h2 rm --force t-b
is "$(on h2 ls -A $own)$(on h2 ls -A /run/podferry)" "" "which podferry rm --force removes" F57 F85
is "$(in_pod h1 'echo x >/a/x && cat /a/x')" x "the pod works on at the source" H4
pf h1 rm --force t-b
for h in h1 h2; do on $h rm -rf $own; done
finish
