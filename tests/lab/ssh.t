#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --to ssh://HOST against a real sshd: Debian's, in h2's namespaces, with keys of this test.
# shellcheck disable=SC2016,SC2154
. "$(dirname "$0")/lib.sh"
begin

sshd=$(command -v /usr/sbin/sshd "$PODFERRY_BUILD/unpacked/usr/sbin/sshd" | head -n 1)
if [ -z "$sshd" ]; then
        "$top/hack/deps" --unpack "$PODFERRY_BUILD/unpacked" >"$work/out" 2>&1 || skip_all "no sshd: $(tail -n 1 "$work/out")"
        sshd=$PODFERRY_BUILD/unpacked/usr/sbin/sshd
fi
export LD_LIBRARY_PATH=$PODFERRY_BUILD/unpacked/usr/lib/x86_64-linux-gnu:$PODFERRY_BUILD/unpacked/lib/x86_64-linux-gnu

d=/var/lib/podferry-lab/$PODFERRY_LAB/ssh
rm -rf "$d"
mkdir -m 700 "$d"
for k in host other user stranger; do
        ssh-keygen -q -t ed25519 -N '' -C "$k" -f "$d/$k"
done
cp "$d/user.pub" "$d/authorized"
echo "10.213.0.2 $(cut -d' ' -f1-2 "$d/host.pub")" >"$d/known"
echo "10.213.0.2 $(cut -d' ' -f1-2 "$d/other.pub")" >"$d/wrong"
: >"$d/none"
cat >"$d/config" <<END
ListenAddress 10.213.0.2
Port 22
HostKey $d/host
AuthorizedKeysFile $d/authorized
PidFile $d/pid
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
SetEnv PODFERRY_GUEST_DIR=$PODFERRY_GUEST_DIR
END

# The user that sshd gives its rights up for, and the directory where it does.
on h2 sh -c 'grep -q ^sshd: /etc/passwd || echo sshd:x:64050:65534::/run/sshd:/usr/sbin/nologin >>/etc/passwd
        mkdir -p /run/sshd'
sshd_stop() {
        local p

        read -r p <"$d/pid" 2>/dev/null && kill "$p" 2>/dev/null
        until_ok 20 test ! -e "$d/pid"
        on h2 rm -rf /run/sshd
        rm -rf "$d"
}
on h2 "$sshd" -f "$d/config" -E "$d/log"
until_ok 30 test -s "$d/pid"
ok "sshd runs on h2" || diag "$(cat "$d/log")"
trap 'sshd_stop; clean' EXIT

# far FROM-KNOWN-HOSTS KEY [OPTION...]: migrates t-h by ssh, without a terminal.
far() {
        local known=$1 key=$2

        shift 2
        timeout -k 2 100 setsid -w "$lab" enter h1 "$podferry" migrate t-h --to ssh://root@10.213.0.2 \
                --identity "$d/$key" -o IdentitiesOnly=yes -o IdentityAgent=none -o "UserKnownHostsFile=$d/$known" \
                -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes "$@" </dev/null
}
# refused WHAT TEXT ARGUMENT...: not later than 15 s, with this in the message; the pod runs on and nothing is there.
refused() {
        local what=$1 text=$2 begin=$SECONDS

        shift 2
        far "$@" >"$work/out" 2>&1
        like "$? $(cat "$work/out")" "^125 .*$text" "$what" B5 F84
        [ $((SECONDS - begin)) -lt 15 ]
        ok "$what: nobody is waited for" F84
        is "$(pf h1 ps --json | jq -r .tree.state | sort -u) $(on h2 ls /run/podferry 2>/dev/null)" \
                "running " "$what: it runs on, and nothing is over there" H4
}

run h1 t-h /bin/probe count 10 >"$work/out" 2>&1
ok "a pod runs" || diag "$(cat "$work/out")"
refused "a host whose key nobody knows" 'Host key verification failed' none user --podferry "$podferry"
refused "a host with another key" 'Host key verification failed' wrong user --podferry "$podferry"
refused "a key that is not wanted there" 'Permission denied' known stranger --podferry "$podferry"
refused "podferry is not in the PATH there" 'podferry: .*not found.*--podferry PATH' known user
refused "a program that is not there" '/no/where: .*--podferry PATH' known user --podferry /no/where
refused "nobody listens there" 'Connection refused' known user -o Port=23 --podferry "$podferry"

PODFERRY_SSH="ssh -o '" far known user >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*PODFERRY_SSH' "a PODFERRY_SSH that is no command"

far known user --podferry "$podferry" >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^0 .*t-h runs on' "by ssh, with one more key and where podferry is" B5 F28 F93 || diag "$(cat "$d/log")"
ok_lines() {
        pf "$1" logs t-h | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print bad ? "hole at " bad : n ? "whole" : "none" }'
}
is "$(ok_lines h2)" whole "its output is whole" B1
move h2 t-h >/dev/null 2>&1

# The ssh that carries memory and disks is killed in the middle, more than once: as slow as it must be for that.
carrier() {
        pgrep -f "^ssh .*'receive' '--pod' 't-h' '--transport'"
}
(
        for _ in 1 2; do
                until_ok 20 carrier || exit 1
                until_ok 20 on h1 sh -c 'gdbus call --address unix:path=/run/podferry/t-h/bus.sock --dest org.podferry.Shim1 \
                        --object-path /org/podferry/Shim1/migration --method org.freedesktop.DBus.Properties.Get \
                        org.podferry.Shim1.Migration State | grep -q transferring' || exit 1
                old=$(carrier) && kill $old
                until_ok 20 eval "[ \"\$(carrier)\" != \"$old\" ]"
        done
) &
killer=$!
far known user --podferry "$podferry" --bandwidth 8M >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^0 .*the transport broke .*; connecting again.*t-h runs on' \
        "ssh is killed while memory goes over: another one takes its place" B6 || diag "$(cat "$work/out")"
wait "$killer"
is "$(ok_lines h2)" whole "its output is whole" B1 B6
move h2 t-h >/dev/null 2>&1

# All of ssh at once: the calls end too, so this rolls back.
(
        until_ok 20 carrier
        pkill -P "$(cat "$d/pid")"
) &
far known user --podferry "$podferry" --bandwidth 2M >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*(rolled back|runs on here)' "the whole connection ends: rolled back" B6 F84 || diag "$(cat "$work/out")"
wait
until_ok 60 on h2 test ! -e /run/podferry/t-h
ok "and nothing is left over there" H4 F84
is "$(ok_lines h1)" whole "its output is whole" B1
pf h1 rm --force t-h
sshd_stop
trap clean EXIT
is "$(find /tmp -maxdepth 1 -name 'podferry-ssh-*' -newer "$work/begin" -user root | wc -l)" 0 "no shared connection is left" F85
finish
