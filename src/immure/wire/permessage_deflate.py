"""permessage-deflate: what of it is offered and agreed to, and messages out of what an upstream compressed.

The client's offer goes up as it is, and the answer comes down as it is, so client and upstream agree with each other. What the upstream
compresses is decompressed on the way and passed on uncompressed, which is allowed for any message (RFC 7692 section 6); what the client
compresses is not touched. So the size of either window is theirs: any of them fits into the largest.

    inflater.feed(payload of compressed frames)
    inflater.end_message()
    while inflater.waiting: inflater.next_piece()

Rules: of an offer, what is not permessage-deflate, or not as the RFC writes it, is left out. One call gives out `PIECE` octets at most,
and what waits between calls is no more than what was fed and the 32 KiB that later data may refer to.

*Trust:* both sides choose every byte. *Fails:* an objection to the handshake; `PeerError` for a message that cannot be decompressed.
Reference: RFC 7692.
"""

import re
import zlib
from typing import Final

from immure.errors import PeerError
from immure.wire.coding import PIECE, Zlib
from immure.wire.head import Headers

NAME: Final = b"permessage-deflate"

_FIELD = b"sec-websocket-extensions"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# An extension with its parameters (RFC 6455 section 9.1); a quoted value must be a token within its quotes.
_EXTENSION = re.compile(rb"(%b)((?:[ \t]*;[ \t]*%b(?:=(?:%b|\"%b\"))?)*)" % (_TOKEN, _TOKEN, _TOKEN, _TOKEN))
_BITS = re.compile(rb"[89]|1[0-5]")
_SERVER_FORGETS, _CLIENT_FORGETS = b"server_no_context_takeover", b"client_no_context_takeover"
_SERVER_BITS, _CLIENT_BITS = b"server_max_window_bits", b"client_max_window_bits"

_WINDOW: Final = 1 << zlib.MAX_WBITS
_TAIL: Final = b"\x00\x00\xff\xff"
"""What a sender takes off the end of a message (section 7.2.1)."""

Parameters = dict[bytes, bytes | None]


def offer(headers: Headers) -> bytes:
    """What to offer an upstream of the extensions that a client offers, as a field value; empty if there is nothing."""
    return b", ".join(element for element, parameters in _offered(headers) if parameters is not None)


def objection(asked: Headers, answered: Headers) -> str | None:
    """Why a handshake must not be taken, `asked` being what the client offered and `answered` what the upstream accepted, or None."""
    chosen = _elements(answered)
    offers = [parameters for _, parameters in _offered(asked) if parameters is not None]
    if not chosen:
        return None
    if len(chosen) > 1 or not offers or _name(chosen[0]) != NAME:
        return "a WebSocket extension that was not offered"
    parameters = _parameters(chosen[0])
    if parameters is None or parameters.get(_CLIENT_BITS, b"") is None:
        return "permessage-deflate with parameters that mean nothing"
    if _CLIENT_BITS in parameters and not any(_CLIENT_BITS in offered for offered in offers):
        return "permessage-deflate with client_max_window_bits, which was not offered"  # section 7.1.2.2
    return None


def agreed(answered: Headers) -> "Inflater | None":
    """What decompresses the messages of an upstream that answered a handshake so; None if it will not compress any."""
    for element in _elements(answered):
        return Inflater(takeover=_SERVER_FORGETS not in (_parameters(element) or {}))
    return None


class Inflater:
    """The compressed messages of one direction, one after another. With `takeover` a message may refer to those before it."""

    __slots__ = ("_engine", "_input", "_takeover", "_window", "waiting")

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._input = b""
        self._window = b""  # the last that came out
        self._engine = Zlib(-zlib.MAX_WBITS)
        self.waiting = False

    def feed(self, data: bytes) -> None:
        self._input += data
        self.waiting = self.waiting or bool(data)

    def end_message(self) -> None:
        """The message is complete: it is over when nothing is waiting any more."""
        self.feed(_TAIL)

    def begin_message(self) -> None:
        """Another compressed message follows."""
        if not self._takeover:
            self._window = b""
            self._engine = Zlib(-zlib.MAX_WBITS)

    def next_piece(self) -> bytes:
        """What comes out next, which may be nothing. Raises PeerError."""
        engine = self._engine
        data = b""
        if engine.needs_input:
            data, self._input = self._input, b""
        try:
            piece = engine.decompress(data, PIECE)
        except zlib.error:
            raise PeerError("a message that is not compressed as was agreed") from None
        self._window = (self._window + piece)[-_WINDOW:]
        if engine.eof:  # a block that says it is the last one ends no message (section 7.2.3.4), and zlib will not go on by itself
            self._input = engine.unused_data + self._input
            self._engine = Zlib(-zlib.MAX_WBITS, self._window)
        self.waiting = bool(self._input) or not self._engine.needs_input
        return piece


def _elements(headers: Headers) -> list[bytes]:
    return [element.strip(b" \t") for field, value in headers if field.lower() == _FIELD for element in value.split(b",")]


def _offered(headers: Headers) -> list[tuple[bytes, Parameters | None]]:
    return [(element, _parameters(element)) for element in _elements(headers) if _name(element) == NAME]


def _name(element: bytes) -> bytes:
    return element.partition(b";")[0].rstrip(b" \t")


def _parameters(element: bytes) -> Parameters | None:
    """The parameters of an element as the RFC writes them, or None."""
    found = _EXTENSION.fullmatch(element)
    if found is None:
        return None
    parameters: Parameters = {}
    for parameter in found[2].split(b";")[1:]:
        name, equals, value = parameter.strip(b" \t").partition(b"=")
        value = value.strip(b'"')
        if name in parameters:
            return None
        if name in (_SERVER_FORGETS, _CLIENT_FORGETS):
            fits = not equals
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            fits = _BITS.fullmatch(value) is not None or (name == _CLIENT_BITS and not equals)
        else:
            fits = False
        if not fits:
            return None
        parameters[name] = value if equals else None
    return parameters
