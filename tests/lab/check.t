#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podferry check: what blocks a move is told, all of it, and nothing of the asking stays.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

# check OPTION...: sets $status, $codes ("blocks:same-host ..."), and leaves the JSON in $work/check.
check() {
        pf h1 check "$pod" --to "$(to h2)" --json "$@" >"$work/check" 2>"$work/err"
        status=$?
        codes=$(python3 -c 'import json, sys
print(" ".join(f["severity"] + ":" + f["code"] for f in json.load(sys.stdin)["findings"]))' <"$work/check" 2>>"$work/err")
}

# finds STATUS CODES DESCRIPTION ROW...
finds() {
        local wanted="$1 $2" what=$3

        shift 3
        is "$status $codes" "$wanted" "$what" "$@" || diag "$(cat "$work/err")"
}

# What a check might leave: tokens beside disks, and what the shims have on h2.
traces() {
        find "$work" -name '.podferry-*'
        on h1 find /var/lib/podferry /run/podferry -name '.podferry-*' -o -name '.migrate-*'
        on h2 sh -c 'ls -A /run/podferry /var/lib/podferry/pods 2>/dev/null | grep "t-"'
}

pod=t-c
run h1 t-c /bin/probe count 20 >/dev/null
ok "a pod to ask about"
before=$(traces)
on h2 mount -t tmpfs none /var/lib/podferry # without the layers of tests before
check
finds 0 "advises:layers-missing" "a pair that fits: only that a layer is missing there" F01 F02 F07
is "$(traces)" "$before" "nothing is left of the question" F01
like "$(pf h1 check t-c --to "$(to h2)")" 'advises +destination +layers-missing.*can move to' "and as a table" F01
on h2 umount /var/lib/podferry

# forecast OPTION...: as check; $forecast has "OUTCOME TOTAL-MS BLACKOUT-MS".
forecast() {
        check --forecast "$@"
        forecast=$(jq -r '.forecast | "\(.outcome) \(.total_ms) \(.downtime_ms)"' <"$work/check")
}
# number KEY: of the forecast
number() {
        jq -r ".forecast.$1" <"$work/check"
}
check
is "$(jq 'has("forecast")' <"$work/check")" false "no forecast, if none was asked for" F16
# forecast_link: as forecast; a link is measured for a third of a second, in which a machine may do something else.
forecast_link() {
        local i

        for i in {1..5}; do
                forecast
                [ "$(number link)" -le 10000000 ] 2>/dev/null || return 0
                diag "round $i: $(cat "$work/check")"
        done
}
forecast_link
like "$status $codes $forecast" '^0 (advises:layers-missing )?advises:forecast converges [0-9]{3,5} [0-9]{2,4}$' "one that does little: it converges" F16
[ "$(number used)" -gt 20000000 ] && [ "$(number used)" -lt "$(number memory)" ] && [ "$(number link)" -gt 10000000 ]
ok "memory in use, and a link" F16 || diag "$(cat "$work/check")"
is "$(traces)" "$before" "nothing is left of it" F16
for i in {1..5}; do
        said=$(pf h1 check t-c --to "$(to h2)" --forecast)
        [[ $said != *"it converges: about"* ]] || break
done
like "$said" 'advises +source +forecast +it converges: about .* blackout of .*can move to' "and as a table" F16
pf h1 run --pod t-c --container dirty --rootfs "$rootfs" --detach -- /bin/probe dirty 64 30 >/dev/null
until_ok 20 eval '[ "$(pf h1 logs t-c/dirty | wc -l)" -ge 3 ]'

# slowest LINE: bytes a second that the writer wrote when it wrote least, by its log from LINE on.
slowest() {
        pf h1 logs t-c/dirty | tail -n "+$1" | awk '$4 == "ok" {
                rate = $3 > t ? ($2 - pages) * 4096e9 / ($3 - t) : 0
                if (++n > 1 && (n == 2 || rate < least))
                        least = rate
                pages = $2
                t = $3
        } END { printf "%d\n", least }'
}
# forecast_busy OPTION...: as forecast. A machine may give a guest less time than it needs for its
# 30 MiB a second: what is foretold then is of a pod that writes less, and it is asked again.
forecast_busy() {
        local lines had i

        for i in {1..10}; do
                lines=$(pf h1 logs t-c/dirty | wc -l)
                forecast "$@"
                had=$(slowest "$lines")
                [ "$had" -lt 20000000 ] || return 0
                diag "round $i: the guest was held up: $had bytes a second at times, $(number writes) foretold"
        done
}
forecast_busy --bandwidth 10M
like "$status $codes" '^0 warns:forecast-abort' "30 MiB/s over a link of 10: it would be given up" F16
like "$(number writes)" '^[1-7][0-9]{7}$' "and how much it writes, in bytes a second" F16
forecast_busy --bandwidth 10M --timeout-action force-complete
like "$status $codes" '^0 warns:forecast-pause' "or stand, if it is forced" F16
forecast_busy --bandwidth 10M --timeout-per-gib 0
like "$status $codes" '^0 warns:forecast-endless' "or be copied without end" F16
forecast_busy --bandwidth 10M --timeout-action force-complete --handover fast --post-copy
like "$status $codes" '^0 warns:forecast-post-copy' "or go over to post-copy" F16
forecast --transport libvirt+tcp://127.0.0.1:1 --set allow_plaintext=true
like "$codes" 'advises:forecast-unknown' "nothing is foretold of a way that was not measured" F16
while IFS='|' read -r what words; do
        cat >"$work/far" <<X
