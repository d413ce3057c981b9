#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Interfaces come and go while the pod runs; it moves to another network; what cannot be is refused.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

# refused NETWORK REGEX DESCRIPTION: a pod cannot be made with it, and nothing of it stays.
refused() {
        local out

        out=$(pf h1 run --rootfs "$rootfs" --name t-bad --net "$1" --detach -- /bin/true 2>&1)
        if [ $? -eq 0 ]; then
                false
                ok "$3"
        else
                like "$out" "$2" "$3" F10
        fi
        on h1 sh -c '! ls -d /run/podferry/t-bad' >/dev/null 2>&1
        ok "... and nothing is left of it"
}

# stays DESCRIPTION REGEX OPTION...: the migration is refused, and the pod runs on, reachable.
stays() {
        local what=$1 regex=$2 out

        shift 2
        out=$(move h1 t-n "$@" 2>&1)
        if [ $? -eq 0 ]; then
                false
                ok "$what"
        else
                like "$out" "$regex" "$what" F10 H4
        fi
        until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
        ok "... and the pod answers where it is" H4
}

refused ns:/run/netns/none 'it was removed, or never made' "a namespace that is gone"
refused ns:/etc/passwd 'no network namespace' "a file that is no namespace"
refused ns:relative 'network namespace' "a path that is not absolute"
refused wifi 'none' "a network of no kind"
on h1 ip netns add E
refused ns:/run/netns/E 'no interface beside lo' "a namespace without an interface"
"$lab" netns h1 T eth0 eth1
on h1 sh -c 'ip -n T link set eth0 address 02:50:46:00:01:01; ip -n T link set eth1 address 02:50:46:00:01:01'
refused ns:/run/netns/T 'eth0 and eth1 have one MAC address' "two interfaces with one MAC address"

pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24 fd00:213::50/64
pf h1 run --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "a pod with one interface"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "it answers"
like "$(in_pod h1 t-n cat /etc/resolv.conf)" 'nameserver 10.213.0.3.*search lab.example' "DNS as the host has it"
like "$(in_pod h1 t-n cat /etc/hosts)" '10.213.0.50 t-n' "its own name in /etc/hosts"
like "$(pf h1 inspect t-n)" 'interfaces: name=eth0 state=up mac=02:50:46:00:00:01 mtu=1400' "inspect shows the interface"

like "$(pf h1 net add t-n eth1 2>&1)" 'no interface eth1' "an interface that the namespace does not have"
on h1 ip netns add tmp
"$lab" netns h1 X2 eth1
on h1 ip -n X2 link set eth1 address 02:50:46:00:00:11
on h1 ip -n X2 link set eth1 netns X
on h1 sh -c 'ip -n X addr add 10.214.0.50/24 dev eth1; ip -n X link set eth1 up'
pf h1 net add t-n eth1
ok "an interface is plugged while the pod runs"
like "$(in_pod h1 t-n ip -o addr show dev eth1)" '10.214.0.50/24' "it has its address"
on h3 ip addr replace 10.214.0.3/24 dev eth0
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.214.0.50
ok "and answers"
like "$(pf h1 net add t-n eth1 2>&1)" 'has an interface eth1 already' "twice is refused"
like "$(pf h1 net ls t-n)" 'eth1 +up +02:50:46:00:00:11' "net ls lists both"
received=$(pf h1 net ls --json t-n | jq -r 'select(.name == "eth0") | .rx_packets')
[ "${received:-0}" -gt 0 ]
ok "and counts what they received" || diag "$received"

stays "no namespace named for the destination" 'name the one on this host'
stays "a namespace that the destination does not have" 'removed, or never made' --net ns:/run/netns/Y
pod_netns h2 Y 02:50:46:00:00:02
stays "an interface that is missing there" 'has no interface eth1, which the pod has' --net ns:/run/netns/Y
"$lab" netns h2 Y2 eth1 eth2
on h2 sh -c 'ip -n Y2 link set eth1 netns Y; ip -n Y2 link set eth2 address 02:50:46:00:00:01 netns Y'
stays "the pod's MAC is in use there" 'in use there, by eth2' --net ns:/run/netns/Y
checked=$(pf h1 check t-n --to "$(to h2)" --net ns:/run/netns/Y --json)
like "$? $checked" '^1 .*"code":"mac-clash"' "and check says so beforehand" F10
on h2 ip -n Y link del eth2
# On a bridge of that host, where another pod has the MAC.
on h2 sh -c 'ip link add br0 type bridge; ip link set br0 up
        for n in B C; do ip netns add $n; done
        for i in 0 1; do ip link add b$i type veth peer name eth$i netns B; ip link set b$i master br0 up; done
        ip link add c0 type veth peer name eth0 netns C; ip link set c0 master br0 up
        ip -n C link set eth0 address 02:50:46:00:00:01 up'
