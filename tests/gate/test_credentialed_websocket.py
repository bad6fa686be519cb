"""A WebSocket that a secret opened, through a real gate: who sees what of its frames, and how it ends.

The world plays the upstream.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from house import (
    ACCOUNT,
    ACCOUNT_PLACEHOLDER,
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
    read_answer,
    world,
)
from sides import (
    BINARY,
    CLOSE,
    HOST,
    INERT,
    KEY,
    MASK,
    MORE,
    PING,
    PONG,
    SECRET,
    TEXT,
    UPGRADE,
    Client,
    connected,
    frame,
    from_client,
    opened,
    request,
    switching,
)

from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.model import Secret

Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port),), credentials=credentials(HOST, port)),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            )
        )
        yield gate, served
        gate.hang_up()


def test_the_handshake_carries_the_secret_and_of_the_extensions_only_compression(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        opened(peer, "Sec-WebSocket-Protocol: v2", f"X-Echo: {TOKEN}")
        assert from_client(peer) == (CLOSE, True, b"")

    lines = ("Sec-WebSocket-Extensions: x-mine; a=b, permessage-deflate; client_max_window_bits", "Sec-WebSocket-Protocol: v1, v2")
    with connected(setting, script, *lines) as client:
        client.send(CLOSE)
        assert client.ended()
        assert f"X-Echo: {PLACEHOLDER}".encode() in client.head
    (head,) = setting[1].peers[0].heads
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() in head
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
    assert f"\r\nSec-WebSocket-Key: {KEY}\r\n".encode() in head
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" in head
    assert b"x-mine" not in head


def test_an_echo_of_the_secret_is_restored_wherever_a_message_is_cut(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        said = re.findall(rb"Bearer (\S+)", peer.heads[0])[0]
        peer.send(switching())
        opcode, final, payload = from_client(peer)
        assert (opcode, final, payload) == (TEXT, True, INERT), "what the client says is not touched"
        echo = b"<" + said + b"|" + ACCOUNT.encode() + b">"
        for at in range(len(echo) + 1):
            peer.send(frame(TEXT, echo[:at], final=False), frame(PING, b"%d" % at), frame(MORE, echo[at:]))
        peer.send(frame(BINARY, b"", final=False), *[frame(MORE, echo[at : at + 1], final=False) for at in range(len(echo))], frame(MORE))
        peer.send(*[frame(BINARY, echo)[at : at + 1] for at in range(len(frame(BINARY, echo)))])
        peer.send(b"".join([frame(TEXT, echo)] * 3))
        from_client(peer)

    restored = b"<" + INERT + b"|" + ACCOUNT_PLACEHOLDER.encode() + b">"
    with connected(setting, script) as client:
        client.send(TEXT, INERT)
        for at in range(len(SECRET) + len(ACCOUNT) + 4):
            pieces: list[bytes] = []
            while True:
                opcode, final, payload = client.frame()
                if opcode == PING:
                    assert payload == b"%d" % at, "a control frame was lost or has overtaken another message"
                    continue
                assert opcode == (MORE if pieces else TEXT)
                pieces.append(payload)
                if final:
                    break
            assert b"".join(pieces) == restored
        for _ in range(2):
            assert client.message() == restored
        for _ in range(3):
            assert client.frame() == (TEXT, True, restored), "a message that was at hand was taken apart"
        client.send(CLOSE)


def test_a_long_message_leaves_as_it_comes(setting: Setting) -> None:
    long = b"." * 300_000 + SECRET[:-1]

    def script(peer: Peer) -> None:
        opened(peer)
        whole = frame(TEXT, long + SECRET[-1:])
        peer.send(whole[:-1])
        assert from_client(peer) == (TEXT, True, b"seen")
        peer.send(whole[-1:])
        assert from_client(peer) == (CLOSE, True, b"")

    with connected(setting, script) as client:
        seen = b""
        while len(seen) < 300_000:
            opcode, final, payload = client.frame()
            assert (opcode, final) == (MORE if seen else TEXT, False)
            seen += payload
        client.send(TEXT, b"seen")
        opcode, final, payload = client.frame()
        assert (opcode, final, seen + payload) == (MORE, True, b"." * 300_000 + INERT)
        client.send(CLOSE)


def test_messages_of_any_size_take_no_more_memory(setting: Setting) -> None:
    gate, _ = setting
    size = 16 << 20

    def script(peer: Peer) -> None:
        opened(peer)
        peer.send(frame(BINARY, b"<" + SECRET + b">"))
        _, final, payload = from_client(peer)
        before = gate.peak()
        peer.send(frame(BINARY, SECRET + b"x" * size + SECRET))
        assert peer.read(14)[:2] == bytes([BINARY | 0x80, 0xFF])
        for _ in range(size >> 16):
            assert peer.read(1 << 16) == bytes(1 << 16)
        assert (final, payload) == (True, b"small")
        assert gate.peak() < before + (2 << 20)
        peer.send(frame(TEXT, b"done"))
        from_client(peer)

    with connected(setting, script) as client:
        assert client.message() == b"<" + INERT + b">"
        client.send(TEXT, b"small")
        message = client.message()
        assert message == INERT + b"x" * size + INERT
        client.connection.sendall(bytes([BINARY | 0x80, 0xFF]) + size.to_bytes(8) + bytes(4) + bytes(size))
        assert client.message() == b"done"
        client.send(CLOSE)


def test_a_client_that_does_not_read_holds_the_upstream_back(setting: Setting) -> None:
    gate, _ = setting

    def script(peer: Peer) -> None:
        opened(peer)
        from_client(peer)
        before = gate.peak()
        peer.connection.settimeout(0.3)
        endless = [frame(BINARY, b"x" * (1 << 16))] * (1 << 10)
        with pytest.raises(TimeoutError):
            peer.send(*endless)
        assert gate.peak() < before + (4 << 20)

    with connected(setting, script) as client:
        client.send(TEXT, b"begin")
        assert setting[1].departures.acquire(timeout=TIMEOUT)


# What the upstream says in a control frame, and what the client gets.
CONTROLS = [
    (PING, b"", b""),
    (PONG, SECRET, INERT),
    (PING, SECRET * 2 + b"x" * 35, INERT * 2 + b"x" * 35),
    (PING, SECRET[:20], b""),
    (PING, b"x" * 80 + SECRET[:45], b"x" * 80 + INERT),
    (CLOSE, b"", b""),
    (CLOSE, b"\x03\xe8", b"\x03\xe8"),
    (CLOSE, b"\x03\xe8bad " + SECRET, b"\x03\xe8bad " + INERT),
    (CLOSE, b"\x03\xe8bad " + SECRET[:30], b"\x03\xe8bad "),
    (CLOSE, b"\x0f\xa0" + ACCOUNT.encode() * 4, (b"\x0f\xa0" + ACCOUNT_PLACEHOLDER.encode() * 4)[:125]),
    (CLOSE, b"\x0f\xa0" + ACCOUNT.encode() * 2 + b"xx" + "ä".encode() * 33, None),
]


@pytest.mark.parametrize(("opcode", "said", "heard"), CONTROLS)
def test_a_control_frame_is_restored_too_and_fits(setting: Setting, opcode: int, said: bytes, heard: bytes | None) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        peer.send(frame(TEXT, b"begun", final=False), frame(opcode, said))
        assert from_client(peer)[0] == CLOSE

    with connected(setting, script) as client:
        assert client.frame() == (TEXT, False, b"begun")
        got, final, payload = client.frame()
        assert (got, final) == (opcode, True)
        if heard is not None:
            assert payload == heard
        payload[2:].decode()
        assert len(payload) <= 125
        assert SECRET[:8] not in payload
        assert ACCOUNT.encode()[:8] not in payload
        client.send(CLOSE)
        assert client.ended()


def test_a_close_goes_both_ways_before_the_end(setting: Setting) -> None:
    gate, _ = setting

    def script(peer: Peer) -> None:
        opened(peer)
        assert from_client(peer) == (CLOSE, True, b"\x03\xe8bye")
        peer.send(frame(CLOSE, b"\x03\xe8bye"))

    with connected(setting, script) as client:
        client.send(CLOSE, b"\x03\xe8bye")
        assert client.frame() == (CLOSE, True, b"\x03\xe8bye")
        assert client.ended()
    assert gate.no_event()


@pytest.mark.parametrize("reset", [True, False])
def test_an_upstream_that_goes_away_ends_the_clients_connection(setting: Setting, reset: bool) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        peer.send(frame(TEXT, b"." * 100)[:50])
        from_client(peer)
        if reset:
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with connected(setting, script) as client:
        assert client.frame() == (TEXT, False, b"." * 48)
        client.send(TEXT, b"seen")
        assert client.ended()


def test_a_client_that_goes_away_ends_the_connection_upstream(setting: Setting) -> None:
    gone: list[bool] = []

    def script(peer: Peer) -> None:
        opened(peer)
        with pytest.raises(EOFError):
            from_client(peer)
        gone.append(True)

    with connected(setting, script) as client:
        client.connection.sendall(frame(TEXT, b"x" * 100, masked=True)[:50])
    assert setting[1].departures.acquire(timeout=TIMEOUT)
    assert gone == [True]


BROKEN = [(b"\x83\x00", "reserved"), (b"\x88\x02\x03\xed", "a code that must not be sent"), (b"\x80\x00", "the continuation of no message")]


@pytest.mark.parametrize(("octets", "word"), BROKEN)
def test_an_upstream_that_breaks_the_framing_ends_both_sides(setting: Setting, octets: bytes, word: str) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        peer.send(frame(TEXT, SECRET) + octets + SECRET)
        assert from_client(peer) == (CLOSE, True, b"\x03\xea")
        assert peer.closed()

    with connected(setting, script) as client:
        assert client.frame() == (TEXT, True, INERT)
        assert client.frame() == (CLOSE, True, b"\x03\xea")
        assert client.ended()
    assert setting[1].departures.acquire(timeout=TIMEOUT)
    event = setting[0].event()
    assert event["status_detail"].startswith("the WebSocket was ended: the upstream sent ")
    assert word in event["status_detail"]


@pytest.mark.parametrize("octets", [b"\x81\x00", b"\xc1\x80" + MASK, b"\x88\x81" + MASK + b"x"])
def test_a_client_that_breaks_the_framing_ends_both_sides(setting: Setting, octets: bytes) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        assert from_client(peer) == (TEXT, True, b"fine")
        assert from_client(peer) == (CLOSE, True, b"\x03\xea")
        assert peer.closed()

    with connected(setting, script) as client:
        client.connection.sendall(frame(TEXT, b"fine", masked=True) + octets)
        assert client.frame() == (CLOSE, True, b"\x03\xea")
        assert client.ended()
    assert setting[1].departures.acquire(timeout=TIMEOUT)
    assert setting[0].event()["status_detail"].startswith("the WebSocket was ended: the client sent ")


def test_nothing_is_put_into_the_middle_of_a_frame(setting: Setting) -> None:
    half = frame(TEXT, b"x" * 100, masked=True)[:50]

    def script(peer: Peer) -> None:
        opened(peer)
        assert peer.read(len(half)) == half
        peer.send(b"\xff\xff")
        assert peer.closed()

    with connected(setting, script) as client:
        client.connection.sendall(half)
        assert client.frame() == (CLOSE, True, b"\x03\xea")
        assert client.ended()
    assert setting[1].departures.acquire(timeout=TIMEOUT)


NEW = b"fake-rotated-token-0123456789"


def rotate(gate: Gate) -> None:
    access, account = credentials(HOST, gate.port)
    gate.grant(Grants(rules=(allow(HOST, gate.port),), credentials=(replace(access, secret=Secret(NEW.decode())), account)))


def test_a_secret_rotated_during_the_handshake_is_restored_as_well(setting: Setting) -> None:
    gate, served = setting
    rotated = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        assert rotated.wait(TIMEOUT)
        peer.send(switching() + frame(PING, SECRET) + frame(TEXT, SECRET + NEW))
        from_client(peer)

    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE))
        served.wait_for_heads(1)
        rotate(gate)
        rotated.set()
        client = Client(connection)
        assert client.frame() == (PING, True, INERT)
        assert client.message() == INERT * 2
        client.send(CLOSE)


def test_a_secret_rotated_meanwhile_is_restored_as_well(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        from_client(peer)
        peer.send(frame(TEXT, SECRET + NEW))
        from_client(peer)

    with connected(setting, script) as client:
        rotate(setting[0])
        client.send(TEXT, b"go on")
        assert client.message() == INERT * 2
        client.send(CLOSE)


def test_what_both_sides_say_at_once_is_not_lost(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(switching() + frame(TEXT, SECRET))
        assert from_client(peer) == (TEXT, True, b"early" * 20_000)

    gate, served = setting
    served.scripts = [script]
    with gate.connect_tls(HOST) as connection:
        connection.sendall(request(gate, *UPGRADE) + frame(TEXT, b"early" * 20_000, masked=True))
        assert Client(connection).message() == INERT
        assert served.departures.acquire(timeout=TIMEOUT)


ANSWERS = [
    (b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%b" % (len(TOKEN), SECRET), 401, INERT),
    (b"HTTP/1.1 426 No\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\n", 426, b""),
    (OK, 200, b"hello"),
    (switching(key="x"), 502, b"answered with a Sec-WebSocket-Accept that does not fit"),
    (switching("Sec-WebSocket-Extensions: permessage-deflate"), 502, b"answered with a WebSocket extension"),
    (switching("Sec-WebSocket-Protocol: v1"), 502, b"answered with a WebSocket subprotocol"),
]


@pytest.mark.parametrize(("answer", "status", "word"), ANSWERS)
def test_any_other_answer_is_an_ordinary_one(setting: Setting, answer: bytes, status: int, word: bytes) -> None:
    gate, served = setting
    served.scripts = [answering(answer)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, *UPGRADE))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert word in body
        assert gate.event()["http_response"]["code"] == status
        client.sendall(request(gate, start="TRACE / HTTP/1.1"))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 405"), "the connection was lost"


@pytest.mark.parametrize(
    ("start", "lines", "body"),
    [("GET / HTTP/1.1", ("Content-Length: 2",), b"{}"), ("GET / HTTP/1.0", (), b""), ("DELETE / HTTP/1.1", (), b"")],
    ids=["with a body", "in HTTP/1.0", "with another method"],
)
def test_what_no_websocket_is_opened_with_goes_up_without_the_upgrade(
    setting: Setting, start: str, lines: tuple[str, ...], body: bytes
) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, *UPGRADE, *lines, start=start, body=body))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 400")
    assert b"pgrade" not in served.peers[0].heads[0]
    assert SECRET in served.peers[0].heads[0]
