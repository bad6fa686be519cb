"""Restoration: any cut of the stream gives what the whole would, and no secret comes through."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from immure.errors import Fault
from immure.rewrite import Pairs, Restorer, restore_headers

SECRET = b"fake-real-access-token"
PLACEHOLDER = b"immure-at-aaaaaaaaaaaaaaaaaaaaaaaaaa"
PAIRS = ((SECRET, PLACEHOLDER),)
READY = Pairs(PAIRS)
Plain = tuple[tuple[bytes, bytes], ...]


def restored(pieces: list[bytes], pairs: Pairs) -> bytes:
    restorer = Restorer(pairs)
    return b"".join([*map(restorer.feed, pieces), restorer.finish()])


def at_once(data: bytes, pairs: Plain) -> bytes:
    """The definition: from the left, the longest secret that stands there, none within another."""
    by_secret: dict[bytes, bytes] = {}
    for secret, placeholder in pairs:
        by_secret.setdefault(secret, placeholder)
    longest_first = sorted(by_secret, key=len, reverse=True)
    return re.sub(b"|".join(map(re.escape, longest_first)), lambda found: by_secret[found[0]], data) if pairs else data


TRANSCRIPT = [
    # >> piece, << what is passed on
    (b"data: hello\n\n", b"data: hello\n\n"),
    (b"data: fa", b"data: "),
    (b"ct\n\n", b"fact\n\n"),
    (b"data: fake-real-", b"data: "),
    (b"access-token!", PLACEHOLDER + b"!"),
    (SECRET + SECRET, PLACEHOLDER + PLACEHOLDER),
    (b"fake-real-access-fake", b"fake-real-access-"),
    (b"-real-access-toke", b""),
]


def test_only_what_may_be_the_beginning_of_a_secret_waits() -> None:
    restorer = Restorer(READY)
    for arrived, left in TRANSCRIPT:
        assert restorer.feed(arrived) == left
    assert restorer.finish() == b"fake-real-access-toke"
    assert restorer.finish() == b""


def test_the_longer_of_two_that_begin_alike_is_taken() -> None:
    pairs = ((b"fake-key-1", b"<short>"), (b"fake-key-1-extended", b"<long>"))
    for order in (pairs, pairs[::-1]):
        assert restored([b"fake-key-1", b"-extended fake-key-1", b"-exten"], Pairs(order)) == b"<long> <short>-exten"


def test_a_secret_right_after_one_that_overlaps_the_beginning_of_a_third() -> None:
    pairs = ((b"1234567bbbb", b"<first>"), (b"cccccccc", b"<second>"), (b"bbbbccccccccddddd", b"<third>"))
    restorer = Restorer(Pairs(pairs))
    assert restorer.feed(b"1234567bbbbcccccccc") == b"<first><second>"


def test_every_cut_of_a_text_with_secrets() -> None:
    pairs = (*PAIRS, (b"fake-real-account", b"immure-acct-b"), (b"real-account-other", b"immure-acct-c"))
    text = b"a fake-real-access-token,fake-real-account-other fake-real-access-fake-real-account fake-"
    expected = at_once(text, pairs)
    ready = Pairs(pairs)
    for cut in range(len(text) + 1):
        for second in range(cut, len(text) + 1):
            assert restored([text[:cut], text[cut:second], text[second:]], ready) == expected


def test_without_secrets_everything_passes_at_once() -> None:
    restorer = Restorer(Pairs())
    assert restorer.feed(b"anything") == b"anything"
    assert restorer.finish() == b""


def test_memory_stays_flat() -> None:
    restorer = Restorer(Pairs(((b"a" * 2_000, b"<a>"), (b"a" * 1_000 + b"b" * 1_000, b"<b>"))))
    for _ in range(50):
        restorer.feed(b"a" * 1_999)
        assert len(restorer._held) < 2_000


def test_fields_are_restored_in_name_and_value() -> None:
    headers = ((b"Location", b"/cb?t=" + SECRET), (SECRET, b"x"), (b"Set-Cookie", SECRET + b";" + SECRET), (b"ETag", b"1"))
    assert restore_headers(headers, READY) == (
        (b"Location", b"/cb?t=" + PLACEHOLDER),
        (PLACEHOLDER, b"x"),
        (b"Set-Cookie", PLACEHOLDER + b";" + PLACEHOLDER),
        (b"ETag", b"1"),
    )


REFUSED: list[Plain] = [
    ((b"fake123", PLACEHOLDER),),
    ((b"", PLACEHOLDER),),
    ((SECRET, b"<" + SECRET + b">"),),
    ((SECRET, PLACEHOLDER), (b"fake-real-account", b"immure-" + SECRET)),
]


@pytest.mark.parametrize("pairs", REFUSED)
def test_what_would_corrupt_or_leak_is_refused(pairs: Plain) -> None:
    with pytest.raises(Fault) as caught:
        Pairs(pairs)
    assert "fake" not in str(caught.value)


# Few letters, so that secrets overlap, begin alike and lie within one another; placeholders of other letters, as in life.
secrets = st.lists(st.text("ab", min_size=8, max_size=14).map(str.encode), min_size=1, max_size=3, unique=True)
pairs_ = secrets.map(lambda found: tuple((secret, b"<%d>" % number) for number, secret in enumerate(found)))
cuts = st.lists(st.integers(min_value=0, max_value=120), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(pairs_.flatmap(lambda pairs: st.tuples(st.just(pairs), streams(pairs))), cuts)
@example((((b"aaaaaaaa", b"<0>"),), b"a" * 23), [1, 9, 17])
def test_the_cut_does_not_matter_and_no_secret_comes_through(drawn: tuple[Plain, bytes], at: list[int]) -> None:
    pairs, data = drawn
    result = restored(pieces(data, at), Pairs(pairs))
    assert result == at_once(data, pairs)
    assert not any(secret in result for secret, _ in pairs)


def streams(pairs: Plain) -> st.SearchStrategy[bytes]:
    part = st.sampled_from([secret for secret, _ in pairs]) | st.text("abc", max_size=9).map(str.encode)
    return st.lists(part, max_size=9).map(b"".join)


@given(st.binary(max_size=300), cuts)
def test_other_bytes_pass_unchanged(data: bytes, at: list[int]) -> None:
    assert restored(pieces(data, at), READY) == at_once(data, PAIRS)
