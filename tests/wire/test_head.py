"""Heads: what is read, what is refused, and that h11 and llhttp read nothing else into what is let through."""

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.wire.head import (
    MAX_FIELDS,
    MAX_TARGET,
    Framing,
    Request,
    parse_request,
    parse_response,
    parse_trailers,
    write_fields,
    write_request,
    write_response,
)


def head(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n"


REFUSED_REQUESTS = [
    ("two hosts", head("GET / HTTP/1.1", "Host: a", "Host: a"), 400),
    ("no host", head("GET / HTTP/1.1", "Accept: */*"), 400),
    ("two lengths", head("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 3"), 400),
    ("a list of lengths", head("POST / HTTP/1.1", "Host: a", "Content-Length: 3, 3"), 400),
    ("a signed length", head("POST / HTTP/1.1", "Host: a", "Content-Length: +3"), 400),
    ("a hexadecimal length", head("POST / HTTP/1.1", "Host: a", "Content-Length: 0x3"), 400),
    ("an empty length", head("POST / HTTP/1.1", "Host: a", "Content-Length:"), 400),
    ("an endless length", head("POST / HTTP/1.1", "Host: a", "Content-Length: " + "9" * 19), 400),
    ("length and coding", head("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"), 400),
    ("coding and length", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 3"), 400),
    ("two codings", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    ("another coding", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"), 501),
    ("a coding in disguise", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"), 501),
    ("identity", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: identity"), 501),
    ("coding in HTTP/1.0", head("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"), 400),
    ("a folded line", head("GET / HTTP/1.1", "Host: a", "X-A: 1", " 2"), 400),
    ("a folded first line", head("GET / HTTP/1.1", " Host: a"), 400),
    ("space before the colon", head("GET / HTTP/1.1", "Host: a", "Content-Length : 3"), 400),
    ("no colon", head("GET / HTTP/1.1", "Host: a", "nonsense"), 400),
    ("no name", head("GET / HTTP/1.1", "Host: a", ": 3"), 400),
    ("a name with a space", head("GET / HTTP/1.1", "Host: a", "X A: 3"), 400),
    ("NUL in a value", head("GET / HTTP/1.1", "Host: a\0b"), 400),
    ("CR in a value", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    ("LF alone", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("LF alone after a field", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    ("a control character", head("GET / HTTP/1.1", "Host: a", "X: \x01"), 400),
    ("DEL", head("GET / HTTP/1.1", "Host: a", "X: \x7f"), 400),
    ("an empty line first", b"\r\n" + head("GET / HTTP/1.1", "Host: a"), 400),
    ("two spaces", head("GET  / HTTP/1.1", "Host: a"), 400),
    ("a tab for a space", head("GET\t/ HTTP/1.1", "Host: a"), 400),
    ("space after the version", head("GET / HTTP/1.1 ", "Host: a"), 400),
    ("a space in the target", head("GET /a b HTTP/1.1", "Host: a"), 400),
    ("a fragment", head("GET /a#b HTTP/1.1", "Host: a"), 400),
    ("eight bits in the target", head("GET /\xe4 HTTP/1.1", "Host: a"), 400),
    ("a method in lower case", head("get / HTTP/1.1", "Host: a"), 400),
    ("no target", head("GET HTTP/1.1", "Host: a"), 400),
    ("no version", head("GET /", "Host: a"), 400),
    ("HTTP/0.9", head("GET / HTTP/0.9", "Host: a"), 505),
    ("HTTP/1.2", head("GET / HTTP/1.2", "Host: a"), 505),
    ("HTTP/2", head("PRI * HTTP/2.0"), 505),
    ("HTTP/1.1 in lower case", head("GET / http/1.1", "Host: a"), 400),
    ("a target without a slash", head("GET a HTTP/1.1", "Host: a"), 400),
    ("a star that is not OPTIONS", head("GET * HTTP/1.1", "Host: a"), 400),
    ("another scheme", head("GET ftp://a/ HTTP/1.1", "Host: a"), 400),
    ("user information", head("GET http://a@b/ HTTP/1.1", "Host: a"), 400),
    ("an expectation", head("GET / HTTP/1.1", "Host: a", "Expect: miracles"), 417),
    ("a long target", head("GET /" + "a" * MAX_TARGET + " HTTP/1.1", "Host: a"), 414),
    ("many fields", head("GET / HTTP/1.1", "Host: a", *["X: y"] * MAX_FIELDS), 431),
]

REFUSED_RESPONSES = [
    ("no status", head("HTTP/1.1")),
    ("two digits", head("HTTP/1.1 20 OK")),
    ("a status of 0", head("HTTP/1.1 099 OK")),
    ("HTTP/2", head("HTTP/2.0 200 OK")),
    ("ICY", head("ICY 200 OK")),
    ("two lengths", head("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 4")),
    ("length and coding", head("HTTP/1.1 200 OK", "Content-Length: 3", "Transfer-Encoding: chunked")),
    ("another coding", head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked")),
    ("a folded line", head("HTTP/1.1 200 OK", "X: 1", "\t2")),
    ("space before the colon", head("HTTP/1.1 200 OK", "Set-Cookie : 3")),
    ("an upgrade that was not asked for", head("HTTP/1.1 101 Go", "Upgrade: websocket", "Connection: Upgrade")),
]

# method, head, framing, declared length, keep-alive
RESPONSES = [
    (b"GET", head("HTTP/1.1 200 OK", "Content-Length: 3"), Framing.LENGTH, 3, True),
    (b"GET", head("HTTP/1.1 200", "Content-Length: 0"), Framing.NONE, 0, True),
    (b"GET", head("HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"), Framing.CHUNKED, None, True),
    (b"GET", head("HTTP/1.1 200 OK"), Framing.UNTIL_CLOSE, None, False),
    (b"HEAD", head("HTTP/1.1 200 OK", "Content-Length: 3"), Framing.NONE, 3, True),
    (b"HEAD", head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), Framing.NONE, None, True),
    (b"GET", head("HTTP/1.1 304 Not Modified", "Content-Length: 3"), Framing.NONE, 3, True),
    (b"GET", head("HTTP/1.1 204 No Content", "Content-Length: 3"), Framing.NONE, None, True),
    (b"GET", head("HTTP/1.1 100 Continue"), Framing.NONE, None, True),
    (b"GET", head("HTTP/1.1 200 OK", "Content-Length: 3", "Connection: close"), Framing.LENGTH, 3, False),
    (b"GET", head("HTTP/1.0 200 OK", "Content-Length: 3"), Framing.LENGTH, 3, False),
    (b"GET", head("HTTP/1.0 200 OK", "Content-Length: 3", "Connection: Keep-Alive"), Framing.LENGTH, 3, True),
]


@pytest.mark.parametrize(("data", "status"), [case[1:] for case in REFUSED_REQUESTS], ids=[case[0] for case in REFUSED_REQUESTS])
def test_a_request_that_two_parsers_might_read_differently_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(PeerError) as caught:
        parse_request(data)
    assert caught.value.status == status


@pytest.mark.parametrize("data", [case[1] for case in REFUSED_RESPONSES], ids=[case[0] for case in REFUSED_RESPONSES])
def test_such_a_response_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        parse_response(data, b"GET")


@pytest.mark.parametrize(("method", "data", "framing", "length", "keep_alive"), RESPONSES)
def test_the_framing_of_a_response(method: bytes, data: bytes, framing: Framing, length: int | None, keep_alive: bool) -> None:
    response = parse_response(data, method)
    assert (response.framing, response.length, response.keep_alive) == (framing, length, keep_alive)


def test_what_is_about_the_connection_does_not_stay_among_the_fields() -> None:
    request = parse_request(
        head(
            *("GET /a?b HTTP/1.1", "Host: a.example", "Connection: close, X-Private", "X-Private: 1", "Keep-Alive: 5", "TE: trailers"),
            *(
                "Proxy-Authorization: Basic eA==",
                "Proxy-Connection: x",
                "Upgrade: websocket",
                "Content-Length: 2",
                "X-Kept: \t two  words\t ",
            ),
        )
    )
    assert request.headers == ((b"X-Kept", b"two  words"),)
    assert (request.host, request.length, request.keep_alive, request.upgrade) == (b"a.example", 2, False, b"")


def test_a_connection_field_takes_away_nothing_that_decides_how_a_message_is_read() -> None:
    request = parse_request(head("GET / HTTP/1.1", "Host: a", "Connection: Authorization, Host", "Authorization: Bearer x"))
    assert request.headers == ((b"Authorization", b"Bearer x"),)
    assert request.host == b"a"


def test_an_absolute_target_is_taken_apart() -> None:
    request = parse_request(head("GET HTTPS://A.example:8443?q HTTP/1.1", "Host: A.example:8443"))
    assert (request.scheme, request.authority, request.target) == (b"https", b"A.example:8443", b"/?q")


def test_a_request_is_written_from_its_value_alone() -> None:
    request = parse_request(
        head(
            *("POST http://a.example/p HTTP/1.0", "Host: evil.example", "Connection: keep-alive", "content-length:  5", "X-A:   1  "),
        )
    )
    assert write_request(request, b"a.example", write_fields(request.headers)) == head(
        "POST /p HTTP/1.1", "Host: a.example", "X-A: 1", "Content-Length: 5"
    )


def test_what_is_asked_for_besides_the_body_is_written_too() -> None:
    request = parse_request(
        head("GET /ws HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Expect: 100-Continue")
    )
    written = write_request(request, b"a", write_fields(request.headers))
    assert written == head("GET /ws HTTP/1.1", "Host: a", "Expect: 100-continue", "Connection: Upgrade", "Upgrade: websocket")


def test_a_post_without_a_body_says_so() -> None:
    request = parse_request(head("POST / HTTP/1.1", "Host: a"))
    assert b"\r\nContent-Length: 0\r\n" in write_request(request, b"a", b"")


def test_a_response_is_written_with_one_framing() -> None:
    assert write_response(200, b"OK", ((b"A", b"b"),), Framing.CHUNKED, 7) == head("HTTP/1.1 200 OK", "A: b", "Transfer-Encoding: chunked")
    assert write_response(200, b"OK", (), Framing.LENGTH, 7, close=True) == head(
        "HTTP/1.1 200 OK", "Content-Length: 7", "Connection: close"
    )
    assert write_response(200, b"", (), Framing.UNTIL_CLOSE) == head("HTTP/1.1 200 ", "Connection: close")
    assert write_response(101, b"", (), Framing.TUNNEL, upgrade=b"websocket") == head(
        "HTTP/1.1 101 ", "Connection: Upgrade", "Upgrade: websocket"
    )


@pytest.mark.parametrize(
    "name", ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Set-Cookie", "Content-Encoding", "Trailer-"]
)
def test_a_trailer_that_belongs_in_a_head_is_refused(name: str) -> None:
    block = head(f"{name}: 1")
    if name.endswith("-"):
        assert parse_trailers(block) == ((name.encode(), b"1"),)
    else:
        with pytest.raises(PeerError):
            parse_trailers(block)


# The other parsers

_METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
_TARGETS = st.sampled_from([b"/", b"/a?b=c", b"/%00;x", b"*", b"http://a.example/x", b"https://[::1]:8443", b"a"])
_LINES = st.sampled_from(
    [
        *(b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close"),
        *(b"Connection: keep-alive", b"X-A: b \t c", b"X-Empty:", b"Expect: 100-continue", b"TE: trailers", b"Cookie: \xe4=1;2"),
    ]
)


@st.composite
def _almost_requests(draw: st.DrawFn) -> bytes:
    """Requests, most of them sound, some with bytes inserted, removed or replaced."""
    method, target = draw(_METHODS), draw(_TARGETS)
    lines = [b"Host: a.example", *draw(st.lists(_LINES, max_size=4, unique=True))]
    data = b" ".join([method, target, draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))]) + b"\r\n"
    data += b"".join(line + b"\r\n" for line in draw(st.permutations(lines))) + b"\r\n"
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b":", b"\t", b"\r\n", b"\x80", b",", b"x"])) + data[at:]
        if draw(st.booleans()):
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + data[at + 1 :]
    return data


class _Llhttp:
    """What llhttp makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.target = b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.rstrip(b" \t")))  # it leaves white space at the end of a value

    def on_message_complete(self) -> None:
        self.complete = True


@given(_almost_requests())
@example(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-A: b \t c\r\n\r\n")
def test_h11_and_llhttp_agree_with_whatever_is_let_through(data: bytes) -> None:
    try:
        request = parse_request(data)
    except PeerError:
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    event = connection.next_event()  # raises if h11 refuses
    assert isinstance(event, h11.Request)
    assert event.method == request.method
    theirs = [(name, value) for name, value in event.headers.raw_items()]
    assert [field for field in theirs if field in request.headers] == list(request.headers)
    has_body = not isinstance(connection.next_event(), h11.EndOfMessage)
    assert has_body == (request.framing is not Framing.NONE)

    try:
        llhttp = _Llhttp(data)  # raises if llhttp refuses
    except httptools.HttpParserInvalidMethodError:
        return  # llhttp keeps a list of methods; HTTP does not
    assert llhttp.complete == (request.framing is Framing.NONE)
    assert llhttp.target.endswith(request.target) or (request.scheme and request.target == b"/")
    assert [field for field in llhttp.headers if field in request.headers] == list(request.headers)


@given(_almost_requests())
def test_what_is_written_reads_back_as_the_same_request(data: bytes) -> None:
    try:
        request = parse_request(data)
    except PeerError:
        return
    again = parse_request(write_request(request, b"a.example", write_fields(request.headers)))
    unsaid = {"minor": 1, "scheme": b"", "authority": b"", "host": b"a.example", "keep_alive": True}
    said = request._replace(**unsaid)
    if said.length is None and said.framing is Framing.NONE and said.method in (b"POST", b"PUT"):
        said = said._replace(length=0)
    assert again == said


@given(st.binary(max_size=200))
def test_random_bytes_are_a_request_or_a_peer_error(data: bytes) -> None:
    try:
        assert isinstance(parse_request(data + b"\r\n\r\n"), Request)
    except PeerError:
        pass
