"""Content codings: what the libraries that others use have compressed, cut anywhere, cut off, and in pieces that stay small."""

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import PeerError
from immure.wire.coding import PIECE, Decoder, codings_of, decoded_headers, objection, offer
from immure.wire.head import Headers

TEXT = b"The quick brown fox jumps over the lazy dog. " * 30
Pack = Callable[[bytes], bytes]


def raw(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


PACKS: list[tuple[bytes, Pack]] = [
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw),
    (b"br", brotli.compress),
    (b"zstd", zstd.compress),
]
IDS = ["gzip", "zlib", "raw deflate", "br", "zstd"]
everyone = pytest.mark.parametrize(("coding", "pack"), PACKS, ids=IDS)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def pull(decoder: Decoder) -> bytes:
    """All that waits."""
    pieces = []
    while decoder.waiting:
        pieces.append(decoder.next_piece())
    return b"".join(pieces)


def decoded(codings: tuple[bytes, ...], *pieces: bytes) -> bytes:
    decoder = Decoder(codings)
    found = b""
    for piece in pieces:
        decoder.feed(piece)
        found += pull(decoder)
    decoder.close()
    return found


@everyone
@given(data=st.binary(max_size=300) | st.sampled_from([TEXT, bytes(PIECE), bytes(3 * PIECE + 1)]), places=st.lists(st.integers(0)))
def test_what_was_encoded_is_what_comes_out_wherever_it_is_cut(coding: bytes, pack: Pack, data: bytes, places: list[int]) -> None:
    assert decoded((coding,), *cut(pack(data), places)) == data


@given(st.lists(st.sampled_from(PACKS), min_size=1, max_size=5), st.binary(max_size=200), st.lists(st.integers(0), max_size=5))
def test_a_stack_comes_off_in_reverse(stack: list[tuple[bytes, Pack]], data: bytes, places: list[int]) -> None:
    packed = data
    for _, pack in stack:
        packed = pack(packed)
    assert decoded(tuple(coding for coding, _ in stack), *cut(packed, places)) == data


@everyone
def test_every_cut_off_end_is_told(coding: bytes, pack: Pack) -> None:
    packed = pack(b"some text")
    for end in range(1, len(packed)):
        with pytest.raises(PeerError, match=r"ends in the middle of|is not"):
            decoded((coding,), packed[:end])


@everyone
def test_a_body_without_a_byte_is_empty(coding: bytes, pack: Pack) -> None:
    assert decoded((coding,)) == decoded((coding,), b"", b"") == b""


@everyone
@given(data=st.binary(min_size=1, max_size=100), places=st.lists(st.integers(0), max_size=4))
def test_any_bytes_come_out_or_are_a_peer_error_and_the_same_however_cut(coding: bytes, pack: Pack, data: bytes, places: list[int]) -> None:
    def outcome(*pieces: bytes) -> bytes | None:
        try:
            return decoded((coding,), *pieces)
        except PeerError:
            return None

    assert outcome(*cut(data, places)) == outcome(data)


@everyone
def test_a_bomb_comes_out_in_small_pieces(coding: bytes, pack: Pack) -> None:
    size = 8 << 20
    decoder = Decoder((coding,))
    decoder.feed(pack(bytes(size)))
    found = 0
    while decoder.waiting:
        piece = decoder.next_piece()
        assert len(piece) <= PIECE * 3 // 2
        found += len(piece)
    decoder.close()
    assert found == size


