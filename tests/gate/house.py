"""What the tests of the gate live in: a real nursery, a real gate forked from it, real sockets on loopback, and no namespace.

Names stand for addresses of 127/8, which every machine routes to itself, so a listener on all addresses takes the place of TPROXY;
connections are opened by a process that wears the sandbox's seccomp filter, so callers are identified as they are in a sandbox.
"""

import json
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from immure import channel
from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.gate.grants import Grants, VirtualEndpoint
from immure.model import Binary, Endpoint, Secret
from immure.policy import Rule
from immure.rewrite import Binding, Credential, HeaderSlot
from immure.testing.authority import Authority

POOL = IPv4Network("127.18.0.0/16")
TIMEOUT = 10.0
HERE = os.path.dirname(__file__)

TOKEN = "fake-access-token-0123456789-abcdefghijklmnop"
PLACEHOLDER = "immure-at-" + "a" * 26
ACCOUNT = "fake-account-9f8e7d6c5b4a"
ACCOUNT_PLACEHOLDER = "immure-acct-" + "b" * 26


class Inside:
    """The process within the walls."""

    def __init__(self, uid: int | None = None) -> None:
        self._line, far = channel.pair()
        argv = [sys.executable, os.path.join(HERE, "inside.py"), str(far.fileno()), *([str(uid)] if uid else [])]
        self._process = subprocess.Popen(argv, pass_fds=[far.fileno()])
        far.close()
        self._line.settimeout(TIMEOUT)
        _, (self.listener,) = _receive(self._line)
        self.binary = _binary(f"/proc/{self._process.pid}/exe")
        self.pid = self._process.pid
        self.first = os.pidfd_open(os.getpid())

    def connect(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        channel.send(self._line, {"do": "connect", "family": family, "address": [address, port]})
        message, (fd,) = _receive(self._line)
        connection = socket.socket(fileno=fd)
        if message["errno"]:
            connection.close()
            raise OSError(message["errno"], os.strerror(message["errno"]))
        connection.settimeout(TIMEOUT)
        return connection

    def run(self, *argv: str, environment: dict[str, str] | None = None, stdin: bytes = b"") -> "Ran":
        """Run a program to its end."""
        out, err, source = os.memfd_create("out"), os.memfd_create("err"), os.memfd_create("in")
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        channel.send(
            self._line, {"do": "run", "argv": argv, "environment": environment or {"PATH": os.environ["PATH"]}}, [source, out, err]
        )
        os.close(source)
        message, _ = _receive(self._line)
        texts = []
        for fd in (out, err):
            with open(fd, "rb") as file:
                file.seek(0)
                texts.append(file.read())
        return Ran(status=message["status"], stdout=texts[0], stderr=texts[1], pid=message["pid"])

    def close(self) -> None:
        self._line.close()
        self._process.wait(TIMEOUT)
        os.close(self.listener)
        os.close(self.first)


@dataclass
class Ran:
    status: int
    stdout: bytes
    stderr: bytes
    pid: int


class Nursery:
    """A nursery and the broker's side of its channel."""

    def __init__(self) -> None:
        self.line, far = channel.pair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "immure.gate.nursery", str(far.fileno())], pass_fds=[far.fileno()], stderr=subprocess.PIPE
        )
        far.close()
        self.line.settimeout(TIMEOUT)

    def fork(self, identity: str = "box", uid: int | None = None) -> socket.socket:
        """A new gate; returns its channel."""
        ours, theirs = channel.pair()
        channel.send(self.line, {"do": "fork", "id": identity, "uid": uid}, [theirs.fileno()])
        theirs.close()
        ours.settimeout(TIMEOUT)
        return ours

    def died(self) -> channel.Message:
        message, _ = _receive(self.line)
        assert message["did"] == "died"
        return message

    def close(self) -> str:
        self.line.close()
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return errors.decode()


