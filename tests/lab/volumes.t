#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Volumes in a migration: copied, shared and the same, all in one pod; and what is refused before anything moves.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# Each host has a directory of its own, and both see $work.
own=/var/lib/podferry/volumes
on h1 rm -rf $own
on h2 rm -rf $own
on h1 mkdir -p $own
on h2 mkdir -p $own

# image HOST PATH SIZE [FORMAT]: an ext4 image with the file "name" in it.
image() {
        local t=$work/image.raw

        rm -rf "$t" "$work/content" && mkdir "$work/content" && echo "$2" >"$work/content/name"
        truncate -s "$3" "$t" && mkfs.ext4 -q -F -d "$work/content" "$t" &&
                on "$1" qemu-img convert -f raw -O "${4:-raw}" "$t" "$2"
}

# refused DESCRIPTION REGEX COMMAND...
refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(tr '\n' ' ' <"$work/err")" "^125 .*($regex)" "$what"
}

in_pod() {
        local host=$1

        shift
        pf "$host" exec t-v /bin/sh -c "$*"
}

# What a migration puts beside disks for its time: none may stay.
traces() {
        find "$work" \( -name '.podferry-*' -o -name '*.incomplete' \)
        for h in h1 h2; do on $h find $own -name '.podferry-*' -o -name '*.incomplete'; done
}

mkdir "$work/s"
image h1 $own/raw 64M && image h1 $own/q.qcow2 64M qcow2 && image h1 "$work/s/shared" 32M && image h1 $own/same 32M &&
        cp "$work/image.raw" "$work/same" && on h2 cp "$work/same" $own/same || bail "no images"
pf h1 run --name t-v --rootfs "$rootfs" --detach --volume $own/raw:/raw --volume $own/q.qcow2:/q --volume "$work/s/shared:/shared:shared" \
        --volume $own/same:/same:ro -- /bin/probe count 20 >/dev/null
ok "a pod with a raw, a qcow2, a shared and a read-only volume" H7 || diag "$(on h1 tail -n 20 /run/podferry/t-v/shim.log)"
is "$(in_pod h1 'cat /raw/name /q/name /shared/name /same/name')" "$own/raw
$own/q.qcow2
$work/s/shared
$own/same" "each is where it was asked for"
in_pod h1 'for d in raw q shared; do echo written >/$d/new; dd if=/dev/urandom of=/$d/random bs=1M count=4 2>/dev/null; done; touch /same/no 2>/dev/null && exit 1; sync; sha256sum /raw/random /q/random /shared/random' >"$work/sums"
ok "they can be written, and the read-only one not"
sums=$(cat "$work/sums")

out=$(move h1 t-v 2>&1)
ok "it moves, each disk in its mode" F05 F06 F18 F52 || diag "$out" "$(on h1 tail -n 30 /run/podferry/t-v/shim.log)" "$(on h2 tail -n 30 /run/podferry/t-v/shim.log)"
# QEMU copies in pieces of 64 KiB: the ten or so of them that hold a little metadata are whole over there.
[ "$(on h2 stat -c %b $own/raw)" -le $(($(on h1 stat -c %b $own/raw) + 2048)) ]
ok "the copy is as sparse as its source" F52 || diag "$(on h1 ls -ls $own)" "$(on h2 ls -ls $own)"
is "$(in_pod h2 'sha256sum /raw/random /q/random /shared/random')" "$sums" "what was written is there" F52
in_pod h2 'echo 3 >/proc/sys/vm/drop_caches' 2>/dev/null
is "$(in_pod h2 'cat /same/name; for d in raw q shared; do echo more >>/$d/new; done; sync; cat /raw/new /q/new /shared/new' | sort | uniq -c | sed 's/^ *//')" "1 $own/same
3 more
3 written" "they can be read and written over there"
is "$(on h2 qemu-img info -U --output=json $own/q.qcow2 | jq -r .format),$(on h2 qemu-img info -U --output=json $own/raw | jq -r .format)" "qcow2,raw" "the copies have the formats of the originals"
is "$(on h2 stat -c %s $own/raw)" $((64 << 20)) "and the size"
like "$(on h1 ls $own | tr '\n' ' ')" 'q.qcow2 raw same' "the source keeps what was copied, by default" F59
is "$(traces)" "" "no mark and no token is left"
grep -q "written" <(debugfs -R "cat new" "$work/s/shared" 2>/dev/null)
ok "the shared one is the file that both hosts see"

