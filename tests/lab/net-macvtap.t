#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A namespace wired by macvtap instead of tc: the same pod, the same moves, to a host that redirects and back, and nothing
# of it is left. h1 is configured for macvtap; h2 takes what it finds (auto), which here is tc.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

echo '{ "network": { "wiring": "macvtap" } }' >"$work/h1.json"
echo '{ "network": { "wiring": "auto" } }' >"$work/h2.json"
said="arp-request arp-reply solicitation advertisement router-solicitation mld"

# at HOST ARGUMENT...: the CLI there, with its configuration.
at() {
        PODFERRY_CONFIG=$work/$1.json pf "$@"
}

there() {
        echo "exec:env PODFERRY_CONFIG=$work/$1.json $lab enter $1"
}

# macvtaps HOST [NAMESPACE]: their names.
macvtaps() {
        on "$1" ip ${2:+-n "$2"} -o link show type macvtap | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | tr '\n' ' '
}

# frames PORT KIND...: times (ns) of these from the watch, with the pod's MAC ($mac, "": anybody's), after $mark.
frames() {
        local port=$1

        shift
        awk -v port="$port" -v kinds=" $* " -v mark="${mark:-0}" -v mac="${mac-02:50:46:00:00:01}" '$1 > mark && $2 == port && (mac == "" || $4 == mac) && index(kinds, " " $3 " ") { print $1 }' "$work/watch"
}

asking() {
        "$lab" enter h3 "$(netprobe)" arp eth0 10.213.0.3 10.213.0.50 5 &
        arp_pid=$!
}

asked() {
        kill $arp_pid
        wait $arp_pid
}

property() {
        on "$1" busctl --address=unix:path=/run/podferry/t-n/bus.sock get-property org.podferry.Shim1 \
                /org/podferry/Shim1/migration org.podferry.Shim1.Migration "$2" 2>/dev/null
}

# its_own HOST NAMESPACE ADDRESS DESCRIPTION: the namespace is its owner's again, with this IPv6 address.
its_own() {
        until_ok 20 eval "[ -z \"\$(macvtaps $1 $2)\" ]"
        ok "$4: no macvtap is left" F85 || diag "$(on "$1" ip -n "$2" -d link)"
        is "$(macvtaps "$1")" '' "$4: nor one where libvirt is" F85
        like "$(on "$1" ip -n "$2" -o -6 addr show dev eth0)" "$3" "$4: its IPv6 address is back"
}

pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24 fd00:213::50/64
on h1 ip -n X -6 route add default via fd00:213::3
on h3 ip addr replace fd00:213::3/64 dev eth0 nodad
nodes=$(ls /dev/tap* 2>/dev/null | wc -l)

on h1 sh -c 'ip -n X link add link eth0 name m0 netns $$ type macvlan mode bridge'
like "$(at h1 run --rootfs "$rootfs" --name t-bad --net ns:/run/netns/X --detach -- /bin/true 2>&1)" \
        'another macvlan or macvtap is on it.*"wiring": "redirect"' "an interface that has a macvlan is refused, with what to do" F10
on h1 ip link del m0
its_own h1 X fd00:213::50/64 "... and then"

at h1 run --scratch 16M --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "a pod is wired by macvtap" F10 || bail "$(on h1 cat /run/podferry/t-n/shim.log)"
like "$(on h1 ip -n X -d -o link show type macvtap)" 'pf[0-9a-f]+n0@eth0.*mode passthru' "as the namespace shows"
is "$(on h1 ip netns exec X tc qdisc show dev eth0 | grep -c ingress)" 0 "without traffic control"
link=$(in_pod h1 t-n ip -o link show eth0)
like "$link" 'mtu 1400.*link/ether 02:50:46:00:00:01' "the guest's interface has name, MTU and MAC" H9
until_ok 20 eval 'at h1 logs t-n | grep -q listening'
client 10.213.0.50 7
ok "a client on a third host connects"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 fd00:213::50
ok "and reaches it by IPv6"
[ "$(at h1 net ls --json t-n | jq -r 'select(.name == "eth0") | [.rx_packets, .tx_packets] | min')" -gt 0 ]
ok "what it received and sent is counted"

"$lab" netns h1 X2 eth1
on h1 ip -n X2 link set eth1 address 02:50:46:00:00:11
on h1 ip -n X2 link set eth1 netns X
on h1 sh -c 'ip -n X addr add 10.214.0.50/24 dev eth1; ip -n X link set eth1 up'
on h3 ip addr replace 10.214.0.3/24 dev eth0
at h1 net add t-n eth1
ok "an interface is plugged"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.214.0.50
ok "and answers"
at h1 net rm t-n eth1
ok "and unplugged"
like "$(macvtaps h1 X)" '^pf[0-9a-f]+n0 $' "which takes its macvtap" F85
on h1 ip -n X link del eth1

kill -9 "$(on h1 cat /run/podferry/t-n/pid)"
until_ok 20 eval '! on h1 test -d "/proc/$(on h1 cat /run/podferry/t-n/pid)"'
at h1 adopt t-n
ok "its shim is killed, and another one takes over" F85
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "and it answers"

