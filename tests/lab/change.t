#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod that is stopped while it moves live goes on as a stopped one; one that is started while it moves as a stopped one goes
# on live: in the same command, and without a trace in the move of another pod beside it. docs/changes.md has the rows.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
. "$(dirname "$0")/change-lib.sh"

make t-a
ok "a pod"
begun t-a 1

# -- the nine rows --
begin_stop t-a
diag "row 1: A off, started in the middle of its copy"
goes_cold t-a
begin_start t-a
arrives t-a
runs_there t-a 2
changes t-a 1
back

diag "row 2: A on, stopped while memory goes over"
goes_live t-a
begin_stop t-a
open t-a
arrives t-a
rests_there t-a 2
changes t-a 1
back

diag "row 3: A on, stopped before anything goes over"
pf $from start t-a
begun t-a 3
touch "$work/hold-live-t-a"
goes t-a
until_ok 30 grep -q 'connect  *the other host' "$work/t-a.out"
begin_stop t-a
open t-a
rm "$work/hold-live-t-a"
arrives t-a
rests_there t-a 3
back
pf $from start t-a
begun t-a 4
touch "$work/hold-transport-t-a"
goes t-a
until_ok 20 grep -q 'connect  *transport' "$work/t-a.out"
open t-a
pf $from stop -t 1s t-a
ok "row 3, once its state has gone over: the move is cancelled, and the pod stopped" F55 F68
arrives t-a
rm "$work/hold-transport-t-a"
rests_there t-a 4
changes t-a 1

back
make t-b
ok "another pod"
begun t-b 1
pf $from stop -t 1s t-b
diag "row 4: A and B off, A is started"
goes_cold t-a --copies with:rows
goes_cold t-b --copies with:rows
begin_start t-a
arrives t-a
runs_there t-a 5
kill -0 "${mover[b]}" && ! grep -q change "$work/t-b.out"
ok "t-b copies on, undisturbed" F55 F56
open t-b
arrives t-b
rests_there t-b 1
changes t-b 0

back
pf $from stop -t 1s t-a
diag "row 5: A and B off, both are started"
goes_cold t-a --copies with:rows
goes_cold t-b --copies with:rows
pf $from start t-a t-b
ok "both are started" F55
arrives t-a
arrives t-b
runs_there t-a 6
runs_there t-b 2

back
diag "row 6: A and B on, A is stopped"
goes_live t-a
goes_live t-b
begin_stop t-a
is "$(session t-b)" transferring "t-b moves on, undisturbed" F55 F56
open t-a
arrives t-a
rests_there t-a 6
faster t-b
arrives t-b
runs_there t-b 2
changes t-b 0

back
pf $from start t-a
begun t-a 7
diag "row 7: A and B on, both are stopped"
goes_live t-a
goes_live t-b
pf $from stop -t 1s t-a t-b
ok "both are stopped" F55
open t-a t-b
arrives t-a
arrives t-b
rests_there t-a 7
rests_there t-b 2

back
pf $from start t-a
begun t-a 8
diag "row 8: A on, B off, B is started"
goes_live t-a
goes_cold t-b
begin_start t-b
arrives t-b
runs_there t-b 3
is "$(session t-a)" transferring "t-a moves on, undisturbed" F55 F56
faster t-a
arrives t-a
runs_there t-a 8
changes t-a 0

back
pf $from stop -t 1s t-b
diag "row 9: A on, B off, A is stopped"
goes_live t-a
goes_cold t-b
begin_stop t-a
open t-a
until_ok 20 grep -q 'queue  *generation .* still copies t-b$' "$work/t-a.out"
ok "t-a waits for the copy of t-b, which was there first, and says so" F56 || diag "$(cat "$work/t-a.out")"
kill -0 "${mover[b]}" && ! grep -q change "$work/t-b.out"
ok "t-b copies on, undisturbed" F55 F56
open t-b
arrives t-b
rests_there t-b 3
arrives t-a
rests_there t-a 8
changes t-a 1

pf $to rm t-a t-b
ok "both are removed"
finish
