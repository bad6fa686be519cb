"""DNS, as much of it as a resolver inside a sandbox needs: one question in, one short answer out (RFC 1035, EDNS by RFC 6891).

It resolves nothing. The question goes back verbatim, letter case included: resolvers that mix it at random compare it
(draft-vixie-dnsext-dns0x20).

Rules: exactly one question of class IN for a host name, no compression in it, nothing after it but one OPT record; names are those
of `canonical_host`, and never an address.

*Trust:* every byte is the agent's. *Fails:* anything else is a PeerError, which `complaint` can answer; a message that is itself an
answer is never answered (two servers would talk for ever).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from immure.errors import PeerError
from immure.model import canonical_host
from immure.model.endpoint import address_of

MAX_QUERY = 512
"""Longest message over UDP without EDNS (RFC 1035 section 2.3.4); no honest question of one name needs more."""
UDP_SIZE = 1232
"""What we say we can receive: fits every IPv6 path unfragmented (DNS flag day 2020)."""

TYPE_A = 1
TYPE_AAAA = 28
_TYPE_OPT = 41
_CLASS_IN = 1

_RESPONSE = 0x8000
_OPCODE = 0x7800
_TRUNCATED = 0x0200
_RECURSION_DESIRED = 0x0100
_RECURSION_AVAILABLE = 0x0080
_DNSSEC_OK = 0x8000

_HEADER = struct.Struct("!6H")
_QUESTION_END = struct.Struct("!2H")
_OPT = struct.Struct("!BHHBBHH")
_ANSWER = struct.Struct("!HHHIH4s")
_NAME_OF_QUESTION = 0xC000 | _HEADER.size
"""A compression pointer (RFC 1035 section 4.1.4) to the one name there is."""


class Code(IntEnum):
    """Response codes (RFC 1035 section 4.1.1)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question. `name` is canonical; `type` is any number that was asked for; `question` is its bytes as they came.

    `opt` is the OPT record to put into the answer: empty if the query had none.
    """

    id: int
    name: str
    type: int
    question: bytes
    recursion_desired: bool
    opt: bytes


def parse_query(data: bytes) -> Query:
    """Read one message. Raises PeerError."""
    if not _HEADER.size <= len(data) <= MAX_QUERY:
        raise PeerError("not the size of a DNS query")
    identity, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & (_RESPONSE | _OPCODE | _TRUNCATED):
        raise PeerError("not a standard DNS query")
    if (questions, answers, authorities) != (1, 0, 0) or additional > 1:
        raise PeerError("not one DNS question")
    name, after_name = _read_name(data)
    after = after_name + _QUESTION_END.size
    if after > len(data):
        raise PeerError("the DNS question is cut short")
    kind, family = _QUESTION_END.unpack_from(data, after_name)
    if family != _CLASS_IN:
        raise PeerError("not a DNS question of class IN")
    opt = b""
    if additional:
        opt, after_opt = _read_opt(data, after)
    else:
        after_opt = after
    if after_opt != len(data):
        raise PeerError("bytes after the DNS question")
    return Query(
        id=identity,
        name=name,
        type=kind,
        question=data[_HEADER.size : after],
        recursion_desired=bool(flags & _RECURSION_DESIRED),
        opt=opt,
    )


def _read_name(data: bytes) -> tuple[str, int]:
    """The canonical name after the header, and where it ends. A length byte over 63 is a pointer or reserved: neither may occur."""
    labels = []
    at = _HEADER.size
    while at < len(data) and (length := data[at]):
        if length > 63 or at + 1 + length > len(data):
            raise PeerError("a malformed name in the DNS question")
        label = data[at + 1 : at + 1 + length]
        if b"." in label:
            raise PeerError("a dot within a label of the DNS question")
        labels.append(label.decode("latin-1"))
        at += 1 + length
    if at >= len(data):
        raise PeerError("the DNS question is cut short")
    try:
        name = canonical_host(".".join(labels))
    except ValueError:
        raise PeerError("the DNS question is not about a host name") from None
    if address_of(name) is not None:
        raise PeerError("the DNS question is about an address")
    return name, at + 1


def _read_opt(data: bytes, at: int) -> tuple[bytes, int]:
    """Check the OPT record, whose options do not matter to us, and build the one to answer with (RFC 6891 section 6.1.1)."""
    if at + _OPT.size > len(data):
        raise PeerError("the additional record of the DNS query is cut short")
    root, kind, _, _, version, flags, length = _OPT.unpack_from(data, at)
    if (root, kind, version) != (0, _TYPE_OPT, 0):
        raise PeerError("the additional record of the DNS query is not EDNS version 0")
    answer = _OPT.pack(0, _TYPE_OPT, UDP_SIZE, 0, 0, flags & _DNSSEC_OK, 0)  # the DO bit is copied (RFC 3225 section 3)
    return answer, at + _OPT.size + length


def address_answer(query: Query, address: IPv4Address, ttl: int) -> bytes:
    """The name of the query has this address, for `ttl` seconds."""
    record = _ANSWER.pack(_NAME_OF_QUESTION, TYPE_A, _CLASS_IN, ttl, 4, address.packed)
    return _head(query, Code.NOERROR, answers=1) + query.question + record + query.opt


def empty_answer(query: Query, code: Code = Code.NOERROR) -> bytes:
    """An answer without records. NOERROR says that the name exists and has none of the type asked for (RFC 2308 section 2.2)."""
    return _head(query, code, answers=0) + query.question + query.opt


def complaint(data: bytes) -> bytes | None:
    """What to answer to bytes that `parse_query` refused: FORMERR, or NOTIMP to another opcode; None to what must not be answered."""
    if len(data) < _HEADER.size:
        return None
    identity, flags, *_ = _HEADER.unpack_from(data)
    if flags & _RESPONSE:
        return None
    code = Code.NOTIMP if flags & _OPCODE else Code.FORMERR
    kept = flags & (_OPCODE | _RECURSION_DESIRED)
    return _HEADER.pack(identity, _RESPONSE | kept | _RECURSION_AVAILABLE | code, 0, 0, 0, 0)


def _head(query: Query, code: Code, answers: int) -> bytes:
    flags = _RESPONSE | _RECURSION_AVAILABLE | code | (_RECURSION_DESIRED if query.recursion_desired else 0)
    return _HEADER.pack(query.id, flags, 1, answers, 0, 1 if query.opt else 0)
