#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Fifty moves there and back of a busy pod: nothing lost, nothing leaked (processes, fds, memory, mounts).
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
moves=${PODFERRY_SOAK:-50}

# What a shim holds: number of open files, resident memory in KiB. The older half of a log, which is there once the first is
# full, is one more, and no leak.
holds() {
        on "$1" sh -c 'p=$(cat /run/podferry/t-l/pid); ls -l /proc/$p/fd | grep -vc "[.]log[.]1\$"; sed -n "s/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p" /proc/$p/status' | tr '\n' ' '
}

pf h1 run --name t-l --container out --rootfs "$rootfs" --detach -- /bin/probe stream 1000000 100000000000 e >/dev/null &&
        pf h1 run --pod t-l --container count --rootfs "$rootfs" --detach -- /bin/probe count 5 >/dev/null &&
        pf h1 run --pod t-l --container memory --rootfs "$rootfs" --detach -- /bin/probe memory 16 100 >/dev/null
ok "a busy pod"
host=h1 done=0
for i in $(seq "$((2 * moves))"); do
        move $host t-l >"$work/out" 2>&1 || break
        host=$(other $host)
        done=$((done + 1))
        [ $done -ne 2 ] || first=$(holds $host)
done
is $done $((2 * moves)) "$((2 * moves)) moves" F81 B1 || diag "$(cat "$work/out")"
read -r files_first rss_first <<<"$first"
# (the connections of the command and of the other host end by themselves)
no_more_files() {
        last=$(holds $host)
        read -r files_last rss_last <<<"$last"
        [ "$files_last" -le "$files_first" ]
}
until_ok 20 no_more_files
ok "no more open files than after the first moves" B7
[ "$rss_last" -le $((rss_first + 2048)) ]
ok "no more memory than after the first moves"
diag "open files and KiB of the shim after 2 moves: $first, after $done: $last"
# Whatever the log still has of them: the oldest is dropped when both halves are full.
whole() {
        awk '$1 == "s" { if (n && $2 != n + 1) { print "line " $2 " after " n; bad = 1; exit } n = $2; k++ } END { exit bad || k < 10000 }'
}
pf $host logs t-l/out 2>/dev/null | whole
ok "stdout is whole" B1
pf $host logs t-l/out 2>&1 >/dev/null | whole
ok "stderr is whole" B1
pf $host logs t-l/count | awk '$1 == "count" { n++; if ($2 != n) { print "line " n; exit 1 } }'
ok "the counter is whole" B1
is "$(pf $host logs t-l/memory | grep -c BAD)" 0 "memory is as it was"
pf $host rm --force t-l
finish
