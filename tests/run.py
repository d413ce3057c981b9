# SPDX-License-Identifier: Apache-2.0
"""The test runner behind hack/test: builds, runs every test, counts each TAP line, says what failed.

Three kinds of tests: those that meson knows (unit, wire, bus: no root, no network), the lab tests
(tests/lab/*.t: two hosts on this machine, root), and with --long what is slow. What a test prints as
TAP is counted line by line. Results are kept in the build directory for --rows.
"""
import argparse
import concurrent.futures
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build", "test")
RESULTS = os.path.join(TOP, "build", "results.json")
LAB = os.environ.get("PODFERRY_TEST_LAB", "podferry-test")  # never the lab that a person works in
ASAN_BUILD = os.path.join(TOP, "build", "asan")
# Lab tests that --long runs once more, with shim and CLI built with the sanitizers.
SANITIZED_LAB = ("run", "migrate", "stdio", "bad")
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "LSAN_OPTIONS": f"suppressions={os.path.join(TOP, 'tests', 'lsan.supp')}:print_suppressions=0",
}
TAP = re.compile(r"^(not )?ok\b\s*(\d*)\s*-?\s*(.*)$")
ROWS = re.compile(r"\brows: ((?:[HFB]\d+[ ,]*)+)")


class Result:
    """One program: its TAP points, or one point if it prints none."""

    def __init__(self, name):
        self.name = name
        self.points = []  # (outcome, description, rows)
        self.seconds = 0.0
        self.output = ""

    def add(self, outcome, what, rows=()):
        self.points.append((outcome, what, list(rows)))

    def count(self, outcome):
        return sum(1 for p in self.points if p[0] == outcome)


def parse_tap(result, text, status, timed_out):
    """Fills result.points from what a test printed and how it ended."""
    planned, bail, rows = None, None, []
    for line in text.splitlines():
        plan = re.match(r"^1\.\.(\d+)(?:\s*#\s*skip\S*\s*(.*))?", line, re.I)
        point = TAP.match(line)
        if plan:
            planned = int(plan.group(1))
            if planned == 0:
                result.add("skip", plan.group(2) or "nothing to run")
        elif line.startswith("Bail out!"):
            bail = line[9:].strip()
        elif line.startswith("# rows: "):
            rows = line[8:].replace(",", " ").split()
        elif point:
            # cmocka says "not ok 3 # SKIP name" of a test that called skip()
            what, _, directive = (" " + point.group(3)).partition(" # ")
            what, low = what.strip(), directive.lower()
            if low.startswith("skip"):
                result.add("skip", f"{what}: {directive[4:]}".strip(": "), rows)
            elif point.group(1) and not low.startswith("todo"):
                result.add("fail", what, rows)
            else:
                result.add("pass", what, rows)
            rows = []
    seen = sum(1 for _ in result.points)
    if timed_out:
        result.add("fail", "took too long and was ended")
    elif bail is not None:
        result.add("fail", f"gave up: {bail}")
    elif planned is not None and planned > 0 and seen != planned:
        result.add("fail", f"{seen} of {planned} tests ran (exit status {status})")
    elif planned is None and seen == 0:
        result.add({0: "pass", 77: "skip"}.get(status, "fail"),
                   last_line(text) if status else result.name)
    elif status != 0 and result.count("fail") == 0:
        result.add("fail", f"exit status {status} after its last test")


def last_line(text):
    lines = [l for l in text.splitlines() if l.strip()]
    return lines[-1][:200] if lines else "no output"


def run_program(name, argv, env, timeout):
    """Runs one test in a process group and a directory of its own; ends all of it afterwards."""
    result = Result(name)
    begin = time.monotonic()
    timed_out = False
    with tempfile.TemporaryDirectory(prefix="podferry-test.") as home, tempfile.TemporaryFile() as out:
        full = dict(os.environ, TMPDIR=home, **env)
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             env=full, cwd=TOP, start_new_session=True)
        running.add(p.pid)
        try:
            p.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            end_group(p.pid, signal.SIGTERM)
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                pass
        end_group(p.pid, signal.SIGKILL)
        p.wait()
        running.discard(p.pid)
        out.seek(0)
        result.output = out.read().decode("utf-8", "replace")
    result.seconds = time.monotonic() - begin
    parse_tap(result, result.output, p.returncode, timed_out)
    return result


running = set()


def end_group(pid, sig):
    try:
        os.killpg(pid, sig)
    except ProcessLookupError:
        pass


def worth_reading(text):
    """What failed, with what was said of it, and the end."""
    lines = text.splitlines()
    failed = False
    for i, line in enumerate(lines):
        failed = line.startswith("not ok") or failed and line.startswith("#")
        if failed or i >= len(lines) - 40:
            yield line


