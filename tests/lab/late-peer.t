#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An import is given up while what the source has said before, how the pod was made among it, is still on its way.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

# The way of the transport: all but the first thing that the source says, its hello, waits for a file.
cat >"$work/held.py" <<'END'
import fcntl, os, select, sys
gate, heard, passed, waits = sys.argv[1:]
held, first = b"", True
while True:
    if select.select([0], [], [], 0.02)[0]:
        data = os.read(0, 65536)
        if not data:
            break
        held += data
        if not first:
            with open(heard, "ab") as f:
                f.write(data)
    if held and (first or os.path.exists(gate)):
        while held:
            held = held[os.write(1, held):]
        if not first:
            # (the socket is the output of whoever is behind us, too)
            if not fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK:
                open(waits, "w").close()
            open(passed, "w").close()
        first = False
END
way_through "python3 '$work/held.py' '$work/gate' '$work/heard' '$work/passed' '$work/waits'"

state() {
        pf "$1" inspect --json t-l | jq -r .migration.state
}

run h1 t-l /bin/probe count 20 >/dev/null
ok "a pod"
"$lab" enter h1 "$podferry" migrate t-l --to "exec:$work/way" >"$work/out" 2>&1 &
driver=$!
until_ok 20 grep -q /bin/probe "$work/heard"
ok "how it was made is on its way"
kill -STOP $driver
is "$(state h2)" transferring "the destination waits for it"
on h2 busctl --address=unix:path=/run/podferry/t-l/bus.sock call org.podferry.Shim1 /org/podferry/Shim1/migration \
        org.podferry.Shim1.Migration Cancel s "$(pf h2 inspect --json t-l | jq -r .migration.session)" >"$work/said" 2>&1
ok "the destination is told to give it up" || diag "$(cat "$work/said")"
until_ok 30 eval '[ "$(state h2)" = cancelled ]'
is "$(state h2)" cancelled "it does"
touch "$work/gate"
until_ok 30 test -e "$work/passed"
ok "then the rest of it comes"
test -e "$work/waits"
ok "the commands of the way still have a stream that waits" B5
is "$(state h2)" cancelled "and does no harm"
kill -CONT $driver
wait $driver
like "$? $(cat "$work/out")" '^125 .*rolled back: the pod runs on here, and nothing is left' "the move is rolled back" F82
pf h1 rm --force t-l
finish