class Gate:
    """A gate that serves, and the broker's side of it."""

    def __init__(
        self, nursery: Nursery, inside: Inside, compose: "Callable[[int], Brief]", descriptors: int | None = None, uid: int | None = None
    ) -> None:
        """`compose` makes the brief once the port is known that stands for every port."""
        self.inside = inside
        self.gone = False
        self._nursery = nursery
        self.line = nursery.fork(uid=uid)
        message, _ = _receive(self.line)
        assert message["did"] == "ready"
        if descriptors is not None:
            self.limit_descriptors(descriptors)
        self.ca: str = message["ca"]
        tcp4 = socket.create_server(("0.0.0.0", 0), backlog=512)
        self.port: int = tcp4.getsockname()[1]
        tcp6 = socket.create_server(("::1", self.port), family=socket.AF_INET6, backlog=512)
        dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns.bind(("0.0.0.0", 0))
        self.dns_port: int = dns.getsockname()[1]
        diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
        self._audit, audit = os.pipe()
        self._lines = b""
        brief_file = channel.memory_file("brief", compose(self.port).encode())
        given = [brief_file, audit, tcp4.fileno(), tcp6.fileno(), dns.fileno(), diag.fileno(), inside.listener, inside.first]
        channel.send(self.line, {"do": "serve"}, given)
        os.close(brief_file)
        os.close(audit)
        for made in (tcp4, tcp6, dns, diag):
            made.close()
        message, _ = _receive(self.line)
        assert message["did"] == "serving"

    def grant(self, grants: Grants) -> None:
        """Put these grants in the place of those of the brief; returns when the gate goes by them."""
        memory = channel.memory_file("grants", grants.encode())
        channel.send(self.line, {"do": "grants"}, [memory])
        os.close(memory)
        assert receive(self.line) == {"did": "granted"}

    def lookup(self, name: str) -> str:
        """The address that the gate's DNS gives a name."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.sendto(query(name), ("127.0.0.1", self.dns_port))
            answer = client.recv(512)
        assert struct.unpack_from("!6H", answer)[3] == 1, "no address"
        return socket.inet_ntoa(answer[-4:])

    def connect(self, host: str) -> socket.socket:
        """A plain connection to a name, or to a literal address."""
        return self.inside.connect(self.lookup(host) if host[-1].isalpha() else host, self.port)

    def connect_tls(self, host: str, server_name: str | None = None) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.ca)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context.wrap_socket(self.connect(host), server_hostname=server_name or host)

    def curl(self, host: str, path: str, *options: str, scheme: str = "https", stdin: bytes = b"") -> Ran:
        """Run curl within the walls, with the gate's certificate as the only one it trusts."""
        ca = channel.memory_file("ca", self.ca.encode())
        try:
            return self.inside.run(
                *("curl", "-q", "-sS", "--cacert", f"/proc/{os.getpid()}/fd/{ca}", "--max-time", "20"),
                *("--resolve", f"{host}:{self.port}:{self.lookup(host)}", *options, f"{scheme}://{host}:{self.port}{path}"),
                stdin=stdin,
            )
        finally:
            os.close(ca)

    def event(self) -> dict[str, Any]:
        """The next audit event."""
        while b"\n" not in self._lines:
            assert select.select([self._audit], [], [], TIMEOUT)[0], "no audit event came"
            more = os.read(self._audit, 65536)
            assert more, "the audit trail ended"
            self._lines += more
        line, _, self._lines = self._lines.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def no_event(self) -> bool:
        """Whether the audit trail holds nothing more for now."""
        return not self._lines and not select.select([self._audit], [], [], 0)[0]

    def skip_events(self) -> None:
        """From now on read away what comes by the audit trail, so that the gate is not kept waiting."""

        def skip(trail: int) -> None:
            while os.read(trail, 1 << 20):
                pass
            os.close(trail)

        threading.Thread(target=skip, args=(os.dup(self._audit),), daemon=True).start()

    @property
    def pid(self) -> int:
        """The youngest child of the nursery."""
        parent = self._nursery.process.pid
        with open(f"/proc/{parent}/task/{parent}/children") as file:
            return max(map(int, file.read().split()))

    def limit_descriptors(self, count: int) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]))

    def cpu_time(self) -> float:
        """Seconds that the gate has computed."""
        with open(f"/proc/{self.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def private_memory(self) -> int:
        """Octets that this gate shares with nobody."""
        with open(f"/proc/{self.pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_"))

    def peak(self) -> int:
        """Octets that it has had in memory at most."""
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))

    def expect_death(self, status: int) -> None:
        """Wait for the gate to have ended."""
        assert self._nursery.died()["status"] == status
        self.gone = True

    def hang_up(self) -> None:
        """End the gate, so that the world can be ended without an error in between."""
        if not self.gone:
            self.line.close()
            self.expect_death(status=0)

    def close_audit(self) -> None:
        os.close(self._audit)
        self._audit = -1

    def close(self) -> None:
        self.line.close()
        if self._audit >= 0:
            self.close_audit()


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def _receive(line: socket.socket) -> tuple[channel.Message, list[int]]:
    received = channel.receive(line)
    assert received is not None, "the channel was closed"
    return received


def receive(line: socket.socket) -> channel.Message:
    return _receive(line)[0]


def _binary(path: str) -> Binary:
    found = os.stat(path)
    return Binary(os.path.realpath(path), found.st_dev, found.st_ino)


