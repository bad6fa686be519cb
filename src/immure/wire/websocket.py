"""WebSocket: the frames of one direction, out of bytes and into them, and what an opening handshake must say.

    reader.feed(bytes as they come)
    while event := reader.next_event(): Head | bytes | Control

The head of a data frame is followed by its payload in pieces, as it stands on the wire; `left` says how much of it is to come. A control
frame is one event, for it is short. What a message means, and whether its text is UTF-8, is left to those who talk.

Rules: a reserved bit is an error, but for the one that marks a compressed message where permessage-deflate was agreed on. Lengths are
written in the fewest octets. What follows a Close is thrown away (RFC 6455 section 1.4). Nothing is kept but an unfinished head or
control frame: at most 139 octets and what was fed.

*Trust:* the peer chooses every byte and how they are cut. *Fails:* `PeerError`; the frames before it have been given out.
Reference: RFC 6455, RFC 7692 section 6.
"""

import re
from base64 import b64encode
from enum import IntEnum
from hashlib import sha1
from typing import Final, NamedTuple

from immure.errors import PeerError
from immure.wire.head import Headers
from immure.wire.permessage_deflate import objection

MAX_CONTROL: Final = 125
"""Octets of a control frame's payload (section 5.5)."""
PROTOCOL_ERROR: Final = 1002
"""The code of a Close that answers broken framing (section 7.4.1)."""
POLICY_VIOLATION: Final = 1008
"""That of one whose end has nothing to do with what was sent."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_EXTENDED = {126: 2, 127: 8}
_COMPRESSED = 0x40


class Opcode(IntEnum):
    """Section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_OPCODES = {int(opcode): opcode for opcode in Opcode}
_BEGINNING = (Opcode.TEXT, Opcode.BINARY)


class Head(NamedTuple):
    """The head of a data frame. `final`: it ends its message. `key` masks the payload, and is empty in what a server sends.

    `compressed` is said by the first frame of a message, for all of it.
    """

    opcode: Opcode
    final: bool
    length: int
    key: bytes
    compressed: bool = False


class Control(NamedTuple):
    """A control frame. Its payload is not masked any more; `key` says by what it was."""

    opcode: Opcode
    payload: bytes
    key: bytes


class FrameReader:
    """What a client (`masked`) or a server sends. `compressed`: permessage-deflate was agreed on."""

    __slots__ = ("_at", "_buffer", "_masked", "_reserved", "_within", "closed", "left")

    def __init__(self, *, masked: bool, compressed: bool = False) -> None:
        self._masked = masked
        self._reserved = 0x30 if compressed else 0x70  # bits that must not be set in the first frame of a message
        self._buffer = b""
        self._at = 0
        self._within = False  # a message, of which more fragments must come
        self.left = 0
        """Octets of the present data frame that are to come."""
        self.closed = False
        """A Close has come."""

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next_event(self) -> Head | bytes | Control | None:
        """The next event, or None until more is fed. Raises PeerError."""
        if self.closed:
            self._buffer = b""
            self._at = 0
            return None
        if not self.left:
            return self._frame()
        piece = self._buffer[self._at : self._at + self.left]
        self._at += len(piece)
        self.left -= len(piece)
        return piece or None

    def _frame(self) -> Head | Control | None:
        data, at = self._buffer, self._at
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        opcode = _OPCODES.get(first & 0x0F)
        final, length = first >= 0x80, second & 0x7F
        if opcode is None or first & (self._reserved if opcode in _BEGINNING else 0x70):
            raise PeerError("a frame with a reserved bit or opcode")
        if (second >= 0x80) is not self._masked:
            raise PeerError("a frame that is not masked" if self._masked else "a masked frame")
        if opcode >= Opcode.CLOSE:
            if not final or length > MAX_CONTROL:
                raise PeerError("a control frame that is too long or in fragments")
        elif (opcode is Opcode.CONTINUATION) is not self._within:
            raise PeerError("a message within another" if self._within else "the continuation of no message")
        extended = _EXTENDED.get(length, 0)
        start = at + 2 + extended + (4 if self._masked else 0)
        if len(data) < start:
            return None
        if extended:
            length = _length(data[at + 2 : at + 2 + extended])
        key = data[start - 4 : start] if self._masked else b""
        if opcode >= Opcode.CLOSE:
            return self._control(opcode, start, length, key)
        self._at = start
        self._within = not final
        self.left = length
        return Head(opcode, final, length, key, first & _COMPRESSED != 0)

    def _control(self, opcode: Opcode, start: int, length: int, key: bytes) -> Control | None:
        payload = self._buffer[start : start + length]
        if len(payload) < length:
            return None
        self._at = start + length
        payload = mask(payload, key)
        if opcode is Opcode.CLOSE:
            _check_close(payload)
            self.closed = True
        return Control(opcode, payload, key)


def _length(digits: bytes) -> int:
    length = int.from_bytes(digits)
    if length >> 63 or length < (126 if len(digits) == 2 else 1 << 16):
        raise PeerError("a length that is not written in the fewest octets, or has its first bit set")
    return length


def _check_close(payload: bytes) -> None:
    """Raise for a code that no endpoint may send (section 7.4, and the registry that it founded)."""
    code = int.from_bytes(payload[:2])
    if payload and (len(payload) < 2 or not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in (1004, 1005, 1006)):
        raise PeerError("a Close with a code that must not be sent")


def mask(payload: bytes, key: bytes) -> bytes:
    """Put a mask on, or take it off (section 5.3); without a key, none."""
    if not key:
        return payload
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(keys)).to_bytes(size)


def write_head(head: Head | Control) -> bytes:
    """The octets before a frame's payload."""
    opcode, final, length, key, compressed = head if isinstance(head, Head) else (head.opcode, True, len(head.payload), head.key, False)
    masked = 0x80 if key else 0
    first = (0x80 if final else 0) | (_COMPRESSED if compressed else 0) | opcode
    if length < 126:
        return bytes((first, masked | length)) + key
    if length < 1 << 16:
        return bytes((first, masked | 126)) + length.to_bytes(2) + key
    return bytes((first, masked | 127)) + length.to_bytes(8) + key


def write_control(control: Control) -> bytes:
    """A whole control frame."""
    return write_head(control) + mask(control.payload, control.key)


def closing(code: int, reason: str = "") -> bytes:
    """The payload of a Close (section 5.5.1); of a reason, what fits."""
    return code.to_bytes(2) + reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore").encode()


def write_data(opcode: Opcode, payload: bytes, *, final: bool) -> bytes:
    """A whole data frame of a server's."""
    return write_head(Head(opcode, final, len(payload), b"")) + payload


def accept(key: bytes) -> bytes:
    """The proof that a server has understood a client's Sec-WebSocket-Key (section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def handshake_objection(asked: Headers, answered: Headers) -> str | None:
    """Why a client must not take a 101 with these fields for the WebSocket it asked for (section 4.1), or None."""
    key = _values(asked, b"sec-websocket-key")
    if len(key) != 1 or not _KEY.fullmatch(key[0]):
        return "a WebSocket that was not asked for properly"
    if _values(answered, b"sec-websocket-accept") != [accept(key[0])]:
        return "a Sec-WebSocket-Accept that does not fit the key"
    if why := objection(asked, answered):
        return why
    offered = {name.strip(b" \t") for value in _values(asked, b"sec-websocket-protocol") for name in value.split(b",")}
    chosen = _values(answered, b"sec-websocket-protocol")
    if len(chosen) > 1 or not offered.issuperset(chosen):
        return "a WebSocket subprotocol that was not offered"
    return None


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for field, value in headers if field.lower() == name]
