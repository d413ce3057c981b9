#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is attached to a pod, or runs in it, when it moves there and back under another name: terminals, execs,
# input, signals, volumes, what has ended, what is refused meanwhile; and ten round trips that leak nothing.
# shellcheck disable=SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# Waits until a file has a line that matches.
says() {
        until_ok 20 grep -q "$2" "$1"
}
state_of() {
        pf "$1" ps | awk -v c="$3" -v p="$2" '$1 == p && $2 == c { print $3, $4 }'
}

for h in h1 h2; do
        on $h rm -rf /var/lib/podferry/t-vol # of a test that was cut off
        on $h mkdir /var/lib/podferry/t-vol || bail "no directory"
done
truncate -s 16M "$work/vol" && mkfs.ext4 -q -F "$work/vol" && cp --sparse=always "$work/vol" "$work/shared" || bail "mkfs.ext4"
on h1 cp --sparse=always "$work/vol" /var/lib/podferry/t-vol/own || bail "no volume"
mkdir "$work/bundle" && ln -s "$rootfs" "$work/bundle/rootfs" && cat >"$work/bundle/config.json" <<'JSON'
{ "ociVersion": "1.0.2", "root": { "path": "rootfs" },
  "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": [ "PATH=/bin", "FROM=bundle" ],
    "args": [ "/bin/sh", "-c", "trap 'exit 9' TERM; echo $FROM; while :; do sleep 0.1; done" ] },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" } ] } }
JSON

pf h1 run --name t-w --container main --rootfs "$rootfs" --detach --volume "/var/lib/podferry/t-vol/own:/mnt" -- /bin/probe count 10 >/dev/null
ok "a pod with a volume of its own that is copied" || diag "$(pf h1 ps)"
mkdir "$work/refused" && ln -s "$rootfs" "$work/refused/rootfs" && sed 's/"type": "ipc"/"type": "nonsense"/' "$work/bundle/config.json" >"$work/refused/config.json"
like "$(pf h1 run --pod t-w --container bad --bundle "$work/refused" --detach 2>&1)" 'cannot make the container bad: .*namespace' "a bundle that crun refuses is an error, and is forgotten"
pf h1 run --pod t-w --container trap --bundle "$work/bundle" --detach >/dev/null
ok "a container from a bundle joins it" H3
pf h1 run --pod t-w --container both --rootfs "$rootfs" --detach --volume "$work/shared:/mnt:shared" -- /bin/sleep 1000 >/dev/null
ok "and one with a volume that both hosts have"
pf h1 run --pod t-w --container gone --rootfs "$rootfs" --detach -- /bin/sh -c 'echo last words; exit 5' >/dev/null
until_ok 30 eval '[ "$(state_of h1 t-w gone)" = "stopped (5)" ]'
ok "and one that has ended"
pf h1 exec t-w/main /bin/sh -c 'echo of h1 >/mnt/file; sync'
pf h1 exec t-w/both /bin/sh -c 'echo of both >/mnt/file; sync'
left=$(pf h1 exec --detach t-w/main /bin/sh -c 'echo said before; exit 6')
until_ok 30 eval 'pf h1 inspect t-w | grep -q "$left *terminated (6)"'
ok "and an exec that has ended and was not removed"

# Clients: a terminal, one with input, one that only listens, the log.
script -qefc "stty rows 30 cols 100; (until [ -e $work/resize ]; do sleep 0.1; done; stty rows 50 cols 120 </dev/tty) & $lab enter h1 $podferry exec -ti t-w/main /bin/sh -c 'trap \"stty size\" WINCH; stty size; while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 7'" "$work/tty" </dev/null >/dev/null 2>&1 &
tty=$!
"$rootfs/bin/probe" feed 1000000 5000000 | pf h1 exec -i t-w/main /bin/probe sink >"$work/in" 2>"$work/in.err" &
input=$!
pf h1 exec t-w/main /bin/sh -c 'i=0; while [ ! -e /tmp/end ]; do i=$((i + 1)); echo n $i; sleep 0.02; done; exit 8' >"$work/listen" 2>&1 &
listen=$!
pf h1 logs --follow t-w/main >"$work/log" 2>&1 &
log=$!
pf h1 logs --follow --stay t-w/main >"$work/stay" 2>&1 &
stay=$!
says "$work/tty" '30 100' && says "$work/in" sink && says "$work/listen" 'n 5' && says "$work/log" count && says "$work/stay" count
ok "five clients are attached" || diag "$(head -n 5 "$work"/{tty,in,in.err,listen,log,stay})"

