#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A post-copy whose driver dies, with the transport or without: neither host rolls back, kills or ends its half, and podferry adopt
# --to goes on with it, also once libvirt has given it up. A libvirtd that dies in it does no harm; a shim that dies ends it, which
# is said, and nothing is touched.
# shellcheck disable=SC2034,SC2154,SC2016
. "$(dirname "$0")/lib.sh"
begin

# state HOST FIELD: of the session.
state() {
        pf "$1" inspect --json t-p | jq -r ".migration.$2"
}

domstate() {
        on "$1" virsh -q -c qemu:///system domstate --reason podferry-t-p
}

# whole HOST: the counter's lines, none missing, none twice; the pages, none of them old.
whole() {
        pf "$1" logs t-p/counter | awk '$1 == "count" { n++; if ($2 != n) exit bad = 1 } END { exit bad || !n }' &&
                ! pf "$1" logs t-p/dirty | grep -q BAD
}

goes_on() {
        local n

        n=$(pf "$1" logs t-p/dirty | wc -l)
        until_ok 10 eval '[ "$(pf '"$1"' logs t-p/dirty | wc -l)" -gt '$((n + 3))' ]' && whole "$1"
}

# What was carried goes through a process of its own: one that hands its socket to the shim is not missed by anybody.
cat >"$work/wire" <<'END'
#!/bin/bash
# wire LAB PROBE HOST COMMAND...
lab=$1 probe=$2 host=$3
shift 3
case " $* " in
*" --transport "*) exec "$probe" cut 100000000000 "$lab" enter "$host" "$@" ;;
esac
exec "$lab" enter "$host" "$@"
END
chmod +x "$work/wire"

wires() {
        pgrep -f -- "^$rootfs/bin/probe cut .* t-p .*--transport"
}

# leaves HOST OPTION...: it moves away from there, and is in post-copy, which takes a while.
leaves() {
        local from=$1 there

        shift
        there=$(other "$from")
        "$lab" enter "$from" "$podferry" migrate t-p --to "exec:$work/wire $lab $rootfs/bin/probe $there" --cutover hold --bandwidth 6M \
                --handover fast --post-copy --set bandwidth_postcopy=3145728 "$@" >"$work/out" 2>&1 &
        cli=$!
        until_ok 30 eval '[ "$(state '"$from"' memory.total)" -gt 0 ]' 2>/dev/null &&
                pf "$from" migration cutover t-p && pf "$from" migration post-copy t-p
        until_ok 60 eval '[ "$(state '"$from"' domain)" = post-copy ] && domstate '"$there"' | grep -q "running .post-copy"'
        ok "post-copy from $from to $there" F43 || {
                diag "$(cat "$work/out")"
                bail "no post-copy"
        }
}

# shellcheck disable=SC2046
driver_dies() {
        kill -KILL $cli
        [ "$1" = alone ] || kill -KILL $(wires)
        wait $cli 2>/dev/null
        until_ok 20 eval '[ "$(state h1 driver) $(state h2 driver)" = "gone gone" ]' &&
                { [ "$1" = alone ] || until_ok 20 eval '[ "$(state h1 transport) $(state h2 transport)" = "false false" ]'; }
        ok "its driver is killed${2:+, $2}: both shims know" F82 || diag "$(state h1 driver) $(state h2 driver) $(state h1 transport) $(state h2 transport)"
}

# adopted HOST REGEX DESCRIPTION: from there; as long as it takes.
adopted() {
        local out

        out=$(timeout -k 2 400 "$lab" enter "$1" "$podferry" adopt t-p --to "$(to "$(other "$1")")" 2>&1)
        like "$? $out" "^0 t-p runs on $2" "$3" F43 F82 B6 ||
                diag "$(for h in h1 h2; do echo $h; on $h tail -n 12 /run/podferry/t-p/shim.log; domstate $h; done 2>&1)"
}

# arrived HOST: all of it, and the other host has nothing of it.
arrived() {
        until_ok 60 eval '[ "$(pf '"$1"' inspect --json t-p | jq -r .migration.state)" = idle ]' &&
                until_ok 60 eval '! on '"$(other "$1")"' test -e /run/podferry/t-p'
        ok "both sessions are at their end, the other host has nothing of it" F82 H4 ||
                diag "$(pf "$1" inspect --json t-p | jq -c .migration)" "$(on "$(other "$1")" tail -n 8 /run/podferry/t-p/shim.log 2>&1)"
        goes_on "$1"
        ok "whole, and it goes on" F43 B1 || diag "$(pf "$1" logs t-p/dirty | tail -n 3)"
}

