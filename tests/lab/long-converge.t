#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that writes to its memory faster than the link carries: it goes over, or stays, by the rule that was given, and what is
# said to it meanwhile counts.
# shellcheck disable=SC2034,SC2154,SC2016
. "$(dirname "$0")/lib.sh"
begin

# option HOST NAME [POD]: "VALUE FROM" as inspect says.
option() {
        pf "$1" inspect --json "${3:-t-c}" | jq -r --arg n "$2" '.migration_options[] | select(.name == $n) | .value + " " + .from'
}

# state HOST FIELD: of the session.
state() {
        pf "$1" inspect --json t-c | jq -r ".migration.$2"
}

# whole HOST: the counter's lines, none missing, none twice; the pages, none of them old.
whole() {
        pf "$1" logs t-c/counter | awk '$1 == "count" { n++; if ($2 != n) exit bad = 1 } END { exit bad || !n }' &&
                ! pf "$1" logs t-c/dirty | grep -q BAD
}

goes_on() {
        local n

        n=$(pf "$1" logs t-c/dirty | wc -l)
        until_ok 30 eval '[ "$(pf '"$1"' logs t-c/dirty | wc -l)" -gt '$((n + 3))' ]' && whole "$1"
}

# leaves HOST OPTION...: moves in the background, held, over a link that takes less than the pod writes. It has no scratch disk, for
# which a slow link takes as long as for data.
leaves() {
        local from=$1

        shift
        move "$from" t-c --cutover hold --bandwidth 6M "$@" >"$work/out" 2>&1 &
        mover=$!
        until_ok 30 eval '[ "$(state '"$from"' memory.total)" -gt 0 ]' 2>/dev/null || diag "$(cat "$work/out")"
}

arrived() {
        wait $mover
        ok "$@" || diag "$(cat "$work/out")"
}

cat >"$work/config.json" <<'X'
{ "migration": { "max_downtime": 400, "stall_action": "advise" } }
X
mkdir "$work/bundle" && ln -s "$rootfs" "$work/bundle/rootfs" && cat >"$work/bundle/config.json" <<'X'
{ "ociVersion": "1.0.2", "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": [ "/bin/true" ] },
  "root": { "path": "rootfs" }, "annotations": { "org.podferry.migration.max_downtime": "9" } }
X
PODFERRY_CONFIG=$work/config.json pf h1 run --name t-a --bundle "$work/bundle" --container a --annotation org.podferry.migration.handover=fast --detach >/dev/null
is "$(option h1 max_downtime t-a), $(option h1 handover t-a), $(option h1 stall_action t-a)" "9 annotation, fast annotation, advise configuration" \
        "annotations of the bundle and of the command line are over the configuration" F41
for bad in 'no_such=1:no option "no_such"' 'max_downtime=10:container a of this pod says "9", not "10"' 'transport=libvirt+tls-x:is of the hosts' \
        'compression=zstd:libvirt 9.0'; do
        pf h1 run --pod t-a --container b --rootfs "$rootfs" --annotation "org.podferry.migration.${bad%%:*}" --detach -- /bin/true >"$work/out" 2>&1
        is $? 125 "refused: ${bad%%:*}" F41
        like "$(cat "$work/out")" "${bad#*:}" "with the reason"
done
pf h1 run --pod t-a --container b --rootfs "$rootfs" --annotation org.podferry.migration.max_downtime=9 --detach -- /bin/probe count 20 >/dev/null
ok "a container that says the same"
move h1 t-a --max-downtime 300ms --handover shims >"$work/out" 2>&1
ok "the call is over the annotation" F41 || diag "$(cat "$work/out")"
until_ok 30 eval '[ "$(option h2 max_downtime t-a)" = "9 annotation" ]'
ok "which went along" F41 || diag "$(option h2 max_downtime t-a)"
on h2 sh -c 'kill -9 $(cat /run/podferry/t-a/pid)' && pf h2 adopt t-a >"$work/out" 2>&1
until_ok 30 eval '[ "$(option h2 handover t-a)" = "fast annotation" ]'
ok "and is known to a shim that comes after" F41 F83 || diag "$(cat "$work/out")"
pf h2 stop --time 1s t-a >/dev/null && pf h2 start t-a >/dev/null
is "$(option h2 max_downtime t-a)" "9 annotation" "and to the pod that is started again" F41
pf h2 rm --force t-a
PODFERRY_CONFIG=$work/config.json pf h1 run --name t-c --container counter --rootfs "$rootfs" --read-only --detach -- /bin/probe count 20 &&
        pf h1 run --pod t-c --container dirty --rootfs "$rootfs" --read-only --detach -- /bin/probe dirty 32 30