stays "the pod's MAC is in use on the bridge there" 'in use on this host, by what is behind c0' --net ns:/run/netns/B
on h2 sh -c 'ip netns del B; ip netns del C; ip link del br0'
until_ok 20 eval '! on h2 ip link show c0'
on h2 ip -n Y link set eth0 mtu 1300
checked=$(pf h1 check t-n --to "$(to h2)" --net ns:/run/netns/Y --json)
like "$? $checked" '^0 .*"code":"mtu-smaller"' "a smaller MTU there is told" F10
on h2 ip -n Y link set eth0 mtu 1400

out=$(move h1 t-n --net ns:/run/netns/Y 2>&1)
ok "a pod with two interfaces moves" F29 H9 || diag "$out"
for a in 10.213.0.50 10.214.0.50; do
        until_ok 20 on h3 busybox ping -q -c 1 -W 1 $a
        ok "it answers at $a"
done
pf h2 net rm t-n eth1
ok "and one that came along is unplugged"
like "$(in_pod h2 t-n ip -o link show eth1 2>&1)" "can't find device" "the guest has it no more"
like "$(in_pod h2 t-n ip -o addr show dev eth0)" '10.213.0.50/24' "and the other as before"

# Another network: the addresses of the namespace there.
pod_netns h1 Z 02:50:46:00:00:03 10.215.0.9/24 fd00:215::9/64
on h1 ip -n Z route add default via 10.215.0.3
on h3 ip addr replace 10.215.0.3/24 dev eth0
pid=$(in_pod h2 t-n cat /proc/1/stat | cut -d' ' -f22)
watch h1-Z-eth0 h2-Y-eth0
"$lab" enter h3 "$(netprobe)" arp eth0 10.213.0.3 10.213.0.50 5 &
arp_pid=$!
out=$(move h2 t-n --net ns:/run/netns/Z --net-mode rebind 2>&1)
ok "it moves to a network with other addresses" F76 H9 || diag "$out"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.215.0.9
ok "it answers there"
on h3 ip addr replace fd00:215::3/64 dev eth0 nodad
until_ok 20 on h3 busybox ping -q -c 1 -W 1 fd00:215::9
ok "and by IPv6"
# seen KIND MAC ADDRESS TARGET: what the switch heard by the new place's port. (The agent says it after the way is open.)
seen() {
        grep -qE "^[0-9]+ h1-Z-eth0 $1 $2 $3 $4\$" "$work/watch"
}
until_ok 20 seen arp-request 02:50:46:00:00:03 10.215.0.9 10.215.0.9
until_ok 20 seen advertisement 02:50:46:00:00:03 fd00:215::9 fd00:215::9
until_ok 20 seen rarp 02:50:46:00:00:03 0.0.0.0 0.0.0.0
kill $arp_pid
wait $arp_pid
watch_end
seen arp-request 02:50:46:00:00:03 10.215.0.9 10.215.0.9
ok "a gratuitous ARP tells the new address" F88
seen advertisement 02:50:46:00:00:03 fd00:215::9 fd00:215::9
ok "and an unsolicited advertisement" F88
seen rarp 02:50:46:00:00:03 0.0.0.0 0.0.0.0
ok "and a RARP the new MAC" F88
awk '$2 == "h1-Z-eth0" && ($4 == "02:50:46:00:00:01" || $5 == "10.213.0.50" || $5 == "fd00:213::50") { print; n++ } END { exit n > 0 }' "$work/watch" >"$work/old"
ok "and nothing goes out there by the old ones" F88 B2 || diag "$(head -n 5 "$work/old")"
addr=$(in_pod h1 t-n ip -o addr show dev eth0)
like "$addr" '10.215.0.9/24' "it has the new addresses" F90
[[ $addr != *10.213.0.50* ]]
ok "and the old ones no more"
like "$(in_pod h1 t-n ip route)" 'default via 10.215.0.3' "the gateway too"
like "$(in_pod h1 t-n ip -o link show eth0)" '02:50:46:00:00:03' "and the MAC"
is "$(in_pod h1 t-n cat /proc/1/stat | cut -d' ' -f22)" "$pid" "the same process"
client 10.215.0.9 7
ok "its server takes connections at the new address"
client_end
out=$(move h1 t-n --net ns:/run/netns/Y --net-mode keep 2>&1)
ok "and it moves on with them" || diag "$out"
until_ok 5 on h3 busybox ping -q -c 1 -W 1 10.215.0.9
ok "it answers there too"
pf h2 rm --force t-n
ok "rm"
until_ok 20 eval '! on h2 ip netns exec Y tc filter show dev eth0 parent ffff: 2>/dev/null | grep -q .'
ok "the namespace is as it was" F85
remove_netns
for a in 10.214.0.3/24 10.215.0.3/24 fd00:215::3/64; do
        on h3 ip addr del $a dev eth0
done
finish
