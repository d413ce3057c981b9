#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podferry doctor on what is really broken: it says what is so, touches nothing unasked, and --fix does the one safe thing.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
. "$(dirname "$0")/crash-lib.sh"

# doctor HOST ARGUMENT...: "STATUS SEVERITY:CODE [ACTION of a fix]", a pod; the JSON is in $work/json, what it says in $work/err.
doctor() {
        local status host=$1

        shift
        pf "$host" doctor --json "$@" >"$work/json" 2>"$work/err"
        status=$?
        python3 -c 'import json, sys
for o in map(json.loads, sys.stdin):
    print(sys.argv[1], o["severity"] + ":" + o["code"], *([o["fixed"]["action"] + o["fixed"]["error"]] if "fixed" in o else []))' $status <"$work/json"
}

# finds WANTED DESCRIPTION ROWS HOST ARGUMENT...
finds() {
        local wanted=$1 what=$2 rows=$3

        shift 3
        # shellcheck disable=SC2086
        is "$(doctor "$@")" "$wanted" "$what" $rows || diag "$(cat "$work/err" "$work/json")"
}

# The first look at what was just broken may be too early.
finds_soon() {
        local wanted=$1 what=$2 rows=$3

        shift 3
        until_ok 30 eval "[ \"\$(doctor $(printf '%q ' "$@"))\" = '$wanted' ]"
        # shellcheck disable=SC2086
        ok "$what" $rows || diag "$(cat "$work/err" "$work/json")"
}

# adopts DESCRIPTION ROWS HOST ARGUMENT...: by --fix. The guest may not have answered the new shim when it looks again.
adopts() {
        local what=$1 rows=$2

        shift 2
        # shellcheck disable=SC2086
        like "$(doctor "$@" --fix)" '^0 (ok:healthy|advises:agent-silent) adopt$' "$what" $rows || diag "$(cat "$work/err" "$work/json")"
}

# settles HOST ARGUMENT...: with --fix --to a hand-over that was cut off goes to its end. There the guest, and the thread for
# files, may not be through when it looks again.
settles() {
        like "$(doctor "$@" --fix)" '^0 (ok:elsewhere|advises:(agent-silent|no-definition)) adopt-to$' "--fix --to settles it" F82 F83 ||
                diag "$(cat "$work/err" "$work/json")"
        finds_soon "0 ok:elsewhere" "it is over there, and well" "" "$@"
}

qemu() {
        on "$1" cat "/run/libvirt/qemu/podferry-$2.pid"
}

shim() {
        on "$1" cat "/run/podferry/$2/pid"
}

# A process of the lab is a process of this machine, too.
stands() {
        grep -q '^State:.T' "/proc/$1/status"
}

strike_shim() {
        local pid

        pid=$(shim "$1" "$2") && kill -9 "$pid" && until_ok 20 eval "! kill -0 $pid"
}

# cut_off MOMENT FROM [OPTION...]: a migration of t-x whose shim is killed at that moment, and then whoever drives it.
cut_off() {
        local moment=$1 from=$2 client

        shift 2
        rm -f "$work/driver"
        echo "$moment" >"$PODFERRY_KILL_AT"
        # shellcheck disable=SC2016
        LD_PRELOAD=$PODFERRY_BUILD/tests/kill-at.so "$lab" enter "$from" sh -c 'echo $$ >"$0"; exec "$@"' "$work/driver" \
                "$podferry" migrate t-x --to "$(to "$(other "$from")")" "$@" >"$work/out" 2>&1 &
        client=$!
        until_ok 30 eval "[ ! -e $PODFERRY_KILL_AT ]"
        ok "$moment: a shim is killed there" F83 || diag "$(cat "$work/out")"
        kill -9 "$(cat "$work/driver")" 2>/dev/null
        { wait $client; } 2>/dev/null
}

run h1 t-x /bin/probe count 10 >/dev/null
ok "a pod"
finds_soon "0 ok:healthy" "a pod that is well" "" h1 t-x
finds "0 ok:healthy" "and the other host has nothing of it" "" h1 t-x --to "$(to h2)"
finds "0 ok:elsewhere" "asked there, it is here" "" h2 t-x --to "$(to h1)"
like "$(pf h1 doctor)" '^t-x +ok +healthy' "without a name: all that there is"
like "$(pf h1 doctor t-x)" 'machine +running.*QEMU +runs, process [0-9]+' "for people, with what it saw"
out=$(pf h1 doctor t-none --to "$(to h2)" 2>&1)
is "$? $out" "125 podferry: doctor: t-none: no such pod on this host, and none on the other; podferry ps shows those that are here" \
        "a pod that nobody knows"
out=$(pf h1 doctor ../x 2>&1)
like "$? $out" '^125 .*pod name' "a name that is none"

