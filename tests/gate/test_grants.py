"""What is granted changes while connections are open: who notices, when, and what may come to its end.

`gate.grant` returns when the gate has said that it goes by the new grants, so whatever is read after it was decided by them.
"""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from house import (
    OK,
    PLACEHOLDER,
    POOL,
    TIMEOUT,
    TOKEN,
    Gate,
    Peer,
    World,
    allow,
    answering,
    credentials,
    hung_up,
    read_answer,
    receive,
    virtual,
    world,
)
from test_credentialed_websocket import CLOSE, INERT, SECRET, TEXT, UPGRADE, Client, frame, from_client, opened, switching

from immure import channel
from immure.gate.brief import Brief
from immure.gate.grants import Grants, Withdrawal
from immure.model import Secret
from immure.wire.websocket import MAX_CONTROL

HOST = "api.example.com"
OTHER = "other.example.com"
LOGIN = "auth.example.com"
NEW_PLACEHOLDER = "immure-at-" + "c" * 26
NEW_TOKEN = "fake-other-token-0123456789-abcdefghijklmnop"
WHY, HINT = "the provider codex was detached from this sandbox", "immure attach codex box"
VIOLATION = (1008).to_bytes(2)
Setting = tuple[Gate, World]


def full(port: int) -> Grants:
    return Grants(
        rules=(allow(HOST, port), allow(OTHER, port)), credentials=credentials(HOST, port), virtual=(virtual(LOGIN, port, "/oauth/token"),)
    )


def without(port: int, *, rule: bool) -> Grants:
    """What is left of `full` without the credentials, and with or without the rule for their host."""
    withdrawn = Withdrawal(
        placeholders=tuple(c.placeholder for c in credentials(HOST, port)),
        rules=() if rule else (allow(HOST, port), allow(LOGIN, port)),
        reason=WHY,
        hint=HINT,
    )
    return Grants(rules=(*([allow(HOST, port)] if rule else []), allow(OTHER, port)), withdrawn=(withdrawn,))


def other(port: int) -> Grants:
    """Another placeholder with another secret."""
    access, account = credentials(HOST, port)
    again = replace(access, placeholder=NEW_PLACEHOLDER, secret=Secret(NEW_TOKEN))
    return replace(full(port), credentials=(again, account))


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST, OTHER, LOGIN) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box", grants=full(port), upstreams=tuple(served.upstream(host) for host in (HOST, OTHER, LOGIN)), pool=POOL
            )
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, *lines: str, host: str = HOST, start: str = "GET / HTTP/1.1", placeholder: str = PLACEHOLDER) -> bytes:
    fields = (start, f"Host: {host}:{gate.port}", *(lines or (f"Authorization: Bearer {placeholder}",)), "")
    return "".join(f"{line}\r\n" for line in fields).encode()


def bearers(served: World) -> list[bytes]:
    """The token that came with each request, in order of connections."""
    heads = [head for peer in served.peers for head in peer.heads]
    return [head.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0] for head in heads]


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ("GET / HTTP/1.1", f"Authorization: Basic {b64encode(f'x:{PLACEHOLDER}'.encode()).decode()}"),
        (f"GET /?q={PLACEHOLDER.replace('-', '%2D')} HTTP/1.1", "Accept: */*"),
    ],
    ids=["in base64", "in the query"],
)
def test_wherever_a_dead_placeholder_stands_the_refusal_and_the_finding_say_why(setting: Setting, start: str, line: str) -> None:
    gate, _ = setting
    gate.grant(without(gate.port, rule=True))
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, line, start=start))
        head, body = read_answer(client)
    assert head.startswith(b"HTTP/1.1 403")
    assert f'"hint": "{HINT}"'.encode() in body
    for event in (gate.event(), gate.event()):
        assert event["status_detail"] == f"a placeholder was not sent to {HOST}: {WHY}"


