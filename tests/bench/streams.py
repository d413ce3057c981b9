# SPDX-License-Identifier: Apache-2.0
"""Figures of what a pod says, hears and reports while it moves: output, input, exits."""
import json
import os
import re
import subprocess
import threading
import time

import rig as rigs
from common import POD, Listener, remove


def other(host):
    return "h2" if host == "h1" else "h1"


def move(r, host):
    for _ in r.migrate(host, POD):
        pass
    return other(host)


LOG_MIB = 64  # of a log before it is turned over; the one before is kept


class StreamCheck:
    """Of the container's own count on both streams, looked at after each move: the logs are turned over, and what is
    older than the last two of them is gone."""

    def __init__(self):
        self.wrong = self.lines = 0
        self.last = {"stdout": 0, "stderr": 0}

    def look(self, r, host):
        path = f"/run/podferry/{POD}/logs/out.log"
        found = {stream: [] for stream in self.last}
        for _, stream, text in rigs.parse_log(r.enter(host, "sh", "-c", f"cat {path}.1 {path} 2>/dev/null")):
            if text.startswith("s "):
                found[stream].append(int(text.split()[1]))
        for stream, numbers in found.items():
            last = self.last[stream]
            if last and last not in numbers:
                raise SystemExit(f"{stream}: line {last} is not in the logs any more: too much was written in one move")
            new = numbers[numbers.index(last):] if last else [0] + numbers
            self.wrong += sum(1 for a, b in zip(new, new[1:]) if b != a + 1) + (len(new) < 2)
            self.lines += len(new) - 1
            self.last[stream] = new[-1]


class Feeder(threading.Thread):
    """Feeds an attached container 1 MB/s from a position on, until the pod moves away from under it; `taken`
    is then how many bytes of input the container had in all."""

    def __init__(self, r, host, data, at):
        super().__init__(daemon=True)
        self.data, self.at, self.taken = data, at, None
        self.process = r.start(host, "attach", "--stay", f"{POD}/in", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=False)

    def run(self):
        begin, sent = time.monotonic(), 0
        try:
            while self.at + sent < len(self.data) and self.process.poll() is None:
                self.process.stdin.write(self.data[self.at + sent:self.at + sent + 10000])
                self.process.stdin.flush()
                sent += 10000
                time.sleep(max(0.0, begin + sent / 1e6 - time.monotonic()))
        except OSError:
            pass

    def end(self):
        """After a move: waits for the client, and reads from it how far the container got."""
        said = self.process.stderr.read().decode("utf-8", "replace")
        self.process.wait()
        self.join()
        m = re.search(r"\((\d+) bytes of input", said)
        if not m:
            raise SystemExit(f"podferry attach does not say how much input was taken: {said.strip()}")
        return int(m[1])

    def finish(self):
        """Feeds the rest, then the end of the input."""
        self.join()
        self.process.stdin.close()
        self.process.wait()


def feed_bytes(r, size):
    """What `probe feed` writes, and its hash as `probe sink` and `probe hash` say it."""
    probe = f"{r.rootfs}/bin/probe"
    data = subprocess.check_output([probe, "feed", "0", str(size)])
    return data, subprocess.check_output([probe, "hash", str(size)], text=True).strip()


def bench_stdio(r, report, args):
    """Lines lost or repeated while a pod that streams both ways moves there and back."""
    host, check = "h1", StreamCheck()
    config = os.path.join(r.build, "output.json")
    with open(config, "w", encoding="ascii") as f:
        json.dump({"log_max_mib": LOG_MIB}, f)
    r.env["PODFERRY_CONFIG"] = config
    try:
        r.run(host, "run", "--name", POD, "--container", "out", "--rootfs", r.rootfs, "--detach", "--", "/bin/probe",
              "stream", "1000000", "100000000000", "e")
        for _ in range(args.moves):
            host = move(r, host)
            check.look(r, host)
    finally:
        del r.env["PODFERRY_CONFIG"]
        remove(r, host)
    report.figure("output-lost", check.wrong, "lines", 0, "", args.moves,
                  note=f"{check.lines} lines on stdout and stderr at 1 MB/s each, {args.moves} moves there and back")


