"""DNS: questions as bytes, what they mean, the answers byte by byte; and any other bytes are a peer error and nothing else."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.model import canonical_host
from immure.wire import dns

HEAD = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
HEAD_EDNS = HEAD[:-1] + b"\x01"
NAME = b"\x07chatgpt\x03com\x00"
IN_A = b"\x00\x01\x00\x01"
IN_AAAA = b"\x00\x1c\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
ADDRESS = IPv4Address("198.18.0.7")


def label(text: bytes) -> bytes:
    return bytes([len(text)]) + text


ASKED = [
    # >> query, << name, type, recursion desired, EDNS
    (HEAD + NAME + IN_A, "chatgpt.com", dns.TYPE_A, True, False),
    (HEAD + NAME + IN_AAAA, "chatgpt.com", dns.TYPE_AAAA, True, False),
    (HEAD + NAME + b"\x00\xff\x00\x01", "chatgpt.com", 255, True, False),
    (HEAD + b"\x07cHaTgPt\x03COM\x00" + IN_A, "chatgpt.com", dns.TYPE_A, True, False),
    (HEAD[:2] + b"\x00" + HEAD[3:] + NAME + IN_A, "chatgpt.com", dns.TYPE_A, False, False),
    (HEAD[:3] + b"\x30" + HEAD[4:] + NAME + IN_A, "chatgpt.com", dns.TYPE_A, True, False),  # AD and CD, as validating stubs set them
    (HEAD + b"\x09localhost\x00" + IN_A, "localhost", dns.TYPE_A, True, False),
    (HEAD + b"\x04_dns\x08resolver\x04arpa\x00" + IN_A, "_dns.resolver.arpa", dns.TYPE_A, True, False),
    (HEAD + label(b"a" * 63) * 3 + label(b"a" * 61) + b"\x00" + IN_A, ".".join(["a" * 63] * 3 + ["a" * 61]), dns.TYPE_A, True, False),
    (HEAD_EDNS + NAME + IN_A + OPT, "chatgpt.com", dns.TYPE_A, True, True),
    (HEAD_EDNS + NAME + IN_A + OPT[:-1] + b"\x0c\x00\x0a\x00\x08cookie01", "chatgpt.com", dns.TYPE_A, True, True),
]


@pytest.mark.parametrize(("data", "name", "kind", "recursion", "edns"), ASKED)
def test_what_a_query_asks(data: bytes, name: str, kind: int, recursion: bool, edns: bool) -> None:
    query = dns.parse_query(data)
    assert (query.id, query.name, query.type, query.recursion_desired, bool(query.opt)) == (0x1234, name, kind, recursion, edns)
    assert data[12:].startswith(query.question)


QUERY = HEAD + NAME + IN_A
REFUSED = {
    "nothing": b"",
    "half a header": HEAD[:11],
    "a header alone": HEAD,
    "over 512 bytes": HEAD_EDNS + NAME + IN_A + OPT[:-2] + b"\x02\x00" + b"x" * 512,
    "an answer": b"\x12\x34\x81\x80" + QUERY[4:],
    "another opcode": b"\x12\x34\x28\x00" + QUERY[4:],
    "truncated": b"\x12\x34\x03\x00" + QUERY[4:],
    "no question": HEAD[:5] + b"\x00" + HEAD[6:],
    "two questions": HEAD[:5] + b"\x02" + HEAD[6:] + (NAME + IN_A) * 2,
    "an answer record": HEAD[:7] + b"\x01" + HEAD[8:] + NAME + IN_A,
    "an authority record": HEAD[:9] + b"\x01" + HEAD[10:] + NAME + IN_A,
    "two additional records": HEAD[:-1] + b"\x02" + NAME + IN_A + OPT * 2,
    "an additional record missing": HEAD_EDNS + NAME + IN_A,
    "an additional record cut short": HEAD_EDNS + NAME + IN_A + OPT[:-1],
    "options cut short": HEAD_EDNS + NAME + IN_A + OPT[:-1] + b"\x04abc",
    "an additional record of another type": HEAD_EDNS + NAME + IN_A + b"\x00\x00\xfa" + OPT[3:],
    "another version of EDNS": HEAD_EDNS + NAME + IN_A + OPT[:6] + b"\x01" + OPT[7:],
    "bytes after the question": QUERY + b"\x00",
    "bytes after the record": HEAD_EDNS + NAME + IN_A + OPT + b"\x00",
    "class CHAOS": HEAD + NAME + b"\x00\x01\x00\x03",
    "the root": HEAD + b"\x00" + IN_A,
    "a name cut short": HEAD + b"\x07chat",
    "a name without its end": HEAD + NAME[:-1],
    "a type cut short": HEAD + NAME + b"\x00\x01\x00",
    "compression": HEAD + b"\x03www\xc0\x0c" + IN_A,
    "an extended label": HEAD + b"\x41" + b"a" * 65 + b"\x00" + IN_A,
    "a name over 253": HEAD + label(b"a" * 63) * 3 + label(b"a" * 62) + b"\x00" + IN_A,
    "a dot within a label": HEAD + b"\x0bchatgpt.com\x00" + IN_A,
    "NUL within a label": HEAD + b"\x03a\x00b\x03com\x00" + IN_A,
    "a space": HEAD + b"\x03a b\x03com\x00" + IN_A,
    "a letter outside ASCII": HEAD + b"\x02\xc3\xa9\x03com\x00" + IN_A,
    "a label that begins with a hyphen": HEAD + b"\x02-a\x03com\x00" + IN_A,
    "an IPv4 address": HEAD + b"\x0210\x010\x010\x011\x00" + IN_A,
    "an IPv6 address": HEAD + b"\x03::1\x00" + IN_A,
    "an IPv6 address in brackets": HEAD + b"\x05[::1]\x00" + IN_A,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    with pytest.raises(PeerError):
        dns.parse_query(REFUSED[case])


def test_an_address_is_answered_and_the_question_comes_back_as_it_was_spelled() -> None:
    question = b"\x07cHaTgPt\x03cOm\x00" + IN_A
    answer = dns.address_answer(dns.parse_query(HEAD + question), ADDRESS, 60)
    assert answer == (
        b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc6\x12\x00\x07"
    )


CODES = [
    (dns.Code.NOERROR, b"\x81\x80"),
    (dns.Code.SERVFAIL, b"\x81\x82"),
    (dns.Code.REFUSED, b"\x81\x85"),
]


@pytest.mark.parametrize(("code", "flags"), CODES)
def test_an_answer_without_records(code: dns.Code, flags: bytes) -> None:
    query = dns.parse_query(HEAD + NAME + IN_AAAA)
    assert dns.empty_answer(query, code) == b"\x12\x34" + flags + b"\x00\x01\x00\x00\x00\x00\x00\x00" + NAME + IN_AAAA


def test_recursion_is_said_to_be_desired_only_if_it_was() -> None:
    assert dns.empty_answer(dns.parse_query(b"\x12\x34\x00\x00" + QUERY[4:]))[2:4] == b"\x80\x80"


def test_edns_is_answered_with_edns_and_the_do_bit_copied() -> None:
    plain = dns.parse_query(HEAD_EDNS + NAME + IN_A + OPT)
    secure = dns.parse_query(HEAD_EDNS + NAME + IN_A + OPT[:7] + b"\x80\x00" + OPT[9:])
    for query, flags in [(plain, b"\x00\x00"), (secure, b"\x80\x00")]:
        for answer in (dns.address_answer(query, ADDRESS, 60), dns.empty_answer(query)):
            assert answer[10:12] == b"\x00\x01"
            assert answer.endswith(b"\x00\x00\x29\x04\xd0\x00\x00" + flags + b"\x00\x00")


COMPLAINTS = [
    # >> bytes that were refused, << what is answered
    (b"", None),
    (HEAD[:11], None),
    (b"\x12\x34\x80\x00" + HEAD[4:], None),
    (HEAD, b"\x12\x34\x81\x81" + bytes(8)),
    (b"\x12\x34\x28\x00" + HEAD[4:], b"\x12\x34\xa8\x84" + bytes(8)),
    (HEAD + b"\xc0\x0c" + IN_A, b"\x12\x34\x81\x81" + bytes(8)),
]


@pytest.mark.parametrize(("data", "answer"), COMPLAINTS)
def test_what_is_said_to_what_was_refused(data: bytes, answer: bytes | None) -> None:
    assert dns.complaint(data) == answer


names = st.lists(st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z_])", fullmatch=True), min_size=1, max_size=5)


@given(names, st.integers(0, 65535), st.integers(0, 65535))
def test_any_host_name_is_read_as_itself(labels: list[str], identity: int, kind: int) -> None:
    question = b"".join(label(text.encode()) for text in labels) + b"\x00" + struct.pack("!2H", kind, 1)
    query = dns.parse_query(struct.pack("!6H", identity, 0, 1, 0, 0, 0) + question)
    assert (query.id, query.type, query.question) == (identity, kind, question)
    assert query.name == canonical_host(".".join(labels))


headers = st.tuples(st.integers(0, 65535), st.sampled_from([0, 0x100, 0x8000, 0x2800]), *[st.integers(0, 2)] * 4).map(
    lambda words: struct.pack("!6H", *words)
)
parts = st.sampled_from([NAME, IN_A, OPT, b"\xc0\x0c", b"\x00", HEAD]) | st.binary(max_size=20)


@given(st.binary(max_size=600) | st.tuples(headers, st.lists(parts, max_size=6).map(b"".join)).map(b"".join))
def test_any_bytes_are_a_query_or_a_peer_error(data: bytes) -> None:
    try:
        query = dns.parse_query(data)
    except PeerError:
        answer = dns.complaint(data)
        assert answer is None or (answer[:2], len(answer)) == (data[:2], 12)
        return
    assert canonical_host(query.name) == query.name
    for answer in (dns.address_answer(query, ADDRESS, 60), dns.empty_answer(query, dns.Code.REFUSED)):
        assert answer[:2] == data[:2]
        assert answer[12:].startswith(query.question)
        assert len(answer) <= dns.MAX_QUERY
