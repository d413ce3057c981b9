#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Hooks: each host's own programs around a migration, live and cold. In their order, with what they are to know; one that fails
# before the pod is touched keeps it where it is, and one that fails after it has moved is a warning. Hangs, floods and kills.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin
order=$work/order

# The program of every hook: says that it ran, and then does what the test says, if it says something of this event.
cat >"$work/hook" <<END
#!/bin/bash
echo "\$(hostname) \$PODFERRY_EVENT \$PODFERRY_SIDE \$PODFERRY_POD \$PODFERRY_TYPE \$PODFERRY_ATTEMPT \$1" >>"$order"
env | grep -v '^SHLVL\|^_=\|^PWD=\|^OLDPWD=' | sort >"$work/env-\$PODFERRY_EVENT-\$PODFERRY_SIDE"
[ ! -e "$work/do-\$PODFERRY_EVENT" ] || . "$work/do-\$PODFERRY_EVENT"
END
chmod 755 "$work/hook"

# config HOST [EVENT MORE]: every event has a hook; MORE are keys of that event's.
config() {
        local host=$1 e list=''

        for e in pre-source pre-target post-target post-source on-failure; do
                list="$list, \"$e\": [{\"run\": [\"$work/hook\", \"of-$host\"] $([ "${2:-}" = $e ] && echo ", $3")}]"
        done
        echo "{\"hooks\": {${list#, }}}" >"$work/$host.json"
}

# go FROM POD OPTION...: each host has its own configuration.
go() {
        local from=$1 pod=$2 there

        shift 2
        there=$(other "$from")
        PODFERRY_CONFIG=$work/$from.json pf "$from" migrate "$pod" \
                --to "exec:env PODFERRY_CONFIG=$work/$there.json $lab enter $there" "$@" >"$work/out" 2>&1
}

# What one run of a hook is in $order.
line() {
        echo "$(on "$1" hostname) $2 $3 t-k $4 ${5:-1} of-$1"
}

does() {
        cat >"$work/do-$1"
}

fresh() {
        rm -f "$order" "$work"/do-* "$work"/env-*
        : >"$order"
        config h1
        config h2
}

runs_on() {
        pf "$1" ps | grep -q '^t-k .*running'
}

nothing_there() {
        is "$(on "$1" sh -c 'ls -d /var/lib/podferry/pods/t-k /run/podferry/t-k /run/podferry/.migrate-*' 2>/dev/null)" "" "$2" "${@:3}"
}

stays() {
        runs_on h1
        ok "$1: the pod runs on where it was" F74 || diag "$(cat "$work/out")"
        nothing_there h2 "$1: and nothing of it is at the other host" F74
}

counts() {
        local n

        n=$(pf "$1" logs t-k | tail -n 1 | cut -d' ' -f2)
        until_ok 30 eval "pf $1 logs t-k | grep -q '^count $((n + 5)) '"
}

# -- live --
fresh
run h1 t-k /bin/probe count 20 >/dev/null
ok "a pod to move"
go h1 t-k
ok "it moves live" F74 || diag "$(cat "$work/out")"
is "$(cat "$order")" "$(line h1 pre-source source live)
$(line h2 pre-target destination live)
$(line h2 post-target destination live)
$(line h1 post-source source live)" "each host's own hooks, in their order" F74
like "$(tr '\n' ' ' <"$work/env-pre-target-destination")" "^HOME=/ LANG=C.UTF-8 PATH=[^ ]* PODFERRY_ATTEMPT=1 PODFERRY_CONFIG=[^ ]*/h2.json PODFERRY_EVENT=pre-target PODFERRY_FROM=$(on h1 hostname) PODFERRY_GUEST_DIR=[^ ]* PODFERRY_POD=t-k PODFERRY_SESSION=m[0-9a-f]+ PODFERRY_SIDE=destination PODFERRY_TO=$(on h2 hostname) PODFERRY_TYPE=live \$" \
        "with what they are to know, and nothing else" F74
fresh
does post-target <<END
"$podferry" ps | grep -q '^t-k .*running' && echo "it runs here"
END
does post-source <<END
"$podferry" ps | grep -q '^t-k ' || echo "it is gone here"
END
go h2 t-k --progress json
ok "and back, with what happens as JSON" F74 || diag "$(cat "$work/out")"
like "$(cat "$work/out")" '"hook":\{"event":"pre-source","side":"source","program":"[^"]*/hook","attempt":1,"of":1,"timeout_ms":30000,"result":"begun"\}.*"event":"pre-target","side":"destination".*"result":"done".*"outcome":"moved"' \
        "hooks are told, and before the result" F74
like "$(cat "$work/out")" 'post-target.*"output":"it runs here.*post-source.*"output":"it is gone here' "those after it find the pod over there"

# -- what fails before the pod is touched --
for e in pre-source pre-target; do
        fresh
        does $e <<<'echo thinking; echo "no, not now"; exit 3'
        does on-failure <<END
