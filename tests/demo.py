# SPDX-License-Identifier: Apache-2.0
"""hack/demo: two hosts, a pod with two containers, a migration, a verdict."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig as rigs

POD = "demo"
COUNTER, MEMORY, ECHO = "counter", "memory", "echo"
TTY = sys.stdout.isatty()
BEFORE, AFTER = 1.5, 1.5  # seconds of counting to see on either side
CHECKS = 3  # of the memory at least on either side, however busy the machine is


def say(text=""):
    print(text)
    sys.stdout.flush()


def bold(text):
    return f"\033[1m{text}\033[0m" if TTY else text


class Timeline:
    """What happens, as it happens: a line a phase, and on a terminal a moving bar under them."""

    def __init__(self):
        self.begin = time.monotonic()
        self.phase = None
        self.bar = ""
        self.samples = 0
        self.last = ""
        self.result = {}
        self.shown_percent = -1

    def clear(self):
        if TTY and self.bar:
            sys.stdout.write("\r\033[K")
            self.bar = ""

    def line(self, text):
        self.clear()
        say(f"  {time.monotonic() - self.begin:6.2f} s  {text}")

    def take(self, o):
        kind = o.get("event", "")
        if kind == "result":
            self.result = o
        elif kind == "progress":
            phase = o.get("phase")
            if phase != self.phase:
                if TTY and self.last:  # what the bar said at last stays to be read
                    self.line(f"         {self.last}")
                    self.last = ""
                self.phase = phase
                self.line(PHASES.get(phase, phase))
            if (o.get("memory") or {}).get("total"):
                self.progress(o)
        elif o.get("text"):
            self.line(f"{o.get('step', kind):<11} {o['text']}")

    def progress(self, o):
        self.samples += 1
        parts = [counted("memory", o["memory"]), counted("disks", o.get("disk") or {})]
        rate = o.get("throughput") or 0
        percent = int(o.get("percent") or 0)
        text = "  ".join(parts) + (f"  {rate / 2**20:.0f} MiB/s" if rate else "")
        self.last = f"{percent:3d} %  {text}"
        if TTY:
            width = 24
            full = percent * width // 100
            bar = f"  [{'#' * full}{'.' * (width - full)}] {percent:3d} %  {text}"
            self.bar = bar[:shutil.get_terminal_size().columns - 1]
            sys.stdout.write("\r\033[K" + self.bar)
            sys.stdout.flush()
        elif percent >= self.shown_percent + 20:
            self.shown_percent = percent
            self.line(f"         {self.last}")


PHASES = {
    "connect": "connect     libvirt reaches the other libvirt through the transport",
    "storage": "storage     writable disks are copied, holes stay holes",
    "memory": "memory      memory is copied while the pod works",
    "switchover": "switchover  the pod stands still: the blackout",
    "handoff": "handoff     stream positions and exits go over, the source is fenced off",
    "resume": "resume      the pod runs at the destination",
}


def counted(name, c):
    total, done = c.get("total") or 0, c.get("processed") or 0
    return f"{name} {done / 2**20:.0f} of {total / 2**20:.0f} MiB" if total else f"{name} -"


class Verdict:
    def __init__(self):
        self.failed = 0

    def check(self, ok, what, text):
        self.failed += not ok
        mark = "ok" if ok else "FAILED"
        if TTY:
            mark = f"\033[{32 if ok else 31}m{mark}\033[0m"
        say(f"  {what:<34} {text:<58} {mark}")

    @staticmethod
    def tell(what, text):
        first, *more = textwrap.wrap(text, 72) or [""]
        say(f"  {what:<34} {first}")
        for rest in more:
            say(" " * 37 + rest)


def prepare(r, args):
    steps = [("build", r.make), ("guest image", r.make_image), ("root file system", r.make_rootfs),
             ("two hosts", r.up)]
    done = []
    for what, step in steps:
        begin = time.monotonic()
        if TTY:
            sys.stdout.write(f"\r\033[K  {what} ...")
            sys.stdout.flush()
        step()
        done.append(f"{what} {time.monotonic() - begin:.1f} s")
    if TTY:
        sys.stdout.write("\r\033[K")
    say("  " + ", ".join(done))


def run_pod(r):
    begin = time.monotonic()
    start_containers(r)
    say(f"  {time.monotonic() - begin:6.2f} s  pod {POD} runs on h1: {COUNTER} says a line every 10 ms, "
        f"{MEMORY} checks 32 MiB ten times a second, {ECHO} serves TCP at 10.213.0.50")


def start_containers(r):
    r.pod_netns("h1", POD, "02:50:46:00:00:01", "10.213.0.50/24")
    r.pod_netns("h2", POD, "02:50:46:00:00:02")
    r.run("h1", "run", "--name", POD, "--container", COUNTER, "--rootfs", r.rootfs, "--net",
          f"ns:/run/netns/{POD}", "--detach", "--", "/bin/probe", "count", "10")
    r.run("h1", "run", "--pod", POD, "--container", ECHO, "--rootfs", r.rootfs, "--detach", "--",
          "/bin/netprobe", "echo", "7")
    r.run("h1", "run", "--pod", POD, "--container", MEMORY, "--rootfs", r.rootfs, "--detach", "--",
          "/bin/probe", "memory", "32", "100")


def identity(r, host):
    """Process id, start time and boot id, as the guest says them."""
    out = r.run(host, "exec", f"{POD}/{COUNTER}", "/bin/sh", "-c",
                "cat /proc/1/stat; cat /proc/sys/kernel/random/boot_id")
    lines = out.split("\n")
    fields = lines[0].rsplit(")", 1)[-1].split()
    return fields[19] if len(fields) > 19 else "?", lines[1] if len(lines) > 1 else "?"


def memory_checks(lines):
    good = bad = 0
    ident = None
    for _, _, text in lines:
        m = re.match(r"memory (\d+) (ok|BAD)", text)
        if m:
            good += m[2] == "ok"
            bad += m[2] == "BAD"
        elif text.startswith("memory id "):
            ident = text
    return good, bad, ident


def checked_more(r, host):
    """Waits until the memory has been checked some times more."""
    def checks():
        return memory_checks(r.log_lines(host, POD, MEMORY))[0]
    enough = checks() + CHECKS
    rigs.wait_until(60, lambda: checks() >= enough)


def main():
    p = argparse.ArgumentParser(prog="hack/demo", description="A pod moves between two hosts (made of "
                                "namespaces on this machine) while it works, and a verdict says what that "
                                "cost. Exit status 0: nothing was lost. Needs root.")
    p.add_argument("--keep", action="store_true",
                   help="leave the two hosts up at the end, to look around (PODFERRY_LAB=podferry-demo)")
    args = p.parse_args()
    r = rigs.Rig("podferry-demo", "demo")
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda n, _f: sys.exit(128 + n))
    begin = time.monotonic()
    status = 1
    try:
        say(bold("podferry: a pod moves while it works"))
        prepare(r, args)
        status = show(r)
    finally:
        if not args.keep:
            r.down()
            subprocess.call(["rm", "-f", os.path.join(r.build, "rootfs.lock")])
    say(f"  {'all in all':<34} {time.monotonic() - begin:.1f} s, "
        + ("hosts left up" if args.keep else "everything taken down again"))
    return status


def show(r):
    run_pod(r)
    rigs.wait_until(10, lambda: "listening" in r.run("h1", "logs", f"{POD}/{ECHO}"))
    client = rigs.Client(r)
    before_id = identity(r, "h1")
    time.sleep(BEFORE)
    checked_more(r, "h1")
    say(bold(f"podferry migrate {POD} --to h2"))
    t = Timeline()
    wall = time.monotonic()
    at_begin = time.time_ns()
    for o in r.migrate("h1", POD, "--net", f"ns:/run/netns/{POD}"):
        t.take(o)
    wall = time.monotonic() - wall
    at_end = time.time_ns()
    t.line(f"pod {POD} runs on h2")
    time.sleep(AFTER)
    checked_more(r, "h2")
    return judge(r, t, wall, at_begin, at_end, before_id, client.end())


def judge(r, t, wall, at_begin, at_end, before_id, silence):
    v = Verdict()
    say(bold("Verdict"))
    found = rigs.counts(r.log_lines("h2", POD, COUNTER))
    missing, twice, gap = rigs.check_counts(found)
    before = sum(1 for w, _, _ in found if w < at_begin)
    during = sum(1 for w, _, _ in found if at_begin <= w < at_end)
    after = len(found) - before - during
    v.check(bool(before and after) and not missing and not twice, "lines of the counter",
            f"{before} before, {during} during, {after} after; {missing} missing, {twice} twice")
    after_id = identity(r, "h2")
    v.check(before_id == after_id and "?" not in after_id, "same process, same kernel",
            f"started at tick {after_id[0]}, boot {after_id[1][:8]}")
    good, bad, ident = memory_checks(r.log_lines("h2", POD, MEMORY))
    v.check(good >= 2 * CHECKS and bad == 0 and ident is not None, "memory contents",
            f"32 MiB checked {good} times, {bad} differences")
    v.check(silence is not None, "TCP client on a third host",
            "the connection ended" if silence is None else
            f"one connection all the time, silent for {silence:.0f} ms at most")
    left = r.enter("h1", "sh", "-c", "ls /run/podferry; virsh -q -c qemu:///system list --all --name").strip()
    v.check(not left, "nothing left on h1", left.replace("\n", " ") or "no domain, no shim, no file")
    phases = t.result.get("phases") or []
    if phases:
        v.tell("time of each phase", ", ".join(f"{x['name']} {x['ms']:.0f} ms" for x in phases))
    v.tell("podferry migrate, all of it", f"{wall * 1000:.0f} ms")
    blackout = (t.result.get("blackout_ns") or 0) / 1e6
    v.tell("blackout as libvirt saw it", f"{blackout:.0f} ms" if blackout else "not reported")
    v.tell("blackout as the container saw it", f"{gap / 1e6:.0f} ms between two lines that are 10 ms apart")
    return 1 if v.failed else 0


if __name__ == "__main__":
    sys.exit(main())
