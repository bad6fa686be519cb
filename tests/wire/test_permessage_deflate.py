"""permessage-deflate: the examples of the RFC, the negotiation, and messages that `websockets` has compressed."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from immure.errors import PeerError
from immure.wire.coding import PIECE
from immure.wire.permessage_deflate import Inflater, agreed, objection, offer

# What a client offers, what is offered upstream.
OFFERS: list[tuple[tuple[bytes, ...], bytes]] = [
    ((), b""),
    ((b"",), b""),
    ((b"permessage-deflate",), b"permessage-deflate"),
    ((b"permessage-deflate; client_max_window_bits",), b"permessage-deflate; client_max_window_bits"),
    (
        (b'permessage-deflate ;server_max_window_bits="10"; server_no_context_takeover , permessage-deflate',),
        b'permessage-deflate ;server_max_window_bits="10"; server_no_context_takeover, permessage-deflate',
    ),
    ((b"x-webkit-deflate-frame, permessage-deflate", b"permessage-bzip2"), b"permessage-deflate"),
    ((b"permessage-deflate; server_max_window_bits",), b""),
    ((b"permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits=16",), b""),
    ((b"permessage-deflate; client_max_window_bits=08",), b""),
    ((b"permessage-deflate; server_no_context_takeover=1",), b""),
    ((b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",), b""),
    ((b"permessage-deflate; level=9",), b""),
    ((b"permessage-deflate;",), b""),
    ((b"Permessage-Deflate",), b""),
]
PLAIN, BITS = b"permessage-deflate", b"permessage-deflate; client_max_window_bits"
# What was offered, what was answered, a word of the objection.
ANSWERS: list[tuple[bytes, tuple[bytes, ...], str | None]] = [
    (PLAIN, (), None),
    (PLAIN, (PLAIN,), None),
    (PLAIN, (b"permessage-deflate; server_max_window_bits=8; server_no_context_takeover",), None),
    (PLAIN, (b'permessage-deflate;client_no_context_takeover;server_max_window_bits="15"',), None),
    (BITS, (b"permessage-deflate; client_max_window_bits=9",), None),
    (PLAIN + b", " + BITS, (b"permessage-deflate; client_max_window_bits=9",), None),
    (PLAIN, (b"permessage-deflate; client_max_window_bits=9",), "client_max_window_bits"),
    (BITS, (BITS,), "mean nothing"),
    (PLAIN, (b"permessage-deflate; server_max_window_bits=16",), "mean nothing"),
    (PLAIN, (b"permessage-deflate; level=1",), "mean nothing"),
    (PLAIN, (PLAIN, PLAIN), "not offered"),
    (PLAIN, (b"permessage-deflate, x-mine",), "not offered"),
    (PLAIN, (b"x-mine",), "not offered"),
    (b"x-mine", (b"x-mine",), "not offered"),
    (b"x-mine", (PLAIN,), "not offered"),
    (b"permessage-deflate; level=1", (PLAIN,), "not offered"),
    (b"", (PLAIN,), "not offered"),
    (PLAIN, (b"",), "not offered"),
]
FIELD = b"Sec-WebSocket-Extensions"


@pytest.mark.parametrize(("values", "offered"), OFFERS)
def test_of_the_clients_offers_what_is_known_goes_up(values: tuple[bytes, ...], offered: bytes) -> None:
    assert offer(tuple((FIELD.lower(), value) for value in values)) == offered


@pytest.mark.parametrize(("asked", "answered", "word"), ANSWERS)
def test_an_answer_is_taken_only_as_it_was_offered(asked: bytes, answered: tuple[bytes, ...], word: str | None) -> None:
    fields = tuple((FIELD, value) for value in answered)
    why = objection(((FIELD, asked),), fields)
    assert why is None if word is None else word in (why or "")
    if word is None:
        assert (agreed(fields) is not None) is bool(answered)


def inflated(inflater: Inflater, *pieces: bytes) -> bytes:
    """One message."""
    inflater.begin_message()
    found = b""
    for piece in pieces:
        inflater.feed(piece)
        while inflater.waiting:
            found += inflater.next_piece()
    inflater.end_message()
    while inflater.waiting:
        found += inflater.next_piece()
    return found


# RFC 7692 section 7.2.3: messages of one direction, as they stand in frames.
EXAMPLES = [
    ("f248cdc9c90700",),
    ("f248cdc9c90700", "f248cdc9c90700"),
    ("f248cdc9c90700", "f200110000"),
    ("000500faff48656c6c6f00",),
    ("f348cdc9c9070000",),
    ("f248050000" + "00ffff" + "cac9c90700",),
    # a last block, then one that refers back past it
    ("f348cdc9c9070000", "f200110000"),
]


@pytest.mark.parametrize("messages", EXAMPLES)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_the_examples_of_the_rfc_say_hello(messages: tuple[str, ...], bytewise: bool) -> None:
    inflater = Inflater(takeover=True)
    for message in messages:
        data = bytes.fromhex(message)
        pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
        assert inflated(inflater, *pieces) == b"Hello"


def test_an_empty_message_is_empty() -> None:
    assert inflated(Inflater(takeover=True), b"\x00") == b""
    assert inflated(Inflater(takeover=True)) == b""


def test_a_message_that_refers_back_where_that_was_ruled_out_is_refused() -> None:
    inflater = Inflater(takeover=False)
    assert inflated(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    with pytest.raises(PeerError, match="compressed"):
        inflated(inflater, bytes.fromhex("f200110000"))


@given(
    st.lists(st.binary(max_size=50) | st.sampled_from([b"again and again " * 20, bytes(PIECE), bytes(2 * PIECE + 1)]), max_size=6),
    st.booleans(),
    st.integers(9, 15),
    st.integers(1, 100),
)
def test_what_websockets_compressed_is_what_comes_out(messages: list[bytes], takeover: bool, bits: int, step: int) -> None:
    theirs = PerMessageDeflate(False, not takeover, 15, bits)
    inflater = Inflater(takeover=takeover)
    for message in messages:
        packed = bytes(theirs.encode(Frame(Opcode.BINARY, message)).data)
        assert inflated(inflater, *[packed[at : at + step] for at in range(0, len(packed), step)]) == message


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_a_message_or_a_peer_error(messages: list[bytes]) -> None:
    inflater = Inflater(takeover=True)
    try:
        for message in messages:
            inflated(inflater, message)
    except PeerError:
        pass


def test_a_bomb_comes_out_in_small_pieces() -> None:
    size = 16 << 20
    packing = zlib.compressobj(wbits=-15)
    packed = packing.compress(bytes(size)) + packing.flush(zlib.Z_SYNC_FLUSH)
    inflater = Inflater(takeover=True)
    inflater.feed(packed[:-4])
    inflater.end_message()
    pieces = []
    while inflater.waiting:
        pieces.append(len(inflater.next_piece()))
    assert (sum(pieces), max(pieces)) == (size, PIECE)
