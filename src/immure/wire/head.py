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
    declared Content-Length, also when it is 0. `upgrade` is the lower-case protocol asked for, or empty. `proxy_authorization` is to be
    looked at and not to be sent on.
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
    proxy_authorization: bytes = b""


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
# Upper-case methods only (llhttp; RFC 9110 section 9.1 calls that the convention); no "#" in a target (RFC 9112 section 3.2).
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z_-]{0,31}+) ([\x21\x22\x24-\x7e]++) HTTP/1\.([01])\r\n")
# The reason and the space before it are often left out.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
_BLOCK = re.compile(rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n")
# Splits a block that has been checked, so it may be blunt. White space after a value is left to `_fields`.
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NAME = re.compile(_TOKEN)
# No user information in an authority: "https://allowed@other/" is a trap, and HTTP forbids it (RFC 9110 section 4.2.4).
_ABSOLUTE = re.compile(rb"(https?)://([A-Za-z0-9._:\[\]-]++)([/?].*+)?", re.IGNORECASE)
_OTHER_VERSION = re.compile(rb"\S+ \S+ HTTP/(?!1\.[01])[0-9](\.[0-9])?")
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
_ONCE = frozenset([b"host", b"content-length", b"transfer-encoding"])
_OPTIONS = frozenset([b"close", b"keep-alive", b"upgrade"])
_BODILESS = frozenset([204, 304])
_SLASH = ord("/")
_WITH_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


class _Said(NamedTuple):
    """What the fields of a head say."""

    headers: Headers
    chunked: bool
    length: int | None
    keep_alive: bool
    upgrade: bytes
    host: bytes | None
    expects_continue: bool
    proxy_authorization: bytes


class Memory:
    """The fields of the last head of a connection, and what they said.

    Programs repeat themselves: on a kept connection most heads differ in their first line only, and then the rest need not be read again
    (what HPACK does for HTTP/2).
    """

    __slots__ = ("block", "minor", "said")

    def __init__(self) -> None:
        self.block = b""
        self.minor = -1
        self.said: _Said | None = None


def _read_block(block: bytes, minor: int, memory: Memory | None) -> _Said:
    """Read the fields of a head, up to and with the empty line."""
    if memory is not None and memory.block == block and memory.minor == minor and memory.said is not None:
        return memory.said
    kept, taken = _take(block)
    chunked, length = _length(taken, minor)
    kept, keep_alive, upgrade = _connection(kept, taken, minor)
    expectation = taken.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise PeerError("an expectation that is not 100-continue", 417)
    expects_continue = expectation is not None and minor == 1
    proxy_authorization = taken.get(b"proxy-authorization", b"")
    said = _Said(tuple(kept), chunked, length, keep_alive, upgrade, taken.get(b"host"), expects_continue, proxy_authorization)
    if memory is not None:
        memory.block, memory.minor, memory.said = block, minor, said
    return said


def _fields(block: bytes) -> list[Field]:
    """Split a block of fields."""
    if not _BLOCK.fullmatch(block):
        raise _complaint(block)
    fields: list[Field] = _FIELD.findall(block)
    if b" \r\n" in block or b"\t\r\n" in block:
        fields = [(name, value.rstrip(b" \t")) for name, value in fields]
    if len(fields) > MAX_FIELDS:
        raise PeerError(f"more than {MAX_FIELDS} header fields", 431)
    return fields


def _take(block: bytes) -> tuple[list[Field], dict[bytes, bytes]]:
    """Split the fields of a head into those to pass on and the others, by their names in lower case."""
    kept: list[Field] = []
    taken: dict[bytes, bytes] = {}
    for field in _fields(block):
        name = field[0].lower()
        if name not in _TAKEN:
            kept.append(field)
        elif name not in taken:
            taken[name] = field[1]
        elif name in _ONCE:
            raise PeerError(f"more than one {name.decode()} field")
        else:
            taken[name] += b"," + field[1]
    return kept, taken


def _length(taken: dict[bytes, bytes], minor: int) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its declared length."""
    coding, declared = taken.get(b"transfer-encoding"), taken.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise PeerError("a Transfer-Encoding that is not chunked alone", 501)
        if declared is not None or minor == 0:
            raise PeerError("Transfer-Encoding beside Content-Length or in HTTP/1.0")
        return True, None
    if declared is None:
        return False, None
    if not _LENGTH.fullmatch(declared):
        raise PeerError("a Content-Length that is not a number")
    return False, int(declared)


def _connection(kept: list[Field], taken: dict[bytes, bytes], minor: int) -> tuple[list[Field], bool, bytes]:
    """What the Connection field says: the fields that remain without those it names, whether to keep the connection, the upgrade."""
    value = taken.get(b"connection")
    if value is None:
        return kept, minor == 1, b""
    options = {option.strip(b" \t") for option in value.lower().split(b",")}
    if nominated := options - _OPTIONS - _ESSENTIAL:
        kept = [field for field in kept if field[0].lower() not in nominated]
    keep_alive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
    return kept, keep_alive, taken.get(b"upgrade", b"").lower() if b"upgrade" in options and minor == 1 else b""


def parse_request(head: bytes, memory: Memory | None = None) -> Request:
    """Read one whole head, its empty line included. `memory` is that of the connection."""
    found = _REQUEST_LINE.match(head)
    if found is None:
        raise _complaint_about_request(head)
    method, target, version = found.groups()
    if len(target) > MAX_TARGET:
        raise PeerError(f"a target of more than {MAX_TARGET} octets", 414)
    minor = 1 if version == b"1" else 0
    headers, chunked, length, keep_alive, upgrade, host, expects, proxy = _read_block(head[found.end() :], minor, memory)
    if host is None and minor == 1:
        raise PeerError("no Host field (RFC 9112 section 3.2)")
    scheme = authority = b""
    if target[0] != _SLASH and method != b"CONNECT" and not (target == b"*" and method == b"OPTIONS"):
        scheme, authority, target = _absolute(target)
    framing = Framing.CHUNKED if chunked else Framing.LENGTH if length else Framing.NONE
    return Request(method, target, minor, headers, framing, length, keep_alive, host, scheme, authority, expects, upgrade, proxy)


def parse_response(head: bytes, method: bytes, upgrade: bytes = b"", memory: Memory | None = None) -> Response:
    """Read one whole head that answers a request of `method`, which asked for the protocol `upgrade` if that is not empty."""
    found = _STATUS_LINE.match(head)
    if found is None:
        raise _complaint(head, "status line")
    version, digits, reason = found.groups()
    minor = 1 if version == b"1" else 0
    headers, chunked, length, keep_alive, upgraded, *_ = _read_block(head[found.end() :], minor, memory)
    status = int(digits)
    if status == 101:
        if not upgrade or upgraded != upgrade:
            raise PeerError("it switches to a protocol that was not asked for")
        framing = Framing.TUNNEL
    elif status < 200 or status in _BODILESS or method == b"HEAD":
        framing = Framing.NONE
        if status != 304 and method != b"HEAD":
            length = None
    elif chunked:
        framing = Framing.CHUNKED
    elif length is None:
        framing, keep_alive = Framing.UNTIL_CLOSE, False
    else:
        framing = Framing.LENGTH if length else Framing.NONE
    return Response(status, reason or b"", headers, framing, length, keep_alive, upgrade if status == 101 else b"")


def parse_trailers(block: bytes) -> Headers:
    """Read the fields after a chunked body, up to and with the empty line."""
    trailers = tuple(_fields(block))
    if any(name.lower() in _ESSENTIAL for name, _ in trailers):
        raise PeerError("a trailer that belongs in a head")
    return trailers


def write_fields(headers: Headers) -> bytes:
    """Fields as they stand in a head."""
    return b"".join([b"%b: %b\r\n" % field for field in headers])


def write_request(request: Request, authority: bytes, fields: bytes) -> bytes:
    """The head that asks an upstream for the same: `authority` is the Host to name, `fields` what `write_fields` made of the others."""
    head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b" % (request.method, request.target, authority, fields)
    if request.framing is Framing.CHUNKED:
        head += b"Transfer-Encoding: chunked\r\n"
    elif request.length is not None:
        head += b"Content-Length: %d\r\n" % request.length
    elif request.method in _WITH_BODY:
        head += b"Content-Length: 0\r\n"
    if request.expects_continue:
        head += b"Expect: 100-continue\r\n"
    if request.upgrade:
        head += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade
    return head + b"\r\n"


def write_response(
    status: int, reason: bytes, headers: Headers, framing: Framing, length: int | None = None, *, close: bool = False, upgrade: bytes = b""
) -> bytes:
    """A head of ours to a client. `length` is written if it is not None and the body is not chunked."""
    head = b"HTTP/1.1 %d %b\r\n%b" % (status, reason, write_fields(headers))
    if framing is Framing.CHUNKED:
        head += b"Transfer-Encoding: chunked\r\n"
    elif length is not None:
        head += b"Content-Length: %d\r\n" % length
    if upgrade:
        head += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    elif close or framing is Framing.UNTIL_CLOSE:
        head += b"Connection: close\r\n"
    return head + b"\r\n"


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


def _complaint_about_request(head: bytes) -> PeerError:
    """What is wrong with a head whose first line did not match."""
    first = head.partition(b"\r\n")[0]
    if len(first) > MAX_TARGET:
        return PeerError(f"a target of more than {MAX_TARGET} octets", 414)
    if _OTHER_VERSION.fullmatch(first):
        return PeerError("a version other than HTTP/1.0 and HTTP/1.1", 505)
    return _complaint(head, "request line")


def _complaint(block: bytes, what: str = "header field") -> PeerError:
    """What is wrong with bytes that did not match: for the person who reads the answer, not for the decision."""
    if _BROKEN_LINE.search(block):
        return PeerError("a CR, LF or NUL that does not belong to a line end")
    if what == "header field":
        for line in block.split(b"\r\n"):
            if line[:1] in (b" ", b"\t"):
                return PeerError("a folded header line (RFC 9112 section 5.2)")
            name, colon, _ = line.partition(b":")
            if line and (not colon or not _NAME.fullmatch(name)):
                return PeerError("a header line without a proper name before its colon")
    return PeerError(f"a {what} with characters that do not belong there")