def show(result, verbose=False):
    bad, skip = result.count("fail"), result.count("skip")
    word = "FAIL" if bad else "skip" if skip and skip == len(result.points) else "ok"
    parts = [f"{result.count('pass')} passed"] if result.count("pass") else []
    parts += [f"{bad} FAILED"] if bad else []
    parts += [f"{skip} skipped"] if skip else []
    print(f"{word:<4} {result.name:<34} {result.seconds:7.2f} s  {', '.join(parts)}")
    for outcome, what, _ in result.points:
        if outcome == "fail":
            print(f"     FAILED  {what}")
        elif outcome == "skip":
            print(f"     skipped {what}")
    if bad or verbose:
        for line in result.output.splitlines() if verbose else worth_reading(result.output):
            print("     | " + line)
    sys.stdout.flush()


def call(argv, what, log):
    """A build step: quiet, unless it fails."""
    begin = time.monotonic()
    with open(log, "wb") as f:
        status = subprocess.call(argv, cwd=TOP, stdin=subprocess.DEVNULL, stdout=f,
                                 stderr=subprocess.STDOUT)
    print(f"{'ok' if status == 0 else 'FAIL':<4} {what:<34} {time.monotonic() - begin:7.2f} s")
    if status != 0:
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f.read().splitlines()[-60:]:
                print("     | " + line)
    sys.stdout.flush()
    return status == 0


def build(directory, options, what, env_cc=None):
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    argv = ["meson", "setup"]
    if os.path.exists(os.path.join(directory, "build.ninja")):
        argv.append("--reconfigure")
    elif os.path.isdir(directory):  # an interrupted setup
        shutil.rmtree(directory)
    argv += [directory, TOP] + options
    if env_cc:
        argv = ["env", f"CC={env_cc}"] + argv
    return (call(argv, f"configure {what}", directory + ".log") and
            call(["ninja", "-C", directory], f"build {what}", directory + ".log"))


def known_to_meson(directory):
    out = subprocess.check_output(["meson", "introspect", "--tests", directory], text=True)
    found = []
    for t in json.loads(out):
        suites = [s.split(":")[-1] for s in t.get("suite") or []]
        # meson names a program that is an argument (of tests/tap) as seen from the build directory
        paths = [os.path.join(directory, a) for a in t["cmd"]]
        cmd = [p if os.path.isfile(p) else a for p, a in zip(paths, t["cmd"])]
        found.append((f"{suites[0] if suites else 'unit'}/{t['name']}", cmd, t["env"],
                      t["timeout"] or 30, t.get("is_parallel", True)))
    return found


def run_meson_tests(directory, wanted, label="", env=None, slow=1):
    tests = [t for t in known_to_meson(directory) if wanted(t[0])]
    results = []
    with concurrent.futures.ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(run_program, label + name, cmd, {**e, **(env or {})}, timeout * slow)
                   for name, cmd, e, timeout, _ in tests]
        for f in futures:
            results.append(f.result())
            show(results[-1])
    return results


def step(name, ok, rows=()):
    """A step that is a test in itself (a build, a check)."""
    r = Result(name)
    r.add("pass" if ok else "fail", name, rows)
    return r


def lab_passes(long_too, wanted):
    """(name, path of the test, sanitized) of each run of a lab test."""
    directory = os.path.join(TOP, "tests", "lab")
    names = sorted(n for n in os.listdir(directory) if n.endswith(".t")) if os.path.isdir(directory) else []
    runs = [("lab/", n, False) for n in names if long_too or not n.startswith("long-")]
    if long_too:
        runs += [("asan/lab/", n, True) for n in names if n[:-2] in SANITIZED_LAB]
    return [(where + n[:-2], os.path.join(directory, n), sanitized)
            for where, n, sanitized in runs if wanted(where + n[:-2])]


def run_lab_test(name, path, sanitized, env):
    timeout = 3600 if os.path.basename(path).startswith("long-") else 300
    if not sanitized:
        return run_program(name, ["bash", path], env, timeout)
    with tempfile.TemporaryDirectory(prefix="podferry-reports.") as reports:
        log = f":log_path={reports}/report"
        env = dict(env, PODFERRY_BUILD=ASAN_BUILD, **{k: v + log for k, v in SANITIZERS.items()})
        r = run_program(name, ["bash", path], env, timeout * 3)
        found = sorted(os.listdir(reports))
        for f in found:
            with open(os.path.join(reports, f), encoding="utf-8", errors="replace") as text:
                r.output += f"\n{f}:\n" + text.read()
        r.add("fail" if found else "pass", f"no sanitizer reports ({len(found)} found)" if found else
              "neither shim nor CLI made a sanitizer report")
    return r


