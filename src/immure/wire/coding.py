"""Content codings: the body of a message out of what it was compressed with, a bounded piece at a time.

    decoder.feed(bytes as they come)
    while decoder.waiting: decoder.next_piece()
    decoder.close()

Known are gzip, deflate, br and zstd, and stacks of them; `offer` says so to an upstream, in the client's own order of preference, and
`decoded_headers` is the head of what comes out.

Rules: one call decodes about `PIECE` octets, whatever the ratio, and what waits between calls is no more than what was fed, so a body
that is small on the wire and huge behind it takes no memory and no more time in a row than another. All that can be decoded of what
was fed is given out, for an event of a stream may end anywhere. Gzip members and zstd frames follow one another (RFC 1952 section 2.2,
RFC 8878 section 3). Anything else after a gzip member or a deflate stream is thrown away, as browsers do; after br or zstd it is
refused, as their libraries do.

*Trust:* the upstream chooses every byte and how they are cut. *Fails:* `PeerError`, for data that is not in its coding or ends within.
Reference: RFC 9110 section 8.4, RFC 7932 (br), RFC 8878 and RFC 9659 (zstd).
"""

import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import brotli  # type: ignore[import-untyped]

from immure.errors import PeerError
from immure.wire.head import Headers

try:
    from backports import zstd
except ModuleNotFoundError:  # Python 3.14 has it
    from compression import zstd  # type: ignore[import-not-found, no-redef]

PIECE: Final = 64 * 1024
"""Octets that one step gives out at most. Of br it is half as much again, for its buffer grows in blocks."""
MAX_CODINGS: Final = 5
"""Codings of one body: what curl allows since CVE-2022-32206, in which a head with many was a bomb."""

_ZSTD_WINDOW: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
"""8 MiB, the largest that a content coding may ask for (RFC 9659 section 3)."""
_GZIP: Final = b"\x1f\x8b"
_NO_CODING: Final = b"identity"
_WEIGHTED = re.compile(rb"([!#$%&'*+\-.^_`|~0-9a-z]+)(?:[ \t]*;[ \t]*q=([01](?:\.[0-9]{0,3})?))?")
_OF_THE_CODED = frozenset([b"content-encoding", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"accept-ranges"])


class Engine(Protocol):
    """One compressed stream, as `zstd.ZstdDecompressor` shows it."""

    @property
    def needs_input(self) -> bool:
        """Nothing more comes out before more goes in."""

    @property
    def eof(self) -> bool:
        """The stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What was fed past its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take data, which is empty unless `needs_input`, and give out about `max_length` octets at most."""


class Zlib:
    """DEFLATE in any of its wrappings, chosen by `wbits` as in `zlib.decompressobj`; `window` is what a raw stream may refer back to."""

    __slots__ = ("_engine", "needs_input")

    def __init__(self, wbits: int, window: bytes = b"") -> None:
        self._engine = zlib.decompressobj(wbits, window) if window else zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._engine.decompress(self._engine.unconsumed_tail or data, max_length)
        # A piece of full length may leave more within zlib when all input is consumed: the rest of a long match.
        self.needs_input = len(piece) < max_length and not self._engine.unconsumed_tail
        return piece


class _Brotli:
    __slots__ = ("_engine", "needs_input")

    unused_data = b""  # the library refuses it as broken

    def __init__(self) -> None:
        self._engine = brotli.Decompressor()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._engine.is_finished())

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece: bytes = self._engine.process(data, output_buffer_limit=max_length)
        self.needs_input = len(piece) < max_length and self._engine.can_accept_more_data()
        return piece


class _Format(NamedTuple):
    """How a stream of a coding begins. `begin` returns None if the data is too short to tell; `again` is what another one after it
    begins with, or None if there is none; `alone`: anything else after it is refused."""

    begin: Callable[[bytes], Engine | None]
    again: bytes | None
    alone: bool


