#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The other ways to move a pod: libvirt's own transport, and who lets it run over there.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

hosts_of() {
        local h found=''

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && found="$found $h"
        done
        echo "${found# }"
}

# One running copy, and nothing but it: on the other host no domain, no shim, no directory.
alone() {
        local h

        host=$(hosts_of t-w)
        [[ $host == h[12] ]] || return 1
        h=$(other "$host")
        on "$h" sh -c '! ls -A /run/podferry /var/lib/podferry/pods 2>/dev/null | grep -q "t-w\|^[.]migrate" &&
                ! virsh -q -c qemu:///system list --all --name | grep -q podferry-t-w' || return 1
        on "$host" sh -c '! ls -A /run/podferry | grep -q "^[.]migrate"'
}

count_of() {
        pf "$1" logs t-w | tail -n 1 | cut -d' ' -f2
}

grows() {
        [ "$(count_of "$1")" -gt $(($2 + 20)) ]
}

# What holds after any disturbance; then the pod goes back to h1 for the next one.
fine() {
        local what=$1 n

        until_ok 60 alone
        ok "$what: it runs on one host, and the other one has nothing of it" B2 F82 F85 ||
                diag "runs on: '$(hosts_of t-w)'" "$(for h in h1 h2; do on $h ls -A /run/podferry /var/lib/podferry/pods; done)"
        n=$(count_of "$host")
        until_ok 30 grows "$host" "$n"
        is "$(pf "$host" logs t-w | awk '$1 == "count" { n++; if ($2 != n && !bad) { bad = n } } END { print bad ? "hole at " bad : "whole" }')" whole "$what: its output is whole" B1 F84
        if [ "$host" = h1 ]; then
                move h1 t-w >"$work/out" 2>&1
                ok "$what: a migration after it succeeds" F84 || diag "$(cat "$work/out")"
        fi
        until_ok 30 test "$(hosts_of t-w)" = h2
        move h2 t-w >"$work/out" 2>&1
        ok "$what: and it comes back" || {
                diag "$(cat "$work/out")"
                bail "it does not come back"
        }
}

run h1 t-w /bin/probe count 10 >/dev/null
ok "a pod to disturb"

move h1 t-w --transport libvirt+tcp://10.213.0.2/system --migrate-uri tcp://10.213.0.2 --allow-plaintext >"$work/out" 2>&1
ok "it moves over libvirt's own transport" F49 || diag "$(cat "$work/out")"
fine "libvirt's own transport"
for way in runtime fast; do
        move h1 t-w --handover $way >"$work/out" 2>&1
        ok "it moves with handover=$way" F9 || diag "$(cat "$work/out")"
        fine "handover=$way"
done

pf h1 rm --force t-w
finish
