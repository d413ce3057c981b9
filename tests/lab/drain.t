#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A drain that is cut off, and one to another host after it.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/plan-lib.sh"
begin

forget
for i in 1 2 3; do
        run h2 t-p$i /bin/probe count 20 >/dev/null
done
is "$(where t-p1 t-p2 t-p3)" "h2 h2 h2" "three pods to move"

# One that is cut off goes on as it began: with another host, it is not what is meant.
"$lab" enter h2 "$podferry" drain --to exec:/no/such --name t-cut >/dev/null 2>&1 &
driver=$!
until_ok 20 eval 'pf h2 plan status t-cut | grep -q "t-p3 *waiting"'
kill -KILL $driver
wait $driver 2>/dev/null
out=$(pf h2 drain --to "$(to h1)" --name t-cut 2>&1)
like "$? $out" '^125 .*was cut off, and goes to exec:/no/such: podferry plan resume t-cut' "a drain to another host than the one that was cut off is refused" F78 || diag "$out"
is "$(where t-p1 t-p2 t-p3)" "h2 h2 h2" "and moves nothing" F78
pf h2 plan cancel t-cut && pf h2 plan resume t-cut >/dev/null 2>&1
pf h2 drain --to "$(to h1)" --name t-cut --out 2 >"$work/out" 2>&1
is "$? $(where t-p1 t-p2 t-p3)" "0 h1 h1 h1" "once that is ended by its name, it goes there" F68 F78 || diag "$(cat "$work/out")"
pf h2 plan rollback t-cut >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^125 .*has no "at"' "a way back needs to know how it is reached" F59
for i in 1 2 3; do
        pf h1 rm --force t-p$i
done
forget
finish