# To a host that redirects. Both places hear every request.
pod_netns h2 Y 02:50:46:00:00:02
watch h1-X-eth0 h2-Y-eth0
asking
until_ok 20 eval '[ "$(frames h1-X-eth0 arp-reply | wc -l)" -gt 20 ]'
ok "it answers who asks for its address"
out=$(at h1 migrate t-n --to "$(there h2)" --net ns:/run/netns/Y 2>&1)
ok "it moves to a host that redirects" F88 H9 || diag "$out" $'\n' "$(on h2 cat /run/podferry/t-n/shim.log)"
until_ok 20 eval '[ "$(frames h2-Y-eth0 arp-reply | wc -l)" -gt 20 ]'
ok "and answers there" || diag "$(cat "$work/watch" | tail -n 5)"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 fd00:213::50
ok "by IPv6 too"
last_here=$(frames h1-X-eth0 $said | tail -n 1)
first_there=$(frames h2-Y-eth0 $said | head -n 1)
[ "${last_here:-0}" -gt 0 ] && [ "${first_there:-0}" -gt "$last_here" ]
ok "the old place was silent before the new one spoke, and stays it" F88 B2 || diag "last of h1 $last_here, first of h2 $first_there"
is "$(macvtaps h2 Y)$(on h2 grep -o 'wired by [a-z]*' /run/podferry/t-n/shim.log)" 'wired by redirect' "where auto means no macvtap"

# Back: it stands at READY, then it is cancelled.
on h1 ip netns del X
until_ok 20 eval '[ "$(ls /dev/tap* 2>/dev/null | wc -l)" -eq $nodes ]'
ok "the namespace that it left took the macvtap along" F85
pod_netns h1 X 02:50:46:00:00:09 fd00:99::50/64
watch_end
watch h1-X-eth0 h2-Y-eth0 h3
timeout -k 2 100 "$lab" enter h2 sh -c 'echo $$ >"$0"; exec "$@"' "$work/driver" env PODFERRY_CONFIG="$work/h2.json" \
        "$podferry" migrate t-n --to "$(there h1)" --net ns:/run/netns/X --handover runtime --cutover hold >"$work/out" 2>&1 &
job=$!
until_ok 20 eval 'property h1 State | grep -q transferring && property h2 State | grep -q transferring'
driver=$(cat "$work/driver")
kill -STOP "$driver"
at h2 migration cutover t-n
until_ok 30 eval 'property h1 Journal | grep -q ready'
ok "on its way back it stands still between both hosts" || diag "$(cat "$work/out")"
mark=$(date +%s%N)
until_ok 20 eval '[ "$(mac="" frames h3 arp-request | wc -l)" -gt 50 ]'
is "$(frames h1-X-eth0 $said | wc -l) $(frames h2-Y-eth0 $said | wc -l)" "0 0" "fifty are asking for it, and nobody answers" F88 B2
on h2 busctl --address=unix:path=/run/podferry/t-n/bus.sock call org.podferry.Shim1 /org/podferry/Shim1/migration \
        org.podferry.Shim1.Migration Cancel s "$(property h2 Session | cut -d'"' -f2)"
kill -CONT "$driver"
wait $job
until_ok 10 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "cancelled: it answers where it was" H4 F68 || diag "$(cat "$work/out")"
is "$(mark=0 frames h1-X-eth0 arp-reply | wc -l)" 0 "and the other place never said a word for it" B2 F88
its_own h1 X fd00:99::50/64 "cancelled"

# A namespace with the pod's addresses, which would answer if it were let.
on h1 ip netns del X
"$lab" netns h1 X
on h1 sh -c 'ip -n X link set eth0 address 02:50:46:00:00:01 mtu 1400; ip -n X addr add 10.213.0.50/24 dev eth0
        ip -n X addr add fd00:213::50/64 dev eth0 nodad'
watch_end
watch h1-X-eth0 h2-Y-eth0
out=$(at h2 migrate t-n --to "$(there h1)" --net ns:/run/netns/X 2>&1)
ok "it moves back to macvtap" F88 H9 || diag "$out" $'\n' "$(on h1 cat /run/podferry/t-n/shim.log)"
until_ok 20 eval '[ "$(frames h1-X-eth0 arp-reply | wc -l)" -gt 20 ]'
ok "and answers there"
like "$(macvtaps h1 X)" '^pf[0-9a-f]+n0 $' "by macvtap"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 fd00:213::50
ok "by IPv6 too"
asked
watch_end
last_there=$(frames h2-Y-eth0 $said | tail -n 1)
first_here=$(mark=$last_there frames h1-X-eth0 $said | head -n 1)
[ "${last_there:-0}" -gt 0 ] && [ "${first_here:-0}" -gt "$last_there" ] &&
        [ -z "$(awk -v until="$last_there" '$1 < until && $2 == "h1-X-eth0" && $3 == "arp-reply"' "$work/watch")" ]
ok "one place answers at any time" F88 B2 || diag "last of h2 $last_there, first of h1 $first_here"
client_end
ok "through all of that the connection lived on" F88 || diag "$(cat "$work/client")"
diag "$client_said"

at h1 rm --force t-n
ok "rm"
its_own h1 X fd00:213::50/64 "rm"

# The same where the shim and its machine are killed.
at h1 run --scratch 16M --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "another pod in the same namespace"
kill -9 "$(on h1 cat /run/podferry/t-n/pid)"
kill -9 "$(on h1 cat /run/libvirt/qemu/podferry-t-n.pid)"
at h1 rm --force t-n
ok "its shim and its machine are killed, then rm"
its_own h1 X fd00:213::50/64 "killed"
on h3 ip addr del 10.214.0.3/24 dev eth0
remove_netns
until_ok 20 eval '[ "$(ls /dev/tap* 2>/dev/null | wc -l)" -eq $nodes ]'
ok "no node is left in /dev" F85
finish