#!/bin/sh
case "\$*" in *--measure*) $what ;; esac
exec "$lab" enter h2 "\$@"
X
        chmod +x "$work/far"
        said=$(pf h1 check t-c --to "exec:$work/far" --forecast)
        like "$? $said" "^0 .*forecast-unknown +no forecast: the link: .*$words" "a link that cannot be measured: $words" F16
done <<'X'
exit 1|exit status 1
exec cat|what was not sent
exec sleep 100|too slow
X
is "$(traces)" "$before" "nothing is left of that either" F16
like "$(on h1 gdbus call --address unix:path=/run/podferry/t-c/bus.sock --dest org.podferry.Shim1 \
        --object-path /org/podferry/Shim1/migration --method org.podferry.Shim1.Migration.Check s1 "{'forecast': <'{\"link\":7}'>}" 2>&1)" \
        'InvalidArgument.*link is not an object' "a link that is none is refused by name" F16
"$lab" enter h1 "$podferry" check t-c --to "exec:$work/far" --forecast >/dev/null 2>&1 & # (measures for 3 s, in vain)
pid=$!
until_ok 30 on h2 test -S /run/podferry/t-c/bus.sock
ok "the other host is being asked"
pkill -9 -P $pid
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
until_ok 20 eval '[ "$(traces)" = "$before" ]'
ok "killed in the middle: nothing is left" F16 || diag "$(traces)"
forecast
like "$status $forecast" '^0 ' "and it can be asked again" F16
pf h1 rm --force t-c/dirty
ok "the one that writes ends"
pf h1 check t-none --to "$(to h2)" >/dev/null 2>&1
is $? 125 "a pod that is not there cannot be asked about"
pf h1 check t-c --to exec:false >"$work/out"
like "$? $(tr '\n' ' ' <"$work/out")" '^1 .*destination-unreachable.*cannot move' "a host that cannot be reached blocks" F10

# -- each, provoked --
run h2 t-c /bin/sleep 1000 >/dev/null
check
finds 1 "blocks:pod-exists" "a pod of that name is there" F01
check --name t-d
finds 0 "" "but not of that one"
pf h2 rm --force t-c
on h2 mount -t tmpfs -o size=1m none /var/lib/podferry
check
finds 1 "blocks:disk-space blocks:layers-space warns:disk-space-full advises:layers-missing" "a small file system there: disks and layers" F07
on h2 umount /var/lib/podferry
on h2 mount -t tmpfs -o size=100m none /var/lib/podferry
check
finds 0 "warns:disk-space-full advises:layers-missing" "what is allocated fits, what may be does not" F07
check --disk-space virtual
finds 1 "blocks:disk-space-virtual advises:layers-missing" "which blocks, if one asks" F07
on h2 umount /var/lib/podferry
check --transport libvirt+tcp://127.0.0.1:1
finds 1 "blocks:transport-unreachable" "a transport that nobody listens on" F10
check --net ns:/run/netns/none
finds 1 "blocks:network-option blocks:namespace" "a namespace that is not there, for a pod that has none" F10
pf h1 check t-c --to "exec:$lab enter h1" --name t-e --json >"$work/check"
like "$? $(cat "$work/check")" '^1 .*"code":"same-host"' "the host itself" F13
on h1 virsh -q -c qemu:///system suspend podferry-t-c
check
finds 1 "blocks:pod-paused" "a paused pod" F11
move h1 t-c >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*paused.*resume it first' "it is not moved" F50
is "$(on h1 virsh -q -c qemu:///system domstate --reason podferry-t-c)" "paused (user)" "and stays paused" F50
on h1 virsh -q -c qemu:///system resume podferry-t-c
"$lab" libvirtd h2 stop
check
like "$status $codes" '^1 blocks:hypervisor-unreachable' "no libvirt there" F04
"$lab" libvirtd h2 start

