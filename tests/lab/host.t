#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a host has beside libvirt: a system bus, on which pods are to be found, and a journal. h1 has a /run of its own
# and here gets both. The interfaces on the bus are those that shim/data describes.
# shellcheck disable=SC2016,SC2154
. "$(dirname "$0")/lib.sh"
begin

cat >"$work/bus.conf" <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <include ignore_missing="yes">$work/policy.conf</include>
</busconfig>
END
chmod 755 "$work"
bus_start() {
        on h1 mkdir -p /run/dbus
        on h1 dbus-daemon --config-file="$work/bus.conf" --fork --print-pid >"$work/bus.pid"
}
bus_stop() {
        kill -9 "$(cat "$work/bus.pid")" && on h1 rm -rf /run/dbus
}

# The journal's socket, and what came: one line a field, an empty one after each message.
cat >"$work/journal.py" <<'END'
import array, os, socket, sys
os.makedirs("/run/systemd/journal", exist_ok=True)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/systemd/journal/socket")
while True:
        text, control, _, _ = s.recvmsg(65536, 64)
        for _, _, fds in control:
                for fd in array.array("i", fds):
                        text += os.read(fd, 65536)
                        os.close(fd)
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.flush()
END
on h1 python3 -B "$work/journal.py" >"$work/journal" &
journal=$!
trap 'bus_stop 2>/dev/null; kill $journal; on h1 rm -rf /run/systemd; clean' EXIT
until_ok 30 on h1 test -S /run/systemd/journal/socket
# A message of the journal that has all these fields.
journal_has() {
        python3 - "$work/journal" "$@" <<'END'
import sys
messages = [m.split("\n") for m in open(sys.argv[1]).read().split("\n\n")]
sys.exit(not any(all(f in m for f in sys.argv[2:]) for m in messages))
END
}

# call [OBJECT METHOD ARGUMENT...]: on the system bus of h1, to the pod's well-known name.
name=org.podferry.Shim1.t_2dn
call() {
        local object=$1

        shift
        on h1 gdbus call --system --dest $name --object-path "/org/podferry/Shim1$object" --method "$@" 2>&1
}

bus_start
run h1 t-n /bin/probe count 10 >"$work/out" 2>&1
like "$? $(cat "$work/out")" '^0 ' "a bus that lets nobody have the name: the pod runs all the same"
until_ok 20 eval 'on h1 grep -q "no name on the system bus" /run/podferry/t-n/shim.log || journal_has POD=t-n PRIORITY=4'
ok "and it is told"
like "$(call "" org.podferry.Shim1.Ping)" 'ServiceUnknown|not provided|AccessDenied|denied' "it is not there"
pf h1 rm --force t-n
bus_stop

cp "$top/shim/data/org.podferry.Shim1.conf" "$work/policy.conf"
bus_start
run h1 t-n /bin/probe count 10 >"$work/out" 2>&1
until_ok 20 eval "call '' org.podferry.Shim1.Ping | grep -qx '()'"
ok "with podferry's policy the pod has its name on the system bus" H16
like "$(call /container/main org.freedesktop.DBus.Properties.Get org.podferry.Shim1.Container State)" running \
        "the same objects as on its own socket" H16
nobody=$(on h1 setpriv --reuid=65534 --regid=65534 --clear-groups gdbus call --system --dest $name \
        --object-path /org/podferry/Shim1 --method org.podferry.Shim1.Ping 2>&1)
like "$nobody" 'AccessDenied|rejected' "who is not root is turned away"
on h1 timeout 20 gdbus monitor --system --dest $name >"$work/signals" 2>&1 &
monitor=$!
until_ok 30 grep -q "is owned by" "$work/signals"
pf h1 exec t-n /bin/sh -c 'exit 7' >/dev/null 2>&1
until_ok 20 grep -q 'Container.Exited.*uint32 7' "$work/signals"
ok "signals too" H16
kill $monitor 2>/dev/null
wait $monitor 2>/dev/null

# Everything that introspection shows is described, and the other way round.
for o in "" /vm /pod /container/main /container/main/process/init /network /scsi /plan9 /vpci /migration; do
        on h1 gdbus introspect --system --dest $name --object-path "/org/podferry/Shim1$o" --xml >"$work/xml$(tr / _ <<<"$o")"
