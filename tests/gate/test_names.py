"""The resolver of a sandbox: its table, and what it answers over a socket."""

import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

import pytest
from house import POOL, TIMEOUT, Gate, query

from immure.gate.brief import Brief
from immure.gate.names import MAX_NAMES, Names


@pytest.fixture
def gate(open_gate: Callable[..., Gate]) -> Iterator[Gate]:
    opened = open_gate(lambda _: Brief(sandbox="box", pool=POOL))
    yield opened
    opened.hang_up()


def ask(gate: Gate, data: bytes, server: str = "127.0.0.1") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.connect((server, gate.dns_port))  # so that an answer from another address would not be received
        client.send(data)
        return client.recv(512)


def test_a_name_keeps_its_address_and_an_address_its_name() -> None:
    names = Names()
    first, second = names.address_for("a.example"), names.address_for("b.example")
    assert (first, second) == ("198.18.0.1", "198.18.0.2")
    assert names.address_for("a.example") == first
    assert names.name_of("198.18.0.2") == "b.example"
    assert names.name_of("198.18.0.3") is None


def test_a_table_has_an_end() -> None:
    names = Names(IPv4Network("127.18.0.0/30"))
    assert [names.address_for(name) for name in ("a", "b", "c", "a")] == ["127.18.0.1", "127.18.0.2", None, "127.18.0.1"]
    names = Names()
    assert all(names.address_for(f"n{number}") for number in range(MAX_NAMES))
    assert names.address_for("one-more") is None


def test_a_question_is_answered_with_an_address_of_the_pool(gate: Gate) -> None:
    answer = ask(gate, query("API.Example.com"))
    identity, flags, questions, answers, _, _ = struct.unpack_from("!6H", answer)
    assert (identity, flags & 0x800F, questions, answers) == (7, 0x8000, 1, 1)
    assert answer[12:].startswith(query("API.Example.com")[12:])
    assert socket.inet_ntoa(answer[-4:]) == gate.lookup("api.example.com") == "127.18.0.1"


@pytest.mark.parametrize("kind", [28, 16, 65, 15, 255])
def test_no_other_kind_of_record_exists(gate: Gate, kind: int) -> None:
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", ask(gate, query("api.example.com", kind)))
    assert (flags & 0xF, answers) == (0, 0)


def test_the_answer_comes_from_the_address_that_was_asked(gate: Gate) -> None:
    assert ask(gate, query("api.example.com"), server="127.5.6.7")


def test_what_is_no_question_is_answered_with_an_error_and_does_no_harm(gate: Gate) -> None:
    assert struct.unpack_from("!H", ask(gate, query("api.example.com") + b"more"), 2)[0] & 0xF == 1
    assert gate.lookup("api.example.com")