refused "back: what was kept at h1 would be overwritten" 'is there already' move h2 t-v
is "$(in_pod h2 'cat /raw/name')" "$own/raw" "and the pod runs on where it was" H4
is "$(traces)" "" "with no trace of the attempt"
on h1 rm $own/raw $own/q.qcow2
out=$(move h2 t-v --remove-source-volumes 2>&1)
ok "back, when it is out of the way" || diag "$out"
is "$(on h2 ls $own | tr '\n' ' ')" "same " "with --remove-source-volumes the copied ones are gone at the source, the others not" F59
is "$(in_pod h1 'sha256sum /raw/random /q/random /shared/random')" "$sums" "and the content is back"

# Contradictions, and what one host has and the other has not: nothing moves, the reason is told.
on h2 sh -c "echo other | dd of=$own/same bs=1 seek=20000000 conv=notrunc status=none"
refused "a read-only volume with other content there" 'not the same on both hosts' move h1 t-v
on h2 rm $own/same
refused "a read-only volume that is not there" 'not on this host' move h1 t-v
on h2 cp "$work/same" $own/same
refused "a private directory is not shared storage because someone says so" 'do not share|No such file' move h1 t-v --storage shared
refused "a shared disk is not copied over itself" 'both hosts share' move h1 t-v --storage copy
mkdir "$work/empty"
on h2 mount --bind "$work/empty" "$work/s"
refused "a directory of the same name that is another one" 'do not share|No such file' move h1 t-v
cp "$work/s/shared" "$work/empty/shared"
refused "even with a file of that name in it" 'do not share' move h1 t-v
on h2 umount "$work/s"
on h2 mount -t tmpfs -o size=3m none $own
on h2 cp "$work/same" $own/same 2>/dev/null
refused "too little space at the destination" 'free|space' move h1 t-v
on h2 umount $own
is "$(traces)" "" "no trace of all that"
is "$(on h2 ls $own | tr '\n' ' ')" "same " "and no disk at the destination"
is "$(in_pod h1 'sha256sum /raw/random /q/random /shared/random')" "$sums" "the pod has its volumes"
out=$(move h1 t-v 2>&1)
ok "and moves when it may" || diag "$out"
pf h2 rm --force t-v

# Elsewhere over there, by --disk; a block device becomes a file.
loop=''
trap 'clean; [ -z "$loop" ] || losetup -d "$loop"' EXIT
cp "$work/image.raw" "$work/loop" && loop=$(losetup -f --show "$work/loop") || bail "no loop device"
pf h1 run --name t-l --rootfs "$rootfs" --detach --volume "$loop:/mnt" -- /bin/sleep 100000 >/dev/null
ok "a pod with a block device" || diag "$(on h1 tail -n 5 /run/podferry/t-l/shim.log)"
refused "a copy does not go onto a device that is there" 'is there already' move h1 t-l
refused "a disk that the pod has not" 'has no disk /none' move h1 t-l --disk /none=/x
refused "a path that is none" 'absolute paths' move h1 t-l --disk $loop
move h1 t-l --disk "$loop=$own/from-loop" >"$work/out" 2>&1
ok "it moves into a file" F22 F76 || diag "$(cat "$work/out")"
is "$(pf h2 exec t-l /bin/cat /mnt/name)" $own/same "with its content" H7
like "$(pf h2 volume ls t-l)" "main +/mnt +raw .*$own/from-loop" "which is where it is now"
pf h2 rm --force t-l
pf h1 run --name t-l --rootfs "$rootfs" --detach --volume "$loop:/mnt:shared" -- /bin/sleep 100000 >/dev/null
refused "a device without a WWID cannot be proved to be shared" 'no WWID' move h1 t-l
pf h1 rm --force t-l

# Half-copied: the mark is there from before the file until it is complete.
on h2 touch $own/raw.incomplete
refused "a half-copied volume is not started" 'not complete' pf h2 run --name t-h --rootfs "$rootfs" --volume $own/raw:/raw -- /bin/true
on h2 rm $own/raw.incomplete
is "$(pf h2 run --rm --name t-h --rootfs "$rootfs" --volume $own/raw:/raw -- /bin/cat /raw/name)" $own/raw "a complete one is"
on h1 rm -rf $own
on h2 rm -rf $own
finish
