#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a user, and the command that reaches the other host, can do wrong around a migration: a clear error, soon; the
# pod goes on; nothing is left.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin

# refused DESCRIPTION REGEX COMMAND...: podferry's own failure (125), with one line of text that matches.
refused() {
        local what=$1 regex=$2 status

        shift 2
        "$@" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        like "$status $(grep -v '^ *[0-9.]* s  ' "$work/err" | tr '\n' ' ')" "^125 podferry: .*($regex)" "$what"
}

migrate() {
        pf h1 migrate t-b --to "$@"
}

run h1 t-b /bin/probe count 20 >/dev/null
ok "a pod to try it on"
counting() {
        local n

        n=$(pf h1 logs t-b | tail -n 1 | cut -d' ' -f2)
        until_ok 30 eval "pf h1 logs t-b | grep -q '^count $((n + 20)) '"
}

# -- the command line --
for name in '' . .. ../x a/b 'a b' $'a\nb' $'a\e[31mb' -x "$(printf 'x%.0s' $(seq 300))" 'ü'; do
        refused "migrate of a pod named $(printf %.20q "$name")" 'POD|pod name|option' pf h1 migrate --to "$(to h2)" "$name"
        refused "a new name $(printf %.20q "$name")" 'pod name' pf h1 migrate t-b --to "$(to h2)" --name "$name"
        refused "receive for a pod named $(printf %.20q "$name")" 'pod name|--pod' pf h1 receive --pod "$name"
done
for to in '' ssh:// ssh://-oProxyCommand=x 'ssh://a b' 'ssh://h;x' 'ssh://@h' 'ssh://u@' ssh://:22 ssh://h:99999 ssh://h:0 \
        exec: 'exec: ' "exec:'open" h2 file:///x $'exec:\n'; do
        refused "--to $(printf %q "$to")" '--to|ssh://|host|command|quote' migrate "$to"
done
refused "two pods" 'one POD' pf h1 migrate t-b t-c --to "$(to h2)"
refused "an option without its value" 'to' pf h1 migrate t-b --to
refused "--timeout that is no time" 'soon' migrate "$(to h2)" --timeout soon
refused "--timeout that is negative" '-1' migrate "$(to h2)" --timeout -1
refused "--bandwidth that is no size" 'fast' migrate "$(to h2)" --bandwidth fast
refused "--handover of an unknown kind" 'magic' migrate "$(to h2)" --handover magic
refused "--storage of an unknown kind" 'cloud' migrate "$(to h2)" --storage cloud
refused "--transport of an unknown kind" 'libvirt' migrate "$(to h2)" --transport tcp://x
refused "--progress of an unknown kind" 'xml' migrate "$(to h2)" --progress xml
refused "receive with half of its options" 'session' pf h2 receive --pod t-b --transport
refused "receive of a session that is none" 't-none' pf h2 receive --pod t-none --transport --session x
refused "receive of a layer that is none" 'digest|layer' pf h2 receive --layer ../x --size 1

# -- the root file system --
mkfifo "$work/fifo"
refused "a root file system that is a pipe" 'fifo' pf h1 run --name t-x --rootfs "$work/fifo" -- /bin/true
refused "a root file system that is a device" 'null' pf h1 run --name t-x --rootfs /dev/null -- /bin/true
refused "a root file system that is an empty file" '' pf h1 run --name t-x --rootfs "$work/out" -- /bin/true

# -- the other host --
refused "its command fails" 'exit status 1|cannot' migrate exec:false
refused "its command ends well, and says nothing" 'exec|true|receive' migrate exec:true
refused "its command is not there" 'nonexistent' migrate exec:/nonexistent/command
refused "its command cannot be run" 'etc' migrate exec:/etc/passwd
refused "it says why on stderr" 'no route to nowhere' migrate "exec:sh -c 'echo no route to nowhere >&2; exit 255'"
refused "its command says back what it hears" 'not podferry receive' migrate "exec:sh -c 'exec cat'"
refused "its command says one thing without an end" 'not podferry receive' migrate "exec:sh -c 'exec yes'"
refused "its command says what nobody can understand" 'not podferry receive' migrate "exec:sh -c 'head -c 1000000 /dev/urandom; exec sleep 100'"
refused "its command says it all on stderr" 'not done in 8.0 s' migrate "exec:sh -c 'yes >&2'" --timeout 8s
refused "it does not answer: --timeout" 'not done in 1.5 s' migrate "exec:sh -c 'exec sleep 1000'" --timeout 1500ms
"$lab" enter h1 "$podferry" migrate t-b --to "exec:sh -c 'exec sleep 1000$$'" >"$work/out" 2>&1 &
pid=$!
until_ok 20 grep -q 'the other host' "$work/out"
kill -INT $pid
SECONDS=0
wait $pid
is $? 130 "it does not answer: Ctrl-C" F68
[ $SECONDS -le 8 ]
ok "and that is soon" || diag "$SECONDS s"
is "$(pgrep -c -f "^sleep 1000$$\$")" 0 "its command is ended"
refused "the destination is the source, under another name" 'destination is the source' \
        pf h1 migrate t-b --name t-c --to "$(to h1)"