doctor() {
        pf "$1" doctor --json t-p --to "$(to "$(other "$1")")" | jq -r '.severity + ":" + .code'
}

start_pod() {
        pf h1 run --name t-p --container counter --rootfs "$rootfs" --read-only --detach -- /bin/probe count 20 >/dev/null &&
                pf h1 run --pod t-p --container dirty --rootfs "$rootfs" --read-only --detach -- /bin/probe dirty 32 30 >/dev/null
}

start_pod
ok "a pod that writes 30 MiB/s runs"

# While the driver lives there is nothing to adopt.
leaves h1
pf h1 adopt t-p --to "$(to h2)" >"$work/said" 2>&1
like "$? $(cat "$work/said")" '^[1-9].*post-copy, and whoever drives the migration lives' "adopt --to beside a driver that lives is refused" F43 F82
is "$(state h1 state) $(state h1 domain) $(state h1 transport) $(state h1 driver)" "switchover post-copy true bound" "and changes nothing" F82

# Driver and transport die.
driver_dies both "its transport, too"
is "$(state h1 state) $(state h1 domain) $(state h1 wants_out) $(state h1 post_copy)" "switchover post-copy false true" "the half at the source is kept" F43 F82
is "$(state h2 state) $(state h2 outcome) $(state h2 post_copy)" "switchover moved true" "and the one at the destination does not end" F43 F82
is "$(doctor h1)" needs-action:hand-over-cut "doctor names it" F82 F83
pf h1 adopt t-p >"$work/said" 2>&1
like "$(cat "$work/said")" 'in post-copy, and nobody drives it.*podferry adopt t-p --to HOST' "and adopt says what goes on with it" F82
is "$(doctor h2)" needs-action:hand-over-cut "also where QEMU waits for a page" F82 F83
adopted h1 "[^t]" "adopt --to goes on with it, from the source"
arrived h2

# So long that libvirt gives it up (its peer is silent for 30 s); from the destination.
leaves h2 --set transport_timeout=5000
driver_dies both "its transport, too"
until_ok 30 on h2 grep -q 'post-copy: no transport for 5 s.*podferry adopt t-p --to' /run/podferry/t-p/shim.log
ok "it says that it waits, and what goes on with it" F43 F82 || diag "$(on h2 tail -n 5 /run/podferry/t-p/shim.log)"
until_ok 90 eval 'domstate h2 | grep -q "post-copy failed"'
ok "libvirt gives it up" F87 || diag "$(domstate h2)"
until_ok 10 eval '[ "$(state h2 domain)" = post-copy-broken ]'
is "$(state h2 state) $(state h2 domain) $(state h2 post_copy)" "switchover post-copy-broken true" "the shims do not: QEMU's stream is kept" F87 F82
is "$(doctor h2)" needs-action:hand-over-cut "doctor names it" F82 F83
adopted h1 "this host" "adopt --to goes on with it, from the destination"
arrived h1

# The driver alone: what carries the bytes lives. (The last words may be lost: then it is this time that counts.)
leaves h1 --set transport_timeout=20000
driver_dies alone
arrived h2

# A libvirtd that dies, or both: QEMU goes on by itself, and libvirt settles it when it is back.
# libvirtd_dies FROM HOST...
libvirtd_dies() {
        local from=$1 h

        shift
        leaves "$from"
        # An answer that QEMU still owes it, the next libvirtd takes for one to itself, and ends the guest (docs/policies.md).
        until_ok 60 on "$(other "$from")" virsh -q -c qemu:///system qemu-monitor-command --hmp podferry-t-p 'info status'
        ok "QEMU owes libvirt no answer" || diag "$(domstate "$(other "$from")")"
        for h in "$@"; do "$lab" libvirtd "$h" kill; done
        for h in "$@"; do "$lab" libvirtd "$h" start; done
        wait $cli
        like "$? $(tail -n 1 "$work/out")" "^0 t-p runs on" "libvirtd of $* is killed in it: it ends well all the same" F43 F85 B6 || diag "$(cat "$work/out")"
        arrived "$(other "$from")"
}

libvirtd_dies h2 h2
libvirtd_dies h1 h2
libvirtd_dies h2 h1 h2