def test_a_bomb_within_a_bomb_is_unpacked_step_by_step() -> None:
    size = 64 << 20
    packing = zlib.compressobj(wbits=31)
    packed = gzip.compress(b"".join(packing.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packing.flush())
    decoder = Decoder((b"gzip", b"gzip"))
    decoder.feed(packed)
    first = [decoder.next_piece() for _ in range(100)]
    assert 0 < sum(map(len, first)) <= 100 * PIECE
    assert decoder.waiting


def flushed(text: bytes) -> list[tuple[bytes, bytes]]:
    """The text in two halves, as an event of a stream is sent: flushed after the first."""
    half = len(text) // 2
    found = []
    for coding, wbits in ((b"gzip", 31), (b"deflate", 15), (b"deflate", -15)):
        packing = zlib.compressobj(wbits=wbits)
        found.append((coding, packing.compress(text[:half]) + packing.flush(zlib.Z_SYNC_FLUSH)))
    packer = brotli.Compressor()
    found.append((b"br", packer.process(text[:half]) + packer.flush()))
    framing = zstd.ZstdCompressor()
    found.append((b"zstd", framing.compress(text[:half], zstd.ZstdCompressor.FLUSH_BLOCK)))
    return found


@pytest.mark.parametrize(("coding", "sent"), flushed(TEXT), ids=IDS)
def test_what_was_flushed_comes_out_at_once(coding: bytes, sent: bytes) -> None:
    decoder = Decoder((coding,))
    decoder.feed(sent)
    assert pull(decoder) == TEXT[: len(TEXT) // 2]
    with pytest.raises(PeerError):
        decoder.close()


ONE, TWO = gzip.compress(b"one "), gzip.compress(b"two")
# What follows a whole stream: coding, octets, what comes out, or None if it is refused.
FOLLOWED: list[tuple[bytes, bytes, bytes | None]] = [
    (b"gzip", ONE + TWO, b"one two"),
    (b"gzip", ONE + gzip.compress(b"") * 50 + TWO, b"one two"),
    (b"gzip", ONE + bytes(512), b"one "),
    (b"gzip", ONE + b"\x1f", b"one "),
    (b"gzip", ONE + b"\x1f garbage", b"one "),
    (b"gzip", ONE + b"garbage" + TWO, b"one "),
    (b"gzip", ONE + TWO[:-1], None),
    (b"gzip", ONE + b"\x1f\x8bgarbage", None),
    (b"deflate", zlib.compress(b"one") + b"garbage", b"one"),
    (b"deflate", raw(b"one") + zlib.compress(b"two"), b"one"),
    (b"br", brotli.compress(b"one") + b"garbage", None),
    (b"zstd", zstd.compress(b"one ") + zstd.compress(b"two"), b"one two"),
    (b"zstd", zstd.compress(b"one ") + b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd.compress(b"two"), b"one two"),
    (b"zstd", zstd.compress(b"one") + b"garbage", None),
]


@pytest.mark.parametrize(("coding", "packed", "out"), FOLLOWED)
def test_what_follows_the_end_of_a_stream(coding: bytes, packed: bytes, out: bytes | None) -> None:
    for pieces in ([packed], [packed[at : at + 1] for at in range(len(packed))]):
        if out is None:
            with pytest.raises(PeerError):
                decoded((coding,), *pieces)
        else:
            assert decoded((coding,), *pieces) == out


def test_a_zstd_window_beyond_8_mib_is_refused() -> None:
    for log, refused in ((23, False), (24, True)):
        packing = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
        packed = packing.compress(bytes(1 << 20)) + packing.flush()
        if refused:
            with pytest.raises(PeerError, match="zstd"):
                decoded((b"zstd",), packed)
        else:
            assert decoded((b"zstd",), packed) == bytes(1 << 20)


# The Content-Encoding fields of a head, the codings, a word of the objection.
LISTED: list[tuple[tuple[bytes, ...], tuple[bytes, ...], str | None]] = [
    ((), (), None),
    ((b"gzip",), (b"gzip",), None),
    ((b"X-GZip",), (b"gzip",), None),
    ((b"identity",), (), None),
    ((b"",), (), None),
    ((b"gzip, br",), (b"gzip", b"br"), None),
    ((b"gzip ,,identity", b"\tzstd"), (b"gzip", b"zstd"), None),
    ((b"gzip, compress",), (b"gzip", b"compress"), "compress"),
    ((b"gzip;q=1",), (b"gzip;q=1",), "gzip;q=1"),
    ((b"dcz",), (b"dcz",), "dcz"),
    ((b"br",) * 5, (b"br",) * 5, None),
    ((b"br",) * 6, (b"br",) * 6, "5 times"),
]


@pytest.mark.parametrize(("values", "codings", "word"), LISTED)
def test_codings_are_read_in_the_order_they_were_applied(values: tuple[bytes, ...], codings: tuple[bytes, ...], word: str | None) -> None:
    headers = ((b"Content-Type", b"text/plain"), *((b"content-Encoding", value) for value in values))
    assert codings_of(headers) == codings
    why = objection(codings)
    assert why is None if word is None else word in (why or "")


# What a client accepts, what is asked for.
OFFERS: list[tuple[tuple[bytes, ...], bytes]] = [
    ((), b"identity"),
    ((b"",), b"identity"),
    ((b"gzip",), b"gzip"),
    ((b"gzip, deflate, br, zstd",), b"gzip, deflate, br, zstd"),
    ((b"deflate", b"GZIP;Q=0.5"), b"deflate, gzip;q=0.5"),
    ((b"x-gzip ; q=1.000,identity;q=0.1",), b"x-gzip;q=1.000, identity;q=0.1"),
    ((b"compress, exi, dcb",), b"identity"),
    ((b"compress, br;q=0.9",), b"br;q=0.9"),
    ((b"*",), b"identity"),
    ((b"gzip, *;q=0.1",), b"gzip"),
    ((b"gzip, *;q=0",), b"gzip, *;q=0"),
    ((b"gzip;q=0, br;q=0.0",), b"identity"),
    ((b"gzip;q=0, br",), b"gzip;q=0, br"),
    ((b"identity;q=0, dcb",), b"identity"),
    ((b"gzip;level=9, br q=1, zstd",), b"zstd"),
]


@pytest.mark.parametrize(("values", "asked"), OFFERS)
def test_of_what_the_client_accepts_what_is_known_is_asked_for(values: tuple[bytes, ...], asked: bytes) -> None:
    assert offer(tuple((b"Accept-encoding", value) for value in values)) == asked


def test_what_was_said_about_the_encoded_body_goes() -> None:
    said: Headers = (
        *((b"Content-Encoding", b"gzip"), (b"content-digest", b"sha-256=:x:"), (b"Repr-Digest", b"sha-256=:x:"), (b"Digest", b"md5=x")),
        *((b"Content-MD5", b"x"), (b"Accept-Ranges", b"bytes")),
    )
    kept: Headers = ((b"Content-Type", b"text/plain"), (b"Vary", b"Accept-Encoding"), (b"Last-Modified", b"x"))
    assert decoded_headers((*said, *kept)) == kept


@pytest.mark.parametrize(("tag", "weak"), [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"'), (b"a", b"a")])
def test_a_strong_entity_tag_becomes_weak(tag: bytes, weak: bytes) -> None:
    assert decoded_headers(((b"etag", tag),)) == ((b"etag", weak),)