# -- the shim --
strike_shim h1 t-x
finds "1 needs-action:shim-dead" "its shim was killed" F83 h1 t-x
like "$(pf h1 doctor t-x)" 'do +podferry adopt t-x' "and what to do"
[ ! -d "/proc/$(shim h1 t-x)" ]
ok "asked twice, and nothing was done" F83
adopts "--fix adopts it" "F83 B7" h1 t-x
is "$(pf h1 exec t-x /bin/echo works)" works "and it works"
pid=$(shim h1 t-x)
kill -STOP "$pid"
SECONDS=0
finds "1 blind:shim-silent" "a shim that is stopped" "" h1 t-x --fix
[ $SECONDS -le 15 ] && stands "$pid"
ok "is found so soon, and left so" || diag "$SECONDS s"
kill -CONT "$pid"
finds_soon "0 ok:healthy" "and goes on" "" h1 t-x

# -- QEMU: matrix row unknown x any --
pid=$(qemu h1 t-x)
kill -STOP "$pid"
until_ok 20 stands "$pid"
SECONDS=0
finds "1 blind:monitor-dead" "a QEMU that is stopped" F82 h1 t-x --fix
finds "1 blind:monitor-dead" "and with the other host" F82 h1 t-x --to "$(to h2)" --fix
[ $SECONDS -le 15 ] && stands "$pid"
ok "nothing hung, and nothing was done" F82 || diag "$SECONDS s"
kill -CONT "$pid"
finds_soon "0 ok:healthy" "it goes on" "" h1 t-x
on h1 virsh -q -c qemu:///system suspend podferry-t-x
finds "0 advises:paused" "a machine that somebody paused" "" h1 t-x --fix
is "$(on h1 virsh -q -c qemu:///system domstate podferry-t-x)" paused "is left paused"
on h1 virsh -q -c qemu:///system resume podferry-t-x

# -- libvirt --
"$lab" libvirtd h2 stop
finds "1 blind:libvirt-silent" "no libvirt on the other host" F82 h1 t-x --to "$(to h2)" --fix
"$lab" libvirtd h2 start
pid=$(on h1 cat /run/libvirtd.pid)
kill -STOP "$pid"
SECONDS=0
finds "1 blind:libvirt-silent" "a libvirt that hangs" F82 h1 t-x --fix
[ $SECONDS -le 25 ]
ok "does not hang the doctor" || diag "$SECONDS s"
kill -CONT "$pid"
finds_soon "0 ok:healthy" "and answers again" "" h1 t-x

# -- the other host says what it likes --
# lies DESCRIPTION REGEX COMMAND [OPTION...]
lies() {
        finds "1 blind:other-host-silent" "the other host: $1" "" h1 t-x --fix --to "exec:sh -c '$3'" "${@:4}"
        like "$(cat "$work/json")" "there_error.*$2" "and it says so"
}
SECONDS=0
lies "it fails" 'no route to it' 'echo no route to it >&2; exit 255'
lies "it hangs" 'does not answer in time' 'exec sleep 1000' --timeout 1s
lies "it says something, and hangs" 'does not answer in time' 'echo {; exec sleep 1000' --timeout 1s
lies "junk without an end" 'not an answer of podferry doctor' 'exec cat /dev/urandom'
lies "a long line" 'more than 65536 bytes' 'exec yes'
lies "nothing" 'not an answer of podferry doctor' :
lies "another document" 'not an answer of podferry doctor' 'echo "[1]"'
lies "another pod" 'speaks of t-y' "exec $lab enter h2 $podferry doctor --facts t-y"
[ $SECONDS -le 40 ]
ok "all of that soon" || diag "$SECONDS s"

# -- migrations --
"$lab" enter h1 "$podferry" migrate t-x --to "$(to h2)" --bandwidth 1M >"$work/out" 2>&1 &
client=$!
finds_soon "0 advises:migrating" "one that is under way" "" h1 t-x --to "$(to h2)" --fix
kill -TERM $client
wait $client
finds_soon "0 ok:healthy" "and was ended: not by the doctor" "" h1 t-x --to "$(to h2)"
cut_off prepared h1
until_ok 30 eval '! on h2 test -e /run/podferry/t-x'
finds_soon "1 needs-action:shim-dead" "cut before the point of no return: this host decides alone" F83 h1 t-x --to "$(to h2)"
adopts "--fix adopts it" "F83 F84" h1 t-x --to "$(to h2)"
pid=$(qemu h1 t-x)
kill -STOP "$pid"
until_ok 20 stands "$pid"
finds "1 blind:monitor-dead" "its journal says kept, and QEMU is stopped: its shim lives" F82 h1 t-x --fix
strike_shim h1 t-x
finds "1 needs-action:kept-stopped" "its shim is dead" F83 h1 t-x
stands "$pid"
ok "it stands yet"
finds "1 needs-action:shim-dead continue-qemu" "--fix lets it go on" "F83 F84" h1 t-x --fix
! stands "$pid"
ok "it runs"
adopts "and then adopts it" F83 h1 t-x

