"""Who called: real connects under the real filter, the awkward ones included."""

import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from house import POOL, TIMEOUT, Gate, Inside, allow, read_answer

from immure.digest import measured
from immure.gate.aside import Aside
from immure.gate.brief import Brief
from immure.gate.diag import SocketDiag
from immure.gate.grants import Grants
from immure.gate.identity import Identity
from immure.gate.loop import Loop
from immure.model import Binary
from immure.policy import Rule

HOST = "api.example.com"
SHELL = os.path.basename(os.path.realpath("/bin/sh"))

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
    identity = Identity(loop, inside.listener, SocketDiag(diag), inside.first)
    aside = Aside(loop, "stop", 1)
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
        aside.do(loop.stop, lambda _: None)  # with an event that lets the loop see that it is to stop
    supervisor.join(TIMEOUT)
    diag.close()
    assert caller is not None
    assert caller.binary == inside.binary
    assert [os.path.basename(ancestor.binary.path) for ancestor in caller.ancestors] == [SHELL, os.path.basename(inside.binary.path)]


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


def test_a_caller_is_not_held_for_words_that_do_not_come(inside: Inside) -> None:
    """Reading them can be kept waiting by their process; here nobody reads."""
    loop = Loop()
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    identity = Identity(loop, inside.listener, SocketDiag(diag), inside.first)
    aside = Aside(loop, "stop", 1)
    over = threading.Event()
    for _ in range(10):
        identity._words.do(over.wait, lambda _: None)
    supervisor = threading.Thread(target=loop.run)
    supervisor.start()
    with socket.create_server(("127.0.0.1", 0)) as server, inside.connect("127.0.0.1", server.getsockname()[1]):
        accepted, client = server.accept()
        caller = identity.caller_of(socket.AF_INET, client, accepted.getsockname())
        accepted.close()
    over.set()
    aside.do(loop.stop, lambda _: None)
    supervisor.join(TIMEOUT)
    diag.close()
    assert caller is not None
    assert (caller.binary, caller.script) == (inside.binary, "")


# ---------------------------------------------------------------- what is in the program


CONNECT = """
import socket
client = socket.create_connection(("{address}", {port}))
client.sendall(b"GET / HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n")
print(client.recv(65536).decode())
"""


def program(directory: Path) -> Path:
    """A Python of its own, which a test may change."""
    copy = directory / "python"
    shutil.copy(os.path.realpath(sys.executable), copy)
    return copy


def trusted(path: Path) -> Binary:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return measured(str(path), descriptor, lambda: path.stat().st_ctime_ns + (10 << 30))
    finally:
        os.close(descriptor)


def open_for(open_gate: Callable[..., Gate], *rules: Rule) -> Gate:
    """A gate with rules for its port; what they allow has no address, which is a 502."""
    return open_gate(lambda port: Brief(sandbox="box", pool=POOL, grants=Grants(rules=tuple(on(rule, port) for rule in rules))))


def on(rule: Rule, port: int) -> Rule:
    return replace(rule, endpoint=replace(rule.endpoint, port=port))


def asking(gate: Gate) -> str:
    return CONNECT.replace("{address}", gate.lookup(HOST)).replace("{port}", str(gate.port)).replace("{host}", HOST)


def ask(gate: Gate, inside: Inside, *before: str) -> tuple[str, dict[str, Any]]:
    """Ask for something with the Python that `before` ends with: the rule that decided, and the event."""
    ran = inside.run(*before, "-c", asking(gate), environment={"PATH": os.environ["PATH"], "PYTHONHOME": sys.base_prefix})
    assert ran.status == 0, ran.stderr
    event = gate.event()
    assert ran.stdout.split()[1] == str(event["http_response"]["code"]).encode()
    return event["firewall_rule"]["name"], event


def test_a_program_is_known_by_its_digest(inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path) -> None:
    copy = program(tmp_path)
    binary = trusted(copy)
    gate = open_for(open_gate, allow(HOST, 1, binary))
    rule, event = ask(gate, inside, str(copy))
    assert rule == "test"
    assert event["actor"]["process"]["file"]["hashes"] == [{"algorithm": "SHA-256", "algorithm_id": 3, "value": binary.digest}]


def touch(copy: Path) -> None:
    os.utime(copy)


def link(copy: Path) -> None:
    os.link(copy, copy.with_suffix(".link"))


@pytest.mark.parametrize("change", [touch, link])
def test_a_program_that_was_touched_is_read_and_is_still_the_one(
    change: Callable[[Path], None], inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path
) -> None:
    copy = program(tmp_path)
    gate = open_for(open_gate, allow(HOST, 1, trusted(copy)))
    change(copy)
    assert ask(gate, inside, str(copy))[0] == "test"
    assert ask(gate, inside, str(copy))[0] == "test"


def rewrite(copy: Path) -> None:
    """Other content of the same length, with its mtime set back."""
    before = copy.stat()
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))


