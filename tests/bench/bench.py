# SPDX-License-Identifier: Apache-2.0
"""hack/bench: the figures, each with its bound and, where there is one, a peer measured in the same run."""
import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import converge
import forecast
import rig as rigs
import storage
import streams
from common import POD, Listener, Report, downtime_ms, median, p99, remove, silences, virsh_migrate


def bench_session(r, report, _args):
    out = subprocess.check_output([f"{r.build}/tests/bench/bench-session", "512", "7", "--json"], text=True)
    for line in out.splitlines():
        o = json.loads(line)
        report.figure(o["figure"], o["value"], o["unit"], o["bound"], o["peer"], o["n"], at_most=False)


def bench_relay(r, report, _args):
    out = subprocess.check_output([f"{r.build}/tests/bench/bench-relay", "512", "7"], text=True)
    pairs = [tuple(map(float, re.findall(r"\d+", l))) for l in out.splitlines()]
    report.figure("relay-throughput", median([f / p for f, p in pairs]), "ratio", 0.25,
                  f"two plain relays, {median([p for _, p in pairs]):.0f} MiB/s", len(pairs), at_most=False,
                  note=f"{median([f for f, _ in pairs]):.0f} MiB/s through both ferries")


def bench_envelope(r, report, _args):
    out = subprocess.check_output([f"{r.build}/tests/bench/bench-envelope", "101", "--json"], text=True)
    for line in out.splitlines():
        o = json.loads(line)
        report.figure(o["figure"], o["value"], o["unit"], o["bound"], o["peer"], o["n"])


def bench_start(r, report, _args):
    out = subprocess.check_output([f"{r.build}/tests/bench/bench-shim",
                                   f"{r.build}/shim/containerd-shim-podferry-v2", "30"], text=True)
    times = [float(x) for x in out.split()]
    report.figure("shim-start", median(times), "ms", 10, "", len(times),
                  note=f"p99 {p99(times):.1f}; process start to answered D-Bus call")


# --- with two hosts ---


def start_ticker(r, host="h1", pod=POD):
    r.run(host, "run", "--name", pod, "--container", "tick", "--rootfs", r.rootfs, "--detach", "--",
          "/bin/probe", "count", "1")
    path = f"/run/podferry/{pod}/logs/tick.log"
    if not rigs.wait_until(10, lambda: "count 300 " in r.enter(host, "tail", "-n", "3", path)
                           or len(r.enter(host, "tail", "-c", "20000", path)) > 19000):
        raise SystemExit("the ticker does not tick")


def first_after_gap(found):
    """When the counter was heard again after its longest silence (ns)."""
    pairs = list(zip(found, found[1:]))
    return max(pairs, key=lambda p: p[1][0] - p[0][0])[1][0] if pairs else 0


def ticker_silence(found):
    """How long the ticker itself did not tick (ns), by the times that it wrote down: an observation that does not come
    by stdio. The guest's clock stands still with the guest. Against the host's clock it is known on either side of the
    longest silence of the log, by those lines that came through soonest. Lines said before the stop may come after
    it, so the ticker's own longest pause is looked for around that place."""
    gaps = [b[0] - a[0] for a, b in zip(found, found[1:])]
    at = gaps.index(max(gaps)) + 1
    before, after = (min(host - guest for host, _n, guest in part) for part in (found[:at], found[at:]))
    around = found[max(0, at - 50):at + 50]
    return after - before + max(b[2] - a[2] for a, b in zip(around, around[1:]))


def podferry_move(r, handover):
    """One migration by podferry; times in ms. "running" is the container's first line over there."""
    start_ticker(r)
    result = {}
    begin, begin_ns = time.monotonic(), time.time_ns()
    for o in r.migrate("h1", POD, "--handover", handover):
        if "outcome" in o:
            result = o
    wall = time.monotonic() - begin
    log = f"/run/podferry/{POD}/logs/tick.log"
    size = len(r.enter("h2", "cat", log))
    rigs.wait_until(5, lambda: len(r.enter("h2", "cat", log)) > size + 20000)
    found = rigs.counts(r.log_lines("h2", POD, "tick"))
    missing, twice, gap = rigs.check_counts(found)
    if missing or twice:
        raise SystemExit(f"the ticker lost {missing} lines and repeated {twice}")
    down = downtime_ms(r, "h2")
    remove(r, "h2")
    return {"down": down, "ticker": ticker_silence(found) / 1e6, "wall": wall * 1000, "running": (first_after_gap(found) - begin_ns) / 1e6, "felt": gap / 1e6,
            "blackout": (result.get("blackout_ns") or 0) / 1e6, "phases": result.get("phases") or []}


