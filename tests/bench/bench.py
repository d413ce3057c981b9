# SPDX-License-Identifier: Apache-2.0
"""hack/bench: the figures, each with its bound and, where there is one, a peer measured in the same run."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rig as rigs

POD = "bench"


def median(values):
    values = sorted(values)
    n = len(values)
    return (values[n // 2] + values[(n - 1) // 2]) / 2 if n else float("nan")


def p99(values):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * 0.99))] if values else float("nan")


class Report:
    def __init__(self, as_json):
        self.as_json = as_json
        self.failed = 0

    def figure(self, name, value, unit, bound, peer="", n=1, at_most=True, note=""):
        good = value <= bound if at_most else value >= bound
        good = bool(good)
        self.failed += not good
        if self.as_json:
            print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, "bound": bound,
                              "peer": peer, "n": n, "ok": good}))
        else:
            rule = "at most" if at_most else "at least"
            print(f"{'ok' if good else 'MISSED':<7}{name:<22}{value:>10.2f} {unit:<7}{rule:>9} {bound:<8}"
                  f"{peer}{'  (' + note + ')' if note else ''}  n={n}")
        sys.stdout.flush()


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


def remove(r, host, pod=POD):
    r.run(host, "rm", "--force", pod, check=False)
    for h in ("h1", "h2"):
        r.enter(h, "sh", "-c", f"virsh -q -c qemu:///system destroy podferry-{pod} 2>/dev/null; "
                f"rm -rf /run/podferry/{pod} /var/lib/podferry/pods/{pod}")


def podferry_move(r, handover):
    """One migration by podferry: (wall s, felt blackout ms, libvirt's blackout ms, phases)."""
    start_ticker(r)
    result = {}
    begin = time.monotonic()
    for o in r.migrate("h1", POD, "--handover", handover):
        if "outcome" in o:
            result = o
    wall = time.monotonic() - begin
    time.sleep(0.5)
    _, _, gap = rigs.check_counts(rigs.counts(r.log_lines("h2", POD, "tick")))
    remove(r, "h2")
    return wall, gap / 1e6, (result.get("blackout_ns") or 0) / 1e6, result.get("phases") or []


class FirstBytes(threading.Thread):
    """Reads the guest's port at the destination while it is not a shim's: when does it speak again?"""

    def __init__(self, r, path):
        super().__init__(daemon=True)
        self.when = None
        code = ("import socket,sys,time\n"
                "s=socket.socket(socket.AF_UNIX)\n"
                "while True:\n"
                " try: s.connect(sys.argv[1]); break\n"
                " except OSError: time.sleep(0.001)\n"
                "print('there',flush=True)\n"
                "s.recv(1)\n"
                "print(time.time_ns(),flush=True)\n"
                "s.recv(1<<20)\n")
        self.process = subprocess.Popen([r.lab, "enter", "h2", "python3", "-c", code, path], env=r.env,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.when = int(line)
                return


def virsh_move(r):
    """The same pod, moved by virsh alone: (wall s, felt blackout ms)."""
    start_ticker(r)
    scratch = r.enter("h1", "sh", "-c", f"ls -s --block-size=1 /var/lib/podferry/pods/{POD}/*.raw").split()
    for size_path in r.enter("h1", "sh", "-c", f"stat -c '%s %n' /var/lib/podferry/pods/{POD}/*.raw").splitlines():
        size, path = size_path.split(" ", 1)
        r.enter("h2", "sh", "-c", f"mkdir -p {os.path.dirname(path)} && truncate -s {size} {path}", check=True)
    if not scratch:
        raise SystemExit("no scratch disk")
    r.enter("h2", "sh", "-c", f"mkdir -p -m 700 /run/podferry/{POD}", check=True)
    reader = FirstBytes(r, f"/run/podferry/{POD}/link.sock")
    reader.start()
    writable = [l.split()[0] for l in r.enter("h1", "virsh", "-q", "-c", "qemu:///system", "domblklist",
                                              f"podferry-{POD}").splitlines() if l.endswith(".raw")]
    begin = time.monotonic()
    p = subprocess.run([r.lab, "enter", "h1", "virsh", "-q", "-c", "qemu:///system", "migrate", "--live", "--p2p",
                        "--copy-storage-all", "--migrate-disks", ",".join(writable), "--unsafe",
                        f"podferry-{POD}", "qemu+tcp://10.213.0.2/system"], env=r.env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    wall = time.monotonic() - begin
    if p.returncode != 0:
        raise SystemExit(f"virsh migrate: {p.stdout}")
    reader.join(5)
    lines = rigs.counts(r.log_lines("h1", POD, "tick"))
    reader.process.kill()
    reader.process.wait()
    felt = (reader.when - lines[-1][0]) / 1e6 if reader.when and lines else float("nan")
    remove(r, "h1")
    remove(r, "h2")
    return wall, felt


def bench_migrate(r, report, args):
    walls = {"shims": [], "fast": [], "virsh": []}
    felt = {"shims": [], "fast": [], "virsh": []}
    said, phases = [], {}
    start_ticker(r)  # once, so that the image layers are on both hosts
    for _ in r.migrate("h1", POD):
        pass
    remove(r, "h2")
    for _ in range(args.runs):
        for mode in ("shims", "virsh", "fast"):
            if mode == "virsh":
                wall, gap = virsh_move(r)
            else:
                wall, gap, blackout, ph = podferry_move(r, mode)
                if mode == "shims":
                    said.append(blackout)
                    for x in ph:
                        phases.setdefault(x["name"], []).append(x["ms"])
            walls[mode].append(wall * 1000)
            felt[mode].append(gap)
    n = args.runs
    peer = f"virsh migrate {median(felt['virsh']):.0f} ms, p99 {p99(felt['virsh']):.0f}"
    report.figure("blackout-fast", median([a / b for a, b in zip(felt["fast"], felt["virsh"])]), "ratio", 1.05,
                  peer, n, note=f"{median(felt['fast']):.0f} ms, p99 {p99(felt['fast']):.0f}")
    report.figure("blackout-added", median([a - b for a, b in zip(felt["shims"], felt["virsh"])]), "ms", 40, peer, n,
                  note=f"{median(felt['shims']):.0f} ms, p99 {p99(felt['shims']):.0f}")
    report.figure("migrate-wall", median([a / b for a, b in zip(walls["shims"], walls["virsh"])]), "ratio", 0.9,
                  f"virsh migrate {median(walls['virsh']):.0f} ms, p99 {p99(walls['virsh']):.0f}", n,
                  note=f"{median(walls['shims']):.0f} ms, p99 {p99(walls['shims']):.0f}")
    report.figure("stdio-gap", median([a - b for a, b in zip(felt["shims"], said)]), "ms", 20, "", n,
                  note="felt blackout less libvirt's")
    if phases and not report.as_json:
        print("       where the time goes: " + ", ".join(f"{k} {median(v):.0f} ms" for k, v in phases.items()))


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
    import socket
    s = socket.socket(socket.AF_UNIX)
    try:
        while True:
            try:
                s.connect(work)
                break
            except OSError:
                time.sleep(0.001)
        s.settimeout(30)
        s.recv(1)
        return (time.monotonic() - begin) * 1000
    finally:
        s.close()
        p.kill()
        p.wait()


def bench_memory(r, report, args):
    """PSS of a shim with a pod of ten containers, twenty of them at once."""
    pods = [f"{POD}{i}" for i in range(args.pods)]
    try:
        for pod in pods:
            for c in range(10):
                r.run("h1", "run", *(["--pod", pod] if c else ["--name", pod, "--memory", "160M"]),
                      "--container", f"c{c}", "--rootfs", r.rootfs, "--detach", "--", "/bin/probe", "exit", "100000000", "0")
        time.sleep(2)
        sizes = []
        for pod in pods:
            pid = r.enter("h1", "cat", f"/run/podferry/{pod}/pid").strip()
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                sizes.append(int(re.search(r"^Pss: *(\d+)", f.read(), re.M)[1]) / 1024)
    finally:
        for pod in pods:
            remove(r, "h1", pod)
    report.figure("shim-memory", median(sizes), "MiB", 4, "", len(sizes), note=f"PSS, largest {max(sizes):.1f}")


def bench_stdio(r, report, args):
    """Bytes lost or repeated while a pod that streams both ways moves there and back."""
    moves = args.moves
    host = "h1"
    r.run(host, "run", "--name", POD, "--container", "out", "--rootfs", r.rootfs, "--detach", "--", "/bin/probe",
          "stream", "1000000", "100000000000", "e")
    wrong = 0
    for _ in range(moves):
        for _o in r.migrate(host, POD):
            pass
        host = "h2" if host == "h1" else "h1"
        time.sleep(0.2)
    for stream in ("stdout", "stderr"):
        numbers = [int(t.split()[1]) for _, s, t in r.log_lines(host, POD, "out") if s == stream and t.startswith("s ")]
        wrong += sum(1 for a, b in zip(numbers, numbers[1:]) if b != a + 1) + (not numbers or numbers[0] != 1)
    remove(r, host)
    report.figure("stdio-lost", wrong, "lines", 0, "", moves, note=f"stdout and stderr, {moves} moves at 1 MB/s")


FIGURES = {
    "session": (bench_session, False), "relay": (bench_relay, False), "envelope": (bench_envelope, False),
    "start": (bench_start, False), "migrate": (bench_migrate, True), "first-line": (bench_first_line, True),
    "stdio": (bench_stdio, True), "memory": (bench_memory, True),
}


def main():
    p = argparse.ArgumentParser(prog="hack/bench", description="Measures the figures that podferry is held to. Exit "
                                "status 1 if one is missed. Figures: " + ", ".join(FIGURES))
    p.add_argument("figures", nargs="*", metavar="FIGURE", help="only these (default: all)")
    p.add_argument("--json", action="store_true", help="a JSON object a line")
    p.add_argument("--runs", type=int, default=10, help="pairs of migrations (10)")
    p.add_argument("--moves", type=int, default=20, help="moves of the stdio figure (20)")
    p.add_argument("--pods", type=int, default=20, help="shims of the memory figure (20)")
    args = p.parse_args()
    for name in args.figures:
        if name not in FIGURES:
            p.error(f"no figure {name}; there are {', '.join(FIGURES)}")
    r = rigs.Rig("podferry-bench", "bench")
    r.cmdline = "quiet panic=-1 cryptomgr.notests noreplace-smp lsm= rootfstype=ramfs nolapic_timer"
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda n, _f: sys.exit(128 + n))
    chosen = [FIGURES[n] for n in (args.figures or FIGURES)]
    report = Report(args.json)
    r.make()
    with_lab = any(lab for _, lab in chosen)
    try:
        if with_lab:
            if os.geteuid() != 0:
                raise SystemExit("bench: two hosts on this machine need root: sudo hack/bench")
            r.make_image()
            r.make_rootfs()
            r.up()
        for run, _lab in chosen:
            run(r, report, args)
    finally:
        if with_lab:
            r.down()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
