# SPDX-License-Identifier: Apache-2.0
"""Two hosts and the podferry that was built, for the demo and the bench."""
import datetime
import json
import os
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Rig:
    """A lab of its own name, a build, a guest image and a root file system."""

    def __init__(self, name, build, buildtype="release"):
        self.lab_name = name
        self.build = os.path.join(TOP, "build", build)
        self.buildtype = buildtype
        self.image = os.path.join(self.build, "image")
        self.podferry = os.path.join(self.build, "shim", "podferry")
        self.lab = os.path.join(TOP, "hack", "lab")
        self.rootfs = os.path.join(self.build, "rootfs")
        self.env = dict(os.environ, PODFERRY_LAB=name, PODFERRY_GUEST_DIR=self.image,
                        PODFERRY_BUILD=self.build,
                        PATH=os.path.join(self.build, "shim") + ":" + os.environ["PATH"])

    def quiet(self, argv, what):
        """Runs a step of the preparation; its output is shown only if it fails."""
        p = subprocess.run(argv, cwd=TOP, env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if p.returncode != 0:
            sys.stdout.write(p.stdout.decode("utf-8", "replace")[-4000:])
            raise SystemExit(f"{what} failed (exit status {p.returncode})")

    def make(self):
        setup = ["meson", "setup", self.build, TOP, "-Dbuildtype=" + self.buildtype]
        if os.path.exists(os.path.join(self.build, "build.ninja")):
            setup.insert(2, "--reconfigure")
        self.quiet(setup, "configuring")
        self.quiet(["ninja", "-C", self.build], "building")

    def make_image(self):
        self.quiet([os.path.join(TOP, "hack", "image"), "--build", self.build, self.image],
                   "making the guest image")

    def make_rootfs(self):
        self.quiet(["bash", "-c", '. tests/lab/lib.sh; make_rootfs; rm -rf "$work"'],
                   "making the root file system")

    def up(self):
        subprocess.call([self.lab, "down"], env=self.env)
        self.quiet([self.lab, "up"], "bringing the lab up")

    def down(self):
        subprocess.call([self.lab, "down"], env=self.env, stdin=subprocess.DEVNULL)

    def argv(self, host, *args):
        return [self.lab, "enter", host, self.podferry, *args]

    def start(self, host, *args, **kw):
        return subprocess.Popen(self.argv(host, *args), env=self.env, **kw)

    def run(self, host, *args, check=True):
        """A command of the CLI; returns its stdout."""
        p = subprocess.run(self.argv(host, *args), env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True)
        if check and p.returncode != 0:
            raise SystemExit(f"podferry {' '.join(args)} on {host}: exit status {p.returncode}: "
                             f"{p.stderr.strip()}")
        return p.stdout

    def enter(self, host, *argv, check=False):
        p = subprocess.run([self.lab, "enter", host, *argv], env=self.env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, check=check, text=True)
        return p.stdout

    def to(self, host):
        return f"exec:{self.lab} enter {host}"

    def migrate(self, source, pod, *options):
        """Starts a migration; yields what it says as JSON, line by line; the last is the outcome."""
        target = "h2" if source == "h1" else "h1"
        p = self.start(source, "migrate", pod, "--to", self.to(target), "--progress", "json",
                       *options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
        try:
            for line in p.stdout:
                try:
                    yield flat(json.loads(line))
                except ValueError:
                    continue
            error = p.stderr.read().strip()
            status = p.wait()
        finally:
            if p.poll() is None:
                p.terminate()
                p.wait()
        if status != 0:
            raise SystemExit(f"podferry migrate: exit status {status}: {error}")

    def pod_netns(self, host, name, mac, address=None):
        """A network namespace on the lab's switch. One with an address answers for it until a pod has it."""
        subprocess.run([self.lab, "netns", host, name], env=self.env, check=True)
        if address:
            self.enter(host, "ip", "-n", name, "addr", "add", address, "dev", "eth0", check=True)
        self.enter(host, "ip", "-n", name, "link", "set", "eth0", "address", mac, "up", check=True)

    def log_lines(self, host, pod, container):
        """(time in ns, stream, text) of a container's log, read from its file."""
        text = self.enter(host, "cat", f"/run/podferry/{pod}/logs/{container}.log")
        return list(parse_log(text))


class Client:
    """Of a TCP server in the pod, on the third host: a message every 10 ms, whatever became of those before."""

    def __init__(self, r):
        self.process = subprocess.Popen([r.lab, "enter", "h3", f"{r.rootfs}/bin/netprobe", "client", "10.213.0.50",
                                         "7", "10"], env=r.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        if "connected" not in self.process.stdout.readline():
            raise SystemExit("the client does not connect")

    def end(self):
        """Longest time between two answers, ms; None if the connection ended."""
        self.process.terminate()
        said = self.process.stdout.read()
        found = re.search(r"longest ([0-9.]+)", said)
        return float(found.group(1)) if self.process.wait() == 0 and found else None


def flat(o):
    """A line of --progress json with what it carries at the top: progress, or the source's result."""
    inner = o.get("progress") or (o.get("result") or {}).get("source") or {}
    return {**inner, **{k: v for k, v in o.items() if k not in ("progress", "result")}}


def parse_log(text):
    """CRI format: time, stream, F or P, bytes. A part (P) is joined with what follows it."""
    parts = {}
    for line in text.split("\n"):
        m = re.match(r"(\S+) (stdout|stderr) ([FP]) ?(.*)", line)
        if not m:
            continue
        when, stream, flag, data = m.groups()
        first, head = parts.pop(stream, (None, ""))
        if flag == "P":
            parts[stream] = (first or nanoseconds(when), head + data)
        else:
            yield first or nanoseconds(when), stream, head + data


def nanoseconds(text):
    """RFC 3339 with nanoseconds, to a number."""
    m = re.match(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?(Z|[+-]\d+:\d+)$", text)
    if not m:
        return 0
    base = datetime.datetime.fromisoformat(m[1] + (m[3] if m[3] != "Z" else "+00:00"))
    return int(base.timestamp()) * 10**9 + int((m[2] or "0").ljust(9, "0")[:9])


def wait_until(seconds, condition):
    """For what nothing else tells: asks every 20 ms."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def counts(lines):
    """The counter's lines: [(host time ns, number, guest time ns)]."""
    found = []
    for when, stream, text in lines:
        m = re.match(r"count (\d+) (\d+)$", text)
        if m and stream == "stdout":
            found.append((when, int(m[1]), int(m[2])))
    return found


def check_counts(found):
    """(how many are missing, how many came twice or out of order, the longest gap in ns)."""
    missing = twice = gap = 0
    for before, after in zip(found, found[1:]):
        step = after[1] - before[1]
        missing += max(0, step - 1)
        twice += step <= 0
        gap = max(gap, after[0] - before[0])
    if found and found[0][1] != 1:
        missing += found[0][1] - 1
    return missing, twice, gap