def virsh_prepare(r, pod):
    """What libvirt does not make over there: the disks to be copied, empty, and the directories of the sockets. Returns
    what virsh migrate is to be told of the disks."""
    for size_path in r.enter("h1", "sh", "-c", f"stat -c '%s %n' /var/lib/podferry/pods/{pod}/*.raw").splitlines():
        size, path = size_path.split(" ", 1)
        r.enter("h2", "sh", "-c", f"mkdir -p {os.path.dirname(path)} && truncate -s {size} {path}", check=True)
    r.enter("h2", "sh", "-c", f"mkdir -p -m 700 /run/podferry/{pod}", check=True)
    writable = [l.split()[0] for l in r.enter("h1", "virsh", "-q", "-c", "qemu:///system", "domblklist",
                                              f"podferry-{pod}").splitlines() if l.endswith(".raw")]
    if not writable:
        raise SystemExit("no scratch disk")
    return "--copy-storage-all", "--migrate-disks", ",".join(writable)


def virsh_move(r):
    """The same pod, moved by virsh alone; times in ms."""
    start_ticker(r)
    disks = virsh_prepare(r, POD)
    reader = Listener(r, "h2", "first", f"/run/podferry/{POD}/link.sock")
    wall = virsh_migrate(r, POD, *disks)
    reader.heard.wait(5)
    lines = rigs.counts(r.log_lines("h1", POD, "tick"))
    when, down = reader.end(), downtime_ms(r, "h2")
    remove(r, "h1")
    remove(r, "h2")
    if not when or not lines or down is None:
        raise SystemExit("virsh migrate: the guest was not heard, or libvirt does not tell its downtime")
    felt = (when[0] - lines[-1][0]) / 1e6
    return {"wall": wall * 1000, "felt": felt, "gap": felt - down}


def bench_migrate(r, report, args):
    """Blackout and wall time, podferry beside virsh, in pairs one after the other."""
    runs = {"shims": [], "fast": [], "virsh": []}
    start_ticker(r)  # once, so that the image layers are on both hosts
    for _ in r.migrate("h1", POD):
        pass
    remove(r, "h2")
    for i in range(args.runs):
        order = ("shims", "virsh", "fast") if i % 2 == 0 else ("fast", "virsh", "shims")
        for mode in order:
            runs[mode].append(virsh_move(r) if mode == "virsh" else podferry_move(r, mode))

    def all_of(mode, what):
        return [x[what] for x in runs[mode]]

    def both(values):
        return f"{median(values):.0f} ms, p99 {p99(values):.0f}"

    n = args.runs
    felt = all_of("virsh", "felt")
    report.figure("blackout-fast", median([a / b for a, b in zip(all_of("fast", "felt"), felt)]), "ratio", 1.05,
                  "virsh migrate " + both(felt), n, note=both(all_of("fast", "felt")))
    report.figure("blackout-added", median([a - b for a, b in zip(all_of("shims", "felt"), felt)]), "ms", 40,
                  "virsh migrate " + both(felt), n, note=both(all_of("shims", "felt")))
    walls = all_of("virsh", "wall")
    report.figure("migrate-wall", median([a / b for a, b in zip(all_of("shims", "running"), walls)]), "ratio", 0.9,
                  "virsh migrate " + both(walls), n,
                  note=f"to running {both(all_of('shims', 'running'))}; to the end of the command "
                       f"{median(all_of('shims', 'wall')):.0f} ms")
    # The blackout is what the ticker felt. From the guest's resume to its first tick QEMU without KVM translates anew all
    # code that the guest comes through; the peer's guest does the same until its first byte on the port.
    ours = runs["shims"]
    report.figure("stdio-gap", median([x["felt"] - x["ticker"] for x in ours]), "ms", 20,
                  f"beyond libvirt's downtime {median([x['felt'] - x['down'] for x in ours]):.0f} ms, virsh migrate "
                  f"{median(all_of('virsh', 'gap')):.0f} ms", n,
                  note=f"between two lines of the log {both(all_of('shims', 'felt'))}; between two ticks "
                       f"{both(all_of('shims', 'ticker'))}, which is the shims' blackout of "
                       f"{median(all_of('shims', 'blackout')):.0f} ms and what the guest then needs to its first tick")
    phases = {}
    for x in runs["shims"]:
        for o in x["phases"]:
            phases.setdefault(o["name"], []).append(o["ms"])
    if phases and not report.as_json:
        print("       where the time goes: " + ", ".join(f"{k} {median(v):.0f} ms" for k, v in phases.items()))


