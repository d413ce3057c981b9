# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For lab tests with networks: pod namespaces on the lab's switch, a client on h3, a watch on the switch.
# Sourced after lib.sh.
# shellcheck disable=SC2154

# pod_netns HOST NAME MAC ADDRESS...: a namespace with eth0 on the switch, as a CNI plugin would make it.
pod_netns() {
        local host=$1 name=$2 mac=$3 a

        shift 3
        "$lab" netns "$host" "$name" || return
        on "$host" ip -n "$name" link set eth0 address "$mac" mtu 1400
        for a in "$@"; do
                case $a in
                *:*) on "$host" ip -n "$name" addr add "$a" dev eth0 nodad ;;
                *) on "$host" ip -n "$name" addr add "$a" dev eth0 ;;
                esac
        done
        on "$host" ip -n "$name" link set eth0 up
}

# Every namespace that a test made on either host.
remove_netns() {
        local h n

        for h in h1 h2; do
                for n in $(on $h ip netns list 2>/dev/null | cut -d' ' -f1); do
                        on $h ip netns del "$n"
                done
        done
}

netprobe() {
        echo "$rootfs/bin/netprobe"
}

# client HOST PORT [MS]: a client on h3, in the background, which says in $work/client what it saw.
client() {
        "$lab" enter h3 "$(netprobe)" client "$1" "$2" "${3:-10}" >"$work/client" 2>&1 &
        client_pid=$!
        until_ok 30 grep -q connected "$work/client"
}

# Ends it. Its last line is in $client_said.
client_end() {
        local status

        kill -TERM "$client_pid" 2>/dev/null
        wait "$client_pid"
        status=$?
        client_said=$(tail -n 1 "$work/client")
        return $status
}

# watch PORT...: frames that say where an address is, into $work/watch.
watch() {
        "$lab" enter sw "$(netprobe)" watch "$@" >"$work/watch" 2>&1 &
        watch_pid=$!
        until_ok 30 grep -q watching "$work/watch"
}

watch_end() {
        kill -TERM "$watch_pid" 2>/dev/null
        wait "$watch_pid"
}

# in_pod HOST POD COMMAND...: in its container.
in_pod() {
        local host=$1 pod=$2

        shift 2
        pf "$host" exec "$pod" -- "$@"
}
