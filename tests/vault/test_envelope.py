"""What a sealed record promises: only its own key and its own name open it, and any change is noticed."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from immure.vault.envelope import KEY_SIZE, NONCE_SIZE, EnvelopeError, seal, unseal

KEY = bytes(range(KEY_SIZE))
OTHER_KEY = bytes(KEY_SIZE)
NONCE = b"\x07" * NONCE_SIZE

# What must not open: how the envelope is changed, and what it says.
DAMAGED = [
    (lambda e: b"", "another version"),
    (lambda e: b"\x02" + e[1:], "another version"),
    (lambda e: e[:1], "cut short"),
    (lambda e: e[: 1 + NONCE_SIZE], "cut short"),
    (lambda e: e[: 1 + NONCE_SIZE + 15], "cut short"),
    (lambda e: e[:-1], "does not open"),
    (lambda e: e + b"\x00", "does not open"),
    (lambda e: e[:1] + b"\x08" * NONCE_SIZE + e[1 + NONCE_SIZE :], "does not open"),
]

contents = st.binary(max_size=300)


@given(content=contents, name=st.text(st.characters(codec="utf-8"), max_size=40), nonce=st.binary(min_size=12, max_size=12))
def test_what_is_sealed_unseals(content: bytes, name: str, nonce: bytes) -> None:
    envelope = seal(KEY, name, content, nonce)
    assert unseal(KEY, name, envelope) == content
    assert len(envelope) == 1 + NONCE_SIZE + len(content) + 16


@given(one=st.text(st.characters(codec="utf-8"), max_size=20), other=st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_record_does_not_open_under_another_name(one: str, other: str) -> None:
    assume(one != other)
    envelope = seal(KEY, one, b"content", NONCE)
    with pytest.raises(EnvelopeError):
        unseal(KEY, other, envelope)


@given(st.binary(max_size=80))
def test_bytes_that_nobody_sealed_never_open(junk: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unseal(KEY, "name", junk)


@given(position=st.integers(0, 1 + NONCE_SIZE + 7 + 15), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    envelope = bytearray(seal(KEY, "name", b"content", NONCE))
    envelope[position] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        unseal(KEY, "name", bytes(envelope))


@pytest.mark.parametrize(("change", "says"), DAMAGED)
def test_damage_is_described_and_the_content_is_not(change, says) -> None:
    with pytest.raises(EnvelopeError, match=says) as caught:
        unseal(KEY, "name", change(seal(KEY, "name", b"the content", NONCE)))
    assert "the content" not in str(caught.value)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(EnvelopeError, match="does not open"):
        unseal(OTHER_KEY, "name", seal(KEY, "name", b"content", NONCE))


@pytest.mark.parametrize(("key", "nonce"), [(KEY[:16], NONCE), (KEY, NONCE[:8]), (b"", NONCE)])
def test_a_weak_key_or_nonce_is_not_used(key: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="32-byte key"):
        seal(key, "name", b"content", nonce)
