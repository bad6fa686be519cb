"""Requests that the broker answers: the call on the channel, the answer on the connection, and nothing to the world."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from house import POOL, Gate, World, allow, answering, read_answer, receive, virtual, world

from immure import channel
from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.gate.virtual import MAX_BODY

HOST = "auth.example.com"
Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(
                    rules=(allow(HOST, port), replace(allow("denied.example.com", port), effect="deny")),
                    virtual=tuple(virtual(host, port, "/oauth/token") for host in (HOST, "denied.example.com", "virtual.example.com")),
                ),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            )
        )
        yield gate, served
        gate.hang_up()


def post(gate: Gate, body: bytes, *lines: str, host: str = HOST, path: str = "/oauth/token", method: str = "POST") -> bytes:
    start = f"{method} {path} HTTP/1.1"
    fields = (start, f"Host: {host}:{gate.port}", *(lines or (f"Content-Length: {len(body)}",)), "")
    return "".join(f"{line}\r\n" for line in fields).encode() + body


def test_the_broker_is_called_and_its_answer_passed_on(setting: Setting) -> None:
    gate, served = setting
    with gate.connect_tls(HOST) as client:
        for number in (1, 2):
            client.sendall(post(gate, b'{"grant_type":"refresh_token"}', path="/oauth/token?x"))
            call = receive(gate.line)
            assert call == {
                "did": "call",
                "call": number,
                "credential": "login",
                "method": "POST",
                "host": HOST,
                "path": "/oauth/token",
                "body": '{"grant_type":"refresh_token"}',
            }
            answer = {"do": "answer", "call": number, "status": 200, "headers": [["Content-Type", "text/plain"]], "body": "grün"}
            channel.send(gate.line, answer)
            head, body = read_answer(client)
            assert head.startswith(b"HTTP/1.1 200")
            assert b"\r\nContent-Type: text/plain\r\n" in head
            assert body == "grün".encode()
            assert gate.event()["http_response"]["code"] == 200
    assert not served.peers


def test_a_client_that_waits_for_100_gets_it_from_here(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls(HOST) as client:
        client.sendall(post(gate, b"", "Content-Length: 2", "Expect: 100-continue"))
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert receive(gate.line)["body"] == "{}"


@pytest.mark.parametrize("body", [b"x" * (MAX_BODY + 1), b"\xff\xfe"])
def test_a_body_the_broker_could_not_take_is_a_413(setting: Setting, body: bytes) -> None:
    gate, _ = setting
    with gate.connect_tls(HOST) as client:
        client.sendall(post(gate, body))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 413")


def test_a_deny_rule_is_stronger_than_a_virtual_endpoint(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls("denied.example.com") as client:
        client.sendall(post(gate, b"{}", host="denied.example.com"))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 403")


def test_a_virtual_endpoint_opens_nothing_else_of_its_host(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls("virtual.example.com") as client:
        for path in ("/oauth//token", "/oauth/%74oken", "/oauth/token/", "/oauth/token;x", "/"):
            client.sendall(post(gate, b"{}", host="virtual.example.com", path=path))
            assert read_answer(client)[0].startswith(b"HTTP/1.1 403"), path
        client.sendall(post(gate, b"{}", host="virtual.example.com"))
        assert receive(gate.line)["host"] == "virtual.example.com"


@pytest.mark.parametrize(("method", "path"), [("GET", "/oauth/token"), ("POST", "/oauth/tokens")])
def test_another_method_or_path_is_not_virtual(setting: Setting, method: str, path: str) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(post(gate, b"", path=path, method=method))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 404")
    assert served.peers[0].heads


def test_an_answer_for_a_client_that_left_goes_nowhere(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls(HOST) as client:
        client.sendall(post(gate, b"{}"))
        number = receive(gate.line)["call"]
    assert "client closed" in gate.event()["status_detail"]
    channel.send(gate.line, {"do": "answer", "call": number, "status": 200, "headers": [], "body": ""})
    with gate.connect_tls(HOST) as client:
        client.sendall(post(gate, b"{}"))
        assert receive(gate.line)["call"] == number + 1
