#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rows: H1
# The guest image in a plain QEMU, without libvirt: tests/lab/guest-drive.c speaks to the agent as a host.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
make_rootfs

mkfs.erofs -T1 --all-root "$work/layer.erofs" "$rootfs" >/dev/null 2>&1 || bail "mkfs.erofs"
truncate -s 64M "$work/scratch.raw"
mkfs.ext4 -q -b 4096 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$work/scratch.raw" || bail "mkfs.ext4"

start=$(cut -d' ' -f1 /proc/uptime)
qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -smp 1 -m 128 \
        -M q35,smm=off,vmport=off -accel tcg -cpu max,erms=off,fsrm=off \
        -kernel "$PODFERRY_GUEST_DIR/vmlinux" -initrd "$PODFERRY_GUEST_DIR/initrd" \
        -append "quiet panic=-1 cryptomgr.notests noreplace-smp lsm= rootfstype=ramfs console=ttyS0 loglevel=4" \
        -serial "file:$work/console" -device virtio-serial-pci \
        -chardev "socket,id=link,path=$work/link.sock,server=on,wait=off" \
        -device virtserialport,chardev=link,name=org.podferry.link.0 -device virtio-scsi-pci,id=scsi0 \
        -drive "file=$work/layer.erofs,format=raw,if=none,id=d3,readonly=on" \
        -device scsi-hd,drive=d3,bus=scsi0.0,scsi-id=3 \
        -drive "file=$work/scratch.raw,format=raw,if=none,id=d7" \
        -device scsi-hd,drive=d7,bus=scsi0.0,scsi-id=7 2>"$work/qemu.log" &
qemu=$!
until_ok 30 test -S "$work/link.sock" || bail "QEMU does not start: $(cat "$work/qemu.log")"

"$PODFERRY_BUILD/tests/guest-drive" "$work/link.sock" "$start" | tee "$work/tap" | grep -v '^1\.\.'
n_tests=$(grep -cE '^(not )?ok ' "$work/tap")
n_failed=$(grep -cE '^not ok |^Bail out' "$work/tap")
[ "$n_failed" -eq 0 ] || diag "$(tail -n 20 "$work/console")"
until_ok 20 sh -c "! kill -0 $qemu"
ok "QEMU ends when the guest has powered off" || kill "$qemu"
wait "$qemu"
is "$(e2fsck -fn "$work/scratch.raw" >"$work/fsck" 2>&1; echo $?)" 0 "the disk was unmounted cleanly"
! grep -E 'Kernel panic|BUG:|Oops' "$work/console"
ok "the kernel has no complaint"
rm -rf "$work"
echo "1..$n_tests"
[ "$n_failed" -eq 0 ]