def test_on_an_open_connection_the_next_request_is_refused_and_the_one_after_a_new_grant_served(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate))
            assert read_answer(client)[1] == b"hello"
        gate.grant(without(gate.port, rule=True))
        client.sendall(request(gate))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 403")
        assert b'"code": "credential_refused"' in body
        assert WHY.encode() in body
        assert f'"hint": "{HINT}"'.encode() in body
        gate.grant(other(gate.port))
        client.sendall(request(gate))
        assert b"it is not of this sandbox, or no longer" in read_answer(client)[1], "a placeholder that is dead does not come back"
        client.sendall(request(gate, placeholder=NEW_PLACEHOLDER))
        assert read_answer(client)[1] == b"hello"
    assert bearers(served) == [TOKEN.encode(), TOKEN.encode(), NEW_TOKEN.encode()]


def test_an_endpoint_that_is_withdrawn_is_refused_with_the_reason_and_comes_back(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert read_answer(client)[1] == b"hello"
        gate.grant(without(gate.port, rule=False))
        client.sendall(request(gate))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 403")
        assert b'"code": "denied_by_policy"' in body
        assert f"may not reach {HOST}:{gate.port}: {WHY}".encode() in body
        gate.grant(full(gate.port))
        client.sendall(request(gate))
        assert read_answer(client)[1] == b"hello"


def test_only_who_was_allowed_is_told_what_became_of_the_rule(setting: Setting) -> None:
    gate, _ = setting
    nobody = replace(allow(HOST, gate.port), binaries=())
    gate.grant(Grants(withdrawn=(Withdrawal(placeholders=(), rules=(nobody,), reason=WHY, hint=HINT),)))
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "X-None: 1"))
        assert b"no rule allows it" in read_answer(client)[1]


def test_a_request_under_way_comes_to_its_end_and_its_secret_is_still_known(setting: Setting) -> None:
    gate, served = setting
    withdrawn = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert withdrawn.wait(TIMEOUT)
        peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(TOKEN), TOKEN.encode()))

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        seen = b""
        while b"hello" not in seen:
            seen += client.recv(65536)
        gate.grant(without(gate.port, rule=False))
        withdrawn.set()
        while not seen.endswith(b"0\r\n\r\n"):
            seen += client.recv(65536)
    assert TOKEN.encode() not in seen
    assert PLACEHOLDER.encode() in seen


def test_a_request_that_waits_behind_another_is_judged_when_its_turn_comes(setting: Setting) -> None:
    gate, served = setting
    withdrawn = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        assert withdrawn.wait(TIMEOUT)
        peer.send(OK)
        assert peer.closed()

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate) * 2)
        served.wait_for_heads(1)
        gate.grant(without(gate.port, rule=True))
        withdrawn.set()
        seen = b""
        while b"credential_refused" not in seen:
            seen += client.recv(65536)
        assert seen.startswith(b"HTTP/1.1 200 OK")


# ---------------------------------------------------------------- connections to the world


def test_a_connection_that_served_a_withdrawn_credential_serves_nobody_else(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        read_answer(client)
        gate.grant(other(gate.port))
        client.sendall(request(gate, placeholder=NEW_PLACEHOLDER))
        read_answer(client)
    assert [len(peer.heads) for peer in served.peers] == [1, 1]


def test_one_that_was_in_use_meanwhile_is_not_kept(setting: Setting) -> None:
    gate, served = setting
    changed = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        assert changed.wait(TIMEOUT)
        peer.send(OK)
        assert peer.closed()

    served.scripts = [script, answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        served.wait_for_heads(1)
        gate.grant(other(gate.port))
        changed.set()
        read_answer(client)
        client.sendall(request(gate, placeholder=NEW_PLACEHOLDER))
        assert read_answer(client)[1] == b"hello"
    assert [len(peer.heads) for peer in served.peers] == [1, 1]


def test_a_rotation_costs_no_connection(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    access, account = credentials(HOST, gate.port)
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        read_answer(client)
        gate.grant(replace(full(gate.port), credentials=(replace(access, secret=Secret(NEW_TOKEN)), account)))
        client.sendall(request(gate))
        read_answer(client)
    assert bearers(served) == [TOKEN.encode(), NEW_TOKEN.encode()]
    assert len(served.peers) == 1


# ---------------------------------------------------------------- WebSockets and other tunnels


@pytest.mark.parametrize("rule", [True, False], ids=["credential withdrawn", "endpoint withdrawn"])
def test_a_websocket_ends_with_what_it_was_opened_by(setting: Setting, rule: bool) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        opened(peer)
        assert from_client(peer) == (CLOSE, True, VIOLATION)
        assert peer.closed()

    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE))
        client = Client(connection)
        assert gate.event()["http_response"]["code"] == 101
        gate.grant(without(gate.port, rule=rule))
        opcode, _, payload = client.frame()
        assert (opcode, payload[:2]) == (CLOSE, VIOLATION)
        assert (WHY if rule else "may not reach").encode() in payload
        assert len(payload) <= MAX_CONTROL
        assert payload.decode("utf-8", "ignore")
        assert client.ended()
    assert served.departures.acquire(timeout=TIMEOUT)
    assert WHY in gate.event()["status_detail"]


def test_one_that_is_still_granted_goes_on(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        opened(peer)
        for _ in range(2):
            from_client(peer)
            peer.send(frame(TEXT, SECRET))
        from_client(peer)

    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE))
        client = Client(connection)
        for grants in (replace(full(gate.port), rules=(allow(HOST, gate.port),)), full(gate.port)):
            gate.grant(grants)
            client.send(TEXT, b"go on")
            assert client.message() == INERT
        client.send(CLOSE)


