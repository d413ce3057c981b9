#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A libvirt as Debian has it: QEMU runs as libvirt-qemu and gets at nothing but what is its own. A lab for itself.
# shellcheck disable=SC2034,SC2154
export PODFERRY_LAB=${PODFERRY_LAB:-podferry-test}-stock PODFERRY_LAB_QEMU=stock
. "$(dirname "$0")/lib.sh"
image=$PODFERRY_GUEST_DIR
# libvirt gives the kernel to QEMU's user too: a copy, where that user may go.
export PODFERRY_GUEST_DIR=/var/lib/podferry-lab/$PODFERRY_LAB/guest
begin
trap 'clean; "$lab" down' EXIT
cp -r "$image" "$PODFERRY_GUEST_DIR"
chmod 755 "$PODFERRY_GUEST_DIR"
touch "$work/begin"

run h1 t-s /bin/probe count 10 >"$work/out" 2>&1
ok "a pod runs" || diag "$(cat "$work/out")"
# Owner of each QEMU of the pod.
is "$(on h1 sh -c 'ps -o user= -p $(cat /run/libvirt/qemu/podferry-t-s.pid)')" libvirt-qemu "as libvirt-qemu"
is "$(on h1 stat -c %a /run/podferry/t-s)" 700 "its run directory is for root alone"
for host in h1 h2; do
        move $host t-s >"$work/out" 2>&1
        ok "it moves away from $host, disks too" F32 F57 || diag "$(cat "$work/out")"
done
n=$(pf h1 logs t-s | tail -n 1 | cut -d' ' -f2)
until_ok 20 eval "pf h1 logs t-s | grep -q '^count $((n + 50)) '"
is "$(pf h1 logs t-s | awk '$1 == "count" { n++; if ($2 != n && !bad) { bad = n } } END { print bad ? "hole at " bad : "whole" }')" whole \
        "its output is whole" B1
pf h1 rm --force t-s
is "$(on h1 stat -c %U "$PODFERRY_GUEST_DIR/vmlinux")" root "the kernel is root's again"
finish
