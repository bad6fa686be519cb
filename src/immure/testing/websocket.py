"""The server's side of a WebSocket (RFC 6455), blocking: text messages out of frames and into them.

By its own few lines rather than those of the product, so that the two cannot be wrong in the same way. A message goes out in one frame,
compressed if the client has offered that (permessage-deflate, RFC 7692, with windows of the full size and kept from message to message).

*Trust:* the program under test. *Fails:* ValueError for what is not a masked frame, or is longer than a test would send.
"""

import zlib
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from struct import pack, unpack

MAX_MESSAGE = 64 * 1024 * 1024
POLICY_VIOLATION = 1008
"""The code of a Close to a client that may not ask for what it asked for (section 7.4.1)."""

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFLATE = "permessage-deflate"
_COMPRESSED = 0x40
_TAIL = b"\0\0\xff\xff"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


def accept(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return b64encode(sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def extension(offers: str) -> str:
    """The Sec-WebSocket-Extensions that answers a client's; empty if it offered nothing that is known here."""
    return _DEFLATE if any(offer.partition(";")[0].strip() == _DEFLATE for offer in offers.split(",")) else ""


class WebSocket:
    """`read(n)` gives exactly n bytes, or fewer at the end of the connection; `send` sends all. `extension` is what was agreed on."""

    def __init__(self, read: Callable[[int], bytes], send: Callable[[bytes], None], extension: str = "") -> None:
        self._read = read
        self._send = send
        self._packing = zlib.compressobj(wbits=-zlib.MAX_WBITS) if extension else None
        self._unpacking = zlib.decompressobj(-zlib.MAX_WBITS)

    def receive(self) -> str | None:
        """The next message; None when the client has closed or gone. A Ping is answered meanwhile."""
        pieces: list[bytes] = []
        compressed = False
        while True:
            head = self._read(2)
            if len(head) < 2:
                return None
            opcode, final = head[0] & 0x0F, head[0] & 0x80
            payload = self._payload(head[1])
            if opcode == _CLOSE:
                self._write(_CLOSE, payload)
                return None
            if opcode == _PING:
                self._write(_PONG, payload)
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                compressed = compressed or bool(head[0] & _COMPRESSED)
                pieces.append(payload)
                if final:
                    message = b"".join(pieces)
                    return (self._unpacking.decompress(message + _TAIL, MAX_MESSAGE) if compressed else message).decode()

    def send(self, text: str) -> None:
        if self._packing is None:
            self._write(_TEXT, text.encode())
        else:
            packed = self._packing.compress(text.encode()) + self._packing.flush(zlib.Z_SYNC_FLUSH)
            self._write(_TEXT | _COMPRESSED, packed.removesuffix(_TAIL))

    def close(self, code: int) -> None:
        self._write(_CLOSE, pack("!H", code))

    def _payload(self, second: int) -> bytes:
        length = second & 0x7F
        if length == 126:
            (length,) = unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = unpack("!Q", self._exactly(8))
        if second < 0x80 or length > MAX_MESSAGE:
            raise ValueError("not a frame that a client sends")
        mask = self._exactly(4)
        data = self._exactly(length)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) != size:
            raise ValueError("the connection ended within a frame")
        return data

    def _write(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = pack("!B", size) if size < 126 else pack("!BH", 126, size) if size < 1 << 16 else pack("!BQ", 127, size)
        self._send(bytes([0x80 | opcode]) + length + payload)
