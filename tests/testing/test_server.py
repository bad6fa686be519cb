"""Transcripts with a bare TLS client: what is sent is what is recorded, and connections behave as HTTP/1.1 says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from immure.testing.record import Arrival, Record
from immure.testing.server import Answer, Server

GET = "GET /a?b=c HTTP/1.1\r\nHost: one.example\r\n\r\n"
POST = "POST /p HTTP/1.1\r\nHost: one.example\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = "POST /p HTTP/1.1\r\nHost: one.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n"
HEAD = "HEAD / HTTP/1.1\r\nHost: one.example\r\n\r\n"
OLD = "GET /old HTTP/1.0\r\nHost: one.example\r\n\r\n"

# (sent, bodies recorded in order, answers)
TRANSCRIPTS = [
    (GET, [b""], "/a?b=c,"),
    (POST, [b"hello"], "/p,"),
    (CHUNKED, [b"hello"], "/p,"),
    (GET + POST + CHUNKED + GET, [b"", b"hello", b"hello", b""], "/a?b=c,/p,/p,/a?b=c,"),
    (HEAD + GET, [b"", b""], "/a?b=c,"),
    (OLD, [b""], "/old,"),
    (OLD + GET, [b""], "/old,"),
    (GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") + GET, [b""], "/a?b=c,"),
    # What cannot be read ends the connection and is not recorded.
    ("\r\n", [], ""),
    ("GET / HTTP/1.1\nHost: one.example\n\n", [], ""),
    ("GET /\r\n\r\n", [], ""),
    (GET + "nonsense\r\n\r\n", [b""], "/a?b=c,"),
    (POST.replace("5", "-1"), [], ""),
    (POST.replace("5", "99999999999"), [], ""),
    (POST.replace("5", "6"), [], ""),
    (CHUNKED.replace("3\r\n", "zz\r\n", 1), [], ""),
]


def echo(arrival: Arrival) -> Answer:
    return Answer(status=200, body=f"{arrival.target},".encode())


@contextmanager
def connected(server: Server, *, name: str = "one.example") -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cadata=server.authority.pem)
    with socket.create_connection((server.host, server.port), timeout=10) as raw, context.wrap_socket(raw, server_hostname=name) as stream:
        yield stream


def converse(stream: ssl.SSLSocket, sent: str) -> list[tuple[bytes, bytes]]:
    """Send all, finish writing, and return (head, body) of every answer."""
    stream.sendall(sent.encode())
    socket.socket.shutdown(stream, socket.SHUT_WR)
    received = b""
    try:
        while data := stream.recv(65536):
            received += data
    except (ssl.SSLError, ConnectionResetError):
        pass  # We broke off first, without the farewell of TLS; so may they.
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body, received = (received[:length], received[length:]) if not received.startswith(b"HTTP/") else (b"", received)
        answers.append((head, body))
    return answers


@pytest.mark.parametrize(("sent", "bodies", "answers"), TRANSCRIPTS)
def test_transcript(sent: str, bodies: list[bytes], answers: str) -> None:
    with Server(echo, ["one.example"]) as server, connected(server) as stream:
        got = converse(stream, sent)
    assert [one.body for one in server.record.all()] == bodies
    assert b"".join(body for _, body in got).decode() == answers
    assert all(head.startswith(b"HTTP/1.1 200 OK\r\n") for head, _ in got)


def test_what_arrives_is_recorded_as_it_was_sent() -> None:
    sent = "PUT /x?y HTTP/1.1\r\nhOST: One.Example:443\r\nX-Twice: 1\r\nx-twice:  2 \r\nAuthorization: bearer  t0\r\n\r\n"
    with Server(echo, ["one.example", "two.example"]) as server, connected(server, name="two.example") as stream:
        converse(stream, sent)
    (arrival,) = server.record.all()
    assert (arrival.number, arrival.server_name, arrival.method, arrival.target) == (1, "two.example", "PUT", "/x?y")
    assert arrival.headers == (("hOST", "One.Example:443"), ("X-Twice", "1"), ("x-twice", "2"), ("Authorization", "bearer  t0"))
    assert (arrival.host, arrival.path, arrival.bearer) == ("one.example", "/x", "t0")
    assert arrival.values("X-TWICE") == ["1", "2"]
    with pytest.raises(ValueError, match="2 headers"):
        arrival.header("x-twice")
    assert b"hOST: One.Example:443" in arrival.raw()
    assert "t0" not in repr(arrival)


def test_a_streamed_answer_arrives_piece_by_piece() -> None:
    seen = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert seen.wait(10)
        yield b"second"

    with (
        Server(lambda _: Answer(status=200, body=pieces()), ["one.example"]) as server,
        connected(server) as stream,
        stream.makefile("rb") as reader,
    ):
        stream.sendall(GET.encode())
        while reader.readline() != b"\r\n":
            pass
        assert (reader.readline(), reader.readline()) == (b"5\r\n", b"first\r\n")
        seen.set()
        assert [reader.readline() for _ in range(4)] == [b"6\r\n", b"second\r\n", b"0\r\n", b"\r\n"]


def test_a_client_that_waits_for_leave_gets_it() -> None:
    with Server(echo, ["one.example"]) as server, connected(server) as stream, stream.makefile("rb") as reader:
        stream.sendall(POST.removesuffix("hello").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode())
        assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        stream.sendall(b"hello")
        assert (reader.readline(), reader.readline()) == (b"\r\n", b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_does_not_trust_it_leaves_no_trace_and_no_error() -> None:
    with Server(echo, ["one.example"]) as server:
        with socket.create_connection((server.host, server.port), timeout=10) as raw, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="one.example")
        with connected(server) as stream:
            assert len(converse(stream, GET)) == 1
    assert len(server.record.all()) == 1


def test_closing_cuts_what_is_open_handshakes_too() -> None:
    server = Server(echo, ["one.example"])
    with socket.create_connection((server.host, server.port), timeout=10) as silent, connected(server) as idle:
        server.close()
        assert silent.recv(1) == b""
        assert idle.recv(1) == b""


def test_waiting_for_an_arrival_sees_past_and_future_ones_and_gives_up() -> None:
    record = Record()

    def add(target: str) -> Arrival:
        return record.add(server_name="", method="GET", target=target, headers=(("Host", "h"),), body=b"")

    first = add("/1")
    assert record.wait(lambda one: one.target == "/1", 0) is first
    later = threading.Thread(target=add, args=("/2",))
    later.start()
    assert record.wait(lambda one: one.target == "/2", 10).number == 2
    later.join()
    with pytest.raises(TimeoutError, match="2 that arrived"):
        record.wait(lambda one: one.target == "/3", 0.01)
    assert [one.target for one in record.all(host="h", path="/2")] == ["/2"]
    follower = record.follow()
    assert [next(follower).number, next(follower).number] == [1, 2]
