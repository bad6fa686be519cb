"""WebSockets that a secret opened and whose two sides have agreed on permessage-deflate: with `websockets` on both, and frame by frame."""

import ssl
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from house import POOL, TIMEOUT, TOKEN, Gate, Peer, World, allow, credentials, world
from sides import BINARY, CLOSE, HOST, INERT, MORE, PING, SECRET, TEXT, UPGRADE, connected, frame, from_client, opened
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.testing.authority import Authority

Setting = tuple[Gate, World]
PACKED = 0x40  # RSV1, beside an opcode
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
AGREED = "Sec-WebSocket-Extensions: permessage-deflate"


# With `websockets` on both sides


def echo(connection: ServerConnection) -> None:
    """Say each message again, behind what the client has authorised itself with."""
    assert connection.request is not None
    said = connection.request.headers["Authorization"].removeprefix("Bearer ")
    for message in connection:
        connection.send(f"{said}|{message}" if isinstance(message, str) else [said.encode(), b"|", message, said.encode()])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def listening(authority: Authority, factory: ServerPerMessageDeflateFactory) -> Server:
    context = authority.server_context([HOST])
    return serve(echo, "127.0.0.1", 0, ssl=context, compression=None, extensions=[factory], max_size=None)


def joined(gate: Gate, factory: ClientPerMessageDeflateFactory) -> ClientConnection:
    return connect(
        f"wss://{HOST}:{gate.port}/socket",
        sock=gate.connect(HOST),
        ssl=ssl.create_default_context(cadata=gate.ca),
        additional_headers=dict([UPGRADE[0].split(": ")]),
        compression=None,
        extensions=[factory],
        max_size=None,
        proxy=None,
    )


# What client and server ask for of each other's windows and memory, and what they agree on.
AGREEMENTS = [
    (ClientPerMessageDeflateFactory(), ServerPerMessageDeflateFactory(), "permessage-deflate"),
    (
        ClientPerMessageDeflateFactory(client_max_window_bits=True),
        ServerPerMessageDeflateFactory(),
        "permessage-deflate",
    ),
    (
        ClientPerMessageDeflateFactory(server_no_context_takeover=True),
        ServerPerMessageDeflateFactory(),
        "permessage-deflate; server_no_context_takeover",
    ),
    (
        ClientPerMessageDeflateFactory(),
        ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ),
    (
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10),
        ServerPerMessageDeflateFactory(),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
    ),
    (
        ClientPerMessageDeflateFactory(client_max_window_bits=True),
        ServerPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=9),
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=9",
    ),
]
MESSAGES: list[str | bytes] = ["Hello", "Hello", "", TOKEN, "x" * 200_000, b"\0" * 500_000, b"", "Hello" * 10_000, "ä" * 999]


@pytest.mark.parametrize(("ours", "theirs", "agreement"), AGREEMENTS, ids=[agreement for _, _, agreement in AGREEMENTS])
def test_what_two_real_peers_agree_on_holds(
    open_gate: Callable[..., Gate],
    authority: Authority,
    ours: ClientPerMessageDeflateFactory,
    theirs: ServerPerMessageDeflateFactory,
    agreement: str,
) -> None:
    with listening(authority, theirs) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            upstream = Upstream(host=HOST, address="127.0.0.1", port=server.socket.getsockname()[1], ca_pem=authority.pem)
            gate = open_gate(
                lambda port: Brief(
                    sandbox="box",
                    grants=Grants(rules=(allow(HOST, port),), credentials=credentials(HOST, port)),
                    upstreams=(upstream,),
                    pool=POOL,
                )
            )
            with joined(gate, ours) as client:
                assert client.response is not None
                assert client.response.headers["Sec-WebSocket-Extensions"] == agreement
                for message in MESSAGES:
                    client.send(message)
                    got = client.recv(TIMEOUT)
                    if isinstance(message, str):
                        assert got == f"{INERT.decode()}|{message}".replace(TOKEN, INERT.decode())
                    else:
                        assert got == INERT + b"|" + message + INERT
                client.send([b"in ", b"three ", b"fragments"])
                assert client.recv(TIMEOUT) == INERT + b"|in three fragments" + INERT
                assert client.ping().wait(TIMEOUT)
            gate.hang_up()
        finally:
            server.shutdown()
            thread.join()


# Frame by frame


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


