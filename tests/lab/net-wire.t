#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the switch sees when a pod moves: one place answers for its addresses at any time, and the new one says so.
# The destination's namespace has the pod's MAC and addresses itself, and would answer if it were let.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

# frames PORT KIND...: times (ns) of these, from the watch.
frames() {
        local port=$1

        shift
        awk -v port="$port" -v kinds=" $* " '$2 == port && index(kinds, " " $3 " ") { print $1 }' "$work/watch"
}
said="arp-request arp-reply solicitation advertisement router-solicitation mld"

pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24 fd00:213::50/64
"$lab" netns h2 Y
on h2 ip -n Y link set eth0 address 02:50:46:00:00:01 mtu 1400
on h2 ip -n Y addr add 10.213.0.50/24 dev eth0
pf h1 run --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "a pod with a network"
until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
client 10.213.0.50 7
ok "a client connects"
watch h1-X-eth0 h2-Y-eth0
"$lab" enter h3 "$(netprobe)" arp eth0 10.213.0.3 10.213.0.50 5 &
arp_pid=$!
until_ok 20 eval '[ "$(frames h1-X-eth0 arp-reply | wc -l)" -gt 20 ]'
ok "it answers who asks for its address"
out=$(move h1 t-n --net ns:/run/netns/Y 2>&1)
ok "it moves" F88 || diag "$out"
until_ok 20 eval '[ "$(frames h2-Y-eth0 arp-reply | wc -l)" -gt 20 ]'
ok "and answers there"
until_ok 20 eval '[ -n "$(frames h2-Y-eth0 advertisement)" ]'
kill $arp_pid
wait $arp_pid
watch_end
last_here=$(frames h1-X-eth0 $said | tail -n 1)
first_there=$(frames h2-Y-eth0 $said | head -n 1)
[ "${last_here:-0}" -gt 0 ] && [ "${first_there:-0}" -gt "$last_here" ]
ok "the old place was silent before the new one spoke" F21 F88 B2 || diag "last of h1 $last_here, first of h2 $first_there"
# What had come in for it meanwhile it answers as well, so it need not be the very first word.
garp=$(awk '$2 == "h2-Y-eth0" && $3 == "arp-request" && $5 == $6 { print $1; exit }' "$work/watch")
na=$(frames h2-Y-eth0 advertisement | head -n 1)
garp=$(((${garp:-0} - first_there) / 1000000)) na=$(((${na:-0} - first_there) / 1000000))
[ $garp -ge 0 ]
ok "a gratuitous ARP says where it is now" F88
[ $na -ge 0 ]
ok "and an unsolicited advertisement of its IPv6 address" F88
diag "$garp ms and $na ms after its first frame there"
[ "$(frames h2-Y-eth0 rarp | wc -l)" -gt 0 ]
ok "beside QEMU's RARP"
# Every request got one answer at most, though both places heard all of them.
is "$(awk '$3 == "arp-reply" { if (last && $1 - last < 500000 && port != $2) n++; last = $1; port = $2 } END { print n + 0 }' <(sort -n "$work/watch"))" 0 \
        "no request was answered by both"
sleep_until=$((SECONDS + 1))
until_ok 20 eval '[ $SECONDS -gt $sleep_until ]'
kill -0 "$client_pid"
ok "the client is connected all the time"

# With handover=fast libvirt lets it run by itself, and says nothing before.
on h1 ip netns del X
pod_netns h1 X 02:50:46:00:00:09
move h2 t-n --net ns:/run/netns/X --handover fast >"$work/out" 2>&1
ok "it moves with handover=fast" F88 || diag "$(cat "$work/out")"
until_ok 20 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
ok "and answers there" F88
on h2 ip netns del Y
pod_netns h2 Y 02:50:46:00:00:09

# Disturbed at any time, it is reachable where it is.
host=h1
for delay in 0.3 0.6 0.8 1.0; do
        ns=X
        [ $host = h2 ] || ns=Y
        env --default-signal=INT "$lab" enter $host "$podferry" migrate t-n --to "$(to "$(other $host)")" \
                --net ns:/run/netns/$ns >"$work/out" 2>&1 & # whose SIGINT would be ignored otherwise
        pid=$!
        sleep $delay # the time of the disturbance is what is varied
        kill -INT $pid 2>/dev/null
        wait $pid
        [ -n "$(pf h1 ps | grep t-n)" ] && host=h1 || host=h2
        until_ok 5 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
        ok "Ctrl-C after $delay s: it answers, on $host" F68 H4 || diag "$(cat "$work/out")"
        diag "$(tail -n 1 "$work/out")"
        # A namespace that it left is cut off for good: its maker makes a new one.
        ns=Y
        [ $host = h2 ] && ns=X
        on "$(other $host)" ip netns del $ns
        pod_netns "$(other $host)" $ns 02:50:46:00:00:09
done
client_end
ok "through all of that the connection lived on" F88 || diag "$(cat "$work/client")"
diag "$client_said"
pf $host rm --force t-n
ok "rm"
remove_netns
finish
