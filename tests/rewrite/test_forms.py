"""A secret in an encoding becomes the placeholder in the same encoding; what comes out is read by decoders that know nothing of forms."""

import html
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from itertools import pairwise
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from immure.rewrite import Pairs, Restorer
from immure.rewrite.placeholder import holds_placeholder

SECRET = b"sk-Fake/Real_Key+1=~.<&>'`;*!:(\"\\)Jz"
PLACEHOLDER = b"sk-immure-abcdefghijklmnopqrstuvwxyz"
PAIRS = Pairs(((SECRET, PLACEHOLDER),))
ORDINARY = [b"fake-access.token_0", b"00000000-fake-4fac-8000-0000deadbeef", b"12345678"]


def restored(pieces: list[bytes], pairs: Pairs = PAIRS) -> bytes:
    restorer = Restorer(pairs)
    return b"".join([*map(restorer.feed, pieces), restorer.finish()])


Encoder = Callable[[bytes], bytes]


def percent(chosen: bytes, mark: bytes = b"%") -> Encoder:
    """Encodes a class of characters."""
    return lambda text: re.sub(b"[%b]" % chosen, lambda found: b"%b%02X" % (mark, ord(found[0])), text)


def kept_by(safe: str) -> Encoder:
    return lambda text: quote(text, safe=safe).encode()


def json_string(chosen: bytes = b"") -> Encoder:
    """Encodes what must be, and some more."""
    hidden = percent(chosen, b"\\u00") if chosen else bytes
    written = {c: hidden(c.encode()) for c in map(chr, range(128))}
    return lambda text: b"".join(json.dumps(c)[1:-1].encode() if written[c] == c.encode() else written[c] for c in text.decode())


ENCODERS: dict[str, Encoder] = {
    "itself": bytes,
    "hex": lambda text: text.hex().upper().encode(),
    "quote": kept_by("/"),
    "RFC 3986": kept_by(""),
    "encodeURI": kept_by("-_.!~*'();/?:@&=+$,#"),
    "encodeURIComponent": kept_by("-_.!~*'()"),
    "a form": lambda text: kept_by("*")(text).replace(b"~", b"%7E"),
    "percent, no letter or digit": percent(b"^A-Za-z0-9"),
    "percent, all": percent(b"\0-\377"),
    "percent, no letter or digit, twice": lambda text: percent(b"^A-Za-z0-9")(text).replace(b"%", b"%25"),
    "percent, all, twice": lambda text: percent(b"\0-\377")(text).replace(b"%", b"%25"),
    "RFC 3986 twice": lambda text: kept_by("")(kept_by("")(text)),
    "JSON": json_string(),
    "JSON, slash": lambda text: json_string()(text).replace(b"/", b"\\/"),
    "JSON, Go": json_string(b"<>&"),
    "JSON, Gson": json_string(b"<>&='"),
    "JSON, PHP": lambda text: json_string(b"<>&'\"")(text).replace(b"/", b"\\/"),
    "JSON, .NET": json_string(b"<>&'\"+`"),
    "JSON, Django": json_string(b"<>&='\"`;\\\\-"),
    "JSON, no letter or digit": json_string(b"^A-Za-z0-9"),
    "JSON, all": json_string(b"\0-\377"),
}


def small(encoded: bytes) -> bytes:
    """The same with the digits that are letters in small letters."""
    if re.fullmatch(b"[0-9A-F]+", encoded):
        return encoded.lower()
    return re.sub(rb"(?:%(?:25)?|\\u00)[0-9A-F]{2}", lambda found: found[0].lower(), encoded)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_comes_back_in_the_same_form(encoder: str) -> None:
    for cased in (bytes, small):
        there, here = (b'{"a": "' + cased(ENCODERS[encoder](text)) + b'"}' for text in (SECRET, PLACEHOLDER))
        assert restored([there]) == here


@given(
    before=st.binary(max_size=7),
    behind=st.binary(max_size=7),
    secret=st.sampled_from([SECRET, SECRET[:-1], SECRET[:-2]]),
    alphabet=st.sampled_from([b"+/", b"-_"]),
    padded=st.booleans(),
    end=st.sampled_from([b'"', b'"==', b",=", b"\n="]),
    at=st.integers(min_value=0, max_value=70),
)
def test_base64_keeps_its_neighbours(
    before: bytes, behind: bytes, secret: bytes, alphabet: bytes, padded: bool, end: bytes, at: int
) -> None:
    filled = PLACEHOLDER + b"-" * ((len(secret) - len(PLACEHOLDER)) % 3 if behind else 0)
    there, here = (b64encode(before + text + behind, alphabet) for text in (secret, filled))
    if not padded:
        there = there.replace(b"=", b"")
        if (len(before + secret)) % 3 or behind:  # else nothing shows that the encoder would leave them out
            here = here.replace(b"=", b"")
    answer = b'"' + there + end
    assert restored([answer[:at], answer[at:]], Pairs(((secret, PLACEHOLDER),))) == b'"' + here + end
    assert holds_placeholder(b64decode(here.rstrip(b"=") + b"==", alphabet).decode("latin-1"))


