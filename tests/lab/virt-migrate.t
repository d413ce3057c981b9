#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hostdev/libvirt and hostdev/fence between two hosts: hot-plug, abort, hand-over, libvirtd restarted.
# Started by hand it wants PODFERRY_LAB (which is up), PODFERRY_GUEST_DIR and PODFERRY_BUILD.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
lab=$top/hack/lab
driver=${PODFERRY_BUILD:=$top/build/test}/tests/virt-migrate
: "${PODFERRY_GUEST_DIR:=$PODFERRY_BUILD/image}"
there=/proc/$("$lab" enter h2 sh -c 'cat /run/libvirtd.pid')/root

clean() {
        for h in h1 h2; do
                "$lab" enter $h sh -c 'virsh -q -c qemu:///system destroy podferry-virt-test 2>/dev/null
                        rm -rf /run/podferry/virt-test /var/lib/podferry/virt-test'
        done >/dev/null 2>&1
}
trap clean EXIT

clean
status=0
echo "# rows: B2"
out=$("$lab" enter h1 "$driver" "$PODFERRY_GUEST_DIR" "$there" move) || status=1
echo "$out" | grep -v '^1\.\.'
n=$(echo "$out" | grep -cE '^(not )?ok ')

clean
while read -r line; do
        case $line in
        restart) "$lab" libvirtd h1 kill && "$lab" libvirtd h1 start ;;
        1..*) ;;
        "ok "* | "not ok "*)
                n=$((n + 1))
                echo "${line%%ok*}ok $n - ${line#* - }"
                ;;
        *) echo "$line" ;;
        esac
done < <(exec "$lab" enter h1 "$driver" "$PODFERRY_GUEST_DIR" "$there" reconnect)
wait $! || status=1
echo "1..$n"
exit $status