def bench_stdin(r, report, args):
    """Bytes of input lost or repeated. A client that the pod leaves goes on at the destination from the count
    that it was told; the container's hash of all that it read tells the rest."""
    data, want = feed_bytes(r, 1000000 * (3 * args.moves // 2 + 2) // 10000 * 10000)
    host, at, moves = "h1", 0, 0
    r.run(host, "run", "--name", POD, "--container", "in", "--rootfs", r.rootfs, "--detach", "--interactive", "--",
          "/bin/probe", "sink")
    while moves < args.moves:
        feeder = Feeder(r, host, data, at)
        feeder.start()
        host = move(r, host)
        moves += 1
        at = feeder.end()
    last = Feeder(r, host, data, at)
    last.start()
    last.finish()
    ends = []

    def has_ended():
        ends[:] = [t.split() for _, _, t in r.log_lines(host, POD, "in") if t.startswith("sink end")]
        return ends

    rigs.wait_until(20, has_ended)
    remove(r, host)
    got = int(ends[0][2]) if ends else 0
    wrong = abs(len(data) - got) if got != len(data) else int(ends[0][3] != want)
    report.figure("input-lost", wrong, "bytes", 0, "", moves, note=f"{got} bytes at 1 MB/s, hash compared")


def exit_codes(node, found):
    """Of every container that has ended, in a dump of the tree."""
    for child in node.get("children") or []:
        if node.get("kind") == "container" and child.get("id") == "init" and node.get("state") == "stopped":
            found[node["id"]] = child.get("exit_code")
        exit_codes(child, found)


def exits_round(r, args, n):
    """n containers that end before, in and after the blackout, each with a code of its own. Returns (how many are not
    known at the destination with their code, how often each code was reported by either shim, how many of
    these reports came from the source, how many reports were of no such exit)."""
    due = 0.0
    for i in range(n):
        # Made one after the other; they are to end 60 ms apart, half of them before the guest stands still.
        ms = (n - i - 1) * args.exit_step_ms + args.exit_ms + (2 * i - n) * 30
        if i <= 1:  # the first one boots the pod
            begin = time.monotonic()
        r.run("h1", "run", *(["--pod", POD] if i else ["--name", POD]), "--container", f"x{i}",
              "--rootfs", r.rootfs, "--detach", "--", "/bin/probe", "exit", str(max(1, int(ms))), str(100 + i))
        due = max(due, time.monotonic() + ms / 1000)
        if i == 0:
            shims = [Listener(r, h, "exits", f"/run/podferry/{POD}/bus.sock") for h in ("h1", "h2")]
    made = time.monotonic()
    handed = None
    for o in r.migrate("h1", POD):
        if handed is None and o.get("phase") in ("switchover", "handoff", "resume"):
            handed = time.monotonic()
    # How long both took this time is the best guess for the next round.
    args.exit_step_ms = (made - begin) * 1000 / max(1, n - 1)
    args.exit_ms = ((handed or time.monotonic()) - made) * 1000 + args.exit_late_ms
    wanted = {f"x{i}": 100 + i for i in range(n)}
    found = {}

    def all_ended():
        for line in r.run("h2", "ps", "--json").splitlines():
            exit_codes(json.loads(line).get("tree") or {}, found)
        return found == wanted and set(wanted.values()) <= set(shims[0].numbers + shims[1].numbers)

    # How long making them takes was a guess: on a busy machine the last one may be far from its end.
    rigs.wait_until(max(0.0, due - time.monotonic()) + 30, all_ended)
    heard = [s.end() for s in shims]
    remove(r, "h2")
    codes = list(wanted.values())
    reports = [sum(h.count(code) for h in heard) for code in codes]
    here = sum(code in codes for code in heard[0])
    false = sum(code not in codes for h in heard for code in h)
    return sum(found.get(k) != v for k, v in wanted.items()), reports, here, false


def bench_exits(r, report, args):
    """Exits around the blackout: all are known at the destination with their code, and each was reported
    once: by the shim that had the pod."""
    done = wrong = at_source = false = 0
    reports = []
    while done < args.exits:
        n = min(10, args.exits - done)
        lost, told, here, others = exits_round(r, args, n)
        wrong, at_source, done, false = wrong + lost, at_source + here, done + n, false + others
        args.exit_late_ms += (here - n / 2) * 60  # half of them are to end on either side
        reports += told
    report.figure("exits-lost", wrong, "exits", 0, "", done, note="not known with their code at the destination")
    report.figure("exits-not-once", sum(k != 1 for k in reports) + false, "exits", 0, "", done,
                  note=f"{reports.count(0)} never reported, {sum(k > 1 for k in reports)} more than once, {false} false; "
                       f"{at_source} by the source, {sum(reports) - at_source} by the destination")