"$podferry" ps | grep '^t-k .*running' || echo "no pod here"
END
        go h1 t-k
        like "$? $(cat "$work/out")" "^125 .*$e: (source|destination): $work/hook: exit status 3: no, not now; rolled back: the pod runs on here, and nothing is left" \
                "$e fails: the migration ends" F74
        stays $e
        grep -q 'on-failure source' "$order"
        ok "$e: on-failure ran after that" F74 || diag "$(cat "$order")"
        like "$(cat "$work/env-on-failure-source")" "PODFERRY_ERROR=.*exit status 3: no, not now.*PODFERRY_OUTCOME=rolled-back.*PODFERRY_STEP=$e" "$e: and was told why"
done
is "$(cat "$order")" "$(line h1 pre-source source live)
$(line h2 pre-target destination live)
$(line h1 on-failure source live)
$(line h2 on-failure destination live)" "on-failure runs on both hosts once pre-target had its turn" F74
like "$(cat "$work/out")" '\| thinking.*\| no, not now.*on-failure.*\| t-k .*running.*\| no pod here' "what hooks say is shown, and the pod was back before on-failure"
fresh
config h2 pre-target '"on_failure": "ignore"'
does pre-target <<<'exit 4'
go h1 t-k
like "$? $(cat "$work/out")" '^0 .*exit status 4 \(ignored\).*runs on' "one that is to be ignored does not end it" F74
fresh
config h2 pre-source '"retries": 3, "retry_delay": "100ms"'
does pre-source <<<'[ $PODFERRY_ATTEMPT = 3 ]'
go h2 t-k
ok "one that succeeds at the third attempt" F74 || diag "$(cat "$work/out")"
is "$(grep pre-source "$order")" "$(line h2 pre-source source live 1)
$(line h2 pre-source source live 2)
$(line h2 pre-source source live 3)" "is run three times"

# -- what fails later --
fresh
does post-target <<<'echo no monitor; exit 1'
does post-source <<<'exit 2'
go h1 t-k
like "$? $(cat "$work/out")" '^0 .*post-target: .*exit status 1: no monitor \(ignored\).*post-source: .*exit status 2 \(ignored\).*t-k runs on' \
        "those after the move only warn: it has moved" F74 F86
runs_on h2 && counts h2
ok "the pod runs over there"
go h2 t-k --no-hooks
like "$? $(cat "$work/out")" '^0 .*no hooks are run' "--no-hooks" F74
fresh
does on-failure <<END
"$podferry" ps | grep '^t-k .*running'
ls -A /run/podferry
END
go h1 t-k --bandwidth 1M --timeout 6s
like "$? $(cat "$work/out")" '^125 .*on-failure.*\| t-k .*running.*not done in 6.0 s.*rolled back: the pod runs on here' "a transfer that is rolled back: on-failure finds the pod running here" F74
like "$(cat "$work/env-on-failure-source")" 'PODFERRY_ERROR=not done in 6.0 s.*PODFERRY_OUTCOME=rolled-back.*PODFERRY_STEP=transfer' "and is told of it"
stays "after a transfer"
fresh
go h1 t-k --disk /nonexistent=/x
like "$? $(cat "$work/out")" '^125 .*no disk' "one that is refused"
is "$(cat "$order")" "" "runs no hooks at all"

# -- hangs and floods --
fresh
config h2 pre-target '"timeout": "1s"'
does pre-target <<<"exec -a hang-$$ sleep 1000"
SECONDS=0
go h1 t-k
like "$? $(cat "$work/out")" '^125 .*pre-target: destination: .*not done in 1.0 s, killed' "one that hangs is ended at its deadline" F74
[ $SECONDS -le 15 ] && ! pgrep -f "hang-$$" >/dev/null
ok "soon, and it is gone" || diag "$SECONDS s"
stays "a hang"
fresh
config h1 pre-source '"timeout": "5s"'
does pre-source <<<'yes "a line without an end"'
go h1 t-k --progress json
like "$? $(tail -n 1 "$work/out")" '^125 .*not done in 5.0 s' "one that floods its log is ended, too" F74
[ "$(wc -c <"$work/out")" -lt 20000 ] && grep -q '"dropped":[1-9][0-9]\{5\}' "$work/out"
ok "and little of it is kept, which is said" || diag "$(wc -c <"$work/out")"

# -- interrupted, killed --
sleeper() {
        fresh
        does "$1" <<<"exec -a hang-$$ sleep 1000"
        PODFERRY_CONFIG=$work/h1.json "$lab" enter h1 "$podferry" migrate t-k \
                --to "exec:env PODFERRY_CONFIG=$work/h2.json $lab enter h2" >"$work/out" 2>&1 &
        pid=$!
        until_ok 20 pgrep -f "^hang-$$"
}
ended() {
        until_ok 30 eval "! pgrep -f '^hang-$$'"
}
for e in pre-source pre-target; do
        sleeper $e
        kill -INT $pid
        wait $pid
        like "$? $(cat "$work/out")" '^130 .*interrupted' "$e: Ctrl-C ends it" F74
        ended
        ok "$e: and the hook" F74
        stays "$e and Ctrl-C"
        sleeper $e
        kill -KILL $pid
        wait $pid 2>/dev/null
        ended
        ok "$e: killed, no hook outlives it" F74
        until_ok 30 eval '! on h2 ls -d /run/podferry/t-k'
        stays "$e and SIGKILL"
