# SPDX-License-Identifier: Apache-2.0
"""How far a forecast is from what then happens: pods that write in many ways, moved over links of several speeds."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rig as rigs
from common import POD, median, remove

FAR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "far.py")
PORT = 7319
FORCED = ("--completion-timeout", "12s", "--timeout-action", "force-complete")
RAMP = ("--set", "downtime_cooldown=1000")

# MiB/s of the link (0: as fast as it is), MiB that hold data beside it, MiB that are written to, MiB/s, options.
LOADS = (
    (0, 0, 1, 1, ()), (100, 0, 1, 1, ()), (50, 0, 1, 1, ()), (20, 0, 1, 1, ()),
    (0, 128, 1, 1, ()), (100, 128, 1, 1, ()), (50, 128, 1, 1, ()), (20, 64, 1, 1, ()),
    (100, 0, 64, 10, ()), (100, 64, 96, 20, ()), (50, 0, 64, 10, ()), (50, 64, 32, 20, ()),
    (20, 0, 64, 4, ()), (20, 0, 64, 8, ()), (50, 0, 64, 30, RAMP), (20, 0, 8, 30, RAMP),
    (50, 0, 16, 60, RAMP), (20, 0, 48, 30, FORCED), (20, 0, 96, 40, FORCED), (30, 64, 64, 45, FORCED),
)


class Link:
    """h1's way to h2, with a speed."""

    def __init__(self, r):
        self.r = r
        self.server = subprocess.Popen([r.lab, "enter", "h2", "python3", "-B", FAR, "serve", str(PORT)], env=r.env,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True)
        if "ready" not in self.server.stdout.readline():
            raise SystemExit("the other end of the link does not start")
        self.to = f"exec:python3 -B {FAR} 10.213.0.2 {PORT}"

    def set(self, mib):
        self.r.enter("h1", "tc", "qdisc", "del", "dev", "eth0", "root")
        if mib:
            self.r.enter("h1", "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", f"{mib * 8 * 1024 * 1024}",
                         "burst", "512kb", "latency", "100ms", check=True)

    def end(self):
        self.set(0)
        self.server.terminate()
        self.server.wait()


def start(r, load):
    _link, still, mib, rate, _options = load
    r.run("h1", "run", "--name", POD, "--memory", "512M", "--container", "dirty", "--rootfs", r.rootfs, "--detach", "--",
          "/bin/probe", "dirty", str(mib), str(rate))
    if still:  # a page of it now and then, so that it is there
        r.run("h1", "run", "--pod", POD, "--container", "still", "--rootfs", r.rootfs, "--detach", "--",
              "/bin/probe", "dirty", str(still), "1")
    # Once the memory is filled they begin to write; then it is as it stays.
    for c in ("dirty", "still") if still else ("dirty",):
        if not rigs.wait_until(60, lambda c=c: r.run("h1", "logs", f"{POD}/{c}").count("ok") >= 3):
            raise SystemExit(f"{c} does not begin to write")


def foretell(r, link, options):
    o = json.loads(r.run("h1", "check", POD, "--to", link.to, "--json", "--forecast", *options))
    if "forecast" not in o:
        raise SystemExit("no forecast: " + "; ".join(f["text"] for f in o["findings"]))
    return o["forecast"]


def move(r, link, options):
    """(time until the command said that it runs over there, the blackout), ms."""
    begin = time.monotonic()
    p = r.start("h1", "migrate", POD, "--to", link.to, "--progress", "json", *options, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    result, took = {}, 0.0
    for line in p.stdout:
        o = rigs.flat(json.loads(line))
        if "outcome" in o:
            result, took = o, (time.monotonic() - begin) * 1000
    error = p.stderr.read()
    if p.wait() != 0:
        raise SystemExit(f"podferry migrate: {error.strip()}")
    return took, (result.get("blackout_ns") or 0) / 1e6


def one(r, link, load, tell):
    link.set(load[0])
    start(r, load)
    try:
        f = foretell(r, link, load[4])
        total, down = move(r, link, load[4])
    finally:
        remove(r, "h2")
        remove(r, "h1")
    good = f["outcome"] == ("pauses" if load[4] == FORCED else "converges")
    if tell:
        print(f"       link {load[0] or 'any'}, {load[1]} still, {load[3]} MiB/s of {load[2]} MiB: {f['outcome']} "
              f"{f['total_ms']} ms, blackout {f['downtime_ms']} ms; was {total:.0f}, {down:.0f} ms "
              f"(link {f['link'] / 2**20:.0f} MiB/s, writes {f['writes'] / 2**20:.0f}, used {f['used'] / 2**20:.0f})",
              flush=True)
    return abs(f["total_ms"] - total) / total, abs(f["downtime_ms"] - down) / down, good


def bench_forecast(r, report, args):
    """Every pod is asked about once, and then moved."""
    loads = LOADS[::5] if args.quick else LOADS
    link = Link(r)
    try:
        one(r, link, LOADS[0], False)  # so that the layers are on both hosts
        found = [one(r, link, load, not report.as_json) for load in loads]
    finally:
        link.end()
        remove(r, "h1")
        remove(r, "h2")
    for name, at in (("forecast-total", 0), ("forecast-blackout", 1)):
        off = [f[at] for f in found]
        report.figure(name, median(off), "ratio", 0.3, "what then happens", len(off), note=f"at worst {max(off):.2f}")
    report.figure("forecast-wrong", sum(not f[2] for f in found), "pods", 0, "", len(found),
                  note="converges or not: said otherwise than it came")
