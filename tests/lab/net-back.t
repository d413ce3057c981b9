#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod with a network that comes back out of the blackout: the destination is complete and has its gate open, and then it does
# not become the pod's. With handover=runtime the driver is stopped by SIGSTOP during the transfer, so that both shims
# stand there for as long as the test looks; what happens to the destination then is what varies.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin
remove_netns

# property HOST NAME: of the pod's migration.
property() {
        on "$1" busctl --address=unix:path=/run/podferry/t-n/bus.sock get-property org.podferry.Shim1 \
                /org/podferry/Shim1/migration org.podferry.Shim1.Migration "$2" 2>/dev/null
}

journal() {
        property "$1" Journal | grep -q "$2"
}

# frames PORT KIND...: times (ns) of these from the watch, with the pod's MAC, after $mark.
frames() {
        local port=$1

        shift
        awk -v port="$port" -v kinds=" $* " -v mark="${mark:-0}" -v mac="${mac-02:50:46:00:00:01}" '$1 > mark && $2 == port && (mac == "" || $4 == mac) && index(kinds, " " $3 " ") { print $1 }' "$work/watch"
}
said="arp-request arp-reply solicitation advertisement router-solicitation mld"

now() {
        date +%s%N
}

# to_blackout: a migration that stands at READY, its driver stopped ($driver; $job waits for it).
to_blackout() {
        rm -f "$work/driver"
        timeout -k 2 100 "$lab" enter h1 sh -c 'echo $$ >"$0"; exec "$@"' "$work/driver" "$podferry" migrate t-n --to "$(to h2)" \
                --net ns:/run/netns/Y --handover runtime --cutover hold >"$work/out" 2>&1 &
        job=$!
        until_ok 20 eval 'property h2 State | grep -q transferring && property h1 State | grep -q transferring'
        driver=$(cat "$work/driver")
        kill -STOP "$driver"
        pf h1 migration cutover t-n
        until_ok 30 journal h2 ready
        ok "$1: the destination is ready, nobody has decided" || diag "$(cat "$work/out")" "$(property h1 State) $(property h2 Journal)"
        is "$(on h1 virsh -q -c qemu:///system domstate podferry-t-n) $(on h2 virsh -q -c qemu:///system domstate podferry-t-n)" "paused paused" \
                "$1: the guest stands still on both hosts"
        mark=$(now)
        until_ok 20 eval '[ "$(mac="" frames h3 arp-request | wc -l)" -gt 50 ]'
        is "$(frames h1-X-eth0 $said | wc -l) $(frames h2-Y-eth0 $said | wc -l)" "0 0" "$1: fifty are asking for it, and nobody answers" F88 B2
        mark=$(now)
}

# back: what holds once it is decided for the source.
back() {
        wait $job
        until_ok 10 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
        ok "$1: the pod answers" H4 F88 || diag "$(cat "$work/out")"
        is "$(on h1 virsh -q -c qemu:///system domstate podferry-t-n)" running "$1: at the source" H4
        until_ok 20 eval '[ -n "$(frames h1-X-eth0 rarp)" ] && [ -n "$(frames h1-X-eth0 advertisement)" ] &&
                awk -v mark=$mark "\$1 > mark && \$2 == \"h1-X-eth0\" && \$3 == \"arp-request\" && \$5 == \$6 { f = 1 } END { exit !f }" "$work/watch"'
        ok "$1: the source says that it is there again: RARP, gratuitous ARP, advertisement" F88 || diag "after $mark:" "$(awk -v mark=$mark '$1 > mark' "$work/watch")"
        is "$(mark=0 frames h2-Y-eth0 $said | wc -l)" 0 "$1: the destination never said a word for it" B2 F88
        until_ok 20 on h3 busybox ping -q -c 1 -W 1 fd00:213::50
        ok "$1: by IPv6 too"
        until_ok 30 eval '! on h2 ip netns exec Y tc qdisc show dev eth0 | grep -q ingress'
        ok "$1: the destination's namespace is its owner's again" F85
        kill -0 "$client_pid"
        ok "$1: the client is connected" F88 || diag "$(cat "$work/client")"
}

pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24 fd00:213::50/64
pod_netns h2 Y 02:50:46:00:00:02
on h3 ip addr replace fd00:213::3/64 dev eth0 nodad
pf h1 run --scratch 16M --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7
ok "a pod with a network, and a small disk to copy" || bail "no pod"
until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
client 10.213.0.50 7
ok "a client connects"
watch h1-X-eth0 h2-Y-eth0 h3
"$lab" enter h3 "$(netprobe)" arp eth0 10.213.0.3 10.213.0.50 5 &
arp_pid=$!

to_blackout "cancelled"
on h1 busctl --address=unix:path=/run/podferry/t-n/bus.sock call org.podferry.Shim1 /org/podferry/Shim1/migration \
        org.podferry.Shim1.Migration Cancel s "$(property h1 Session | cut -d'"' -f2)"
kill -CONT "$driver"
back "cancelled"

to_blackout "its driver dies"
kill -9 "$driver"
back "its driver dies"

to_blackout "its QEMU dies"
kill -9 "$(on h2 cat /run/libvirt/qemu/podferry-t-n.pid)"
until_ok 20 journal h1 kept
ok "its QEMU dies: the source is told, and keeps the pod" H4 || diag "$(property h1 Journal) $(property h2 Journal)"
kill -CONT "$driver"
back "its QEMU dies"

to_blackout "its shim dies"
kill -9 "$(on h2 cat /run/podferry/t-n/pid)" "$driver"
wait $job
pf h1 adopt t-n --to "$(to h2)" >"$work/adopt" 2>&1
back "its shim dies" || diag "$(cat "$work/adopt")"

kill $arp_pid
wait $arp_pid
watch_end
client_end
ok "through all of that the connection lived on" F88 || diag "$(cat "$work/client")"
diag "$client_said"
pf h1 rm --force t-n
ok "rm"
remove_netns
finish
