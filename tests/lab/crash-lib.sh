# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For lab tests that kill a shim at one moment of a hand-over (kill-at.c) and let the hand-over go on by `podferry adopt
# --to`: the pod runs on exactly one host, its output has no hole and nothing twice, nothing is left on the other host, and
# the journals of both hosts are in the model's order. Sourced after lib.sh and its begin; for a pod with a network after
# net-lib.sh too.
# shellcheck disable=SC2034,SC2154
export PODFERRY_KILL_AT=$work/kill-at PODFERRY_KEEP=$work/kept
mkdir "$PODFERRY_KEEP"

pf() {
        local host=$1

        shift
        LD_PRELOAD=$PODFERRY_BUILD/tests/kill-at.so timeout -k 2 100 "$lab" enter "$host" "$podferry" "$@"
}

where() {
        local h found=''

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && found="$found $h"
        done
        echo "${found# }"
}

counter() {
        pf "$1" logs t-x | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print bad ? "hole at " bad : n }'
}

# Every journal that there was, in the order of the model, alone and together.
in_order() {
        local h

        for h in h1 h2; do
                rm -f "$PODFERRY_KEEP/journal-$h"
                on $h cat /var/lib/podferry/pods/t-x/journal >"$work/journal" 2>/dev/null && cp "$work/journal" "$PODFERRY_KEEP/journal-$h"
        done
        "$top/hack/model" --journal "$PODFERRY_KEEP"/journal-* >"$work/model" 2>&1
}

# The logs of the shims of this case.
logs() {
        local h

        for h in h1 h2; do
                on $h tail -n 15 /run/podferry/t-x/shim.log 2>/dev/null | sed "s/^/$h: /"
        done
        tail -n 15 "$PODFERRY_KEEP"/shim.log-* 2>/dev/null
}

# crash MOMENT FROM [both] [OPTION...]: kills at that moment of a move from h1 (both: and the shim of the other host right
# after it), goes on from the shell of FROM. The move has these options.
crash() {
        local moment=$1 from=$2 host n client both=''

        shift 2
        [ "${1:-}" != both ] || { both=' and the other shim' && shift; }
        rm -f "$PODFERRY_KEEP"/shim.log-*
        echo "$moment" >"$PODFERRY_KILL_AT"
        move h1 t-x "$@" >"$work/out" 2>&1 &
        client=$!
        until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
        ok "$moment: a shim is killed there$both" F83 F85 || {
                rm -f "$PODFERRY_KILL_AT"
                wait $client
                diag "$(cat "$work/out")" "$(logs)"
                return
        }
        [ -z "$both" ] || for host in h1 h2; do
                on $host sh -c 'kill -9 $(cat /run/podferry/t-x/pid)' 2>/dev/null
        done
        pf "$from" adopt t-x --to "$(to "$(other "$from")")" >"$work/adopt" 2>&1
        ok "$moment: the hand-over goes on, asked for on $from" F82 F83 F85 ||
                diag "$(cat "$work/adopt" "$work/out")" "$(logs)"
        wait $client
        host=$(where t-x)
        [[ $host == h[12] ]]
        ok "$moment: it runs on one host ($host)" B2 F82 || diag "runs on: '$host'" "$(cat "$work/adopt")"
        n=$(counter "$host")
        until_ok 30 eval "[ \"\$(pf $host logs t-x | grep -c '^count ')\" -gt $((n + 20)) ]"
        [ $? -eq 0 ] && [[ $(counter "$host") =~ ^[0-9]+$ ]]
        ok "$moment: its output goes on and is whole" B1 F84 || diag "$(counter "$host")"
        is "$(pf "$host" exec t-x /bin/echo works)" works "$moment: exec works"
        until_ok 30 on "$host" test -e /var/lib/podferry/pods/t-x/definition/machine.json -a ! -e /var/lib/podferry/pods/t-x/definition.next
        ok "$moment: how it was made is known there" F53 || diag "$(on "$host" ls -R /var/lib/podferry/pods/t-x)"
        is "$(on "$(other "$host")" sh -c 'ls -d /run/podferry/t-x /var/lib/podferry/pods/t-x; virsh -q -c qemu:///system list --all --name' 2>/dev/null | grep -c x)" 0 \
                "$moment: nothing is left on the other host" H4
        in_order
        ok "$moment: both journals are in the model's order" F81 || diag "$(cat "$work/model")"
        [ "$host" = h1 ] || move h2 t-x >"$work/out" 2>&1 || bail "it does not come back: $(cat "$work/out")"
}

# t-n on h1, in a namespace of its own; h2 has one for it.
pod_with_network() {
        pod_netns h1 X 02:50:46:00:00:01 10.213.0.50/24
        pod_netns h2 Y 02:50:46:00:00:02
        pf h1 run --rootfs "$rootfs" --name t-n --net ns:/run/netns/X --detach -- /bin/netprobe echo 7 >/dev/null
        until_ok 20 eval 'pf h1 logs t-n | grep -q listening'
        ok "a pod with a network"
}

# crash_network MOMENT: what a shim that is killed then had closed or joined, the next one opens.
crash_network() {
        local moment=$1 pid

        client 10.213.0.50 7
        ok "network, $moment: a client is connected"
        echo "$moment" >"$PODFERRY_KILL_AT"
        move h1 t-n --net ns:/run/netns/Y >"$work/out" 2>&1 &
        pid=$!
        until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
        pf h1 adopt t-n --to "$(to h2)" >"$work/adopt" 2>&1
        ok "network, $moment: the hand-over goes on" F83 || diag "$(cat "$work/out" "$work/adopt")"
        rm -f "$PODFERRY_KILL_AT"
        wait $pid
        until_ok 10 on h3 busybox ping -q -c 1 -W 1 10.213.0.50
        ok "network, $moment: the pod answers on $(where t-n)"
        client_end
        ok "network, $moment: the client's connection lives on" F83 || diag "$(cat "$work/client")"
        [ "$(where t-n)" = h1 ] || move h2 t-n --net ns:/run/netns/X >"$work/out" 2>&1 || bail "it does not come back: $(cat "$work/out")"
}
