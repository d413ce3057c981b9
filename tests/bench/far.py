# SPDX-License-Identifier: Apache-2.0
"""Runs commands on another host of the lab over TCP, so that what crosses takes the network, which can be made slow.

    far.py serve PORT                   there: for each connection a process with it as stdin and stdout
    far.py ADDRESS PORT COMMAND...      here: as exec: of podferry wants it
"""
import json
import os
import socket
import subprocess
import sys
import threading

CHUNK = 1 << 18


def serve(port):
    s = socket.create_server(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = b""
        while not line.endswith(b"\n"):
            got = c.recv(1)
            if not got:
                break
            line += got
        if line:
            p = subprocess.Popen(json.loads(line), stdin=c, stdout=c)
            threading.Thread(target=p.wait, daemon=True).start()
        c.close()


def carry(read, write, at_end):
    while True:
        data = read(CHUNK)
        if not data:
            break
        write(data)
    at_end()


def call(address, port, command):
    s = socket.create_connection((address, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(json.dumps(command).encode() + b"\n")

    def to_stdout(data):
        while data:
            data = data[os.write(1, data):]

    threading.Thread(target=carry, daemon=True, args=(
        lambda n: os.read(0, n), s.sendall, lambda: s.shutdown(socket.SHUT_WR))).start()
    carry(s.recv, to_stdout, lambda: None)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        try:
            call(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
        except OSError as e:
            sys.exit(f"far: {e}")
