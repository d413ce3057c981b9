# SPDX-License-Identifier: Apache-2.0
"""Pods that write to their memory faster than the link carries, and what each way out of that costs."""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rig as rigs
from common import POD, median, remove, silences, virsh_migrate
from forecast import Link, move

MIB = 1 << 20
LINK = 16  # MiB/s
DIRTY = 32  # MiB, all of it written to many times in the two seconds that the link takes for it. Not more: without KVM QEMU's
#             look for dirty pages, in which the guest stands, grows with the square of it (docs/figures.md)
FREE = 1000000  # MiB/s that it is allowed: it never waits, so whatever slows the guest shows
WINDOW = 4  # s
STAYS = "stays"  # a pod that writes, too, and does not move
LIMIT = 10  # s: the first pass, which has all else that the guest holds, is over by then
FORCED = ("--completion-timeout", f"{LIMIT}s", "--timeout-action", "force-complete")
CEILING = 500  # ms, the longest blackout of a move that nobody forces (max_downtime)


def run(r, where, container, *probe, pod=POD):
    """Without a scratch disk: memory alone is what crosses."""
    r.run("h1", "run", where, pod, "--container", container, "--rootfs", r.rootfs, "--read-only", "--detach", "--",
          "/bin/probe", *map(str, probe))


def start(r, tick=False, pod=POD):
    if tick:
        run(r, "--name", "tick", "count", 10)
    run(r, "--pod" if tick else "--name", "dirty", "dirty", DIRTY, FREE, pod=pod)
    if not rigs.wait_until(60, lambda: r.run("h1", "logs", f"{pod}/dirty").count("ok") >= 8):
        raise SystemExit("the pod does not begin to write")


def writes(r, host, pod=POD):
    """[(host time ns, pages written until then)]"""
    found = []
    for when, _stream, text in r.log_lines(host, pod, "dirty"):
        if "BAD" in text:
            raise SystemExit(f"the pod's memory is not what it wrote: {text}")
        m = re.match(r"dirty (\d+) \d+ ok$", text)
        if m:
            found.append((when, int(m[1])))
    return found


def rate(found, window):
    """MiB/s in it, by the host's clock: a guest that stands writes nothing in that time."""
    inside = [f for f in found if window[0] <= f[0] <= window[1]]
    if len(inside) < 2:
        raise SystemExit("the pod did not write")
    (begin, first), (end, last) = inside[0], inside[-1]
    return (last - first) / 256 / ((end - begin) / 1e9)


def window():
    begin = time.time_ns()
    time.sleep(WINDOW)
    return begin, time.time_ns()