# -- facts as another host would tell them: asked as any driver may ask --
exec 7> >(exec "$lab" enter h2 "$podferry" receive --pod t-k >/dev/null 2>&1)
asked() {
        on h2 gdbus call --address unix:path=/run/podferry/t-k/bus.sock --dest org.podferry.Shim1 \
                --object-path /org/podferry/Shim1/migration \
                --method org.podferry.Shim1.Migration.Check s1 "{'facts': <'$1'>}" 2>&1
}
until_ok 30 asked '{}'
like "$(asked '{"domain":{"type":"qemu","machine":"pc-q35-99.9"}}')" 'machine-type.*pc-q35-99.9' "a machine type of a newer QEMU" F04
like "$(asked '{"envelopes":[{"kind":"vm","min":9,"current":9}]}')" 'envelope-version.*version 9' "saved state of a newer podferry" F94
like "$(asked '{"host":{"qemu":99000000}}')" 'hypervisor-older' "a source with a newer QEMU" F04
like "$(asked '{"domain":{"memory_mib":100000000,"state":"crashed"},"host":{"arch":"riscv64"}}')" \
        'pod-not-running.*architecture.*memory' "three reasons at once" F01 F03 F08 F11
like "$(asked '{"domain":{"memory_mib":16,"huge_page_kib":3}}')" 'huge-pages' "huge pages of a size that there is not" F08
like "$(asked '{"disks":7}')" 'InvalidArgument.*disks is not a list' "facts that are none are refused by name"
like "$(asked 'no')" 'not a JSON object' "and so is what is no JSON"
exec 7>&-
until_ok 30 on h2 test ! -e /run/podferry/t-k

# -- volumes: the same file, and one in the way --
mkdir "$work/v"
truncate -s 8M "$work/v/a.raw"
mkfs.ext4 -q "$work/v/a.raw"
pod=t-v
pf h1 run --name t-v --rootfs "$rootfs" --volume "$work/v/a.raw:/mnt" --detach -- /bin/sleep 1000 >/dev/null
before=$(traces)
check
finds 1 "blocks:storage-is-shared" "a volume that would be copied onto itself" F06
check --storage shared
like "$status $codes" '^1 blocks:storage-not-shared' "scratch disks are not shared because somebody says so" F05
is "$(traces)" "$before" "no token is left" F01
touch "$work/v/b.raw"
check --disk "$work/v/a.raw=$work/v/b.raw"
finds 1 "blocks:disk-exists" "a file in the way" F06
check --disk "$work/v/a.raw=$work/v/c.raw"
finds 0 "" "another name beside it is fine" F06
out=$(move h1 t-v --storage copy 2>&1)
like "$? $out" '^125 .*storage-is-shared.*nothing was changed' "migrate refuses by the same rule, and has touched nothing" F01
on h1 virsh -q -c qemu:///system blockcopy podferry-t-v sdb "$work/v/mirror.raw" --transient-job --bandwidth 1 >/dev/null 2>&1
check
like "$status $codes" 'blocks:(block-job|job-running)' "a block job" F14
on h1 virsh -q -c qemu:///system blockjob podferry-t-v sdb --abort >/dev/null 2>&1

# -- a check by the name of a migration that is under way --
of_source() {
        on h1 gdbus call --address unix:path=/run/podferry/t-v/bus.sock --dest org.podferry.Shim1 \
                --object-path /org/podferry/Shim1/migration --method "org.podferry.Shim1.Migration.$1" s1 "${@:2}" 2>&1
}
tokens() {
        cat "$work"/v/.podferry-* 2>/dev/null
}
of_source PrepareAndExport "{'storage': <'shared'>}" >/dev/null
kept=$(tokens)
like "$kept" . "a migration has begun, and written its tokens"
like "$(of_source Check "{'storage': <'shared'>}")" 'session' "a check in its name says that it is under way" F14
is "$(tokens)" "$kept" "and leaves its tokens alone" F01
of_source Cancel >/dev/null; of_source Finalize resume >/dev/null; of_source Cleanup >/dev/null
is "$(traces)" "$before" "they go with the migration"

# -- killed in the middle: whoever asks, there or here --
gone() {
        [ "$(traces)" = "$before" ]
}
struck=0
for _ in 1 2 3 4 5; do
        "$lab" enter h1 "$podferry" check t-v --to "$(to h2)" --storage shared >/dev/null 2>&1 &
        pid=$!
        until_ok 5 compgen -G "$work/v/.podferry-*" && struck=$((struck + 1))
        pkill -9 -P $pid
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
done
until_ok 20 gone
ok "killed in the middle, five times: nothing is left" F01 || diag "$(traces)"
[ $struck -gt 0 ]
ok "and at least once its tokens were there"
pf h1 rm --force t-v t-c
finish
