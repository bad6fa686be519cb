"""The head of an HTTP/1 message: bytes to a value, and a value to bytes.

One regular expression reads a head from end to end. What it does not describe is refused, never repaired: bare CR or LF, folded lines,
white space before a colon, control characters, a second Host, Content-Length or Transfer-Encoding, or both kinds of length at once
are how two parsers are made to disagree about where a message ends.

Rules: a head is forwarded only as written from its value. `headers` are the end-to-end fields; whatever is about this connection or
about the length of the body has been taken out of them and is said by the other attributes, so that it cannot be passed on by accident.

*Trust:* the peer chooses every byte. *Fails:* `PeerError`, with the status that answers it.
Reference: RFC 9110, RFC 9112.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from immure.errors import PeerError

MAX_HEAD: Final = 64 * 1024
"""Octets of a head with its empty line (answered 431). h11 stops at 16 KiB by default, nginx at 32, Go at 1 MiB."""
MAX_TARGET: Final = 16 * 1024
"""Octets of a request target (answered 414). RFC 9112 section 3 asks for 8000 at least; nginx allows 8 KiB, node 16."""
MAX_FIELDS: Final = 100
"""Header fields of one head (answered 431): what Apache (LimitRequestFields) and hyper allow."""

Field = tuple[bytes, bytes]
Headers = tuple[Field, ...]


class Framing(Enum):
    """How the end of a message is found (RFC 9112 section 6.3)."""

    NONE = "no body"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "another protocol from here on"


class Request(NamedTuple):
    """A request head. A tuple, because a frozen dataclass of as many fields takes 2 µs to build.

    `target` begins with "/" or is "*"; an absolute-form target has been split into `scheme`, `authority` and the rest. `length` is the
    declared Content-Length, also when it is 0. `upgrade` is the lower-case protocol asked for, or empty.
    """

    method: bytes
    target: bytes
    minor: int
    headers: Headers
    framing: Framing
    length: int | None
    keep_alive: bool
    host: bytes | None = None
    scheme: bytes = b""
    authority: bytes = b""
    expects_continue: bool = False
    upgrade: bytes = b""


class Response(NamedTuple):
    """A response head. `length` is the declared Content-Length: of a body that may not follow, in the answer to HEAD and in a 304."""

    status: int
    reason: bytes
    headers: Headers
    framing: Framing
    length: int | None
    keep_alive: bool
    upgrade: bytes = b""


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
# Upper-case methods only (llhttp; RFC 9110 section 9.1 calls that the convention); no "#" in a target (RFC 9112 section 3.2).
_REQUEST = re.compile(rb"([A-Z][A-Z_-]{0,31}+) ([\x21\x22\x24-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS)
# The reason and the space before it are often left out.
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n" + _FIELDS)
# Splits a block that has been checked, so it may be blunt. White space after a value is left to `_fields`.
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_BLOCK = re.compile(_FIELDS)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NAME = re.compile(_TOKEN)
# No user information in an authority: "https://allowed@other/" is a trap, and HTTP forbids it (RFC 9110 section 4.2.4).
_ABSOLUTE = re.compile(rb"(https?)://([A-Za-z0-9._:\[\]-]++)([/?].*+)?", re.IGNORECASE)
_BROKEN_LINE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")

_CONNECTION = frozenset(
    [b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te", b"upgrade"]
)
"""RFC 9110 section 7.6.1, and the credentials meant for a proxy, which go no further than one."""
_TAKEN = _CONNECTION | {b"host", b"content-length", b"transfer-encoding", b"expect"}
_ESSENTIAL = _TAKEN | {
    *(b"authorization", b"cookie", b"set-cookie", b"content-encoding", b"content-type", b"content-range", b"range", b"cache-control"),
}
"""Fields that change how a message is framed, routed, authorised or read: no trailer may bring one (RFC 9110 section 6.5.1), and no
Connection field may take one away (section 7.6.1)."""
_OPTIONS = frozenset([b"close", b"keep-alive", b"upgrade"])
_BODILESS = frozenset([204, 304])
_WITH_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


class _Taken:
    """What the fields that are not passed on say."""

    __slots__ = ("chunked", "expect", "host", "length", "tokens", "upgrade")

    def __init__(self) -> None:
        self.chunked = self.expect = False
        self.length: int | None = None
        self.host: bytes | None = None
        self.upgrade = b""
        self.tokens: list[bytes] = []

    def note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.host is not None:
                raise PeerError("more than one Host field")
            self.host = value
        elif name == b"content-length":
            if self.length is not None or not _LENGTH.fullmatch(value):
                raise PeerError("more than one Content-Length, or one that is not a number")
            self.length = int(value)
        elif name == b"transfer-encoding":
            if self.chunked or value.lower() != b"chunked":
                raise PeerError("a Transfer-Encoding that is not chunked alone", 501)
            self.chunked = True
        elif name == b"connection":
            self.tokens += [token.strip(b" \t") for token in value.lower().split(b",")]
        elif name == b"upgrade":
            self.upgrade = value.lower()
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise PeerError("an expectation that is not 100-continue", 417)
            self.expect = True

    def framed(self, minor: int) -> None:
        if self.chunked and (self.length is not None or minor == 0):
            raise PeerError("Transfer-Encoding beside Content-Length or in HTTP/1.0")

    def keep_alive(self, minor: int) -> bool:
        return b"close" not in self.tokens and (minor == 1 or b"keep-alive" in self.tokens)

    def asked_upgrade(self) -> bytes:
        return self.upgrade if b"upgrade" in self.tokens else b""


def _fields(block: bytes) -> list[Field]:
    fields: list[Field] = _FIELD.findall(block)
    if b" \r\n" in block or b"\t\r\n" in block:
        fields = [(name, value.rstrip(b" \t")) for name, value in fields]
    if len(fields) > MAX_FIELDS:
        raise PeerError(f"more than {MAX_FIELDS} header fields", 431)
    return fields


def _take(block: bytes) -> tuple[list[Field], _Taken]:
    """Split the fields of a head into those to pass on and what the others say."""
    taken = _Taken()
    kept = []
    for field in _fields(block):
        name = field[0].lower()
        if name in _TAKEN:
            taken.note(name, field[1])
        else:
            kept.append(field)
    if nominated := set(taken.tokens) - _OPTIONS - _ESSENTIAL:
        kept = [field for field in kept if field[0].lower() not in nominated]
    return kept, taken


def parse_request(head: bytes) -> Request:
    """Read one whole head, its empty line included."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise _complaint(head, b"request")
    method, target, version, block = found.groups()
    if len(target) > MAX_TARGET:
        raise PeerError(f"a target of more than {MAX_TARGET} octets", 414)
    kept, taken = _take(block)
    minor = 1 if version == b"1" else 0
    taken.framed(minor)
    if taken.host is None and minor == 1:
        raise PeerError("no Host field (RFC 9112 section 3.2)")
    scheme = authority = b""
    if target[:1] != b"/" and method != b"CONNECT" and not (target == b"*" and method == b"OPTIONS"):
        scheme, authority, target = _absolute(target)
    framing = Framing.CHUNKED if taken.chunked else Framing.LENGTH if taken.length else Framing.NONE
    return Request(
        method,
        target,
        minor,
        tuple(kept),
        framing,
        taken.length,
        taken.keep_alive(minor),
        taken.host,
        scheme,
        authority,
        taken.expect and minor == 1,
        taken.asked_upgrade() if minor == 1 else b"",
    )


