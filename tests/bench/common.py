# SPDX-License-Identifier: Apache-2.0
"""What all figures need: how one is told, and what becomes of a pod on the two hosts."""
import json
import os
import re
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


    def broken(self, name, why):
        """A figure that could not be measured."""
        self.failed += 1
        if self.as_json:
            print(json.dumps({"figure": name, "value": None, "unit": "", "bound": None, "peer": "", "n": 0,
                              "ok": False, "error": why}))
        else:
            print(f"{'MISSED':<7}{name:<22}not measured: {why}")
        sys.stdout.flush()


def remove(r, host, pod=POD):
    r.run(host, "rm", "--force", pod, check=False)
    for h in ("h1", "h2"):
        r.enter(h, "sh", "-c", f"virsh -q -c qemu:///system destroy podferry-{pod} 2>/dev/null; "
                f"rm -rf /run/podferry/{pod} /var/lib/podferry/pods/{pod}")


class Listener(threading.Thread):
    """listen.py on a host: the numbers that it says, until it is ended."""

    def __init__(self, r, host, what, path):
        super().__init__(daemon=True)
        self.numbers, self.heard = [], threading.Event()
        self.process = subprocess.Popen([r.lab, "enter", host, "python3", "-B",
                                         os.path.join(os.path.dirname(os.path.abspath(__file__)), "listen.py"),
                                         what, path], env=r.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.start()

    def run(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.numbers.append(int(line))
                self.heard.set()

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.join()
        return self.numbers


def downtime_ms(r, host):
    """Of the last migration, as libvirt of the destination keeps it."""
    found = re.search(r"(?:Total )?downtime:\s+([0-9]+)",
                      r.enter(host, "virsh", "-q", "-c", "qemu:///system", "domjobinfo", "--completed",
                              f"podferry-{POD}"), re.IGNORECASE)
    return float(found.group(1)) if found else None


def virsh_migrate(r, pod, *options):
    """From h1 to h2; seconds."""
    begin = time.monotonic()
    p = subprocess.run([r.lab, "enter", "h1", "virsh", "-q", "-c", "qemu:///system", "migrate", "--live", "--p2p",
                        "--unsafe", *options, f"podferry-{pod}", "qemu+tcp://10.213.0.2/system"], env=r.env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    wall = time.monotonic() - begin
    if p.returncode != 0:
        raise SystemExit(f"virsh migrate: {p.stdout}")
    return wall


def silences(r, pods):
    """The longest one of each pod's log on h2, ms; each log whole."""
    found = {pod: rigs.counts(r.log_lines("h2", pod, "tick")) for pod in pods}
    for pod, lines in found.items():
        last = lines[-1][1] if lines else 0
        rigs.wait_until(10, lambda: (rigs.counts(r.log_lines("h2", pod, "tick")) or [(0, 0, 0)])[-1][1] > last + 20)
        missing, twice, gap = rigs.check_counts(rigs.counts(r.log_lines("h2", pod, "tick")))
        if missing or twice:
            raise SystemExit(f"the ticker of {pod} lost {missing} lines and repeated {twice}")
        yield gap / 1e6