ok "a pod that writes 30 MiB/s runs"
is "$(option h1 max_downtime), $(option h1 downtime_start)" "400 configuration, 50 default" "what is configured, and what is not" F41

leaves h1 --completion-timeout 3s
is "$(state h1 held) $(state h1 downtime_ms)" "true 1" "it is held" F49
pf h1 migration cutover t-c
wait $mover
like "$? $(tail -n 1 "$work/out")" '^125 .*time limit: the transfer did not complete in time.*runs on' "time limit, from the cutover on: it stays" F39 F40
goes_on h1
ok "and goes on" F40

leaves h1 --set stall_window=1000
is "$(option h1 bandwidth), $(option h1 stall_window), $(option h1 max_downtime)" "6291456 call, 1000 call, 400 configuration" \
        "a call counts for more than the configuration" F41
pf h1 migration cutover t-c && pf h1 migration set bandwidth t-c 5M && pf h1 migration set downtime t-c 60ms && pf h1 migration set timeout t-c 10m
ok "set bandwidth, downtime, timeout while it goes" F34 F38 F39
is "$(option h1 bandwidth), $(option h1 max_downtime), $(option h1 completion_timeout), $(state h1 downtime_ms)" \
        "5242880 call, 60 call, 600000 call, 60" "inspect says what is in effect" F41
pf h1 migration post-copy t-c 2>"$work/err"
like "$(cat "$work/err")" 'post_copy is not set' "post-copy that was not allowed is refused" F43
until_ok 60 on h1 grep -q 'stalled: what is left' /run/podferry/t-c/shim.log
ok "it is told that it does not converge" F47 F66
pf h1 migration force t-c
ok "force" F45
arrived "it stands while the rest goes over, and it has moved" F44 F45
goes_on h2
ok "whole, and it goes on"

# Back, slowed down, and forced by its time limit.
leaves h2 --auto-converge --completion-timeout 60s --timeout-action force-complete
pf h2 migration cutover t-c
until_ok 60 eval '[ "$(state h2 throttle)" -gt 0 ]'
ok "auto-converge slows it down, and inspect shows by how much" F42 || diag "$(cat "$work/out")" "$(pf h2 inspect --json t-c | jq -c .migration)"
arrived "time limit: it is forced" F40 F44
goes_on h1
ok "whole, and it goes on"

# The time limit again, with post-copy allowed.
leaves h1 --handover fast --post-copy --set bandwidth_postcopy=6291456 --completion-timeout 3s --timeout-action force-complete
pf h1 migration cutover t-c
until_ok 60 eval '[ "$(state h1 domain)" = post-copy ]'
ok "time limit: post-copy, where it is allowed" F40 F43
until_ok 30 eval 'on h2 virsh -q -c qemu:///system domstate --reason podferry-t-c | grep -q "running .post-copy"'
ok "the pod runs over there"
pf h1 migration cancel t-c 2>"$work/err"
like "$(cat "$work/err")" 'too late, it is post-copy: the pod runs at the destination' "cancel is refused" F70
is "$(state h1 wants_out) $(state h1 domain)" "false post-copy" "and changes nothing" F70
arrived "it is complete over there" F43
goes_on h2
ok "whole, and it goes on"

