#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Namespaces and interfaces that are not as in the book: what of them a pod has, and what becomes of it when they change
# under it. What cannot be at all is refused: net-change.t, and tests/unit/test-net.c for what is read.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

# four HOST NAME LAST: a namespace with four interfaces of all kinds; LAST is the last byte of their MAC addresses.
four() {
        local host=$1 name=$2 n=$3 i

        "$lab" netns "$host" "$name" eth0 eth1 eth2 eth3
        for i in 0 1 2 3; do
                on "$host" ip -n "$name" link set "eth$i" address "02:50:46:00:0$i:$n"
        done
        on "$host" ip -n "$name" link set eth3 name net.1_a-b
        on "$host" ip -n "$name" link set eth1 mtu 9000
}

# A pod with all four, by a symlink, from a network namespace that is not libvirtd's.
four h1 X 01
on h1 sh -c '
        ip -n X addr add 10.213.0.50/24 dev eth0
        ip -n X addr add 10.213.0.51/24 dev eth0
        ip -n X addr add 10.216.0.5/32 dev eth1
        ip -n X addr add fd00:217::5/64 dev eth2 nodad
        ip -n X addr add fe80::5/64 dev eth2 nodad
        ip -n X addr add 10.218.0.5 peer 10.218.0.6/32 dev net.1_a-b
        for i in eth0 eth1 eth2 net.1_a-b; do ip -n X link set $i up; done
        ip -n X route add default via 10.213.0.3
        ip -n X route add default via 10.213.0.4 metric 50
        ip -n X route add 169.254.1.1 dev eth1
        ip -n X route add 10.219.0.0/16 via 169.254.1.1 dev eth1
        ip -n X -6 route add default via fe80::1 dev eth2
        ln -s /run/netns/X /run/netns/link'
on h1 ip netns add E
timeout 100 "$lab" enter h1 ip netns exec E "$podferry" run --rootfs "$rootfs" --name t-n --net ns:/run/netns/link --detach -- /bin/netprobe echo 7
ok "a pod with four interfaces, its shim in another network namespace than libvirtd"
until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
client 10.213.0.51 7
ok "it answers at a secondary address"

# has HOST: the guest has what the namespace had.
has() {
        local a

        a=$(in_pod "$1" t-n ip -o addr)
        like "$a" '10.213.0.50/24.*10.213.0.51/24' "$1: two addresses of one prefix" F88
        like "$a" 'eth1 +inet 10.216.0.5/32' "$1: one without a prefix"
        like "$a" 'eth2 +inet6 fd00:217::5/64' "$1: an interface with IPv6 alone"
        like "$a" 'eth2 +inet6 fe80::5/64' "$1: a link-local address by hand"
        like "$a" 'net.1_a-b +inet 10.218.0.5/32' "$1: an interface with an odd name"
        like "$(in_pod "$1" t-n ip link show eth1)" 'mtu 9000' "$1: an MTU above 1500"
        a=$(in_pod "$1" t-n ip route)
        like "$a" 'default via 10.213.0.3' "$1: a default route"
        like "$a" 'default via 10.213.0.4 dev eth0 +metric 50' "$1: and a second one"
        like "$a" '10.219.0.0/16 via 169.254.1.1 dev eth1' "$1: a route by a gateway beside every prefix"
        like "$a" '10.218.0.6 dev net.1_a-b' "$1: the way to a peer"
        like "$(in_pod "$1" t-n ip -6 route)" 'default via fe80::1 dev eth2' "$1: an IPv6 gateway on the link"
}
has h1
like "$(pf h1 net ls t-n)" 'eth1 +up .* 9000 .*10.216.0.5/32.*net.1_a-b +up' "net ls shows them"

# What comes later in the namespace does not reach the guest; what goes does not harm it.
on h1 ip -n X addr add 10.213.0.59/24 dev eth0
[[ $(in_pod h1 t-n ip -o addr) != *10.213.0.59* ]]
ok "an address that comes later is the namespace's alone"
on h1 ip -n X link del eth2
ok "an interface is deleted under the pod"
on h1 sh -c 'ip -n X link set eth1 down; ip -n X link set eth1 name was1; ip -n X link set was1 up'
ok "and one is renamed"
like "$(pf h1 net ls t-n)" 'eth2 +up' "net ls still lists what the pod has"

# To a namespace of another user namespace.
on h2 sh -c 'setsid unshare -U -r -n sleep 300 >/dev/null 2>&1 & echo $! >"$0"' "$work/holder"
holder=$(cat "$work/holder")
until_ok 20 eval '[ "$(readlink /proc/$holder/ns/user)" != "$(readlink /proc/self/ns/user)" ] && [ "$(readlink /proc/$holder/ns/net)" != "$(on h2 readlink /proc/self/ns/net)" ]'
four h2 Y 02
for i in eth0 eth1 eth2 net.1_a-b; do
        on h2 ip -n Y link set $i netns "$holder"
done
out=$(move h1 t-n --net "ns:/proc/$holder/ns/net" 2>&1)
ok "it moves all the same, to a namespace that belongs to another user namespace" F88 H9 || diag "$out"
has h2
client_end
ok "the connection lived on" F88 || diag "$(cat "$work/client")"
pf h2 net add t-n eth0 >"$work/out" 2>&1 &
pid=$!
wait $pid
like "$(cat "$work/out")" 'has an interface eth0 already' "what it has already is refused"

# The namespace goes away under the pod, and with it the taps: it has no network, and gets one where it moves to.
kill "$holder"
until_ok 5 eval '! on h3 busybox ping -q -c 1 -W 1 10.213.0.50'
ok "the namespace is deleted under the pod, which is not reached any more"
is "$(in_pod h2 t-n echo works)" works "and runs on"
like "$(pf h2 net ls t-n 2>&1)" "eth0|removed, or never made" "net ls says what there is"
on h1 ip netns del X
four h1 X 03
out=$(move h2 t-n --net ns:/run/netns/X 2>&1)
ok "it moves away from there" F88 H9 || diag "$out"
began=$SECONDS
has h1
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "and is reached again" F88 || diag "$(in_pod h1 t-n ip neigh)" "$(on h1 tc -n X -s filter show dev eth0 parent ffff:)" "$(in_pod h1 t-n ip -s link show eth0)"
diag "after $((SECONDS - began)) s"

# Nothing comes or goes while it is being moved.
four h2 Y2 04
move h1 t-n --net ns:/run/netns/Y2 >"$work/out" 2>&1 &
pid=$!
until_ok 20 eval 'on h1 busctl --address=unix:path=/run/podferry/t-n/bus.sock get-property org.podferry.Shim1 /org/podferry/Shim1/migration org.podferry.Shim1.Migration State | grep -q "transferring"'
like "$(pf h1 net rm t-n eth1 2>&1)" 'is being moved|source-migrating|no such pod' "net rm is refused during a migration" F10
wait $pid
ok "which succeeds" || diag "$(cat "$work/out")"
until_ok 5 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "it is reached" F88
pf h2 rm --force t-n
ok "rm"
on h1 rm -f /run/netns/link
remove_netns
finish
