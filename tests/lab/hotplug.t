#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Volumes on one host: of every kind, coming and going while the pod runs, and those that are refused.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
loop=''
trap 'clean; [ -z "$loop" ] || losetup -d "$loop"' EXIT

refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(tr '\n' ' ' <"$work/err")" "^125 .*($regex)" "$what"
}

in_pod() {
        pf h1 exec t-h /bin/sh -c "$*"
}

# image FILE SIZE: ext4 with the file "name" in it.
image() {
        rm -rf "$work/content" && mkdir "$work/content" && echo "$1" >"$work/content/name" &&
                truncate -s "$2" "$work/$1" && mkfs.ext4 -q -F -d "$work/content" "$work/$1"
}

image one 32M && image two 32M && image three 32M && qemu-img convert -f raw -O qcow2 "$work/three" "$work/three.qcow2" || bail "no images"
# A disk with two partitions, the second with a file system.
truncate -s 64M "$work/parts" &&
        printf '\0\0\0\0\203\0\0\0\0\010\0\0\0\100\0\0\0\0\0\0\203\0\0\0\0\110\0\0\0\0\001\0' |
        dd of="$work/parts" bs=1 seek=446 conv=notrunc status=none &&
        printf '\125\252' | dd of="$work/parts" bs=1 seek=510 conv=notrunc status=none &&
        dd if="$work/two" of="$work/parts" bs=512 seek=18432 conv=notrunc status=none || bail "no partitions"
run h1 t-h /bin/probe count 50 >/dev/null
ok "a pod without volumes"
before=$(pf h1 exec t-h /bin/sh -c 'mount; ls /dev' | sort)

pf h1 volume add t-h "$work/one:/mnt/one"
ok "volume add" H10
is "$(in_pod cat /mnt/one/name)" one "it is in the container"
in_pod 'echo data >/mnt/one/file && sync'
ok "and can be written"
pf h1 volume add t-h "$work/three.qcow2:/mnt/three:ro"
ok "a qcow2 image, read-only"
is "$(in_pod 'cat /mnt/three/name; touch /mnt/three/no 2>/dev/null || echo read-only')" $'three\nread-only' "which it is"
pf h1 volume add t-h "$work/parts:/mnt/part:part=2"
ok "a partition" H10
is "$(in_pod cat /mnt/part/name)" two "the one that was asked for"
like "$(pf h1 volume ls t-h)" "main +/mnt/one +raw +32M rw +copy +attached +$work/one.*main +/mnt/three +qcow2 +32M ro +same +attached.*/mnt/part" "volume ls"
is "$(pf h1 volume ls --json t-h | jq -r '.destination + " " + .disk.mode' | tr '\n' ' ')" "/mnt/one copy /mnt/three same /mnt/part copy " "volume ls --json"
like "$(pf h1 inspect t-h)" 'volume +r[ow] +same +qcow2 +[0-9.]+ +attached +[0-9]+ +[^ ]*/three.qcow2' "inspect shows every disk with its state"

truncate -s 8M "$work/raw-block" && loop=$(losetup -f --show "$work/raw-block") || bail "no loop device"
pf h1 volume add t-h "$loop:/dev/data:block"
ok "a block device of the host, as a device of the container" || diag "$(on h1 tail -n 5 /run/podferry/t-h/shim.log)"
in_pod 'printf "to the device" | dd of=/dev/data bs=512 conv=notrunc,sync,fsync status=none && dd if=/dev/data bs=13 count=1 2>/dev/null' >"$work/got"
is "$(cat "$work/got")" "to the device" "it is written and read there"
is "$(head -c 13 "$work/raw-block")" "to the device" "and the bytes are on the host's device"

holder=$(pf h1 exec --detach t-h /bin/sh -c 'cd /mnt/one && exec sleep 60000')
until_ok 20 eval 'in_pod "ls -l /proc/[0-9]*/cwd 2>/dev/null" | grep -q /mnt/one'
refused "what is in use is not taken away" 'files open there' pf h1 volume rm t-h /mnt/one
is "$(in_pod cat /mnt/one/file)" data "it stays"
refused "what is not there is not taken away" 'no volume at /mnt/none' pf h1 volume rm t-h /mnt/none
refused "two volumes at one path" 'has a volume at /mnt/one' pf h1 volume add t-h "$work/two:/mnt/one"
pf h1 kill --signal KILL --exec "$holder" t-h
for v in /mnt/one /mnt/three /mnt/part /dev/data; do
        until_ok 30 pf h1 volume rm t-h $v
        ok "volume rm $v" H10 F92
done
is "$(in_pod 'mount; ls /dev' | grep -v '^data$' | sort)" "$before" "the container has the mounts it had"
is "$(pf h1 volume ls t-h | wc -l)" 1 "none is listed"
is "$(on h1 virsh -q -c qemu:///system domblklist podferry-t-h | grep -c "$work")" 0 "none is plugged"
grep -q data <(debugfs -R "cat file" "$work/one" 2>/dev/null)
ok "what was written is in the file"
pf h1 volume add t-h "$work/one:/mnt/one" && is "$(in_pod cat /mnt/one/file)" data "it comes again"

