# SPDX-License-Identifier: Apache-2.0
"""The figures of volumes: how fast one is beside the same image attached by virsh, and what its copy moves."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rig as rigs

POD = "bench"
MIB = 1 << 20
SLOT = 60  # target of the disk that virsh attaches: far from those that the shim gives
MODES = {"randread": ["--rw=randread"], "randwrite": ["--rw=randwrite"], "fsync": ["--rw=randwrite", "--fsync=1"]}

# In the guest, outside of the container: finds the disk, and puts its node beside that of the volume.
SHOW_PEER = f"""
b=/run/containers/main/rootfs/bin/busybox
echo 0 {SLOT} 0 >/sys/class/scsi_host/host0/scan
until [ -e /sys/class/scsi_device/0:0:{SLOT}:0/device/block ]; do $b sleep 0.05; done
set -- /sys/class/scsi_device/0:0:{SLOT}:0/device/block/*
IFS=: read -r major minor <$1/dev
for p in /proc/[0-9]*; do
        [ -e $p/root/dev/volume ] && $b mknod $p/root/dev/peer b $major $minor && exit 0
done
exit 1
"""


def median(values):
    values = sorted(values)
    n = len(values)
    return (values[n // 2] + values[(n - 1) // 2]) / 2


def make_fio_root(r):
    """busybox, and fio with its libraries."""
    root = os.path.join(r.build, "rootfs-fio")
    fio = shutil.which("fio")
    if not fio:
        raise SystemExit("fio is missing (hack/deps)")
    if not os.path.exists(f"{root}/bin/fio"):
        shutil.rmtree(root, ignore_errors=True)
        for d in ("bin", "dev", "etc", "proc", "sys", "tmp", "mnt"):
            os.makedirs(f"{root}/{d}")
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for c in ("sh", "sleep", "cat"):
            os.symlink("busybox", f"{root}/bin/{c}")
        libs = [w for line in subprocess.check_output(["ldd", fio], text=True).splitlines()
                for w in line.split() if w.startswith("/")]
        for path in libs:
            os.makedirs(root + os.path.dirname(path), exist_ok=True)
            shutil.copy(os.path.realpath(path), root + path)
        shutil.copy(os.path.realpath(fio), f"{root}/bin/fio")
    return root


def fill(path, size, used):
    with open(path, "wb") as f:
        for _ in range(used // MIB):
            f.write(os.urandom(MIB))
        f.truncate(size)


def run_in_guest(r, script):
    out = r.enter("h1", "dbus-send", f"--peer=unix:path=/run/podferry/{POD}/bus.sock", "--reply-timeout=30000",
                  "--print-reply", "/org/podferry/Shim1/vm", "org.podferry.Shim1.Vm.Run",
                  f"array:string:/run/containers/main/rootfs/bin/busybox,sh,-c,{script.replace(',', ';')}")
    if "uint32 0" not in out:
        raise SystemExit(f"the disk that virsh attached does not appear in the guest: {out[:300]}")


def attach_peer(r, path):
    xml = os.path.join(r.build, "peer.xml")
    with open(xml, "w", encoding="ascii") as f:
        f.write(f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
                f"<target dev='sdiv' bus='scsi'/><address type='drive' controller='0' bus='0' target='{SLOT}' unit='0'/>"
                "</disk>")
    r.enter("h1", "virsh", "-q", "-c", "qemu:///system", "attach-device", f"podferry-{POD}", xml, check=True)
    run_in_guest(r, SHOW_PEER)


def fio_pairs(r, mode, pairs):
    """(operations a second of the volume, of the peer) by turns of a second: one process, and so close together
    that what else the machine does falls on both."""
    command = ["/bin/fio", "--minimal", "--bs=4k", "--ioengine=psync", "--direct=1", "--invalidate=0", "--size=64M",
               "--time_based", "--runtime=1", *MODES[mode]]
    order = [("/dev/volume", "/dev/peer") if i % 2 else ("/dev/peer", "/dev/volume") for i in range(pairs + 1)]
    for device in (d for pair in order for d in pair):
        command += [f"--name={os.path.basename(device)}", f"--filename={device}", "--stonewall"]
    found = {"volume": [], "peer": []}
    for line in r.run("h1", "exec", POD, *command).splitlines():
        fields = line.split(";")  # version 3 of the terse output
        if len(fields) > 50:
            found[fields[2]].append(int(fields[7]) + int(fields[48]))
    return list(zip(found["volume"], found["peer"]))[1:]  # the first ones are still loading


def bench_fio(r, report, args):
    """fio on a podferry volume and on a copy of its image that virsh attached to the same machine, in turn."""
    root = make_fio_root(r)
    ours, peer = (os.path.join(r.build, f"fio-{n}.raw") for n in ("ours", "peer"))
    fill(ours, 64 * MIB, 64 * MIB)
    shutil.copy(ours, peer)
    try:
        r.run("h1", "run", "--name", POD, "--rootfs", root, "--detach", "--volume", f"{ours}:/dev/volume:block", "--",
              "/bin/sleep", "1000000")
        attach_peer(r, peer)
        rates = {m: fio_pairs(r, m, 2 * args.runs) for m in MODES}
    finally:
        r.run("h1", "rm", "--force", POD, check=False)
        for path in (ours, peer):
            if os.path.exists(path):
                os.unlink(path)
    for mode, found in rates.items():
        report.figure(f"fio-{mode}", median([a / b for a, b in found]), "ratio", 0.97,
                      f"attached by virsh, {median([b for _, b in found]):.0f}/s", len(found), at_most=False,
                      note=f"{median([a for a, _ in found]):.0f}/s")


def counted_move(r, volume, counter):
    """Bytes that go to the other host in a migration of a pod with or without the volume, all but its memory: how
    often a page of that is sent again is another matter, and up to chance."""
    if os.path.exists(counter):
        os.unlink(counter)
    options = ["--volume", f"{volume}:/dev/volume:block"] if volume else []
    r.run("h1", "run", "--name", POD, "--rootfs", r.rootfs, "--detach", *options, "--", "/bin/sleep", "1000000")
    said = r.run("h1", "migrate", POD, "--to", f"exec:{counter}.sh h2", "--progress", "json")
    memory = [o["memory_bytes"] for o in map(rigs.flat, map(json.loads, said.splitlines())) if "memory_bytes" in o]
    r.run("h2", "rm", "--force", POD)
    rigs.wait_until(5, lambda: len(open(counter, encoding="ascii").read().split()) >= 2)
    with open(counter, encoding="ascii") as f:
        return sum(int(n) for n in f.read().split()) - memory[-1]


def blocks(r, host, path):
    return int(r.enter(host, "stat", "-c", "%b", path, check=True)) * 512


def bench_copy(r, report, args):
    """What the copy of a volume of 1 GiB with 100 MiB in it moves, and how sparse it is then."""
    path = "/var/lib/podferry/bench-volume.raw"
    made, counter = os.path.join(r.build, "copy.raw"), os.path.join(r.build, "moved")
    with open(f"{counter}.sh", "w", encoding="ascii") as f:
        # cat, because podferry makes its stdout non-blocking, which is one with the stdin of tee
        f.write(f'#!/bin/bash\ntee >(wc -c >>"{counter}") | "{r.lab}" enter "$@" | cat\n')
    os.chmod(f"{counter}.sh", 0o755)
    fill(made, 1024 * MIB, 100 * MIB)
    moved, sparse = [], []
    try:
        r.enter("h1", "cp", "--sparse=always", made, path, check=True)
        counted_move(r, None, counter)  # layers are on both hosts from here on
        for _ in range(min(args.runs, 5)):
            r.enter("h2", "rm", "-f", path)
            without = counted_move(r, None, counter)
            moved.append((counted_move(r, path, counter) - without) / (100 * MIB))
            sparse.append(blocks(r, "h2", path) / blocks(r, "h1", path))
            if subprocess.call([r.lab, "enter", "h2", "cmp", made, path], env=r.env):
                raise SystemExit("the copy is not what was copied")
    finally:
        os.unlink(made)
        for h in ("h1", "h2"):
            r.enter(h, "rm", "-f", path)
    report.figure("copy-moved", median(moved), "ratio", 1.1, "100 MiB of data in 1 GiB", len(moved),
                  note="more than the same pod without it moves, memory not counted")
    report.figure("copy-sparse", median(sparse), "ratio", 1.02, "blocks of the source", len(sparse))