def lengthen(copy: Path) -> None:
    with copy.open("ab") as file:
        file.write(b"\0")


def replace_by_a_copy(copy: Path) -> None:
    other = copy.with_suffix(".new")
    shutil.copy(copy, other)
    other.rename(copy)


@pytest.mark.parametrize("change", [rewrite, lengthen, replace_by_a_copy])
def test_a_program_that_has_changed_is_refused(
    change: Callable[[Path], None], inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path
) -> None:
    copy = program(tmp_path)
    gate = open_for(open_gate, allow(HOST, 1, trusted(copy)))
    assert ask(gate, inside, str(copy))[0] == "test", "the control"
    change(copy)
    rule, event = ask(gate, inside, str(copy))
    assert rule == "trust"
    assert "since rule 'test' (tests) trusted it" in event["status_detail"]
    assert event["http_response"]["code"] == 403


def test_many_that_wait_for_one_reading_are_all_known(inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path) -> None:
    copy = program(tmp_path)
    gate = open_for(open_gate, allow(HOST, 1, trusted(copy)))
    os.utime(copy)
    many = """
import socket, threading
def connect():
    socket.create_connection(("{address}", {port})).sendall(b"\\0")
threads = [threading.Thread(target=connect) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    code = many.replace("{address}", gate.lookup(HOST)).replace("{port}", str(gate.port))
    ran = inside.run(str(copy), "-c", code, environment={"PYTHONHOME": sys.base_prefix})
    assert ran.status == 0, ran.stderr
    for _ in range(20):
        assert gate.event()["actor"]["process"]["file"]["hashes"]


# ---------------------------------------------------------------- by whom it was started


PARENT = """
import os, subprocess, sys
way, *ask = sys.argv[1:]
if way == "itself":
    exec(open(ask[1]).read())
elif way == "child":
    subprocess.run(ask, check=True)
elif way == "grandchild":
    subprocess.run(["sh", "-c", '"$@"; true', "-", *ask], check=True)
elif way == "child that became another program":
    subprocess.run(["sh", "-c", 'exec "$@"', "-", *ask], check=True)
elif way == "daemon":
    over, held = os.pipe()
    os.set_inheritable(held, True)
    if os.fork() == 0:
        between = os.getpid()
        if os.fork() == 0:
            while os.getppid() == between:
                os.sched_yield()
            os.execv(ask[0], ask)
        os._exit(0)
    os.wait()
    os.close(held)
    os.read(over, 1)
"""
WAYS = {"itself": True, "child": True, "grandchild": True, "child that became another program": True, "daemon": False}


@pytest.mark.parametrize(("way", "allowed"), WAYS.items(), ids=WAYS)
def test_the_children_of_a_program(way: str, allowed: bool, inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path) -> None:
    copy = program(tmp_path)
    binary = trusted(copy)
    gate = open_for(open_gate, replace(allow(HOST, 1, binary), parents=(binary,)))
    (tmp_path / "parent.py").write_text(PARENT)
    script = tmp_path / "ask.py"
    script.write_text(asking(gate))
    environment = {"PATH": os.environ["PATH"], "PYTHONHOME": sys.base_prefix}
    ran = inside.run(str(copy), str(tmp_path / "parent.py"), way, sys.executable, str(script), environment=environment)
    assert ran.status == 0, ran.stderr
    event = gate.event()
    assert event["firewall_rule"]["name"] == ("test" if allowed else "default")
    assert event["actor"]["process"]["name"] == str(tmp_path / "parent.py" if way == "itself" else script)
    ancestors = [ancestor["path"] for ancestor in event["actor"]["process"].get("ancestry", ())]
    assert (str(copy) in ancestors) is (allowed and way != "itself")


def test_a_child_of_somebody_else_is_none(inside: Inside, open_gate: Callable[..., Gate], tmp_path: Path) -> None:
    copy = program(tmp_path)
    binary = trusted(copy)
    gate = open_for(open_gate, replace(allow(HOST, 1, binary), parents=(binary,)))
    rule, event = ask(gate, inside, "sh", "-c", '"$@"; true', "-", sys.executable)
    assert rule == "default"
    assert [ancestor["name"] for ancestor in event["actor"]["process"]["ancestry"]] == [SHELL]


def test_words_that_a_process_keeps_from_us_are_not_waited_for(inside: Inside, gate: Gate) -> None:
    """It empties its own words, as any process can (prctl(2) is not needed for that: they lie on its stack)."""
    code = (
        PRELUDE
        + """
words = open("/proc/self/stat").read().rpartition(") ")[2].split()
begin, end = int(words[45]), int(words[46])
ctypes.memset(begin, 0, end - begin)
connect()
"""
    )
    ran = inside.run(sys.executable, "-c", code.replace("{address}", gate.lookup(HOST)).replace("{port}", str(gate.port)))
    assert ran.status == 0, ran.stderr
    assert "name" not in gate.event()["actor"]["process"]
