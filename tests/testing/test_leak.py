"""The detector finds every planted piece of a secret of 16 characters or more, and nothing shorter; a slow reference agrees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.testing.leak import WINDOW, Needles

SECRET = "fake-at-7Qm2Zx9LkP0sTvB4nR8cYw1dHj5GfE3aUi6o"
OTHER = "fake-rt-Aa1Bb2Cc3Dd4Ee5Ff6Gg7Hh8Ii9Jj0Kk1Ll2"
NEEDLES = Needles({"one": SECRET, "two": OTHER})

# (planted, characters of it that are found)
PIECES = [
    (SECRET, len(SECRET)),
    (SECRET[:WINDOW], WINDOW),
    (SECRET[-WINDOW:], WINDOW),
    (SECRET[11 : 11 + WINDOW], WINDOW),
    (SECRET[3:30], 27),
]


@pytest.mark.parametrize("around", [b"", b"\x00", b" ", b'"', b"A", b"AAAAAAAAAAAAAAAAAAAAAAAAA"])
@pytest.mark.parametrize(("piece", "length"), PIECES)
def test_a_piece_is_found_once_where_it_is(piece: str, length: int, around: bytes) -> None:
    (leak,) = NEEDLES.search(around + piece.encode() + around, "here", base=1000)
    assert (leak.secret, leak.place, leak.offset, leak.length) == ("one", "here", 1000 + len(around), length)
    assert piece not in f"{leak} {leak!r}"


@pytest.mark.parametrize(
    "text", ["", SECRET[:15], SECRET[20:35], SECRET[:15] + " " + SECRET[15:30], SECRET.swapcase(), SECRET[::-1], "A" * 4000]
)
def test_less_than_a_window_is_not_a_leak(text: str) -> None:
    assert NEEDLES.search(text.encode(), "here") == []


def test_two_secrets_and_two_copies_are_told_apart() -> None:
    leaks = NEEDLES.search(f"{SECRET}{OTHER} {SECRET}".encode(), "here")
    assert {(leak.secret, leak.offset) for leak in leaks} == {("one", 0), ("two", len(SECRET)), ("one", len(SECRET + OTHER) + 1)}


def test_of_a_json_web_token_the_signature_counts_and_the_rest_does_not() -> None:
    header, claims, signature = (
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJlbWFpbCI6ImFkYUBleGFtcGxlLmNvbSJ9",
        "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg",
    )
    needles = Needles({"token": f"{header}.{claims}.{signature}"})
    assert needles.search(f"{header}.{claims}.c2ln".encode(), "here") == []
    assert [leak.length for leak in needles.search(signature.encode(), "here")] == [len(signature)]


@pytest.mark.parametrize("text", ["", "short", "a" * (WINDOW - 1), "a.b.c"])
def test_what_is_too_short_to_search_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="password is shorter"):
        Needles({"password": text})


def _reference(data: bytes, secrets: dict[str, str]) -> set[str]:
    """The names of the secrets of which some window occurs, by trying every window."""
    windows = {name: {text[at : at + WINDOW].encode() for at in range(len(text) - WINDOW + 1)} for name, text in secrets.items()}
    return {name for name, all_of in windows.items() if any(window in data for window in all_of)}


# Few letters, so that pieces repeat within secrets, between them, and by chance around them.
letters = st.text(alphabet="abAB-", min_size=WINDOW, max_size=40)
pieces = st.tuples(st.integers(0, 1), st.integers(0, 24), st.integers(1, 40))


@given(st.tuples(letters, letters), st.lists(st.one_of(pieces, st.binary(max_size=12)), max_size=6))
def test_any_planting_agrees_with_the_reference(texts: tuple[str, str], parts: list[tuple[int, int, int] | bytes]) -> None:
    secrets = dict(zip(("one", "two"), texts, strict=True))
    data = b"".join(part if isinstance(part, bytes) else texts[part[0]][part[1] : part[1] + part[2]].encode() for part in parts)
    leaks = Needles(secrets).search(data, "here")
    assert {leak.secret for leak in leaks} == _reference(data, secrets)
    for leak in leaks:
        assert data[leak.offset : leak.offset + leak.length].decode() in secrets[leak.secret]
