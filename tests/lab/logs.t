#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that has said far more than it has memory: when that is over, most of what it said is not, and must not get lost.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

size=50000000
sum=$("$rootfs/bin/probe" feed 0 $size | sha256sum)
pf h1 run --name t-l --rootfs "$rootfs" --detach -- /bin/sleep 100000 >/dev/null
for c in a b; do
        pf h1 run --pod t-l --container $c --rootfs "$rootfs" --detach -- \
                /bin/sh -c "/bin/probe feed 0 $size; exec /bin/probe count 20" >/dev/null
        until_ok 80 eval "pf h1 logs --tail 5 t-l/$c | grep -aq '^count'"
        ok "container $c has said $size bytes"
done

# A transport of 30 MB a second.
cat >"$work/slow.py" <<'END'
import os, time
begin, sent = time.monotonic(), 0
while True:
    data = os.read(0, 65536)
    if not data:
        break
    while data:
        n = os.write(1, data)
        data = data[n:]
        sent += n
    time.sleep(max(0, begin + sent / 30e6 - time.monotonic()))
    begin = max(begin, time.monotonic() - sent / 30e6 - 0.1)
END
way_through "python3 '$work/slow.py'"
pf h1 migrate t-l --to "exec:$work/way" >"$work/out" 2>&1
ok "it moves over a link that is slow for that" B1 F81 || diag "$(cat "$work/out")"
for c in a b; do
        pf h2 logs t-l/$c >"$work/log"
        is "$(head -c $size "$work/log" | sha256sum)" "$sum" "what $c said is whole" B1
        is "$(tail -c +$((size + 1)) "$work/log" | awk '$2 != NR && !bad { bad = NR } END { print (NR ? "counted" : "nothing"), bad }')" \
                "counted " "and so is what it counted"
done
last=$(pf h2 logs --tail 1 t-l/a)
goes_on() {
        [ "$(pf h2 logs --tail 1 t-l/a)" != "$last" ]
}
until_ok 20 goes_on
ok "and it goes on" B1
diag "$(tail -n 1 "$work/out")"
pf h2 rm --force t-l
finish
