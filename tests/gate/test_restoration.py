"""Answers that come back encoded for a secret: decoded as they flow, restored, and never more of them at a time than a turn may take."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
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
    read_answer,
    world,
)

from immure.errors import PeerError
from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.gate.restoration import TURN, Restoration, pull
from immure.gate.stream import RECORD
from immure.rewrite import Pairs

HOST = "api.example.com"
BEARER = f"Authorization: Bearer {PLACEHOLDER}"
SECRET, INERT = TOKEN.encode(), PLACEHOLDER.encode()
PAIRS = Pairs(((SECRET, INERT),))
Setting = tuple[Gate, World]
Pack = Callable[[bytes], bytes]


def stacked(data: bytes) -> bytes:
    return zstd.compress(gzip.compress(data))


# Content-Encoding, and what makes it of a text.
CODINGS: list[tuple[str, Pack]] = [
    ("gzip", gzip.compress),
    ("X-Gzip", lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:])),
    ("deflate", zlib.compress),
    ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("gzip, zstd", stacked),
]
IDS = ["gzip", "members", "zlib", "raw deflate", "br", "zstd", "stack"]


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port),), credentials=credentials(HOST, port)),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            ),
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, *lines: str, start: str = "GET / HTTP/1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (start, f"Host: {HOST}:{gate.port}", *lines, "")).encode()


def answer(body: bytes, *lines: str, framing: str = "length") -> bytes:
    if framing == "length":
        lines = (*lines, f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines = (*lines, "Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *lines, "")).encode() + body


TEXT = b"{" + SECRET + b"} and " + b"more " * 100 + SECRET


@pytest.mark.parametrize(("coding", "pack"), CODINGS, ids=IDS)
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytewise"])
def test_an_encoded_answer_arrives_decoded_and_without_the_secret(
    setting: Setting, coding: str, pack: Pack, framing: str, whole: bool
) -> None:
    gate, served = setting
    said = answer(pack(TEXT), f"Content-Encoding: {coding}", 'ETag: "a"', "Content-Digest: md5=:x:", framing=framing)

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(*([said] if whole else [said[at : at + 1] for at in range(len(said))]))

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Accept-Encoding: gzip, deflate, br, zstd"))
        head, body = read_answer(client)
    assert body == TEXT.replace(SECRET, INERT)
    assert b'ETag: W/"a"' in head
    for gone in (b"content-encoding", b"digest", b"connection"):
        assert gone not in head.lower()
    if framing != "length" or whole:
        assert (b"Content-Length: %d" % len(body) in head) is (framing == "length")
    assert b"\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" in served.peers[0].heads[0]


def test_real_curl_gets_what_was_meant(setting: Setting) -> None:
    gate, served = setting
    version = gate.inside.run("curl", "-q", "-V").stdout.decode()
    known = {"gzip": "libz", "br": "brotli", "zstd": "zstd"}
    packs = (("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress))
    served.scripts = [answering(*[answer(pack(TEXT), f"Content-Encoding: {coding}", framing="chunked") for coding, pack in packs])]
    for coding, _ in packs:
        ran = gate.curl(HOST, "/", "--compressed", "-H", BEARER)
        assert (ran.status, ran.stdout) == (0, TEXT.replace(SECRET, INERT)), ran.stderr
        asked = re.search(r"\r\nAccept-Encoding: ([^\r]*)", served.peers[0].heads[-1].decode())
        assert asked is not None
        assert (coding in asked[1].split(", ")) is (known[coding] in version)


def test_without_a_secret_nothing_is_touched(setting: Setting) -> None:
    gate, served = setting
    body = gzip.compress(TEXT)
    lines = ("Content-Encoding: gzip", 'ETag: "a"', "Content-MD5: x")
    served.scripts = [answering(answer(body, *lines))]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "Accept-Encoding: compress, *"))
        head, seen = read_answer(client)
    assert seen == body
    assert "\r\n".join(lines).encode() in head
    assert b"\r\nAccept-Encoding: compress, *\r\n" in served.peers[0].heads[0]


class Flow:
    """A text that is sent in pieces, each to be had at once on the other side."""

    def __init__(self, coding: str) -> None:
        self._zlib = zlib.compressobj(wbits=31)
        self._brotli = brotli.Compressor()
        self._zstd = zstd.ZstdCompressor()
        self._coding = coding

    def event(self, data: bytes) -> bytes:
        if self._coding == "gzip":
            return self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        if self._coding == "br":
            packed: bytes = self._brotli.process(data) + self._brotli.flush()
            return packed
        return self._zstd.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_an_event_is_passed_on_when_it_arrives(setting: Setting, coding: str) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        flow = Flow(coding)
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: {coding}\r\n\r\n".encode())
        for number in range(3):
            peer.send(flow.event(b"data: %d %b\n\n" % (number, SECRET)))
            peer.until(b"more")

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Content-Length: 12", start="POST / HTTP/1.1"))
        for number in range(3):
            seen = b""
            while b"data: %d %b\n\n" % (number, INERT) not in seen:
                seen += client.recv(65536)
            client.sendall(b"more")


BROKEN = [
    ("gzip", b"no gzip at all", b"not gzip"),
    ("gzip", gzip.compress(TEXT)[:-1], b"ends in the middle of gzip"),
    ("br", b"\xff\xff" * 10, b"not br"),
    ("zstd", zstd.compress(TEXT)[:-1], b"ends in the middle of zstd"),
    ("gzip, br", brotli.compress(b"no gzip at all"), b"not gzip"),
    ("deflate", b"x", b"ends in the middle of deflate"),
]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("coding", "body", "word"), BROKEN)
def test_what_is_not_what_it_says_is_a_502_while_nothing_was_passed_on(
    setting: Setting, coding: str, body: bytes, word: bytes, framing: str
) -> None:
    gate, served = setting
    served.scripts = [answering(answer(body, f"Content-Encoding: {coding}", framing=framing), OK), answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER))
        head, said = read_answer(client)
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"answer_not_restorable" in said
        assert word in said
        assert SECRET[:8] not in said
        client.sendall(request(gate, BEARER))
        assert read_answer(client)[1] == b"hello", "the connection was lost"
    codes = [gate.event()["http_response"]["code"] for _ in range(3)]
    assert codes == [200, 502, 200]


def test_what_breaks_later_ends_the_clients_connection_without_an_end(setting: Setting) -> None:
    gate, served = setting

    def script(peer: Peer) -> None:
        peer.head()
        packed = Flow("gzip").event(b"begun " * 100)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(packed), packed))
        peer.until(b"more")
        peer.send(b"8\r\ngarbage!\r\n0\r\n\r\n")

    served.scripts = [script]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Content-Length: 4", start="POST / HTTP/1.1"))
        seen = b""
        while b"begun \r\n" not in seen:
            seen += client.recv(65536)
        client.sendall(b"more")
        rest = b""
        try:
            while more := client.recv(65536):
                rest += more
        except OSError:
            pass  # cut off, which TLS calls an error
        assert b"0\r\n\r\n" not in rest
    gate.event()
    assert gate.event()["status_detail"] == f"the answer of {HOST} was cut off: it is data that is not gzip"


HEADS = [
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n", "HEAD", False),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n", "GET", False),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", False),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "GET", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", False),
]


@pytest.mark.parametrize(("said", "method", "empty"), HEADS)
def test_a_head_without_a_body_says_what_it_would_say_with_one(setting: Setting, said: bytes, method: str, empty: bool) -> None:
    gate, served = setting
    served.scripts = [answering(said.replace(b"\r\n\r\n", b'\r\nETag: "a"\r\n\r\n'))]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            client.sendall(request(gate, BEARER, start=f"{method} / HTTP/1.1"))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(65536)
            assert b"ncoding: gzip" not in head
            assert (b"Content-Length: 0" in head) is empty
            assert (b"Content-Length" in head) is empty
            assert (b'W/"a"' in head) is (b"gzip" in said)
    assert len(served.peers) == 1, "the connection was not kept"


def test_a_client_of_http_1_0_gets_it_until_the_end_of_the_connection(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(answer(gzip.compress(TEXT), "Content-Encoding: gzip", framing="chunked"))]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, start="GET / HTTP/1.0"))
        seen = b""
        while more := client.recv(65536):
            seen += more
    assert seen.endswith(b"\r\n\r\n" + TEXT.replace(SECRET, INERT))
    assert b"ncoding" not in seen


def test_a_digest_of_the_encoded_bytes_does_not_come_in_a_trailer(setting: Setting) -> None:
    gate, served = setting
    body = answer(gzip.compress(b"text"), "Content-Encoding: gzip", framing="chunked")
    served.scripts = [answering(body[:-2] + b"Content-Digest: x\r\nX-Echo: " + SECRET + b"\r\n\r\n")]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, "Connection: close"))
        seen = b""
        while more := client.recv(65536):
            seen += more
    assert seen.endswith(b"text\r\n0\r\nX-Echo: " + INERT + b"\r\n\r\n")


SIZE = 48 << 20
BOMBS = [("gzip", gzip.compress), ("br", lambda data: brotli.compress(data, quality=5)), ("zstd", zstd.compress), ("gzip, zstd", stacked)]


@pytest.mark.parametrize(("coding", "pack"), BOMBS, ids=["gzip", "br", "zstd", "stack"])
def test_a_bomb_takes_no_memory_and_holds_nobody_up(setting: Setting, coding: str, pack: Pack) -> None:
    gate, served = setting
    bomb = answer(pack(bytes(SIZE)), f"Content-Encoding: {coding}")
    assert len(bomb) < 1 << 17
    served.scripts = [answering(bomb, OK), answering(OK)]
    with gate.connect_tls(HOST) as client, gate.connect_tls(HOST) as other:
        other.sendall(request(gate, start="TRACE / HTTP/1.1"))
        read_answer(other)
        before = gate.peak()
        client.sendall(request(gate, BEARER) + request(gate, start="TRACE / HTTP/1.1"))
        seen = client.recv(1)
        for _ in range(3):
            other.sendall(request(gate, BEARER))
            assert read_answer(other)[1] == b"hello"
        assert gate.peak() < before + (12 << 20), "the answer was decoded for a client that does not read"
        zeros = 0
        while not seen.endswith(b"0\r\n\r\n") or zeros < SIZE:
            seen = seen[-5:] + client.recv(1 << 16)
            zeros += seen[5:].count(0)
        assert zeros == SIZE
        assert gate.peak() < before + (12 << 20)
        assert b"405 Method" in client.recv(65536), "the next request was not answered"


def test_what_a_client_goes_on_to_send_meanwhile_is_not_kept(setting: Setting) -> None:
    gate, served = setting
    bomb = answer(gzip.compress(bytes(12 << 20)), "Content-Encoding: gzip")
    assert len(bomb) < RECORD, "it does not arrive at once, and the answer is not complete before it is passed on"
    served.scripts = [answering(bomb)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER, f"Content-Length: {SIZE}", start="POST / HTTP/1.1"))
        client.recv(1)
        assert served.departures.acquire(timeout=TIMEOUT)
        before = gate.peak()
        client.sendall(bytes(SIZE // 2))
        assert gate.peak() < before + (4 << 20)


def test_a_client_that_leaves_a_bomb_behind_leaves_the_upstreams_connection_to_the_next(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(answer(gzip.compress(bytes(SIZE)), "Content-Encoding: gzip"), OK), answering(OK)]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, BEARER))
        client.recv(1)
    with gate.connect_tls(HOST) as other:
        other.sendall(request(gate, BEARER))
        assert read_answer(other)[1] == b"hello"


def test_a_turn_takes_a_bounded_amount() -> None:
    restoration = Restoration(PAIRS, (b"gzip",))
    restoration.feed(gzip.compress(SECRET + bytes(1 << 20)))
    restoration.end()
    turns = []
    more = True
    while more:
        pieces: list[bytes] = []
        more = pull(restoration, pieces)
        turns.append(b"".join(pieces))
    assert b"".join(turns) == INERT + bytes(1 << 20)
    assert len(turns) > 8
    assert max(map(len, turns)) <= 2 * TURN


def test_steps_that_give_out_nothing_come_to_an_end_too() -> None:
    restoration = Restoration(PAIRS, (b"gzip",))
    restoration.feed(gzip.compress(b"") * 1000 + gzip.compress(b"x\n"))
    pieces: list[bytes] = []
    assert pull(restoration, pieces)
    assert not pieces
    while pull(restoration, pieces):
        pass
    assert pieces == [b"x\n"]


def test_what_came_before_a_fault_is_there() -> None:
    restoration = Restoration(PAIRS, (b"gzip",))
    restoration.feed(gzip.compress(b"x\n") + b"\x1f\x8b garbage")
    pieces: list[bytes] = []
    with pytest.raises(PeerError, match="gzip"):
        pull(restoration, pieces)
    assert pieces == [b"x\n"]