# Parallel connections, and what changed in a page instead of the page.
move h2 t-c --cutover hold --connections 3 >"$work/out" 2>&1 &
mover=$!
until_ok 30 eval 'on h2 virsh -q -c qemu:///system qemu-monitor-command podferry-t-c "{\"execute\":\"query-migrate-parameters\"}" 2>/dev/null | grep -q "\"multifd-channels\":3"'
ok "three connections for memory" F35 || diag "$(cat "$work/out")"
pf h2 migration cutover t-c
arrived "it has moved over them" F35
goes_on h1
ok "whole, and it goes on" F35
leaves h1 --compression xbzrle --set compression_cache=67108864 --progress json
pf h1 migration cutover t-c
until_ok 60 eval 'grep -q "\"compressed_pages\": *[1-9]" "$work/out" || ! kill -0 $mover'
arrived "it has moved compressed" F36
like "$(grep -o '"compressed_pages": *[0-9]*' "$work/out" | tail -n 1)" '[1-9]' "pages that were written to again went as what changed in them" F36
goes_on h2
ok "whole, and it goes on" F36

# Post-copy whose link breaks, twice: the half that is left behind goes over the next one. The bytes go through a process of
# their own, since what hands its socket to the shim is not missed by anybody.
cat >"$work/wire" <<'END'
#!/bin/bash
# wire LAB PROBE COMMAND...
lab=$1 probe=$2
shift 2
case " $* " in
*" --transport "*) exec "$probe" cut 100000000000 "$lab" enter h1 "$@" ;;
esac
exec "$lab" enter h1 "$@"
END
chmod +x "$work/wire"
pf h2 migrate t-c --to "exec:$work/wire $lab $rootfs/bin/probe" --cutover hold --bandwidth 6M --handover fast --post-copy \
        --set bandwidth_postcopy=3145728 >"$work/out" 2>&1 &
mover=$!
until_ok 30 eval '[ "$(state h2 memory.total)" -gt 0 ]' 2>/dev/null &&
        pf h2 migration cutover t-c && pf h2 migration post-copy t-c
until_ok 60 eval '[ "$(state h2 domain)" = post-copy ]'
ok "post-copy, asked for" F43 || diag "$(cat "$work/out")"
for i in 1 2; do
        wire=$(pgrep -f -- "^$rootfs/bin/probe cut .* t-c .*--transport")
        kill -KILL "$wire"
        until_ok 20 eval '[ "$(grep -c "the transport broke" "$work/out")" -ge '$i' ]'
        ok "its transport breaks ($i)" F43 || diag "wire: $wire" "$(cat "$work/out")"
        until_ok 20 eval 'pgrep -f -- "^$rootfs/bin/probe cut .* t-c .*--transport"'
        before=$(state h2 memory.processed)
        until_ok 20 eval '[ "$(state h2 memory.processed)" -gt $((before + 1000000)) ]'
        ok "and memory goes on over the next one" F43 B6 || diag "$before" "$(pf h2 inspect --json t-c | jq -c .migration)"
done
is "$(state h2 domain)" post-copy "all of it in post-copy" F43
arrived "it is complete over there" F43
goes_on h1
ok "whole, and it goes on" F43

# refused WHAT REGEX OPTION...: nothing of it begins.
refused() {
        local what=$1 regex=$2

        shift 2
        move h1 t-c "$@" >"$work/out" 2>&1
        like "$? $(tail -n 1 "$work/out")" "^125 .*$regex" "$what"
}
refused "connections with post-copy # rows: F35" 'exclude each other' --connections 2 --handover fast --post-copy
refused "connections with xbzrle # rows: F35" 'exclude each other' --connections 2 --compression xbzrle
refused "--compression zstd # rows: F36" 'compression.*zstd.*libvirt' --compression zstd
refused "memory in the clear # rows: F30" 'without encryption.*libvirt.tls' --transport libvirt+tcp://10.213.0.1/system
refused "an option that is none" 'there is no option .*nonsense' --set nonsense=1
refused "libvirt's tunnel # rows: F31" 'there is no option .*tunnelled' --set tunnelled=true
refused "zero-copy # rows: F37" 'there is no option .*zerocopy' --set zerocopy=true
refused "downtimes that contradict each other" 'downtime_start.*max_downtime' --set downtime_start=900
pf h1 migration force t-c 2>"$work/err"
like "$(cat "$work/err")" 'is not being migrated' "force of a pod that stays"
pf h1 rm --force t-c
ok "rm"
finish
