"""Clients and servers that break off at any moment, resetting or closing: no fault, no leak, and the next client is served.

The faults of a gate are looked for when the nursery is closed, at the end of the session.
"""

import random
import socket
import ssl
import struct
from collections.abc import Callable

from house import OK, PLACEHOLDER, POOL, TIMEOUT, Gate, Peer, allow, credentials, read_answer, virtual, world

from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.wire.websocket import accept

HOST = "api.example.com"
CLIENTS = 100
KEY = b"ZmFrZS1rZXktb2YtMTZiIQ=="
SOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

ANSWERS = [
    OK,
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
    b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    b"HTTP/1.1 101 Go\r\n" + SOCKET.replace(b"Key: " + KEY, b"Accept: " + accept(KEY)) + b"\x81\x02hi\x88\x00",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"nonsense\r\n\r\n",
]


def requests(gate: Gate) -> list[bytes]:
    host = f"Host: {HOST}:{gate.port}\r\n".encode()
    secret = b"Authorization: Bearer " + PLACEHOLDER.encode() + b"\r\n"
    return [
        b"GET / HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + secret + b"\r\n",
        (b"GET / HTTP/1.1\r\n" + host + b"\r\n") * 3,
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 200000\r\n\r\n" + b"y" * 200_000,
        b"POST / HTTP/1.1\r\n" + host + secret + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        b"GET / HTTP/1.1\r\n" + host + secret + SOCKET + b"\x81\x82\0\0\0\0hi\x88\x80\0\0\0\0",
        b"GET / HTTP/1.1\r\n" + host + secret + SOCKET + b"\x81\x02hi",
        b"POST /oauth/token HTTP/1.1\r\n" + host + b"Content-Length: 2\r\n\r\n{}",
        b"TRACE / HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\0\0\0\0",
    ]


def break_off(connection: socket.socket) -> None:
    """End a connection the hard way, or the soft."""
    if random.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def erratic(peer: Peer) -> None:
    """A script: answers that are cut anywhere, at any time."""
    for _ in range(random.randrange(4)):
        peer.connection.settimeout(0.05)
        if random.random() < 0.8:
            peer.head()
        answer = random.choice(ANSWERS)
        end = random.randrange(len(answer)) if random.random() < 0.4 else len(answer)
        peer.send(answer[: end // 2], answer[end // 2 : end])
    break_off(peer.connection)


def misbehave(gate: Gate) -> None:
    """One client."""
    connection = gate.connect(HOST)
    try:
        if random.random() < 0.1:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00" + random.randbytes(random.randrange(100)))
            return
        context = ssl.create_default_context(cadata=gate.ca)
        connection = context.wrap_socket(connection, server_hostname=HOST)
        data = b"".join(random.choices(requests(gate), k=random.randrange(1, 4)))
        end = random.randrange(len(data)) if random.random() < 0.4 else len(data)
        connection.settimeout(0.05)
        connection.sendall(data[:end])
        for _ in range(random.randrange(4)):
            connection.recv(random.choice([1, 100, 65536]))
    except OSError:
        pass  # the other side was quicker
    finally:
        break_off(connection)


def orderly(peer: Peer) -> None:
    """A script: two answers."""
    for _ in range(2):
        peer.head()
        peer.send(OK)


def test_nothing_that_breaks_off_breaks_the_gate(open_gate: Callable[..., Gate]) -> None:
    """With as few descriptors as it has, a leak of some of them would be seen."""
    with world(HOST) as served:
        served.scripts = [erratic]
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(
                    rules=(allow(HOST, port),), credentials=credentials(HOST, port), virtual=(virtual(HOST, port, "/oauth/token"),)
                ),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            ),
            descriptors=180,
        )
        gate.skip_events()
        for _ in range(CLIENTS):
            misbehave(gate)
        for _ in served.peers:
            assert served.departures.acquire(timeout=TIMEOUT)
        served.scripts = [orderly]
        answers = []
        for _ in range(20):
            with gate.connect_tls(HOST) as client:
                client.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n\r\n".encode())
                answers.append(read_answer(client)[1])
        assert answers == [b"hello"] * 20
        gate.hang_up()