done

# -- before anything is touched --
fresh
config h1 pre-source '"on_failure": "abort"'
sed -i "s|$work/hook\", \"of-h1\"\] , \"on_failure\": \"abort\"|/nonexistent/one\"]|" "$work/h1.json"
sed -i "s|\"post-target\": \[{\"run\": \[\"$work/hook|\"post-target\": [{\"run\": [\"/etc/passwd|" "$work/h2.json"
go h1 t-k
like "$? $(cat "$work/out")" '^125 .*source: hook pre-source\[0\]: /nonexistent/one: No such file.*destination: hook post-target\[0\]: /etc/passwd: it is not executable.*2 things are in the way.*nothing was changed' \
        "hooks that cannot run, on either host, are told together" F74
is "$(cat "$order")" "" "and none is run"
PODFERRY_CONFIG=$work/h1.json pf h1 check t-k --to "exec:env PODFERRY_CONFIG=$work/h2.json $lab enter h2" --json >"$work/out"
is "$? $(grep -o '"code":"hook-unusable"' "$work/out" | wc -l)" "1 2" "podferry check says so, too" F01 F74
like "$(PODFERRY_CONFIG=$work/h2.json pf h2 hooks; echo $?)" 'post-target +0 +/etc/passwd of-h2.*cannot run: .*not executable.*1$' "and so does podferry hooks there"
chmod 777 "$work/hook"
fresh
go h1 t-k
like "$? $(cat "$work/out")" '^125 .*others than root may write to it' "one that others may change is refused" F74
chmod 755 "$work/hook"
echo '{"hooks": {"pre-source": [{"run": ["/bin/true"], "shell": true}]}}' >"$work/h1.json"
go h1 t-k
like "$? $(cat "$work/out")" "^125 .*hooks: pre-source\[0\]: unknown key 'shell'" "a configuration that is wrong"
fresh

# -- whose hooks --
go h1 t-k --hook pre-target=/bin/true
like "$? $(cat "$work/out")" '^125 .*pre-target hooks run on the other host.*own configuration' "no hook of the other host can be named" F74
on h2 true
like "$(echo "{\"pod\":\"t-k\",\"type\":\"live\",\"session\":\"m1\",\"hooks\":{\"pre-target\":[{\"run\":[\"/bin/touch\",\"$work/owned\"]}]}}" |
        PODFERRY_CONFIG=$work/h2.json pf h2 receive --pod t-k --hooks pre-target 2>&1)" 'its own hooks only' "nor in another way" F74
[ ! -e "$work/owned" ]
ok "it did not run"
like "$(PODFERRY_CONFIG=$work/h2.json pf h2 receive --pod t-k --hooks pre-source 2>&1 </dev/null)" 'not for another host to ask for' "nor can the source's be asked for"

# -- cold, and warm --
for type in cold warm; do
        fresh
        go h1 t-k --type $type --hook "pre-source=$work/hook given"
        ok "it moves $type" F74 || diag "$(cat "$work/out")"
        is "$(cat "$order")" "$(line h1 pre-source source $type | sed 's/of-h1/given/')
$(line h1 pre-source source $type)
$(line h2 pre-target destination $type)
$(line h2 post-target destination $type)
$(line h1 post-source source $type)" "with the same hooks, in the same order, --hook first" F74
        go h2 t-k --type cold --no-hooks
        ok "and back"
        for e in pre-source pre-target; do
                fresh
                does $e <<<'echo no; exit 3'
                go h1 t-k --type $type
                like "$? $(cat "$work/out")" "^125 .*$e: .*exit status 3: no; rolled back: the pod runs on here, and nothing is left" "$type, $e fails: the move ends" F74
                stays "$type, $e"
        done
        is "$(cat "$order")" "$(line h1 pre-source source $type)
$(line h2 pre-target destination $type)
$(line h1 on-failure source $type)
$(line h2 on-failure destination $type)" "and on-failure runs" F74
done
fresh
sed -i "s|\"pre-target\": \[{\"run\": \[\"$work/hook|\"pre-target\": [{\"run\": [\"/nonexistent/two|" "$work/h2.json"
go h1 t-k --type cold
like "$? $(cat "$work/out")" '^125 .*destination: hook pre-target\[0\]: /nonexistent/two: No such file.*nothing was changed' "cold, a hook that cannot run" F74
is "$(cat "$order")" "" "and nothing was begun"
fresh
does post-source <<<'exit 2'
does post-target <<<'exit 5'
pf h1 stop t-k
go h1 t-k
like "$? $(cat "$work/out")" '^0 .*post-target: .*exit status 5 \(ignored\).*post-source: .*exit status 2 \(ignored\).*t-k is on .* now, stopped' "a stopped pod moves, with a warning of each" F74
pf h2 ps | grep -q '^t-k .*stopped'
ok "and is over there"
pf h2 rm t-k
ok "removed"
finish
