"""Frames of WebSockets: the examples of the RFC, what is refused, and what no cut may change."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.wire.head import Headers
from immure.wire.websocket import (
    MAX_CONTROL,
    Control,
    FrameReader,
    Head,
    Opcode,
    accept,
    handshake_objection,
    mask,
    write_control,
    write_data,
    write_head,
)

KEY = b"\x37\xfa\x21\x3d"
REFUSAL = b""
Event = Head | Control | bytes

# RFC 6455 section 5.7: who sends it, octets, events.
EXAMPLES: list[tuple[bool, str, list[Event]]] = [
    (False, "810548656c6c6f", [Head(Opcode.TEXT, True, 5, b""), b"Hello"]),
    (True, "818537fa213d7f9f4d5158", [Head(Opcode.TEXT, True, 5, KEY), bytes.fromhex("7f9f4d5158")]),
    (False, "010348656c", [Head(Opcode.TEXT, False, 3, b""), b"Hel"]),
    (False, "010348656c80026c6f", [Head(Opcode.TEXT, False, 3, b""), b"Hel", Head(Opcode.CONTINUATION, True, 2, b""), b"lo"]),
    (False, "890548656c6c6f", [Control(Opcode.PING, b"Hello", b"")]),
    (True, "8a8537fa213d7f9f4d5158", [Control(Opcode.PONG, b"Hello", KEY)]),
    (False, "827e0100" + "00" * 256, [Head(Opcode.BINARY, True, 256, b""), bytes(256)]),
    (False, "827f0000000000010000" + "00" * 65536, [Head(Opcode.BINARY, True, 65536, b""), bytes(65536)]),
    # and what it does not show
    (False, "8100", [Head(Opcode.TEXT, True, 0, b"")]),
    (False, "8800", [Control(Opcode.CLOSE, b"", b"")]),
    (False, "880203e8" + "ffff", [Control(Opcode.CLOSE, b"\x03\xe8", b"")]),
    (
        False,
        "010148" + "8900" + "8000",
        [Head(Opcode.TEXT, False, 1, b""), b"H", Control(Opcode.PING, b"", b""), Head(Opcode.CONTINUATION, True, 0, b"")],
    ),
    (False, "827f7fffffffffffffff", [Head(Opcode.BINARY, True, (1 << 63) - 1, b"")]),
]

# What, who sends it, octets.
REFUSED = [
    ("a reserved bit", False, "c100"),
    ("another", False, "a100"),
    ("the third", False, "9100"),
    ("a reserved data opcode", False, "8300"),
    ("a reserved control opcode", False, "8b00"),
    ("a mask of a server's", False, "818037fa213d"),
    ("no mask of a client's", True, "8100"),
    ("a long ping", False, "897e007e"),
    ("a ping in fragments", False, "0900"),
    ("a continuation of nothing", False, "8000"),
    ("a message within another", False, "01008100"),
    ("a length in two octets that fits one", False, "827e007d"),
    ("a length in eight octets that fits two", False, "827f000000000000ffff"),
    ("a length of 64 bits", False, "827f8000000000000000"),
    ("half a code", False, "880103"),
    *[(f"the code {code}", False, f"8802{code:04x}") for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)],
    ("a masked code", True, "888200000000" + "03e7"),
]
CODES = [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999]


def read(reader: FrameReader, pieces: list[bytes]) -> list[Event]:
    """All events, adjacent pieces of payload joined; then REFUSAL if the reader refused to go on."""
    found: list[Event] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                if isinstance(event, bytes) and found and isinstance(before := found[-1], bytes):
                    found[-1] = before + event
                else:
                    found.append(event)
    except PeerError:
        found.append(REFUSAL)
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def written(events: list[Event]) -> bytes:
    parts = []
    for event in events:
        parts.append(event if isinstance(event, bytes) else write_head(event) if isinstance(event, Head) else write_control(event))
    return b"".join(parts)


@pytest.mark.parametrize(("masked", "octets", "events"), EXAMPLES)
def test_an_example_is_read_and_written(masked: bool, octets: str, events: list[Event]) -> None:
    data = bytes.fromhex(octets)
    assert read(FrameReader(masked=masked), [data]) == events
    assert data.startswith(written(events))


def test_a_masked_payload_is_what_it_was() -> None:
    assert mask(bytes.fromhex("7f9f4d5158"), KEY) == b"Hello"
    assert mask(b"Hello", b"") == b"Hello"
    assert mask(b"", KEY) == b""


@pytest.mark.parametrize(("masked", "octets"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_breaks_the_protocol_is_refused(masked: bool, octets: str) -> None:
    events = read(FrameReader(masked=masked), [bytes.fromhex(octets)])
    assert events[-1] == REFUSAL


# With permessage-deflate agreed on (RFC 7692 section 6): octets, events.
COMPRESSED: list[tuple[str, list[Event]]] = [
    ("c107f248cdc9c90700", [Head(Opcode.TEXT, True, 7, b"", True), bytes.fromhex("f248cdc9c90700")]),
    ("8105" + b"Hello".hex(), [Head(Opcode.TEXT, True, 5, b""), b"Hello"]),
    (
        "4203f248cd8900" + "8004c9c90700",
        [
            *(Head(Opcode.BINARY, False, 3, b"", True), b"\xf2\x48\xcd"),
            *(Control(Opcode.PING, b"", b""), Head(Opcode.CONTINUATION, True, 4, b""), b"\xc9\xc9\x07\x00"),
        ],
    ),
    ("4100c000", [Head(Opcode.TEXT, False, 0, b"", True), REFUSAL]),
    ("c900", [REFUSAL]),
    ("c800", [REFUSAL]),
    ("a100", [REFUSAL]),
    ("d100", [REFUSAL]),
]


@pytest.mark.parametrize(("octets", "events"), COMPRESSED)
def test_the_first_frame_alone_says_that_a_message_is_compressed(octets: str, events: list[Event]) -> None:
    data = bytes.fromhex(octets)
    assert read(FrameReader(masked=False, compressed=True), [data]) == events
    assert data.startswith(written(events))


@pytest.mark.parametrize("code", CODES)
def test_a_code_that_may_be_sent_is_read(code: int) -> None:
    close = Control(Opcode.CLOSE, code.to_bytes(2) + b"why", b"")
    assert read(FrameReader(masked=False), [write_control(close)]) == [close]


controls = st.builds(
    Control, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=MAX_CONTROL), st.just(b"") | st.binary(min_size=4, max_size=4)
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Event]:
    """Messages of a client in fragments, with control frames between them, and perhaps a Close at the end."""
    events: list[Event] = []
    keys = st.binary(min_size=4, max_size=4)
    for opcode in draw(st.lists(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), max_size=3)):
        fragments = draw(st.lists(st.sampled_from([0, 1, 125, 126, 65535, 65536]), min_size=1, max_size=3))
        for index, size in enumerate(fragments):
            events += [one._replace(key=draw(keys)) for one in draw(st.lists(controls, max_size=2))]
            events.append(Head(opcode if index == 0 else Opcode.CONTINUATION, index == len(fragments) - 1, size, draw(keys)))
            if size:
                events.append(bytes([index]) * size)
    return [*events, Control(Opcode.CLOSE, b"\x03\xe8bye", draw(keys))] if draw(st.booleans()) else events


@given(conversations(), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_no_cut_changes_the_events(events: list[Event], places: list[int]) -> None:
    data = written(events)
    assert read(FrameReader(masked=True), cut(data, places)) == events


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_any_bytes_give_events_or_a_peer_error_and_the_same_however_cut(data: bytes, places: list[int], masked: bool) -> None:
    assert read(FrameReader(masked=masked), cut(data, places)) == read(FrameReader(masked=masked), [data])


@given(st.binary(max_size=300))
def test_what_is_read_is_what_is_written(data: bytes) -> None:
    assert data.startswith(written(read(FrameReader(masked=False), [data])))


def test_what_follows_a_close_is_thrown_away() -> None:
    reader = FrameReader(masked=False)
    assert read(reader, [b"\x88\x00\xff\xff", b"\xff" * 1000]) == [Control(Opcode.CLOSE, b"", b"")]
    assert reader.closed


def test_a_data_frame_of_ours_takes_the_fewest_octets() -> None:
    for size, head in ((0, "8200"), (125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000")):
        assert write_data(Opcode.BINARY, bytes(size), final=True) == bytes.fromhex(head) + bytes(size)
    assert write_data(Opcode.TEXT, b"a", final=False) == b"\x01\x01a"


# RFC 6455 section 1.3
SAMPLE_KEY, SAMPLE_ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ASKED = (b"Sec-WebSocket-Key", SAMPLE_KEY)
PROVED = (b"Sec-WebSocket-Accept", SAMPLE_ACCEPT)
OFFERED = ((b"Sec-WebSocket-Protocol", b"chat, superchat"), (b"sec-websocket-protocol", b"v1"))


def test_the_sample_key_is_accepted_by_the_sample_proof() -> None:
    assert accept(SAMPLE_KEY) == SAMPLE_ACCEPT


# What was asked, what was answered, a word of the objection.
HANDSHAKES: list[tuple[Headers, Headers, str | None]] = [
    ((ASKED,), (PROVED,), None),
    ((ASKED, *OFFERED), (PROVED,), None),
    ((ASKED, *OFFERED), (PROVED, (b"Sec-WebSocket-Protocol", b"superchat")), None),
    ((ASKED, *OFFERED), (PROVED, (b"Sec-WebSocket-Protocol", b"v1")), None),
    ((ASKED, *OFFERED), (PROVED, (b"Sec-WebSocket-Protocol", b"v2")), "subprotocol"),
    ((ASKED, *OFFERED), (PROVED, (b"Sec-WebSocket-Protocol", b"v1"), (b"Sec-WebSocket-Protocol", b"chat")), "subprotocol"),
    ((ASKED,), (PROVED, (b"Sec-WebSocket-Protocol", b"chat")), "subprotocol"),
    ((ASKED,), (PROVED, (b"Sec-WebSocket-Extensions", b"permessage-deflate")), "extension"),
    ((ASKED,), (), "Accept"),
    ((ASKED,), (PROVED, PROVED), "Accept"),
    ((ASKED,), ((b"Sec-WebSocket-Accept", SAMPLE_ACCEPT.lower()),), "Accept"),
    ((), (PROVED,), "properly"),
    ((ASKED, ASKED), (PROVED,), "properly"),
    (((b"Sec-WebSocket-Key", b"x"),), (PROVED,), "properly"),
]


@pytest.mark.parametrize(("asked", "answered", "word"), HANDSHAKES)
def test_a_handshake_is_taken_only_as_it_was_asked_for(asked: Headers, answered: Headers, word: str | None) -> None:
    why = handshake_objection(asked, answered)
    assert why is None if word is None else word in (why or "")