cut_off stopped h1
pid=$(qemu h1 t-x)
finds_soon "1 needs-action:hand-over-cut" "cut in the middle" "F82 F83" h1 t-x --fix
finds_soon "1 needs-action:hand-over-cut" "seen from the other host" "F82 F83" h2 t-x
finds "1 blind:other-host-silent" "with a host that does not answer" F82 h1 t-x --to exec:false --fix
finds "1 blind:other-has-nothing" "with the wrong host" F82 h1 t-x --to "$(to h2)" --name t-z --fix
stands "$pid" && [ "$(on h2 virsh -q -c qemu:///system domstate podferry-t-x)" = paused ]
ok "both copies stand yet" "F82" B2
like "$(pf h1 doctor t-x)" 'do +podferry adopt t-x --to HOST' "what to do"
settles h1 t-x --to "$(to h2)"
is "$(where t-x)" h2 "it has moved" F82
# shellcheck disable=SC2012
cp "$(ls -t "$PODFERRY_KEEP"/journal-* | head -n 1)" "$work/journal-done"
cut_off stopped h2 --handover fast
pf h1 rm --force t-x
ok "handover=fast: somebody gives the other host's copy up"
finds "1 blind:other-has-nothing" "that it may be the wrong host is all that the doctor knows" "F82 F83" h2 t-x --to "$(to h1)" --fix
pid=$(qemu h2 t-x)
stands "$pid"
ok "it stands yet" F82
kill -CONT "$pid"
finds_soon "1 needs-action:shim-dead" "let go on by hand" F83 h2 t-x
adopts "--fix adopts it" "F83 F84" h2 t-x
like "$(counter h2)" '^[0-9]+$' "and its output is whole" B1
# -- stopped --
pf h2 stop --time 1s t-x
finds "0 ok:stopped" "a pod that was stopped" "" h2 t-x --to "$(to h1)"
pf h2 start t-x
finds_soon "0 ok:healthy" "and started" "" h2 t-x

cut_off ready h2 --handover fast
finds_soon "1 needs-action:hand-over-cut" "handover=fast, cut in the middle" "F82 F83" h2 t-x --to "$(to h1)"
settles h2 t-x --to "$(to h1)"
is "$(where t-x)" h1 "it is back" F82
finds_soon "0 ok:healthy" "and could be started again there" F53 h1 t-x
on h1 rm -r /var/lib/podferry/pods/t-x/definition
finds "0 advises:no-definition" "somebody removes how it was made" "" h1 t-x

# -- what is left behind --
on h1 mkdir -m 700 /run/podferry/t-o
finds "1 needs-action:orphan-run-dir" "a run directory without a pod" F77 h1 t-o
like "$(pf h1 doctor)" 't-o +needs-action +orphan-run-dir.*t-x +advises' "also without a name"
finds "0 ok:gone remove-run-dir" "--fix removes it" F77 h1 t-o --fix
on h1 sh -c "mkdir -p /var/lib/podferry/pods/t-o && cp $work/journal-done /var/lib/podferry/pods/t-o/journal"
finds "1 needs-action:finished-journal" "the journal of a pod that has moved away" F77 h1 t-o
finds "0 ok:gone remove-journal" "--fix removes it" F77 h1 t-o --fix
on h1 sh -c "mkdir /var/lib/podferry/pods/t-o && cp $work/journal-done /var/lib/podferry/pods/t-o/journal"
printf X | on h1 dd of=/var/lib/podferry/pods/t-o/journal bs=1 seek=60 conv=notrunc status=none
finds "1 blind:journal-damaged" "a journal that cannot be read" F81 h1 t-o --fix
on h1 rm -r /var/lib/podferry/pods/t-o

# -- running x running: provoked, by hand --
uuid=$(on h1 virsh -q -c qemu:///system domuuid podferry-t-x)
cat >"$work/second.xml" <<END
<domain type='qemu'><name>podferry-t-x</name><uuid>$uuid</uuid><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
END
on h2 virsh -q -c qemu:///system create "$work/second.xml" >/dev/null
finds "1 alarm:split-brain" "two copies" "F82 B2" h1 t-x --to "$(to h2)" --fix
is "$(where t-x)" "h1 h2" "neither is touched" F82
on h2 virsh -q -c qemu:///system destroy podferry-t-x >/dev/null

# -- a machine without a pod --
strike_shim h1 t-x
on h1 rm -r /run/podferry/t-x /var/lib/podferry/pods/t-x
like "$(pf h1 doctor --fix)" 't-x +needs-action +orphan-domain' "a machine that no shim can take up"
is "$(where t-x)" h1 "is not ended" F82
on h1 virsh -q -c qemu:///system destroy podferry-t-x >/dev/null

# -- what a move to this host left, without shim or machine --
on h1 sh -c 'mkdir -m 711 /var/lib/podferry/pods/t-y && cd /var/lib/podferry/pods/t-y && truncate -s 1M scratch-main.raw &&
        echo "t-y m1" >scratch-main.raw.incomplete'
finds "0 advises:incomplete" "half-copied disks that nobody will go on with" F57 h1 t-y
like "$(pf h1 rm t-y 2>&1)" "what a move to this host left.*podferry rm --force t-y removes it" "are no pod" F57
pf h1 rm --force t-y && on h1 test ! -e /var/lib/podferry/pods/t-y
ok "and can be removed" F57 F85
finish