def test_two_secrets_that_share_a_digit_of_base64() -> None:
    pairs = Pairs(zip(ORDINARY, (b"immure-at-" + b"a" * 26, b"immure-acct-" + b"b" * 26, PLACEHOLDER), strict=True))
    for before in (b"", b"u", b"u:"):
        together = b64encode(before + b"".join(ORDINARY) + b"!")
        for at in range(len(together)):
            read = b64decode(restored([together[:at], together[at:]], pairs))
            assert re.fullmatch(before + b"immure-at-a{26}-*immure-acct-b{26}-*" + PLACEHOLDER + b"-*!", read)


def test_a_line_feed_ends_every_form() -> None:
    for encode in (*ENCODERS.values(), b64encode):
        whole = encode(SECRET)
        for end in range(len(whole)):
            event = b"data: " + whole[:end] + b"\n\n"
            assert Restorer(PAIRS).feed(event) == event


NOT_SOUGHT: list[Encoder] = [
    lambda text: html.escape(text.decode()).encode(),
    lambda text: text[::-1],
    lambda text: text.decode().encode("utf-16-le"),
    lambda text: b64encode(text * 3)[:20] + b"\r\n" + b64encode(text * 3)[20:40],
    lambda text: b64encode(b64encode(text)),
]


@pytest.mark.parametrize("encode", NOT_SOUGHT)
def test_what_is_not_sought(encode: Encoder) -> None:
    """THREATS.md says so."""
    assert restored([encode(SECRET)]) == encode(SECRET)


def readings(data: bytes) -> Iterator[bytes]:
    """All that a reader can make of the data by decoding it, or a run of it, from any place."""
    yield data
    yield unquote_to_bytes(data)
    yield unquote_to_bytes(unquote_to_bytes(data))
    yield re.sub(rb"\\u00([0-9A-Fa-f]{2})|\\([\"\\/])", lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[2], data)
    for run in re.findall(b"[0-9A-Fa-f]{2,}", data):
        for start in range(2):
            yield bytes.fromhex(run[start : start + (len(run) - start) // 2 * 2].decode())
    for alphabet in (b"+/", b"-_"):
        for run in re.findall(b"[A-Za-z0-9%b]{2,}" % re.escape(alphabet), data):
            for start in range(4):
                digits = run[start:]
                digits = digits[:-1] if len(digits) % 4 == 1 else digits
                yield b64decode(digits + b"=" * (-len(digits) % 4), alphabet)


# Few characters, so that secrets begin alike and lie within one another, and some that encoders escape.
secrets = st.lists(st.text("ab-/~", min_size=8, max_size=40).map(str.encode), min_size=1, max_size=3, unique=True)


@st.composite
def echoes(draw: st.DrawFn) -> tuple[list[bytes], bytes, int]:
    """Some secrets, an answer that repeats them in many forms, and the length of the longest form."""
    known = draw(secrets)
    encodings = [cased(encode(secret)) for secret in known for encode in ENCODERS.values() for cased in (bytes, small)]
    neighbours = st.sampled_from([b"", b"u", b"u:", b"\xff\xff"])
    in_base64 = st.builds(
        lambda before, secret, behind, alphabet: b64encode(before + secret + behind, alphabet),
        neighbours,
        st.sampled_from(known),
        neighbours,
        st.sampled_from([b"+/", b"-_"]),
    )
    parts = st.sampled_from(encodings) | in_base64
    between = st.sampled_from([b"", b" ", b"\n", b"a", b"%", b"\\", b"=", b"YW"])
    whole = st.tuples(parts, between)
    # What is cut off stands apart, and lacks two characters: one could be made good by that of a placeholder beside it.
    cut_off = st.builds(
        lambda part, end, front: (b" ", part[end:] if front else part[:-end], b" "), parts, st.integers(2, 9), st.booleans()
    )
    data = draw(st.lists((whole | cut_off).map(b"".join), max_size=9).map(b"".join))
    return known, data, max(map(len, encodings))


@given(echoes(), st.lists(st.integers(0, 600), max_size=9))
@example(([SECRET], b64encode(b"u" + SECRET + SECRET), 300), [10, 52, 53, 54])
def test_the_cut_does_not_matter_and_no_reader_finds_a_secret(drawn: tuple[list[bytes], bytes, int], cuts: list[int]) -> None:
    known, data, longest = drawn
    pairs = Pairs((secret, b"immure-at-%d" % number + b"z7" * 13) for number, secret in enumerate(known))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    restorer = Restorer(pairs)
    arrived = b""
    for start, end in pairwise(edges):
        arrived += restorer.feed(data[start:end])
        assert len(restorer._held) <= longest
    arrived += restorer.finish()
    assert arrived == restored([data], pairs)
    assert not any(secret in reading for reading in readings(arrived) for secret in known)


@given(st.binary(max_size=300) | st.text("sk-FaeZmsW%25/\\u0=", max_size=300).map(str.encode), st.integers(0, 300))
def test_other_bytes_pass_unchanged(data: bytes, at: int) -> None:
    assert restored([data[:at], data[at:]]) == data