def lab_tests(long_too, wanted):
    names = lab_passes(long_too, wanted)
    if not names:
        return []
    if os.geteuid() != 0:
        r = Result("lab")
        for n, _, _ in names:
            r.add("skip", f"{n}: needs root (sudo hack/test)")
        show(r)
        return [r]
    lab = os.path.join(TOP, "hack", "lab")
    os.environ["PODFERRY_LAB"] = LAB
    image = os.path.join(BUILD, "image")
    log = os.path.join(TOP, "build", "lab.log")
    if not call([os.path.join(TOP, "hack", "image"), "--build", BUILD, image], "guest image", log):
        return [step("guest image", False)]
    results = []
    subprocess.call([lab, "down"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not call([lab, "up"], "lab", log):
            return [step("lab", False)]
        env = {"PODFERRY_BUILD": BUILD, "PODFERRY_GUEST_DIR": image, "PODFERRY_LAB": LAB}
        for name, path, sanitized in names:
            if sanitized and not os.path.exists(os.path.join(ASAN_BUILD, "shim", "podferry")):
                continue  # its build failed, which was counted
            r = run_lab_test(name, path, sanitized, env)
            show(r)
            results.append(r)
    finally:
        subprocess.call([lab, "down"])
    return results


def long_builds(wanted):
    """Sanitizers and fuzzers: the same tests, built otherwise. What has no test that is wanted is not built."""
    results = []
    known = [name for name, *_ in known_to_meson(BUILD)]
    lab = any(sanitized for _, _, sanitized in lab_passes(True, wanted))
    fuzzers = [n[:-2] for n in os.listdir(os.path.join(TOP, "tests", "fuzz")) if re.match(r"fuzz-.*\.c$", n)]
    flavours = [
        ("asan", ["-Db_sanitize=address,undefined", "-Db_lundef=false"], lambda n: wanted(n), "gcc"),
        ("tsan", ["-Db_sanitize=thread", "-Db_lundef=false"],
         lambda n: wanted(n) and re.search(r"ferry|lane|job|virt", n), "gcc"),
    ]
    env = dict(SANITIZERS, TSAN_OPTIONS=f"halt_on_error=1:suppressions={os.path.join(TOP, 'tests', 'tsan.supp')}")
    for name, options, which, cc in flavours:
        if not (any(which(n) for n in known) or (name == "asan" and lab)):
            continue
        d = os.path.join(TOP, "build", name)
        ok = build(d, ["-Dwerror=true"] + options, name, cc)
        results.append(step(f"build {name}", ok))
        if ok:
            results += run_meson_tests(d, which, f"{name}/", env, slow=10)
    if not any(wanted("fuzz/" + n[5:]) for n in fuzzers):
        return results
    d = os.path.join(TOP, "build", "fuzz")
    ok = build(d, ["-Dfuzz=true", "-Dtests=true"], "fuzz", "clang")
    results.append(step("build fuzz", ok))
    if ok:
        results += fuzz_smoke(d, wanted)
    return results


def fuzz_smoke(directory, wanted):
    """Each libFuzzer target for a while, from its corpus, in a scratch copy of it."""
    results = []
    root = os.path.join(directory, "tests")
    for base, _, files in os.walk(root):
        for name in sorted(f for f in files if f.startswith("fuzz-") and "." not in f and
                           wanted("fuzz/" + f[5:])):
            corpus = os.path.join(TOP, "tests", "fuzz", "corpus", name[5:])
            with tempfile.TemporaryDirectory(prefix="podferry-fuzz.") as scratch:
                argv = [os.path.join(base, name), "-max_total_time=20", "-timeout=10",
                        "-rss_limit_mb=1024", "-print_final_stats=1",
                        f"-artifact_prefix={scratch}/", scratch]
                argv += [corpus] if os.path.isdir(corpus) else []
                r = run_program(f"fuzz/{name[5:]}", argv, {}, 120)
                show(r)
                results.append(r)
    return results


def scripts(long_too):
    wanted = [("hack/check", ["hack/check"])]
    if long_too:
        wanted += [("hack/image --check", ["hack/image", "--build", BUILD, "--check"]),
                   ("hack/model", ["hack/model"])]
    results = []
    for name, argv in wanted:
        if not os.path.exists(os.path.join(TOP, argv[0])):
            continue
        r = run_program(name, [os.path.join(TOP, argv[0])] + argv[1:], {}, 1800)
        show(r)
        results.append(r)
    return results


def tagged_rows():
    """Test name -> rows, from the comments of its source."""
    tags = {}
    for base, _, files in os.walk(os.path.join(TOP, "tests")):
        for name in files:
            stem, ext = os.path.splitext(name)
            if ext not in (".c", ".t", ".sh", ".py") or name == "run.py":
                continue
            with open(os.path.join(base, name), encoding="utf-8", errors="replace") as f:
                found = [r for m in ROWS.findall(f.read()) for r in m.replace(",", " ").split()]
            if found:
                tags.setdefault(stem.removeprefix("test-").removeprefix("fuzz-"), set()).update(found)
    return tags


def save(results):
    kept = {}
    try:
        with open(RESULTS, encoding="utf-8") as f:
            kept = json.load(f)
    except (OSError, ValueError):
        pass
    for r in results:
        kept[r.name] = {"when": int(time.time()), "points": r.points}
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    with open(RESULTS + ".new", "w", encoding="utf-8") as f:
        json.dump(kept, f, indent=1)
    os.replace(RESULTS + ".new", RESULTS)


def print_rows():
    tags = tagged_rows()
    try:
        with open(RESULTS, encoding="utf-8") as f:
            kept = json.load(f)
    except (OSError, ValueError):
        kept = {}
    by_row = {}
    for stem, rows in tags.items():
        names = [n for n in kept if n.split("/")[-1] == stem] or [stem]
        for n in names:
            points = kept.get(n, {}).get("points", [])
            outcomes = {p[0] for p in points if not p[2]}
            if points and not outcomes:
                continue  # every line of it has rows of its own
            for row in rows:
                by_row.setdefault(row, []).append((n, outcomes))
    for n, r in kept.items():
        for outcome, what, rows in r["points"]:
            for row in rows:
                by_row.setdefault(row, []).append((f"{n}: {what}", {outcome}))
    shown = tested = 0
    with open(os.path.join(TOP, "docs", "features.md"), encoding="utf-8") as f:
        for line in f:
            m = re.match(r"\| ([HFB]\d+) \| (.*) \| ([a-z, ]+) \|$", line)
            if not m:
                continue
            shown += 1
            print(f"{m[1]:<4} [{m[3]}] {m[2]}")
            for name, outcomes in sorted(by_row.get(m[1], []), key=lambda x: x[0]):
                word = ("FAILED" if "fail" in outcomes else "passed" if "pass" in outcomes else
                        "skipped" if "skip" in outcomes else "not run yet")
                print(f"       {word:<11} {name}")
            tested += bool(by_row.get(m[1]))
    print(f"{shown} rows, {tested} with a test")


def take_lock():
    os.makedirs(os.path.join(TOP, "build"), exist_ok=True)
    f = open(os.path.join(TOP, "build", "test.lock"), "w", encoding="utf-8")
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another hack/test runs; waiting for it")
        sys.stdout.flush()
        fcntl.flock(f, fcntl.LOCK_EX)
    return f


def interrupted(signum, _frame):
    for pid in list(running):
        end_group(pid, signal.SIGKILL)
    raise SystemExit(128 + signum)


def main():
    p = argparse.ArgumentParser(
        prog="hack/test", description="Builds with warnings as errors and runs every test. The last "
        "line is 'N passed, N failed, N skipped'; the exit status is 0 if none failed.")
    p.add_argument("--long", action="store_true",
                   help="also what is slow: sanitizers, fuzzers, the model, soak tests")
    p.add_argument("--rows", action="store_true",
                   help="print every row of docs/features.md with its tests and their last results")
    p.add_argument("--no-lab", action="store_true", help="leave the lab tests out")
    p.add_argument("--only", metavar="REGEX", default="", help="only tests whose name matches")
    args = p.parse_args()
    if args.rows:
        print_rows()
        return 0
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, interrupted)
    lock = take_lock()
    pattern = re.compile(args.only)
    results = []
    ok = build(BUILD, ["-Dwerror=true"], "with warnings as errors")
    results.append(step("build", ok))
    if ok:
        results += run_meson_tests(BUILD, pattern.search)
        if not args.only:
            results += scripts(args.long)
        if args.long:
            results += long_builds(pattern.search)
        if not args.no_lab:
            results += lab_tests(args.long, pattern.search)
    save(results)
    lock.close()
    failed = [(r.name, w) for r in results for o, w, _ in r.points if o == "fail"]
    if failed:
        print("\nfailed:")
        for name, what in failed:
            print(f"  {name}: {what}")
    print(f"{sum(r.count('pass') for r in results)} passed, {len(failed)} failed, "
          f"{sum(r.count('skip') for r in results)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