# A shim that dies takes what was on its way with it.
# shim_dies HOST: which the pod leaves for the other one, or comes to.
shim_dies() {
        leaves h1
        kill -KILL "$(on "$1" cat /run/podferry/t-p/pid)" $cli
        wait $cli 2>/dev/null
        until_ok 30 eval 'domstate h1 | grep -q "post-copy failed"'
        ok "the shim of $1 is killed in it: libvirt gives it up" F87 || diag "$(domstate h1)"
}

given_up() {
        local h domains

        domains=$(domstate h1)
        for h in h1 h2; do
                until_ok 10 eval '[ "$(doctor '$h')" = needs-action:postcopy-broken ]'
                is "$(doctor $h)" needs-action:postcopy-broken "doctor on $h names it" F82 F83
                pf $h adopt t-p --to "$(to "$(other $h)")" >"$work/said" 2>&1
                like "$? $(cat "$work/said")" '^125 .*post-copy is broken.*rm --force on both hosts' "adopt --to on $h says that no other shim brings it together" F82 F87
        done
        is "$(domstate h1)" "$domains" "nothing was touched" F87
        like "$(domstate h2)" '^running .post-copy' "on neither host" F87
        for h in h1 h2; do
                pf $h rm --force t-p
                ok "rm --force on $h gives it up" F82
        done
}

shim_dies h1
pf h1 adopt t-p >"$work/said" 2>&1
[ $? -eq 0 ] && until_ok 10 eval '[ "$(state h1 state)" = postcopy-broken ]'
ok "the source's shim that is started anew knows as soon as libvirt has been asked" F82 F87 || diag "$(cat "$work/said")"
until_ok 90 eval '[ "$(state h2 driver)" = gone ]'
given_up

start_pod
ok "a pod that writes 30 MiB/s runs"
shim_dies h2
until_ok 90 eval '[ "$(state h1 driver)" = gone ]'
pf h2 adopt t-p >"$work/said" 2>&1
is "$? $(state h2 state)" "0 idle" "the destination's shim is started anew: the half is this host's" F82 F87 || diag "$(cat "$work/said")"
on h2 grep -q 'post-copy is broken: part of its memory is at the other host' /run/podferry/t-p/shim.log
ok "and it says so" F87
given_up

# A QEMU that dies takes its half with it, which is no success.
start_pod
ok "a pod that writes 30 MiB/s runs"
leaves h1
kill -KILL "$(on h1 cat /run/libvirt/qemu/podferry-t-p.pid)"
wait $cli
like "$? $(tail -n 1 "$work/out")" '^125 .*post-copy is broken: the source, or the link to it, has ended' "the source's QEMU is killed in it: no success" F43 F67
is "$(doctor h2)" needs-action:postcopy-broken "doctor on h2 names it" F82 F83
until_ok 30 eval '! on h1 test -e /run/podferry/t-p'
ok "the other host has nothing of it" H4
pf h2 rm --force t-p
ok "rm --force gives it up"

# So does one that has left the other in want of a page, mostly: libvirt there is told nothing then.
start_pod
ok "a pod that writes 30 MiB/s runs"
leaves h1 --progress-timeout 15s
source=$(on h1 cat /run/libvirt/qemu/podferry-t-p.pid)
kill -STOP "$source"
until_ok 15 grep -q userfault "/proc/$(on h2 cat /run/libvirt/qemu/podferry-t-p.pid)/wchan" || diag "it does not: libvirt can be told this time"
kill -KILL "$source"
wait $cli
like "$? $(tail -n 1 "$work/out")" '^125 .*post-copy is broken: the source, or the link to it, has ended' "the source's QEMU is killed then: no success, but an end" F43 F67
for h in h1 h2; do
        pf $h rm --force t-p
done
is "$(domstate h1)$(domstate h2)" "" "rm --force gives it up"

start_pod
ok "a pod that writes 30 MiB/s runs"
leaves h1
kill -KILL "$(on h2 cat /run/libvirt/qemu/podferry-t-p.pid)"
wait $cli
like "$? $(tail -n 1 "$work/out")" '^125 .*the guest has ended here.*neither host has all of the pod' "the destination's QEMU is killed in it: no success" F43 F67
is "$(pf h2 ps | awk '/t-p/ { print $3 }' | sort -u)" stopped "there its containers have ended" F43 B3
is "$(doctor h1)" needs-action:postcopy-broken "doctor on h1 names it" F82 F83
for h in h1 h2; do
        pf $h rm --force t-p
        ok "rm --force on $h gives it up"
done
finish
