"""Connections before HTTP: who is calling, where to, in what protocol, under what name."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from house import OK, POOL, TIMEOUT, Gate, Inside, World, allow, answering, hung_up, read_answer, world

from immure.gate.brief import Brief
from immure.gate.grants import Grants

HOST = "api.example.com"
Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST) as served:
        served.scripts = [answering(OK)]
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port), allow("127.0.0.1", port), allow("::1", port))),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            )
        )
        yield gate, served
        gate.hang_up()


@pytest.mark.parametrize("name", ["evil.example.com", "api.example.com.evil.example.com", "example.com"])
def test_a_handshake_for_another_name_is_ended(setting: Setting, name: str) -> None:
    gate, served = setting
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        gate.connect_tls(HOST, server_name=name)
    event = gate.event()
    assert (event["class_uid"], event["action"], event["firewall_rule"]["name"]) == (4001, "Denied", "server-name")
    assert name in event["status_detail"]
    assert not served.peers


def test_a_handshake_without_a_name_is_ended(setting: Setting) -> None:
    gate, _ = setting
    context = ssl.create_default_context(cadata=gate.ca)
    context.check_hostname = False
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        context.wrap_socket(gate.connect(HOST))


def test_upper_case_is_no_other_name(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls(HOST, server_name="API.example.COM") as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
        assert read_answer(client)[1] == b"hello"


def test_only_http_1_is_offered(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect_tls(HOST) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        assert client.version() == "TLSv1.3"


@pytest.mark.parametrize(("address", "authority"), [("127.0.0.1", "127.0.0.1:{port}"), ("::1", "[::1]:{port}")])
def test_an_address_is_its_own_name_and_is_not_reached(setting: Setting, address: str, authority: str) -> None:
    gate, _ = setting
    context = ssl.create_default_context(cadata=gate.ca)
    connection = gate.inside.connect(address, gate.port)
    with context.wrap_socket(connection, server_hostname=address) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {authority.format(port=gate.port)}\r\n\r\n".encode())
        head, body = read_answer(client)
    assert head.startswith(b"HTTP/1.1 403")
    assert b"which is loopback" in body
    assert gate.event()["firewall_rule"]["name"] == "address"


def test_an_address_of_the_pool_that_stands_for_nothing_is_an_address(setting: Setting) -> None:
    gate, _ = setting
    with gate.inside.connect("127.18.99.99", gate.port) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: 127.18.99.99:{gate.port}\r\n\r\n".encode())
        assert read_answer(client)[0].startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x08", b"\x80.\x01\x03", b"{}", b"get / HTTP/1.1\r\n", b"\xff"])
def test_anything_but_tls_and_http_is_not_served(setting: Setting, data: bytes) -> None:
    gate, _ = setting
    with gate.connect(HOST) as client:
        client.sendall(data)
        assert hung_up(client)
    event = gate.event()
    assert (event["action"], event["firewall_rule"]["name"]) == ("Denied", "protocol")


def test_a_connection_that_says_nothing_is_on_the_trail(setting: Setting) -> None:
    gate, _ = setting
    gate.connect(HOST).close()
    assert "before any request" in gate.event()["status_detail"]


def test_a_broken_handshake_is_on_the_trail(setting: Setting) -> None:
    gate, _ = setting
    with gate.connect(HOST) as client:
        client.sendall(b"\x16\x03\x01\x00\x05hello")
        client.recv(100)
    assert "TLS handshake failed" in gate.event()["status_detail"]


def test_a_caller_that_is_not_known_is_denied(setting: Setting) -> None:
    gate, served = setting
    context = ssl.create_default_context(cadata=gate.ca)
    with context.wrap_socket(socket.create_connection((gate.lookup(HOST), gate.port)), server_hostname=HOST) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
        head, body = read_answer(client)
    assert head.startswith(b"HTTP/1.1 403")
    assert b"unknown-program" in body
    assert "actor" not in gate.event()
    assert not served.peers


def test_a_rule_for_one_program_is_for_no_other(open_gate: Callable[..., Gate], inside: Inside) -> None:
    with world(HOST) as served:
        served.scripts = [answering(OK)]
        gate = open_gate(
            lambda port: Brief(
                sandbox="box", grants=Grants(rules=(allow(HOST, port, inside.binary),)), upstreams=(served.upstream(HOST),), pool=POOL
            )
        )
        assert b"only to other programs" in gate.curl(HOST, "/").stdout
        with gate.connect_tls(HOST) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
            assert read_answer(client)[1] == b"hello"
        gate.hang_up()


def test_more_connections_than_there_is_room_for_are_told_so(open_gate: Callable[..., Gate]) -> None:
    room = 16
    gate = open_gate(lambda port: Brief(sandbox="box", grants=Grants(rules=(allow(HOST, port),)), pool=POOL), descriptors=128 + 2 * room)
    gate.skip_events()
    with ExitStack() as clients:
        for _ in range(room):
            clients.enter_context(gate.connect_tls(HOST))
        with gate.connect_tls(HOST) as last:
            last.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
            head, body = read_answer(last)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: " in head
        assert b"overloaded" in body
    with gate.connect_tls(HOST) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
        assert read_answer(client)[0].startswith(b"HTTP/1.1 502"), "there is room again"


def test_without_descriptors_connections_wait_and_nothing_spins(setting: Setting) -> None:
    gate, _ = setting
    gate.limit_descriptors(5)
    with gate.connect(HOST) as client:
        before = gate.cpu_time()
        client.settimeout(0.5)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert gate.cpu_time() - before < 0.2
        gate.limit_descriptors(1024)
        client.settimeout(TIMEOUT)
        assert read_answer(client)[0].startswith(b"HTTP/1.1 400")
