#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whoever drives a migration is killed, cut or interrupted at each of its phases: the pod is on exactly one host, its
# output whole, the other host has nothing of it, and the next migration succeeds. What is struck waits for a line of
# `--progress json` that names the phase, so every run strikes at the same places.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
probe=$rootfs/bin/probe
here=h1 way=''

# Like ssh: a process of its own between the two ends, whose death closes the streams of both.
like_ssh() {
        echo "exec:$probe cut 1000000000000 $lab enter $1"
}

# The processes that the CLI $cli has started: `receive`, or `receive --transport`.
children() {
        local p

        for p in $(pgrep -P "$cli"); do
                case $(tr '\0' ' ' <"/proc/$p/cmdline") in
                *" --transport "*) [ "$1" = transport ] && echo "$p" ;;
                *" receive --pod "*) [ "$1" = calls ] && echo "$p" ;;
                esac
        done
}

# shellcheck disable=SC2046
hit() {
        case $1 in
        cli) kill "-$2" "$cli" ;;
        *) kill "-$2" $(children "$1") ;;
        esac
}

# strike PHASE ACTOR SIGNAL [OPTION...]: migrates away from $here and hits as soon as PHASE is named. Sets status, struck.
strike() {
        local phase=$1 actor=$2 signal=$3 line to=$way

        shift 3
        struck='' status=none
        # A small pod's memory may be over before anybody is told.
        [ "$phase" != memory ] || set -- "$@" --bandwidth 30M
        # A layer that an earlier migration has left there would not be sent.
        [ "$phase" != layers ] || on "$(other "$here")" sh -c 'rm -rf /var/lib/podferry/layers/*'
        rm -f "$work/events"
        : >"$work/events"
        # (a job in the background starts with SIGINT ignored)
        env --default-signal=INT "$lab" enter "$here" "$podferry" migrate t-d --to "${to:-$(to "$(other "$here")")}" --progress json "$@" \
                >>"$work/events" 2>"$work/err" &
        cli=$!
        # its lines as they come, until it ends
        while read -r line; do
                if [ -z "$struck" ] && [[ $line =~ \"(step|phase)\":\ ?\"$phase\" ]]; then
                        struck=yes
                        hit "$actor" "$signal" 2>/dev/null
                fi
        done < <(timeout 150 tail -n +1 -s 0.01 --pid=$cli -f "$work/events")
        if kill -0 $cli 2>/dev/null; then
                timeout 1 tail --pid=$cli -f /dev/null || kill -9 $cli
        fi
        wait $cli 2>/dev/null
        status=$?
}

running_on() {
        local h found=''

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && found="$found $h"
        done
        echo "${found# }"
}

# One running copy; on the other host no domain, no shim, no file; no sockets of a session anywhere.
alone() {
        local h

        host=$(running_on t-d)
        [[ $host == h[12] ]] || return 1
        h=$(other "$host")
        on "$h" sh -c '! ls -A /run/podferry /var/lib/podferry/pods 2>/dev/null | grep -q "t-d\|^[.]migrate" &&
                ! virsh -q -c qemu:///system list --all --name | grep -q podferry-t-d' || return 1
        on "$host" sh -c '! ls -A /run/podferry | grep -q "^[.]migrate"' || return 1
        on "$host" "$podferry" inspect --json t-d >/dev/null
}

count_of() {
        pf "$host" logs t-d | tail -n 1 | cut -d' ' -f2
}

counts_on() {
        [ "$(count_of)" -gt $(($1 + 5)) ]
}

# What holds after any of them. The pod is then moved once more, and stays there.
fine() {
        local what=$1 n

        until_ok 90 alone
        ok "$what: one host has it, the other nothing of it" B2 F82 F85 || {
                diag "runs on: '$(running_on t-d)', exit status $status" "$(cat "$work/err")" "$(tail -n 4 "$work/events")" \
                        "$(for h in h1 h2; do echo $h; on $h ls -A /run/podferry /var/lib/podferry/pods; on $h tail -n 8 /run/podferry/t-d/shim.log; done 2>&1)"
                bail "$what"
        }
        n=$(count_of)
        until_ok 30 counts_on "$n"
        is "$(pf "$host" logs t-d | awk '$1 == "count" { n++; if ($2 != n && !bad) { bad = n } } END { print bad ? "hole at " bad : "whole" }')" whole "$what: its output is whole" B1 F84
        move "$host" t-d >"$work/out" 2>&1
        ok "$what: and a migration after it succeeds" F84 || {
                diag "$(cat "$work/out")"
                bail "$what"
        }
        here=$(other "$host")
}

# What the CLI says is true, too: with status 0 the pod has moved, with another it has not or it says that it has.
honest() {
        local what=$1 from=$2

        if [ "$status" = 0 ]; then
                is "$host" "$(other "$from")" "$what: it said that the pod has moved"
        elif grep -q 'runs on here' "$work/err"; then
                is "$host" "$from" "$what: it said that the pod runs on at the source"
        else
                like "$(cat "$work/err")" 'has moved all the same|is not known|is not decided' "$what: it said what it knows"
        fi
}

run h1 t-d /bin/probe count 10 >/dev/null
ok "a pod to move"

early="preflight connect layers export import patch prepare"
late="transfer memory switchover handoff"
last="finalize cleanup"

for phase in ${PHASES:-$early $late $last}; do
        strike $phase cli KILL
        is "$struck" yes "phase $phase was seen"
        fine "podferry migrate killed at $phase"
done
for phase in ${PHASES:-$early $late $last}; do
        from=$here
        strike $phase cli INT
        # Nothing has moved at an early phase: it is never too late there.
        [ "$status" = 130 ] || { [[ " $early " != *" $phase "* ]] && [ "$status" = 0 ]; }
        ok "Ctrl-C at $phase: cancelled$([[ " $early " == *" $phase "* ]] || echo ", or too late")" F68 H4 ||
                diag "exit status $status: $(cat "$work/err")"
        fine "Ctrl-C at $phase"
done
for phase in ${PHASES:-export import patch prepare $late $last}; do
        from=$here
        strike $phase calls KILL
        until_ok 90 alone
        honest "receive killed at $phase" "$from"
        fine "receive killed at $phase"
done
# Between the import and the transfer, wherever it hits: messages and files are on their way then.
done=0
for _ in $(seq 25); do
        from=$here
        strike export calls KILL
        until_ok 90 alone || break
        here=$host done=$((done + 1))
done
is $done 25 "receive killed after the export 25 times: one host has it each time" B2 F82 F85
for phase in ${PHASES:-$late}; do
        strike $phase transport KILL
        [ "$status" = 0 ]
        ok "receive --transport killed at $phase: made again, and the pod moves" B6 ||
                diag "$(cat "$work/err")" "$(grep -v progress "$work/events" | tail -n 8)"
        fine "receive --transport killed at $phase"
done
for phase in ${PHASES:-import $late}; do
        from=$here way=$(like_ssh "$(other "$here")")
        strike $phase calls KILL
        until_ok 90 alone
        honest "the command to the other host dies at $phase" "$from"
        fine "the command to the other host dies at $phase"
done
way=''

# Cancelled in the blackout again and again, while it writes: QEMU has its disks back each time, or the write or the next
# migration would end it (docs/handover.md, "A source that keeps its pod, and its disks").
pf "$here" exec --detach t-d /bin/sh -c 'while echo x >>/written; do sync /written; done' >/dev/null
stayed=0 done=0
for _ in $(seq 25); do
        from=$here
        strike handoff cli INT
        until_ok 90 alone || break
        here=$host done=$((done + 1))
        [ "$host" != "$from" ] || stayed=$((stayed + 1))
done
is $done 25 "cancelled in the blackout 25 times, while it writes: one host has it each time" F84 B2 ||
        diag "$(cat "$work/err")" "$(for h in h1 h2; do on $h tail -n 4 /var/log/libvirt/qemu/podferry-t-d.log; done)"
[ $stayed -gt 0 ]
ok "and it has stayed, too" F68 || diag "$stayed of $done"
diag "$stayed of $done stayed"
fine "cancelled in the blackout"
pf "$here" rm --force t-d
finish