done
python3 - "$top/shim/data" "$work"/xml* >"$work/out" 2>&1 <<'END'
import sys, pathlib, xml.etree.ElementTree as tree

def members(interface):
        return sorted((m.tag, m.get("name"), m.get("type"), m.get("access"),
                       tuple((a.get("name"), a.get("type"), a.get("direction")) for a in m.findall("arg")))
                      for m in interface if m.tag != "annotation")

def interfaces(files):
        found = {}
        for f in files:
                for i in tree.parse(f).getroot().iter("interface"):
                        if i.get("name").startswith("org.podferry."):
                                found[i.get("name")] = members(i)
        return found

said = interfaces(pathlib.Path(sys.argv[1]).glob("*.xml"))
real = interfaces(sys.argv[2:])
for name in sorted(said.keys() | real.keys()):
        for m in said.get(name, []):
                if m not in real.get(name, []):
                        print("described, not there:", name, m)
        for m in real.get(name, []):
                if m not in said.get(name, []):
                        print("there, not described:", name, m)
print(len(real), "interfaces")
END
like "$(cat "$work/out")" '^[1-9][0-9] interfaces$' "shim/data describes each interface as it is" H16

until_ok 20 journal_has POD=t-n SYSLOG_IDENTIFIER=podferry
ok "the journal hears of the pod" || diag "$(tail -n 20 "$work/journal")"
until_ok 20 journal_has POD=t-n CONTAINER=main
ok "messages about a container name it" || diag "$(grep -a MESSAGE "$work/journal" | tail -n 20)"

# The bus goes away, and comes back without its names: a pod does without.
bus_stop
pf h1 exec t-n /bin/true
ok "without the bus the pod goes on"
is "$(pf h1 ps | grep -c t-n)" 1 "and is found by its socket"
bus_start
move h1 t-n --progress json --bandwidth 10M >"$work/out" 2>&1 # (slow enough to be looked at)
ok "a move when the bus has gone and come" B1 || diag "$(cat "$work/out")"
jq -es 'map(.result.source? // empty) | last | .peer_blackout_ns > 0 and .peer_blackout_ns < .blackout_ns' "$work/out" >/dev/null
ok "the result says which part of the blackout was the destination's" B8 F62 || diag "$(cat "$work/out")"
like "$(jq -sr 'map(.result.source? // empty) | last | .phases | map(.name) | join(" ")' "$work/out")" \
        '^export connect (storage )?(memory )?switchover handoff$' "and which phases there were" F60 # a short one may be over before it is looked at
jq -es 'map(.result.source? // empty) | last | .phases | all(.ms >= 0) and any(.ms > 0)' "$work/out" >/dev/null
ok "with the time of each" F60 || diag "$(cat "$work/out")"
is "$(jq -sr 'map(.result.pipeline? // empty) | last | map(.name) | join(" ")' "$work/out")" \
        "check prepare transfer hand-over clean-up" "the coarse steps are told, too" F60
jq -es 'map(.result.pipeline? // empty) | last | all(.started <= .completed and .description != "" and .errors == []) and
        (.[2].progress | .total > 0 and .completed == .total)' "$work/out" >/dev/null
ok "with their times, and how far they got" F60 || diag "$(cat "$work/out")"
session_told() {
        local session

        session=$(sed -n 's/^SESSION=//p' "$work/journal" | head -n 1)
        [ -n "$session" ] && journal_has POD=t-n "SESSION=$session"
}
until_ok 20 session_told
ok "messages about a migration name its session" || diag "$(grep -a MESSAGE "$work/journal" | tail -n 20)"
move h2 t-n >"$work/out" 2>&1
until_ok 20 eval "call '' org.podferry.Shim1.Ping | grep -qx '()'"
ok "a pod that comes is on the bus of its host" H16 || diag "$(cat "$work/out")"
pf h1 rm --force t-n
bus_stop
kill $journal
wait $journal 2>/dev/null
on h1 rm -rf /run/systemd
trap clean EXIT
finish