def drain_pods(args):
    return [f"{POD}{i}" for i in range(args.drained)]


def start_drain_pods(r, args):
    for pod in drain_pods(args):
        r.run("h1", "run", "--name", pod, "--container", "tick", "--rootfs", r.rootfs, "--detach", "--", "/bin/probe",
              "count", "10")
    for pod in drain_pods(args):
        if not rigs.wait_until(30, lambda: rigs.counts(r.log_lines("h1", pod, "tick"))):
            raise SystemExit(f"the ticker of {pod} does not tick")


def remove_drain_pods(r, args):
    for pod in drain_pods(args):
        for host in ("h1", "h2"):
            remove(r, host, pod)


def podferry_drain(r, args, solo):
    """Seconds, and each pod's blackout. solo: one move by itself before, among the others; also its blackout."""
    start_drain_pods(r, args)
    alone, pods = [], drain_pods(args)
    if solo:
        for _ in r.migrate("h1", pods[0]):
            pass
        alone = list(silences(r, pods[:1]))
        pods = pods[1:]
    begin = time.monotonic()
    r.run("h1", "drain", "--to", r.to("h2"), "--name", "bench", *args.drain_options)
    wall = time.monotonic() - begin
    felt = list(silences(r, pods))
    remove_drain_pods(r, args)
    return wall, felt, alone


def virsh_drain(r, args):
    start_drain_pods(r, args)
    wall = 0
    for pod in drain_pods(args):
        disks = virsh_prepare(r, pod)
        reader = Listener(r, "h2", "first", f"/run/podferry/{pod}/link.sock")
        wall += virsh_migrate(r, pod, *disks)
        reader.end()
    remove_drain_pods(r, args)
    return wall


def bench_drain(r, report, args):
    """A host emptied of its pods, against virsh migrate of one after the other; and how long each stood, against one
    that moves while nothing else does."""
    ratios, walls, felt, alone = [], [], [], []
    start_ticker(r)  # once, so that the image layers are on both hosts
    for _ in r.migrate("h1", POD):
        pass
    remove(r, "h2")
    for _ in range(args.drains):
        theirs = virsh_drain(r, args)
        wall, more, _ = podferry_drain(r, args, False)
        felt += more
        walls.append(wall)
        ratios.append(wall / theirs)
        alone += podferry_drain(r, args, True)[2]
    n = args.drained
    report.figure("drain-wall", median(ratios), "ratio", 0.7, f"{n} virsh migrate {median([w / q for w, q in zip(walls, ratios)]):.1f} s",
                  args.drains, note=f"{n} pods in {median(walls):.1f} s")
    report.figure("drain-blackout", median(felt) / median(alone), "ratio", 1.3, f"one alone {median(alone):.0f} ms", len(felt),
                  note=f"{median(felt):.0f} ms, the longest {max(felt):.0f} ms")


def bench_check(r, report, args):
    """podferry check of a pod that can move: the whole command."""
    start_ticker(r)
    times = []
    for _ in range(2 * args.runs):
        begin = time.monotonic()
        r.run("h1", "check", POD, "--to", r.to("h2"))
        times.append((time.monotonic() - begin) * 1000)
    report.figure("check", median(times), "ms", 300, n=len(times), note=f"p99 {p99(times):.0f} ms")
    remove(r, "h1")