class Packer:
    """Compressed messages with what came before them in view."""

    def __init__(self) -> None:
        self._packing = zlib.compressobj(wbits=-15)

    def pack(self, data: bytes) -> bytes:
        return (self._packing.compress(data) + self._packing.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_an_echo_of_the_secret_is_restored_wherever_a_compressed_message_is_cut(setting: Setting) -> None:
    echo = b"<" + SECRET + b">" + bytes(range(256))
    cuts = range(0, 300, 7)

    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        packer = Packer()
        for at in cuts:
            packed = packer.pack(echo)
            peer.send(frame(TEXT | PACKED, packed[:at], final=False), frame(PING, b"%d" % at), frame(MORE, packed[at:]))
        whole = frame(BINARY | PACKED, packer.pack(echo))
        peer.send(*[whole[at : at + 1] for at in range(len(whole))])
        peer.send(frame(TEXT, echo) + frame(TEXT | PACKED, packer.pack(echo)) + frame(TEXT | PACKED, packer.pack(b"")))
        from_client(peer)

    restored = echo.replace(SECRET, INERT)
    with connected(setting, script, OFFER) as client:
        assert AGREED.encode() in client.head
        for at in cuts:
            seen, final = b"", False
            while not final:
                opcode, final, payload = client.frame()
                if opcode == PING:
                    assert payload == b"%d" % at
                    final = False
                    continue
                assert opcode == (MORE if seen else TEXT)
                seen += payload
            assert seen == restored
        assert client.message() == restored
        for expected in (restored, restored, b""):
            assert client.frame() == (TEXT, True, expected), "a message that was at hand was taken apart"
        client.send(CLOSE)


def test_what_the_client_compresses_goes_up_as_it_is(setting: Setting) -> None:
    packer = Packer()
    said = [
        frame(TEXT | PACKED, packer.pack(b"Hello"), masked=True),
        frame(BINARY | PACKED, packer.pack(b"Hello")[:3], final=False, masked=True),
    ]
    said += [frame(PING, b"?", masked=True), frame(MORE, b"\0", masked=True), frame(TEXT, INERT, masked=True), frame(CLOSE, masked=True)]

    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        assert peer.read(len(b"".join(said))) == b"".join(said)
        peer.send(frame(CLOSE))

    with connected(setting, script, OFFER) as client:
        client.connection.sendall(b"".join(said))
        assert client.frame() == (CLOSE, True, b"")


def test_the_beginning_of_a_compressed_message_does_not_wait_for_its_end(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        packing = zlib.compressobj(wbits=-15)
        begun = packing.compress(b"begun") + packing.flush(zlib.Z_SYNC_FLUSH)
        peer.send(frame(TEXT | PACKED, begun, final=False))
        from_client(peer)
        peer.send(frame(MORE, packing.compress(b" ended") + packing.flush(zlib.Z_SYNC_FLUSH)[:-4]))
        from_client(peer)

    with connected(setting, script, OFFER) as client:
        assert client.frame() == (TEXT, False, b"begun")
        client.send(TEXT, b"seen")
        assert client.frame() == (MORE, True, b" ended")
        client.send(CLOSE)


# What an upstream sends behind a first whole message: octets, a word of what is recorded.
BROKEN = [
    (frame(TEXT | PACKED, b"\xff\xff\xff\xff"), "not compressed as was agreed"),
    (frame(TEXT, b"a", final=False) + frame(MORE | PACKED, b"b"), "reserved"),
    (frame(PING | PACKED, b"b"), "reserved"),
    (frame(TEXT | 0x20, b"b"), "reserved"),
]


@pytest.mark.parametrize(("octets", "word"), BROKEN)
def test_an_upstream_that_compresses_in_another_way_ends_both_sides(setting: Setting, octets: bytes, word: str) -> None:
    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        peer.send(frame(TEXT | PACKED, Packer().pack(SECRET)) + octets)
        assert from_client(peer) == (CLOSE, True, b"\x03\xea")
        assert peer.closed()

    with connected(setting, script, OFFER) as client:
        assert client.frame() == (TEXT, True, INERT)
        frames = [client.frame()]
        if frames[0][0] != CLOSE:
            frames.append(client.frame())
        assert frames[-1] == (CLOSE, True, b"\x03\xea")
        assert client.ended()
    assert word in setting[0].event()["status_detail"]


def test_nothing_is_compressed_that_was_not_agreed_on(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        opened(peer)
        assert from_client(peer) == (CLOSE, True, b"\x03\xea")

    with connected(setting, script, OFFER) as client:
        assert b"xtensions" not in client.head
        client.send(TEXT | PACKED, Packer().pack(b"Hello"))
        assert client.frame() == (CLOSE, True, b"\x03\xea")


def test_a_bomb_takes_no_memory_and_holds_nobody_up(setting: Setting) -> None:
    gate, served = setting
    size = 48 << 20

    def bomb(peer: Peer) -> None:
        opened(peer, AGREED)
        from_client(peer)
        packed = Packer().pack(bytes(size))
        peer.send(frame(BINARY | PACKED, packed[:100], final=False), frame(MORE, packed[100:]), frame(TEXT, b"after"))
        from_client(peer)

    def small(peer: Peer) -> None:
        opened(peer, AGREED)
        for _ in range(3):
            from_client(peer)
            peer.send(frame(TEXT | PACKED, Packer().pack(SECRET)))
        from_client(peer)

    with connected(setting, bomb, OFFER) as client:
        served.scripts = [bomb, small]
        before = gate.peak()
        client.send(TEXT, b"begin")
        found = len(client.frame()[2])
        with connected(setting, small, OFFER) as other:
            for _ in range(3):
                other.send(TEXT, b"and?")
                assert other.frame() == (TEXT, True, INERT)
            other.send(CLOSE)
        assert gate.peak() < before + (4 << 20), "it was decompressed for a client that does not read"
        final = False
        while not final:
            opcode, final, payload = client.frame()
            assert opcode == MORE
            found += len(payload)
        assert found == size
        assert client.frame() == (TEXT, True, b"after")
        assert gate.peak() < before + (4 << 20)
        client.send(CLOSE)


def test_a_bomb_that_its_upstream_has_left_is_passed_on_to_its_end(setting: Setting) -> None:
    size = 8 << 20

    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        peer.send(frame(BINARY | PACKED, Packer().pack(bytes(size))) + frame(CLOSE))

    with connected(setting, script, OFFER) as client:
        assert setting[1].departures.acquire(timeout=TIMEOUT)
        assert len(client.message()) == size
        assert client.frame() == (CLOSE, True, b"")
        assert client.ended()


def test_a_bomb_is_not_waited_for_when_the_client_ends_it(setting: Setting) -> None:
    def script(peer: Peer) -> None:
        opened(peer, AGREED)
        peer.send(frame(BINARY | PACKED, Packer().pack(bytes(48 << 20))))
        with pytest.raises(EOFError):
            from_client(peer)

    with connected(setting, script, OFFER) as client:
        client.frame()
    assert setting[1].departures.acquire(timeout=TIMEOUT)