move h1 t-w --name t-w2 >"$work/out" 2>&1
ok "it moves, under another name" F25 F81 || diag "$(cat "$work/out")"
is "$(pf h2 ps --json | jq -r .pod)" t-w2 "which it has there" F25
wait $stay
is "$? $(tail -n 1 "$work/stay")" "0 podferry: t-w: it has moved to another host; podferry logs there shows the rest" "--stay ends there"
n=$(wc -l <"$work/listen")
until_ok 30 eval '[ $(wc -l <"$work/listen") -gt $((n + 20)) ]'
ok "who listens to an exec hears it go on" H8 B1
touch "$work/resize"
says "$work/tty" '50 120'
ok "a terminal is resized after the move" H17 || diag "$(cat "$work/tty")"
is "$(state_of h2 t-w2 gone)" "stopped (5)" "what had ended has, with its exit status"
is "$(pf h2 logs t-w2/gone)" "last words" "and its log"
is "$(pf h2 attach --no-stdin t-w2/gone </dev/null; echo $?)" 5 "who attaches to it hears the status at once" H8
is "$(timeout 10 "$lab" enter h2 "$podferry" attach --no-stdin --exec "$left" t-w2/main; echo $?) $(pf h2 logs --exec "$left" t-w2/main)" "6 said before" "also of an exec" H8
is "$(pf h2 exec t-w2/main cat /mnt/file)" "of h1" "the copied volume" H7 F28
is "$(pf h2 exec t-w2/both cat /mnt/file)" "of both" "the shared one" H7
pf h2 exec t-w2/main /bin/sh -c 'echo of h2 >/mnt/file; sync'
pf h2 kill --signal TERM t-w2/trap
until_ok 30 eval '[ "$(state_of h2 t-w2 trap)" = "stopped (9)" ]'
ok "a signal arrives, and the exit after it" H17 || diag "$(pf h2 ps)"

on h1 rm /var/lib/podferry/t-vol/own # a copied volume stays at the source, and is never overwritten
move h2 t-w2 --name t-w >"$work/out" 2>&1
ok "and back, under the old name" F25 F81 || diag "$(cat "$work/out")"
is "$(pf h1 exec t-w/main cat /mnt/file)" "of h2" "the volume came along"
pf h1 exec t-w/main touch /tmp/end
wait $tty
is "$?" 7 "the terminal's client has the exit status" H8 H17
wait $listen
is "$?" 8 "the one that listens too" H8
awk '$1 != "n" || $2 != NR { print "line " NR ": " $0; bad = 1; exit } END { exit bad }' "$work/listen" >"$work/bad"
ok "and heard every line once" B1 || diag "$(cat "$work/bad")"
wait $input
is "$? $(tail -n 1 "$work/in")" "0 sink end 5000000 $("$rootfs/bin/probe" hash 5000000)" "the input came in whole" B1 || diag "$(cat "$work/in.err")"
pf h1 kill t-w/main
wait $log
is "$?" 0 "logs --follow ends with the container"
awk '$1 != "count" || $2 != NR { print "line " NR ": " $0; bad = 1; exit } END { exit bad }' "$work/log" >"$work/bad"
ok "and has shown every line once" B1 || diag "$(cat "$work/bad")"
is "$(pf h1 inspect --json t-w | jq '[.. | select(.kind? == "process" and .id != "init")] | length')" 1 "the execs are removed where they ended, but for the one nobody asked for"
pf h1 rm --force t-w
on h1 rm -r /var/lib/podferry/t-vol
on h2 rm -r /var/lib/podferry/t-vol

# While a move is under way the pod's description stands still.
run h1 t-f /bin/probe memory 100 10 >/dev/null
move h1 t-f --bandwidth 2M >"$work/out" 2>&1 &
mover=$!
until_ok 30 eval 'pf h1 inspect --json t-f | grep -q "\"source-migrating\""'
like "$(pf h1 exec t-f /bin/true 2>&1; echo " $?")" 'migrat.* 125' "exec is refused meanwhile, and says why"
like "$(pf h1 run --pod t-f --rootfs "$rootfs" -d -- /bin/true 2>&1; echo " $?")" 'migrat.* 125' "a further container too"
pkill -INT -P $mover -f migrate || kill -INT $mover
wait $mover
like "$(cat "$work/out")" 'runs on here' "the move is cancelled"
is "$(pf h1 exec t-f /bin/echo works; echo $?)" $'works\n0' "then exec works again"
pf h1 run --pod t-f --container more --rootfs "$rootfs" -d -- /bin/sleep 100 >/dev/null
ok "and a further container"
pf h1 rm --force t-f

# Ten round trips: no shim holds more at the end.
holds() {
        on "$1" sh -c 'p=$(cat /run/podferry/t-l/pid); ls /proc/$p/fd | wc -l; sed -n "s/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p" /proc/$p/status' | tr '\n' ' '
}
run h1 t-l /bin/probe count 5 >/dev/null
pf h1 run --pod t-l --container in --rootfs "$rootfs" --detach --interactive -- /bin/cat >/dev/null
host=h1 trips=0
for i in $(seq 20); do
        move $host t-l >"$work/out" 2>&1 || break
        host=$(other $host) trips=$i
        [ $i -ne 2 ] || first=$(holds h1)
done
is $trips 20 "ten round trips" F81 B7 || diag "$(cat "$work/out")"
read -r files_first rss_first <<<"$first"
# (the connections of the command and of the other host end by themselves)
holds_no_more() {
        read -r files_last rss_last <<<"$(holds h1)"
        [ "$files_last" -le "$files_first" ] && [ "$rss_last" -le $((rss_first + 1024)) ]
}
until_ok 20 holds_no_more
ok "no more files and memory than after the first" B7
diag "files and KiB of the shim: $first after one round trip, $files_last $rss_last after ten"
pf h1 rm --force t-l
finish