def bench_first_line(r, report, args):
    """run to the container's first line, against QEMU's boot of the same image to the agent."""
    times, boots = [], []
    for _ in range(args.runs):
        begin = time.monotonic()
        p = r.start("h1", "run", "--rm", "--name", POD, "--rootfs", r.rootfs, "--", "/bin/echo", "line",
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdout.readline()
        times.append((time.monotonic() - begin) * 1000)
        p.stdout.read()
        p.wait()
        boots.append(bare_boot(r))
    report.figure("first-line", median([a / b for a, b in zip(times, boots)]), "ratio", 1.5,
                  f"QEMU to PID 1 {median(boots):.0f} ms", args.runs,
                  note=f"{median(times):.0f} ms, p99 {p99(times):.0f}")


def bare_boot(r):
    """The image under plain QEMU, as the shim starts it, until the agent's first bytes (PID 1 runs)."""
    work = os.path.join(r.build, "boot.sock")
    if os.path.exists(work):
        os.unlink(work)
    with open(os.path.join(r.build, "cmdline"), "w", encoding="utf-8") as f:
        f.write(r.cmdline)
    begin = time.monotonic()
    p = subprocess.Popen(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine",
                          "q35,accel=tcg,smm=off,vmport=off", "-cpu", "max,erms=off,fsrm=off", "-m", "256",
                          "-kernel", f"{r.image}/vmlinux", "-initrd", f"{r.image}/initrd", "-append", r.cmdline,
                          "-device", "virtio-serial-pci", "-chardev", f"socket,id=c,path={work},server=on,wait=off",
                          "-device", "virtserialport,chardev=c,name=org.podferry.link.0"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s = socket.socket(socket.AF_UNIX)
    try:
        if not rigs.wait_until(10, lambda: s.connect_ex(work) == 0):
            raise SystemExit("QEMU alone does not start")
        s.settimeout(30)
        s.recv(1)
        return (time.monotonic() - begin) * 1000
    finally:
        s.close()
        p.kill()
        p.wait()


def pss_mib(pids):
    sizes = []
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            sizes.append(int(re.search(r"^Pss: *(\d+)", f.read(), re.M)[1]) / 1024)
    return sizes


def settled_pss_mib(pids):
    """When two looks one after the other see the same: what the start needed has been given back."""
    seen = [pss_mib(pids)]

    def the_same():
        seen.append(pss_mib(pids))
        return seen[-1] == seen[-2]

    if not rigs.wait_until(20, the_same):
        raise SystemExit("the memory of the shims does not settle")
    return seen[-1]


def bench_memory(r, report, args):
    """PSS of a shim with a pod of ten containers, twenty of them at once."""
    pods = [f"{POD}{i}" for i in range(args.pods)]
    try:
        for pod in pods:
            for c in range(10):
                r.run("h1", "run", *(["--pod", pod] if c else ["--name", pod, "--memory", "160M"]),
                      "--container", f"c{c}", "--rootfs", r.rootfs, "--detach", "--", "/bin/probe", "exit", "100000000", "0")
        sizes = settled_pss_mib([r.enter("h1", "cat", f"/run/podferry/{pod}/pid").strip() for pod in pods])
    finally:
        for pod in pods:
            remove(r, "h1", pod)
    if args.pods < 20 and not report.as_json:
        print(f"       with {args.pods} shims, not 20 (--pods)")
    report.figure("shim-memory", median(sizes), "MiB", 4, "", len(sizes), note=f"PSS, largest {max(sizes):.1f}")


def start_echo(r, what="echo"):
    r.pod_netns("h1", "bench", "02:50:46:00:00:01", "10.213.0.50/24")
    r.run("h1", "run", "--name", POD, "--container", "net", "--rootfs", r.rootfs, "--net",
          "ns:/run/netns/bench", "--detach", "--", "/bin/netprobe", what, "7")
    rigs.wait_until(10, lambda: "listening" in r.run("h1", "logs", f"{POD}/net"))


def tcp_move(r, source, target, handover):
    """One migration under a client; (silence, libvirt's downtime, the shims' blackout) in ms, None if the connection ended."""
    r.pod_netns(target, "bench", "02:50:46:00:00:02")
    client = rigs.Client(r)
    result = {}
    for o in r.migrate(source, POD, "--net", "ns:/run/netns/bench", "--handover", handover):
        if "outcome" in o:
            result = o
    gap, down = client.end(), downtime_ms(r, target)
    r.enter(source, "ip", "netns", "del", "bench")
    if gap is None:
        return None
    if down is None:
        raise SystemExit("libvirt does not tell its downtime")
    return gap, down, (result.get("blackout_ns") or 0) / 1e6


def bench_tcp_gap(r, report, args):
    """A connection from a third host to the pod: does it live on, and how long is it silent beyond the blackout? The
    peer, two moves in four, is libvirt's own hand-over: what it too has beyond libvirt's downtime is the guest's."""
    source, target = "h1", "h2"
    moves = {"shims": [], "fast": []}
    start_echo(r)
    for i in range(args.moves):
        handover = "fast" if i % 4 > 1 else "shims"
        moves[handover].append(tcp_move(r, source, target, handover))
        source, target = target, source
    remove(r, source)
    r.enter(source, "ip", "netns", "del", "bench")
    broken = sum(m is None for of in moves.values() for m in of)
    ours, theirs = ([m for m in moves[k] if m] for k in ("shims", "fast"))
    report.figure("tcp-broken", broken, "conns", 0, "", args.moves, note="connections that a migration ended")
    report.figure("tcp-gap", median([gap - down for gap, down, _ in ours]), "ms", 30,
                  f"libvirt's own hand-over {median([gap - down for gap, down, _ in theirs]):.0f} ms", len(ours),
                  note=f"silence of {median([gap for gap, _, _ in ours]):.0f} ms, less libvirt's downtime of "
                       f"{median([down for _, down, _ in ours]):.0f} ms; {median([gap - b for gap, _, b in ours]):.0f} ms "
                       "from the guest's resume to its first answer")


def flood_mib(r):
    found = re.search(r"bytes ([0-9]+) ns ([0-9]+)",
                      r.enter("h3", f"{r.rootfs}/bin/netprobe", "flood", "10.213.0.50", "7", "1500"))
    return int(found.group(1)) / (1 << 20) / (int(found.group(2)) / 1e9) if found else 0.0


def join_plainly(r, plainly):
    """The same tap and wire, joined by a bridge as libvirt would, or as podferry left them."""
    tap = next(l.split(":")[1].strip() for l in
               r.enter("h1", "ip", "-n", "bench", "-o", "link", "show", "type", "tun").splitlines())
    if plainly:
        # A bridge takes what is for its port's own MAC for itself, and this one has the pod's.
        script = (f"tc qdisc del dev eth0 ingress; tc qdisc del dev {tap} ingress; ip addr flush dev eth0; "
                  "ip link set eth0 address 02:50:46:00:00:fe; ip link add br0 type bridge; ip link set br0 up; "
                  f"ip link set eth0 master br0; ip link set {tap} master br0")
    else:
        script = (f"ip link del br0; ip link set eth0 address 02:50:46:00:00:01; for p in 'eth0 {tap}' '{tap} eth0'; "
                  "do set -- $p; tc qdisc add dev $1 ingress; tc filter add dev $1 parent ffff: protocol all prio 1 "
                  "u32 match u8 0 0 action mirred egress redirect dev $2; done")
    r.enter("h1", "ip", "netns", "exec", "bench", "sh", "-c", script, check=True)


def bench_bulk(r, report, args):
    """Bulk into the pod, through podferry's redirection and through a bridge in its place: turns of a second and a half,
    in changing order, so that what else the machine does falls on both."""
    pairs, plainly = [], False
    start_echo(r, "discard")
    flood_mib(r)  # warms up
    for i in range(2 * args.runs):
        found = {}
        for which in ((False, True) if i % 2 == 0 else (True, False)):
            if which != plainly:
                join_plainly(r, which)
                plainly = which
            found[which] = flood_mib(r)
        pairs.append((found[False], found[True]))
    remove(r, "h1")
    r.enter("h1", "ip", "netns", "del", "bench")
    report.figure("net-bulk", median([o / t for o, t in pairs if t]), "ratio", 0.9,
                  f"a bridge, {median([t for _, t in pairs]):.0f} MiB/s", len(pairs), at_most=False,
                  note=f"{median([o for o, _ in pairs]):.0f} MiB/s redirected, into the pod, the same guest and tap")


FIGURES = {
    "session": (bench_session, False), "relay": (bench_relay, False), "envelope": (bench_envelope, False),
    "start": (bench_start, False), "migrate": (bench_migrate, True), "first-line": (bench_first_line, True),
    "check": (bench_check, True), "drain": (bench_drain, True),
    "output": (streams.bench_stdio, True), "input": (streams.bench_stdin, True), "exits": (streams.bench_exits, True),
    "memory": (bench_memory, True), "tcp": (bench_tcp_gap, True), "bulk": (bench_bulk, True),
    "forecast": (forecast.bench_forecast, True), "converge-abort": (converge.bench_abort, True),
    "converge-postcopy": (converge.bench_postcopy, True), "converge-pause": (converge.bench_pause, True),
    "fio": (storage.bench_fio, True), "copy": (storage.bench_copy, True),
}


def main():
    p = argparse.ArgumentParser(prog="hack/bench", description="Measures the figures that podferry is held to. Exit "
                                "status 1 if one is missed. Figures: " + ", ".join(FIGURES))
    p.add_argument("figures", nargs="*", metavar="FIGURE", help="only these (default: all)")
    p.add_argument("--json", action="store_true", help="a JSON object a line")
    p.add_argument("--quick", action="store_true", help="fewer runs of each: about four minutes")
    p.add_argument("--runs", type=int, help="pairs of migrations (10)")
    p.add_argument("--moves", type=int, help="moves of the output and input figures (50)")
    p.add_argument("--exits", type=int, help="exits of the exits figure (200)")
    p.add_argument("--pods", type=int, help="shims of the memory figure (20)")
    p.add_argument("--drained", type=int, help="pods of the drain figure (8)")
    p.add_argument("--drains", type=int, help="how often they are drained (3)")
    p.add_argument("--drain-options", default="--out 3 --in 3", help="of podferry drain, as one word (--out 3 --in 3)")
    args = p.parse_args()
    args.drain_options = args.drain_options.split()
    for name, quick, full in (("runs", 3, 10), ("moves", 6, 50), ("exits", 20, 200), ("pods", 3, 20), ("drained", 3, 8), ("drains", 1, 3)):
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else full)
    args.exit_ms, args.exit_step_ms, args.exit_late_ms = 600, 220, 0
    for name in args.figures:
        if name not in FIGURES:
            p.error(f"no figure {name}; there are {', '.join(FIGURES)}")
    r = rigs.Rig(os.environ.get("PODFERRY_LAB", "podferry-bench"), "bench")
    r.cmdline = "quiet panic=-1 cryptomgr.notests noreplace-smp lsm= rootfstype=ramfs no_timer_check nolapic_timer"
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda n, _f: sys.exit(128 + n))
    chosen = [FIGURES[n] for n in (args.figures or FIGURES)]
    report = Report(args.json)
    begin = time.monotonic()
    r.make()
    with_lab = any(lab for _, lab in chosen)
    try:
        if with_lab:
            if os.geteuid() != 0:
                raise SystemExit("bench: two hosts on this machine need root: sudo hack/bench")
            r.make_image()
            r.make_rootfs()
            r.up()
        for run, lab in chosen:
            try:
                run(r, report, args)
            except SystemExit as e:
                # One figure that cannot be measured is missed; the others are measured all the same.
                if not isinstance(e.code, str):
                    raise
                report.broken(next(n for n, f in FIGURES.items() if f[0] is run), e.code)
                if lab:
                    for host in ("h1", "h2"):
                        remove(r, host)
                        r.enter(host, "ip", "netns", "del", "bench")
    finally:
        if with_lab:
            r.down()
    if not args.json:
        print(f"{report.failed} missed; {(time.monotonic() - begin) / 60:.1f} minutes in all")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
