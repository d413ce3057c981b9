# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of pods that change while they move share; sourced after lib.sh and `begin`.
from=h1 to=h2

# -- pods: one container counts its starts and the content that it found, one counts --
ends='trap "exit 3" TERM; sleep 100000 & wait'
writes='[ -e /f ] || dd if=/dev/urandom of=/f bs=64k count=40 2>/dev/null
        echo start >>/started; sync; echo "start $(wc -l </started) $(sha256sum </f | cut -c1-64)"; '$ends

make() {
        pf $from run --name "$1" --container first --rootfs "$rootfs" --memory 192M --scratch 16M --detach -- /bin/sh -c "$writes" >/dev/null &&
                pf $from run --pod "$1" --container count --rootfs "$rootfs" --scratch 16M --detach -- /bin/probe count 20 >/dev/null
}

starts() {
        pf "$1" logs "$2/first" | awk '$1 == "start" { n = $2 } END { print n + 0 }'
}

# begun POD STARTS: that start has been counted; before that, a stop would end it in the middle of its count.
begun() {
        until_ok 20 eval "[ \"\$(starts $from $1)\" = $2 ]"
}

running() {
        pf "$1" ps | grep -q "^$2 .*running"
}

# whole HOST POD: one content (none where it was stopped before it had looked), and nothing of the counter missing or there
# twice; it begins anew with each start.
whole() {
        [ "$(pf "$1" logs "$2/first" | awk '$1 == "start" && $3 { print $3 }' | sort -u | wc -l)" = 1 ] &&
                pf "$1" logs "$2/count" | awk '$1 == "count" { if ($2 != n + 1 && $2 != 1) bad = 1; n = $2 } END { exit bad || !n }'
}

lines() {
        pf "$1" logs "$2/count" | wc -l
}

# -- how the other host is reached: a stopped pod's stream waits in its middle, a live move's command at its beginning, each
#    until a file of the pod's is there, or nobody is at the other end --
cat >"$work/pass.py" <<'END'
import os, select, sys, time
left, gate = int(sys.argv[1]), sys.argv[2]
hup = select.poll()
hup.register(0, 0x2000)
while True:
    data = os.read(0, min(left, 65536))
    if not data:
        break
    os.write(1, data)
    left -= len(data)
    while left == 0 and not os.path.exists(gate):
        if hup.poll(20):
            sys.exit(0)
    left = left or 1 << 60
END
cat >"$work/way" <<END
#!/bin/sh
# way HOST COMMAND...
host=\$1
shift
pod=\$(echo " \$* " | sed -n 's/.* --pod \([^ ]*\) .*/\1/p')
case " \$* " in
*" receive "*" --cold "*)
        python3 "$work/pass.py" "\$(cat "$work/cold-limit" 2>/dev/null || echo 1500000)" "$work/open-\$pod" | "$lab" enter "\$host" "\$@"
        ;;
*" --transport "*)
        while [ -e "$work/hold-transport-\$pod" ]; do sleep 0.02; done
        exec "$lab" enter "\$host" "\$@"
        ;;
*" receive "*)
        while [ -e "$work/hold-live-\$pod" ]; do sleep 0.02; done
        exec "$lab" enter "\$host" "\$@"
        ;;
esac
exec "$lab" enter "\$host" "\$@"
END
chmod +x "$work/way"

open() {
        local p

        for p; do
                touch "$work/open-$p"
        done
}

# goes POD [OPTION...]: it moves, in the background; \$mover_POD is the command.
goes() {
        local p=$1

        shift
        rm -f "$work/open-$p"
        "$lab" enter $from "$podferry" migrate "$p" --to "exec:$work/way $to" "$@" >"$work/$p.out" 2>&1 &
        mover[${p#t-}]=$!
}
declare -A mover

session() {
        pf $from inspect --json "$1" | jq -r .migration.state
}

# Slow, so that it is in the middle for long.
goes_live() {
        goes "$1" --bandwidth 2M "${@:2}"
        until_ok 30 eval "[ \"\$(session $1)\" = transferring ]"
        ok "$1 moves live" || diag "$(cat "$work/$1.out")"
}

goes_cold() {
        goes "$@"
        until_ok 20 grep -q 'copy  *disks and logs' "$work/$1.out"
        ok "$1 moves as a stopped pod" || diag "$(cat "$work/$1.out")"
}

faster() {
        pf $from migration set bandwidth "$1" 1G >/dev/null
}

arrives() {
        wait "${mover[${1#t-}]}"
        ok "$1: the command ends well" F55 || diag "$(cat "$work/$1.out")"
}

there() {
        is "$(on $from sh -c "ls -d /var/lib/podferry/pods/$1 /run/podferry/$1 /run/podferry/.wish-$1" 2>/dev/null)" "" "$1: nothing of it is left where it was" F55 F82
}

# runs_there POD STARTS, rests_there POD STARTS: how often it was started in all.
runs_there() {
        running $to "$1" && until_ok 20 eval "[ \"\$(starts $to $1)\" = $2 ]" && until_ok 30 eval "[ \$(lines $to $1) -gt $(lines $to "$1") ]" && whole $to "$1"
        ok "$1: it runs over there, whole, and goes on" F55 || diag "$(pf $to ps) starts: $(starts $to "$1") $(pf $to logs "$1/count" | tail -n 3)"
        there "$1"
}

rests_there() {
        pf $to ps | grep -q "^$1 .*stopped" && [ "$(starts $to "$1")" = "$2" ] && whole $to "$1"
        ok "$1: it is over there, stopped, and whole" F55 || diag "$(pf $to ps) starts: $(starts $to "$1")"
        there "$1"
}

# Its command has told of N changes.
changes() {
        is "$(grep -c ' change  *the pod ' "$work/$1.out")" "$2" "$1: changed $2 times" F55 || diag "$(cat "$work/$1.out")"
}

back() {
        local h=$from

        from=$to to=$h
}

begin_stop() {
        pf $from stop -t 1s "$1"
        ok "$1 is stopped" F55
}

begin_start() {
        pf $from start "$1"
        ok "$1 is started" F55
}
