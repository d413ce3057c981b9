#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A volume goes to another place of its host while the pod writes to it; what is refused, disturbed, killed on the way.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
own=/var/lib/podferry/volumes state=/var/lib/podferry/pods/t-m
for h in h1 h2; do
        on $h rm -rf $own
        on $h mkdir -p $own/new
done
loop=''
trap 'clean; [ -z "$loop" ] || losetup -d "$loop"' EXIT

# refused DESCRIPTION REGEX COMMAND...
refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(tr '\n' ' ' <"$work/err")" "^125 .*($regex)" "$what" F54
}

in_pod() {
        pf "$1" exec t-m /bin/sh -c "$2"
}

vmove() {
        pf h1 volume move t-m "$@"
}

# Every number that was written and synced is in the file, in its place: the last one.
counted() {
        local said got

        said=$(pf "$1" logs t-m | sed -n 's/^wrote //p' | tail -n 1)
        got=$(in_pod "$1" "cat /data/log" | awk '{ if ($1 != ++n) bad = 1 } END { print bad ? "broken" : n }')
        [ "$got" != broken ] && [ "$got" -ge "$said" ] && echo "$got"
}

# It goes on counting.
goes_on() {
        local before

        before=$(counted "$1") && until_ok 20 eval "[ \"\$(counted $1)\" -gt $before ]"
}

where() {
        pf h1 volume ls t-m --json | jq -r "select(.destination == \"$1\").disk.path"
}

# In the background, slow enough to be disturbed; returns once the copy is under way.
slow_move() {
        timeout --foreground 60 "$lab" enter h1 "$podferry" volume move t-m /data --to "$1" --bandwidth "${2:-2M}" >"$work/slow" 2>&1 &
        mover=$!
        until_ok 30 on h1 sh -c "test -s $1.incomplete && [ \$(stat -c %b $1) -gt 2000 ]"
}

# Nothing of a move is left, and the pod has the volume where it was.
untouched() {
        is "$(on h1 sh -c "ls -A $own/new; ls $state" | grep -v '^scratch\|^journal\|^definition') $(where /data)" " $own/old" "$1: nothing is left, and it is where it was" F54 F57
        goes_on h1
        ok "$1: the pod goes on" F54 || diag "$(in_pod h1 'tail -n 3 /data/log')"
}

truncate -s 128M "$work/ext4" && mkfs.ext4 -q -F "$work/ext4" && on h1 cp --sparse=always "$work/ext4" $own/old &&
        on h1 qemu-img convert -f raw -O qcow2 "$work/ext4" $own/q.qcow2 && for h in h1 h2; do on $h cp --sparse=always "$work/ext4" $own/ro || bail "no image"; done || bail "no images"
# shellcheck disable=SC2016
pf h1 run --name t-m --rootfs "$rootfs" --detach --volume $own/old:/data --volume $own/q.qcow2:/q --volume $own/ro:/ro:ro -- \
        /bin/sh -c 'n=0; [ ! -e /data/log ] || n=$(wc -l </data/log)
                trap "exit 0" TERM
                while n=$((n + 1)); do
                        printf "%07d\n" $n | dd of=/data/log bs=8 seek=$((n - 1)) conv=notrunc,fsync 2>/dev/null && echo "wrote $n"
                done' >/dev/null
ok "a pod that writes and syncs to a volume" || diag "$(on h1 tail -n 5 /run/podferry/t-m/shim.log)"
sum=$(in_pod h1 'dd if=/dev/urandom of=/data/random bs=1M count=24 2>/dev/null; dd if=/dev/urandom of=/q/random bs=1M count=4 2>/dev/null; sync; sha256sum /data/random /q/random')
like "$sum" '/q/random$' "with some content"

on h1 touch $own/there
refused "a file that is there" 'is there already' vmove /data --to $own/there
refused "itself" 'is a disk of the pod' vmove /data --to $own/old
refused "another volume of it" 'is a disk of the pod' vmove /data --to $own/ro
refused "a read-only one, and what to do instead" 'read-only, so nothing changes it' vmove /ro --to $own/new/x
refused "what is no volume" 'no volume at /etc' vmove /etc --to $own/new/x
refused "a name that says another format" 'its name says qcow2' vmove /data --to $own/new/x.qcow2
refused "a directory that is not there" 'No such file' vmove /data --to $own/none/x
refused "a path that is not plain" 'not normalised' vmove /data --to $own/new/../x
refused "without --to" 'needs --to' vmove /data
refused "--to of another verb" 'of volume move' pf h1 volume rm t-m /data --to /x
truncate -s 64M "$work/loop" && loop=$(losetup -f --show "$work/loop") || bail "no loop device"
refused "a device that is too small" 'the volume has 134217728' vmove /data --to "$loop"
losetup -d "$loop" && truncate -s 256M "$work/loop" && loop=$(losetup -f --show "$work/loop") || bail "no loop device"
refused "and one that is too large" 'exactly as large' vmove /data --to "$loop"
losetup -d "$loop" && truncate -s 128M "$work/loop" && loop=$(losetup -f --show "$work/loop") || bail "no loop device"
mkfs.ext4 -q -F "$loop"
refused "a device with a file system" 'there is ext4 on it' vmove /data --to "$loop"
refused "qcow2 to a device" 'takes a raw volume' vmove /q --to "$loop"
on h1 mount -t tmpfs -o size=20m none $own/new
refused "too little room" 'MiB to come' vmove /data --to $own/new/x
on h1 umount $own/new
on h1 rm $own/there
untouched "refused"