def _deflate(data: bytes) -> Engine | None:
    """With the zlib header, as RFC 9110 section 8.4.1.2 wants it, or without, as its note says that some send it."""
    if len(data) < 2:
        return None
    wrapped = data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and int.from_bytes(data[:2]) % 31 == 0
    return Zlib(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


_FORMATS: Final = {
    b"gzip": _Format(lambda _: Zlib(16 + zlib.MAX_WBITS), _GZIP, alone=False),
    b"deflate": _Format(_deflate, None, alone=False),
    b"br": _Format(lambda _: _Brotli(), None, alone=True),
    b"zstd": _Format(lambda _: zstd.ZstdDecompressor(options=_ZSTD_WINDOW), b"", alone=True),
}
_ALIASES: Final = {b"x-gzip": b"gzip"}  # RFC 9110 section 8.4.1.3


class _Stage:
    """One coding of a stack."""

    __slots__ = ("_engine", "_format", "_input", "_name", "_over", "waiting")

    def __init__(self, name: bytes) -> None:
        self._name = name.decode()
        self._format = _FORMATS[name]
        self._engine: Engine | None = None
        self._input = b""
        self._over = False  # nothing that may follow means anything
        self.waiting = False

    def feed(self, data: bytes) -> None:
        if data and not self._over:
            self._input += data
            self.waiting = True

    def next_piece(self) -> bytes:
        engine = self._engine
        if engine is None or engine.eof:
            engine = self._begin()
            if engine is None:
                self.waiting = False
                return b""
        data = b""
        if engine.needs_input:
            data, self._input = self._input, b""
        try:
            piece = engine.decompress(data, PIECE)
        except (zlib.error, brotli.error, zstd.ZstdError):
            raise PeerError(f"data that is not {self._name}") from None
        if engine.eof:
            self._input = engine.unused_data + self._input
            self.waiting = bool(self._input)
        else:
            self.waiting = bool(self._input) or not engine.needs_input
        return piece

    def _begin(self) -> Engine | None:
        """The next stream, or None if there is none, or too little of it."""
        if self._engine is not None:
            again = self._format.again
            if again is None or not self._input.startswith(again[: len(self._input)]):
                if self._format.alone:
                    raise PeerError(f"{self._name} with something else behind it")
                self._input, self._over = b"", True
            if self._over or again is None or len(self._input) < len(again):
                return None
        engine = self._format.begin(self._input)
        if engine is not None:
            self._engine = engine
        return engine

    def close(self) -> None:
        ended = not self._input if self._engine is None else self._engine.eof  # a server that had nothing to compress sends nothing
        if not ended:
            raise PeerError(f"data that ends in the middle of {self._name}")


class Decoder:
    """The body of one message. `codings` are known ones, in the order in which they were applied."""

    __slots__ = ("_stages",)

    def __init__(self, codings: tuple[bytes, ...]) -> None:
        self._stages = [_Stage(coding) for coding in reversed(codings)]

    def feed(self, data: bytes) -> None:
        self._stages[0].feed(data)

    @property
    def waiting(self) -> bool:
        """Whether `next_piece` can go on before more is fed."""
        return any(stage.waiting for stage in self._stages)

    def next_piece(self) -> bytes:
        """Do one step of one coding; return what came out of the last of them, which may be nothing. Raises PeerError."""
        stages = self._stages
        for at in range(len(stages) - 1, -1, -1):
            if stages[at].waiting:  # the last that can go on, so that none has more to hold than one piece
                piece = stages[at].next_piece()
                if at == len(stages) - 1:
                    return piece
                stages[at + 1].feed(piece)
                break
        return b""

    def close(self) -> None:
        """No more will be fed, and nothing is waiting. Raises PeerError if the data has not come to its end."""
        for stage in self._stages:
            stage.close()


def codings_of(headers: Headers) -> tuple[bytes, ...]:
    """What a body is encoded with, in the order in which that was done (RFC 9110 section 8.4)."""
    listed = (coding.strip(b" \t").lower() for coding in _elements(headers, b"content-encoding"))
    return tuple(_ALIASES.get(coding, coding) for coding in listed if coding not in (b"", _NO_CODING))


def objection(codings: tuple[bytes, ...]) -> str | None:
    """Why a body cannot be decoded, or None."""
    if unknown := [coding for coding in codings if coding not in _FORMATS]:
        return f"it is encoded as {unknown[0].decode('latin-1')}, which cannot be decoded here"
    if len(codings) > MAX_CODINGS:
        return f"it is encoded more than {MAX_CODINGS} times"
    return None


def offer(headers: Headers) -> bytes:
    """The Accept-Encoding to ask for an answer with that is decoded on the way: of what the client accepts, what is known here.

    Exclusions stay, and so does "identity"; "*" means what nobody has named, and might be answered with a coding that is not known.
    """
    kept = []
    found = False
    for element in _elements(headers, b"accept-encoding"):
        weighted = _WEIGHTED.fullmatch(element.strip(b" \t").lower())
        if weighted is None:
            continue
        name, weight = weighted.groups()
        excluded = weight is not None and not weight.strip(b"0.")
        known = _ALIASES.get(name, name) in _FORMATS
        if known or name == _NO_CODING or excluded:
            kept.append(name if weight is None else name + b";q=" + weight)
            found = found or (known and not excluded)
    return b", ".join(kept) if found else _NO_CODING


def decoded_headers(headers: Headers) -> Headers:
    """The fields of a message whose body was decoded: without what was said about the encoded one.

    Digests are of the encoded bytes (RFC 9530 sections 2 and 3; RFC 3230; Content-MD5 is RFC 1864), and ranges would be. An entity tag
    that was strong becomes weak, since it stands for other bytes (RFC 9110 section 8.8.1); nginx's gunzip filter does the same.
    """
    return tuple(
        (name, b"W/" + value) if name.lower() == b"etag" and value.startswith(b'"') else (name, value)
        for name, value in headers
        if name.lower() not in _OF_THE_CODED
    )


def _elements(headers: Headers, name: bytes) -> list[bytes]:
    """The members of a list that may be spread over several fields (RFC 9110 section 5.6.1)."""
    return [element for field, value in headers if field.lower() == name for element in value.split(b",")]
