#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The copy of a volume is disturbed: the pod runs on with its own disk, and nobody ever runs on half a copy.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
own=/var/lib/podferry/volumes
for h in h1 h2; do
        on $h rm -rf $own
        on $h mkdir -p $own
done

# Starts a migration whose copy takes some seconds, and waits until it is in the middle of it.
slow_move() {
        timeout --foreground 100 "$lab" enter h1 "$podferry" migrate t-d --to "$(to h2)" --bandwidth 15M >"$work/out" 2>&1 &
        mover=$!
        until_ok 30 eval "on h2 test -e $own/disk.incomplete && [ \$(on h2 stat -c %b $own/disk) -gt 20000 ]"
}

# The pod works on its own disk at h1.
works() {
        pf h1 exec t-d /bin/sh -c 'echo more >>/mnt/log && sync && sha256sum /mnt/random' >"$work/sum" &&
                [ "$(cat "$work/sum")" = "$sum" ]
}

truncate -s 256M "$work/disk" && mkfs.ext4 -q -F "$work/disk" && on h1 cp --sparse=always "$work/disk" $own/disk || bail "no image"
pf h1 run --name t-d --rootfs "$rootfs" --detach --volume $own/disk:/mnt -- /bin/sleep 1000000 >/dev/null
sum=$(pf h1 exec t-d /bin/sh -c 'dd if=/dev/urandom of=/mnt/random bs=1M count=80 2>/dev/null; sync; sha256sum /mnt/random')
like "$sum" '^[0-9a-f]{64} ' "a pod with 80 MiB on a volume"

slow_move
ok "a migration is in the middle of the copy" || diag "$(cat "$work/out")"
on h2 ls $own/disk.incomplete >/dev/null
ok "what is there has the mark" F57
pf h2 run --name t-e --rootfs "$rootfs" --volume $own/disk:/mnt -- /bin/true >"$work/run" 2>&1
like "$? $(cat "$work/run")" '^125 .*not complete' "and is not started" F57
kill -TERM $mover
wait $mover
is "$?" 130 "cancelled" F68
works
ok "the pod works on where it was" H4 F84
until_ok 20 eval "[ -z \"\$(on h2 ls -A $own)\" ]"
ok "the destination has removed its half" F57 || diag "$(on h2 ls -la $own)"

slow_move
on h2 sh -c 'kill -9 $(cat /run/podferry/t-d/pid)'
wait $mover
[ $? -ne 0 ]
ok "the destination's shim is killed in the middle: it fails" F84
works
ok "the pod works on" H4
on h2 test -e $own/disk.incomplete
ok "the half that nobody could remove still has its mark" F57
pf h2 run --name t-e --rootfs "$rootfs" --volume $own/disk:/mnt -- /bin/true >"$work/run" 2>&1
like "$? $(cat "$work/run")" '^125 .*not complete' "so it is not started" F57
pf h2 rm --force t-d >/dev/null 2>&1

on h2 mount -t tmpfs -o size=120m none $own
slow_move
on h2 dd if=/dev/zero of=$own/other bs=1M >/dev/null 2>&1
wait $mover
[ $? -ne 0 ]
ok "the destination's disk becomes full in the middle: it fails" F07 F51 || diag "$(cat "$work/out")"
works
ok "the pod works on after that" H4
is "$(on h2 ls -A $own)" other "and nothing of the copy is left"
on h2 umount $own

move h1 t-d >"$work/out" 2>&1
ok "the next one replaces the half of the one that was killed" F57 || diag "$(cat "$work/out")"
is "$(pf h2 exec t-d /bin/sha256sum /mnt/random)" "$sum" "and the content is whole" F84
is "$(on h2 ls -A $own)" disk "without a mark" F57
pf h2 rm --force t-d
for h in h1 h2; do on $h rm -rf $own; done
finish
