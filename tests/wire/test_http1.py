"""The readers: transcripts of what arrives and the events that come of it, and that cutting changes nothing."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.wire.head import MAX_HEAD, MAX_TARGET, Framing, Request, Response
from immure.wire.http1 import End, RequestReader, ResponseReader

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
BROKEN = b"GET /d HTTP/1.1\r\nHost: a.example\r\nContent-Length : 5\r\n\r\n"

Event = Request | Response | bytes | End | type[PeerError]


def events(reader: RequestReader | ResponseReader, pieces: Sequence[bytes]) -> list[Event]:
    """Everything that comes of the pieces; payload that follows payload is put together."""
    seen: list[Event] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                if isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
                    seen[-1] += event
                else:
                    seen.append(event)
    except PeerError:
        seen.append(PeerError)
    return seen


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def test_requests_follow_each_other() -> None:
    get, end, post, hello, end_of_post, put, again, end_of_put = events(RequestReader(), [GET + POST + CHUNKED])
    assert isinstance(get, Request)
    assert isinstance(post, Request)
    assert isinstance(put, Request)
    assert [get.target, post.target, put.target] == [b"/a", b"/b", b"/c"]
    assert [end, hello, end_of_post, again, end_of_put] == [End(), b"hello", End(), b"hello", End(((b"X-Sum", b"1"),))]


def test_the_next_request_waits_until_it_is_asked_for() -> None:
    reader = RequestReader()
    reader.feed(GET + POST)
    assert isinstance(reader.next_event(), Request)
    assert reader.next_event() == End()
    assert reader.waiting == len(POST)


def test_interim_answers_come_before_the_answer() -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    hints, proceed, answer, *rest = events(reader, [data])
    assert [response.status for response in (hints, proceed, answer) if isinstance(response, Response)] == [103, 100, 200]
    assert rest == [b"ok", End()]


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    data = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert [type(event) for event in events(reader, [data])[:2]] == [Response, End]
    assert events(reader, []) == []
    with pytest.raises(PeerError):
        reader.next_event()


def test_a_body_until_the_end_of_the_connection() -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    head, body = events(reader, [b"HTTP/1.1 200 OK\r\n\r\n", b"one", b"two"])
    assert isinstance(head, Response)
    assert head.framing is Framing.UNTIL_CLOSE
    assert body == b"onetwo"
    assert reader.close() == End()


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"])
def test_an_end_in_the_middle_is_an_error(data: bytes) -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    events(reader, [data])
    with pytest.raises(PeerError):
        reader.close()


def test_another_protocol_after_101() -> None:
    reader = ResponseReader()
    reader.expect(b"GET", b"websocket")
    head, payload = events(reader, [b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n\x81\x00"])
    assert isinstance(head, Response)
    assert head.framing is Framing.TUNNEL
    assert payload == b"\x81\x00"


def test_what_follows_a_request_that_switched_is_payload() -> None:
    reader = RequestReader()
    assert len(events(reader, [GET])) == 2
    reader.switch()
    assert events(reader, [GET]) == [GET]


@pytest.mark.parametrize(
    ("beginning", "status"),
    [
        (b"GET /" + b"a" * (MAX_TARGET + 64), 414),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rb", 400),
        (b"\x00", 400),
    ],
)
def test_a_beginning_that_cannot_become_a_head_is_refused_at_once(beginning: bytes, status: int) -> None:
    reader = RequestReader()
    reader.feed(beginning)
    with pytest.raises(PeerError) as caught:
        reader.next_event()
    assert caught.value.status == status


@given(st.lists(st.sampled_from([GET, POST, CHUNKED, BROKEN]), max_size=5), st.lists(st.integers(0, 600), max_size=20))
def test_any_cut_of_the_bytes_gives_the_same_events(messages: list[bytes], places: list[int]) -> None:
    data = b"".join(messages)
    assert events(RequestReader(), [data]) == events(RequestReader(), cut(data, places))


@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=10))
def test_random_bytes_end_the_same_way_however_they_are_cut(data: bytes, places: list[int]) -> None:
    data += b"\r\n\r\n"
    assert events(RequestReader(), [data]) == events(RequestReader(), cut(data, places))


@given(st.binary(max_size=120))
def test_random_bytes_from_an_upstream_give_events_or_a_peer_error(data: bytes) -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    for event in events(reader, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data]):
        assert event is PeerError or isinstance(event, Response | bytes | End)


def test_a_head_that_drips_in_is_not_scanned_again_and_again() -> None:
    reader = RequestReader()
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 30000 + b"\r\n\r\n"
    for index in range(len(data) - 1):
        reader.feed(data[index : index + 1])
        assert reader.next_event() is None
    reader.feed(data[-1:])
    assert isinstance(reader.next_event(), Request)
