#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ports of the host that lead to a pod in user mode: who reaches it by them, who is refused, and where they are after a move.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/net-lib.sh"
begin

# refused REGEX DESCRIPTION OPTION...: no pod is made, and nothing of it stays.
refused() {
        local regex=$1 what=$2 out

        shift 2
        out=$(pf h1 run --rootfs "$rootfs" --name t-bad "$@" --detach -- /bin/true 2>&1)
        if [ $? -eq 0 ]; then
                false
                ok "$what"
        else
                like "$out" "$regex" "$what" F10
        fi
        on h1 sh -c '! ls -d /run/podferry/t-bad' >/dev/null 2>&1
        ok "... and nothing is left of it"
}

# listens HOST ADDRESS:PORT: whether somebody does, tcp or udp.
listens() {
        on "$1" ss -Hlntu | awk '{ print $5 }' | grep -qxF "$2"
}

# says HOST PORT: what an echo there gives a third host, by TCP; says_udp: by UDP.
says() {
        echo hello | timeout 5 "$lab" enter h3 busybox nc -w 3 "$1" "$2"
}

says_udp() {
        timeout 5 "$lab" enter h3 bash -c "exec 3<>/dev/udp/$1/$2; echo hello >&3; head -c 6 <&3"
}

refused 'a range of ports' "a range" --net user --publish 8000-8010:80
refused 'goes with --net user' "without a network" --publish 8080:80
refused 'goes with --net user' "in a namespace" --net ns:/run/netns/X --publish 8080:80
refused 'want the same port of the host' "one port twice" --net user --publish 8080:80 --publish 127.0.0.1:8080:81
refused 'this host has no address 192.0.2.9' "another host's address" --net user --publish 192.0.2.9:8080:80
"$lab" enter h1 busybox nc -l -p 8080 >/dev/null 2>&1 &
nc_pid=$!
until_ok 5 listens h1 '0.0.0.0:8080' || until_ok 1 listens h1 '*:8080'
refused 'port 8080/tcp at 127.0.0.1 is in use on this host' "a port that somebody listens at" --net user --publish 127.0.0.1:8080:7
kill $nc_pid 2>/dev/null
wait $nc_pid 2>/dev/null

pf h1 run --rootfs "$rootfs" --name t-u --net user --publish 8080:7 --publish 127.0.0.1:8081:7 --publish 5353:7/udp --detach -- \
        /bin/netprobe echo 7
ok "a pod publishes three ports"
until_ok 30 eval 'pf h1 logs t-u | grep -q listening'
like "$(pf h1 inspect t-u)" 'published .*0.0.0.0:8080:7/tcp.*127.0.0.1:8081:7/tcp.*0.0.0.0:5353:7/udp' "inspect shows them"
is "$(says 10.213.0.1 8080)" hello "a third host reaches it by the first" F76
is "$(says_udp 10.213.0.1 5353)" hello "and by UDP" F76
"$lab" enter h3 "$(netprobe)" client 10.213.0.1 8081 10 >"$work/client" 2>&1
like "$(cat "$work/client")" 'refused' "and not by the one of the host's own loopback"
listens h1 127.0.0.1:8081
ok "which is there"
listens h1 0.0.0.0:5353
ok "the UDP port too"
refused 'port 5353/udp at 0.0.0.0 is in use' "a UDP port of another pod" --net user --publish 5353:53/udp

# At the destination the port is another one's.
"$lab" enter h2 busybox nc -l -p 8080 >/dev/null 2>&1 &
nc_pid=$!
until_ok 20 eval 'on h2 ss -Hlnt | grep -q 8080'
out=$(move h1 t-u 2>&1)
[ $? -ne 0 ]
ok "a move to a host where the port is in use fails" F10 H4
like "$out" 'port 8080/tcp at 0.0.0.0 is in use on this host' "and says which" || diag "$out"
is "$(says 10.213.0.1 8080)" hello "the pod is reachable where it was" H4
kill $nc_pid
wait $nc_pid 2>/dev/null

out=$(move h1 t-u 2>&1)
ok "it moves when the port is free" F76 || diag "$out"
# (what slirp has for the guest is dropped until that has told its MAC there)
until_ok 20 eval '[ "$(says 10.213.0.2 8080)" = hello ]'
ok "and is reached at the new host" F76
until_ok 20 eval '[ "$(says_udp 10.213.0.2 5353)" = hello ]'
ok "and by UDP" F76
until_ok 20 eval '! listens h1 0.0.0.0:8080'
ok "the ports of the old one are free again" F85
like "$(pf h2 inspect t-u)" 'published .*0.0.0.0:5353:7/udp' "inspect shows them there"
pf h2 rm --force t-u
until_ok 20 eval '! listens h2 0.0.0.0:8080'
ok "and after rm those of the new one" F85
finish
