#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Plans whose journals and locks are in etcd, a real one beside the two hosts: one driver at a time, one move of a pod at
# a time, a driver that is killed and replaced from the other host, an etcd that goes away.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/plan-lib.sh"
begin

etcd=$(command -v etcd "$PODFERRY_BUILD/unpacked-etcd/usr/bin/etcd" | head -n 1)
if [ -z "$etcd" ]; then
        "$top/hack/deps" --unpack "$PODFERRY_BUILD/unpacked-etcd" etcd >"$work/out" 2>&1 ||
                skip_all "no etcd: $(tail -n 1 "$work/out")"
        etcd=$PODFERRY_BUILD/unpacked-etcd/usr/bin/etcd
fi
d=/var/lib/podferry-lab/$PODFERRY_LAB/etcd
at=http://10.213.0.3:2379
etcd_pid=''

etcd_answers() {
        on h1 "$PODFERRY_BUILD/shim/podferry" plan status "$work/one.json"
}

# etcd_start [OPTION...]: at $at.
etcd_start() {
        "$lab" enter h3 "$etcd" --data-dir "$d" --listen-client-urls $at --advertise-client-urls $at --unsafe-no-fsync \
                --listen-peer-urls http://10.213.0.3:2380 --logger zap --log-outputs stderr "$@" </dev/null >>"$work/etcd.log" 2>&1 &
        etcd_pid=$!
        until_ok 20 etcd_answers
}

etcd_stop() {
        [ -n "$etcd_pid" ] || return 0
        kill "-${1:-TERM}" $etcd_pid
        wait $etcd_pid 2>/dev/null
        etcd_pid=''
}

# Before the lab's own end.
stop_all() {
        etcd_stop KILL
        rm -rf "$d"
        clean
}
trap stop_all EXIT

configure() {
        printf '{ "plans": { "store": "etcd", "endpoints": ["http://127.0.0.1:1", "%s"], "allow_plaintext": true, "ttl": 5, "wait": %d } }\n' \
                $at "$1" >"$work/config.json"
}