def parse_response(head: bytes, method: bytes, upgrade: bytes = b"") -> Response:
    """Read one whole head that answers a request of `method`, which asked for the protocol `upgrade` if that is not empty."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        raise _complaint(head, b"response")
    version, digits, reason, block = found.groups()
    kept, taken = _take(block)
    minor = 1 if version == b"1" else 0
    taken.framed(minor)
    status, length = int(digits), taken.length
    if status == 101:
        if not upgrade or taken.asked_upgrade() != upgrade:
            raise PeerError("it switches to a protocol that was not asked for")
        framing = Framing.TUNNEL
    elif status < 200 or status in _BODILESS or method == b"HEAD":
        framing = Framing.NONE
        if status != 304 and method != b"HEAD":
            length = None
    elif taken.chunked:
        framing = Framing.CHUNKED
    elif length is None:
        framing = Framing.UNTIL_CLOSE
    else:
        framing = Framing.LENGTH if length else Framing.NONE
    keep_alive = taken.keep_alive(minor) and framing is not Framing.UNTIL_CLOSE
    return Response(status, reason or b"", tuple(kept), framing, length, keep_alive, upgrade if status == 101 else b"")


def parse_trailers(block: bytes) -> Headers:
    """Read the fields after a chunked body, up to and with the empty line."""
    found = _BLOCK.fullmatch(block)
    if found is None:
        raise _complaint(b"\r\n" + block, b"trailer")
    trailers = tuple(_fields(found[1]))
    if any(name.lower() in _ESSENTIAL for name, _ in trailers):
        raise PeerError("a trailer that belongs in a head")
    return trailers


def write_request(request: Request, authority: bytes, headers: Headers) -> bytes:
    """The head that asks an upstream for the same: `authority` is the Host to name, `headers` the end-to-end fields to send."""
    lines = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method, request.target, authority)]
    lines += [b"%b: %b\r\n" % field for field in headers]
    if request.framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.length is not None:
        lines.append(b"Content-Length: %d\r\n" % request.length)
    elif request.method in _WITH_BODY:
        lines.append(b"Content-Length: 0\r\n")
    if request.expects_continue:
        lines.append(b"Expect: 100-continue\r\n")
    if request.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    lines.append(b"\r\n")
    return b"".join(lines)


def write_response(
    status: int, reason: bytes, headers: Headers, framing: Framing, length: int | None = None, *, close: bool = False, upgrade: bytes = b""
) -> bytes:
    """A head of ours to a client. `length` is written if it is not None and the body is not chunked."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    lines += [b"%b: %b\r\n" % field for field in headers]
    if framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length is not None:
        lines.append(b"Content-Length: %d\r\n" % length)
    if upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
    elif close or framing is Framing.UNTIL_CLOSE:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def refuse_beginning(data: bytes, start: int) -> None:
    """Raise for the beginning of a head that no more bytes can make right; `data` before `start` has been looked at before."""
    if _BROKEN_LINE.search(data, max(0, start - 1)):
        raise PeerError("a CR, LF or NUL that does not belong to a line end")
    if len(data) > MAX_TARGET + 64 and data.find(b"\r\n", 0, MAX_TARGET + 64) < 0:
        raise PeerError(f"a first line of more than {MAX_TARGET} octets", 414)
    if len(data) > MAX_HEAD:
        raise PeerError(f"a head of more than {MAX_HEAD} octets", 431)


