"""The way out: what is dialled, whose certificate is believed, which connections serve again and which requests are sent again."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from house import OK, POOL, TIMEOUT, Gate, Peer, World, allow, answering, read_answer, world

from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.gate.grants import Grants

HOST = "api.example.com"
NOWHERE = "nowhere.invalid"
Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    """Hosts that are there, not listening, of another name, and of an authority that is not trusted."""
    with world(HOST) as served, socket.create_server(("127.0.0.1", 0)) as silent:
        closed = Upstream(host="closed.example.com", address="127.0.0.1", port=1)
        plain = Upstream(host="silent.example.com", address="127.0.0.1", port=silent.getsockname()[1])
        mapped = (
            served.upstream(HOST),
            replace(served.upstream("misnamed.example.com")),
            replace(served.upstream("untrusted.example.com"), ca_pem=None),
            closed,
            plain,
        )
        hosts = [upstream.host for upstream in mapped]
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=tuple(allow(host, port) for host in (*hosts, NOWHERE, "localhost"))),
                upstreams=mapped,
                pool=POOL,
            )
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, host: str = HOST, method: str = "GET", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} / HTTP/1.1\r\nHost: {host}:{gate.port}\r\n{length}\r\n".encode() + body


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("closed.example.com", 502, b"upstream_unreachable"),
        ("misnamed.example.com", 502, b"upstream_certificate"),
        ("untrusted.example.com", 502, b"upstream_certificate"),
        (NOWHERE, 502, b"upstream_unknown"),
        ("localhost", 403, b"address_refused"),
    ],
)
def test_what_cannot_be_reached_is_said(setting: Setting, host: str, status: int, code: bytes) -> None:
    gate, served = setting
    with gate.connect_tls(host) as client:
        for _ in range(2):
            client.sendall(request(gate, host))
            head, body = read_answer(client)
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert code in body
    assert gate.event()["http_response"]["code"] == status
    assert not served.peers


def test_a_client_that_leaves_while_the_upstream_does_not_answer_is_forgotten(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls("silent.example.com") as client:
        client.sendall(request(gate, "silent.example.com"))
    with gate.connect_tls("closed.example.com") as client:
        client.sendall(request(gate, "closed.example.com"))
        read_answer(client)


def test_another_client_uses_the_connection_that_is_idle(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    for _ in range(3):
        with gate.connect_tls(HOST) as client:
            client.sendall(request(gate))
            assert read_answer(client)[1] == b"hello"
    assert len(served.peers) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM abc\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["close", "http/1.0", "more than an answer", "ntlm", "negotiate"],
)
def test_a_connection_of_which_that_is_not_certain_serves_nobody_else(setting: Setting, answer: bytes) -> None:
    gate, served = setting
    served.scripts = [answering(answer)]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate))
            assert read_answer(client)[1] == b"hello"
    assert len(served.peers) == 2


def closing_after(answers: int) -> Callable[[Peer], None]:
    """A script: so many answers, then one more request, which is answered by hanging up."""

    def script(peer: Peer) -> None:
        for _ in range(answers):
            peer.head()
            peer.send(OK)
        peer.head()

    return script


def test_a_get_on_a_connection_that_had_just_ended_is_sent_again(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [closing_after(1), answering(OK)]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate))
            assert read_answer(client)[1] == b"hello"
    assert [len(peer.heads) for peer in served.peers] == [2, 1]


@pytest.mark.parametrize(("method", "body"), [("POST", b"x"), ("DELETE", b""), ("GET", b"x")])
def test_a_request_that_may_have_done_something_is_not(setting: Setting, method: str, body: bytes) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(OK)
        peer.head()
        peer.read(len(body))

    served.scripts = [script, answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert read_answer(client)[1] == b"hello"
        client.sendall(request(gate, method=method, body=body))
        head, said = read_answer(client)
        assert head.startswith(b"HTTP/1.1 502")
        assert b"upstream_closed" in said
    assert len(served.peers) == 1


def test_a_get_on_a_fresh_connection_is_not_sent_again(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [closing_after(0), answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 502")
    assert len(served.peers) == 1


def test_a_post_is_not_lost_to_a_connection_that_ended_while_idle(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(OK)

    served.scripts = [script, answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert read_answer(client)[1] == b"hello"
        assert served.departures.acquire(timeout=TIMEOUT)
        client.sendall(request(gate, method="POST"))
        assert read_answer(client)[1] == b"hello"
    assert [len(peer.heads) for peer in served.peers] == [1, 1]
