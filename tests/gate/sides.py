"""Both sides of a WebSocket that a secret opened, by a few lines of their own: frames made and read, extension bits and all."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from house import PLACEHOLDER, TOKEN, Gate, Peer, World

from immure.testing.websocket import accept

HOST = "api.example.com"
KEY = "ZmFrZS1rZXktb2YtMTZiIQ=="
UPGRADE = (
    f"Authorization: Bearer {PLACEHOLDER}",
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
MASK = b"\x01\x02\x03\x04"
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SECRET, INERT = TOKEN.encode(), PLACEHOLDER.encode()
Setting = tuple[Gate, World]
Frame = tuple[int, bool, bytes]


def request(gate: Gate, *lines: str, start: str = "GET /socket HTTP/1.1", body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in (start, f"Host: {HOST}:{gate.port}", *lines, "")).encode() + body


def switching(*lines: str, key: str = KEY) -> bytes:
    fields = ("Upgrade: WebSocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept(key)}", *lines)
    return "".join(f"{line}\r\n" for line in ("HTTP/1.1 101 Switching Protocols", *fields, "")).encode()


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = False) -> bytes:
    size = len(payload)
    length = size if size < 126 else 126 if size < 1 << 16 else 127
    head = bytes([opcode | final << 7, length | masked << 7]) + (size.to_bytes(2 if length == 126 else 8) if length > 125 else b"")
    return head + MASK + unmasked(payload) if masked else head + payload


def unmasked(payload: bytes, mask: bytes = MASK) -> bytes:
    return bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


def next_frame(read: Callable[[int], bytes]) -> Frame:
    first, second = read(2)
    length = second & 0x7F
    if length > 125:
        length = int.from_bytes(read(2 if length == 126 else 8))
    if second < 0x80:
        return first & 0x7F, first >= 0x80, read(length)
    mask = read(4)
    return first & 0x7F, first >= 0x80, unmasked(read(length), mask)


def from_client(peer: Peer) -> Frame:
    return next_frame(peer.read)


def opened(peer: Peer, *lines: str) -> None:
    peer.head()
    peer.send(switching(*lines))


class Client:
    """The client's side of an open WebSocket."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        self._unread = b""
        while b"\r\n\r\n" not in self._unread:
            self._unread += connection.recv(65536)
        self.head, _, self._unread = self._unread.partition(b"\r\n\r\n")

    def read(self, count: int) -> bytes:
        pieces = [self._unread]
        while sum(map(len, pieces)) < count:
            pieces.append(self.connection.recv(65536))
            assert pieces[-1], "the connection ended"
        data = b"".join(pieces)
        self._unread = data[count:]
        return data[:count]

    def send(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        self.connection.sendall(frame(opcode, payload, final=final, masked=True))

    def frame(self) -> Frame:
        return next_frame(self.read)

    def message(self) -> bytes:
        """The next message, its fragments joined."""
        opcode, final, payload = self.frame()
        assert opcode in (TEXT, BINARY)
        while not final:
            opcode, final, more = self.frame()
            assert opcode == MORE
            assert more or final, "a fragment that says nothing"
            payload += more
        return payload

    def ended(self) -> bool:
        return self._unread == self.connection.recv(1) == b""


@contextmanager
def connected(setting: Setting, script: Callable[[Peer], None], *lines: str) -> Iterator[Client]:
    gate, served = setting
    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE, *lines))
        client = Client(connection)
        assert client.head.startswith(b"HTTP/1.1 101 ")
        assert gate.event()["http_response"]["code"] == 101
        yield client
