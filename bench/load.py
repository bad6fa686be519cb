"""The two ends of a measured connection: a server that answers at once, and a client that never waits.

Both are one epoll loop with TLS on the sockets, for a process of its own. A request through the slowest contender takes them a
hundredth of its time, through the fastest about a half, and they have the second core to themselves.
"""

import hashlib
import os
import select
import socket
import ssl
import time
from typing import Any

from immure import channel
from immure.launcher import seccomp

BODY = b'{"object":"list","data":[{"id":"a-small-answer","object":"model","created":1700000000,"x":1234}]}\n'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\nX-Request-Id: req_%%016x\r\n"
    b"Cache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
"""Each with an id of its own, as real ones have."""

STREAM = b"GET /stream/"
_DIGITS = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(256))
EVENTS = b"".join(
    b"event: response.output_text.delta\ndata: "
    b'{"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_%b","output_index":0,"content_index":0,"delta":" word",'
    b'"logprobs":[],"obfuscation":"%b"}\n\n' % (number, _DIGITS[number * 64 :][:50].encode(), _DIGITS[number * 64 :][50:60].encode())
    for number in range(256)
)
"""What a model's answer is made of."""


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer every request on every connection, for ever."""
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    connections: dict[int, ssl.SSLSocket] = {}
    number = 0
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                accepted, _ = listener.accept()
                try:
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection = context.wrap_socket(accepted, server_side=True)
                except OSError:
                    continue
                connection.setblocking(False)
                connections[connection.fileno()] = connection
                epoll.register(connection, select.EPOLLIN)
                continue
            connection = connections[fd]
            try:
                data = connection.recv(16384)
            except ssl.SSLWantReadError:
                continue
            except OSError:
                data = b""
            if data.startswith(STREAM):
                _stream(connection, int(data.split()[1][len(STREAM) - 4 :]))
            elif data:
                number += 1
                connection.send(ANSWER % number)
            else:
                epoll.unregister(connection)
                del connections[fd]
                connection.close()


def _stream(connection: ssl.SSLSocket, length: int) -> None:
    """Answer with so many bytes of events, and serve nobody else meanwhile."""
    connection.setblocking(True)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % length)
    while length > 0:
        length -= connection.send(EVENTS[:length])
    connection.setblocking(False)


def connect(target: dict[str, Any]) -> ssl.SSLSocket:
    """A connection to the target, by CONNECT if it is a proxy."""
    plain = socket.create_connection((target["address"], target["port"]))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target["connect"]:
        plain.sendall(f"CONNECT {target['authority']} HTTP/1.1\r\nHost: {target['authority']}\r\n\r\n".encode())
        assert b" 200 " in plain.recv(4096)
    connection = ssl.create_default_context(cadata=target["ca"]).wrap_socket(plain, server_hostname=target["host"])
    connection.setblocking(False)
    return connection


def ask(target: dict[str, Any]) -> dict[str, Any]:
    """Keep one request under way on each connection for a while; requests, seconds, and the latencies in µs at 50 and 99 %."""
    request = "".join(
        f"{line}\r\n"
        for line in (
            *("GET /v1/models?after=%016d HTTP/1.1", f"Host: {target['authority']}"),
            *([f"Authorization: Bearer {target['token']}"] if target["token"] else []),
            *("User-Agent: bench/1.0 (Linux; x86_64)", "Accept: application/json", "X-Session: 01234567-89ab-cdef", ""),
        )
    ).encode()
    epoll = select.epoll()
    connections = {}
    for _ in range(target["connections"]):
        connection = connect(target)
        connections[connection.fileno()] = connection
        epoll.register(connection, select.EPOLLIN)
    latencies: list[float] = []
    sent: dict[int, float] = {}
    begin = time.perf_counter()
    for fd, connection in connections.items():
        sent[fd] = time.perf_counter()
        connection.send(request % 0)
    end = begin + target["seconds"]
    received = dict.fromkeys(connections, b"")
    while (now := time.perf_counter()) < end:
        for fd, _ in epoll.poll(0.1):
            try:
                data = received[fd] + connections[fd].recv(16384)
            except ssl.SSLWantReadError:
                continue
            if not data.endswith(BODY):
                assert data, "the connection was closed"
                received[fd] = data
                continue
            assert data.startswith(b"HTTP/1.1 200"), data
            received[fd] = b""
            now = time.perf_counter()
            latencies.append(now - sent[fd])
            sent[fd] = now
            connections[fd].send(request % len(latencies))
    seconds = time.perf_counter() - begin
    for connection in connections.values():
        connection.close()
    epoll.close()
    latencies.sort()
    count = len(latencies)
    return {"requests": count, "seconds": seconds, "p50": latencies[count // 2] * 1e6, "p99": latencies[count * 99 // 100] * 1e6}


def download(target: dict[str, Any]) -> dict[str, Any]:
    """Take a stream of so many bytes; the seconds from its first byte to its last."""
    connection = connect(target)
    connection.setblocking(True)
    token = f"Authorization: Bearer {target['token']}\r\n" if target["token"] else ""
    connection.sendall(f"GET /stream/{target['length']} HTTP/1.1\r\nHost: {target['authority']}\r\n{token}\r\n".encode())
    buffer = bytearray(1 << 18)
    received = connection.recv_into(buffer)
    assert buffer.startswith(b"HTTP/1.1 200"), buffer[:received]
    begin = time.perf_counter()
    while received < target["length"]:
        taken = connection.recv_into(buffer)
        assert taken, "the connection was closed"
        received += taken
    seconds = time.perf_counter() - begin
    connection.close()
    return {"seconds": seconds}


def be_asked(line: socket.socket) -> None:
    """Load whatever comes over a channel. Wears the sandbox's filter, so that the gate knows who it is, and first hands that over."""
    listener = seccomp.install()
    channel.send(line, {"did": "wear"}, [listener])
    os.close(listener)
    while (received := channel.receive(line)) is not None:
        channel.send(line, (download if "length" in received[0] else ask)(received[0]))