refused "no libvirt in the transport's URI" 'transport' migrate "$(to h2)" --transport libvirt+tcp://
refused "the pod's memory in the clear over the network" 'libvirt.tls' migrate "$(to h2)" --transport libvirt+tcp://10.213.0.2/system # rows: F30
refused "nobody at the transport's URI" 'cannot be reached: Connection refused' migrate "$(to h2)" --allow-plaintext --transport libvirt+tcp://10.213.0.2:1/system
cat >"$work/cutter" <<END
#!/bin/bash
case " \$* " in
*" --transport "*) echo "the wire is cut" >&2; exit 3 ;;
esac
exec "$lab" enter h2 "\$@"
END
chmod +x "$work/cutter"
refused "a transport that never comes about: given up after 8 times" 'broke 8 times.*the wire is cut.*rolled back: the pod runs on here, and nothing is left' \
        migrate "exec:$work/cutter"
sed -i 's|echo "the wire.*exit 3|exec sleep 1000|' "$work/cutter"
refused "a transport that hangs: --timeout" 'not done in 3.0 s.*rolled back: the pod runs on here, and nothing is left' \
        migrate "exec:$work/cutter" --timeout 3s
counting
ok "the pod counts on after all that" H4 F84
is "$(on h2 ls -A /run/podferry /var/lib/podferry/pods 2>/dev/null | grep -v '^/\|^$')" "" "and nothing of it is at the other host" F85

# -- envelopes --
exec 7> >(exec "$lab" enter h2 "$podferry" receive --pod t-e >/dev/null 2>&1)
# import BYTES: as decimal numbers.
import() {
        on h2 busctl --address=unix:path=/run/podferry/t-e/bus.sock call org.podferry.Shim1 \
                /org/podferry/Shim1/migration org.podferry.Shim1.Migration Import ssay s t-e $# "$@" 2>&1
}
until_ok 30 on h2 test -S /run/podferry/t-e/bus.sock
like "$(import)" 'migration envelope' "an envelope that is empty"
like "$(import 1 2 3 4)" 'migration envelope' "an envelope that is none"
url=type.podferry.org/podferry.state.v1.Migration
# field 1: the type; field 2: version 99
# shellcheck disable=SC2046
like "$(import 10 ${#url} $(printf %s "$url" | od -An -v -tu1) 16 99)" 'migration envelope.*version.*99' "an envelope of another version"
url=${url/Migration/Elsewhere}
# shellcheck disable=SC2046
like "$(import 10 ${#url} $(printf %s "$url" | od -An -v -tu1) 16 1)" 'migration envelope.*Elsewhere' "an envelope of another kind"
exec 7>&-
gone() {
        ! on h2 ls /run/podferry/t-e
}
until_ok 30 gone
ok "receive ends with its stdin, and its shim with it" F26 F85

# -- at the same time --
"$lab" enter h1 "$podferry" migrate t-b --to "$(to h2)" --bandwidth 1M --progress json >"$work/events" 2>"$work/stop" &
pid=$!
until_ok 20 grep -q '"memory"' "$work/events"
refused "a second migration meanwhile" 'migration|migrating' migrate "$(to h2)" --name t-c
refused "an exec meanwhile" 'migrat' pf h1 exec t-b /bin/true
refused "another container meanwhile" 'migrat' pf h1 run --pod t-b --container more --rootfs "$rootfs" -- /bin/true
refused "one of its name at the destination meanwhile" 't-b' pf h2 run --name t-b --rootfs "$rootfs" -- /bin/true
like "$(pf h1 ps)" 't-b' "ps meanwhile"
kill -TERM $pid
wait $pid
is $? 130 "SIGTERM ends it as Ctrl-C does" F68
like "$(cat "$work/stop")" 'interrupted; rolled back: the pod runs on here, and nothing is left on the other host' "and it says so"
pf h1 exec t-b /bin/true
ok "then an exec runs again" H3
move h1 t-b >"$work/out" 2>&1
ok "and a migration succeeds" || diag "$(cat "$work/out")"
pf h2 rm --force t-b
finish
