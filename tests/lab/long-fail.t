#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A migration that is disturbed at any moment: the pod runs on exactly one host, and loses nothing.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
probe=$rootfs/bin/probe

# How `podferry receive` is reached when the transport is to break: BYTES after its start, the first TIMES times.
cat >"$work/cutter" <<'END'
#!/bin/bash
# cutter WORK BYTES TIMES LAB PROBE COMMAND...
work=$1 bytes=$2 times=$3 lab=$4 probe=$5
shift 5
case " $* " in
*" --transport "*)
        n=$(cat "$work/cuts" 2>/dev/null || echo 0)
        echo $((n + 1)) >"$work/cuts"
        [ "$n" -ge "$times" ] || exec "$probe" cut "$bytes" "$lab" enter h2 "$@"
        ;;
esac
exec "$lab" enter h2 "$@"
END
chmod +x "$work/cutter"

# Where the pod runs: "h1", "h2", or what is wrong.
where() {
        local h found=''

        for h in h1 h2; do
                on $h virsh -q -c qemu:///system domstate "podferry-$1" 2>/dev/null | grep -q running && found="$found $h"
        done
        echo "${found# }"
}

# The counter of t-f goes on from 1 without a hole, on the one host that has it.
fine() {
        local what=$1 host n

        host=$(where t-f)
        [[ $host == h[12] ]]
        ok "$what: it runs on one host" B2 F82 || diag "runs on: '$host'"
        # Its shim was killed after the pod had come: a new one takes it up.
        pf "$host" logs t-f >/dev/null 2>&1 || pf "$host" adopt t-f >/dev/null 2>&1
        n=$(pf "$host" logs t-f | tail -n 1 | cut -d' ' -f2)
        until_ok 30 eval "pf $host logs t-f | grep -q '^count $((n + 50)) '"
        ok "$what: it goes on" B2 F84
        is "$(pf "$host" logs t-f | awk '$1 == "count" { n++; if ($2 != n && !bad) { bad = n } } END { print bad ? "hole at " bad : "whole" }')" whole "$what: its output is whole" B1 F84
        if [ "$host" = h2 ]; then
                move h2 t-f >/dev/null 2>&1 || bail "it does not come back"
        fi
}

run h1 t-f "/bin/probe" count 10 >/dev/null
ok "a pod to disturb"

for bytes in 200 20000 2000000 20000000; do
        rm -f "$work/cuts"
        pf h1 migrate t-f --to "exec:$work/cutter $work $bytes 1 $lab $probe" >"$work/out" 2>&1
        ok "transport cut after $bytes bytes: replaced, and the pod moves" B6 || diag "$(cat "$work/out")"
        fine "cut after $bytes bytes"
done
rm -f "$work/cuts"
timeout 60 "$lab" enter h1 "$podferry" migrate t-f --to "exec:$work/cutter $work 20000 1000000 $lab $probe" >"$work/out" 2>&1
[ $? -ne 0 ] && [ $? -ne 124 ]
ok "a transport that always breaks: the migration ends, and says so" F84 || diag "$(cat "$work/out")"
fine "always broken"

# A job in the background starts with SIGINT ignored, and so would the CLI: env gives it back, and all that is started
# from there on is one process, the CLI.
cancelled=0
for delay in 0.05 0.2 0.4 0.6 0.8 1.0 1.3; do
        env --default-signal=INT "$lab" enter h1 "$podferry" migrate t-f --to "$(to h2)" >"$work/out" 2>&1 &
        pid=$!
        sleep $delay
        kill -INT $pid 2>/dev/null
        wait $pid
        status=$?
        case "$status $(where t-f)" in
        "130 h1") cancelled=$((cancelled + 1)) ;;
        "0 h2") ;;
        *) false ;;
        esac
        ok "Ctrl-C after $delay s: cancelled and here, or too late and there" F68 H4 ||
                diag "exit status $status, runs on '$(where t-f)': $(cat "$work/out")"
        fine "Ctrl-C after $delay s"
done
[ $cancelled -gt 0 ]
ok "some of them were cancelled" F68

move h1 t-f >"$work/out" 2>&1 &
pid=$!
sleep 0.3
pf h1 migrate t-f --to "$(to h2)" >"$work/second" 2>&1
like "$? $(cat "$work/second")" '^125 ' "a second migration meanwhile is refused" F12
pf h1 exec t-f /bin/true >"$work/exec" 2>&1
status=$?
wait $pid
ok "and the first one succeeds" || diag "$(cat "$work/out")"
[ $status -eq 125 ] || [ $status -eq 0 ]
ok "an exec meanwhile is refused, or was in time" H3 || diag "exit status $status: $(cat "$work/exec")"
fine "two at once"

# A shim killed at any time; at each moment of the hand-over itself: long-crash.t. What was not begun on a host there is
# nothing to go on with, and it says so.
for host in h1 h2; do
        for delay in 0.05 0.1 0.15 0.2 0.25 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0 1.2; do
                move h1 t-f >"$work/out" 2>&1 &
                pid=$!
                sleep $delay
                on $host sh -c 'kill -9 $(cat /run/podferry/t-f/pid)' 2>/dev/null
                pf h1 adopt t-f --to "$(to h2)" >"$work/adopt" 2>&1 || {
                        diag "$host, $delay s: $(cat "$work/adopt")"
                        [ "$host $(where t-f)" = "h2 h1" ] && pf h2 rm --force t-f >"$work/rm" 2>&1
                }
                wait $pid
                fine "shim of $host killed after $delay s" || diag "$(cat "$work/out" "$work/adopt")"
                is "$(on h2 sh -c 'ls -d /run/podferry/t-f /var/lib/podferry/pods/t-f; virsh -q -c qemu:///system list --all --name' 2>/dev/null | grep -c t-f)" 0 \
                        "shim of $host killed after $delay s: nothing is left on the other host" H4 F83 || {
                        diag "$(cat "$work/out" "$work/adopt")" "$(on h2 find /run/podferry /var/lib/podferry/pods)"
                        pf h2 rm --force t-f >/dev/null 2>&1
                }
        done
done

for delay in 0.3 0.6; do
        move h1 t-f >"$work/out" 2>&1 &
        pid=$!
        sleep $delay
        "$lab" libvirtd h2 kill
        wait $pid
        "$lab" libvirtd h2 start
        fine "destination's libvirtd killed after $delay s"
        pf h2 rm --force t-f >/dev/null 2>&1
done
pf h1 rm --force t-f
finish