# Discards and zeroes reach the file.
in_pod 'dd if=/dev/urandom of=/mnt/one/big bs=1M count=16 2>/dev/null; sync'
full=$(stat -c %b "$work/one")
in_pod 'dd if=/dev/zero of=/mnt/one/big bs=1M count=16 conv=notrunc 2>/dev/null; sync'
until_ok 20 eval "[ $((full - 24000)) -gt \$(stat -c %b '$work/one') ]"
ok "zeroes that are written make holes" F52 || diag "$full, $(stat -c %b "$work/one")"
pf h1 volume rm t-h /mnt/one
pf h1 volume add t-h "$work/one:/dev/one:block"
in_pod 'dd if=/dev/urandom of=/dev/one bs=1M count=16 conv=fsync 2>/dev/null; sync'
full=$(stat -c %b "$work/one")
pf h1 exec t-h /bin/probe discard /dev/one 0 16777216
ok "a discard by the guest"
until_ok 20 eval "[ $((full - 30000)) -gt \$(stat -c %b '$work/one') ]"
ok "gives the blocks back" F52 || diag "$full, $(stat -c %b "$work/one")"
pf h1 volume rm t-h /dev/one

# What must not be given to a machine.
qemu-img create -q -f qcow2 -F raw -b /etc/passwd "$work/backed" 1M
refused "a backing file outside" 'backing_dir' pf h1 volume add t-h "$work/backed:/mnt/x:block"
qemu-img create -q -f qcow2 -o data_file="$work/data" "$work/external" 1M
refused "data in another file" 'another file' pf h1 volume add t-h "$work/external:/mnt/x:block"
cp "$work/two" "$work/lie.qcow2"
refused "a name that lies" 'its name says qcow2' pf h1 volume add t-h "$work/lie.qcow2:/mnt/x"
qemu-img create -q -f vmdk "$work/vmdk" 1M
refused "an image of another kind" 'vmdk' pf h1 volume add t-h "$work/vmdk:/mnt/x:block"
touch "$work/two.incomplete"
refused "a disk that a migration has not filled" 'not complete' pf h1 volume add t-h "$work/two:/mnt/x"
rm "$work/two.incomplete"
refused "a partition that is not there" 'partition' pf h1 volume add t-h "$work/parts:/mnt/x:part=7"
refused "a partition without a file system" 'no file system' pf h1 volume add t-h "$work/parts:/mnt/x:part=1"
refused "a path through a link of the container" 'symbolic|director|loop' eval 'pf h1 exec t-h /bin/sh -c "rm -rf /mnt/l; ln -s /etc /mnt/l" && pf h1 volume add t-h "$work/two:/mnt/l/x"'
is "$(in_pod ls /etc | tr '\n' ' ')" "$(in_pod 'ls /etc/' | tr '\n' ' ')" "nothing was made there"
is "$(pf h1 volume ls t-h | wc -l)" 1 "none of these has left a volume"
is "$(on h1 virsh -q -c qemu:///system domblklist podferry-t-h | grep -c "$work")" 0 "nor a disk"

# One image, two machines.
pf h1 volume add t-h "$work/two:/mnt/two"
refused "a disk that another machine has" 'another machine uses it' pf h1 run --name t-i --rootfs "$rootfs" --volume "$work/two:/mnt" -- /bin/true
refused "even read-only, while it is written" 'another machine uses it' pf h1 run --name t-i --rootfs "$rootfs" --volume "$work/two:/mnt:ro" -- /bin/true
refused "and on the other host" 'another machine uses it' pf h2 run --name t-i --rootfs "$rootfs" --volume "$work/two:/mnt:shared" -- /bin/true
pf h1 volume rm t-h /mnt/two
pf h1 volume add t-h "$work/two:/mnt/two:ro"
is "$(pf h2 run --rm --name t-i --rootfs "$rootfs" --volume "$work/two:/mnt:ro" -- /bin/cat /mnt/name)" two "two machines may read one image"

# It goes along.
pf h1 volume add t-h "$work/one:/dev/one:block:shared"
move h1 t-h >"$work/out" 2>&1
ok "a pod with volumes that came later moves" H7 || diag "$(cat "$work/out")"
is "$(pf h2 exec t-h /bin/cat /mnt/two/name)" two "with them"
pf h2 volume rm t-h /mnt/two && pf h2 volume rm t-h /dev/one
ok "and they go, over there"
pf h2 volume add t-h "$work/three:/mnt/three"
is "$(pf h2 exec t-h /bin/cat /mnt/three/name)" three "and others come"
pf h2 rm --force t-h
finish
