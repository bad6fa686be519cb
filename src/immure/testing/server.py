"""A small TLS server on loopback that writes down every request before it answers: HTTP/1.1, kept connections, streamed answers,
WebSockets.

Not a general server: it reads requests by its own few lines rather than by the parser of the product, so that the two cannot be wrong
in the same way, and it takes whatever is well-formed enough to record. One thread per connection.

*Trust:* the program under test. *Fails:* a request it cannot read closes that connection; nothing is recorded.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

from immure.testing.authority import Authority
from immure.testing.record import Arrival, Record
from immure.testing.websocket import WebSocket, accept, extension

MAX_HEAD = 256 * 1024
MAX_BODY = 64 * 1024 * 1024
IDLE = 60.0
"""Seconds that a connection may be silent, handshake included."""

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response. A body of bytes goes out with its length; an iterable of bytes in chunks, each as soon as it is there."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The WebSocket that was asked for: the connection serves it, and ends with it."""

    serve: Callable[[WebSocket], None]


Application = Callable[[Arrival], Answer | Upgrade]


class Server:
    """Answers for `names` at one loopback `address` as `application` says. A context manager; `record` outlives it."""

    def __init__(self, application: Application, names: Sequence[str], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.record = Record()
        self.authority = Authority()
        self._application = application
        self._connecting = threading.local()
        self._context = self.authority.server_context(names)
        self._context.sni_callback = self._note_name
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closing = False
        self._listener = socket.create_server((host, port), backlog=128)
        self.host, self.port = self._listener.getsockname()[:2]
        self._acceptor = threading.Thread(target=self._accept, name="stand-in server", daemon=True)
        self._acceptor.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, cut every connection and wait for their threads."""
        with self._lock:
            self._closing = True
            threads = [self._acceptor, *self._threads]
            for one in (self._listener, *self._open):
                _cut(one)
        for thread in threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                thread = threading.Thread(target=self._serve, args=(connection,), name="stand-in connection", daemon=True)
                self._open.add(connection)
                self._threads.add(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        stream: socket.socket | ssl.SSLSocket = connection
        try:
            connection.settimeout(IDLE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connecting.name = ""
            # Registered before the handshake: wrapping takes the descriptor out of `connection`, where `close` could not cut it.
            with self._lock:
                if self._closing:
                    return
                stream = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._open = {*self._open - {connection}, stream}
            stream.do_handshake()
            self._converse(stream, self._connecting.name)
        except (OSError, ValueError):
            pass  # The peer went away, broke TLS or sent what is not HTTP: its connection ends, and that is all it can do.
        finally:
            with self._lock:
                self._open -= {connection, stream}
                self._threads.discard(threading.current_thread())
            stream.close()
            connection.close()

    def _converse(self, stream: socket.socket, server_name: str) -> None:
        with stream.makefile("rb") as reader:
            while True:
                head = _read_head(reader.readline)
                if head is None:
                    return
                method, target, version, headers = head
                fields = {name.lower(): value for name, value in headers}
                if fields.get("expect", "").lower() == "100-continue":
                    stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = _read_body(fields, reader.readline, reader.read)
                arrival = self.record.add(server_name=server_name, method=method, target=target, headers=headers, body=body)
                answer = self._application(arrival)
                if isinstance(answer, Upgrade):
                    agreed = extension(arrival.header("sec-websocket-extensions"))
                    switching = _SWITCHING % accept(arrival.header("sec-websocket-key")).encode()
                    stream.sendall(switching + (f"Sec-WebSocket-Extensions: {agreed}\r\n\r\n" if agreed else "\r\n").encode())
                    answer.serve(WebSocket(reader.read, stream.sendall, agreed))
                    return
                keep = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
                _write(stream, answer, head_only=method == "HEAD", keep=keep)
                if not keep:
                    return

    def _note_name(self, _stream: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        self._connecting.name = name or ""


def _cut(connection: socket.socket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass  # The peer was faster.


def _read_head(readline: Callable[[int], bytes]) -> tuple[str, str, str, tuple[tuple[str, str], ...]] | None:
    """The request line and the headers; None at a clean end of the connection."""
    lines: list[str] = []
    left = MAX_HEAD
    while line := readline(left):
        left -= len(line)
        if left <= 0 or not line.endswith(b"\r\n"):
            raise ValueError("not a request head")
        if line == b"\r\n":
            method, target, version = (lines or [""])[0].split(" ")
            fields = [field.partition(":") for field in lines[1:]]
            return method, target, version, tuple((name, value.strip(" \t")) for name, _, value in fields)
        lines.append(line[:-2].decode("latin-1"))
    if lines:
        raise ValueError("the connection ended within a head")
    return None


def _read_body(fields: dict[str, str], readline: Callable[[int], bytes], read: Callable[[int], bytes]) -> bytes:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        pieces: list[bytes] = []
        total = 0
        while size := int(readline(MAX_HEAD).split(b";")[0], 16):
            total += size
            if total > MAX_BODY:
                raise ValueError("body too large")
            pieces.append(_exactly(size, read))
            _exactly(2, read)
        while readline(MAX_HEAD) not in (b"\r\n", b""):
            pass  # Trailers carry nothing that a test asks for.
        return b"".join(pieces)
    length = int(fields.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY:
        raise ValueError("body too large")
    return _exactly(length, read)


def _exactly(size: int, read: Callable[[int], bytes]) -> bytes:
    data = read(size)
    if len(data) != size:
        raise ValueError("the connection ended within a body")
    return data


def _write(stream: socket.socket, answer: Answer, *, head_only: bool, keep: bool) -> None:
    headers = [*answer.headers]
    if isinstance(answer.body, bytes):
        headers.append(("Content-Length", str(len(answer.body))))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
    if not keep:
        headers.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if isinstance(answer.body, bytes):
        stream.sendall(head if head_only else head + answer.body)
        return
    stream.sendall(head)
    if head_only:
        return
    for piece in answer.body:
        stream.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    stream.sendall(b"0\r\n\r\n")