# The world outside


class World:
    """A server on loopback that stands in for all hosts: it records what arrives and follows a script."""

    def __init__(self, names: list[str], *, encrypted: bool = True) -> None:
        self.authority = Authority()
        self._context = self.authority.server_context(names) if encrypted else None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.scripts: list[Callable[[Peer], None]] = []
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.arrivals = threading.Semaphore(0)
        self.departures = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            return
        peer = Peer(connection, self.arrivals)
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        self.peers.append(peer)
        with connection:
            try:
                script(peer)
            except (OSError, EOFError):
                pass  # the gate hung up, which some tests are about
            except BaseException as error:
                self.errors.append(error)
        self.departures.release()

    def wait_for_heads(self, count: int) -> None:
        """Wait until that many request heads have arrived."""
        for _ in range(count):
            assert self.arrivals.acquire(timeout=TIMEOUT)

    def upstream(self, name: str) -> Upstream:
        return Upstream(host=name, address="127.0.0.1", port=self.port, ca_pem=self.authority.pem)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(TIMEOUT)
        assert not self.errors, self.errors


@dataclass
class Peer:
    """One connection to the world."""

    connection: socket.socket
    arrivals: threading.Semaphore
    seen: bytearray = field(default_factory=bytearray)
    _unread: bytearray = field(default_factory=bytearray)
    heads: list[bytes] = field(default_factory=list)

    def read(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._more()
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._more()
        end = self._unread.index(mark) + len(mark)
        return self.read(end)

    def head(self) -> bytes:
        self.heads.append(self.until(b"\r\n\r\n"))
        self.arrivals.release()
        return self.heads[-1]

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.sendall(piece)

    def closed(self) -> bool:
        """Wait for the other side to close; False if it sends something instead."""
        return self.connection.recv(1) == b""

    def _more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.seen += data
        self._unread += data


def answering(*answers: bytes) -> Callable[[Peer], None]:
    """A script: one answer to each request head, the last one again and again; bodies of requests are not expected."""

    def script(peer: Peer) -> None:
        position = 0
        while True:
            peer.head()
            peer.send(answers[min(position, len(answers) - 1)])
            position += 1

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """One answer with a Content-Length or in chunks, taken apart: head, and body without framing. Interim answers are passed over."""
    data = b""

    def until(mark: bytes) -> bytes:
        nonlocal data
        while mark not in data:
            more = connection.recv(65536)
            assert more, f"the connection ended after {data!r}"
            data += more
        taken, _, data = data.partition(mark)
        return taken

    def exactly(count: int) -> bytes:
        nonlocal data
        while len(data) < count:
            more = connection.recv(65536)
            assert more, f"the connection ended after {data!r}"
            data += more
        taken, data = data[:count], data[count:]
        return taken

    head = until(b"\r\n\r\n")
    while head.startswith((b"HTTP/1.1 100", b"HTTP/1.1 103")):
        head = until(b"\r\n\r\n")
    lower = head.lower()
    body = b""
    if b"\r\ntransfer-encoding: chunked" in lower:
        while size := int(until(b"\r\n"), 16):
            body += exactly(size)
            assert exactly(2) == b"\r\n"
        until(b"\r\n")
    elif b"\r\ncontent-length:" in lower:
        body = exactly(int(lower.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]))
    assert not data, f"more than an answer: {data!r}"
    return head, body


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side closes the connection, whatever it has to say first."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@contextmanager
def world(*names: str, encrypted: bool = True) -> Iterator[World]:
    made = World(list(names), encrypted=encrypted)
    try:
        yield made
    finally:
        made.close()


def allow(host: str, port: int, *binaries: Binary) -> Rule:
    return Rule(name="test", layer="tests", effect="allow", endpoint=Endpoint(host, port), binaries=binaries or None)


def credentials(host: str, port: int) -> tuple[Credential, ...]:
    binding = Binding(endpoints=(Endpoint(host, port),))
    return (
        Credential(
            name="access",
            placeholder=PLACEHOLDER,
            secret=Secret(TOKEN),
            slots=(HeaderSlot(header="authorization", scheme="bearer"),),
            binding=binding,
        ),
        Credential(
            name="account",
            placeholder=ACCOUNT_PLACEHOLDER,
            secret=Secret(ACCOUNT),
            slots=(HeaderSlot(header="account-id", scheme="raw"),),
            binding=binding,
        ),
    )


def virtual(host: str, port: int, path: str) -> VirtualEndpoint:
    return VirtualEndpoint(
        rule=Rule(name="login", layer="test", effect="allow", endpoint=Endpoint(host, port)), method="POST", path=path, credential="login"
    )
