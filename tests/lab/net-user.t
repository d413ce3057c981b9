#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that reaches the outside without a namespace, and one with no network at all.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin

"$lab" enter h3 "$(netprobe)" echo 7 >"$work/echo" 2>&1 &
echo_pid=$!
until_ok 20 grep -q listening "$work/echo"

# reaches HOST DESCRIPTION [ADDRESS]: a connection from the pod to h3 and back.
reaches() {
        local host=$1 address=${3:-10.213.0.3} said

        # (a second is enough, unless the guest does not get to run)
        once() {
                said=$(in_pod "$host" t-u /bin/sh -c "/bin/netprobe client $address 7 10 & sleep 1; kill -TERM \$!; wait \$!")
                grep -qE 'sent [0-9]+ received [1-9]' <<<"$said"
        }
        until_ok 20 once
        ok "$2" || diag "$said"
}

pf h1 run --rootfs "$rootfs" --name t-u --net user --detach -- /bin/sleep 10000
ok "a pod in user mode"
like "$(in_pod h1 t-u ip -o addr show dev eth0)" '10.0.2.15/24' "it has the address of that network"
like "$(in_pod h1 t-u ip route)" 'default via 10.0.2.2' "its gateway"
like "$(in_pod h1 t-u cat /etc/resolv.conf)" 'nameserver 10.0.2.3' "its DNS"
like "$(pf h1 inspect t-u)" 'network +configured +network user' "inspect says so"
reaches h1 "it reaches a third host"
like "$(pf h1 net ls t-u)" 'eth0 +up .* - +- ' "net ls shows the interface, without counters: QEMU keeps none of it"
on h1 ip addr replace fd00:213::1/64 dev eth0 nodad
on h2 ip addr replace fd00:213::2/64 dev eth0 nodad
on h3 ip addr replace fd00:213::3/64 dev eth0 nodad
reaches h1 "by IPv6 too" fd00:213::3
like "$(move h1 t-u --net ns:/run/netns/Y 2>&1)" 'the pod.s network is "user"|never made' "a namespace for it is refused" F10
out=$(move h1 t-u 2>&1)
ok "it moves" F76 || diag "$out"
reaches h2 "and reaches the third host from there"
reaches h2 "and by IPv6" fd00:213::3
like "$(pf h2 net add t-u eth1 2>&1)" 'in a namespace only' "an interface more is refused"
pf h2 rm --force t-u
ok "rm"

pf h1 run --rootfs "$rootfs" --name t-u --net none --detach -- /bin/sleep 10000
ok "a pod without network"
is "$(in_pod h1 t-u ls /sys/class/net)" lo "has lo only"
pf h1 rm --force t-u
ok "rm again"
on h1 ip addr del fd00:213::1/64 dev eth0
on h2 ip addr del fd00:213::2/64 dev eth0
kill $echo_pid
wait $echo_pid
finish
