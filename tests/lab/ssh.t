#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ssh:// with a real ssh server on h2: what a user sees when it works, and when it does not.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
address=10.213.0.2

# Root's home on h2 is one of the test; its passwd is the lab's own, changed in place since it is mounted.
home=/var/lib/podferry-lab/$PODFERRY_LAB/h2/home
mkdir -p "$home/.ssh"
chmod 700 "$home" "$home/.ssh"
on h2 cat /etc/passwd >"$work/passwd"
on h2 sh -c "sed 's|^root:\(.*\):/root:[^:]*$|root:\1:$home:/bin/sh|' '$work/passwd' >/etc/passwd"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ssh-keygen -q -t ed25519 -N '' -f "$work/wrong"
cp "$work/key.pub" "$home/.ssh/authorized_keys"
dropbearkey -t ed25519 -f "$work/host" >"$work/dropbearkey" 2>&1
echo "$address $(sed -n 's/^\(ssh-ed25519 [^ ]*\).*/\1/p' "$work/dropbearkey")" >"$work/known"
on h2 dropbear -F -E -s -r "$work/host" -p $address:22 -P "$work/dropbear.pid" 2>"$work/dropbear.log" &
server=$!
until_ok 10 test -s "$work/dropbear.pid"
ok "an ssh server on h2" || bail "$(cat "$work/dropbear.log")"

# What root's login there does not bring: the guest image of the test.
printf '#!/bin/sh\nPODFERRY_GUEST_DIR=%s exec %s "$@"\n' "$PODFERRY_GUEST_DIR" "$podferry" >"$work/there"
chmod 755 "$work/there"

# by IDENTITY KNOWN_HOSTS ARGUMENT...: migrates t-h to h2.
by() {
        local identity=$1 known=$2

        shift 2
        PODFERRY_SSH="ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -i $work/$identity -o UserKnownHostsFile=$work/$known" \
                pf h1 migrate t-h --to "ssh://root@$address" "$@" >"$work/out" 2>&1 </dev/null
}

run h1 t-h /bin/probe count 10 >/dev/null
by key nothing
like "$? $(cat "$work/out")" '^125 .*Host key verification failed.*the pod runs on here' "an unknown host is not trusted" B5
by wrong known
like "$? $(cat "$work/out")" '^125 .*Permission denied.*the pod runs on here' "a key that is not let in" B5
by key known --podferry /nonexistent/podferry
like "$? $(cat "$work/out")" '^125 .*/nonexistent/podferry.*not found.*the pod runs on here' "no podferry there" B5
PODFERRY_SSH="ssh -o '" pf h1 migrate t-h --to "ssh://root@$address" >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*PODFERRY_SSH' "a PODFERRY_SSH that is no command"
is "$(on h2 ls -A /run/podferry 2>/dev/null | wc -l)" 0 "nothing came of that" F85
by key known --podferry "$work/there"
ok "a migration over ssh" B5 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" "t-h runs on h2 now" "says where the pod is"
is "$(find /tmp -maxdepth 1 -name 'podferry-ssh-*' -newer "$work/begin" | wc -l)" 0 "the shared connection is gone" F85
n=$(pf h2 logs t-h | tail -n 1 | cut -d' ' -f2)
until_ok 5 eval "pf h2 logs t-h | grep -q '^count $((n + 50)) '"
is "$(pf h2 logs t-h | awk '$1 == "count" { n++; if ($2 != n && !bad) { bad = n } } END { print bad ? "hole at " bad : "whole" }')" whole "its output is whole" B1
pf h2 rm --force t-h
kill "$(cat "$work/dropbear.pid")"
wait $server 2>/dev/null
on h2 sh -c "cat '$work/passwd' >/etc/passwd"
rm -rf "$home"
finish
