"""Secrets out, placeholders back: what the world sees, what the sandbox gets to see."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from house import (
    ACCOUNT,
    ACCOUNT_PLACEHOLDER,
    OK,
    PLACEHOLDER,
    POOL,
    TOKEN,
    Gate,
    Peer,
    World,
    allow,
    answering,
    credentials,
    read_answer,
    world,
)

from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.model import Secret

HOST = "api.example.com"
OTHER = "other.example.com"
FOREIGN = "immure-at-" + "z" * 26
Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    """Two allowed hosts, the credentials for one of them."""
    with world(HOST, OTHER) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port), allow(OTHER, port)), credentials=credentials(HOST, port)),
                upstreams=(served.upstream(HOST), served.upstream(OTHER)),
                pool=POOL,
            ),
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, *lines: str, host: str = HOST, start: str = "GET / HTTP/1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (start, f"Host: {host}:{gate.port}", *lines, "")).encode()


BEARER = f"Authorization: Bearer {PLACEHOLDER}"


def test_the_world_gets_the_secret_and_a_whole_in_known_codings_is_asked_for(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        lines = (
            BEARER,
            f"Account-ID: {ACCOUNT_PLACEHOLDER}",
            "Accept-Encoding: gzip, dcb, br",
            "Range: bytes=0-9",
            f"X-Note: {PLACEHOLDER}",
        )
        client.sendall(request(gate, *lines, start="GET /?q HTTP/1.1"))
        assert read_answer(client)[1] == b"hello"
    head = served.peers[0].heads[0].decode().splitlines()
    assert head == [
        "GET /?q HTTP/1.1",
        f"Host: {HOST}:{gate.port}",
        f"Authorization: Bearer {TOKEN}",
        f"Account-ID: {ACCOUNT}",
        f"X-Note: {PLACEHOLDER}",
        "Accept-Encoding: gzip, br",
        "",
    ]
    assert gate.event()["unmapped"]["credentials"] == ["access", "account"]


ECHOES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Echo: a%%b\r\n\r\n{%%b}" % (len(TOKEN) + 2),
    b"HTTP/1.1 200 OK\r\nX-Echo: a%%b\r\n\r\n{%%b}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Echo: a%%b\r\n\r\n%x\r\n{%%b}\r\n0\r\n\r\n" % (len(TOKEN) + 2),
    b"HTTP/1.1 200 %b\r\nX-%b: a%b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nX-Echo: a%b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Echo: %b\r\n\r\n",
]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytewise"])
def test_no_answer_brings_a_secret_back(setting: Setting, echo: bytes, whole: bool) -> None:
    gate, served = setting
    said = echo.replace(b"%%", b"%").replace(b"%b", TOKEN.encode())

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(*([said] if whole else [said[i : i + 1] for i in range(len(said))]))

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Connection: close"))
        seen = b""
        while more := client.recv(65536):
            seen += more
    assert TOKEN.encode() not in seen
    assert seen.count(PLACEHOLDER.encode()) == said.count(TOKEN.encode())


ENCODED: list[Callable[[bytes], bytes]] = [
    lambda text: text.hex().encode(),
    lambda text: b64encode(b"user:" + text),
    lambda text: b"".join(b"%%%02X" % byte for byte in text),
    lambda text: b"".join(b"\\u%04x" % byte for byte in text),
]


@pytest.mark.parametrize("encode", ENCODED)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytewise"])
def test_no_answer_brings_a_secret_back_in_another_form(setting: Setting, encode: Callable[[bytes], bytes], whole: bool) -> None:
    gate, served = setting
    said, heard = (encode(text.encode()) for text in (TOKEN, PLACEHOLDER))
    echo = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=%b; Secure\r\n\r\n" + b'data: "%b"\n\n' * 2
    answer = echo % (said, said, said)

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(*([answer] if whole else [answer[i : i + 1] for i in range(len(answer))]))

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Connection: close", start="GET / HTTP/1.0"))
        seen = b""
        while more := client.recv(65536):
            seen += more
    head, body = seen.split(b"\r\n\r\n")
    assert b"Set-Cookie: a=%b; Secure" % heard in head
    assert body == b'data: "%b"\n\n' % heard * 2


def test_a_restored_answer_that_is_at_hand_has_a_length_of_its_own(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(TOKEN), TOKEN.encode()))]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate, BEARER))
            head, body = read_answer(client)
            assert b"Content-Length: %d" % len(PLACEHOLDER) in head
            assert body == PLACEHOLDER.encode()


def test_an_answer_may_hold_a_credential_that_was_not_sent_with_the_request(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCOUNT), ACCOUNT.encode()))]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER))
        assert read_answer(client)[1] == ACCOUNT_PLACEHOLDER.encode()


def test_a_restored_stream_passes_event_by_event(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            peer.send(b"data: %d %b\n\n" % (number, TOKEN.encode()))
            peer.until(b"more")

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Content-Length: 12", start="POST / HTTP/1.1"))
        for number in range(3):
            seen = b""
            while b"data: %d %b\n\n" % (number, PLACEHOLDER.encode()) not in seen:
                seen += client.recv(65536)
            client.sendall(b"more")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: compress\r\nContent-Length: 2\r\n\r\n\x1f\x9d", b"encoded as compress"),
        (b"HTTP/1.1 200 OK\r\nConnection: content-encoding\r\nContent-Encoding: gzip, dcb\r\n\r\nx", b"encoded as dcb"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br, br, br\r\nContent-Encoding: br, br, br\r\n\r\nx", b"more than 5 times"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/50\r\n\r\n" + TOKEN[:10].encode(), b"a part"),
    ],
)
def test_an_answer_in_which_a_secret_could_not_be_found_is_not_passed_on(setting: Setting, answer: bytes, why: bytes) -> None:
    gate, served = setting
    served.scripts = [answering(answer)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 502")
        assert why in body
        assert TOKEN[:10].encode() not in body
        client.sendall(request(gate, start="TRACE / HTTP/1.1"))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 405"), "the connection was lost"


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        (OTHER, [BEARER]),
        (HOST, [f"Authorization: Bearer {FOREIGN}"]),
        (HOST, [f"Authorization: Basic {PLACEHOLDER}"]),
        (HOST, [BEARER, BEARER]),
        (HOST, [f"Account-ID: {PLACEHOLDER}"]),
    ],
    ids=["another host", "another sandbox", "another scheme", "twice", "another field"],
)
def test_a_placeholder_that_does_not_fit_stops_the_request(setting: Setting, host: str, lines: list[str]) -> None:
    gate, served = setting
    with gate.connect_tls(host) as client:
        client.sendall(request(gate, *lines, host=host))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 403")
        assert b"credential_refused" in body
        assert b"was not sent to" in body
    assert gate.event()["firewall_rule"] == {"name": "credential", "category": "built-in"}
    assert not served.peers


def test_a_secret_never_leaves_unencrypted(open_gate: Callable[..., Gate]) -> None:
    with world(HOST, encrypted=False) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port),), credentials=credentials(HOST, port)),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            )
        )
        with gate.connect(HOST) as client:
            client.sendall(request(gate, BEARER))
            head, body = read_answer(client)
            assert head.startswith(b"HTTP/1.1 403")
            assert b"never sent unencrypted" in body
        assert not served.peers
        gate.hang_up()


def test_a_rotated_secret_is_used_from_then_on_behind_the_same_placeholder(setting: Setting) -> None:
    gate, served = setting
    new = "fake-rotated-token-0123456789"
    served.scripts = [answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(new), new.encode()))]
    access, account = credentials(HOST, gate.port)
    gate.grant(Grants(rules=(allow(HOST, gate.port),), credentials=(replace(access, secret=Secret(new)), account)))
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER))
        assert read_answer(client)[1] == PLACEHOLDER.encode()
    assert f"Authorization: Bearer {new}".encode() in served.peers[0].heads[0]


def test_what_is_kept_for_the_next_request_is_given_up_when_something_else_decides(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    rotated = "fake-rotated-token-0123456789"
    with gate.connect_tls(HOST) as client:

        def ask(*fields: str, target: str = "/") -> bytes:
            client.sendall(request(gate, *fields, start=f"GET {target} HTTP/1.1"))
            return read_answer(client)[0][9:12]

        bearer = f"Authorization: Bearer {PLACEHOLDER}"
        assert [ask(), ask(f"Proxy-Authorization: {FOREIGN}"), ask()] == [b"200", b"403", b"200"]
        assert [ask(bearer), ask(bearer, target=f"/?{PLACEHOLDER}"), ask(bearer, target="/other")] == [b"200", b"403", b"200"]
        access, account = credentials(HOST, gate.port)
        gate.grant(Grants(rules=(allow(HOST, gate.port),), credentials=(replace(access, secret=Secret(rotated)), account)))
        assert ask(bearer) == b"200"
    sent = [line for head in served.peers[0].heads for line in head.decode().splitlines() if line.startswith("Authorization")]
    assert sent == [f"Authorization: Bearer {TOKEN}"] * 2 + [f"Authorization: Bearer {rotated}"]