def aborted(r, link):
    """(MiB/s of the pod before a move that its time limit ends, and after that was said; the same of one that stays)."""
    start(r)
    before = window()
    p = subprocess.run(r.argv("h1", "migrate", POD, "--to", link.to, "--completion-timeout", "3s"), env=r.env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    after = window()
    if p.returncode != 125 or "time limit" not in p.stderr:
        raise SystemExit(f"not ended by its time limit: exit status {p.returncode}: {p.stderr.strip()}")
    moved, stays = writes(r, "h1"), writes(r, "h1", STAYS)
    remove(r, "h1")
    return rate(moved, before), rate(moved, after), rate(stays, before), rate(stays, after)


def abort_all(r, link, n):
    start(r, pod=STAYS)
    try:
        return [aborted(r, link) for _ in range(n)]
    finally:
        remove(r, "h1", STAYS)


def over_link(r, what):
    """what(link) with the slow link, and nothing left after it."""
    link = Link(r)
    try:
        link.set(LINK)
        return what(link)
    finally:
        link.end()
        remove(r, "h2")
        remove(r, "h1")


def bench_abort(r, report, args):
    """Does an aborted move leave anything behind that slows the pod down? A pod of its own each time, so that what one
    leaves is not in the next one's window before. Beside it writes one that does not move: the machine is not equally fast
    in two windows, and what it does to that one is not the move's doing."""
    found = over_link(r, lambda link: abort_all(r, link, max(3, min(args.runs, 9))))
    ratios = [(a / b) / (after / before) for b, a, before, after in found]
    report.figure("converge-abort", median(ratios), "ratio", 0.98,
                  f"before the move {median([f[0] for f in found]):.0f} MiB/s", len(found), at_most=False,
                  note=f"written by the pod after it {median([f[1] for f in found]):.0f} MiB/s; from {min(ratios):.2f} to "
                       f"{max(ratios):.2f}; the pod that stays, alone, "
                       f"{median([f[3] / f[2] for f in found]):.2f} of before")


def events(r):
    """What libvirt says over there of the machine, from before it is there."""
    return subprocess.Popen([r.lab, "enter", "h2", "stdbuf", "-oL", "virsh", "-q", "-c", "qemu:///system", "event",
                             "--event", "lifecycle", "--loop"], env=r.env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def postcopied(said, who):
    """Whether it was resumed there by post-copy: a move that converged is another matter."""
    said.terminate()
    text = said.communicate()[0]
    if not re.search(r"Resumed post-?copy", text, re.IGNORECASE):
        raise SystemExit(f"{who}: there was no post-copy: {'; '.join(text.splitlines())}")


def podferry_postcopy(r, link):
    said = events(r)
    start(r)
    took, _ = move(r, link, ("--handover", "fast", "--post-copy", *FORCED))
    postcopied(said, "podferry migrate")
    n = len(writes(r, "h2"))
    if not rigs.wait_until(10, lambda: len(writes(r, "h2")) > n + 2):
        raise SystemExit("the pod does not go on at the destination")
    remove(r, "h2")
    return took / 1000


def virsh_postcopy(r):
    said = events(r)
    start(r)
    r.enter("h2", "mkdir", "-p", "-m", "700", f"/run/podferry/{POD}", check=True)  # of the sockets
    took = virsh_migrate(r, POD, "--postcopy", "--timeout", str(LIMIT), "--timeout-postcopy")
    postcopied(said, "virsh migrate")
    remove(r, "h1")
    remove(r, "h2")
    return took


def postcopy_pairs(r, link, n):
    run(r, "--name", "tick", "count", 10)  # once, so that the image layers are on both hosts
    move(r, link, ())
    remove(r, "h2")
    pairs = []
    for i in range(n):
        if i % 2:
            theirs, ours = virsh_postcopy(r), podferry_postcopy(r, link)
        else:
            ours, theirs = podferry_postcopy(r, link), virsh_postcopy(r)
        pairs.append((ours, theirs))
    return pairs


def bench_postcopy(r, report, args):
    """The same time limit, and then post-copy, by podferry and by virsh, over the same link."""
    pairs = over_link(r, lambda link: postcopy_pairs(r, link, min(args.runs, 4)))
    report.figure("converge-postcopy", median([o / t for o, t in pairs]), "ratio", 1.1,
                  f"virsh migrate --timeout {LIMIT} --timeout-postcopy {median([t for _, t in pairs]):.1f} s", len(pairs),
                  note=f"{median([o for o, _ in pairs]):.1f} s, at worst {max(o / t for o, t in pairs):.2f}")


def plain_speed(r, link):
    """Bytes a second of a plain copy that goes the way of the transport, as dd at its other end saw it."""
    out = r.enter("h1", "sh", "-c", f"head -c {DIRTY * MIB} /dev/zero | {link.to.removeprefix('exec:')} "
                  "sh -c 'LC_ALL=C dd of=/dev/null bs=1M 2>&1'", check=True)
    m = re.search(r"^(\d+) bytes .* copied, ([0-9.]+) s", out, re.MULTILINE)
    if not m or int(m[1]) != DIRTY * MIB:
        raise SystemExit(f"the link's speed is not known: {out.strip()}")
    return int(m[1]) / float(m[2])


def paused(r, link):
    """(silence of a ticker in the pod, the shims' blackout, what a plain copy of the rest takes), ms."""
    start(r, tick=True)
    speed = plain_speed(r, link)
    _, blackout = move(r, link, FORCED)
    (silence,) = silences(r, [POD])
    writes(r, "h2")
    remove(r, "h2")
    if blackout <= CEILING:
        raise SystemExit(f"it went over by itself: a blackout of {blackout:.0f} ms")
    return silence, blackout, DIRTY * MIB / speed * 1000


def bench_pause(r, report, args):
    """How long a pod stands that is forced, against what the link needs for the rest. The pod has written to all its
    pages since the last pass began, whatever moment it is stopped at, so they are the rest."""
    found = over_link(r, lambda link: [paused(r, link) for _ in range(min(args.runs, 3))])
    copy = median([c for _, _, c in found])
    report.figure("converge-pause", median([s / c for s, _, c in found]), "ratio", 1.3,
                  f"plain copy of the rest {copy:.0f} ms, {DIRTY / copy * 1000:.1f} MiB/s", len(found),
                  note=f"between two ticks {median([s for s, _, _ in found]):.0f} ms, the shims' blackout "
                       f"{median([b for _, b, _ in found]):.0f} ms")
