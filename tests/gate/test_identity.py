"""Who called: real connects under the real filter, the awkward ones included."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from house import POOL, TIMEOUT, Gate, Inside, read_answer

from immure.gate.brief import Brief
from immure.gate.diag import SocketDiag
from immure.gate.identity import Identity
from immure.gate.loop import Loop

HOST = "api.example.com"

# Each connects to {address}, port {port}, and leaves with a request on the wire.
CALLERS = {
    "a plain process": "connect()",
    "a thread": "t = threading.Thread(target=connect); t.start(); t.join()",
    "a process that cannot be looked into": "libc.prctl(4, 0, 0, 0, 0); connect()",
    "a process that is gone at once": "connect(); os.kill(os.getpid(), 9)",
    "a child": "pid = os.fork()\nif pid == 0: connect()\nelse: os.waitpid(pid, 0)",
    "a socket that is tried twice": (
        "s = socket.socket(); s.connect_ex(('127.0.0.1', 1)); s.connect(('{address}', {port})); s.sendall(b'TRACE / HTTP/1.1\\r\\n\\r\\n')"
    ),
    "a socket that does not wait": (
        "s = socket.socket(); s.setblocking(False); s.connect_ex(('{address}', {port})); select.select([], [s], []);"
        " s.sendall(b'TRACE / HTTP/1.1\\r\\n\\r\\n')"
    ),
}
PRELUDE = """
import ctypes, os, select, socket, threading
libc = ctypes.CDLL(None)
def connect():
    s = socket.socket()
    s.connect(('{address}', {port}))
    s.sendall(b'TRACE / HTTP/1.1\\r\\n\\r\\n')
    kept.append(s)
kept = []
"""


@pytest.fixture
def gate(open_gate: Callable[..., Gate]) -> Iterator[Gate]:
    opened = open_gate(lambda _: Brief(sandbox="box", pool=POOL))
    yield opened
    opened.hang_up()


@pytest.mark.parametrize("code", CALLERS.values(), ids=CALLERS.keys())
def test_the_caller_is_found(gate: Gate, inside: Inside, code: str) -> None:
    program = (PRELUDE + code).replace("{address}", gate.lookup(HOST)).replace("{port}", str(gate.port))
    ran = inside.run(sys.executable, "-c", program)
    assert ran.status in (0, -9), ran.stderr
    process = gate.event()["actor"]["process"]
    assert process["file"]["path"] == inside.binary.path
    assert process["pid"] == ran.pid or "fork" in code


def test_many_that_are_gone_at_once_are_all_found(gate: Gate, inside: Inside) -> None:
    program = """
import os, socket
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        s = socket.socket(); s.connect(("{address}", {port})); s.send(b"\\0"); os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
"""
    ran = inside.run(sys.executable, "-c", program.replace("{address}", gate.lookup(HOST)).replace("{port}", str(gate.port)))
    assert ran.status == 0
    for _ in range(50):
        assert gate.event()["actor"]["process"]["file"]["path"] == inside.binary.path


def test_other_sockets_go_on_unharmed(inside: Inside, gate: Gate) -> None:
    program = """
import os, socket
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK):
    s = socket.socket(family, socket.SOCK_DGRAM)
    print(s.connect_ex("/nonexistent" if family == socket.AF_UNIX else ("127.0.0.1", 9) if family == socket.AF_INET else (0, 0)))
print(os.strerror(socket.socket().connect_ex(("127.0.0.1", 1))))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.connect(12345, b"", 0), ctypes.get_errno())
"""
    ran = inside.run(sys.executable, "-c", program)
    assert ran.stdout.decode().split("\n") == ["2", "0", "0", "Connection refused", "-1 9", ""]
    assert gate.no_event()


def test_a_caller_in_a_pid_namespace_of_its_own_is_named(inside: Inside) -> None:
    """A shell in a namespace below starts the caller: its pid there means nothing here."""
    loop = Loop()
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    identity = Identity(loop, inside.listener, SocketDiag(diag))
    supervisor = threading.Thread(target=loop.run)
    supervisor.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]})).recv(1)"
        sandbox = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from immure.launcher import kernel
uid, gid = os.getuid(), os.getgid()
kernel.unshare(kernel.CLONE_NEWUSER | 0x20000000)
kernel.write_id_maps(0, uid, gid)
if os.fork() == 0:
    os.execv("/bin/sh", ["sh", "-c", '"$@"; true', "sh", {sys.executable!r}, "-c", {code!r}])
os.wait()
"""
        running = threading.Thread(target=inside.run, args=(sys.executable, "-c", sandbox))
        running.start()
        server.settimeout(TIMEOUT)
        accepted, client = server.accept()
        caller = identity.caller_of(socket.AF_INET, client, accepted.getsockname())
        accepted.close()
        running.join(TIMEOUT)
        loop.stop()
        inside.connect("127.0.0.1", server.getsockname()[1]).close()  # the event that lets the loop see that it is to stop
    supervisor.join(TIMEOUT)
    diag.close()
    assert caller is not None
    assert caller.binary == inside.binary


def test_the_one_who_asks_later_is_not_the_one_who_connected(gate: Gate, inside: Inside) -> None:
    """A connection that curl's parent opened and handed down is its own, whoever speaks on it."""
    with inside.connect(gate.lookup(HOST), gate.port) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
        read_answer(client)
    assert gate.event()["actor"]["process"]["pid"] == inside.pid


def test_a_connection_from_outside_has_no_caller(gate: Gate) -> None:
    with socket.create_connection((gate.lookup(HOST), gate.port)) as client:
        client.sendall(b"\0")
    assert "actor" not in gate.event()