def _absolute(target: bytes) -> tuple[bytes, bytes, bytes]:
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise PeerError("a target that is neither a path nor a URL")
    scheme, authority, path = found.groups(b"")
    if path[:1] != b"/":
        path = b"/" + path
    return scheme.lower(), authority, path


def _complaint(head: bytes, kind: bytes) -> PeerError:
    """What is wrong with a head that did not match: for the person who reads the answer, not for the decision."""
    if _BROKEN_LINE.search(head):
        return PeerError("a CR, LF or NUL that does not belong to a line end")
    first, _, rest = head.partition(b"\r\n")
    if kind == b"request" and len(first) > MAX_TARGET:
        return PeerError(f"a target of more than {MAX_TARGET} octets", 414)
    for line in rest.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            return PeerError("a folded header line (RFC 9112 section 5.2)")
        name, colon, _ = line.partition(b":")
        if line and (not colon or not _NAME.fullmatch(name)):
            return PeerError("a header line without a proper name before its colon")
    if kind == b"request" and re.fullmatch(rb"\S+ \S+ HTTP/(?!1\.[01])[0-9](\.[0-9])?", first):
        return PeerError("a version other than HTTP/1.0 and HTTP/1.1", 505)
    return PeerError(f"a {kind.decode()} line or header field with characters that do not belong there")
