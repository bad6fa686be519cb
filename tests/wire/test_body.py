"""Bodies: payload out of every framing, however it is cut, and chunk lines that are refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.wire.body import MAX_CHUNK_LINE, MAX_TRAILERS, Body, ChunkedBody, LengthBody, OpenBody, chunk, last_chunk

REFUSED_CHUNKS = [
    ("no number", b"\r\n"),
    ("a negative number", b"-1\r\n"),
    ("a sign", b"+1\r\na\r\n"),
    ("a prefix", b"0x1\r\na\r\n"),
    ("a letter too far", b"g\r\n"),
    ("an underscore", b"1_0\r\n"),
    ("space before", b" 1\r\na\r\n"),
    ("space after", b"1 \r\na\r\n"),
    ("LF alone", b"1\na\r\n"),
    ("CR alone", b"1\ra\r\n"),
    ("an overflow", b"1" + b"0" * 16 + b"\r\n"),
    ("a control character in the extension", b"1;a=\x01\r\na\r\n"),
    ("an endless extension", b"1;" + b"a" * MAX_CHUNK_LINE),
    ("more than it says", b"1\r\nab\r\n"),
    ("LF after the data", b"1\r\na\n"),
    ("a folded trailer", b"0\r\nA: 1\r\n 2\r\n\r\n"),
    ("LF for the end", b"0\r\n\n"),
    ("endless trailers", b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1)),
    ("a length as trailer", b"0\r\nContent-Length: 3\r\n\r\n"),
]


def feed(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    """Feed until the end; the payload, and what came after it."""
    payload = b""
    for index, piece in enumerate(pieces):
        more, rest = body.feed(piece)
        payload += more
        if rest is not None:
            return payload, rest + b"".join(pieces[index + 1 :])
    return payload, None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def test_a_length_is_counted_and_the_rest_handed_back() -> None:
    body = LengthBody(5)
    assert body.feed(b"hel") == (b"hel", None)
    assert body.feed(b"loGET") == (b"lo", b"GET")


def test_a_body_without_end_never_ends() -> None:
    assert OpenBody().feed(b"0\r\n\r\n") == (b"0\r\n\r\n", None)


def test_chunks_extensions_and_trailers() -> None:
    body = ChunkedBody()
    payload, rest = body.feed(b'3;a="b"\r\nabc\r\n00A ;x\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-B:\r\n\r\nGET')
    assert (payload, rest) == (b"abc0123456789", b"GET")
    assert body.trailers == ((b"X-Sum", b"1"), (b"X-B", b""))


def test_a_chunk_is_passed_on_before_it_is_complete() -> None:
    body = ChunkedBody()
    assert body.feed(b"ff\r\ndata: 1\n\n") == (b"data: 1\n\n", None)


@pytest.mark.parametrize("data", [case[1] for case in REFUSED_CHUNKS], ids=[case[0] for case in REFUSED_CHUNKS])
@pytest.mark.parametrize("bytewise", [False, True])
def test_chunks_that_two_parsers_might_read_differently_are_refused(data: bytes, bytewise: bool) -> None:
    with pytest.raises(PeerError):
        feed(ChunkedBody(), [data[i : i + 1] for i in range(len(data))] if bytewise else [data])


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 400), max_size=12), st.binary(max_size=8))
def test_any_cut_of_a_chunked_body_gives_the_same(pieces: list[bytes], places: list[int], after: bytes) -> None:
    trailers = ((b"X-Sum", b"1"),) if len(pieces) % 2 else ()
    data = b"".join(map(chunk, pieces)) + last_chunk(trailers) + after
    body = ChunkedBody()
    assert feed(body, cut(data, places)) == (b"".join(pieces), after)
    assert body.trailers == trailers


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=8))
def test_random_bytes_end_the_same_way_however_they_are_cut(data: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return feed(ChunkedBody(), pieces)
        except PeerError:
            return PeerError

    assert outcome([data]) == outcome(cut(data, places))
