#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod has the interface of its namespace, and takes its addresses and connections along.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

mac=02:50:46:00:00:01
pod_netns h1 X $mac 10.213.0.50/24 fd00:213::50/64
on h1 ip -n X route add default via 10.213.0.3
on h1 ip -n X route add 192.0.2.0/24 via 10.213.0.3 metric 7
on h1 ip -n X -6 route add default via fd00:213::3
on h1 ip -n X neigh add 10.213.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
on h3 ip addr replace fd00:213::3/64 dev eth0 nodad
pod_netns h2 Y 02:50:46:00:00:02

pf h1 run --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "a pod runs in a namespace that is given by path"
link=$(in_pod h1 t-n ip -o link show eth0)
like "$link" 'UP,LOWER_UP> mtu 1400' "the interface has its name and MTU, and is up"
like "$link" "link/ether $mac" "and its MAC"
addr=$(in_pod h1 t-n ip -o addr show dev eth0)
like "$addr" '10.213.0.50/24' "its IPv4 address"
like "$addr" 'fd00:213::50/64' "its IPv6 address"
routes=$(in_pod h1 t-n ip route)
like "$routes" 'default via 10.213.0.3' "the default gateway"
like "$routes" '192.0.2.0/24 via 10.213.0.3' "a route by a gateway"
like "$(in_pod h1 t-n ip -6 route)" 'default via fd00:213::3' "the IPv6 gateway"
like "$(in_pod h1 t-n ip neigh)" '10.213.0.77.*02:00:00:00:00:77.*PERMANENT' "a permanent neighbour"
is "$(in_pod h1 t-n hostname)" t-n "the host name"

until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
client 10.213.0.50 7
ok "a client on a third host connects" || diag "$(cat "$work/client")"
watch h1-X-eth0 h2-Y-eth0
on h3 busybox ping -q -c 1 fd00:213::50 >/dev/null
ok "and reaches it by IPv6"
out=$(move h1 t-n --net ns:/run/netns/Y 2>&1)
ok "it moves" H9 F88 || diag "$out" $'\n' "$(on h1 cat /run/podferry/t-n/shim.log)" "$(on h2 cat /run/podferry/t-n/shim.log)"
like "$(in_pod h2 t-n ip -o addr show dev eth0)" '10.213.0.50/24' "the address came along"
until_ok 5 on h3 busybox ping -q -c 1 -W 1 fd00:213::50
ok "IPv6 works there"
client_end
ok "the connection lives on" || diag "$(cat "$work/client")"
diag "$client_said"
watch_end
diag "$(cat "$work/watch")"
pf h2 rm --force t-n
ok "rm"
remove_netns
finish
