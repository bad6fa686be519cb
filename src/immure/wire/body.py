"""Bodies of HTTP/1 messages: the payload out of the framing, and the framing around a payload.

Chunked framing is always taken off and put on anew, so that what an upstream's parser sees is what ours wrote: chunk extensions, which
mean nothing to anybody (RFC 9112 section 7.1.1), end here.

Rules: a body is fed every byte that arrives until it says that it has ended, and hands back what came after its end. Payload is passed
on as it comes; only the lines around chunks wait to be complete.

*Trust:* the peer chooses every byte and how they are cut. *Fails:* `PeerError`.
"""

import re
from typing import Final, Protocol

from immure.errors import PeerError
from immure.wire.head import Headers, parse_trailers, write_fields

MAX_CHUNK_LINE: Final = 256
"""Octets of a chunk-size line. The number takes 16; the rest is an extension that is thrown away (a flood of them: CVE-2023-39326)."""
MAX_TRAILERS: Final = 16 * 1024
"""Octets of a trailer section with its empty line."""

LAST_CHUNK: Final = b"0\r\n\r\n"

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?\r\n")


class Body(Protocol):
    """`feed` returns the payload in the data and, once the body has ended, the bytes after it (None until then)."""

    trailers: Headers

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]: ...


class LengthBody:
    """A body of a known length, which is not 0."""

    __slots__ = ("_left", "trailers")

    def __init__(self, length: int) -> None:
        self._left = length
        self.trailers: Headers = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data, None
        end, self._left = self._left, 0
        return data[:end], data[end:]


class OpenBody:
    """A body that ends when its connection does, or bytes of another protocol: never by itself."""

    __slots__ = ("trailers",)

    def __init__(self) -> None:
        self.trailers: Headers = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        return data, None


class ChunkedBody:
    """The chunked coding (RFC 9112 section 7.1)."""

    __slots__ = ("_ending", "_held", "_left", "trailers")

    def __init__(self) -> None:
        self._held = b""  # the beginning of a line, or of the trailer section
        self._left = 0  # octets of the present chunk that are still to come, its CRLF not counted
        self._ending = b""  # what has to follow: the CRLF of a chunk, or its second half
        self.trailers: Headers = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        data, self._held = self._held + data, b""
        at, end = 0, len(data)
        pieces = []
        while at < end:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif self._ending:
                ending = data[at : at + len(self._ending)]
                if not self._ending.startswith(ending):
                    raise PeerError("a chunk that is longer than it says")
                self._ending = self._ending[len(ending) :]
                at += len(ending)
            elif found := _CHUNK_LINE.match(data, at, at + MAX_CHUNK_LINE):
                size = int(found[1], 16)
                if size:
                    at = found.end()
                    self._left, self._ending = size, b"\r\n"
                    continue
                after = self._trailer_end(data, found.end())
                if after < 0:
                    self._held = data[at:]
                    break
                self.trailers = parse_trailers(data[found.end() : after])
                return b"".join(pieces), data[after:]
            else:
                self._refuse_line(data, at)
                self._held = data[at:]
                break
        return b"".join(pieces), None

    @staticmethod
    def _trailer_end(data: bytes, start: int) -> int:
        """Where the trailer section that begins at `start` ends, or -1 if that is still to come."""
        if data.startswith(b"\r\n", start):
            return start + 2
        end = data.find(b"\r\n\r\n", start, start + MAX_TRAILERS)
        if end >= 0:
            return end + 4
        if len(data) - start >= MAX_TRAILERS or data.startswith(b"\n", start):
            raise PeerError(f"a trailer section of more than {MAX_TRAILERS} octets", 431)
        return -1

    @staticmethod
    def _refuse_line(data: bytes, at: int) -> None:
        """Raise unless the bytes at `at` may be the beginning of a chunk-size line."""
        line = data[at : at + MAX_CHUNK_LINE]
        if b"\n" in line or len(line) == MAX_CHUNK_LINE or not _CHUNK_BEGINNING.fullmatch(line):
            raise PeerError("a chunk size that is not a hexadecimal number on a line of its own")


_CHUNK_BEGINNING = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?)?\r?")


def chunk(payload: bytes) -> bytes:
    """One chunk. The payload is not empty: an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + write_fields(trailers) + b"\r\n"