def test_one_that_was_being_opened_ends_as_soon_as_it_is_open(setting: Setting) -> None:
    gate, served = setting
    withdrawn = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        assert withdrawn.wait(TIMEOUT)
        peer.send(switching() + frame(TEXT, SECRET))
        assert from_client(peer) == (CLOSE, True, VIOLATION)

    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE))
        served.wait_for_heads(1)
        gate.grant(without(gate.port, rule=True))
        withdrawn.set()
        client = Client(connection)
        assert client.head.startswith(b"HTTP/1.1 101")
        assert client.frame()[2].startswith(VIOLATION)
        assert client.ended()


def test_a_tunnel_that_no_credential_opened_ends_when_its_endpoint_is_withdrawn(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        opened(peer)
        peer.send(b"anything")
        assert peer.closed()

    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE[1:]))
        assert Client(connection).read(8) == b"anything"
        gate.grant(Grants())
        assert hung_up(connection)
    assert served.departures.acquire(timeout=TIMEOUT)


def test_tunnels_that_have_ended_are_forgotten(setting: Setting) -> None:
    gate, served = setting

    def by_upstream(peer: Peer) -> None:
        opened(peer)
        peer.send(frame(CLOSE, VIOLATION))

    def by_client(peer: Peer) -> None:
        opened(peer)
        assert from_client(peer)[0] == CLOSE

    served.scripts = [by_upstream, by_client]
    for number in range(2):
        with gate.connect_tls(HOST) as connection:
            connection.sendall(request(gate, *UPGRADE))
            client = Client(connection)
            assert gate.event()["http_response"]["code"] == 101
            if number:
                client.send(CLOSE)
            hung_up(connection)
    for _ in range(2):  # what the first has to say is on the trail when the second has been answered
        gate.grant(Grants())
    assert gate.no_event()


# ---------------------------------------------------------------- virtual endpoints


def call(gate: Gate) -> bytes:
    return request(gate, "Content-Length: 2", host=LOGIN, start="POST /oauth/token HTTP/1.1") + b"{}"


def test_a_virtual_endpoint_goes_and_comes_on_an_open_connection(setting: Setting) -> None:
    gate, served = setting
    with gate.connect_tls(LOGIN) as client:
        gate.grant(without(gate.port, rule=False))
        client.sendall(call(gate))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 403")
        assert WHY.encode() in body
        gate.grant(full(gate.port))
        client.sendall(call(gate))
        assert receive(gate.line)["path"] == "/oauth/token"
    assert not served.peers


def test_a_call_under_way_is_answered(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls(LOGIN) as client:
        client.sendall(call(gate))
        number = receive(gate.line)["call"]
        gate.grant(without(gate.port, rule=False))
        channel.send(gate.line, {"do": "answer", "call": number, "status": 401, "headers": [], "body": "detached"})
        assert read_answer(client)[1] == b"detached"
