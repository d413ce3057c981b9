# SPDX-License-Identifier: Apache-2.0
"""Run on a host of the lab, beside what is measured: what a socket there says, and when.

    first PATH    the guest's port: "there" once connected, then the time of its first byte (ns)
    exits PATH    the bus socket of a pod: "there", then the code of each exit that is reported
"""
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rig

SIGNAL = 4


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    if not rig.wait_until(120, lambda: s.connect_ex(path) == 0):
        sys.exit(f"{path}: nobody listens")
    return s


def say(what):
    print(what, flush=True)


def first(path):
    s = connect(path)
    say("there")
    s.recv(1)
    say(time.time_ns())
    while s.recv(1 << 20):
        pass


def up_to(n, to):
    return (n + to - 1) // to * to


def messages(s):
    """(type, header fields, body) of each D-Bus message; both ends have the same byte order."""
    data = b""
    while True:
        more = s.recv(65536)
        if not more:
            return
        data += more
        while len(data) >= 16:
            body, _serial, fields = struct.unpack_from("<III", data, 4)
            start = up_to(16 + fields, 8)
            if len(data) < start + body:
                break
            yield data[1], data[16:16 + fields], data[start:start + body]
            data = data[start + body:]


def exits(path):
    s = connect(path)
    s.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
    if not s.recv(200).startswith(b"OK"):
        sys.exit(f"{path}: not let in")
    s.sendall(b"BEGIN\r\n")
    say("there")
    for kind, fields, body in messages(s):
        if kind == SIGNAL and b"Exited\0" in fields:  # (exec_id s, code u, exited_at_ns t)
            (n,) = struct.unpack_from("<I", body)
            (code,) = struct.unpack_from("<I", body, up_to(4 + n + 1, 4))
            say(code)


if __name__ == "__main__":
    try:
        {"first": first, "exits": exits}[sys.argv[1]](sys.argv[2])
    except (OSError, KeyboardInterrupt):
        pass
