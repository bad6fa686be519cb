"""What one sandbox keeps in memory at rest, how soon a gate accepts after it was forked, and what a leaf certificate takes.

    python bench/memory.py [--forks N]

Resident set (VmRSS) of broker and launcher; of the gate what is its own (Private_* of smaps_rollup), since the rest is shared with the
nursery it was forked from.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

from rounds import quartiles

from immure import channel, interpreter
from immure.gate.brief import Brief
from immure.gate.certificate import Authority

IMMURE = f"{os.path.dirname(sys.executable)}/immure"


def resident(pid: int) -> float:
    """VmRSS in MB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def private(pid: int) -> float:
    """Private_Clean and Private_Dirty in MB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def broker_of(home: str) -> int:
    """The broker whose socket lies under `home`: the one that has it open."""
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if f"IMMURE_HOME={home}/immure\0".encode() in environment and b"immure.broker" in command:
            return int(name)
    raise SystemExit("no broker is running")


def at_rest() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        environment = dict(os.environ, IMMURE_HOME=f"{home}/immure")
        workspace = f"{home}/workspace"
        os.mkdir(workspace)
        script = "import sys; print(flush=True); sys.stdin.read()"
        command = [IMMURE, "run", "--", "/usr/bin/python3", "-c", script]
        sandbox = subprocess.Popen(command, cwd=workspace, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert sandbox.stdout is not None
            sandbox.stdout.readline()
            broker = broker_of(home)
            launcher, nursery = children(broker)
            figures = [
                ("broker, resident", resident(broker), 60),
                ("launcher, resident", resident(launcher), 20),
                ("gate, its own", max(map(private, children(nursery))), 10),
            ]
            for name, megabytes, goal in figures:
                print(f"  {name:24} {megabytes:6.1f} MB   goal: under {goal}")
        finally:
            assert sandbox.stdin is not None
            sandbox.stdin.close()
            sandbox.wait()
            subprocess.run([IMMURE, "stop"], env=environment, check=False)


def until_accepting(forks: int) -> None:
    """From the request to fork to a connection that the gate has taken up."""
    ours, theirs = channel.pair()
    nursery = subprocess.Popen(interpreter.command("immure.gate.nursery", theirs.fileno()), pass_fds=[theirs.fileno()])
    theirs.close()
    times = [_one(ours) for _ in range(forks + 1)][1:]  # the first waits for the nursery itself to start
    ours.close()
    nursery.wait()
    low, middle, high = quartiles(times)
    print(f"  {'gate, fork to accepting':24} {middle:6.1f} ms [{low:.1f} … {high:.1f}]   goal: within 20; worst {max(times):.1f}")


def _one(nursery: socket.socket) -> float:
    gate, theirs = channel.pair()
    tcp4 = socket.create_server(("127.0.0.1", 0))
    tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 0))
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    notify = os.eventfd(0)  # nobody calls connect(2) under a filter here
    first = os.pidfd_open(os.getpid())
    brief = channel.memory_file("brief", Brief(sandbox="bench").encode())
    trail_reader, trail = os.pipe()
    begin = time.perf_counter()
    channel.send(nursery, {"do": "fork", "id": "bench", "uid": None}, [theirs.fileno()])
    theirs.close()
    channel.receive(gate)
    channel.send(gate, {"do": "serve"}, [brief, trail, tcp4.fileno(), tcp6.fileno(), dns.fileno(), diag.fileno(), notify, first])
    with socket.create_connection(tcp4.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        client.recv(1)
    elapsed = (time.perf_counter() - begin) * 1000
    for held in (gate, tcp4, tcp6, dns, diag):
        held.close()
    for fd in (notify, first, brief, trail, trail_reader):
        os.close(fd)
    return elapsed


def until_minted(leaves: int) -> None:
    """A leaf certificate for a name that was not asked for before."""
    authority = Authority("bench")
    times = []
    for number in range(leaves):
        begin = time.perf_counter()
        authority.leaf(f"host{number}.example.com")
        times.append((time.perf_counter() - begin) * 1000)
    low, middle, high = quartiles(times)
    print(f"  {'leaf certificate':24} {middle:6.1f} ms [{low:.1f} … {high:.1f}]   goal: within 5; worst {max(times):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forks", type=int, default=15)
    arguments = parser.parse_args()
    print("At rest with one sandbox")
    at_rest()
    until_accepting(arguments.forks)
    until_minted(100)


if __name__ == "__main__":
    main()