# tls [KEY FILE]...: over TLS, with these.
tls() {
        local more=''

        while [ $# -gt 0 ]; do
                more="$more, \"$1\": \"$work/$2\""
                shift 2
        done
        printf '{ "plans": { "store": "etcd", "endpoints": ["%s"]%s } }\n' $at "$more" >"$work/config.json"
}

# Two authorities; a certificate of each, for etcd and for us.
make_certificates() {
        local n key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'

        printf 'subjectAltName=IP:10.213.0.3\nextendedKeyUsage=serverAuth,clientAuth\n' >"$work/extensions"
        for n in ca other; do
                # shellcheck disable=SC2086
                openssl req -x509 $key -keyout "$work/$n.key" -out "$work/$n.pem" -subj "/CN=$n" -days 2 || return 1
                # shellcheck disable=SC2086
                openssl req $key -keyout "$work/$n-cert.key" -out "$work/$n.csr" -subj "/CN=of $n" || return 1
                openssl x509 -req -in "$work/$n.csr" -CA "$work/$n.pem" -CAkey "$work/$n.key" -CAcreateserial -days 2 \
                        -extfile "$work/extensions" -out "$work/$n-cert.pem" || return 1
        done
}

# plan NAME HERE LIMITS-AND-MORE PODS...: HERE is the host that it is run on.
plan() {
        local name=$1 here=$2 more=$3 pods h hosts=''

        shift 3
        pods=$(printf '%s,' "$@")
        for h in h1 h2; do
                hosts="$hosts${hosts:+, }\"$h\": { \"at\": \"$(to $h)\"$([ $h = "$here" ] && echo ', "here": true') }"
        done
        cat >"$work/$name.json" <<END2
{ "name": "$name", $more "hosts": { $hosts },
  "defaults": { "from": "h1", "to": "h2" }, "pods": [ ${pods%,} ] }
END2
}

# start HOST VERB PLAN REGEX: a driver with the output in $work/events.PLAN, in $driver, once a line matches.
start() {
        : >"$work/events.$3"
        "$lab" enter "$1" "$podferry" plan "$2" "$work/$3.json" --json >>"$work/events.$3" 2>"$work/err.$3" &
        driver=$!
        until_ok 60 grep -qE "$4" "$work/events.$3"
}

# The moves begun in all runs of a plan that is over, from its archive.
begun() {
        local dir

        dir=$(pf "$1" plan archive "$work/$2.json") && on "$1" sh -c "cat $dir/run-*" | grep -c '"event":"move"'
}

export PODFERRY_CONFIG=$work/config.json
rm -rf "$d"
configure 60
plan one h1 '"limits": { "out": 2 }, "backoff": "200ms",' \
        '{ "pod": "t-p1", "options": { "bandwidth": "60M" } }' '{ "pod": "t-p2", "options": { "bandwidth": "60M" } }' '{ "pod": "t-p3" }'
like "$(pf h1 plan status "$work/one.json" 2>&1)" 'etcd http://[0-9.:]+: .*[Cc]onnect' "an etcd that is not there: said, with its address"
etcd_start
ok "etcd" || diag "$(tail -n 5 "$work/etcd.log")"
PODFERRY_TEST_ETCD=$at on h1 "$PODFERRY_BUILD/tests/test-plan-store" >"$work/out" 2>&1
ok "the contract of the stores, with a real etcd" F65 F77 || diag "$(grep -v ' OK ' "$work/out" | head -n 20)"

# --- TLS ---
etcd_stop
make_certificates >"$work/out" 2>&1 || diag "$(tail -n 3 "$work/out")"
plain=$at at=https://10.213.0.3:2379
tls ca ca.pem cert ca-cert.pem key ca-cert.key
etcd_start --cert-file "$work/ca-cert.pem" --key-file "$work/ca-cert.key" --trusted-ca-file "$work/ca.pem" --client-cert-auth
ok "over TLS, with a certificate on both sides" || diag "$(etcd_answers 2>&1)" "$(tail -n 3 "$work/etcd.log")"
tls ca other.pem cert ca-cert.pem key ca-cert.key
like "$(etcd_answers 2>&1)" 'certificate' "an etcd of another authority is refused"
tls cert ca-cert.pem key ca-cert.key
like "$(etcd_answers 2>&1)" 'certificate' "and one that the system does not know"
tls ca ca.pem cert other-cert.pem key other-cert.key
etcd_answers >"$work/out" 2>&1
is $? 125 "as are we, with another's certificate" || diag "$(cat "$work/out")"
etcd_stop
at=$plain
configure 60
etcd_start

for i in 1 2 3; do
        run h1 t-p$i /bin/probe count 20 >/dev/null
done
is "$(where t-p1 t-p2 t-p3)" "h1 h1 h1" "three pods to move"

# --- two drivers of one plan, two plans of one pod, on two hosts ---
start h1 run one '"step":"memory"|"step":"transfer"'
ok "a plan whose moves are at work" || diag "$(cat "$work/events.one" "$work/err.one")"
one=$driver
like "$(pf h2 plan run "$work/one.json" 2>&1)" 'podferry \(pid [0-9]+\) on h1 runs it' "a driver on the other host is refused, and told who has it" B11
like "$(pf h2 plan status "$work/one.json")" 't-p1 +moving' "the other host's status shows the run" F62
plan other h2 '"backoff": "200ms",' '{ "pod": "t-p1" }'
start h2 run other '"state":"held"'
ok "another plan with the same pod waits, on the other host" F12 || diag "$(cat "$work/events.other" "$work/err.other")"
other=$driver
until_ok 20 grep -q 'waits: plan one (podferry (pid' "$work/events.other"
ok "and says for whom" F12 || diag "$(cat "$work/events.other")"

# --- the driver is killed, and replaced from the other host ---
kill -9 $one
wait $one 2>/dev/null
like "$(pf h2 plan resume "$work/one.json" 2>&1)" 'on h1 runs it' "just killed: its lease holds the plan"
nobody() {
        [[ $(pf h2 plan status "$work/one.json") =~ 'nobody drives it' ]]
}
until_ok 20 nobody
ok "then nobody drives it" B11
grep -q '"state":"moving"' "$work/events.other"
is $? 1 "its pods are still its own: the other plan waits" F12
pf h2 plan resume "$work/one.json" --json >"$work/events.one" 2>"$work/err.one"
is "$? $(where t-p1 t-p2 t-p3)" "0 h2 h2 h2" "plan resume on the other host: each pod has moved" B11 F83 || diag "$(cat "$work/err.one" "$work/events.one")"
wait $other
is "$? $(grep -c '"state":"moving"' "$work/events.other")" "0 0" "and the other plan finds its pod moved" F12 || diag "$(cat "$work/events.other" "$work/err.other")"
is "$(begun h2 one) $(begun h1 other)" "3 0" "none was moved twice" B11
is "$(for p in t-p1 t-p2 t-p3; do whole h2 $p; done | sort -u)" whole "no output is lost" B1

# --- etcd goes away ---
plan back h1 '"limits": { "out": 1 }, "backoff": "200ms",' \
        '{ "pod": "t-p1", "from": "h2", "to": "h1", "priority": 1, "options": { "bandwidth": "400M" } }' '{ "pod": "t-p2", "from": "h2", "to": "h1" }'
start h1 run back '"step":"memory"|"step":"transfer"'
etcd_stop KILL
until_ok 150 grep -q 'nothing new is started' "$work/events.back"
is "$? $(where t-p1 t-p2)" "0 h1 h2" "etcd is killed while a pod moves: that one arrives, no other one begins" B11 || diag "$(cat "$work/events.back" "$work/err.back")"
etcd_start
wait $driver
is "$? $(where t-p1 t-p2)" "0 h1 h1" "etcd is back, and the plan goes on" B11 || diag "$(cat "$work/events.back" "$work/err.back")"
is "$(begun h1 back)" 2 "each was moved once"

configure 1
plan last h1 '"limits": { "out": 1 }, "backoff": "200ms",' \
        '{ "pod": "t-p1", "priority": 1, "options": { "bandwidth": "400M" } }' '{ "pod": "t-p2" }'
start h1 run last '"step":"memory"|"step":"transfer"'
etcd_stop
wait $driver
is "$? $(where t-p1 t-p2)" "125 h2 h1" "an etcd that stays away: the move that runs ends, and so does the driver" B11 || diag "$(cat "$work/events.last" "$work/err.last")"
like "$(cat "$work/err.last")" 'no answer for 1 s .*podferry plan resume goes on' "which says why, and what to do"
etcd_start
until_ok 20 pf h2 plan resume "$work/last.json"
is "$? $(where t-p1 t-p2)" "0 h2 h2" "resume goes on, from the other host" B11
is "$(begun h2 last)" 2 "each was moved once"

unset PODFERRY_CONFIG
for i in 1 2 3; do
        pf h2 rm --force t-p$i
done
forget
etcd_stop
rm -rf "$d"
finish