# Disturbed in the middle.
slow_move $own/new/x
ok "a move is in the middle" F54 || diag "$(cat "$work/slow")"
refused "a second one" 'is being moved' vmove /q --to $own/new/y
refused "taken away meanwhile" 'is being moved' pf h1 volume rm t-m /data
refused "migrated meanwhile" 'have a block job' move h1 t-m
like "$(on h1 cat $own/new/x.incomplete)" '^t-m v' "the new file is marked, so nobody starts with it" F57
kill -TERM $mover
wait $mover
is "$?" 130 "Ctrl-C" F54 || diag "$(cat "$work/slow")"
untouched "cancelled"
on h1 mount -t tmpfs -o size=40m none $own/new
slow_move $own/new/x 4M
on h1 dd if=/dev/zero of=$own/new/other bs=1M >/dev/null 2>&1
wait $mover
like "$? $(tr '\n' ' ' <"$work/slow")" '^125 .*could not .* write .*0 MiB are free' "its file system is full in the middle" F54 F07
on h1 rm -f $own/new/other
untouched "full"
on h1 umount $own/new
slow_move $own/new/x
pid=$(on h1 cat /run/podferry/t-m/pid) && kill -9 "$pid"
wait $mover
like "$? $(tail -n 1 "$work/slow")" '^125 .*gone away' "the shim is killed in the middle"
pf h1 adopt t-m
until_ok 30 on h1 sh -c "! test -e $state/moving.json"
untouched "adopted"
slow_move $own/new/x 8M
"$lab" libvirtd h1 kill
"$lab" libvirtd h1 start
wait $mover
is "$? $(where /data)" "0 $own/new/x" "libvirtd is killed in the middle: it moves" F54 || diag "$(cat "$work/slow")" "$(on h1 tail -n 20 /run/podferry/t-m/shim.log)"
goes_on h1
ok "and the pod goes on" F54
vmove /data --to $own/data >"$work/out" 2>&1
like "$? $(tr '\n' ' ' <"$work/out")" "^0 .*moved +$own/data" "moved again" F54
goes_on h1
ok "the pod goes on, with all that it wrote" F54
is "$(where /data) $(on h1 ls -A $own | tr '\n' ' ')" "$own/data data new old q.qcow2 ro " "the old file is kept, and no mark" F57
[ "$(on h1 stat -c %b $own/data)" -le $(($(on h1 stat -c %b $own/old) + 4096)) ] && is "$(on h1 stat -c %s $own/data)" $((128 << 20)) "as large, and as sparse" F58
vmove /q --to $own/new/q2.qcow2 --remove-source --json >"$work/out" 2>"$work/err"
is "$? $(jq -r 'select(.event == "step").step' "$work/out" | tr '\n' ' ')" "0 copying moved " "a qcow2 image" F54 || diag "$(cat "$work/err")"
is "$(on h1 qemu-img info -U --output=json $own/new/q2.qcow2 | jq -r .format) $(on h1 ls $own | tr '\n' ' ')" "qcow2 data new old ro " "stays one; with --remove-source the old one is gone" F54 F58
is "$(in_pod h1 'sha256sum /data/random /q/random')" "$sum" "their content" F54

# Stopped in the middle; then another host, and a device.
on h1 rm $own/new/x
slow_move $own/new/x
ok "a move of a pod that is about to be stopped"
pf h1 stop t-m
wait $mover
like "$? $(tr '\n' ' ' <"$work/slow")" '^125 .*being stopped' "a stop ends it" F54
is "$(on h1 sh -c "ls -A $own/new; ls $state" | grep -v '^scratch\|^journal\|^definition')" "q2.qcow2" "and nothing is left" F57
pf h1 start t-m
ok "the pod starts with what moved" F54 || diag "$(on h1 tail -n 5 /run/podferry/t-m/shim.log)"
is "$(where /data) $(where /q) $(in_pod h1 'sha256sum /data/random /q/random')" "$own/data $own/new/q2.qcow2 $sum" "where it is now" F54
losetup -d "$loop" && truncate -s 0 "$work/loop" && truncate -s 128M "$work/loop" && loop=$(losetup -f --show "$work/loop") || bail "no loop device"
vmove /data --to "$loop" >"$work/out" 2>&1
like "$? $(tr '\n' ' ' <"$work/out") $(where /data)" "^0 .* $loop\$" "to a block device" F54
vmove /data --to $own/new/data >"$work/out" 2>&1
like "$? $(tr '\n' ' ' <"$work/out") $(where /data)" "^0 .* $own/new/data\$" "and back into a file" F54
move h1 t-m >"$work/out" 2>&1
ok "then to the other host" F54 || diag "$(cat "$work/out")"
goes_on h2
ok "where it goes on" F54
is "$(in_pod h2 'sha256sum /data/random /q/random')" "$sum" "with the content" F54
pf h2 stop t-m && pf h2 start t-m && goes_on h2
ok "and starts again" F54
pf h2 rm --force t-m
for h in h1 h2; do on $h rm -rf $own; done
finish
