#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Limits of a host hold for all moves, whoever began them: commands, plans, and what moves cold.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/plan-lib.sh"
begin

# begin_move POD FROM OPTION...: in the background, with what it says in $work/POD; sets the variable POD.
begin_move() {
        local pod=$1 from=$2

        shift 2
        : >"$work/$pod"
        "$lab" enter "$from" "$podferry" migrate "t-$pod" --to "$(to "$(other "$from")")" --progress json "$@" \
                >"$work/$pod" 2>"$work/$pod.err" &
        printf -v "$pod" %s $!
}

# says POD REGEX: waits until its move has said so.
says() {
        until_ok 30 grep -qE "$2" "$work/$1"
}

# ended POD...: waits for their moves; $codes is how they ended.
ended() {
        local pod

        codes=''
        for pod in "$@"; do
                wait "${!pod}" 2>/dev/null
                codes="$codes$? "
        done
}

queue='"step":"queue","text":"'

forget
for p in a b c; do
        run h1 t-$p /bin/probe count 20 >/dev/null
done
pf h1 stop t-c
is "$(where t-a t-b t-c)" "h1 h1 none" "two pods that run, one that does not"

# --- moves that leave ---
begin_move a h1 --cutover hold
says a '"step":"transfer"'
ok "a move without a limit does not wait"
begin_move b h1 --out 1 --timeout 30s
says b "$queue"'1 move from this host, of 1 at most \(--out\)'
ok "one with --out 1 waits for it, and says so" F71 || diag "$(cat "$work/b" "$work/b.err")"
like "$(pf h1 inspect t-b --json)" '"state": *"idle"' "it has touched nothing"
until_ok 30 pf h1 migration cutover t-a # (the step is told before the hosts are)
ok "the first one is let go"
ended a b
is "$codes$(where t-a t-b)" "0 0 h2 h2" "it goes once the other one has gone" F71 || diag "$(cat "$work/b" "$work/b.err")"

# --- moves that come ---
begin_move a h2 --cutover hold
says a '"step":"transfer"'
begin_move b h2 --in 1
says b "$queue"'1 move to the other host, of 1 at most \(--in\)'
ok "one with --in 1 waits for what comes there" F71 || diag "$(cat "$work/b" "$work/b.err")"
begin_move c h1 --out 1
ended c
is "$codes" "0 " "moves the other way do not count" F71 || diag "$(cat "$work/c" "$work/c.err")"
kill -KILL "$a"
wait "$a" 2>/dev/null
ended b
is "$codes$(where t-b)" "0 h1" "a driver that is killed leaves its place" F71 || diag "$(cat "$work/b" "$work/b.err")"
until_ok 60 eval 'pf h2 inspect t-a --json | grep -q "\"state\": *\"idle\""'
is "$(where t-a)" h2 "and its pod is where it was"

# --- one that does not run, and one that gives up ---
begin_move a h2 --cutover hold
says a '"step":"transfer"'
begin_move c h2 --out 1
says c "$queue"
ok "one that moves cold waits as well" F71 F53
kill -INT "$c"
ended c
is "$codes" "130 " "Ctrl-C while it waits"
like "$(pf h2 ps)" 't-c +- +stopped' "its pod is as it was"
begin_move b h1 --out 1
ended b
is "$codes$(where t-b)" "0 h2" "one the other way goes at once"
begin_move c h2 --out 1
says c "$queue"
pf h2 migration cancel t-a
ended a c
is "$codes" "125 0 " "one that is cancelled leaves its place, too" F71
like "$(pf h1 ps)" 't-c +- +stopped' "and the one that waited is there"

# --- two plans ---
plan() {
        cat >"$work/$1.json" <<END
{ "name": "$1", "hosts": { "h2": { "here": true, "at": "$(to h2)" }, "h1": "$(to h1)" },
  "pods": [ { "pod": "$2", "from": "h2", "to": "h1", "options": { $3 } } ] }
END
}
plan first t-a '"cutover": "hold"'
plan second t-b ''
"$lab" enter h2 "$podferry" plan run "$work/first.json" --json >"$work/first" 2>&1 &
first=$!
says first '"step":"(transfer|memory)"'
"$lab" enter h2 "$podferry" plan run "$work/second.json" --json >"$work/second" 2>&1 &
second=$!
says second '"event":"note".*"text":"1 move from this host, of 1 at most'
ok "a plan waits for the move of another plan, and says so" F71 || diag "$(cat "$work/second")"
until_ok 30 pf h2 migration cutover t-a
ok "that one is let go"
ended first second
is "$codes$(where t-a t-b)" "0 0 h1 h1" "both are seen to their end" F71 F75 || diag "$(cat "$work/second")"

# --- what is wrong ---
for bad in 0 -1 257 many; do
        like "$(pf h1 migrate t-a --to "$(to h2)" --in $bad 2>&1)" '--in.*from 1 to 256' "--in $bad is refused"
done
like "$(pf h1 migrate t-a --to exec:/no/such --in 1 2>&1)" 'connect: .*/no/such.*nothing was changed' "a host that cannot be asked for a place"
like "$(pf h1 migrate t-a --to exec:/bin/echo --in 1 2>&1)" "connect: .*not podferry receive's" "one that says something else"
is "$(pf h1 migrate t-a --to exec:/no/such --progress json 2>/dev/null | jq -r '.result.pipeline? // empty | .[] | [.name, (.reason != null), (.errors | length)] | join(" ")')" \
        "check true 1" "the step in which it failed has the reason" F60
is "$(where t-a t-b)" "h1 h1" "and the pods run where they were"
for p in a b c; do
        pf h1 rm --force t-$p
done
forget
finish
